"""What the history that a forecast keeps tells of a series as a whole: the unit that it is told in.

One number per series, from its own values alone, so that series that were never seen have theirs too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.data.panel import Panel, extent
from forecastml.kernels.differencing import STRONG, differences, seasonal_strength
from forecastml.kernels.lags import lagged, mean_by_series
from forecastml.kernels.summaries import quantiles_by_series, spread_by_series

#: Bases that tests choose from, by position.
CHOICES = ("level", "last", "slot")
#: Spreads below the smallest normal number are none: to divide by them would overflow.
TINY = np.finfo(float).tiny


@dataclass(frozen=True, eq=False)
class Standing:
    """Per series, after the power: scale, 0 for one that never changed; centre, NaN for one without values; ceiling,
    the largest value that a forecast may have; choice: position in `CHOICES`. float64, the last int64, (series,)."""

    scale: np.ndarray
    centre: np.ndarray
    ceiling: np.ndarray
    choice: np.ndarray


def scales(kept: Panel, kind: str, lag: int) -> np.ndarray:
    """The scale of each series: float64 (series,), 0 for one that never changed (or is all zeros).

    kept: compact. kind: "error": mean distance between values `lag` rows apart, else between neighbours; "mean": of
    absolute values; "std"; "range"; "iqr": between the quartiles, where they are equal the standard deviation; "none":
    1 for every series that has values.
    """
    series, n = np.repeat(np.arange(len(kept)), kept.lengths), len(kept)
    if kind == "error":
        return _errors(kept, series, lag)
    if kind == "mean":
        return _usable(mean_by_series(np.abs(kept.target), series, n))
    low, high = extent(kept)
    if kind == "none":
        return np.where(np.isnan(low), 0.0, 1.0)
    width = _usable(high - low)
    if kind == "range":
        return width
    # In units of the range: squares neither overflow nor vanish, and a series that never changed has no deviation.
    unit = np.where(width > 0, width, np.inf)
    deviation = width * spread_by_series((kept.target - low[series]) / unit[series], series, n)
    deviation = np.where(np.isnan(low), 0.0, deviation)
    if kind == "std":
        return deviation
    first, third = quantiles_by_series(kept.target, series, n, (0.25, 0.75))
    quartiles = _usable(third - first)
    return np.where(quartiles > 0, quartiles, deviation)


def _errors(kept: Panel, series: np.ndarray, lag: int) -> np.ndarray:
    rows, first = np.arange(len(series)), np.repeat(kept.begin, kept.lengths)
    found = np.zeros(len(kept))
    for apart in dict.fromkeys((lag, 1)):
        distance = np.abs(kept.target - lagged(kept.target, rows, first, apart))
        found = np.where(found > TINY, found, np.nan_to_num(mean_by_series(distance, series, len(kept))))
    return np.where(found > TINY, found, 0.0)


def _usable(found: np.ndarray) -> np.ndarray:
    return np.where((found > TINY) & np.isfinite(found), found, 0.0)


def centres(kept: Panel, kind: str) -> np.ndarray:
    """The "mean", "min" or "median" of each series: float64 (series,), NaN for one without values."""
    series = np.repeat(np.arange(len(kept)), kept.lengths)
    low, high = extent(kept)
    if kind == "min":
        return low
    if kind == "median":
        return quantiles_by_series(kept.target, series, len(kept), (0.5,))[0]
    # The mean of a series that never changes is its value, not what rounding makes of it.
    return np.clip(mean_by_series(kept.target, series, len(kept)), low, high)


def choices(kept: Panel, season: int) -> np.ndarray:
    """The base that suits each series, by tests of its values: positions in `CHOICES`, int64 (series,).

    "slot" for a strong season (see `kernels.differencing`), else "last" where the KPSS test rejects a level at 5 %.
    """
    values, lengths = _aligned(kept)
    found = differences(values, lengths, 1)
    if season > 1 and len(values) > 2 * season:
        order = np.argsort(-lengths, kind="stable")
        strong = np.zeros(len(kept), dtype=bool)
        strong[order] = seasonal_strength(values[:, order], lengths[order], season) > STRONG
        found[strong] = CHOICES.index("slot")
    return found


def _aligned(kept: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Known values time first, aligned at the first one, brought to the order of 1; and how many there are."""
    known = ~np.isnan(kept.target)
    series = np.repeat(np.arange(len(kept)), kept.lengths)[known]
    lengths = np.bincount(series, minlength=len(kept))
    rows = np.arange(len(series)) - (np.cumsum(lengths) - lengths)[series]
    values = np.zeros((int(lengths.max(initial=1)), len(kept)))
    values[rows, series] = kept.target[known]
    first = _of_order_one(values)[0].copy()
    values[rows, series] = values[rows, series] - first[series]
    _of_order_one(values)
    return values, lengths


def _of_order_one(values: np.ndarray) -> np.ndarray:
    """Columns divided, in place, by their largest absolute value."""
    largest = np.max(np.abs(values), axis=0, initial=0.0)
    values /= np.where(largest > TINY, largest, 1.0)
    return values
