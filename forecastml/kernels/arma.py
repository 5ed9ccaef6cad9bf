"""The exact Gaussian likelihood of ARMA processes for many series and parameter vectors at once.

A column is one series under one parameter vector. phi and theta are whole lag polynomials, seasonal factors multiplied
out: w_t = sum phi_i w_{t-i} + e_t + sum theta_j e_{t-j}. The state is that of Harvey (1989, section 3.3): its first
element is w itself. Its covariance is followed by the recursions of Morf, Sidhu and Kailath (1974, "Some new algorithms
for recursive estimation in constant, linear, discrete-time systems"), which cost as much per step as the state is long
(Melard 1984, AS 197); they begin with the stationary covariance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.kernels.ragged import spans

#: A rank-one change of the state's covariance below this share of the innovation variance is over.
SETTLED = 1e-11
#: Steps between two looks at whether it is over, and two logarithms: products of so many variances stay finite.
LOOK = 12


@dataclass(frozen=True, eq=False)
class Filter:
    """A filter between two values: what is known of the next ones.

    state, gain, change: float64 (width, columns), the expected state, the gain times the variance, and the direction in
    which the covariance still changes; variance, factor: float64 (columns,), of the next innovation (in units of that
    of e), and how much it changes.
    """

    state: np.ndarray
    gain: np.ndarray
    change: np.ndarray
    variance: np.ndarray
    factor: np.ndarray

    @classmethod
    def stationary(cls, phi: np.ndarray, theta: np.ndarray) -> Filter:
        """Before the first value. phi, theta: float64 (order, columns), stationary."""
        first = _first_covariances(phi, theta)
        variance = first[0].copy()
        gain = widened(phi, len(first)) * variance
        gain[:-1] += first[1:]
        return cls(np.zeros_like(gain), gain, gain.copy(), variance, -1.0 / variance)


@dataclass(frozen=True, eq=False)
class Innovations:
    """What the values came to: scaled one-step errors (time, columns), 0 where unknown; sum of the logarithms of their
    variances and number of known values, (columns,); and the filter after the last value of each column."""

    errors: np.ndarray
    log_variance: np.ndarray
    known: np.ndarray
    after: Filter


def coefficients(reflections: np.ndarray) -> np.ndarray:
    """The stationary AR coefficients with these partial autocorrelations: float64 (order, columns) both.

    (Durbin and Levinson; Monahan 1984, "A note on enforcing stationarity".)
    """
    phi = np.empty_like(reflections)
    for k in range(len(reflections)):
        last = reflections[k]
        phi[:k] -= last * phi[:k][::-1].copy()
        phi[k] = last
    return phi


def reflections(phi: np.ndarray) -> np.ndarray:
    """The inverse of `coefficients`; of a polynomial that is not stationary, one is at least 1 or not finite."""
    found, rest = np.empty_like(phi), phi.copy()
    for k in range(len(phi) - 1, -1, -1):
        found[k] = rest[k]
        rest[:k] = (rest[:k] + found[k] * rest[:k][::-1]) / (1.0 - found[k] * found[k])
    return found


def stable(phi: np.ndarray, margin: float) -> np.ndarray:
    """Whether all roots of 1 - phi(B) lie further out than 1 + margin: bool (columns,)."""
    found = np.abs(reflections(phi * (1.0 + margin) ** np.arange(1, len(phi) + 1)[:, None]))
    return (found < 1.0).all(axis=0)


def multiplied(short: np.ndarray, seasonal: np.ndarray, season: int, width: int) -> np.ndarray:
    """phi of (1 - short(B)) (1 - seasonal(B^season)): float64 (width, columns)."""
    phi = np.zeros((width, short.shape[1]))
    phi[: len(short)] = short[:width]
    for k in range(len(seasonal)):
        lag = (k + 1) * season
        phi[lag - 1] += seasonal[k]
        phi[lag : lag + len(short)] -= seasonal[k] * short
    return phi


def innovations(values: np.ndarray, lengths: np.ndarray, phi: np.ndarray, theta: np.ndarray) -> Innovations:
    """Filter values (time, columns), NaN where unknown; lengths never increase.

    An unknown value is taken to be as expected: its error is 0.
    """
    return continued(Filter.stationary(phi, theta), values, lengths, phi)


def continued(start: Filter, values: np.ndarray, lengths: np.ndarray, phi: np.ndarray) -> Innovations:
    """Filter more values from where a filter stands."""
    run = _Run(start, values, phi)
    for first, last, n in spans(lengths):
        run.over(first, last, n)
    return run.result()


class _Run:
    """The buffers of one filtering: series that have ended keep what they had."""

    def __init__(self, start: Filter, values: np.ndarray, phi: np.ndarray) -> None:
        self.values, self.phi = values, widened(phi, len(start.state))
        # State and direction of change obey the same transition, so they move together.
        self.moving = np.stack([start.state, start.change])
        self.gain, self.variance, self.factor = start.gain.copy(), start.variance.copy(), start.factor.copy()
        self.errors = np.zeros(values.shape)
        self.known = ~np.isnan(values)
        self.log_variance = np.zeros(values.shape[1])

    def result(self) -> Innovations:
        state, change = self.moving
        after = Filter(state, self.gain, change, self.variance, self.factor)
        return Innovations(self.errors, self.log_variance, self.known.sum(axis=0), after)

    def over(self, first: int, last: int, n: int) -> None:
        """Steps first to last of the first n columns."""
        moving, gain, variance, factor, phi = (
            np.ascontiguousarray(array[..., :n])
            for array in (self.moving, self.gain, self.variance, self.factor, self.phi)
        )
        moved, shared, buffer = np.empty_like(moving), np.empty((2, n)), np.empty_like(gain)
        product, steady = np.ones(n), not moving[1].any()
        complete = bool(self.known[first:last, :n].all())
        for t in range(first, last):
            value = self.values[t, :n]
            error = value - moving[0, 0]
            if complete:
                product *= variance
            else:
                there = self.known[t, :n]
                error = np.where(there, error, 0.0)
                product *= np.where(there, variance, 1.0)
            np.divide(error, np.sqrt(variance), out=self.errors[t, :n])
            np.divide(error, variance, out=shared[0])
            if steady:
                _moved_on(phi, moving[:1], gain, shared[:1], moved[:1])
            else:
                start = moving[1, 0].copy()
                np.divide(start, variance, out=shared[1])
                np.negative(shared[1], out=shared[1])
                _moved_on(phi, moving, gain, shared, moved)
                # moved[1] is now the transition of the old direction alone.
                share = factor * start
                np.multiply(moved[1], share, out=buffer)
                gain += buffer
                variance += share * start
                factor -= share * share / variance
            if (t - first) % LOOK == LOOK - 1 or t == last - 1:
                self.log_variance[:n] += np.log(product)
                product[:] = 1.0
                if not steady:
                    largest = np.maximum(moving[1].max(axis=0), -moving[1].min(axis=0))
                    moving[1] *= largest * largest * np.abs(factor) > SETTLED * variance
                    steady = not moving[1].any()
        parts = (self.moving, moving), (self.gain, gain), (self.variance, variance), (self.factor, factor)
        for kept, new in parts:
            kept[..., :n] = new


def _moved_on(phi: np.ndarray, moving: np.ndarray, gain: np.ndarray, shared: np.ndarray, moved: np.ndarray) -> None:
    """moving (vectors, width, columns) one transition later, plus gain times shared (vectors, columns), in place; moved
    is left with the transition alone."""
    np.multiply(phi, moving[:, :1], out=moved)
    moved[:, :-1] += moving[:, 1:]
    np.multiply(gain, shared[:, None], out=moving)
    moving += moved


def widened(rows: np.ndarray, width: int) -> np.ndarray:
    """Zeros below, to `width` rows."""
    if len(rows) >= width:
        return rows
    return np.concatenate([rows, np.zeros((width - len(rows), rows.shape[1]))])


def total(values: np.ndarray) -> np.ndarray:
    """Sum over the first axis in order, to the same bits for one column as for many."""
    return np.add.accumulate(values, axis=0)[-1] if len(values) else np.zeros(values.shape[1:])


def _first_covariances(phi: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Covariances of the state's elements with its first one: float64 (width of the state, columns)."""
    width = max(len(phi), len(theta) + 1)
    psi = psi_weights(phi, theta, len(theta) + 1)
    lagged = autocovariances(phi, theta, len(phi))
    found = np.zeros((width, phi.shape[1]))
    # Element i holds what is known at t of w_{t+i}: phi_{i+k} w_{t-k}, k > 0, and theta_{i+k} e_{t-k}.
    found[0], found[1 : len(theta) + 1] = psi[0], theta
    for k in range(1, len(phi) + 1):
        found[: len(phi) + 1 - k] += phi[k - 1 :] * lagged[k]
    for k in range(1, len(theta) + 1):
        found[: len(theta) + 1 - k] += theta[k - 1 :] * psi[k]
    return found


def psi_weights(phi: np.ndarray, theta: np.ndarray, steps: int) -> np.ndarray:
    """Weights of the innovations in later values, from 1 on: float64 (steps, columns)."""
    psi = np.zeros((max(steps, len(theta) + 1) + len(phi), phi.shape[1]))
    psi[0] = 1.0
    psi[1 : len(theta) + 1] = theta
    for k in range(steps - 1):
        psi[k + 1 : k + 1 + len(phi)] += phi * psi[k]
    return psi[:steps]


def autocovariances(phi: np.ndarray, theta: np.ndarray, lags: int) -> np.ndarray:
    """Autocovariances of the process at lags 0..lags, innovations of variance 1: float64 (lags + 1, columns)."""
    order, most = len(phi), lags + len(theta)
    # Those of the autoregression alone, by Levinson's recursion from its partial autocorrelations.
    predictors, rest = [phi], phi
    for k in range(order - 1, 0, -1):
        last = rest[k]
        rest = (rest[:k] + last * rest[:k][::-1]) / (1.0 - last * last)
        predictors.append(rest)
    plain = np.zeros((most + 1, phi.shape[1]))
    plain[0] = 1.0
    for predictor in predictors:
        plain[0] /= 1.0 - predictor[-1] * predictor[-1]
    for k in range(1, most + 1):
        predictor = predictors[order - k] if k <= order else phi
        past = plain[k - len(predictor) : k][::-1]
        plain[k] = total(predictor * past)
    # The moving average of them.
    weights = np.concatenate([np.ones_like(plain[:1]), theta])
    found = total(weights * weights) * plain[: lags + 1]
    at = np.arange(lags + 1)
    for shift in range(1, len(weights)):
        found += total(weights[shift:] * weights[:-shift]) * (plain[at + shift] + plain[np.abs(at - shift)])
    return found
