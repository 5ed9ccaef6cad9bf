"""`Moments`: the distinct places on the grid that points have, so that what a date tells is computed once for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.data.calendar import DAY, to_local, to_times
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.features.points import Points

#: A table of all places between the first and the last is made up to so many times the number of points.
DENSE = 4


@dataclass(frozen=True, eq=False)
class Moments:
    """ordinals: int64 (moments,), ascending and distinct; where: int64 (points,), the moment of each point."""

    ordinals: np.ndarray
    where: np.ndarray

    @classmethod
    def of(cls, panel: Panel, points: Points) -> Moments:
        """The moments of these points of a panel."""
        step = panel.frequency.step
        return cls(*distinct(panel.start[points.series] + step * points.position, step))


def distinct(values: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values, ascending, and the place of each value among them: what `np.unique` finds, without a sort where
    the values lie on one grid of this step."""
    if not len(values):
        return values, np.empty(0, np.int64)
    first = values.min()
    places, off_grid = values - first, False
    if step > 1:
        places, rest = np.divmod(places, step)
        off_grid = rest.any()
    last = int(places.max())
    if last > DENSE * len(values) + DENSE or off_grid:
        found, where = np.unique(values, return_inverse=True)
        return found, where.reshape(-1)
    there = np.zeros(last + 1, bool)
    there[places] = True
    return first + step * np.flatnonzero(there), (np.cumsum(there) - 1)[places]


def local_ordinals(ordinals: np.ndarray, frequency: Frequency, tz: str | None) -> np.ndarray:
    """Ordinals by the local clock: those that count microseconds are moved to it, others are local already."""
    if tz is None or frequency.unit != "microsecond":
        return ordinals
    return to_local(to_times(ordinals, frequency), tz).astype(np.int64)


def grid_steps(ordinals: np.ndarray, frequency: Frequency, tz: str | None) -> np.ndarray:
    """Positions on the grid in steps, by the local clock: float64, shaped as `ordinals`."""
    return local_ordinals(ordinals, frequency, tz) / frequency.step


def local_periods(ordinals: np.ndarray, frequency: Frequency, tz: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The days that a point stands for, [first, end) by the local clock: int64 days since 1970-01-01.

    From the date of its ordinal to that of the next one, a day at least; a month dated on its end is that month. Not
    for integer time.
    """
    unit, step = frequency.unit, frequency.step
    if unit.startswith("month"):
        first = ordinals if unit == "month_start" else ordinals + 1 - step
        months = Frequency("month_start")
        return _days(to_times(first, months)), _days(to_times(first + step, months))
    bounds = (to_times(at, frequency) for at in (ordinals, ordinals + step))
    if tz is not None and unit == "microsecond":
        bounds = (to_local(times, tz) for times in bounds)
    first, end = map(_days, bounds)
    return first, np.maximum(end, first + 1)


def is_coarse(frequency: Frequency) -> bool:
    """Whether a point stands for more than one day; integer time does not."""
    if frequency.unit in ("day", "business_day"):
        return frequency.step > 1
    return frequency.unit.startswith("month") or (frequency.unit != "integer" and frequency.step > DAY)


def _days(times: np.ndarray) -> np.ndarray:
    return times.astype(np.int64) // DAY
