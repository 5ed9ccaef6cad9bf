"""One number for each series of a flat buffer: `series` tells the owner of each row, in any order; missing values are
left out, a series without any gets NaN. Neighbours change no bit of a series' number."""

from __future__ import annotations

import numpy as np

from forecastml.kernels.lags import mean_by_series


def quantiles_by_series(values: np.ndarray, series: np.ndarray, n: int, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles on straight lines between the sorted values: float64 (levels, series)."""
    known = ~np.isnan(values)
    values, series = values[known], series[known]
    ordered = np.append(values[np.lexsort((values, series))], np.nan)
    count = np.bincount(series, minlength=n)
    begin = np.cumsum(count) - count
    found = np.full((len(levels), n), np.nan)
    for k, level in enumerate(levels):
        place = level * np.maximum(count - 1, 0)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        first, second = (ordered[np.minimum(begin + at, len(values))] for at in (low, high))
        share = place - low
        found[k] = np.where(count > 0, first * (1.0 - share) + second * share, np.nan)
    return found


def spread_by_series(values: np.ndarray, series: np.ndarray, n: int) -> np.ndarray:
    """Standard deviation (divided by the number of values): float64 (n,)."""
    rest = values - mean_by_series(values, series, n)[series]
    return np.sqrt(mean_by_series(rest * rest, series, n))
