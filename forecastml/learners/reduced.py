"""Series as rows of a table and back: one regression that learns what lies ahead of an origin from features of it.

Recursive: it learns the next value, and a forecast is made step by step; what was predicted is the history of the next
step. Direct: it learns every step of the horizon from what was known at the origin, with the step as a feature; each
known value is told from several origins, as many as the limit of rows allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from forecastml.data.panel import Panel, extent, ragged_rows
from forecastml.features.history import History
from forecastml.features.matrix import (
    Told,
    bases,
    decompositions,
    fill_decompositions,
    fill_from_history,
    fill_slots,
    write,
)
from forecastml.features.panel import FeatureSet
from forecastml.features.points import Points
from forecastml.features.standing import Standing
from forecastml.features.target import TargetTransform
from forecastml.kernels.fingerprints import fingerprints
from forecastml.kernels.lags import filled_forward
from forecastml.learners.contributions import contributions
from forecastml.learners.rows import TableModel, TrainingTable
from forecastml.learners.state import OK

#: Seasons (and at least so many values) from which the scale of a series is taken.
SCALE_SEASONS, SCALE_VALUES = 4, 24
#: Values of history, all series together, that a forecast holds at a time.
CHUNK = 1 << 22
#: Values that rows look back on, in multiples of the limit of rows.
HISTORY = 5
NO_VALUES = "no recent values"
#: Parts that sum to less than this share of their sizes cancel out; the distance that a slope is measured over.
CANCELLED, SMALL = 1e-6, 1e-4


@dataclass(frozen=True, eq=False)
class ReducedModel:
    """How series become rows, and the regression on them.

    steps: the horizon of a direct model, 0 for a recursive one; reach: bounds of what the regression may say, in the
    told target, so that a linear one which feeds on itself does not explode; table: None when no series ever changed;
    the forecast is then the base of the transform.
    """

    features: FeatureSet
    transform: TargetTransform
    table: TableModel | None
    steps: int = 0
    reach: tuple[float, float] = (-np.inf, np.inf)

    @cached_property
    def lookback(self) -> int:
        """Values of history that a forecast reads."""
        season = self.transform.season
        return max(self.features.depth, self.transform.depth, SCALE_SEASONS * season + 1, SCALE_VALUES)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, table = ({}, None) if self.table is None else self.table.state()
        told = {"features": self.features.to_json(), "transform": asdict(self.transform), "steps": self.steps}
        return arrays, {**told, "reach": [v if np.isfinite(v) else None for v in self.reach], "table": table}

    def status(self, panel: Panel) -> tuple[str, ...]:
        """Per series "ok" or why there is no forecast."""
        tail = panel.last(self.lookback)
        largest = extent(replace(tail, target=self.transform.forward(tail.target)))[1]
        return tuple(np.where(np.isnan(largest), NO_VALUES + self.transform.bound, OK).tolist())

    def predict(self, inputs: Panel, horizon: int) -> np.ndarray:
        """Point forecasts (series, horizon); NaN for series without values."""
        parts = [self._ahead(part, horizon) for part in self._chunks(inputs, horizon)]
        return np.concatenate(parts) if parts else np.empty((0, horizon))

    def explain(self, inputs: Panel, horizon: int, exact: bool = True) -> np.ndarray:
        """What each feature adds to the point forecasts: float64 (series, horizon, features + 1), the base last.

        Sums over the last axis are what `predict` gives. What the table model says in the target's own scale is told
        in the target's units; behind a power, in proportion.
        """
        width = len(self.features.names) + 1
        parts = []
        for part in self._chunks(inputs, horizon):
            told = np.zeros((len(part), horizon, width))
            self._ahead(part, horizon, told, exact)
            parts.append(told)
        return np.concatenate(parts) if parts else np.empty((0, horizon, width))

    def _chunks(self, inputs: Panel, horizon: int) -> Iterator[Panel]:
        size = max(1, CHUNK // (self.lookback + horizon))
        for first in range(0, len(inputs), size):
            yield inputs if size >= len(inputs) else inputs.select(np.arange(first, min(first + size, len(inputs))))

    def _ahead(self, inputs: Panel, horizon: int, told: np.ndarray | None = None, exact: bool = True) -> np.ndarray:
        """Point forecasts (series, horizon); told: filled with what each feature adds, if given."""
        n, ahead = len(inputs), _Ahead.of(self, inputs, horizon)
        result = np.empty((n, horizon))
        for steps, base, x in ahead.rows():
            values, width = base, steps.stop - steps.start
            if x is not None:
                said = np.clip(self.table.predict(x), *self.reach)
                values = base + np.repeat(ahead.standing.scale, width) * said
            values = np.minimum(values, np.repeat(ahead.standing.ceiling, width))
            ahead.take(steps, values.reshape(n, width))
            result[:, steps] = self.transform.backward(values).reshape(n, width)
            if told is not None:
                told[:, steps, -1] = self.transform.backward(base).reshape(n, width)
                if x is not None:
                    added = result[:, steps] - told[:, steps, -1]
                    small = base + SMALL * np.repeat(ahead.standing.scale, width)
                    slope = (self.transform.backward(small).reshape(n, width) - told[:, steps, -1]) / SMALL
                    parts = contributions(self.table, x, exact).reshape(n, width, -1)
                    told[:, steps] += _shared_out(parts, added, slope)
        return result


def _shared_out(parts: np.ndarray, total: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """`parts` (series, steps, features + 1) in units in which they sum to `total` (series, steps); slope: how much
    `total` grows with a very small part."""
    whole, size = np.zeros(total.shape), np.zeros(total.shape)
    for k in range(parts.shape[2]):
        whole += parts[:, :, k]
        size += np.abs(parts[:, :, k])
    # Parts that cancel out leave nothing to be in proportion to.
    factor = np.divide(total, whole, out=np.nan_to_num(slope), where=np.abs(whole) > CANCELLED * size)
    found = parts * factor[:, :, None]
    # The last bits.
    found[:, :, -1] += total - found.sum(axis=2)
    return found


def reach_of(told: np.ndarray) -> tuple[float, float]:
    """As far beyond the told targets of training as these reach, and as they lie from zero at least."""
    low, high = float(told.min()), float(told.max())
    room = max(high - low, abs(low), abs(high))
    return low - room, high + room


@dataclass(frozen=True, eq=False)
class _Ahead:
    """A forecast on its way: time first, the history of every series, then room for what lies ahead.

    missing: bool like values, where a value of the history was filled in.
    """

    model: ReducedModel
    tail: Panel
    values: np.ndarray
    missing: np.ndarray
    standing: Standing
    horizon: int

    @classmethod
    def of(cls, model: ReducedModel, inputs: Panel, horizon: int) -> _Ahead:
        raw = inputs.last(model.lookback).compact()
        tail = _filled(raw, model.transform)
        values = np.full((model.lookback + horizon, len(tail)), np.nan)
        rows, series = _places(tail)
        place = rows - tail.lengths[series] + model.lookback, series
        missing = np.zeros(values.shape, dtype=bool)
        values[place], missing[place] = tail.target, np.isnan(model.transform.forward(raw.target))
        return cls(model, tail, values, missing, model.transform.standing(tail), horizon)

    def rows(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray | None]]:
        """Steps (from 0) that are told at a time, the base of their points, and the features: series-major."""
        n, model = len(self.tail), self.model
        every = np.arange(n)
        if model.steps:
            points = self._points(np.repeat(every, self.horizon), np.tile(np.arange(1, self.horizon + 1), n))
            parts = decompositions(model.features, self.tail, points)
            yield slice(0, self.horizon), *self._told(points, 0, self._fixed(points), parts)
            return
        points = self._points(np.tile(every, self.horizon), np.repeat(np.arange(1, self.horizon + 1), n))
        points = replace(points, step=np.ones(len(points), np.int64))
        fixed, parts = self._fixed(points), decompositions(model.features, self.tail, points)
        for step in range(self.horizon):
            part = slice(step * n, (step + 1) * n)
            here = Points(every, points.position[part], points.step[part])
            now = [[column[part] for column in columns] for columns in parts]
            yield slice(step, step + 1), *self._told(here, step, fixed[part], now)

    def take(self, steps: slice, values: np.ndarray) -> None:
        """What was predicted is known from now on."""
        first = self.model.lookback
        self.values[first + steps.start : first + steps.stop] = values.T

    def _points(self, series: np.ndarray, step: np.ndarray) -> Points:
        return Points(series, self.tail.lengths[series] + step - 1, step)

    def _fixed(self, points: Points) -> np.ndarray:
        x = np.full((len(points), len(self.model.features.names)), np.nan, dtype=np.float32)
        for first, feature in self.model.features.of_role("point"):
            for k, column in enumerate(feature.columns(self.tail, points)):
                x[:, first + k] = column
        return x

    def _told(
        self, points: Points, done: int, fixed: np.ndarray, parts: list[list[np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        model, origin = self.model, self.model.lookback + done
        history = History(self.values[: origin + 1], None, self.missing[: origin + 1])
        row = origin + points.step - 1

        def before(back: np.ndarray) -> np.ndarray:
            source = row - back
            return np.where(source >= 0, self.values[np.maximum(source, 0), points.series], np.nan)

        recent, ahead = history.last(model.transform.depth), self.horizon if model.steps else 1
        levels = [level[-1][points.series] for level in model.transform.levels(recent, ahead)]
        base = model.transform.base(levels, before, points, self.standing)
        if model.table is None or not len(points):
            return base, None
        unit = base, _inverse(self.standing.scale)[points.series]
        for first, feature in model.features.of_role("history"):
            for k, column in enumerate(feature.columns(history.last(feature.depth))):
                write(fixed[:, first + k], column[-1][points.series], feature.units[k], unit)
        fill_slots(fixed, model.features, before, points, unit)
        fill_decompositions(fixed, model.features, parts, unit)
        return base, fixed


def training_table(panel: Panel, model: ReducedModel, most_rows: int) -> TrainingTable:
    """One row or more per known value that has a base, of series that changed of late; the newest, as many as there is
    room for. They look back on older ones, as far as a forecast does."""
    each, span = _newest(panel, most_rows), max(SCALE_SEASONS * model.transform.season, SCALE_VALUES)
    least = max(each, span) + model.steps + model.lookback
    raw = panel.last(max(_newest(panel, HISTORY * most_rows), least)).compact()
    filled = _filled(raw, model.transform)
    standing = model.transform.standing(_filled(raw.last(model.lookback), model.transform))
    position, series = _places(raw)
    weight = np.ones(len(position)) if raw.weight is None else raw.weight
    target = model.transform.forward(raw.target)
    age = raw.lengths[series] - 1 - position
    newest = age < each if each >= span else _spread(raw, series, age, each, span)
    use = np.flatnonzero(~np.isnan(target) & (standing.scale[series] > 0) & (weight > 0) & newest)
    rows, step = _told_from(use, position, model.steps, most_rows)
    points = Points(series[rows], position[rows], step)
    base = bases(model.transform, filled, points, standing, max(model.steps, 1))
    inverse = _inverse(standing.scale)
    y = (target[rows] - base) * inverse[points.series]
    there = np.flatnonzero(~np.isnan(base))
    order = _Order.of(points.series[there], y[there], None if raw.weight is None else weight[rows[there]])
    chosen = there[order.rows]
    rows, base, y = rows[chosen], base[chosen], y[chosen]
    points = Points(points.series[chosen], points.position[chosen], step[chosen])
    x = np.empty((len(rows), len(model.features.names)), dtype=np.float32)
    told = Told(base, inverse[points.series], np.isnan(target))
    fill_from_history(x, model.features, filled, points, told)
    for begin, feature in model.features.of_role("point"):
        for k, column in enumerate(feature.columns(raw, points)):
            x[:, begin + k] = column
    order.settle(x)
    weighted = None if raw.weight is None else weight[rows]
    columns = (model.features.categorical_columns, model.features.nominal_columns)
    return TrainingTable(x, y, weighted, model.features.names, *columns)


def _told_from(use: np.ndarray, position: np.ndarray, steps: int, most_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to tell about, ascending, and the step from which each is told; each row from as many as there is room."""
    if not steps:
        return use, np.ones(len(use), np.int64)
    copies = int(np.clip(most_rows // max(len(use), 1), 1, steps))
    parts = [1 + (position[use] * STRIDE + k * steps // copies) % steps for k in range(copies)]
    rows, step = np.tile(use, copies), np.concatenate(parts)
    order = np.argsort(rows, kind="stable")
    rows, step = rows[order], step[order]
    inside = position[rows] >= step
    return rows[inside], step[inside]


#: A prime, so that neighbouring rows are told from different steps.
STRIDE = 7919


def _spread(panel: Panel, series: np.ndarray, age: np.ndarray, each: int, span: int) -> np.ndarray:
    """Whether a row is told about where there is room for `each` of a series: bool (rows,).

    They lie all over its last `span` rows, and what a series contains decides which: together they see whole seasons.
    """
    marks = np.zeros(len(panel), np.int64)
    there = np.flatnonzero(panel.lengths)
    bounds = np.append(panel.begin[there], panel.end[there[-1:]])
    marks[there] = fingerprints([panel.target], bounds)[:, 0] % np.uint64(span)
    return (age < span) & ((age * STRIDE + marks[series]) % span < each)


def _places(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Row in its series, and series, of every value of a compact panel: int64 (values,) each."""
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    return np.arange(len(series)) - panel.begin[series], series


@dataclass(frozen=True, eq=False)
class _Order:
    """Rows ordered by the content of their series, so that neither the order nor names of series matter.

    rows: int64 (rows,); ties: where series of equal targets stand after that: first row, rows of a series, series.
    """

    rows: np.ndarray
    ties: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, series: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> _Order:
        """By the targets and weights; the rows of a series stand together."""
        bounds = np.flatnonzero(np.diff(series, prepend=-1, append=-1))
        sizes = np.diff(bounds)
        marks = fingerprints([y] if weight is None else [y, weight], bounds)
        order = np.lexsort((*marks.T, sizes))
        same = (marks[order[1:]] == marks[order[:-1]]).all(axis=1) & (sizes[order[1:]] == sizes[order[:-1]])
        first = np.cumsum(sizes[order]) - sizes[order]
        ties, heads = [], np.flatnonzero(np.append(True, ~same))
        for head, after in zip(heads, np.append(heads[1:], len(order)), strict=True):
            if after - head > 1:
                ties.append((int(first[head]), int(sizes[order[head]]), int(after - head)))
        return cls(ragged_rows(bounds[:-1][order], bounds[1:][order]), tuple(ties))

    def settle(self, x: np.ndarray) -> None:
        """Series of equal targets by their features."""
        for first, size, count in self.ties:
            parts = x[first : first + size * count].reshape(count, size, -1)
            digests = [hashlib.blake2b(part, digest_size=16).digest() for part in parts]
            parts[:] = parts[sorted(range(count), key=digests.__getitem__)]


def _newest(panel: Panel, most: int) -> int:
    """How many of the most recent values of every series there is room for."""
    lengths = np.sort(panel.lengths)
    if lengths.sum() <= most:
        return int(lengths.max(initial=1))
    shorter = np.cumsum(lengths) - lengths
    room = (most - shorter) // np.arange(len(lengths), 0, -1)
    return max(1, int(room[np.argmax(room < lengths)]))


def _filled(panel: Panel, transform: TargetTransform) -> Panel:
    """A compact copy after the power, missing values filled forward."""
    panel = panel.compact()
    return replace(panel, target=filled_forward(transform.forward(panel.target), panel.begin, panel.end))


def _inverse(scale: np.ndarray) -> np.ndarray:
    """1 / scale; 0 for series that never changed, whose forecast is their base."""
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
