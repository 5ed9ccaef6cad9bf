"""`Predictor`: the model of rows, for classification and regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from forecastml.data.table import Table, restored_table, table_state
from forecastml.model import (
    FittedModel,
    Member,
    check_alike,
    check_distinct,
    checked_groups,
    stacked_losses,
    stacked_members,
    taken_losses,
)
from forecastml.search.log import merged
from forecastml.status import Groups, Service
from forecastml.task import Classification, Regression

if TYPE_CHECKING:
    import pandas as pd

#: What a label becomes again, by what the labels were.
_LABELS = {"int": int, "float": float, "bool": "True".__eq__, "text": str}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Predictor(FittedModel):
    """A trained ensemble for rows. like: a table without rows that carries columns, classes and group keys."""

    task: Classification | Regression
    like: Table

    def predict(self, table: Any) -> pd.DataFrame:
        """Predict every row of a table, in its order.

        Returns "prediction" (a label as it was in training, or a number), and for classes one more column per label
        with its probability. Raises `DataError` for missing columns, text in numbers and unknown groups.
        """
        from forecastml.data.frames import to_frame
        from forecastml.data.table_reading import read_rows

        values = self.values(read_rows(table, self.task.columns, self.like))
        if not self.like.classes:
            return to_frame({"prediction": values[:, 0]})
        convert = _LABELS[self.like.kind]
        labels = np.array([convert(label) for label in self.like.classes])
        shares = dict(zip(self.like.classes, values.T, strict=True))
        return to_frame({"prediction": labels[np.argmax(values, axis=1)], **shares})

    def values(self, rows: Table) -> np.ndarray:
        """Numbers (rows, 1), or probabilities (rows, classes), of rows as they were read."""
        outputs = self.like.classes or ("mean",)
        values = self._mixed(rows, 1, outputs, self.fallback.predict(rows, 1, outputs).values)
        return values / values.sum(axis=1, keepdims=True) if self.like.classes else values

    def take(self, groups: Sequence[int]) -> Predictor:
        """The model of these groups alone (positions), in this order; the leaderboard stays that of the run."""
        groups = checked_groups(groups, self.like.n_groups)
        return replace(
            self,
            like=self.like.take(groups),
            members=tuple(Member(m.candidate, m.fitted.take(groups), np.arange(len(groups))) for m in self.members),
            weights=self.weights[groups],
            group_losses=taken_losses(self.group_losses, groups),
            fallback=self.fallback.take(groups),
        )

    def stack(self, others: Sequence[Predictor]) -> Predictor:
        """This model and others in one; groups stay apart, leaderboards are averaged by rows.

        Raises `ConfigError` unless all have the same task and classes, and no group twice.
        """
        models = [self, *others]
        check_alike(models, {"classes": [model.like.classes for model in models]})
        check_distinct("group", [tuple(key) for model in models for key in model.like.group_keys])
        members, weights = stacked_members(models, [model.like.n_groups for model in models])
        return replace(
            self,
            like=Table.stack([model.like for model in models]),
            members=members,
            weights=weights,
            group_losses=stacked_losses(models),
            fallback=self.fallback.stack([model.fallback for model in others]),
            log=merged([model.log for model in models]),
            findings=tuple(finding for model in models for finding in model.findings),
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """No arrays; columns, classes and group keys."""
        return {}, table_state(self.like)

    def _groups(self) -> Groups:
        like, nothing = self.like, np.zeros(self.weights.shape, dtype=bool)
        service = Service([member.candidate.name for member in self.members], self.weights, nothing)
        return Groups(like.schema.group, like.group_keys, np.arange(like.n_groups), service)

    @classmethod
    def restore(cls, core: Mapping[str, Any], arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Predictor:
        """The inverse of `state`."""
        return cls(**core, like=restored_table(values))
