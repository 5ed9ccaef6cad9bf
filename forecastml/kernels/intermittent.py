"""Intermittent demand: what is sold now and then, its sizes, the intervals between them, and its class.

Columns are series, time first. A period is a known value; unknown ones are left out beforehand (`packed`). A demand is
a value other than zero. Everything is elementwise in the series: neighbours change no bit.
"""

from __future__ import annotations

import numpy as np

from forecastml.kernels.ragged import spans

SMOOTH, ERRATIC, INTERMITTENT, LUMPY = "smooth", "erratic", "intermittent", "lumpy"
#: Without any demand, or with values below zero, a series has no class.
UNCLASSED = ""
#: Where the classes meet: mean interval between demands, squared coefficient of variation of their sizes
#: (Syntetos, Boylan and Croston 2005, "On the categorization of demand patterns", figure 2).
INTERVAL, VARIATION = 1.32, 0.49

#: Weights of the first table, and places of the second one around the best, in steps of the first.
COARSE = 8
FINE = np.array([0.0, -2.0, -1.0, 1.0, 2.0]) / 3.0


def demand_classes(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The class of each series values[begin[i]:end[i]]: text (series,), "smooth", "erratic", "intermittent", "lumpy".

    "" for a series that has no demand, or values below zero (Syntetos, Boylan and Croston 2005).
    """
    lengths = end - begin
    series = np.repeat(np.arange(len(lengths)), lengths)
    rows = np.arange(len(series)) + np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
    value = values[rows]

    def total(of: np.ndarray) -> np.ndarray:
        return np.bincount(series, of, minlength=len(lengths)).astype(np.float64)

    demand = np.where(np.isnan(value), 0.0, value)
    periods, demands = total(~np.isnan(value)), total(demand != 0)
    count = np.maximum(demands, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = total(demand) / count
        apart = np.where(demand != 0, demand / np.where(mean == 0, 1.0, mean)[series] - 1.0, 0.0)
        variation = total(apart * apart) / count
    varied, often = variation >= VARIATION, periods / count < INTERVAL
    classes = np.where(often, np.where(varied, ERRATIC, SMOOTH), np.where(varied, LUMPY, INTERMITTENT))
    return np.where((demands == 0) | (total(demand < 0) > 0), UNCLASSED, classes)


def demand_shares(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> dict[str, float]:
    """Share of the series in each class that occurs, of all series that have one."""
    classes = demand_classes(values, begin, end)
    names, counts = np.unique(classes[classes != UNCLASSED], return_counts=True)
    return {str(name): float(count / counts.sum()) for name, count in zip(names, counts, strict=True)}


def packed(values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The wanted values (mask) of each column one after the other: float64 (most, series), NaN after; how many."""
    counts = np.count_nonzero(wanted, axis=0)
    if (counts == len(values)).all():
        return values, counts
    row, column = np.nonzero(wanted)
    place = np.cumsum(wanted, axis=0)[row, column] - 1
    found = np.full((counts.max(initial=0), values.shape[1]), np.nan)
    found[place, column] = values[row, column]
    return found, counts


def intervals(demand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Periods from one demand to the next, the first one from before the first period: (most, series); how many.

    demand: bool (time, series).
    """
    period = np.broadcast_to(np.arange(1.0, len(demand) + 1)[:, None], demand.shape)
    at, counts = packed(period, demand)
    return np.diff(at, axis=0, prepend=0.0), counts


def mean_interval(demand: np.ndarray) -> np.ndarray:
    """Mean of the intervals of each column of a mask, 1 without demand: float64 (series,)."""
    periods = np.arange(1.0, len(demand) + 1)[:, None]
    last = np.max(np.where(demand, periods, 1.0), axis=0, initial=1.0)
    return last / np.maximum(np.count_nonzero(demand, axis=0), 1)


def buckets(values: np.ndarray, lengths: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `size[i]` values each, the last bucket ending with series i: float64 (most, series); how many.

    What does not fill a bucket at the beginning is left out. lengths, size: int64 (series,); values known.
    """
    counts = lengths // size
    place = (np.arange(len(values))[:, None] - lengths % size) // size
    row, column = np.nonzero((place >= 0) & (place < counts))
    most, series = counts.max(initial=0), len(lengths)
    # Added in the order of time: no difference of running sums, which could fall below zero.
    sums = np.bincount(place[row, column] * series + column, values[row, column], minlength=most * series)
    return sums.reshape(most, series), counts


def smoothed(values: np.ndarray, counts: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Simple exponential smoothing: levels after the last value and sums of squared one-step errors, (trials, series).

    The first value is the first level. values: float64 (time, series), of which the first counts[i] are read (0 for a
    series without any); weight: float64 (trials, series).
    """
    order = np.argsort(-counts, kind="stable")
    column = np.ascontiguousarray(values[:, order])
    weight = np.ascontiguousarray(weight[:, order])
    first = np.where(counts[order] > 0, column[0], 0.0) if len(column) else np.zeros(len(order))
    level, squares = np.repeat(first[None], len(weight), axis=0), np.zeros(weight.shape)
    error, part = np.empty(weight.shape), np.empty(weight.shape)
    for begin, end, n in spans(counts[order]):
        x, e, p, w, s = level[:, :n], error[:, :n], part[:, :n], weight[:, :n], squares[:, :n]
        for t in range(begin, end):
            np.subtract(column[t, :n], x, out=e)
            np.multiply(e, e, out=p)
            np.add(s, p, out=s)
            np.multiply(e, w, out=e)
            np.add(x, e, out=x)
    back = np.argsort(order)
    return level[:, back], squares[:, back]


def best_smoothed(
    values: np.ndarray, counts: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], previous: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Level after the last value and weight that gives the least squared one-step errors, (series,) each.

    As `smoothed`; bounds: smallest and largest weight, (series,) each, tried on a table and on a finer one around the
    best; previous: a weight (series,) that takes the place of the first table.
    """
    low, high = bounds
    step = (high - low) / (COARSE - 1)
    best = previous
    if best is None:
        trials = low + step * np.arange(COARSE)[:, None]
        best = np.take_along_axis(trials, _lowest(smoothed(values, counts, trials)[1]), axis=0)[0]
    trials = np.clip(best + step * FINE[:, None], low, high)
    level, squares = smoothed(values, counts, trials)
    at = _lowest(squares)
    return np.take_along_axis(level, at, axis=0)[0], np.take_along_axis(trials, at, axis=0)[0]


def _lowest(squares: np.ndarray) -> np.ndarray:
    """The first of the lowest in each column: int64 (1, series)."""
    return np.argmin(np.where(np.isnan(squares), np.inf, squares), axis=0)[None]
