"""Scores of forecasts on test rows, in plain numpy and one series at a time.

Independent of `forecastml.metrics` on purpose: two implementations that agree are a check of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))
QUANTILES = tuple(str(level) for level in LEVELS)


@dataclass(frozen=True, eq=False)
class Series:
    """What one series is judged by: train (n,) in time order; actual (h,), NaN where it is not known; season_length."""

    train: np.ndarray
    actual: np.ndarray
    season_length: int


@dataclass(frozen=True)
class Scores:
    """Means over series; `coverage` over rows, of the interval from 0.1 to 0.9; NaN without quantiles."""

    mase: float
    smape: float
    owa: float
    sql: float = float("nan")
    coverage: float = float("nan")


def score(series: Sequence[Series], mean: Sequence[np.ndarray], quantiles: Sequence[np.ndarray] | None) -> Scores:
    """Scores of forecasts: mean[i] (h,), quantiles[i] (h, 9) for `LEVELS`; missing actual values are left out."""
    scales = [mase_scale(s.train, s.season_length) for s in series]
    reference = [naive2(s.train, s.season_length, len(s.actual)) for s in series]

    def both(forecasts: Sequence[np.ndarray]) -> tuple[float, float]:
        errors = [np.nanmean(np.abs(s.actual - f)) / c for s, f, c in zip(series, forecasts, scales, strict=True)]
        return float(np.mean(errors)), float(
            np.mean([smape(s.actual, f) for s, f in zip(series, forecasts, strict=True)])
        )

    (mase_own, smape_own), (mase_naive2, smape_naive2) = both(mean), both(reference)
    owa = 0.5 * (smape_own / smape_naive2 + mase_own / mase_naive2)
    if quantiles is None:
        return Scores(mase_own, smape_own, owa)
    losses = [np.nanmean(2 * pinball(s.actual, q)) / c for s, q, c in zip(series, quantiles, scales, strict=True)]
    inside = [(q[:, 0] <= s.actual) & (s.actual <= q[:, -1]) for s, q in zip(series, quantiles, strict=True)]
    scored = np.isfinite(np.concatenate([s.actual for s in series]))
    return Scores(mase_own, smape_own, owa, float(np.mean(losses)), float(np.concatenate(inside)[scored].mean()))


def mase_scale(train: np.ndarray, season_length: int) -> float:
    """Mean absolute seasonal difference in sample; lag 1, mean |y| and 1 step in when it is 0 or has no pair."""
    for lag in (season_length, 1):
        pairs = np.abs(train[lag:] - train[:-lag])
        if np.isfinite(pairs).any() and np.nanmean(pairs) > 0:
            return float(np.nanmean(pairs))
    return float(np.nanmean(np.abs(train))) or 1.0


def smape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Symmetric MAPE in percent, 200 |y - f| / (|y| + |f|), with 0/0 = 0 (Makridakis and Hibon 2000)."""
    size = np.abs(actual) + np.abs(forecast)
    ratio = np.divide(200 * np.abs(actual - forecast), size, out=np.zeros_like(size), where=size != 0)
    return float(np.nanmean(ratio))


def pinball(actual: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Pinball loss per row and level: (h,), (h, 9) -> (h, 9)."""
    error = actual[:, None] - quantiles
    levels = np.array(LEVELS)
    return np.maximum(levels * error, (levels - 1) * error)


def seasonal_naive(train: np.ndarray, season_length: int, horizon: int) -> np.ndarray:
    """The last season again and again: (horizon,); the last value when the series is shorter than a season."""
    last = train[-season_length:] if len(train) >= season_length else train[-1:]
    return np.resize(last, horizon)


def naive2(train: np.ndarray, season_length: int, horizon: int) -> np.ndarray:
    """The naive forecast of the seasonally adjusted series, seasonal again: the reference of the M4 competition."""
    if not is_seasonal(train, season_length):
        return np.full(horizon, train[-1])
    indices = seasonal_indices(train, season_length)
    slots = np.arange(len(train), len(train) + horizon) % season_length
    return train[-1] / indices[(len(train) - 1) % season_length] * indices[slots]


def is_seasonal(train: np.ndarray, season_length: int) -> bool:
    """The 90 % autocorrelation test of the M4 competition; series with values at or below 0 are not adjusted."""
    n, m = len(train), season_length
    if m == 1 or n < 3 * m or not np.all(train > 0):
        return False
    centred = train - train.mean()
    total = float(centred @ centred)
    if total == 0:
        return False
    acf = np.array([centred[lag:] @ centred[:-lag] / total for lag in range(1, m + 1)])
    limit = 1.645 * np.sqrt((1 + 2 * np.sum(acf[:-1] ** 2)) / n)
    return bool(abs(acf[-1]) > limit)


def seasonal_indices(train: np.ndarray, season_length: int) -> np.ndarray:
    """Multiplicative indices (season_length,) of the classical decomposition; slot 0 is the first value's."""
    m = season_length
    kernel = np.ones(m) / m if m % 2 else np.concatenate([[0.5], np.ones(m - 1), [0.5]]) / m
    half = len(kernel) // 2
    ratio = train[half : len(train) - half] / np.convolve(train, kernel, mode="valid")
    slots = np.arange(half, half + len(ratio)) % m
    indices = np.bincount(slots, ratio, m) / np.bincount(slots, minlength=m)
    return indices / indices.mean()
