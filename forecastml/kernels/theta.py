"""The theta method in its state space form: many series, many smoothing parameters at once.

Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler (2016), "Models for optimising the theta method and their
relationship to state space models". With a line A + B t through the values before step t, level l, parameters alpha and
theta, and w = 1 - 1 / theta in [0, 1]:

    mu_t = l_{t-1} + w d_t,   d_t = (1 - alpha)^(t-1) A + (1 - (1 - alpha)^t) / alpha B
    l_t  = l_{t-1} + alpha (y_t - l_{t-1})

The line is that of all values ("STM" with theta = 2, "OTM") or follows them step by step ("DOTM"). Either way it does
not depend on the parameters, and for a given alpha the errors are linear in w and the first level: least squares over
both is a closed form, and only alpha is searched (variable projection, Golub and Pereyra 1973).

Arrays hold time first and series last: values (T, N), NaN where unknown (y_t is then mu_t, and no point of the line);
lengths (N,), never increasing; parameters (2, N) = alpha, w; state (8, N) by the names below. All operations are
elementwise in the series: neighbours change no bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.kernels.ragged import spans

#: Rows of a state: level; (1 - alpha)^t; t; then of the values read: their number, mean of t, sum of squares of t
#: around it, mean, and sum of products with t.
LEVEL, DECAY, ROWS, KNOWN, TIME, SQUARES, MEAN, PRODUCTS = range(8)
#: Values of alpha that every series tries, and how far apart the later trials around the best one lie.
ALPHAS = np.linspace(0.1, 0.99, 13)
ZOOMS = (0.02, 0.005)
#: What is tried around the best alpha, in steps of a zoom.
AROUND = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
#: The errors of the first steps do not count: a line through so few points says nothing.
SKIPPED = 3
#: With fewer known values alpha and w are not estimated but SIMPLE.
LEAST = 6
SIMPLE = (0.5, 0.0)
#: The first level stays at half the first value, and w at 1/2, where the errors do not determine them.
LEAST_RIDGE = 1e-9


@dataclass(frozen=True)
class Form:
    """dynamic: the line follows the values step by step; weight: w where it is set, None where it is estimated; prior:
    how precisely w is known to be 1/2 (theta = 2) before any value, in variances of an error."""

    dynamic: bool
    weight: float | None = None
    prior: float = 0.0


#: w is 1/2 give or take a half. A line that has seen all values fits them better than it forecasts, which draws w to
#: it: there the give is half as much.
FORMS = {"STM": Form(False, 0.5), "OTM": Form(False, prior=16.0), "DOTM": Form(True, prior=4.0)}


def read_line(state: np.ndarray, value: np.ndarray) -> None:
    """Let the line of a state (8, N) go through one more value (N,) at its next step; ROWS moves with it."""
    known = ~np.isnan(value)
    state[ROWS] += 1.0
    state[KNOWN] += known
    number = np.maximum(state[KNOWN], 1.0)
    distance = np.where(known, state[ROWS] - state[TIME], 0.0)
    state[TIME] += distance / number
    state[SQUARES] += distance * (state[ROWS] - state[TIME])
    difference = np.where(known, value - state[MEAN], 0.0)
    state[MEAN] += difference / number
    state[PRODUCTS] += (state[ROWS] - state[TIME]) * difference


def line(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope of the least squares line over t = 1, 2, ...: two of (N,)."""
    slope = state[PRODUCTS] / np.where(state[SQUARES] > 0, state[SQUARES], 1.0)
    return state[MEAN] - slope * state[TIME], slope


def start(values: np.ndarray, lengths: np.ndarray, form: Form) -> np.ndarray:
    """State (8, N) before the first value, of level 0; a line that does not move goes through all values."""
    state = np.zeros((8, len(lengths)))
    if not form.dynamic:
        for first, last, n in spans(lengths):
            for t in range(first, last):
                read_line(state[:, :n], values[t, :n])
        state[ROWS] = 0.0
    state[DECAY] = 1.0
    return state


def roll(
    form: Form, values: np.ndarray, lengths: np.ndarray, parameters: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move the state (8, N) in place over the values: sum of the squared errors and their number, two of (N,).

    The first steps of a series, `SKIPPED`, do not count.
    """
    squares, count = np.zeros(len(lengths)), np.zeros(len(lengths))
    for first, last, n in spans(lengths):
        now = state[:, :n]
        for t in range(first, last):
            known = ~np.isnan(values[t, :n])
            error = np.where(known, values[t, :n] - _step(form, parameters[:, :n], now), 0.0)
            counted = known & (now[ROWS] >= SKIPPED)
            squares[:n] += np.where(counted, error * error, 0.0)
            count[:n] += counted
            _move(form, values[t, :n], error, parameters[:, :n], now)
    return squares, count


def _step(form: Form, parameters: np.ndarray, state: np.ndarray) -> np.ndarray:
    """mu (N,) of the next step."""
    return state[LEVEL] + parameters[1] * _drift(parameters[0], state)


def _drift(alpha: np.ndarray, state: np.ndarray) -> np.ndarray:
    """d (N,) of the next step."""
    intercept, slope = line(state)
    return state[DECAY] * intercept + (1.0 - state[DECAY] * (1.0 - alpha)) / alpha * slope


def _move(form: Form, value: np.ndarray, error: np.ndarray, parameters: np.ndarray, state: np.ndarray) -> None:
    """One step on, where value (N,) = mu + error; of an unknown value, NaN, the error is 0."""
    alpha, weight = parameters
    state[LEVEL] += alpha * (weight * _drift(alpha, state) + error)
    state[DECAY] *= 1.0 - alpha
    if form.dynamic:
        read_line(state, value)
    else:
        state[ROWS] += 1.0


def project(form: Form, parameters: np.ndarray, state: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Means (steps, N) and their variances in multiples of that of one step (steps, N).

    Each forecast is read as if it had come true; the variance is exact, because level, mean and products are linear in
    the values: their covariance moves along.
    """
    now, n = state.copy(), state.shape[1]
    mean, variance = np.empty((steps, n)), np.empty((steps, n))
    covariance = np.zeros((n, 3, 3))
    for step in range(steps):
        mean[step] = _step(form, parameters, now)
        loads, moves, gains = _linear(form, parameters, now)
        variance[step] = 1.0 + (loads[:, None] @ covariance @ loads[:, :, None])[:, 0, 0]
        moves += gains[:, :, None] * loads[:, None]
        covariance = moves @ covariance @ moves.transpose(0, 2, 1) + gains[:, :, None] * gains[:, None]
        _move(form, mean[step], np.zeros(n), parameters, now)
    return mean, variance


def _linear(form: Form, parameters: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The next step in x = (level, mean, products): mu = loads x, then x = moves x + gains y.

    loads, gains (N, 3), moves (N, 3, 3).
    """
    alpha, weight = parameters
    n, square = len(alpha), np.where(state[SQUARES] > 0, state[SQUARES], np.inf)
    rising = (1.0 - state[DECAY] * (1.0 - alpha)) / alpha
    loads, gains, moves = np.zeros((n, 3)), np.zeros((n, 3)), np.zeros((n, 3, 3))
    loads[:, 0] = 1.0
    loads[:, 1] = weight * state[DECAY]
    loads[:, 2] = weight * (rising - state[DECAY] * state[TIME]) / square
    gains[:, 0] = alpha
    moves[:, 0, 0] = 1.0 - alpha
    moves[:, 1, 1] = moves[:, 2, 2] = 1.0
    if form.dynamic:
        number = state[KNOWN] + 1.0
        # Distance of the next step from the mean of t with it.
        distance = (state[ROWS] + 1.0 - state[TIME]) * (1.0 - 1.0 / number)
        gains[:, 1], gains[:, 2] = 1.0 / number, distance
        moves[:, 1, 1] -= 1.0 / number
        moves[:, 2, 1] = -distance
    return loads, moves, gains


def estimate(
    form: Form, values: np.ndarray, lengths: np.ndarray, near: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (2, N) and state before the first value (8, N) of least squared errors.

    near: alphas (N,) of an earlier fit: only their neighbourhood is searched then. A series of fewer than `LEAST`
    known values gets simple smoothing of a set weight.
    """
    before, n = start(values, lengths, form), len(lengths)
    lines, ridge = _lines(form, values, lengths, before), form.prior * _unrest(values, lengths)
    best, reached = np.zeros((3, n)), np.full(n, np.inf)
    trials, zooms = (ALPHAS[:, None] + np.zeros(n), ZOOMS) if near is None else (_around(near, ZOOMS[0]), ZOOMS[1:])
    for zoom in (*zooms, 0.0):
        weight, level, squares = _least_squares(form, _moments(values, lengths, lines, trials), values[0], ridge)
        squares = np.where(np.isnan(squares), np.inf, squares)
        at, series = np.argmin(squares, axis=0), np.arange(n)
        better = squares[at, series] < reached
        found = np.stack([trials[at, series], weight[at, series], level[at, series]])
        best = np.where(better, found, best)
        reached = np.where(better, squares[at, series], reached)
        trials = _around(best[0], zoom)
    simple = (_known(values) < LEAST) | np.isinf(reached)
    before[LEVEL] = np.where(simple, values[0], best[2])
    return np.where(simple, np.array(SIMPLE)[:, None], best[:2]), before


def _around(alpha: np.ndarray, zoom: float) -> np.ndarray:
    """Trials (6, N) around these alphas (N,)."""
    return np.clip(alpha + zoom * AROUND[:, None], ALPHAS[0], ALPHAS[-1])


def _known(values: np.ndarray) -> np.ndarray:
    return np.add.reduce(~np.isnan(values), axis=0)


def _lines(form: Form, values: np.ndarray, lengths: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope of the line that each step is forecast with: two of (T, N)."""
    intercept, slope = np.zeros(values.shape), np.zeros(values.shape)
    now = before.copy()
    for first, last, n in spans(lengths):
        for t in range(first, last):
            intercept[t, :n], slope[t, :n] = line(now[:, :n])
            if form.dynamic:
                read_line(now[:, :n], values[t, :n])
    return intercept, slope


def _moments(
    values: np.ndarray, lengths: np.ndarray, lines: tuple[np.ndarray, np.ndarray], trials: np.ndarray
) -> np.ndarray:
    """Sums over time of the products of e, E and P (6, C, N) for trials of alpha (C, N).

    The error of a step is e - w E - (first level - guess) P, where e is the error of simple smoothing that begins at
    the guess, half the first value, E its derivative by w and P that by the first level.
    """
    sums = np.zeros((6, *trials.shape))
    keep, share = 1.0 - trials, 1.0 / trials
    level, carried = 0.5 * values[0] + np.zeros_like(trials), np.zeros_like(trials)
    decay, power = np.ones_like(trials), np.ones_like(trials)
    unknown = np.isnan(values)
    gaps = unknown.any(axis=1)
    for first, last, n in spans(lengths):
        alpha, kept, inverse, total = trials[:, :n], keep[:, :n], share[:, :n], sums[:, :, :n]
        now, memory, falling, pull = level[:, :n], carried[:, :n], decay[:, :n], power[:, :n]
        drift, rising, error, part = (np.empty(alpha.shape) for _ in range(4))
        for t in range(first, last):
            np.multiply(falling, lines[0][t, :n], out=drift)
            np.multiply(falling, kept, out=falling)
            np.subtract(1.0, falling, out=rising)
            np.multiply(rising, inverse, out=rising)
            np.multiply(rising, lines[1][t, :n], out=rising)
            np.add(drift, rising, out=drift)
            np.subtract(values[t, :n], now, out=error)
            np.add(drift, memory, out=drift)
            counted, held = (drift, pull), None
            if gaps[t]:
                here = unknown[t, :n]
                np.copyto(error, 0.0, where=here)
                counted = np.where(here, 0.0, drift), np.where(here, 0.0, pull)
                held = memory + alpha * (drift - memory), pull.copy()
            if t >= SKIPPED:
                _count(total, (error, *counted), part)
            np.multiply(error, alpha, out=error)
            np.add(now, error, out=now)
            np.multiply(memory, kept, out=memory)
            np.multiply(pull, kept, out=pull)
            if held is not None:
                np.copyto(memory, held[0], where=here)
                np.copyto(pull, held[1], where=here)
    return sums


def _count(sums: np.ndarray, factors: tuple[np.ndarray, np.ndarray, np.ndarray], part: np.ndarray) -> None:
    """Add the products ee, eE, eP, EE, EP, PP of the factors (e, E, P) to sums (6, C, n)."""
    for row, (i, j) in enumerate(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))):
        np.multiply(factors[i], factors[j], out=part)
        np.add(sums[row], part, out=sums[row])


def _unrest(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Mean square of the change between known neighbours (N,): about the variance of an error, or twice that."""
    squares, count = np.zeros(len(lengths)), np.ones(len(lengths))
    for first, last, n in spans(lengths):
        for t in range(max(first, 1), last):
            change = values[t, :n] - values[t - 1, :n]
            known = ~np.isnan(change)
            squares[:n] += np.where(known, change * change, 0.0)
            count[:n] += known
    return squares / count


def _least_squares(
    form: Form, sums: np.ndarray, first: np.ndarray, ridge: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """w in [0, 1], first level and sum of squares of each trial: three of (C, N). ridge (N,)."""
    ee, ew, ep, ww, wp, pp = sums
    pp = pp + LEAST_RIDGE
    if form.weight is None:
        # Around w = 1/2, where the ridge leaves it.
        determinant = (ww + ridge + LEAST_RIDGE) * pp - wp * wp
        weight = 0.5 + (pp * (ew - 0.5 * ww) - wp * (ep - 0.5 * wp)) / determinant
        weight = np.clip(weight, 0.0, 1.0)
    else:
        weight = np.full(ee.shape, form.weight)
    shift = (ep - weight * wp) / pp
    squares = ee + weight * (weight * ww - 2.0 * ew) + shift * (shift * pp + 2.0 * (weight * wp - ep))
    return weight, 0.5 * first + shift, squares
