"""Maximum likelihood of seasonal ARMA models with linear terms, for many series and orders at once.

The likelihood is exact (`kernels.arma`). Its maximum is that of a sum of squares: of innovations scaled by their own
standard deviation and by the geometric mean of all of them, which Levenberg and Marquardt's method follows; every fit
goes its own way and leaves when it has converged. A polynomial is told by its partial autocorrelations r = u / sqrt(1 +
u^2), so that every u is stationary and invertible (Monahan 1984).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.kernels.arma import Innovations, coefficients, innovations, multiplied, stable, total

#: Most terms of each polynomial: p, q, P, Q (Hyndman and Khandakar 2008).
MOST = (5, 5, 2, 2)
#: Rows of parameters: the four polynomials, then a constant and further linear terms.
AR, MA, SEASONAL_AR, SEASONAL_MA = slice(0, 5), slice(5, 10), slice(10, 12), slice(12, 14)
PARTS = (AR, MA, SEASONAL_AR, SEASONAL_MA)
CONSTANT = 14
#: Numbers per step that are filtered together: state lengths x columns, so that the buffers stay in the cache.
SIZE = 8192
#: Step of the difference quotients: parameters are of the order of 1.
STEP = 1e-4
#: Parameters beyond this are roots so near to 1 that they are rejected anyway; longest step of one round.
FARTHEST, LONGEST_STEP = 30.0, 1.5
#: First damping, and its factors after a success and a failure.
DAMPING, SUCCESS, FAILURE, MOST_DAMPING = 0.01, 0.2, 6.0, 1e7
#: A fit is given up when even so many times the expected gain of a step would not make it good enough.
OPTIMISM = 3.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Stationary series to fit: values (time, series), NaN where unknown, of variance about 1; lengths, never
    increasing; season, 1 for none; terms: values of the linear terms after the constant, (terms, time, series)."""

    values: np.ndarray
    lengths: np.ndarray
    season: int
    terms: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, lengths: np.ndarray, season: int = 1) -> Sample:
        """Without linear terms beside the constant."""
        return cls(values, lengths, season, np.empty((0, *values.shape)))

    @property
    def rows(self) -> int:
        """Rows of parameters."""
        return CONSTANT + 1 + len(self.terms)

    def innovations(self, series: np.ndarray, parameters: np.ndarray, seasonal: tuple[int, int]) -> Innovations:
        """Of these series, never shorter ones first, under parameters (rows, series); seasonal: highest P and Q."""
        lengths = self.lengths[series]
        rest = self.values[: lengths.max(initial=0), series] - parameters[CONSTANT]
        for term, weight in zip(self.terms, parameters[CONSTANT + 1 :], strict=True):
            if weight.any():
                rest -= weight * term[: len(rest), series]
        return innovations(rest, lengths, *polynomials(parameters, self.season, seasonal))


@dataclass(frozen=True, eq=False)
class Fits:
    """What is to be fitted: series, int64 (fits,), shorter ones have higher numbers; active, bool (rows, fits): what is
    free; start: float64 (rows, fits), 0 where not free; enough: float64 (fits,), a fit that is not expected to come
    below this -2 log likelihood is given up."""

    series: np.ndarray
    active: np.ndarray
    start: np.ndarray
    enough: np.ndarray


@dataclass(frozen=True)
class Stop:
    """When a fit ends: after so many rounds, or once a round gains less than this of -2 log likelihood."""

    rounds: int
    gain: float


def partial(parameters: np.ndarray) -> np.ndarray:
    """Partial autocorrelations of unbounded parameters."""
    return parameters / np.sqrt(1.0 + parameters * parameters)


def polynomials(
    parameters: np.ndarray, season: int, seasonal: tuple[int, int] = MOST[2:]
) -> tuple[np.ndarray, np.ndarray]:
    """Lag polynomials phi and theta, multiplied out for P and Q of at most `seasonal`: (order, columns) each."""
    ar, ma = coefficients(partial(parameters[AR])), coefficients(partial(parameters[MA]))
    far_ar = coefficients(partial(parameters[SEASONAL_AR][: seasonal[0]]))
    far_ma = coefficients(partial(parameters[SEASONAL_MA][: seasonal[1]]))
    phi = multiplied(ar, far_ar, season, MOST[0] + seasonal[0] * season)
    return phi, -multiplied(ma, far_ma, season, MOST[1] + seasonal[1] * season)


def well_inside(parameters: np.ndarray, season: int, margin: float) -> np.ndarray:
    """Whether all roots of all polynomials lie further out than 1 + margin: bool (columns,)."""
    inside = np.ones(parameters.shape[1], dtype=bool)
    for part in PARTS:
        far = (1.0 + margin) ** season - 1.0 if part.start >= SEASONAL_AR.start else margin
        inside &= stable(coefficients(partial(parameters[part])), far)
    return inside


def maximised(sample: Sample, fits: Fits, stop: Stop) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters (rows, fits), -2 log likelihood and innovation variance (fits,) at the maximum that a start reaches.

    -2 log likelihood is inf, and the start is returned, where it has no finite value there.
    """
    search = _Search(sample, fits)
    for _ in range(stop.rounds):
        if not len(search.running):
            break
        search.round(stop.gain)
    return search.best, search.deviance, search.variance


class _Search:
    """Levenberg and Marquardt's method in lockstep."""

    def __init__(self, sample: Sample, fits: Fits) -> None:
        self.sample, self.fits = sample, fits
        n, self.count = len(fits.series), fits.active.sum(axis=0)
        k = int(self.count.max(initial=0))
        # Rows of the free parameters; a fit that has fewer than others ends in rows that are not its own.
        self.free = np.argsort(~fits.active, axis=0, kind="stable")[:k]
        self.best, self.trial = fits.start.copy(), fits.start.copy()
        self.deviance, self.variance = np.full(n, np.inf), np.ones(n)
        self.slope, self.curvature = np.zeros((n, k)), np.zeros((n, k, k))
        self.damping, self.known = np.full(n, DAMPING), np.ones(n)
        self.far = np.stack([fits.active[part].sum(axis=0) for part in PARTS[2:]])
        # Models of one width come together.
        self.running = np.lexsort((fits.series, *self.far, self.far.max(axis=0, initial=0)))

    def round(self, gain: float) -> None:
        """Try the next point of every fit that runs."""
        every = self.running
        width = MOST[0] + 1 + self.far.max(axis=0, initial=0)[every] * self.sample.season
        numbers = np.cumsum((1 + self.count[every]) * width)
        done = np.zeros(len(self.fits.series), dtype=bool)
        for piece in np.split(every, np.flatnonzero(np.diff(numbers // SIZE)) + 1):
            piece = piece[np.argsort(self.fits.series[piece], kind="stable")]
            deviance, variance = self._quotients(piece)
            better = deviance < self.deviance[piece]
            small = better & (self.deviance[piece] - deviance < gain)
            new = piece[better]
            self.best[:, new], self.deviance[new] = self.trial[:, new], deviance[better]
            self.variance[new] = variance[better]
            self.damping[piece] *= np.where(better, SUCCESS, FAILURE)
            done[piece] = small | (self.damping[piece] > MOST_DAMPING) | ~np.isfinite(self.deviance[piece])
        self.running = every[~done[every] & (self.count[every] > 0)]
        self.running = self.running[self._step()]

    def _quotients(self, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-2 log likelihood and variance at the trial points; slope and curvature are kept where it is lower."""
        columns = 1 + self.count[piece]
        owner, after = np.repeat(np.arange(len(piece)), columns), np.cumsum(columns)
        base = after - columns
        place = np.arange(len(owner)) - base[owner]
        points = self.trial[:, piece[owner]]
        moved = np.flatnonzero(place)
        points[self.free[place[moved] - 1, piece[owner[moved]]], moved] += STEP
        most = tuple(self.far[:, piece].max(axis=1).tolist())
        found = self.sample.innovations(self.fits.series[piece[owner]], points, most)
        known = np.maximum(found.known, 1)
        errors = found.errors * np.exp(found.log_variance / (2.0 * known))
        self.known[piece] = known[base]
        squares, log_variance, known = total(errors * errors)[base], found.log_variance[base], known[base]
        deviance = known * (np.log(squares / known) + 1.0 + np.log(2.0 * np.pi))
        fine = np.isfinite(deviance)
        for k in np.unique(columns - 1).tolist():
            alike = np.flatnonzero(columns == k + 1)
            own = errors[:, base[alike]]
            tangents = np.stack([errors[:, base[alike] + 1 + j] - own for j in range(k)]) / STEP if k else None
            slope, curvature = np.zeros((len(alike), k)), np.zeros((len(alike), k, k))
            for i in range(k):
                slope[:, i] = total(tangents[i] * own)
                for j in range(i, k):
                    curvature[:, i, j] = curvature[:, j, i] = total(tangents[i] * tangents[j])
            fine[alike] &= np.isfinite(slope).all(axis=1) & np.isfinite(curvature).all(axis=(1, 2))
            kept = fine[alike] & (deviance[alike] < self.deviance[piece[alike]])
            self.slope[piece[alike[kept]], :k] = slope[kept]
            self.curvature[piece[alike[kept]], :k, :k] = curvature[kept]
        variance = squares / known * np.exp(-log_variance / known)
        return np.where(fine, deviance, np.inf), variance

    def _step(self) -> np.ndarray:
        """Set the next trial points of the fits that run; which of them still promise enough."""
        promising = np.ones(len(self.running), dtype=bool)
        for k in np.unique(self.count[self.running]).tolist():
            alike = np.flatnonzero(self.count[self.running] == k)
            running = self.running[alike]
            curvature, slope = self.curvature[running, :k, :k], self.slope[running, :k]
            diagonal = curvature[:, range(k), range(k)]
            # A parameter that changes nothing stays where it is.
            tiny = 1e-12 * (1.0 + diagonal.max(axis=1, keepdims=True))
            curvature[:, range(k), range(k)] = diagonal * (1.0 + self.damping[running, None]) + tiny
            step = -np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
            self.trial[:, running] = self.best[:, running]
            gain = np.zeros(len(running))
            for j in range(k):
                rows = self.free[j, running]
                moved = self.trial[rows, running] + np.clip(step[:, j], -LONGEST_STEP, LONGEST_STEP)
                self.trial[rows, running] = np.where(rows < CONSTANT, np.clip(moved, -FARTHEST, FARTHEST), moved)
                gain -= slope[:, j] * step[:, j]
            promising[alike] = self._promise(running, gain)
        return promising

    def _promise(self, running: np.ndarray, gain: np.ndarray) -> np.ndarray:
        """Whether fits may come below what is enough, by the expected gain of the sum of squares and room for error."""
        known, deviance = self.known[running], self.deviance[running]
        squares = known * np.exp(deviance / known - 1.0) / (2.0 * np.pi)
        share = np.minimum(OPTIMISM * gain / squares, 0.99)
        return (self.damping[running] > DAMPING) | (deviance + known * np.log(1.0 - share) < self.fits.enough[running])
