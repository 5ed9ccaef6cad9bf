"""The search for the parameters of an exponential smoothing form, for all series of a sample together.

A heuristic start, a coarse grid, rounds of trials around each series' own best, and least squares for the start. All
series see the same table of moves, and none sees another's result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from forecastml.budget import Deadline
from forecastml.kernels import smoothing

#: Trials times series per kernel call: arrays of 64 KB stay in the cache.
CELLS = 8192
#: Trials start from every combination of these: alpha, beta / alpha, gamma / (1 - alpha), place of phi in its range.
GRID = ((0.05, 0.15, 0.35, 0.65, 0.93), (0.02, 0.12), (0.03, 0.2), (0.25, 0.8))
PHI = (0.8, 0.98)
#: Parameters are moved as odds x / (1 - x), by these factors at first, and kept within the bounds.
WIDE, NARROW, BOUNDS = 2.5, 1.6, (1e-4, 1e4)
ROUNDS = 3
#: Where a refit begins with a form that the series was too short for before: a usual point, as odds.
TYPICAL = (0.25, 0.05, 0.1, 4.0)
#: Longest season whose start values are estimated; the cost grows with its square.
LONGEST_ESTIMATED = 24


def free_parameters(form: str) -> tuple[int, ...]:
    """Which of alpha, beta, gamma, phi the form has, as positions."""
    has = (True, smoothing.has_trend(form), smoothing.is_seasonal(form), smoothing.is_damped(form))
    return tuple(i for i in range(4) if has[i])


def parameters_of(form: str, odds: np.ndarray) -> np.ndarray:
    """alpha, beta, gamma, phi from odds (4, ...): within 0 < alpha < 1, beta < alpha, gamma < 1 - alpha, `PHI`."""
    alpha, beta, gamma, phi = odds / (1.0 + odds)
    zero = np.zeros_like(alpha)
    return np.stack(
        [
            alpha,
            alpha * beta if smoothing.has_trend(form) else zero,
            (1.0 - alpha) * gamma if smoothing.is_seasonal(form) else zero,
            PHI[0] + (PHI[1] - PHI[0]) * phi if smoothing.is_damped(form) else zero + 1.0,
        ]
    )


@dataclass(frozen=True, eq=False)
class Sample:
    """A chunk of series, longest first. values, filled: float64 (time, series), without and with gaps bridged;
    lengths, known: int64 (series,), values and known values; positive: bool (series,)."""

    values: np.ndarray
    filled: np.ndarray
    lengths: np.ndarray
    known: np.ndarray
    positive: np.ndarray

    def take(self, series: np.ndarray) -> Sample:
        """These series (mask)."""
        values = self.values[:, series]
        filled = values if self.filled is self.values else self.filled[:, series]
        return Sample(values, filled, self.lengths[series], self.known[series], self.positive[series])


@dataclass(frozen=True, eq=False)
class Search:
    """The search for parameters and start of one form over one sample. start: float64 (2 + m, series)."""

    form: str
    sample: Sample
    start: np.ndarray
    deadline: Deadline

    def squares(self, odds: np.ndarray) -> np.ndarray:
        """Sums of squared errors of trials (4, trials, series): float64 (trials, series), inf for an explosion."""
        trials, series = odds.shape[1:]
        step = max(1, CELLS // series)
        parts = []
        for first in range(0, trials, step):
            self.deadline.check()
            part = odds[:, first : first + step]
            state = np.repeat(self.start[:, None], part.shape[1], axis=1)
            parameters = parameters_of(self.form, part)
            parts.append(smoothing.roll(self.form, self.sample.values, self.sample.lengths, parameters, state))
        squares = np.concatenate(parts)
        return np.where(np.isfinite(squares), squares, np.inf)

    def coarse(self) -> tuple[np.ndarray, np.ndarray]:
        """The best point of `GRID` for each series: odds (4, series), squares (series,)."""
        free = free_parameters(self.form)
        points = np.array(list(product(*[GRID[i] if i in free else (0.5,) for i in range(4)]))).T
        trials = np.repeat((points / (1.0 - points))[:, :, None], len(self.sample.lengths), axis=2)
        return _best(trials, self.squares(trials))

    def refined(self, odds: np.ndarray, squares: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
        """After `ROUNDS` of trials around each series' own best, moving alpha and at most one other parameter.

        A round that brings nothing to a series takes the root of its factor.
        """
        moves = product(*[(-1, 0, 1) if i in free_parameters(self.form) else (0,) for i in range(4)])
        table = np.array([move for move in moves if any(move) and np.count_nonzero(move[1:]) <= 1]).T[:, :, None]
        reach = np.full(odds.shape[1], factor)
        for _ in range(ROUNDS):
            moved = np.where(table > 0, reach, np.where(table < 0, 1.0 / reach, 1.0))
            trials = np.clip(odds[:, None] * moved, *BOUNDS)
            candidate, reached = _best(trials, self.squares(trials))
            better = reached < squares
            odds, squares = np.where(better, candidate, odds), np.where(better, reached, squares)
            reach = np.where(better, reach, np.sqrt(reach))
        return odds, squares

    def restarted(self, odds: np.ndarray, squares: np.ndarray) -> tuple[Search, np.ndarray]:
        """The search from least squares start values where they fit better, and its squares (series,)."""
        sample, parameters = self.sample, parameters_of(self.form, odds)
        start = smoothing.improved_start(self.form, sample.values, sample.lengths, parameters, self.start)
        reached = replace(self, start=start).squares(odds[:, None])[0]
        better = reached < squares
        return replace(self, start=np.where(better, start, self.start)), np.where(better, reached, squares)


def _best(trials: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    best, series = np.argmin(squares, axis=0), np.arange(squares.shape[1])
    return trials[:, best, series], squares[best, series]


def fit_form(
    form: str, sample: Sample, season_length: int, odds: np.ndarray | None, deadline: Deadline
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters as odds (4, series), state after the last value (2 + m, series), squared errors (series,).

    odds: what an earlier fit found, None for a first fit; it competes with the grid and halves the search after it.
    """
    start = smoothing.start(form, sample.filled, sample.lengths, season_length)
    search = Search(form, sample, start, deadline)
    estimated = season_length <= LONGEST_ESTIMATED
    found, squares = search.coarse()
    if odds is None:
        found, squares = search.refined(found, squares, WIDE)
    else:
        known = search.squares(odds[:, None])[0]
        found, squares = np.where(known < squares, odds, found), np.minimum(known, squares)
    for _ in range(2 if odds is None and estimated else 1):
        if estimated:
            search, squares = search.restarted(found, squares)
        found, squares = search.refined(found, squares, NARROW)
    state = search.start[:, None].copy()
    smoothing.roll(form, sample.values, sample.lengths, parameters_of(form, found)[:, None], state)
    return found, state[:, 0], squares
