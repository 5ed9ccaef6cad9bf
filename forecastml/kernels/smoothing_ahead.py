"""What lies ahead of an exponential smoothing form: the spread of its forecasts, exact or simulated.

Hyndman, Koehler, Ord and Snyder (2008), chapter 6: exact variances of the forms without multiplicative seasons,
additive errors in table 6.2, multiplicative ones in equation 6.19; for multiplicative seasons simulated paths. One
fixed table of draws serves all series, so that neighbours change nothing. Arrays as in `kernels.smoothing`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import ndtri

#: Simulated paths: with the draws spread evenly over the normal distribution, a quantile 0.1 or 0.9 of one step ahead
#: is right to 1 % of its distance from the mean.
PATHS = 256
#: Paths times columns that are simulated together.
CELLS = 8192


def variances(
    mean: np.ndarray, relative: np.ndarray, parameters: np.ndarray, variance: np.ndarray, season_length: int
) -> np.ndarray:
    """Variance of each forecast without multiplicative seasons: float64 (horizon, N).

    mean (horizon, N); relative: bool (N,), multiplicative errors; parameters (4, N); variance (N,) of e, or of e / mu;
    season_length: 0 for none (then gamma is 0).
    """
    alpha, beta, gamma, phi = parameters
    steps, n = mean.shape
    weights, damping, power = np.zeros((steps, n)), np.zeros(n), np.ones(n)
    for j in range(1, steps):
        power = power * phi
        damping = damping + power
        weight = alpha + beta * damping + (gamma if season_length and j % season_length == 0 else 0.0)
        weights[j] = weight * weight
    spread = np.empty((steps, n))
    total = np.ones(n)
    for h in range(steps):
        total = total + weights[h]
        spread[h] = variance * total
    if not relative.any():
        return spread
    # theta_h = mu_h^2 + sigma^2 sum_j c_j^2 theta_(h-j), the second moment of the mean.
    at = np.flatnonzero(relative)
    squares, pull, moment = mean[:, at] ** 2, weights[:, at] * variance[at], np.empty((steps, len(at)))
    for h in range(steps):
        moment[h] = squares[h]
        for j in range(1, h + 1):
            moment[h] += pull[j] * moment[h - j]
    spread[:, at] = (1.0 + variance[at]) * moment - squares
    return spread


@lru_cache(maxsize=4)
def _draws(steps: int) -> np.ndarray:
    """Standard normal draws (steps, PATHS), in each step the same evenly spread values in another order; the first
    steps do not depend on how many there are."""
    random = np.random.default_rng(20080)
    values = ndtri((np.arange(PATHS) + 0.5) / PATHS)
    values /= np.sqrt(np.mean(values**2))
    return np.stack([random.permutation(values) for _ in range(steps)])


def simulated(
    relative: np.ndarray,
    parameters: np.ndarray,
    state: np.ndarray,
    spread: np.ndarray,
    horizon: int,
    levels: tuple[float, ...],
) -> np.ndarray:
    """Quantiles of paths with multiplicative seasons: float64 (levels, horizon, N).

    relative: bool (N,), multiplicative errors; parameters (4, N); state (2 + m, N); spread (N,): standard deviation
    of e, or of e / mu.
    """
    n = state.shape[1]
    # A length that is rounded up is drawn once for many horizons.
    draws = _draws(-(-horizon // 64) * 64)
    result = np.empty((len(levels), horizon, n))
    size = CELLS // PATHS
    for first in range(0, n, size):
        at = slice(first, min(first + size, n))
        paths = _paths(relative[at], parameters[:, at], state[:, at], draws[:horizon, :, None] * spread[at])
        paths.sort(axis=1)
        for k, level in enumerate(levels):
            place = np.clip(level * PATHS - 0.5, 0.0, PATHS - 1.0)
            low = min(int(place), PATHS - 2)
            below, above = paths[:, low], paths[:, low + 1]
            result[k, :, at] = below + (place - low) * (above - below)
    return result


def _paths(relative: np.ndarray, parameters: np.ndarray, state: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Values (horizon, PATHS, N) of the recursion under these errors of the same shape; seasons multiply."""
    alpha, beta, gamma, phi = parameters
    level, trend, *seasons = (np.repeat(row[None], errors.shape[1], axis=0) for row in state)
    values = np.empty(errors.shape)
    for step, error in enumerate(errors):
        at = step % len(seasons)
        season = seasons[at]
        trend = trend * phi
        base = level + trend
        mu = base * season
        error = np.where(relative, error * mu, error)
        values[step] = mu + error
        share = error / season
        level, trend = base + alpha * share, trend + beta * share
        seasons[at] = season + gamma * (error / base)
    return values
