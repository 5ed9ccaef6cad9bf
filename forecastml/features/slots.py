"""Features of the same place in earlier seasons, as far as they were known at the origin.

A forecast many steps ahead lies further from the origin than a season is long; what it can be compared with is the last
known value at its own place in the season. `columns` takes a function that gives the value so many rows before each
point (int64 (points,) -> float64 (points,)), and the points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

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


@dataclass(frozen=True)
class SeasonWindow:
    """Mean of the last `count` known values at the point's place in the season; missing ones are left out."""

    season: int
    count: int
    kind: ClassVar[str] = "season_window"
    role: ClassVar[str] = "slot"

    @property
    def names(self) -> tuple[str, ...]:
        """mean_season24_window4"""
        return (f"mean_season{self.season}_window{self.count}",)

    @property
    def units(self) -> tuple[str, ...]:
        """A level."""
        return ("level",)

    @property
    def depth(self) -> int:
        """Rows before the origin that are read."""
        return self.season * self.count

    def columns(self, before: Before, points: Points) -> list[np.ndarray]:
        """One."""
        back = newest_known(points.step, self.season)
        total, count = np.zeros(len(points)), np.zeros(len(points))
        for k in range(self.count):
            value = before(back + k * self.season)
            known = ~np.isnan(value)
            total += np.where(known, value, 0.0)
            count += known
        return [np.divide(total, count, out=np.full(len(points), np.nan), where=count > 0)]
