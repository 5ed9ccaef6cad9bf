"""Exponential smoothing of many series with many parameter sets at once, one explicit step in time after the other.

The nine additive-error forms of Hyndman, Koehler, Ord and Snyder, "Forecasting with Exponential Smoothing" (2008),
table 2.2, by name: "A", the trend ("N", "A", "Ad"), the season ("N", "A", "M"). With base = level + phi * trend and
error e = y - mu:

    season   mu          level             trend                     season
    N        base        base + alpha e    phi trend + beta e
    A        base + s    base + alpha e    phi trend + beta e        s + gamma e
    M        base * s    base + alpha e/s  phi trend + beta e/s      s + gamma e/base

Arrays hold time first and series last; C is the number of parameter sets tried on each series, m the season length:
values (T, N), NaN where unknown (its error is 0); lengths (N,), never increasing, so that the series that still run
are always the first ones; parameters (4, ..., N) = alpha, beta, gamma, phi; state (2 + m, ..., N) = level, trend and
the seasons, that of the next step first (m = 0 for a form without seasons). All operations are elementwise in the
series: neighbours change no bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FORMS = ("ANN", "AAN", "AAdN", "ANA", "AAA", "AAdA", "ANM", "AAM", "AAdM")
#: What the heuristic start looks at: this many seasons, or this many values for a form without.
START_SEASONS, START_VALUES = 3, 10


def has_trend(form: str) -> bool:
    """Whether the form has a trend, damped or not."""
    return form[1] == "A"


def is_damped(form: str) -> bool:
    """Whether the form has a damped trend."""
    return form[1:3] == "Ad"


def is_seasonal(form: str) -> bool:
    """Whether the form has seasons."""
    return form[-1] != "N"


def is_multiplicative(form: str) -> bool:
    """Whether the form has multiplicative seasons."""
    return form[-1] == "M"


def roll(form: str, values: np.ndarray, lengths: np.ndarray, parameters: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Run the recursion over the first `lengths[i]` values of each series: sums of squared errors, float64 (C, N).

    parameters (4, C, N); state (2 + m, C, N) is moved in place to the last of these values. What overflows ends as
    inf or NaN in the result.
    """
    squares = np.zeros(state.shape[1:])
    for first, last, n in _spans(lengths):
        _advance(form, values[first:last, :n], parameters[..., :n], state[..., :n], squares[:, :n], first)
    turned = np.arange(len(state) - 2)[:, None] + lengths
    if len(turned):
        state[2:] = np.take_along_axis(state[2:], turned[:, None, :] % len(turned), axis=0)
    return squares


def _spans(lengths: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(first step, last step + 1, number of series that run) of each span in which the same series run."""
    first = 0
    for last in np.unique(lengths[lengths > 0]).tolist():
        yield first, last, int(np.searchsorted(-lengths, -last, side="right"))
        first = last


def _advance(
    form: str, values: np.ndarray, parameters: np.ndarray, state: np.ndarray, squares: np.ndarray, first: int
) -> None:
    """`roll` over steps in which all series run; the first of them is step `first` of the series."""
    alpha, beta, gamma, phi = parameters
    level, trend, seasons = state[0], state[1], state[2:]
    trended, damped, seasonal, product = has_trend(form), is_damped(form), is_seasonal(form), is_multiplicative(form)
    unknown = np.isnan(values)
    gaps = unknown.any(axis=1)
    base, error, part = (np.empty(squares.shape) for _ in range(3))
    for t, value in enumerate(values):
        season = seasons[(first + t) % len(seasons)] if seasonal else None
        if damped:
            np.multiply(trend, phi, out=trend)
        np.add(level, trend if trended else 0.0, out=base)
        if product:
            np.multiply(base, season, out=error)
            np.subtract(value, error, out=error)
        elif seasonal:
            np.add(base, season, out=error)
            np.subtract(value, error, out=error)
        else:
            np.subtract(value, base, out=error)
        if gaps[t]:
            np.copyto(error, 0.0, where=unknown[t])
        np.multiply(error, error, out=part)
        np.add(squares, part, out=squares)
        if product:
            np.divide(error, base, out=part)
            np.divide(error, season, out=error)
            np.multiply(part, gamma, out=part)
            np.add(season, part, out=season)
        elif seasonal:
            np.multiply(error, gamma, out=part)
            np.add(season, part, out=season)
        np.multiply(error, alpha, out=part)
        np.add(base, part, out=level)
        if trended:
            np.multiply(error, beta, out=part)
            np.add(trend, part, out=trend)


def project(form: str, parameters: np.ndarray, state: np.ndarray, horizon: int) -> np.ndarray:
    """Forecasts from the state: parameters (4, N), state (2 + m, N) -> float64 (horizon, N)."""
    level, trend, seasons = state[0].copy(), state[1].copy(), state[2:]
    mean = np.empty((horizon, len(level)))
    for step in range(horizon):
        if has_trend(form):
            trend *= parameters[3]
            level += trend
        mean[step] = level
        if is_multiplicative(form):
            mean[step] *= seasons[step % len(seasons)]
        elif is_seasonal(form):
            mean[step] += seasons[step % len(seasons)]
    return mean


def start(form: str, values: np.ndarray, lengths: np.ndarray, season_length: int) -> np.ndarray:
    """Heuristic state before the first value: float64 (2 + m, N); values must be known, lengths at least 2 m.

    With seasons: level and slope from the means of the first two or three seasons, seasons as the mean difference
    (ratio) to that line, normalised to mean 0 (1). Without: the least squares line through the first ten values.
    """
    if is_seasonal(form):
        return _seasonal_start(form, values, lengths, season_length)
    n = np.minimum(lengths, START_VALUES)
    mean, moment = np.zeros(len(n)), np.zeros(len(n))
    for t in range(min(START_VALUES, len(values))):
        value = np.where(t < n, values[t], 0.0)
        mean += value
        moment += value * (t + 1 - (n + 1) / 2)
    mean /= n
    if not has_trend(form):
        return np.stack([mean, np.zeros(len(n))])
    slope = moment / (n * (n * n - 1) / 12)
    return np.stack([mean - slope * (n + 1) / 2, slope])


def _seasonal_start(form: str, values: np.ndarray, lengths: np.ndarray, m: int) -> np.ndarray:
    blocks = np.minimum(lengths // m, START_SEASONS)
    means = [_total(values[k * m : (k + 1) * m]) / m for k in range(int(blocks[0]))]
    slope = (np.choose(blocks - 1, means) - means[0]) / ((blocks - 1) * m)
    state = np.zeros((2 + m, len(blocks)))
    for j in range(m):
        for k, mean in enumerate(means):
            line = mean + slope * (j - (m - 1) / 2)
            effect = values[k * m + j] / line if is_multiplicative(form) else values[k * m + j] - line
            state[2 + j] += np.where(k < blocks, effect, 0.0)
        state[2 + j] /= blocks
    centre = _total(state[2:]) / m
    state[2:] = state[2:] / centre if is_multiplicative(form) else state[2:] - centre
    state[0] = means[0]
    if has_trend(form):
        state[0] -= slope * (m + 1) / 2
        state[1] = slope
    return state


def _total(values: np.ndarray) -> np.ndarray:
    """The sum over the first axis, in order: numpy's own may add a lone series in another order."""
    total = np.zeros(values.shape[1:])
    for value in values:
        total += value
    return total


def improved_start(
    form: str, values: np.ndarray, lengths: np.ndarray, parameters: np.ndarray, state: np.ndarray
) -> np.ndarray:
    """The state before the first value after one Gauss-Newton step towards the least squared errors: (2 + m, N).

    parameters (4, N); state (2 + m, N) is where the step begins, and counts as one more observation (a ridge), which
    also settles the direction in which level and seasons are interchangeable. The errors of the forms without
    multiplicative seasons are linear in the state, so that one step is all there is (Hyndman et al. 2008, section 5.2
    estimates the state with the parameters; for given parameters this is its solution). Costs (2 + m)^2 per value.
    """
    width = len(state)
    gram, slope = np.zeros((width, width, len(lengths))), np.zeros((width, len(lengths)))
    tangents = np.repeat(np.eye(width)[:, :, None], len(lengths), axis=2)
    now = state.copy()
    for first, last, n in _spans(lengths):
        for t in range(first, last):
            at = 2 + t % (width - 2) if is_seasonal(form) else 0
            error, change = _linearised(form, values[t, :n], parameters[:, :n], (now[:, :n], tangents[..., :n]), at)
            for i in range(width):
                gram[i, : i + 1, :n] += change[i] * change[: i + 1]
            slope[:, :n] += change * error
    sound = np.isfinite(gram).all(axis=(0, 1)) & np.isfinite(slope).all(axis=0)
    lower = np.where(sound, gram, 0.0).transpose(2, 0, 1)
    equations = np.eye(width) + lower + np.tril(lower, -1).transpose(0, 2, 1)
    step = np.linalg.solve(equations, -np.where(sound, slope, 0.0).T[:, :, None])
    return state + step[:, :, 0].T


def _linearised(
    form: str, value: np.ndarray, parameters: np.ndarray, paths: tuple[np.ndarray, np.ndarray], at: int
) -> tuple[np.ndarray, np.ndarray]:
    """Error (n,) of one step and its derivative by each start value (2 + m, n); moves state and tangents in place.

    paths: state (2 + m, n) and tangents (2 + m, start values, n); at: row of the season of this step, 0 for none.
    """
    alpha, beta, gamma, phi = parameters
    state, tangents = paths
    if has_trend(form):
        state[1] *= phi
        tangents[1] *= phi
        state[0] += state[1]
        tangents[0] += tangents[1]
    known = ~np.isnan(value)
    base, base_change = state[0].copy(), tangents[0].copy()
    if is_multiplicative(form):
        season, season_change = state[at].copy(), tangents[at].copy()
        error = np.where(known, value - base * season, 0.0)
        change = np.where(known, -(base_change * season + base * season_change), 0.0)
        share, pull = error / season, error / base
        state[at] += gamma * pull
        tangents[at] += gamma * ((change - pull * base_change) / base)
        pulled = (change - share * season_change) / season
    else:
        error = np.where(known, value - base - (state[at] if at else 0.0), 0.0)
        change = np.where(known, -(base_change + (tangents[at] if at else 0.0)), 0.0)
        share, pulled = error, change
        if at:
            state[at] += gamma * error
            tangents[at] += gamma * change
    state[0] += alpha * share
    tangents[0] += alpha * pulled
    if has_trend(form):
        state[1] += beta * share
        tangents[1] += beta * pulled
    return error, change
