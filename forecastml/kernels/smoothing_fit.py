"""Parameters and start values of exponential smoothing together: Levenberg and Marquardt's search, all series at once.

Squares as in `kernels.smoothing` are a sum of squared residuals with either error, e or e / mu times the geometric
mean of mu, so that Gauss-Newton steps apply. Their derivatives run beside the recursion (tangents), one explicit step
in time after the other. Parameters move inside a box of shares: alpha, beta / alpha, gamma / (1 - alpha) and the place
of phi in its range (the usual region of Hyndman et al. 2008, section 10.2, and their bounds of phi).
(Marquardt 1963, "An algorithm for least-squares estimation of nonlinear parameters".)

A column is one form on one series. Forms of all trends and errors run side by side, those without a trend with a trend
of zero that never moves; what a column does not have has derivatives of zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecastml.kernels.ragged import spans
from forecastml.kernels.smoothing import has_relative_errors, has_trend, is_damped, is_seasonal

PHI = (0.8, 0.98)
#: Shares stay between these.
LOWEST, HIGHEST = 1e-4, 1.0 - 1e-4
#: Steps in time whose derivatives are multiplied in one go.
BLOCK = 32
#: Damping at first, after a step that helped (times), after one that did not (times), and its least.
DAMPING, LOOSER, TIGHTER, LEAST_DAMPING = 1e-1, 0.1, 6.0, 1e-7
#: A column has converged when its next step promises less than this in n log(squares).
LEAST_GAIN = 0.01
#: Order of the derivatives: four shares, level, trend, then the seasons.
SHARES, LEVEL, TREND, SEASONS = 4, 4, 5, 6


def parameters_of(forms: Sequence[str], shares: np.ndarray) -> np.ndarray:
    """alpha, beta, gamma, phi (4, F, ...) from shares (4, F, ...), one form for each of F."""
    return Flags.of(forms).parameters(shares)


@dataclass(frozen=True, eq=False)
class Flags:
    """What forms have: bool (N,) each."""

    trended: np.ndarray
    damped: np.ndarray
    seasonal: np.ndarray
    relative: np.ndarray

    @classmethod
    def of(cls, forms: Sequence[str]) -> Flags:
        """One form after the other."""
        has = (has_trend, is_damped, is_seasonal, has_relative_errors)
        return cls(*(np.array([one(form) for form in forms], dtype=bool) for one in has))

    def take(self, columns: np.ndarray) -> Flags:
        """These."""
        return Flags(*(getattr(self, name)[columns] for name in self.__dataclass_fields__))

    def parameters(self, shares: np.ndarray) -> np.ndarray:
        """alpha, beta, gamma, phi (4, N, ...) of shares (4, N, ...)."""
        alpha, beta, gamma, phi = shares
        trended, damped, seasonal = (
            flag.reshape(-1, *[1] * (alpha.ndim - 1)) for flag in (self.trended, self.damped, self.seasonal)
        )
        return np.stack(
            [
                alpha,
                alpha * beta * trended,
                (1.0 - alpha) * gamma * seasonal,
                np.where(damped, PHI[0] + (PHI[1] - PHI[0]) * phi, 1.0),
            ]
        )


@dataclass(frozen=True, eq=False)
class Columns:
    """Forms on series, those on the longest first. season: "N", "A" or "M", the same for all; estimated: whether the
    start values of the seasons are searched too (the cost grows with the square of their number).

    values (T, N); lengths, known (N,); has: what the form of each column has.
    """

    season: str
    estimated: bool
    values: np.ndarray
    lengths: np.ndarray
    known: np.ndarray
    has: Flags

    @classmethod
    def of(
        cls, forms: Sequence[str], estimated: bool, values: np.ndarray, lengths: np.ndarray, known: np.ndarray
    ) -> Columns:
        """One form per column, all with seasons of one kind."""
        return cls(forms[0][-1], estimated and is_seasonal(forms[0]), values, lengths, known, Flags.of(forms))

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, columns: np.ndarray) -> Columns:
        """These columns (mask, or positions of which the lengths never increase)."""
        lengths = self.lengths[columns]
        values = np.ascontiguousarray(self.values[: lengths.max(initial=0), columns])
        return replace(self, values=values, lengths=lengths, known=self.known[columns], has=self.has.take(columns))


@dataclass(frozen=True, eq=False)
class Point:
    """Where a search stands: shares (4, N); start (2 + m, N), the state before the first value."""

    shares: np.ndarray
    start: np.ndarray

    def take(self, columns: np.ndarray) -> Point:
        """These columns."""
        return Point(self.shares[:, columns], self.start[:, columns])


@dataclass(frozen=True, eq=False)
class Quadratic:
    """squares (N,) at a point, and their expansion around it: half their gradient (N, P), Gauss and Newton's half of
    the curvature (N, P, P)."""

    squares: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray

    def take(self, columns: np.ndarray) -> Quadratic:
        """These columns."""
        return Quadratic(self.squares[columns], self.gradient[columns], self.curvature[columns])

    def put(self, columns: np.ndarray, other: Quadratic) -> None:
        """Overwrite the columns of a mask by their like of the other."""
        self.squares[columns] = other.squares[columns]
        self.gradient[columns] = other.gradient[columns]
        self.curvature[columns] = other.curvature[columns]


@dataclass(frozen=True, eq=False)
class Path:
    """The states on their way, each with its derivatives: (P, N) of them, and the state itself as last row.

    states (2 + m, P + 1, N); gains (3, 1, N): alpha, beta, gamma; slopes (3, 4, N): their derivatives by the shares;
    phi, phis (N,): phi and its derivative by its share; scratch (3, P + 1, N).
    """

    states: np.ndarray
    gains: np.ndarray
    slopes: np.ndarray
    phi: np.ndarray
    phis: np.ndarray
    scratch: np.ndarray

    @classmethod
    def start(cls, columns: Columns, point: Point) -> Path:
        """Before the first value."""
        width, n = point.start.shape
        seasons = width - 2 if columns.estimated else 0
        states = np.zeros((width, SEASONS + seasons + 1, n))
        states[0, LEVEL], states[1, TREND] = 1.0, columns.has.trended
        at = np.arange(seasons)
        states[2 + at, SEASONS + at] = 1.0
        states[:, -1] = point.start
        alpha, beta, gamma, _ = point.shares
        slopes = np.zeros((3, SHARES, n))
        slopes[0, 0] = 1.0
        slopes[1, 0], slopes[1, 1] = beta * columns.has.trended, alpha * columns.has.trended
        if columns.season != "N":
            slopes[2, 0], slopes[2, 2] = -gamma, 1.0 - alpha
        parameters = columns.has.parameters(point.shares)
        phis = (PHI[1] - PHI[0]) * columns.has.damped
        return cls(states, parameters[:3, None], slopes, parameters[3], phis, np.empty((3, *states.shape[1:])))

    def first(self, n: int) -> Path:
        """Views of the first n columns."""
        return Path(*(getattr(self, name)[..., :n] for name in self.__dataclass_fields__))

    def predict(self, season: str, at: int, row: np.ndarray) -> None:
        """States a step ahead; row (P + 1, n) becomes mu and its derivatives; at: the season of this step."""
        level, trend = self.states[0], self.states[1]
        bend = trend[-1] * self.phis
        trend *= self.phi
        trend[SHARES - 1] += bend
        level += trend
        if season == "N":
            np.copyto(row, level)
        elif season == "A":
            np.add(level, self.states[2 + at], out=row)
        else:
            now, product = self.states[2 + at], self.scratch[0]
            np.multiply(level, now[-1], out=row)
            np.multiply(now, level[-1], out=product)
            row[:-1] += product[:-1]

    def correct(self, season: str, at: int, row: np.ndarray) -> None:
        """States after the value; row (P + 1, n): -e last, and its derivatives."""
        pair, scratch = self.states[:2], self.scratch
        if season == "M":
            self._correct_product(self.states[2 + at], row)
            return
        kinds = 2 if season == "N" else 3
        np.multiply(self.gains[:kinds], row, out=scratch[:kinds])
        scratch[:kinds, :SHARES] += self.slopes[:kinds] * row[-1]
        pair -= scratch[:2]
        if season == "A":
            now = self.states[2 + at]
            now -= scratch[2]

    def _correct_product(self, now: np.ndarray, row: np.ndarray) -> None:
        """Level and trend follow e / season, the season e / level."""
        push, both, pull = self.scratch
        level = self.states[0]
        for follows, over in ((push, now), (pull, level)):
            np.multiply(over, row[-1] / over[-1], out=follows)
            np.subtract(row, follows, out=follows)
            follows[-1] = row[-1]
            follows /= over[-1]
        for state, gain, slopes, follows in (
            (now, self.gains[2], self.slopes[2], pull),
            (level, self.gains[0], self.slopes[0], push),
            (self.states[1], self.gains[1], self.slopes[1], push),
        ):
            np.multiply(follows, gain, out=both)
            both[:SHARES] += slopes * follows[-1]
            state -= both


@dataclass(frozen=True, eq=False)
class Moments:
    """What is added up over time. products (N, P + 1, P + 1): of residuals and derivatives; rates (P, N): dmu / mu;
    logs (N,): log mu, NaN where mu is not positive; the last two count with multiplicative errors only."""

    products: np.ndarray
    rates: np.ndarray
    logs: np.ndarray

    @classmethod
    def zero(cls, size: int, n: int) -> Moments:
        """Before the first value; size: P + 1."""
        return cls(np.zeros((n, size, size)), np.zeros((size - 1, n)), np.zeros(n))

    def add(self, relative: np.ndarray, rows: np.ndarray, means: np.ndarray) -> None:
        """A block of steps: rows (BLOCK, P + 1, n), -e last, zero where unknown; means (BLOCK, n), 1 where unknown."""
        n = rows.shape[2]
        if relative[:n].any():
            means = np.where(relative[:n], means, 1.0)
            rows /= means[:, None]
            for row in rows:
                self.rates[:, :n] += row[:-1]
                row[:-1] *= 1.0 - row[-1] * relative[:n]
            for log in np.log(means):
                self.logs[:n] += log
        flat = np.ascontiguousarray(rows.transpose(2, 1, 0))
        # One product of fixed shape per column: neighbours change no bit.
        self.products[:n] += flat @ flat.transpose(0, 2, 1)

    def quadratic(self, columns: Columns) -> Quadratic:
        """With G the geometric mean, l = dmu / mu, k = (1 + eps) l: the derivative of -eps G is G (k - eps mean(l))."""
        mean = (self.rates * columns.has.relative).T / columns.known[:, None]
        half, total = self.products[:, :-1, -1], self.products[:, -1, -1]
        cross = half[:, :, None] * mean[:, None, :]
        curvature = self.products[:, :-1, :-1] + cross + cross.transpose(0, 2, 1)
        curvature += total[:, None, None] * mean[:, :, None] * mean[:, None, :]
        gradient = half + total[:, None] * mean
        factor = np.exp(2.0 * self.logs / columns.known)
        return Quadratic(total * factor, gradient * factor[:, None], curvature * factor[:, None, None])


def expand(columns: Columns, point: Point) -> Quadratic:
    """The squares around a point."""
    path = Path.start(columns, point)
    size, n = path.states.shape[1:]
    total, period = Moments.zero(size, n), max(len(path.states) - 2, 1)
    rows, means = np.zeros((BLOCK, size, n)), np.ones((BLOCK, n))
    gaps, running, end = np.isnan(columns.values), n, len(columns.values)
    for first, last, n in spans(columns.lengths):
        part, holes = path.first(n), gaps[first:last, :n].any(axis=1)
        rows[first % BLOCK :, :, n:], means[first % BLOCK :, n:] = 0.0, 1.0
        for t in range(first, last):
            if t % BLOCK == 0:
                running = n
            row, mean = rows[t % BLOCK, :, :n], means[t % BLOCK, :n]
            part.predict(columns.season, t % period, row)
            np.copyto(mean, row[-1])
            row[-1] -= columns.values[t, :n]
            if holes[t - first]:
                row[:, gaps[t, :n]], mean[gaps[t, :n]] = 0.0, 1.0
            part.correct(columns.season, t % period, row)
            if t % BLOCK == BLOCK - 1 or t == end - 1:
                rows[t % BLOCK + 1 :], means[t % BLOCK + 1 :] = 0.0, 1.0
                total.add(columns.has.relative, rows[:, :, :running], means[:, :running])
    return total.quadratic(columns)


def descend(columns: Columns, point: Point, rounds: int, check: Callable[[], None]) -> tuple[Point, np.ndarray]:
    """The lowest point that each column reaches from its own, and the squares there (N,); check: called every round.

    A column leaves the search when its next step promises less than `LEAST_GAIN`, whatever the others do.
    """
    point = Point(point.shares.copy(), point.start.copy())
    check()
    here = expand(columns, point)
    found, squares = Point(point.shares.copy(), point.start.copy()), here.squares.copy()
    damping, active = np.full(len(squares), DAMPING), np.arange(len(squares))
    for _ in range(rounds):
        step, promised = _step(point, here, damping)
        open_ = np.isfinite(here.squares) & (columns.known * promised > LEAST_GAIN * here.squares)
        if not open_.all():
            columns, point, here = columns.take(open_), point.take(open_), here.take(open_)
            step, damping, active = step[open_], damping[open_], active[open_]
        if not len(active):
            break
        check()
        trial = _moved(columns, point, step)
        there = expand(columns, trial)
        better = there.squares < here.squares
        point.shares[:, better], point.start[:, better] = trial.shares[:, better], trial.start[:, better]
        here.put(better, there)
        damping = np.where(better, np.maximum(damping * LOOSER, LEAST_DAMPING), damping * TIGHTER)
        found.shares[:, active], found.start[:, active], squares[active] = point.shares, point.start, here.squares
    return found, squares


def _step(point: Point, here: Quadratic, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The damped step (N, P), and how much the squares should fall at least (N,); a share that would leave the box
    stays where it is."""
    shares, pull = point.shares.T, here.gradient[:, :SHARES]
    held = np.zeros(here.gradient.shape, dtype=bool)
    held[:, :SHARES] = ((shares <= LOWEST) & (pull > 0)) | ((shares >= HIGHEST) & (pull < 0))
    sound = np.isfinite(here.curvature).all(axis=(1, 2)) & np.isfinite(here.gradient).all(axis=1)
    diagonal = np.where(sound[:, None], np.einsum("nii->ni", here.curvature), 0.0)
    size = np.where(held | (diagonal <= 0), 0.0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)))
    equations = np.where(sound[:, None, None], here.curvature, 0.0) * size[:, :, None] * size[:, None, :]
    towards = np.where(sound[:, None], here.gradient, 0.0) * size
    everyone = np.arange(held.shape[1])
    equations[:, everyone, everyone] += damping[:, None] + (size == 0)
    step = np.linalg.solve(equations, -towards[:, :, None])[:, :, 0]
    promised = np.zeros(len(step))
    for i in everyone:
        promised -= towards[:, i] * step[:, i]
    return step * size, promised


def _moved(columns: Columns, point: Point, step: np.ndarray) -> Point:
    """The point after a step, shares within the box."""
    shares, start = np.clip(point.shares + step[:, :SHARES].T, LOWEST, HIGHEST), point.start.copy()
    start[: 2 + step.shape[1] - SEASONS] += step[:, SHARES:].T
    return Point(shares, start)
