"""Complex exponential smoothing of many series at once: recursions, forecasts and the derivatives of the errors.

Svetunkov, Kourentzes and Ord (2022), "Complex exponential smoothing". A block keeps a level l and a hidden part c that
carries what the level does not say; the error e moves both by a complex smoothing parameter a0 + i a1:

    l' = l - (1 - a1) c + (a0 - a1) e
    c' = l + (1 - a0) c + (a0 + a1) e

The forecast is the sum of a block that moves at every step (the trend) and one with a level for each slot of a season:

    form      trend    season
    none      a        -
    simple    -        a
    partial   a        s' = s + b e
    full      a        b

All of them are one recursion l' = l + A c + G e, c' = l + B c + H e per block; its coefficients (A, G, B, H) are linear
in the smoothing parameters. Arrays hold time first and series last: values (T, N), NaN where unknown (e is 0); lengths
(N,), never increasing; coefficients (2, 4, N), trend and season; trend (2, N); season (2, m, N), slot of the next step
first. All operations are elementwise in the series: neighbours change no bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.kernels.ragged import spans

TREND, SEASON = range(2)
#: (A, G, B, H) without parameters, and by a0 and a1.
FIXED = np.array([-1.0, 0.0, 1.0, 0.0])
COMPLEX = np.array([[0.0, 1.0, -1.0, 1.0], [1.0, -1.0, 0.0, 1.0]])
#: A season whose parameter is a real number has no hidden part.
REAL = np.array([[0.0, 1.0, 0.0, 0.0]])


@dataclass(frozen=True, eq=False)
class Form:
    """trend, season: how the coefficients of a block change with its parameters, (parameters, 4), None without it."""

    trend: np.ndarray | None
    season: np.ndarray | None

    @property
    def parameters(self) -> int:
        """Number of smoothing parameters, those of the trend first."""
        return sum(len(block) for block in (self.trend, self.season) if block is not None)

    def coefficients(self, parameters: np.ndarray) -> np.ndarray:
        """Parameters (parameters, ...) -> coefficients (2, 4, ...); those of a block that is not there are 0."""
        found = np.zeros((2, 4, *parameters.shape[1:]))
        first = 0
        for at, block in enumerate((self.trend, self.season)):
            if block is None:
                continue
            if block is COMPLEX:
                found[at] += FIXED.reshape(4, *[1] * (parameters.ndim - 1))
            for change in block:
                found[at] += change.reshape(4, *[1] * (parameters.ndim - 1)) * parameters[first]
                first += 1
        return found

    def stable(self, parameters: np.ndarray) -> np.ndarray:
        """Where the weights of past values fade, block by block: parameters (parameters, ...) -> bool (...)."""
        sound, first = np.ones(parameters.shape[1:], dtype=bool), 0
        for block in (self.trend, self.season):
            if block is COMPLEX:
                # Both eigenvalues of [[1 - a0 + a1, a1 - 1], [1 - a0 - a1, 1 - a0]] inside the unit circle (Jury).
                real, imaginary = parameters[first], parameters[first + 1]
                sum_, product = 2.0 - 2.0 * real + imaginary, _product(real, imaginary)
                sound &= (np.abs(product) < 1.0) & (np.abs(sum_) < 1.0 + product)
            elif block is REAL:
                sound &= (parameters[first] > 0.0) & (parameters[first] < 1.0)
            first += 0 if block is None else len(block)
        return sound


def _product(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    return (1.0 - real + imaginary) * (1.0 - real) - (imaginary - 1.0) * (1.0 - real - imaginary)


FORMS = {
    "none": Form(COMPLEX, None),
    "simple": Form(None, COMPLEX),
    "partial": Form(COMPLEX, REAL),
    "full": Form(COMPLEX, COMPLEX),
}


@dataclass(frozen=True, eq=False)
class State:
    """trend (2, ..., N) and season (2, m, ..., N): level and hidden part; the slot of the next step comes first."""

    trend: np.ndarray
    season: np.ndarray


def roll(values: np.ndarray, lengths: np.ndarray, coefficients: np.ndarray, state: State) -> np.ndarray:
    """Move the state (its arrays in place) over the values: sums of squared errors (..., N)."""
    trend, season = state.trend, state.season
    squares, m = np.zeros(trend.shape[1:]), season.shape[1]
    for first, last, n in spans(lengths):
        moves, total = coefficients[..., :n], squares[..., :n]
        for t in range(first, last):
            level, slot = trend[..., :n], season[:, t % m, ..., :n]
            error = values[t, :n] - (level[0] + slot[0])
            np.copyto(error, 0.0, where=np.isnan(values[t, :n]))
            total += error * error
            _move(level, moves[TREND], error)
            _move(slot, moves[SEASON], error)
    season[...] = turned(season, lengths)
    return squares


def _move(block: np.ndarray, moves: np.ndarray, error: np.ndarray) -> None:
    """One step of a block (2, ...) by its coefficients (4, ...) and the error, in place."""
    hidden = block[0] + moves[2] * block[1] + moves[3] * error
    block[0] += moves[0] * block[1] + moves[1] * error
    block[1] = hidden


def turned(season: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Season (2, m, ..., N) with the slot `steps` (N,) further on first."""
    m = season.shape[1]
    at = (np.arange(m).reshape(m, *[1] * (season.ndim - 2)) + steps) % m
    return np.take_along_axis(season, np.broadcast_to(at, season.shape[1:])[None], axis=1)


def project(coefficients: np.ndarray, state: State, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and their variances in multiples of that of one step, two of (steps, N)."""
    mean = _ahead(coefficients, state, steps)
    pulse = State(coefficients[TREND, 1::2].copy(), np.zeros_like(state.season))
    # The slot that the error of the next step goes to comes last from then on.
    pulse.season[:, -1] = coefficients[SEASON, 1::2]
    response = _ahead(coefficients, pulse, steps)
    variance = np.ones_like(mean)
    for step in range(1, steps):
        variance[step] = variance[step - 1] + response[step - 1] ** 2
    return mean, variance


def _ahead(coefficients: np.ndarray, state: State, steps: int) -> np.ndarray:
    trend, season = state.trend.copy(), state.season.copy()
    mean, none = np.empty((steps, trend.shape[1])), np.zeros(trend.shape[1])
    for step in range(steps):
        slot = season[:, step % season.shape[1]]
        mean[step] = trend[0] + slot[0]
        _move(trend, coefficients[TREND], none)
        _move(slot, coefficients[SEASON], none)
    return mean
