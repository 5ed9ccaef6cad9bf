"""ARIMA processes around their differences: how a series goes on, value by value and into the future.

(1 - B)^d (1 - B^m)^D y_t = c + w_t, where w is an ARMA process (`kernels.arma`). Arrays hold time first and series
last; a tail holds the last m + `EXTRA` values of a series, the newest last, zeros where it had none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.kernels.arma import Filter, Recursion, psi_weights, widened
from forecastml.kernels.ragged import spans

#: Plain differences at most, and so many values more than a season are looked back on.
EXTRA = 2


@dataclass(frozen=True, eq=False)
class Process:
    """phi, theta: float64 (order, series) of w; c: float64 (series,); lags, weights: earlier values of y that the
    differences take, and how much of each, (lags, series)."""

    phi: np.ndarray
    theta: np.ndarray
    constant: np.ndarray
    lags: tuple[int, ...]
    weights: np.ndarray

    @classmethod
    def of(
        cls, polynomials: tuple[np.ndarray, np.ndarray], constant: np.ndarray, d: np.ndarray, by: tuple[np.ndarray, int]
    ) -> Process:
        """d, and by: D and the season; int64 (series,)."""
        seasonal_d, season = by
        plain = np.stack([np.where(d == 2, 2.0, d), np.where(d == 2, -1.0, 0.0)])
        across = seasonal_d.astype(np.float64)
        weights = np.stack([plain[0], plain[1], across, -across * plain[0], -across * plain[1]])
        return cls(*polynomials, constant, (1, 2, season, season + 1, season + 2), weights)

    def before(self, history: np.ndarray, t: int, n: int) -> np.ndarray:
        """What the differences take from the value at row t: float64 (n,)."""
        found = self.weights[0, :n] * history[t - 1, :n]
        for lag, weight in zip(self.lags[1:], self.weights[1:], strict=True):
            found += weight[:n] * history[t - lag, :n]
        return found


def followed(
    process: Process, start: Filter, tail: np.ndarray, values: np.ndarray, lengths: np.ndarray
) -> tuple[Filter, np.ndarray]:
    """Filter and tail after values (time, series) of y; lengths never increase. An unknown value is as expected."""
    back = len(tail)
    history = np.concatenate([tail, values])
    run = Recursion(start, process.phi)
    for first, last, n in spans(lengths):
        run.narrow(n)
        for t in range(first, last):
            value = values[t, :n]
            expected = process.before(history, back + t, n) + process.constant[:n] + run.expected
            known = ~np.isnan(value)
            history[back + t, :n] = np.where(known, value, expected)
            run.step(np.where(known, value - expected, 0.0))
            run.settle()
    rows = np.arange(back)[:, None] + lengths
    return run.filter, np.take_along_axis(history, rows, axis=0)


def projected(process: Process, state: np.ndarray, tail: np.ndarray, steps: int) -> np.ndarray:
    """The next values of y, float64 (steps, series)."""
    back, n = tail.shape
    history = np.concatenate([tail, np.empty((steps, n))])
    phi, state = widened(process.phi, len(state)), state.copy()
    for t in range(back, back + steps):
        history[t] = process.before(history, t, n) + process.constant + state[0]
        moved = phi * state[0]
        moved[:-1] += state[1:]
        state = moved
    return history[back:]


def variances(process: Process, steps: int) -> np.ndarray:
    """Variances of the errors of the next values, innovations of variance 1: float64 (steps, series).

    (Box and Jenkins 1970, section 5.1; as if the past were known without end.)
    """
    psi = psi_weights(process.phi, process.theta, steps)
    back = max(process.lags)
    whole = np.concatenate([np.zeros((back, psi.shape[1])), psi])
    for t in range(back, back + steps):
        whole[t] += process.before(whole, t, psi.shape[1])
    return np.add.accumulate(whole[back:] * whole[back:], axis=0)
