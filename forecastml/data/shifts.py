"""Sustained breaks of the level of a series: neither trend, nor season, nor what a covariate explains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecastml.data.calendar import DAY, natural_seasons
from forecastml.data.outliers import batches, counts, covariates, logarithms, matrix, median
from forecastml.data.panel import Panel

#: Values on each side of a break that are compared (a multiple of the season), and how many must be known.
SIDE, LEAST_KNOWN = 12, 8
#: Series shorter than this many sides are not judged.
SIDES = 4
#: A break is this many times as large as the spread beside it, as the usual change and as the third largest one.
ABOVE_NOISE, ABOVE_USUAL, ABOVE_OTHERS = 4.0, 6.0, 2.0
#: This share of it happens at once, and a line through both sides fits that many times worse.
AT_ONCE, WORSE_THAN_LINE = 0.7, 0.6
#: It is no season when no change a year before or after is this share of it.
SEASONAL = 0.4
#: Changes below this share of the level harm no forecast.
LEVEL = 0.05


def shifts(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Series (positions) whose level breaks, and the row of `panel.target` with which the new one begins: int64 both.

    The largest break of each series is told. Medians of the values on both sides are compared, on the scale of ratios
    where no value is negative, after the season is taken out; data finer than a day as medians of days. What is found
    must stand out from the noise beside it and from all other changes of the series (so random walks are left alone),
    happen at once, not recur each year, and not go with a like step of a covariate.
    """
    grid = Grid.of(panel)
    rows = np.full(len(panel), -1, np.int64)
    judged = panel.lengths >= SIDES * grid.side * grid.block
    for items in batches(replace(panel, end=np.where(judged, panel.end, panel.begin))):
        values = logarithms(matrix(panel.target, panel.begin[items], panel.end[items]))
        levels = grid.levels(values)
        time, suspects = _suspects(levels, np.where((values < 0).any(axis=1), median(np.abs(values)), 1.0), grid)
        if len(suspects):
            items = items[suspects]
            peers = [grid.blocks(other) for other in covariates(panel, items, values.shape[1])]
            time, kept = _confirmed(levels[suspects], time[suspects], peers, grid)
            rows[items[kept]] = panel.begin[items[kept]] + time[kept] * grid.block
    series = np.flatnonzero(rows >= 0)
    return series, rows[series]


@dataclass(frozen=True)
class Grid:
    """How values are laid out for the comparison: values per block, blocks per season, blocks per year (0: none)."""

    block: int
    season: int
    year: int

    @classmethod
    def of(cls, panel: Panel) -> Grid:
        """Blocks of a day (an hour, where the data are as fine as minutes), of one value from days on."""
        natural, frequency = natural_seasons(panel.frequency), panel.frequency
        block, season = 1, min(natural, default=1)
        if frequency.unit == "microsecond" and len(natural) > 1:
            block, season = natural[0], natural[1] // natural[0]
        year = {"day": 365, "business_day": 261, "month_start": 12, "month_end": 12, "microsecond": 365 * DAY}
        length = round(year.get(frequency.unit, 0) / (frequency.step * block))
        return cls(block, season if season <= 2 * SIDE else 1, length)

    @property
    def side(self) -> int:
        """Blocks on each side of a break that are compared."""
        return -(-SIDE // self.season) * self.season if self.season <= SIDE else self.season

    def blocks(self, values: np.ndarray) -> np.ndarray:
        """Medians of the blocks (series, blocks), an incomplete last one left out."""
        whole = values.shape[1] // self.block * self.block
        return values if self.block == 1 else median(values[:, :whole].reshape(len(values), -1, self.block))

    def levels(self, values: np.ndarray) -> np.ndarray:
        """Medians of the blocks without their season."""
        values = self.blocks(values)
        m, time = self.season, values.shape[1]
        if m == 1 or time < 3 * m:
            return values
        detrended = values - _moving_average(values, m)
        cycles = -(-time // m)
        slots = np.pad(detrended, ((0, 0), (0, cycles * m - time)), constant_values=np.nan)
        index = np.nan_to_num(median(np.swapaxes(slots.reshape(-1, cycles, m), 1, 2)))
        return values - np.tile(index, cycles)[:, :time]


def _moving_average(values: np.ndarray, m: int) -> np.ndarray:
    """Centred means of m values (2 x m for even m), NaN where the window is not inside; gaps leave it to the others."""
    known = ~np.isnan(values)
    half, least = m // 2, m - m // 4
    sums = [np.cumsum(np.pad(np.where(known, part, 0.0), ((0, 0), (1, 0))), axis=1) for part in (values, known)]
    means = np.full((2, *values.shape), np.nan)
    for k, first in enumerate((half, m - 1 - half)):
        total, count = (part[:, m:] - part[:, :-m] for part in sums)
        means[k][:, first : first + total.shape[1]] = np.where(count >= least, total / np.maximum(count, 1), np.nan)
    return means.mean(axis=0)


def _changes(levels: np.ndarray, side: int) -> np.ndarray:
    """Median of the values from each one on, minus that of those before it, trend taken off (series, time)."""
    padded = np.pad(levels, ((0, 0), (side, side)), constant_values=np.nan)
    around = sliding_window_view(padded, side, axis=1)
    known = counts(~np.isnan(padded), 0, side - 1)[:, : around.shape[1]]
    level = np.where(known >= LEAST_KNOWN, median(around), np.nan)
    change = level[:, side:-1] - level[:, : -side - 1]
    return change - median(change)[:, None]


def _suspects(levels: np.ndarray, typical: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Time of the largest change of each series, and the series in which it stands out from the others."""
    change = np.nan_to_num(np.abs(_changes(levels, grid.side)), nan=-1.0)
    time = change.argmax(axis=1)
    each = np.arange(len(change))
    largest = change[each, time]
    rest = _without(change, time, grid.side)
    usual = median(np.where(rest >= 0, rest, np.nan))
    second = rest.argmax(axis=1)
    third = _without(rest, second, grid.side).max(axis=1)
    stands_out = (largest >= ABOVE_USUAL * usual) & (largest >= ABOVE_OTHERS * third) & (largest >= LEVEL * typical)
    return time, np.flatnonzero(stands_out & (largest > 0))


def _without(change: np.ndarray, time: np.ndarray, side: int) -> np.ndarray:
    near = np.abs(np.arange(change.shape[1]) - time[:, None]) < side
    return np.where(near, -1.0, change)


def _confirmed(
    levels: np.ndarray, time: np.ndarray, others: list[np.ndarray], grid: Grid
) -> tuple[np.ndarray, np.ndarray]:
    """Exact time of each suspect, and positions of the suspects that are breaks."""
    side = grid.side
    around = _around(levels, time, 2 * side)
    near = around[:, side : 3 * side]
    before, after = median(near[:, :side]), median(near[:, side:])
    # The split that leaves least; a median hardly moves when a few values lie on its other side.
    left, right = np.abs(near - before[:, None]), np.abs(near - after[:, None])
    cost = np.cumsum(np.nan_to_num(left - right), axis=1)[:, side // 2 - 1 : -side // 2]
    place = cost.argmin(axis=1) - side // 2
    time = time + place
    near = _around(levels, time, side)
    change, noise, line = _fit(near)
    size = np.abs(change)
    kept = (size >= ABOVE_NOISE * noise) & line & _at_once(near, change) & _apart(near, change)
    kept &= np.minimum(*((~np.isnan(half)).sum(axis=1) for half in np.split(near, 2, axis=1))) >= LEAST_KNOWN
    kept &= ~_recurs(levels, time, change, grid)
    for other in others:
        beside = _around(other, time, side)
        step, spread, _ = _fit(beside)
        kept &= ~((np.abs(step) > 0) & (np.abs(step) >= ABOVE_NOISE / 2 * spread) & _at_once(beside, step))
    return time, np.flatnonzero(kept)


def _around(values: np.ndarray, time: np.ndarray, side: int) -> np.ndarray:
    """The `side` values before each time and those from it on: (series, 2 * side), NaN outside."""
    padded = np.pad(values, ((0, 0), (side, side)), constant_values=np.nan)
    return np.take_along_axis(padded, time[:, None] + np.arange(2 * side), axis=1)


def _fit(near: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change between the halves, spread within them (as a standard deviation), and whether a line fits far worse."""
    side = near.shape[1] // 2
    before, after = median(near[:, :side]), median(near[:, side:])
    change = after - before
    step = np.abs(near - np.repeat(np.stack([before, after], axis=1), side, axis=1))
    position = (np.arange(2 * side) - side + 0.5) / side
    line = np.abs(near - 0.5 * (before + after)[:, None] - change[:, None] * position)
    # Most values of a slow counter equal their median: the mean of all but the two largest distances sees the others.
    spread = np.maximum(1.4826 * median(step), 1.2533 * _mean(np.sort(step, axis=1)[:, :-2]))
    return change, spread, _mean(step) <= WORSE_THAN_LINE * _mean(line)


def _mean(values: np.ndarray) -> np.ndarray:
    return np.nansum(values, axis=1) / np.maximum((~np.isnan(values)).sum(axis=1), 1)


def _at_once(near: np.ndarray, change: np.ndarray) -> np.ndarray:
    side = near.shape[1] // 2
    step = median(near[:, side : side + 3]) - median(near[:, side - 3 : side])
    return step * np.sign(change) >= AT_ONCE * np.abs(change)


def _apart(near: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Whether all values before lie on one side of all after, but for one in ten: slow counters do not."""
    side = near.shape[1] // 2
    turned = near * np.where(change < 0, -1.0, 1.0)[:, None]
    low, high = np.sort(-turned[:, :side], axis=1), np.sort(turned[:, side:], axis=1)
    aside = [(~np.isnan(half)).sum(axis=1) // 10 for half in (low, high)]
    each = np.arange(len(near))
    return -low[each, aside[0]] < high[each, aside[1]]


def _recurs(levels: np.ndarray, time: np.ndarray, change: np.ndarray, grid: Grid) -> np.ndarray:
    """Whether a like change happened a year before or after."""
    # Nearer than that, the sides overlap those of the change itself.
    years = grid.year * -(-(grid.side + 2) // grid.year) if grid.year else 0
    if not 0 < years < levels.shape[1]:
        return np.zeros(len(levels), bool)
    changes = _changes(levels, grid.side)
    steps = np.concatenate([sign * years + np.arange(-2, 3) for sign in (-1, 1)])
    at = time[:, None] + steps
    inside = (at >= 0) & (at < levels.shape[1])
    like = np.take_along_axis(changes, np.where(inside, at, 0), axis=1) * np.sign(change)[:, None]
    return (inside & (like >= SEASONAL * np.abs(change)[:, None])).any(axis=1)
