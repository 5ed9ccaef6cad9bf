"""Least squares for complex exponential smoothing: Levenberg and Marquardt's method, every series at its own pace.

The errors and their derivatives by smoothing parameters and start come out of one pass (tangent recursions). Marquardt
(1963), "An algorithm for least-squares estimation of nonlinear parameters".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecastml.kernels.complex_smoothing import COMPLEX, SEASON, TREND, Form, State, roll
from forecastml.kernels.ragged import spans

#: Where the search may begin: parameters of a trend and of a season with a hidden part; of a season without one.
TRENDS = ((1.3, 1.0), (1.05, 1.0), (1.9, 1.0), (1.5, 1.2))
SEASONS = ((1.3, 1.0), (1.1, 1.0), (1.6, 1.0), (1.3, 1.1))
REALS = ((0.1,), (0.05,), (0.2,), (0.3,))
#: Hidden part of a start / its level: the paper's software begins at 1 / 1.1.
HIDDEN = 1.0 / 1.1
#: A step is damped by this at first; by so much less after one that helped, more after one that did not.
DAMPING, LESS, MORE, MOST = 1e-2, 0.2, 8.0, 1e6
#: A series is done when a step that helped improved its squares by less than this share.
ENOUGH = 1e-3


@dataclass(frozen=True, eq=False)
class Sample:
    """Series and where their states begin. values (T, N); lengths (N,); level (N,); season (m, N), sums to about 0."""

    values: np.ndarray
    lengths: np.ndarray
    level: np.ndarray
    season: np.ndarray

    def take(self, series: np.ndarray) -> Sample:
        """The series at these positions, in order."""
        lengths = self.lengths[series]
        values = np.ascontiguousarray(self.values[: lengths.max(initial=0), series])
        return Sample(values, lengths, self.level[series], np.ascontiguousarray(self.season[:, series]))


@dataclass(frozen=True, eq=False)
class Fit:
    """What is estimated: parameters (p, ..., N) of the form, trend (2, ..., N), and ratio (..., N), hidden part of the
    start of the season / its level."""

    parameters: np.ndarray
    trend: np.ndarray
    ratio: np.ndarray

    def take(self, series: np.ndarray) -> Fit:
        """The series at these positions."""
        return Fit(self.parameters[..., series], self.trend[..., series], self.ratio[..., series])

    def put(self, series: np.ndarray, other: Fit) -> None:
        """Overwrite the series at these positions."""
        self.parameters[..., series], self.trend[..., series] = other.parameters, other.trend
        self.ratio[..., series] = other.ratio


def state(form: Form, sample: Sample, fit: Fit) -> State:
    """The state before the first value; without a season that of one slot, 0."""
    season = np.zeros((2, 1 if form.season is None else len(sample.season), *fit.ratio.shape))
    if form.season is not None:
        # Without a trend the season carries the level.
        levels = sample.season if form.trend is not None else sample.season + sample.level
        season[0] = levels.reshape(len(levels), *[1] * (fit.ratio.ndim - 1), -1)
        season[1] = season[0] * fit.ratio
    return State(fit.trend.copy(), season)


def begun(form: Form, sample: Sample) -> Fit:
    """Where the search begins: for each series the best of a fixed table of parameters."""
    blocks = [TRENDS] if form.trend is not None else []
    if form.season is not None:
        blocks.append(SEASONS if form.season is COMPLEX else REALS)
    table = np.array([sum(rows, ()) for rows in zip(*blocks, strict=True)]).T
    trials, n = table.shape[1], len(sample.lengths)
    fit = _plain(form, sample, table[:, :, None] + np.zeros(n))
    squares = roll(sample.values, sample.lengths, form.coefficients(fit.parameters), state(form, sample, fit))
    best = np.argmin(np.where(np.isnan(squares), np.inf, squares), axis=0), np.arange(n)
    return Fit(fit.parameters[:, *best], fit.trend[:, *best], fit.ratio[*best]) if trials else fit


def _plain(form: Form, sample: Sample, parameters: np.ndarray) -> Fit:
    """These parameters with the start that the sample suggests."""
    trend = np.zeros((2, *parameters.shape[1:]))
    if form.trend is not None:
        trend[0] = sample.level
        trend[1] = trend[0] * HIDDEN
    return Fit(parameters, trend, np.full(parameters.shape[1:], HIDDEN))


def estimate(form: Form, sample: Sample, near: np.ndarray, rounds: int) -> tuple[Fit, np.ndarray]:
    """The fit of least squared errors and its sum of squares (N,).

    near: parameters (p, N) of an earlier fit, NaN where there are none: the search begins there. rounds: passes over
    the values at most.
    """
    fit = begun(form, sample)
    known = np.isfinite(near).all(axis=0) & form.stable(near)
    if known.any():
        fit = replace(fit, parameters=np.where(known, near, fit.parameters))
    n = len(sample.lengths)
    squares, damping = np.full(n, np.inf), np.full(n, DAMPING)
    active, trial = np.arange(n), fit.take(np.arange(n))
    size = form.parameters + 2 * (form.trend is not None) + (form.season is COMPLEX)
    gram, slope = np.zeros((size, size, n)), np.zeros((size, n))
    part = sample
    for _ in range(rounds):
        reached, new_gram, new_slope = linearised(form, part, trial)
        before = squares[active]
        better = (reached < before) & form.stable(trial.parameters)
        won = active[better]
        fit.put(won, trial.take(better))
        squares[won], gram[:, :, won], slope[:, won] = reached[better], new_gram[:, :, better], new_slope[:, better]
        damping[active] *= np.where(better, LESS, MORE)
        gain = np.where(better & np.isfinite(before), (before - reached) > ENOUGH * before, True)
        going = gain & (damping[active] < MOST) & np.isfinite(squares[active]) & (squares[active] > 0)
        if not going.all():
            active = active[going]
            if not len(active):
                break
            part = sample.take(active)
        trial = _moved(form, fit.take(active), _step(gram[:, :, active], slope[:, active], damping[active]))
    return fit, squares


def _step(gram: np.ndarray, slope: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """The damped Gauss-Newton step (k, n): (gram + damping diagonal) step = -slope."""
    matrix = np.ascontiguousarray(gram.transpose(2, 0, 1))
    diagonal = np.arange(len(slope))
    scale = matrix[:, diagonal, diagonal]
    matrix[:, diagonal, diagonal] = scale * (1.0 + damping[:, None]) + 1e-10
    sound = np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(slope).all(axis=0)
    matrix = np.where(sound[:, None, None], matrix, np.eye(len(slope)))
    right = np.where(sound, -slope, np.nan).T[:, :, None]
    return np.linalg.solve(matrix, right)[:, :, 0].T


def _moved(form: Form, fit: Fit, step: np.ndarray) -> Fit:
    p = form.parameters
    trend = fit.trend + step[p : p + 2] if form.trend is not None else fit.trend
    ratio = fit.ratio + step[-1] if form.season is COMPLEX else fit.ratio
    return Fit(fit.parameters + step[:p], trend, ratio)


def linearised(form: Form, sample: Sample, fit: Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum of squared errors (N,), sums of products of the errors' derivatives (k, k, N) and with the errors (k, N).

    Derivatives are by parameters, start of the trend and ratio, those of them that the form has.
    """
    coefficients, now = form.coefficients(fit.parameters), state(form, sample, fit)
    m = now.season.shape[1]
    tangents = _tangents(form, now, m)
    size, n = tangents[TREND].shape[1], len(sample.lengths)
    squares, gram, slope = np.zeros(n), np.zeros((size, size, n)), np.zeros((size, n))
    own = 0 if form.trend is None else len(form.trend)
    for first, last, n in spans(sample.lengths):
        moves = coefficients[:, :, :n]
        for t in range(first, last):
            value, slot = sample.values[t, :n], t % m
            level, level_change = now.trend[:, :n], tangents[TREND][:, :, :n]
            season, season_change = now.season[:, slot, :n], tangents[SEASON][:, slot, :, :n]
            known = ~np.isnan(value)
            error = np.where(known, value - (level[0] + season[0]), 0.0)
            change = np.where(known, -(level_change[0] + season_change[0]), 0.0)
            squares[:n] += error * error
            slope[:, :n] += change * error
            gram[:, :, :n] += change[:, None] * change
            if form.trend is not None:
                _move(level, level_change, moves[TREND], (error, change), (0, True))
            if form.season is not None:
                _move(season, season_change, moves[SEASON], (error, change), (own, form.season is COMPLEX))
    return squares, gram, slope


def _tangents(form: Form, now: State, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the start: trend (2, k, N) and season (2, m, k, N)."""
    p, n = form.parameters, now.trend.shape[-1]
    starts = 2 if form.trend is not None else 0
    size = p + starts + (form.season is COMPLEX)
    trend, season = np.zeros((2, size, n)), np.zeros((2, m, size, n))
    if starts:
        trend[0, p], trend[1, p + 1] = 1.0, 1.0
    if form.season is COMPLEX:
        season[1, :, -1] = now.season[0]
    return trend, season


def _move(
    block: np.ndarray,
    tangents: np.ndarray,
    moves: np.ndarray,
    errors: tuple[np.ndarray, np.ndarray],
    own: tuple[int, bool],
) -> None:
    """One step of a block (2, n) and its tangents (2, k, n), in place.

    errors: error (n,) and its derivatives (k, n); own: row of the block's first parameter, and whether it is complex.
    """
    error, change = errors
    level, hidden = block
    level_change, hidden_change = tangents
    next_hidden = level + moves[2] * hidden + moves[3] * error
    next_change = level_change + moves[2] * hidden_change + moves[3] * change
    level_change += moves[0] * hidden_change + moves[1] * change
    row, is_complex = own
    level_change[row] += error
    if is_complex:
        short = error - hidden
        level_change[row + 1] -= short
        next_change[row] += short
        next_change[row + 1] += error
    level += moves[0] * hidden + moves[1] * error
    hidden[...] = next_hidden
    hidden_change[...] = next_change
