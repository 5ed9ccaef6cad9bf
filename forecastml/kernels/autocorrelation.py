"""Partial autocorrelations of many series at once.

From autocorrelations by the recursion of Durbin (1960), "The fitting of time-series models". Sums run along each series
alone, in the order of its rows.
"""

from __future__ import annotations

import numpy as np

from forecastml.kernels.lags import lagged, mean_by_series


def partial_autocorrelations(values: np.ndarray, begin: np.ndarray, end: np.ndarray, most: int) -> np.ndarray:
    """Of lags 1 to `most`: float64 (series, most); NaN for series that never change.

    values: float64 (rows,), NaN where missing; the series lie one after the other. Pairs with a missing value are left
    out.
    """
    n = len(begin)
    rows, series = np.arange(len(values)), np.repeat(np.arange(n), end - begin)
    first = begin[series]
    apart = values - mean_by_series(values, series, n)[series]
    squares = np.bincount(series, np.nan_to_num(apart**2), minlength=n)
    correlation = np.empty((most, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        for lag in range(1, most + 1):
            product = np.nan_to_num(apart * lagged(apart, rows, first, lag))
            correlation[lag - 1] = np.bincount(series, product, minlength=n) / squares
        return _durbin(correlation).T


def without_season(values: np.ndarray, begin: np.ndarray, end: np.ndarray, season: int) -> np.ndarray:
    """Values less the mean of their slot of the season in their series: float64 (rows,)."""
    series = np.repeat(np.arange(len(begin)), end - begin)
    slot = series * season + (np.arange(len(values)) - begin[series]) % season
    return values - mean_by_series(values, slot, len(begin) * season)[slot]


def _durbin(correlation: np.ndarray) -> np.ndarray:
    """Autocorrelations of lags 1, 2, ... (lags, series) -> partial ones."""
    partial = np.empty_like(correlation)
    weights = np.empty((0, correlation.shape[1]))
    for k in range(len(correlation)):
        rise, rest = correlation[k].copy(), np.ones(correlation.shape[1])
        for j in range(k):
            rise -= weights[j] * correlation[k - 1 - j]
            rest -= weights[j] * correlation[j]
        partial[k] = rise / rest
        weights = np.concatenate([weights - partial[k] * weights[::-1], partial[k : k + 1]])
    return partial
