"""Earlier values of a series, at any of its rows, never across the border to its neighbour.

`values` is a flat float64 buffer of many series; a point is a row number in it (int64), and `first` is the row at
which the point's series begins. Points may lie at or after the end of the known values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def filled_forward(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A copy in which a missing value is the last known one of its series; NaN before the first known value.

    values: float64 (rows,); the series lie one after the other, begin[0] = 0 and begin[i + 1] = end[i].
    """
    rows = np.arange(len(values))
    latest = np.maximum.accumulate(np.where(np.isnan(values), -1, rows))
    inside = latest >= np.repeat(begin, end - begin)
    return np.where(inside, values[np.maximum(latest, 0)], np.nan)


def lagged(values: np.ndarray, rows: np.ndarray, first: np.ndarray, lag: int) -> np.ndarray:
    """The value `lag` steps before each point, NaN where the series had not begun: float64 (points,)."""
    source = rows - lag
    return np.where(source >= first, values[np.maximum(source, 0)], np.nan)


def trailing(
    values: np.ndarray, rows: np.ndarray, first: np.ndarray, sizes: Sequence[int]
) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Mean, smallest and largest of the `size` values before each point, for every size.

    Missing values are left out; NaN where all are missing. Sums run backwards in time, one step after the other.
    """
    total, count = np.zeros(len(rows)), np.zeros(len(rows))
    low, high = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    found = {}
    for lag in range(1, max(sizes, default=0) + 1):
        value = lagged(values, rows, first, lag)
        known = ~np.isnan(value)
        total += np.where(known, value, 0.0)
        count += known
        low, high = np.fmin(low, value), np.fmax(high, value)
        if lag in sizes:
            mean = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
            found[lag] = (mean, low, high)
    return found


def mean_by_series(values: np.ndarray, series: np.ndarray, n: int) -> np.ndarray:
    """Mean of the known values of each series, NaN where there is none: float64 (n,).

    values, series: one entry per row. `bincount` adds in the order of the rows, so that neighbours change no bit.
    """
    known = ~np.isnan(values)
    total = np.bincount(series[known], values[known], minlength=n)
    count = np.bincount(series[known], minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
