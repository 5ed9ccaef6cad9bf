"""Powers of values that even out a spread which grows with the level (Box and Cox 1964), and the choice of one.

Exponents lie between 0 (the logarithm) and 1 (the values themselves, less one).
"""

from __future__ import annotations

import numpy as np

from forecastml.kernels.lags import mean_by_series

#: Exponents that are compared.
EXPONENTS = tuple(k / 20 for k in range(21))
#: Fewer blocks of a series than this tell nothing about its spread.
FEWEST_BLOCKS = 3
#: The logarithm of (almost) the largest number.
LARGEST = 700.0


def box_cox(values: np.ndarray, exponent: float) -> np.ndarray:
    """(value^exponent - 1) / exponent, for 0 the logarithm; NaN for values that are not above zero."""
    positive = values > 0
    if exponent == 0:
        return np.log(values, out=np.full(np.shape(values), np.nan), where=positive)
    found = np.power(values, exponent, out=np.full(np.shape(values), np.nan), where=positive)
    return (found - 1.0) / exponent


def inverse_box_cox(values: np.ndarray, exponent: float) -> np.ndarray:
    """The inverse of `box_cox`; 0 below what any value has."""
    if exponent == 0:
        return np.exp(np.minimum(values, LARGEST))
    return np.power(np.maximum(values * exponent + 1.0, 0.0), 1.0 / exponent)


def guerrero(values: np.ndarray, begin: np.ndarray, end: np.ndarray, size: int) -> np.ndarray:
    """The exponent of each series whose blocks of `size` values vary most alike (Guerrero 1993): float64 (series,).

    The one for which std / mean^(1 - exponent) of the blocks has the least coefficient of variation. NaN for series
    that are too short, never vary, or have blocks whose mean is not above zero. values: float64, flat, the series one
    after the other; blocks with a missing value are left out.
    """
    lengths = end - begin
    series = np.repeat(np.arange(len(begin)), lengths)
    # The unit changes no exponent, but squares could overflow.
    largest = np.zeros(len(begin))
    np.fmax.at(largest, series, values)
    values = values / np.where(largest > 0, largest, 1.0)[series]
    # Blocks end with the series, so that what is cut off is old.
    whole = lengths // size
    ahead = np.repeat(end, lengths) - 1 - np.arange(len(series))
    block = ahead // size + np.repeat(np.cumsum(whole) - whole, lengths)
    block = np.where(ahead < np.repeat(whole * size, lengths), block, -1)
    owner = np.repeat(np.arange(len(begin)), whole)
    inside = block >= 0
    known = np.bincount(block[inside & ~np.isnan(values)], minlength=len(owner)) == size
    mean = mean_by_series(values[inside], block[inside], len(owner))
    rest = values[inside] - mean[block[inside]]
    spread = np.sqrt(mean_by_series(rest * rest, block[inside], len(owner)))
    fit = known & (mean > 0)
    owner, mean, spread = owner[fit], mean[fit], spread[fit]
    enough = np.bincount(owner, minlength=len(begin)) >= FEWEST_BLOCKS
    best, least = np.full(len(begin), np.nan), np.full(len(begin), np.inf)
    for exponent in EXPONENTS:
        ratio = spread / np.power(mean, 1.0 - exponent)
        level = mean_by_series(ratio, owner, len(begin))
        off = ratio - level[owner]
        width = np.sqrt(mean_by_series(off * off, owner, len(begin)))
        loss = np.divide(width, level, out=np.full(len(begin), np.inf), where=enough & (level > 0))
        best, least = np.where(loss < least, exponent, best), np.minimum(least, loss)
    return best
