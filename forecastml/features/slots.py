"""Features of the same place in earlier seasons, as far as they were known at the origin.

A forecast many steps ahead lies further from the origin than a season is long; what it can be compared with is the last
known value at its own place in the season. `columns` takes a function that gives the value so many rows before each
point (int64 (points,) -> float64 (points,)), and the points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np

from forecastml.errors import ConfigError
from forecastml.features.points import Points

Before = Callable[[np.ndarray], np.ndarray]


def newest_known(step: np.ndarray, season: int) -> np.ndarray:
    """Rows from each point back to the last known value of the same place in the season: int64 (points,)."""
    return -(-step // season) * season


@dataclass(frozen=True)
class SeasonLags:
    """The last `count` known values at the point's place in the season."""

    season: int
    count: int = 1
    kind: ClassVar[str] = "season_lags"
    role: ClassVar[str] = "slot"

    @property
    def names(self) -> tuple[str, ...]:
        """season24_lag1, season24_lag2, ..."""
        return tuple(f"season{self.season}_lag{k + 1}" for k in range(self.count))

    @property
    def units(self) -> tuple[str, ...]:
        """Levels."""
        return ("level",) * self.count

    @property
    def depth(self) -> int:
        """Rows before the origin that are read."""
        return self.season * self.count

    def columns(self, before: Before, points: Points) -> list[np.ndarray]:
        """One per lag, newest first."""
        back = newest_known(points.step, self.season)
        return [before(back + k * self.season) for k in range(self.count)]


#: Aggregates of the same place and the unit that they are told in.
SLOT_AGGREGATES = {"mean": "level", "min": "level", "max": "level", "std": "spread", "median": "level"}


@dataclass(frozen=True)
class SeasonWindow:
    """Aggregates of the last `count` known values at the point's place in the season; missing ones are left out."""

    season: int
    count: int
    aggregates: tuple[str, ...] = ("mean",)
    kind: ClassVar[str] = "season_window"
    role: ClassVar[str] = "slot"

    def __post_init__(self) -> None:
        for name in self.aggregates:
            if name not in SLOT_AGGREGATES:
                raise ConfigError(f"aggregate {name!r} of a season is unknown; use {', '.join(SLOT_AGGREGATES)}")

    @property
    def names(self) -> tuple[str, ...]:
        """mean_season24_window4, ..."""
        return tuple(f"{name}_season{self.season}_window{self.count}" for name in self.aggregates)

    @property
    def units(self) -> tuple[str, ...]:
        """As the aggregates have them."""
        return tuple(SLOT_AGGREGATES[name] for name in self.aggregates)

    @property
    def depth(self) -> int:
        """Rows before the origin that are read."""
        return self.season * self.count

    def columns(self, before: Before, points: Points) -> list[np.ndarray]:
        """One per aggregate."""
        back = newest_known(points.step, self.season)
        values = [before(back + k * self.season) for k in range(self.count)]
        return [_SLOT_AGGREGATE[name](values) for name in self.aggregates]


def _mean(values: list[np.ndarray]) -> np.ndarray:
    total, count = np.zeros(len(values[0])), np.zeros(len(values[0]))
    for value in values:
        known = ~np.isnan(value)
        total += np.where(known, value, 0.0)
        count += known
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _spread(values: list[np.ndarray]) -> np.ndarray:
    """Of the sample: one degree of freedom less than known values."""
    middle = _mean(values)
    squares, count = np.zeros(len(middle)), np.zeros(len(middle))
    for value in values:
        known = ~np.isnan(value)
        squares += np.where(known, (value - middle) ** 2, 0.0)
        count += known
    return np.sqrt(np.divide(squares, count - 1, out=np.full(len(middle), np.nan), where=count > 1))


def _median(values: list[np.ndarray]) -> np.ndarray:
    ordered = np.sort(np.stack(values), axis=0)
    count, column = (~np.isnan(ordered)).sum(axis=0), np.arange(ordered.shape[1])
    low, high = ordered[np.maximum(count - 1, 0) // 2, column], ordered[count // 2, column]
    return low + (high - low) * 0.5


_SLOT_AGGREGATE: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {
    "mean": _mean,
    "min": lambda values: reduce(np.fmin, values),
    "max": lambda values: reduce(np.fmax, values),
    "std": _spread,
    "median": _median,
}
