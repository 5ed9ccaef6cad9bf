"""Exponential smoothing of many series with many parameter sets at once, one explicit step in time after the other.

The forms of Hyndman, Koehler, Ord and Snyder, "Forecasting with Exponential Smoothing" (2008), by name: the error
("A", "M"), the trend ("N", "A", "Ad"), the season ("N", "A", "M"). With base = level + phi * trend and e = y - mu
(table 2.2; with multiplicative errors e = mu * epsilon gives table 2.3, so that both errors share one recursion and
differ in their likelihood alone):

    season   mu          level             trend                     season
    N        base        base + alpha e    phi trend + beta e
    A        base + s    base + alpha e    phi trend + beta e        s + gamma e
    M        base * s    base + alpha e/s  phi trend + beta e/s      s + gamma e/base

The squares of a fit are the sum of e^2, or with multiplicative errors the sum of (e / mu)^2 times the squared geometric
mean of mu: either way -2 log likelihood is n log(squares) and a constant (section 5.1).

Arrays hold time first and series last; C is the number of parameter sets tried on each series, m the season length:
values (T, N), NaN where unknown (its error is 0); lengths (N,), never increasing, so that the series that still run
are always the first ones; parameters (4, ..., N) = alpha, beta, gamma, phi; state (2 + m, ..., N) = level, trend and
the seasons, that of the next step first (m = 0 for a form without seasons). All operations are elementwise in the
series: neighbours change no bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.kernels.ragged import spans

#: Additive errors, in the order in which models on disk hold them.
ADDITIVE = ("ANN", "AAN", "AAdN", "ANA", "AAA", "AAdA", "ANM", "AAM", "AAdM")
#: The 15 forms without those that divide additive errors by a season that may come near zero.
STABLE = (*ADDITIVE[:6], "MNN", "MAN", "MAdN", "MNA", "MAA", "MAdA", "MNM", "MAM", "MAdM")
#: What the heuristic start looks at: this many seasons, or this many values for a form without.
START_SEASONS, START_VALUES = 3, 10
#: Steps after which a product of means becomes a logarithm; scaled values as small as 1e-30 do not underflow in it.
PRODUCT = 8


def has_relative_errors(form: str) -> bool:
    """Whether the form has multiplicative errors."""
    return form[0] == "M"


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


@dataclass(frozen=True, eq=False)
class Sums:
    """What one pass over the values adds up for these errors ("A", "M" or "AM"), each (C, N).

    squares: of e; relative: of e / mu; product: of the means since logs (of the means) were last taken; lowest: the
    smallest mean.
    """

    errors: str
    squares: np.ndarray
    relative: np.ndarray
    product: np.ndarray
    logs: np.ndarray
    lowest: np.ndarray

    @classmethod
    def zero(cls, errors: str, shape: tuple[int, ...]) -> Sums:
        """Before the first value."""
        return cls(errors, np.zeros(shape), np.zeros(shape), np.ones(shape), np.zeros(shape), np.full(shape, np.inf))

    def first(self, n: int) -> Sums:
        """Views of the first n series."""
        parts = (self.squares, self.relative, self.product, self.logs, self.lowest)
        return Sums(self.errors, *(part[:, :n] for part in parts))

    def add_relative(self, error: np.ndarray, mu: np.ndarray, part: np.ndarray, step: int) -> None:
        """One step of a form with multiplicative errors; part is scratch."""
        np.divide(error, mu, out=part)
        np.multiply(part, part, out=part)
        np.add(self.relative, part, out=self.relative)
        np.multiply(self.product, mu, out=self.product)
        np.minimum(self.lowest, mu, out=self.lowest)
        if step % PRODUCT == PRODUCT - 1:
            # The logarithm of a strided array may take another path and other bits.
            np.add(self.logs, np.log(np.ascontiguousarray(self.product)), out=self.logs)
            self.product[...] = 1.0

    def of(self, error: str, values: np.ndarray) -> np.ndarray:
        """The squares with additive ("A") or multiplicative errors; inf where a mean of the latter is not positive."""
        if error == "A":
            return self.squares
        known = np.maximum((~np.isnan(values)).sum(axis=0), 1)
        logs = self.logs + np.log(self.product)
        squares = self.relative * np.exp(2.0 * logs / known)
        return np.where((self.lowest > 0) & np.isfinite(squares), squares, np.inf)


def roll(form: str, values: np.ndarray, lengths: np.ndarray, parameters: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Run the recursion over the first `lengths[i]` values of each series: squares of the form, float64 (C, N).

    parameters (4, C, N); state (2 + m, C, N) is moved in place to the last of these values. What overflows ends as
    inf or NaN in the result.
    """
    return run(form, values, lengths, parameters, state, form[0]).of(form[0], values)


def run(
    form: str, values: np.ndarray, lengths: np.ndarray, parameters: np.ndarray, state: np.ndarray, errors: str
) -> Sums:
    """`roll`, for the sums of errors "A", "M" or both, "AM"."""
    sums = Sums.zero(errors, state.shape[1:])
    for first, last, n in spans(lengths):
        _advance(form, values[first:last, :n], parameters[..., :n], state[..., :n], sums.first(n), first)
    turned = np.arange(len(state) - 2)[:, None] + lengths
    if len(turned):
        state[2:] = np.take_along_axis(state[2:], turned[:, None, :] % len(turned), axis=0)
    return sums


def _advance(form: str, values: np.ndarray, parameters: np.ndarray, state: np.ndarray, sums: Sums, first: int) -> None:
    """`roll` over steps in which all series run; the first of them is step `first` of the series."""
    alpha, beta, gamma, phi = parameters
    level, trend, seasons = state[0], state[1], state[2:]
    trended, damped, seasonal, product = has_trend(form), is_damped(form), is_seasonal(form), is_multiplicative(form)
    unknown = np.isnan(values)
    gaps = unknown.any(axis=1)
    base, error, part, mu = (np.empty(level.shape) for _ in range(4))
    mu = mu if seasonal else base
    for t, value in enumerate(values):
        season = seasons[(first + t) % len(seasons)] if seasonal else None
        if damped:
            np.multiply(trend, phi, out=trend)
        np.add(level, trend if trended else 0.0, out=base)
        if seasonal:
            (np.multiply if product else np.add)(base, season, out=mu)
        np.subtract(value, mu, out=error)
        if gaps[t]:
            np.copyto(error, 0.0, where=unknown[t])
        if "A" in sums.errors:
            np.multiply(error, error, out=part)
            np.add(sums.squares, part, out=sums.squares)
        if "M" in sums.errors:
            sums.add_relative(error, np.where(unknown[t], 1.0, mu) if gaps[t] else mu, part, first + t)
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
