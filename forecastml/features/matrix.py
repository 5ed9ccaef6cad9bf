"""Features of history as columns of a table: a few series at a time, so that what is at work stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecastml.data.panel import Panel, ragged_rows
from forecastml.features.history import History, Starts
from forecastml.features.panel import FeatureSet
from forecastml.features.points import Points
from forecastml.features.slots import Before
from forecastml.features.standing import Standing
from forecastml.features.target import TargetTransform

#: Values at work at a time (one series at least).
ROWS = 1 << 14

Unit = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Place:
    """The values of some series of a panel, and points in them that stand together in a table.

    part: their rows of the table; begin: int64 (points,), where the values of a point's series begin in the flat
    history.
    """

    part: slice
    history: History
    points: Points
    begin: np.ndarray

    @property
    def anchor(self) -> np.ndarray:
        """The row of the flat history that lies after the origin of each point."""
        return self.begin + self.points.anchor

    def before(self, back: np.ndarray) -> np.ndarray:
        """The value so many rows before each point, NaN before its series: float64 (points,)."""
        source = self.points.position - back
        return np.where(source >= 0, self.history.values[self.begin + np.maximum(source, 0)], np.nan)


def places(panel: Panel, points: Points, depth: int, missing: np.ndarray | None = None) -> Iterator[Place]:
    """The points of a compact panel, those of a series one after the other, a few series at a time.

    depth: rows before a point that are looked at; missing: bool (values,), see `History`. Empty rows stand between the
    series, as many as that, unless they would be more than the values.
    """
    empty = depth if depth * len(panel) <= len(panel.target) else 0
    bounds = np.append(np.flatnonzero(np.diff(points.series, prepend=-1)), len(points))
    series = points.series[bounds[:-1]]
    size = np.cumsum(panel.lengths[series])
    first, before, starts = 0, None, None
    while first < len(series):
        done = size[first - 1] if first else 0
        last = max(int(np.searchsorted(size, done + ROWS, side="right")), first + 1)
        part, these = slice(bounds[first], bounds[last]), series[first:last]
        lengths = panel.lengths[these]
        begin = np.cumsum(lengths + empty) - lengths
        flat = np.maximum(ragged_rows(panel.begin[these] - empty, panel.end[these]), 0)
        if not np.array_equal(lengths, before):
            starts, before = Starts(np.arange(len(flat)) - np.repeat(begin, lengths + empty), empty), lengths
        values = panel.target[flat]
        values[starts.outside] = np.nan
        history = History(values, starts.position, None if missing is None else missing[flat], starts)
        here = Points(points.series[part], points.position[part], points.step[part])
        yield Place(part, history, here, np.repeat(begin, np.diff(bounds[first : last + 1])))
        first = last


def bases(transform: TargetTransform, panel: Panel, points: Points, standing: Standing, ahead: int = 1) -> np.ndarray:
    """The base of each point of a panel (compact, after the power, filled forward): float64 (points,).

    ahead: the furthest step of the points.
    """
    found = np.empty(len(points))
    for place in places(panel, points, transform.depth):
        levels = [level[place.anchor] for level in transform.levels(place.history, ahead)]
        found[place.part] = transform.base(levels, place.before, place.points, standing)
    return found


def fill_from_history(x: np.ndarray, features: FeatureSet, panel: Panel, points: Points, told: Told) -> None:
    """Write the columns of features that read the target: x float32 (points, features); panel as in `bases`."""
    depth = max((feature.depth for _, feature in features.of_role("history")), default=1)
    for place in places(panel, points, depth, told.missing):
        unit = told.base[place.part], told.inverse[place.part]
        anchor = place.anchor
        # Column by column, turned at once: rows that lie apart are slow to write to.
        block = np.empty((x.shape[1], len(anchor)), dtype=np.float32)
        for first, feature in features.of_role("history"):
            for k, column in enumerate(feature.columns(place.history)):
                write(block[first + k], column[anchor], feature.units[k], unit)
        fill_slots(block.T, features, place.before, place.points, unit)
        x[place.part] = block.T
    fill_decompositions(x, features, decompositions(features, panel, points), (told.base, told.inverse))


@dataclass(frozen=True, eq=False)
class Told:
    """How the points of a table are told: base and 1 / scale, float64 (points,); missing: see `History`, of the panel's
    values."""

    base: np.ndarray
    inverse: np.ndarray
    missing: np.ndarray | None = None


def fill_slots(x: np.ndarray, features: FeatureSet, before: Before, points: Points, unit: Unit) -> None:
    """Write the columns of role "slot"."""
    for first, feature in features.of_role("slot"):
        for k, column in enumerate(feature.columns(before, points)):
            write(x[:, first + k], column, feature.units[k], unit)


def decompositions(features: FeatureSet, panel: Panel, points: Points) -> list[list[np.ndarray]]:
    """The columns of each feature of role "decomposition", as the target has them: float64 (points,)."""
    return [feature.columns(panel, points) for _, feature in features.of_role("decomposition")]


def fill_decompositions(x: np.ndarray, features: FeatureSet, columns: list[list[np.ndarray]], unit: Unit) -> None:
    """Write them in the points' units."""
    for (first, feature), parts in zip(features.of_role("decomposition"), columns, strict=True):
        for k, column in enumerate(parts):
            write(x[:, first + k], column, feature.units[k], unit)


def write(out: np.ndarray, values: np.ndarray, kind: str, unit: Unit) -> None:
    """Values in the points' own units, as float32 into `out`."""
    base, inverse = unit
    if kind == "level":
        values = values - base
        values *= inverse
    elif kind == "spread":
        values = values * inverse
    out[:] = values
