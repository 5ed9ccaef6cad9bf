"""`FittedModel`: what `fit` hands back, whatever the task: members, weights, and the log of what was tried."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from forecastml.data.checks import Finding
from forecastml.errors import ConfigError, ForecastWarning
from forecastml.learners.registry import get_learner
from forecastml.metrics import get_metric, metric_names
from forecastml.protocols import Candidate, Capabilities, Dataset, Fitted, Task
from forecastml.search.ensemble import combine
from forecastml.search.evaluate import predict_guarded
from forecastml.search.intervals import Pool
from forecastml.search.log import LogRow
from forecastml.status import Groups, group_columns

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Member:
    """A fitted candidate and the positions of the items (series, or groups of rows) that it serves: int64."""

    candidate: Candidate
    fitted: Fitted
    items: np.ndarray

    @property
    def capabilities(self) -> Capabilities:
        """Those of its learner."""
        return get_learner(self.candidate.learner).capabilities


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class FittedModel:
    """A trained ensemble; frozen: every method returns something new.

    task: what it was trained for; members; weights: float64 (groups, members); fallback: serves what no member can;
    log: the leaderboard; findings: what was mended or looked wrong in the data; group_losses: "ensemble" and "fallback"
    -> losses by the task's metric out of fold, float64 (groups, folds), newest last, NaN where there is none (nothing
    in models of older versions). A `Forecaster` serves series, a `Predictor` rows.
    """

    task: Task
    members: tuple[Member, ...]
    weights: np.ndarray
    fallback: Fitted
    log: tuple[LogRow, ...]
    findings: tuple[Finding, ...] = ()
    group_losses: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        members = ", ".join(member.candidate.name for member in self.members) or "the fallback alone"
        return f"{type(self).__name__} of {len(self.weights)} groups ({self.task.name}), members: {members}"

    def leaderboard(self, metric: str | None = None) -> pd.DataFrame:
        """Every candidate and the ensemble, best first.

        Columns: learner, loss (mean over folds; lower is better), fold_0, fold_1, ... (oldest first), seconds, state,
        weight (mean over groups), coverage and nominal (of the outermost interval, out of fold), failures, error.
        metric: any of `forecastml.metrics.metric_names()`; None: the one that the model was selected by.
        """
        from forecastml.data.frames import to_frame

        name = get_metric(metric or self.task.metric).name
        if name not in metric_names(self.task.name):
            known = ", ".join(metric_names(self.task.name))
            raise ConfigError(f"metric {name!r} cannot judge {self.task.name}; use one of {known}")
        folds = max((len(row.scores.get(name, ())) for row in self.log), default=0)
        rows = sorted(self.log, key=lambda row: (np.isnan(row.loss(name)), row.loss(name)))
        blank = (float("nan"),) * folds
        losses = np.array([(*row.scores.get(name, ()), *blank)[:folds] for row in rows]).reshape(len(rows), folds)
        return to_frame(
            {
                "learner": [row.name for row in rows],
                "loss": [row.loss(name) for row in rows],
                **{f"fold_{k}": losses[:, k] for k in range(folds)},
                **{
                    column: [getattr(row, column) for row in rows]
                    for column in ("seconds", "state", "weight", "coverage", "nominal", "failures", "error")
                },
            }
        )

    def groups(self) -> pd.DataFrame:
        """How each group is served, and how good that was out of fold; in the order of `weights`.

        Columns: the group's key, items (series or groups of rows), state ("ok" or "fallback"), model_used (members by
        weight), reason, loss and baseline (by the task's metric, mean over folds, of what serves the group and of the
        task's last resort), newest and newest_baseline (of the newest fold), and for series until (the last period).
        """
        from forecastml.data.frames import to_frame

        return to_frame(group_columns(self._groups(), self.weights, self.group_losses))

    @property
    def pool(self) -> Pool | None:
        """The residuals that groups share, None where there are no intervals."""
        return None

    @property
    def cold_start(self) -> float:
        """The forecast of an item of which nothing is known."""
        return float("nan")

    def explain(
        self,
        future: Any = None,
        series: Any = None,
        horizon: int | None = None,
        context: Any = None,
        by: str = "raw",
        missing_future: str | None = None,
    ) -> pd.DataFrame:
        """What the forecasts are the sum of, a row per contribution; of a model of rows, what its predictions are.

        future, series, horizon, context, missing_future: as for `forecast`; for a model of rows `future` is the table
        to predict. by: "raw", the columns of the data; "engineered", the features and components of the learners;
        "component", kinds of them (level, trend, season, covariates, ...).
        Returns the series columns and the time column (for rows "row", and "class", the one predicted), "member",
        "feature" and "contribution" (with "_" after it where a column of the data has the name) in units of the target,
        or of the probability of the class. Contributions are times the member's weight, those that are 0 are left out,
        and their sum is the mean (the probability). What no member could do is "fallback", what bounds and rounding
        change is "model". What trees say are Shapley's values for models of 2,000 forecasts (series times horizon;
        rows) at most, beyond it the ways through the trees. Raises as `forecast` or `predict`.
        """
        from forecastml.explanation import explained

        return explained(self, future, (context, horizon, series, missing_future), by)

    def importance(self, kind: str = "gain", by: str = "raw", data: Any = None, seed: int = 0) -> pd.DataFrame:
        """How much each feature matters: "feature", "importance" and "share" of the whole, most important first.

        kind: "gain", what members made of it in training; "contribution", the mean size of its contributions;
        "permutation", by how much the loss grows when it is shuffled. by: as for `explain`. data: future rows, with the
        target for "permutation" (for a model of rows, rows); None: what the model keeps (see `importance.shuffled_loss`
        for what that is). seed: of the shuffling.
        """
        from forecastml.importance import importance

        return importance(self, kind, by, data, seed)

    def featurization(self) -> pd.DataFrame:
        """What became of each column of the data: column, role, type, dropped, reason, features (how many engineered
        ones), transformations."""
        from forecastml.data.frames import to_frame
        from forecastml.featurization import column_summaries

        return to_frame(column_summaries(self))

    @property
    def engineered_names(self) -> tuple[str, ...]:
        """The engineered features of all members."""
        from forecastml.featurization import engineered_terms

        return tuple(dict.fromkeys(term.name for term in engineered_terms(self)))

    def save(self, path: str | Path) -> Path:
        """Write the model as a folder (JSON and arrays, no pickle); replaces an older model at the same place."""
        from forecastml.storage import save

        return save(self, Path(path))

    def take(self, groups: Sequence[int]) -> Self:
        """The model of these groups alone (positions), in this order; the leaderboard stays that of the run."""
        raise NotImplementedError

    def stack(self, others: Sequence[Self]) -> Self:
        """This model and others in one; groups stay apart, leaderboards are averaged by items."""
        raise NotImplementedError

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What is special to this kind of model, as arrays and JSON values, for `restore`."""
        raise NotImplementedError

    @classmethod
    def restore(cls, core: Mapping[str, Any], arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Self:
        """The inverse of `state`; core: the fields of `FittedModel`."""
        raise NotImplementedError

    def _groups(self) -> Groups:
        """Keys and service of the groups."""
        raise NotImplementedError

    def _mixed(self, inputs: Dataset, steps: int, outputs: tuple[str, ...], last_resort: np.ndarray) -> np.ndarray:
        """The members' predictions by their weights: (items * steps, outputs); `last_resort` where none has any."""
        count = len(inputs)
        values = np.full((len(self.members), count, steps * len(outputs)), np.nan)
        for m, member in enumerate(self.members):
            items = member.items if inputs.separable else np.arange(count)
            if not len(items):
                continue
            part = inputs if len(items) == count else inputs.select(items)
            found, reason = predict_guarded(member.fitted, part, steps, outputs)
            if reason:
                warnings.warn(f"{member.candidate.name} is left out: {reason}", ForecastWarning, stacklevel=7)
            values[m, items] = found.reshape(len(items), -1)
        values = values.reshape(len(self.members), count * steps, len(outputs))
        return combine(values, np.repeat(self.weights[inputs.group].T, steps, axis=1), last_resort)


def taken_losses(losses: Mapping[str, np.ndarray], groups: np.ndarray) -> dict[str, np.ndarray]:
    """`group_losses` of these groups alone."""
    return {name: values[groups] for name, values in losses.items()}


def stacked_losses(models: Sequence[FittedModel]) -> dict[str, np.ndarray]:
    """`group_losses` of several models in one, the newest folds side by side; those that all of them have."""
    stacked = {}
    for name in models[0].group_losses:
        parts = [model.group_losses.get(name) for model in models]
        if all(part is not None for part in parts):
            folds = max(part.shape[1] for part in parts)
            padded = [np.pad(p, ((0, 0), (folds - p.shape[1], 0)), constant_values=np.nan) for p in parts]
            stacked[name] = np.concatenate(padded)
    return stacked


def checked_groups(groups: Sequence[int], count: int) -> np.ndarray:
    """Positions of groups as int64, or `ConfigError` for one that is not there or comes twice."""
    groups = np.asarray(groups, dtype=np.int64)
    if len(np.unique(groups)) < len(groups) or not np.isin(groups, np.arange(count)).all():
        raise ConfigError(f"groups are distinct positions from 0 to {count - 1}; got {groups.tolist()}")
    return groups


def check_alike(models: Sequence[FittedModel], parts: Mapping[str, Sequence[Any]]) -> None:
    """Raise `ConfigError` unless the models to stack have the same task and equal parts (by name, one per model)."""
    for what, values in {"task": [model.task for model in models], **parts}.items():
        if any(value != values[0] for value in values[1:]):
            raise ConfigError(f"models to stack differ in their {what}; train them under one prior")


def check_distinct(what: str, keys: Sequence[tuple[str, ...]]) -> None:
    """Raise `ConfigError` when a key of the models to stack comes twice; what: it is a key of."""
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"{what} {', '.join(twice)} is in more than one of the models to stack")


def stacked_members(models: Sequence[FittedModel], items: Sequence[int]) -> tuple[tuple[Member, ...], np.ndarray]:
    """The members of several models and their weights over all groups; items: how many each model serves.

    Members of the same candidate become one.
    """
    shift, groups = np.cumsum([0, *items]), np.cumsum([0, *(len(model.weights) for model in models)])
    by_name: dict[str, list[Member]] = {}
    columns: dict[str, np.ndarray] = {}
    for i, model in enumerate(models):
        for k, member in enumerate(model.members):
            name = member.candidate.name
            by_name.setdefault(name, []).append(Member(member.candidate, member.fitted, member.items + shift[i]))
            column = columns.setdefault(name, np.zeros(groups[-1]))
            column[groups[i] : groups[i + 1]] = model.weights[:, k]
    joined = []
    for first, *rest in by_name.values():
        fitted = first.fitted.stack([member.fitted for member in rest]) if rest else first.fitted
        joined.append(Member(first.candidate, fitted, np.concatenate([m.items for m in (first, *rest)])))
    weights = np.stack(list(columns.values()), axis=1) if columns else np.zeros((groups[-1], 0))
    return tuple(joined), weights
