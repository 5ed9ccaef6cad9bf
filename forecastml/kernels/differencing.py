"""How often series must be differenced, and the differences, vectorised over series: arrays (time, series), aligned at
the first value, anything after the `lengths[i]` values of a series; lengths never increase.

Seasonal differences by the strength of the season (Wang, Smith and Hyndman 2006) in a decomposition by loess (STL:
Cleveland, Cleveland, McRae and Terpenning 1990), others by the test of Kwiatkowski, Phillips, Schmidt and Shin (1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.kernels.arma import total

#: A season that is stronger than this is differenced (Hyndman and Athanasopoulos, fpp3, section 9.1).
STRONG = 0.64
#: 5 % level of the KPSS test for a level (its table 1).
KPSS_BOUND = 0.463
#: Neighbouring years that a seasonal value is taken from, rounds of the decomposition.
SEASONAL_WINDOW, ROUNDS = 11, 5
#: Values of the order of 1 that vary less than this do not vary.
FLAT = 1e-12


def differenced(values: np.ndarray, d: int, seasonal_d: int, season: int) -> np.ndarray:
    """(1 - B)^d (1 - B^season)^seasonal_d of columns, fewer rows accordingly."""
    for _ in range(seasonal_d):
        values = values[season:] - values[:-season]
    for _ in range(d):
        values = values[1:] - values[:-1]
    return values


def inside(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Which rows belong to the series: bool (time, series)."""
    return np.arange(len(values))[:, None] < lengths


def spread(values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each series: two float64 (series,); 0 where there is nothing."""
    there, n = inside(values, lengths), np.maximum(lengths, 1)
    mean = total(np.where(there, values, 0.0)) / n
    rest = np.where(there, values - mean, 0.0)
    return mean, np.sqrt(total(rest * rest) / n)


def flat(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether a series does not vary: bool (series,)."""
    return spread(values, lengths)[1] <= FLAT


def kpss(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Statistic of the test for stationarity around a level: float64 (series,), 0 for flat series.

    Autocovariances up to lag 3 sqrt(n) / 13 with Bartlett's weights.
    """
    there, n = inside(values, lengths), np.maximum(lengths, 1)
    rest = np.where(there, values - spread(values, lengths)[0], 0.0)
    sums = np.where(there, np.add.accumulate(rest, axis=0), 0.0)
    lags = np.floor(3.0 * np.sqrt(n) / 13.0)
    variance = total(rest * rest)
    for lag in range(1, min(int(lags.max(initial=0)), len(values) - 1) + 1):
        weight = np.maximum(1.0 - lag / (lags + 1.0), 0.0)
        variance += 2.0 * weight * total(rest[lag:] * rest[:-lag])
    return np.where(flat(values, lengths), 0.0, total(sums * sums) / np.where(variance > 0, variance, np.inf) / n)


def differences(values: np.ndarray, lengths: np.ndarray, most: int) -> np.ndarray:
    """Differences until the KPSS test no longer rejects at 5 %, at most `most`: int64 (series,)."""
    d = np.zeros(len(lengths), dtype=np.int64)
    for k in range(most):
        rejected = (d == k) & (lengths > k + 1) & (kpss(values, lengths - k) > KPSS_BOUND)
        if not rejected.any():
            break
        d += rejected
        values = values[1:] - values[:-1]
    return d


def seasonal_strength(values: np.ndarray, lengths: np.ndarray, season: int) -> np.ndarray:
    """1 - Var(remainder) / Var(season + remainder), between 0 and 1: float64 (series,); 0 for flat or short series."""
    found = np.zeros(len(lengths))
    for length in np.unique(lengths[lengths > 2 * season]).tolist():
        alike = slice(int(np.searchsorted(-lengths, -length)), int(np.searchsorted(-lengths, -length, side="right")))
        some, n = values[:length, alike], lengths[alike]
        seasonal, trend = decomposed(some, season)
        both = spread(some - trend, n)[1]
        share = spread(some - trend - seasonal, n)[1] / np.where(both > 0, both, np.inf)
        found[alike] = np.where(flat(some, n) | (both <= 0), 0.0, np.maximum(1.0 - share * share, 0.0))
    return found


def decomposed(values: np.ndarray, season: int) -> tuple[np.ndarray, np.ndarray]:
    """Seasonal component and trend of series of one length, two seasons or more: two float64 (time, series)."""
    n = len(values)
    time = np.arange(n)
    # The smoothed years go on for one more at either end.
    wide = np.arange(n + 2 * season)
    slot = wide % season
    across = Loess.of(wide // season - 1, -(-(n - slot) // season), SEASONAL_WINDOW, 0)
    window = int(np.ceil(1.5 * season / (1.0 - 1.5 / SEASONAL_WINDOW)))
    along = Loess.of(time, n, window + 1 - window % 2, 1)
    over = Loess.of(time, n, season + 1 + season % 2, 1)
    trend = np.zeros_like(values)
    for _ in range(ROUNDS):
        smooth = across.smoothed(values - trend, season, slot)
        level = _moving_mean(_moving_mean(_moving_mean(smooth, season), season), 3)
        seasonal = smooth[season:-season] - over.smoothed(level)
        trend = along.smoothed(values - seasonal)
    return seasonal, trend


@dataclass(frozen=True, eq=False)
class Loess:
    """Local regressions at fixed positions: where each window begins, int64 (positions,), and the weights of what it
    holds, (taps, positions)."""

    left: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, at: np.ndarray, length: np.ndarray | int, window: int, degree: int) -> Loess:
        """Regressions of degree 0 or 1 at positions `at` of `length` values, tricube weights over an odd window of
        neighbours (Cleveland 1979). at: int64 (positions,); length may differ from position to position."""
        at, length = np.broadcast_arrays(at, length)
        left = np.clip(at - window // 2, 0, np.maximum(length - window, 0))
        right = np.minimum(left + window, length) - 1
        reach = np.maximum(at - left, right - at) + np.maximum(window - length, 0) // 2
        places = left + np.arange(min(window, int(length.max())))[:, None]
        distance = np.abs(places - at) / np.maximum(reach, 1e-3)
        weights = np.where((distance <= 0.999) & (places <= right), 1.0 - distance * distance * distance, 0.0)
        weights = weights * weights * weights
        weights /= total(weights)
        if degree:
            centre = total(weights * places)
            rest = places - centre
            width = total(weights * rest * rest)
            tilted = np.sqrt(width) > 1e-3 * (length - 1)
            weights *= 1.0 + np.where(tilted, (at - centre) / np.where(tilted, width, 1.0), 0.0) * rest
        return cls(left, weights)

    def smoothed(self, values: np.ndarray, step: int = 1, slot: np.ndarray | int = 0) -> np.ndarray:
        """values: float64 (time, series); where the positions count every `step`-th row, `slot` is the first one."""
        found = np.zeros((len(self.left), values.shape[1]))
        rows = self.left * step + slot
        for tap, weights in enumerate(self.weights):
            found += weights[:, None] * values[np.minimum(rows + tap * step, len(values) - 1)]
        return found


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Means of `width` rows from each on, fewer rows accordingly."""
    sums = np.add.accumulate(values, axis=0)
    return np.concatenate([sums[width - 1 : width], sums[width:] - sums[:-width]]) / width
