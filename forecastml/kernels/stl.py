"""Seasonal-trend decomposition by loess of many series at once, with one season or several.

STL after Cleveland, Cleveland, McRae and Terpenning (1990), "STL: a seasonal-trend decomposition procedure based on
loess"; MSTL after Bandara, Hyndman and Bergmeir (2021), "MSTL: a seasonal-trend decomposition algorithm for time series
with multiple seasonal patterns". Arrays are float64 (time, series), without gaps and of one length. On a regular grid
the weights of a loess smoother are the same for all series, so it is a linear filter, applied tap by tap; robustness
weights, which differ between series, enter as moments. All operations are elementwise in the series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

#: Where a tap counts fully and where no longer, in bandwidths; spread of the taps, in lengths, that a slope needs.
NEAR, FAR, LEAST_SPREAD = 0.001, 0.999, 0.001
#: With fewer series, to add up every computed value on its own is faster than all of them tap by tap.
NARROW = 16


@dataclass(frozen=True)
class Loess:
    """A local regression over the `window` (odd) nearest values, of degree 0 or 1, with tricube weights.

    jump: it is computed at each `jump`-th value and at the last, and lies on straight lines between them.
    """

    window: int
    degree: int = 1
    jump: int = 1


@dataclass(frozen=True)
class SeasonPlan:
    """How one season is taken out: its length in steps, and the smoothers of slots, trend and low-pass filter.

    length: need not be whole; the season then has as many slots as the next whole number, and series are stretched to
    them (see `stretch`). polish: what smooths the season from slot to slot in the end ("post-smoothing of the seasonal"
    in Cleveland et al.), None for nothing.
    """

    length: float
    seasonal: Loess
    trend: Loess
    low_pass: Loess
    polish: Loess | None = None

    @classmethod
    def of(cls, length: float, seasonal: Loess, thinned: bool = True) -> SeasonPlan:
        """Windows of trend and low-pass filter as Cleveland et al. advise; thinned: computed ten times per window."""
        slots = int(np.ceil(length))
        trend, low_pass = next_odd(1.5 * slots / (1.0 - 1.5 / seasonal.window)), next_odd(slots + 1)
        return cls(length, seasonal, *(Loess(w, 1, tenth(w) if thinned else 1) for w in (trend, low_pass)))

    @property
    def slots(self) -> int:
        """Number of values of the season."""
        return int(np.ceil(self.length))


def next_odd(number: float) -> int:
    """The smallest odd whole number that is not below."""
    whole = int(np.ceil(number))
    return whole + 1 - whole % 2


def tenth(window: int) -> int:
    """A jump by which a smoother is computed ten times per window."""
    return -(-window // 10)


class Components(NamedTuple):
    """Parts of series, float64 (time, series): values = trend + all of seasonal + remainder.

    weights: robustness weights, None when the fit was not robust.
    """

    trend: np.ndarray
    seasonal: tuple[np.ndarray, ...]
    weights: np.ndarray | None


def stl(values: np.ndarray, plan: SeasonPlan, inner: int = 2, outer: int = 0) -> Components:
    """Trend and season of values (time, series) that hold the season twice.

    inner: rounds of season and trend; outer: how often these are repeated with new robustness weights.
    """
    if plan.length != plan.slots:
        source, back = stretch(len(values), plan.length)
        whole = stl(values[source], replace(plan, length=float(plan.slots)), inner, outer)
        weights = None if whole.weights is None else whole.weights[back]
        return Components(whole.trend[back], (whole.seasonal[0][back],), weights)
    trend, season, weights = np.zeros_like(values), np.zeros_like(values), None
    for repeat in range(outer + 1):
        if repeat:
            weights = robustness(values - trend - season)
        for _ in range(inner):
            cycles = _cycles(values - trend, plan, weights)
            season = cycles[plan.slots : plan.slots + len(values)] - smooth(
                _low_pass(cycles, plan.slots), plan.low_pass
            )
            trend = smooth(values - season, plan.trend, weights)
    if plan.polish is not None:
        season = smooth(season, plan.polish)
        trend = smooth(values - season, plan.trend, weights)
    return Components(trend, (season,), weights)


def stretch(n: int, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions of n values on a grid of whole seasons, and back: two int64 arrays of positions.

    A season of `length` steps has as many slots as the next whole number; both grids end with the last value. A slot
    in which no value falls repeats the next one.
    """
    rate = np.ceil(length) / length
    back = slot_numbers(np.arange(-n, 0), length)
    size = int(-back[0])
    source = np.clip(np.ceil(np.arange(-size, 0) / rate), -n, -1).astype(np.int64)
    return n + source, size + back


def slot_numbers(steps: np.ndarray, length: float) -> np.ndarray:
    """The number of the slot, counted on over the seasons, that each step falls in: int64 like steps."""
    return np.floor(steps * (np.ceil(length) / length)).astype(np.int64)


def mstl(
    values: np.ndarray, plans: Sequence[SeasonPlan], rounds: int = 2, inner: int = 2, outer: int = 0
) -> Components:
    """Trend and seasons of values (time, series), each season found in turn without the others, shortest first.

    plans: one at least. A single season needs no second round.
    """
    seasons = [np.zeros_like(values)] * len(plans)
    adjusted = values
    for _ in range(rounds if len(plans) > 1 else 1):
        for place, plan in enumerate(plans):
            adjusted = adjusted + seasons[place]
            found = stl(adjusted, plan, inner, outer)
            (seasons[place],) = found.seasonal
            adjusted = adjusted - seasons[place]
    return Components(found.trend, tuple(seasons), found.weights)


def robustness(remainder: np.ndarray) -> np.ndarray:
    """Bisquare weights of a remainder (time, series): 1 near zero, 0 from six median absolute values on."""
    size = np.abs(remainder)
    ordered = np.sort(size, axis=0)
    middle = len(size) // 2
    bound = 3.0 * (ordered[middle] + ordered[len(size) - 1 - middle])
    ratio = size / np.where(bound > 0, bound, 1.0)
    weights = np.where(ratio <= NEAR, 1.0, np.where(ratio <= FAR, (1.0 - ratio**2) ** 2, 0.0))
    return np.where(bound > 0, weights, 1.0)


class Filter(NamedTuple):
    """Loess as a linear filter: one row per value that is computed.

    grid: position of each, int64 (values,); left: position of its first tap; taps: weights without a slope, with it:
    two float64 (values, taps); flat: whether all rows begin at the same tap.
    """

    grid: np.ndarray
    left: np.ndarray
    kernel: np.ndarray
    weights: np.ndarray
    flat: bool


@lru_cache(maxsize=256)
def loess_filter(n: int, loess: Loess, beyond: int) -> Filter:
    """The filter over n values; beyond: values that are computed before the first and after the last one."""
    jump = min(loess.jump, n - 1)
    inside = np.unique(np.append(np.arange(0, n, jump), n - 1))
    ends = np.arange(beyond)
    grid = np.concatenate([ends - beyond, inside, n + ends])
    width = min(loess.window, n)
    left = np.clip(grid - loess.window // 2, 0, n - width)
    distance = left[:, None] + np.arange(width) - grid[:, None]
    bandwidth = np.maximum(grid - left, left + width - 1 - grid) + max(loess.window - n, 0) // 2
    ratio = np.abs(distance) / bandwidth[:, None]
    kernel = np.where(ratio <= NEAR, 1.0, np.where(ratio <= FAR, (1.0 - ratio**3) ** 3, 0.0))
    weights = kernel / kernel.sum(axis=1, keepdims=True)
    if loess.degree:
        mean = (weights * distance).sum(axis=1, keepdims=True)
        spread = (weights * (distance - mean) ** 2).sum(axis=1, keepdims=True)
        sloped = np.sqrt(spread) > LEAST_SPREAD * (n - 1)
        slope = -mean / np.where(sloped, spread, 1.0)
        weights = np.where(sloped, weights * (1.0 + slope * (distance - mean)), weights)
    for array in (grid, left, kernel, weights):
        array.setflags(write=False)
    return Filter(grid, left, kernel, weights, bool((left == left[0]).all()))


def smooth(values: np.ndarray, loess: Loess, weights: np.ndarray | None = None, beyond: int = 0) -> np.ndarray:
    """Loess over the first axis: float64 (n, ...) -> (n + 2 * beyond, ...), also `beyond` steps outside of both ends.

    weights: like values. Where all in reach are 0 the value itself stays, outside that of the end.
    """
    found = loess_filter(len(values), loess, beyond)
    computed = _filtered(values, found) if weights is None else _weighted(values, weights, found, loess.degree)
    if len(found.grid) == len(values) + 2 * beyond:
        return computed
    return _drawn(computed, found.grid, loess.jump, beyond)


def _filtered(values: np.ndarray, found: Filter) -> np.ndarray:
    """The filter's values, the taps added in the order of time."""
    rows, taps = found.weights.shape
    shape = (rows, *values.shape[1:])
    span = [1] * (values.ndim - 1)
    if values[0].size <= NARROW and taps > rows:
        # Both ways add in the same order, to the same bits.
        return np.stack(
            [
                np.cumsum(values[left : left + taps] * weights.reshape(-1, *span), axis=0)[-1]
                for left, weights in zip(found.left, found.weights, strict=True)
            ]
        )
    total, product = np.zeros(shape), np.empty(shape)
    for tap, column in enumerate(found.weights.T.reshape(-1, rows, *span)):
        if found.flat:
            np.multiply(values[found.left[0] + tap], column, out=product)
        else:
            np.take(values, found.left + tap, axis=0, out=product, mode="clip")
            product *= column
        total += product
    return total


def _weighted(values: np.ndarray, weights: np.ndarray, found: Filter, degree: int) -> np.ndarray:
    """The same with weights of each series: weighted means, and the slope by second moments about the grid's value."""
    moments = np.zeros((5, len(found.grid), *values.shape[1:]))
    weight, distance_mean, distance_square, level, slope = moments
    span = (-1, *[1] * (values.ndim - 1))
    for tap in range(found.kernel.shape[1]):
        at = found.left + tap
        distance = (at - found.grid).reshape(span).astype(np.float64)
        part = weights[at] * found.kernel[:, tap].reshape(span)
        product = part * values[at]
        weight += part
        level += product
        if degree:
            distance_mean += part * distance
            distance_square += part * distance * distance
            slope += product * distance
    there = weight > 0
    weight = np.where(there, weight, 1.0)
    result = level / weight
    if degree:
        mean = distance_mean / weight
        spread = distance_square / weight - mean * mean
        sloped = np.sqrt(np.maximum(spread, 0.0)) > LEAST_SPREAD * (len(values) - 1)
        tilt = (slope / weight - mean * result) / np.where(sloped, spread, 1.0)
        result = np.where(sloped, result - mean * tilt, result)
    kept = np.where(there, result, values[np.clip(found.grid, 0, len(values) - 1)])
    outside = (found.grid < 0) | (found.grid >= len(values))
    if outside.any():
        # Outside there is no value to keep: the smoothed end stands for it.
        inside = np.flatnonzero(~outside)
        nearest = np.clip(np.arange(len(found.grid)), inside[0], inside[-1])
        kept = np.where(there, kept, kept[nearest])
    return kept


def _drawn(computed: np.ndarray, grid: np.ndarray, jump: int, beyond: int) -> np.ndarray:
    """Straight lines between the values computed on the grid inside, and those outside of it as they are."""
    knots = computed[beyond : len(computed) - beyond]
    steps = np.diff(grid[beyond : len(grid) - beyond])
    drawn = np.empty((int(grid[-1] - grid[0]) + 1, *computed.shape[1:]))
    drawn[:beyond], drawn[len(drawn) - beyond :] = computed[:beyond], computed[len(computed) - beyond :]
    inside = drawn[beyond : len(drawn) - beyond]
    whole = int((steps == jump).sum())
    span = (1, jump, *[1] * (computed.ndim - 1))
    lines = inside[: whole * jump].reshape(whole, jump, *computed.shape[1:])
    rise = np.diff(knots, axis=0)
    np.multiply((rise[:whole] / jump)[:, None], np.arange(jump, dtype=np.float64).reshape(span), out=lines)
    lines += knots[:whole, None]
    if whole < len(steps):
        share = (np.arange(steps[-1]) / steps[-1]).reshape(-1, *[1] * (computed.ndim - 1))
        inside[whole * jump : -1] = knots[-2] + share * rise[-1]
    inside[-1] = knots[-1]
    return drawn


def _cycles(values: np.ndarray, plan: SeasonPlan, weights: np.ndarray | None) -> np.ndarray:
    """Every slot of the season smoothed over its cycles, a cycle further at both ends: (time + 2 * period, series)."""
    m = plan.slots
    whole, rest = divmod(len(values), m)
    found = np.empty((whole + 3, m, values.shape[1]))

    def smoothed(cycles: int, first: int, last: int) -> np.ndarray:
        def slots(array: np.ndarray) -> np.ndarray:
            return np.stack([array[c * m + first : c * m + last] for c in range(cycles)])

        return smooth(slots(values), plan.seasonal, None if weights is None else slots(weights), 1)

    found[:-1, rest:] = smoothed(whole, rest, m)
    if rest:
        # The first slots hold one cycle more than the others.
        found[:, :rest] = smoothed(whole + 1, 0, rest)
    return found.reshape(-1, values.shape[1])[: len(values) + 2 * m]


def _low_pass(cycles: np.ndarray, period: int) -> np.ndarray:
    """Moving averages of the period, twice, and of three: (time + 2 * period, series) -> (time, series)."""
    average = cycles
    for width in (period, period, 3):
        until = np.cumsum(average, axis=0)
        until[width:] -= until[:-width].copy()
        average = until[width - 1 :] / width
    return average
