"""The season of a chunk of series by classical decomposition, and series without it."""

from __future__ import annotations

import numpy as np

from forecastml.kernels import seasonality
from forecastml.learners.chunks import Chunk

#: A season is looked for in series that hold so many of them.
SEASONS = 2
#: Multiplicative indices below this would blow the adjusted values up.
LEAST_INDEX = 0.01


def seasonal_factors(chunk: Chunk, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors and terms (m, series) of the season, that of the next step first: value = adjusted * factor + term.

    Classical decomposition where the autocorrelation at lag m passes the 90 % test of the M competitions:
    multiplicative for positive series, additive for others; factor 1 and term 0 without a season.
    """
    factors, terms = np.ones((m, len(chunk))), np.zeros((m, len(chunk)))
    some = np.flatnonzero(chunk.known >= SEASONS * m) if m > 1 else np.empty(0, np.int64)
    if len(some):
        matrix = end_aligned(chunk.take(some))
        seasonal = seasonality.correlates(matrix, m)
        some, matrix = some[seasonal], np.ascontiguousarray(matrix[:, seasonal])
    if len(some):
        ratios = seasonality.seasonal_indices(matrix, m, multiplicative=True)
        multiplied = (chunk.low[some] > 0) & (ratios >= LEAST_INDEX).all(axis=0)
        differences = seasonality.seasonal_indices(matrix, m, multiplicative=False)
        factors[:, some] = np.where(multiplied, ratios, 1.0)
        terms[:, some] = np.where(multiplied, 0.0, differences)
    return factors, terms


def end_aligned(chunk: Chunk) -> np.ndarray:
    """Values (time, series) with the last of each series in the last row, NaN above the first."""
    time = len(chunk.values)
    at = np.arange(time)[:, None] - (time - chunk.lengths)
    return np.where(at >= 0, np.take_along_axis(chunk.values, np.maximum(at, 0), axis=0), np.nan)


def adjusted(values: np.ndarray, factors: np.ndarray, terms: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Values (time, series) without their season; shift (series,): slot of the first value."""
    slots = (np.arange(len(values))[:, None] + shift) % len(factors)
    return (values - np.take_along_axis(terms, slots, axis=0)) / np.take_along_axis(factors, slots, axis=0)
