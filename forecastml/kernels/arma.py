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
    known = ~np.isnan(values)
    errors, log_variance = np.zeros(values.shape), np.zeros(values.shape[1])
    run = Recursion(start, phi)
    product = np.ones(values.shape[1])
    for first, last, n in spans(lengths):
        run.narrow(n)
        complete = bool(known[first:last, :n].all())
        for t in range(first, last):
            error, variance = values[t, :n] - run.expected, run.variance
            if complete:
                product[:n] *= variance
            else:
                error = np.where(known[t, :n], error, 0.0)
                product[:n] *= np.where(known[t, :n], variance, 1.0)
            np.divide(error, np.sqrt(variance), out=errors[t, :n])
            run.step(error)
            # At the same steps whatever else is filtered, so that every column has the same bits.
            if t % LOOK == LOOK - 1:
                log_variance[:n] += np.log(product[:n])
                product[:n] = 1.0
                run.settle()
    log_variance += np.log(product)
    return Innovations(errors, log_variance, known.sum(axis=0), run.filter)


class Recursion:
    """A filter on its way: columns that have ended keep what they had."""

    def __init__(self, start: Filter, phi: np.ndarray) -> None:
        self._phi = widened(phi, len(start.state))
        # State and direction of change obey the same transition, so they move together.
        self._whole = (
            np.stack([start.state, start.change]),
            start.gain.copy(),
            *(part.copy() for part in (start.variance, start.factor)),
        )
        self._take(phi.shape[1])

    @property
    def expected(self) -> np.ndarray:
        """The next values: float64 (columns that run,)."""
        return self._moving[0, 0]

    @property
    def filter(self) -> Filter:
        """Where all columns stand."""
        self._keep()
        (state, change), gain, variance, factor = self._whole
        return Filter(state, gain, change, variance, factor)

    def narrow(self, n: int) -> None:
        """Only the first n columns go on."""
        self._keep()
        self._take(n)

    def step(self, error: np.ndarray) -> None:
        """One step further, after a value that was so far from the expected one."""
        variance, shared = self.variance, self._shared
        np.divide(error, variance, out=shared[0])
        if self._steady:
            _moved_on(self.phi, self._moving[:1], self._gain, shared[:1], self._moved[:1])
            return
        start = self._moving[1, 0].copy()
        np.divide(start, variance, out=shared[1])
        np.negative(shared[1], out=shared[1])
        _moved_on(self.phi, self._moving, self._gain, shared, self._moved)
        # What was moved is now the transition of the old direction alone.
        share = self._factor * start
        np.multiply(self._moved[1], share, out=self._buffer)
        self._gain += self._buffer
        variance += share * start
        self._factor -= share * share / variance

    def settle(self) -> None:
        """End the changes of columns where they are over."""
        if not self._steady:
            change = self._moving[1]
            largest = np.maximum(change.max(axis=0), -change.min(axis=0))
            change *= largest * largest * np.abs(self._factor) > SETTLED * self.variance
            self._steady = not change.any()

    def _take(self, n: int) -> None:
        moving, gain, variance, factor = (np.array(part[..., :n]) for part in self._whole)
        self._moving, self._gain, self.variance, self._factor = moving, gain, variance, factor
        self.phi = np.array(self._phi[:, :n])
        self._moved, self._shared, self._buffer = np.empty_like(moving), np.empty((2, n)), np.empty_like(gain)
        self._steady = not moving[1].any()

    def _keep(self) -> None:
        parts = self._moving, self._gain, self.variance, self._factor
        for kept, new in zip(self._whole, parts, strict=True):
            kept[..., : new.shape[-1]] = new


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
