"""Forecasting as regression on a table: the only bridge from tabular learners to series.

One model for all series learns the next value from a row of features (`features.panel`), with the target told in the
series' own scale (`features.target`). A forecast is made step by step: what was predicted is the history of the next
step. The fitted object holds nothing about a series; it reads the last `lookback` values of its inputs, and serves
series that it never saw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from forecastml.data.panel import Panel, extent, ragged_rows
from forecastml.data.table import Table
from forecastml.features.panel import FeatureSet
from forecastml.features.target import TargetTransform
from forecastml.kernels.lags import filled_forward
from forecastml.learners.rows import RowPredictor, TableModel, TabularLearner, TrainingTable, own_arrays
from forecastml.learners.state import OK, SeriesArrays, equal_states
from forecastml.protocols import Facts, FitContext, Params, Prediction

#: Rows of training at most; longer panels are cut to the most recent values of every series.
MAX_ROWS = 200_000
#: Seasons (and at least so many values) from which the scale of a series is taken.
SCALE_SEASONS, SCALE_VALUES = 4, 24
NO_VALUES = "no recent values"


@dataclass(frozen=True, eq=False)
class ReducedModel:
    """How series become rows, and the regression on them.

    table: None when no series ever changed; the forecast is then the base of the transform.
    """

    features: FeatureSet
    transform: TargetTransform
    table: TableModel | None

    @cached_property
    def lookback(self) -> int:
        """Values of history that a forecast reads."""
        season = self.transform.season
        return max(self.features.depth, self.transform.depth, SCALE_SEASONS * season + 1, SCALE_VALUES)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, table = ({}, None) if self.table is None else self.table.state()
        return arrays, {"features": self.features.to_json(), "transform": asdict(self.transform), "table": table}

    def status(self, panel: Panel) -> tuple[str, ...]:
        """Per series "ok" or why there is no forecast."""
        largest = extent(panel.last(self.lookback))[1]
        return tuple(np.where(np.isnan(largest), NO_VALUES, OK).tolist())

    def predict(self, inputs: Panel, horizon: int) -> np.ndarray:
        """Point forecasts (series, horizon); NaN for series without values."""
        n = len(inputs)
        tail = _filled(inputs.last(self.lookback))
        scale = self.transform.scales(tail)
        inverse = _inverse(scale)
        first = tail.begin + np.arange(n) * horizon
        values = np.full(len(tail.target) + n * horizon, np.nan)
        values[ragged_rows(first, first + tail.lengths)] = tail.target
        ahead = np.arange(horizon)
        fixed = self.features.of_circumstances(
            tail, np.tile(np.arange(n), horizon), (tail.lengths + ahead[:, None]).ravel()
        )
        result = np.empty((n, horizon))
        for step in range(horizon):
            rows = first + tail.lengths + step
            base = self.transform.base(values, rows, first)
            told = 0.0
            if self.table is not None and n:
                moving = self.features.of_target(values, rows, first, (base, inverse))
                x = np.stack([*moving, *(column.reshape(horizon, n)[step] for column in fixed)], axis=1)
                told = self.table.predict(x)
            result[:, step] = values[rows] = base + scale * told
        return result


@dataclass(frozen=True, eq=False)
class ReducedForecaster:
    """Fitted models and which of them serves each series; one alone serves any panel, series it never saw too.

    items: "model" (position in `models`, int64) per series, and their status.
    """

    models: tuple[ReducedModel, ...]
    items: SeriesArrays

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok" or why there is no forecast."""
        return self.items.status

    @property
    def lookback(self) -> int:
        """Values of history that a forecast reads: a panel's `last(lookback)` gives the same bits as all of it."""
        return max(model.lookback for model in self.models)

    def predict(self, inputs: Panel, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """The next `horizon` values of `inputs`; outputs other than "mean" are NaN."""
        values = np.full((len(inputs), horizon, len(outputs)), np.nan)
        for index, part in self._served(inputs):
            mean = self.models[index].predict(inputs.select(part), horizon)
            values[part] = np.where([name == "mean" for name in outputs], mean[:, :, None], np.nan)
        return Prediction(values.reshape(-1, len(outputs)), outputs)

    def append(self, data: Panel) -> ReducedForecaster:
        """The same models for the series of `data`; the origin lies in the inputs of `predict`."""
        status = np.empty(len(data), dtype=object)
        which = np.zeros(len(data), dtype=np.int64)
        for index, part in self._served(data):
            status[part], which[part] = self.models[index].status(data.select(part)), index
        return replace(self, items=SeriesArrays({"model": which}, tuple(status)))

    def take(self, items: np.ndarray) -> ReducedForecaster:
        """The part for these series, with the models that serve them."""
        return _with_models_in_use(self.models, self.items.take(items))

    def stack(self, others: Sequence[ReducedForecaster]) -> ReducedForecaster:
        """This and others in one; equal models are kept once."""
        models: list[ReducedModel] = []
        parts = []
        for part in (self, *others):
            place = np.array([_position(models, model) for model in part.models])
            parts.append(SeriesArrays({"model": place[part.items["model"]]}, part.status))
        return ReducedForecaster(tuple(models), parts[0].stack(parts[1:]))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, values = self.items.state()
        models = []
        for i, model in enumerate(self.models):
            own, told = model.state()
            arrays |= {f"{i}.{name}": array for name, array in own.items()}
            models.append(told)
        return arrays, {**values, "models": models}

    def _served(self, panel: Panel) -> list[tuple[int, np.ndarray]]:
        """Position of each model and the series of `panel` that it serves."""
        if len(self.models) == 1:
            return [(0, np.arange(len(panel)))]
        return [(i, np.flatnonzero(self.items["model"] == i)) for i in range(len(self.models))]


class Reduction(TabularLearner):
    """A tabular learner that also takes series: a subclass gives `fit_table` and `restore_table`."""

    def space(self, facts: Facts) -> Sequence[Params]:
        """For series, target transforms by `transform`, best guess first.

        Differences of neighbours add up their errors step by step, so they come last where the horizon is longer than
        a season. Without a season the mean of the last season is the last value, and all of them are differences.
        """
        if not facts.separable:
            return super().space(facts)
        if not facts.seasons:
            return [{"transform": "difference"}]
        kinds = ["scale", "difference"]
        kinds.insert(1 if facts.horizon >= facts.seasons[0] else 2, "seasonal_difference")
        return [{"transform": kind} for kind in kinds]

    def fit(self, train: Panel | Table, params: Params, context: FitContext) -> ReducedForecaster | RowPredictor:
        """Learn from the rows of a table, or from those of all series; the oldest are left out beyond `MAX_ROWS`.

        transform: "scale" (default), "difference" or "seasonal_difference"; other parameters go to the table learner.
        """
        if isinstance(train, Table):
            return super().fit(train, params, context)
        context.deadline.check()
        season = (*context.seasons, 1)[0]
        transform = TargetTransform(params.get("transform", "scale"), season)
        features = FeatureSet.automatic(train, context.seasons, context.horizon, context.holidays)
        model = ReducedModel(features, transform, None)
        rows = _training_table(_capped(train), model)
        if len(rows.y):
            rest = {name: value for name, value in params.items() if name != "transform"}
            model = replace(model, table=self.fit_table(rows, rest, context))
        blank = SeriesArrays({"model": np.zeros(len(train), np.int64)}, (OK,) * len(train))
        return ReducedForecaster((model,), blank).append(train)

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> ReducedForecaster | RowPredictor:
        """The inverse of the fitted object's `state`."""
        if "rows" in values:
            return super().restore(arrays, values)
        models = []
        for i, told in enumerate(values["models"]):
            table = None if told["table"] is None else self.restore_table(own_arrays(arrays, i), told["table"])
            transform = TargetTransform(**told["transform"])
            models.append(ReducedModel(FeatureSet.from_json(told["features"]), transform, table))
        items = SeriesArrays.restore({name: arrays[name] for name in ("model", "status")}, values)
        return ReducedForecaster(tuple(models), items)


def _training_table(panel: Panel, model: ReducedModel) -> TrainingTable:
    """One row per known value that has a base, of series that changed of late."""
    features, raw = model.features, panel.compact()
    filled = _filled(raw)
    scale = model.transform.scales(_filled(raw.last(model.lookback)))
    series = np.repeat(np.arange(len(raw)), raw.lengths)
    first = np.repeat(raw.begin, raw.lengths)
    rows = np.arange(len(series))
    base = model.transform.base(filled.target, rows, first)
    weight = np.ones(len(rows)) if raw.weight is None else raw.weight
    use = np.flatnonzero(~np.isnan(raw.target) & ~np.isnan(base) & (scale[series] > 0) & (weight > 0))
    series, first, rows, base = series[use], first[use], rows[use], base[use]
    inverse = _inverse(scale)[series]
    columns = features.of_target(filled.target, rows, first, (base, inverse))
    columns += features.of_circumstances(raw, series, rows - first)
    x = np.stack(columns, axis=1)
    y = (raw.target[use] - base) * inverse
    order = _canonical_order(series, np.column_stack([x, y, weight[use]]))
    weighted = None if raw.weight is None else weight[use][order]
    columns = (features.categorical_columns, features.nominal_columns)
    return TrainingTable(x[order], y[order], weighted, features.names, *columns)


def _canonical_order(series: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Rows ordered by the content of their series, so that neither the order nor the names of series matter."""
    bounds = np.flatnonzero(np.diff(series, prepend=-1, append=-1))
    digests = [hashlib.blake2b(table[a:b].tobytes(), digest_size=16).digest() for a, b in pairwise(bounds)]
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)
    return ragged_rows(bounds[:-1][order], bounds[1:][order])


def _with_models_in_use(models: Sequence[ReducedModel], items: SeriesArrays) -> ReducedForecaster:
    used = np.unique(items["model"]) if len(items) else np.zeros(1, np.int64)
    which = np.searchsorted(used, items["model"])
    return ReducedForecaster(tuple(models[i] for i in used), SeriesArrays({"model": which}, items.status))


def _position(models: list[ReducedModel], model: ReducedModel) -> int:
    """Where `model` stands in `models`; appended when it is new."""
    for i, known in enumerate(models):
        if known is model or _equal(known, model):
            return i
    models.append(model)
    return len(models) - 1


def _equal(one: ReducedModel, other: ReducedModel) -> bool:
    if (one.features, one.transform) != (other.features, other.transform):
        return False
    return equal_states(one.state(), other.state())


def _capped(panel: Panel) -> Panel:
    """The most recent values of every series, as many as `MAX_ROWS` allows."""
    lengths = np.sort(panel.lengths)
    if lengths.sum() <= MAX_ROWS:
        return panel
    shorter = np.cumsum(lengths) - lengths
    room = (MAX_ROWS - shorter) // np.arange(len(lengths), 0, -1)
    return panel.last(max(1, int(room[np.argmax(room < lengths)])))


def _filled(panel: Panel) -> Panel:
    """A compact copy with missing values filled forward."""
    panel = panel.compact()
    return replace(panel, target=filled_forward(panel.target, panel.begin, panel.end))


def _inverse(scale: np.ndarray) -> np.ndarray:
    """1 / scale; 0 for series that never changed, whose forecast is their base."""
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
