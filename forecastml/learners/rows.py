"""Tabular learners: what they learn from and what they hand back. `learners.reduction` takes them to series."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from forecastml.attribution import BASE, Explanation, Term, add_shares, covariate
from forecastml.data.schema import Schema
from forecastml.data.table import Table
from forecastml.learners.contributions import contributions
from forecastml.learners.shuffled import Shuffled, revealed
from forecastml.learners.state import OK, equal_states
from forecastml.protocols import Capabilities, Facts, FitContext, Params, Prediction


class TableModel(Protocol):
    """A fitted regression or classification on a table."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features), NaN where unknown -> float64 (rows,), or (rows, classes) of probabilities."""
        ...

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """What each feature adds to an answer, and the base: float64 (rows, features + 1), of numbers alone. A row sums
        to what `predict` says of it."""
        ...

    def gains(self) -> np.ndarray:
        """What each feature was worth in training, 0 where nothing is known of it: float64 (features,)."""
        ...

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        ...


@dataclass(frozen=True, eq=False)
class TrainingTable:
    """x: float32 (rows, features); y: float64 (rows,), numbers or positions of classes; weight: float64 (rows,) or
    None; names: of the features; categorical: code columns; nominal: these and other columns whose numbers have no
    order (months); classes: number of classes, 0 for numbers."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    names: tuple[str, ...]
    categorical: tuple[int, ...] = ()
    nominal: tuple[int, ...] = ()
    classes: int = 0


@dataclass(frozen=True, eq=False)
class RowPredictor:
    """Fitted models and the one that serves each group of rows: `model`, int64 (groups,)."""

    models: tuple[TableModel, ...]
    model: np.ndarray

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok" for every group."""
        return (OK,) * len(self.model)

    def predict(self, inputs: Table, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """The outputs of every row of `inputs`; horizon is 1."""
        values = np.full((len(inputs), len(outputs)), np.nan)
        x = inputs.x.astype(np.float32)
        for model, rows in self._served(inputs):
            values[rows] = model.predict(x[rows]).reshape(len(rows), len(outputs))
        return Prediction(values, outputs)

    def explain(self, inputs: Table, horizon: int, exact: bool = True, chosen: np.ndarray | None = None) -> Explanation:
        """What each column adds to the answer of every row; horizon is 1.

        chosen: the class of each row, int64 (rows,), whose probability is told; it is told by revealing one column
        after the other, forwards and backwards, to a row of which nothing is known.
        """
        terms = (*self.terms(inputs.schema), BASE)
        values = np.full((len(inputs), 1, len(terms)), np.nan)
        x = inputs.x.astype(np.float32)
        for model, rows in self._served(inputs):
            if chosen is None:
                values[rows, 0] = contributions(model, x[rows], exact)
            else:
                values[rows, 0] = revealed(model, x[rows], chosen[rows])
        return Explanation(tuple(term.name for term in terms), values, terms)

    def terms(self, schema: Schema) -> tuple[Term, ...]:
        """The columns."""
        return tuple(covariate(column) for column in schema.known)

    def gains(self, schema: Schema) -> dict[Term, float]:
        """What each column was worth in training: shares of 1 in each model, by how many groups it serves."""
        found: dict[Term, float] = {}
        counts = np.bincount(self.model, minlength=len(self.models)).tolist()
        for model, count in zip(self.models, counts, strict=True):
            add_shares(found, self.terms(schema), model.gains(), count)
        return found

    def shuffled(self, terms: Collection[Term], schema: Schema, seed: int) -> RowPredictor:
        """The same with these columns shuffled among the rows that a model predicts."""
        columns = tuple(k for k, term in enumerate(self.terms(schema)) if term in terms)
        return replace(self, models=tuple(Shuffled(model, columns, seed) for model in self.models))

    def append(self, data: Table) -> RowPredictor:
        """The same models: rows have no origin that could move."""
        return RowPredictor(self.models, np.zeros(data.n_groups, np.int64) if len(self.models) == 1 else self.model)

    def take(self, items: np.ndarray) -> RowPredictor:
        """The part for these groups (positions)."""
        used, model = np.unique(self.model[items], return_inverse=True)
        return RowPredictor(tuple(self.models[i] for i in used), model.reshape(-1).astype(np.int64))

    def stack(self, others: Sequence[RowPredictor]) -> RowPredictor:
        """These groups and those of others; equal models are kept once."""
        models: list[TableModel] = []
        parts = []
        for part in (self, *others):
            place = np.array([_position(models, model) for model in part.models], dtype=np.int64)
            parts.append(place[part.model])
        return RowPredictor(tuple(models), np.concatenate(parts))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, values = {"model": self.model}, []
        for i, model in enumerate(self.models):
            own, told = model.state()
            arrays |= {f"{i}.{name}": array for name, array in own.items()}
            values.append(told)
        return arrays, {"rows": values}

    def _served(self, inputs: Table) -> Iterator[tuple[TableModel, np.ndarray]]:
        """Each model with the rows that it serves; a lone one serves any group, those that it has not seen too."""
        which = self.model[inputs.group] if len(self.models) > 1 else np.zeros(len(inputs), np.int64)
        for i, model in enumerate(self.models):
            rows = np.flatnonzero(which == i)
            if len(rows):
                yield model, rows


class TabularLearner:
    """A learner of rows: a subclass gives `fit_table` and `restore_table`, and says in its capabilities for what."""

    name: str
    capabilities = Capabilities()

    def space(self, facts: Facts) -> Sequence[Params]:
        """One set of parameters, the defaults."""
        return [{}]

    def fit(self, train: Table, params: Params, context: FitContext) -> RowPredictor:
        """One model for all rows whose target is known."""
        context.deadline.check()
        known = train.filled()
        rows = TrainingTable(
            known.x.astype(np.float32), known.y, known.weight, known.schema.known, classes=len(known.classes)
        )
        model = self.fit_table(rows, params, context)
        return RowPredictor((model,), np.zeros(train.n_groups, np.int64))

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> RowPredictor:
        """The inverse of `RowPredictor.state`."""
        models = tuple(self.restore_table(own_arrays(arrays, i), told) for i, told in enumerate(values["rows"]))
        return RowPredictor(models, arrays["model"])

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> TableModel:
        """Fit on one row or more."""
        raise NotImplementedError

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> TableModel:
        """The inverse of `TableModel.state`."""
        raise NotImplementedError


def own_arrays(arrays: Mapping[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    """The arrays of model number i, by their names in its own state."""
    return {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{i}.")}


def _position(models: list[TableModel], model: TableModel) -> int:
    """Where `model` stands in `models`; appended when it is new."""
    for i, known in enumerate(models):
        if known is model or equal_states(known.state(), model.state()):
            return i
    models.append(model)
    return len(models) - 1


def by_group(learner: TabularLearner, train: Table, params: Params, context: FitContext) -> RowPredictor:
    """The learner fitted to the rows of each group alone."""
    groups = [train.take(np.array([group])) for group in range(train.n_groups)]
    models = [learner.fit(rows, params, context).models[0] for rows in groups]
    return RowPredictor(tuple(models), np.arange(train.n_groups))
