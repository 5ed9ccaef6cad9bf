"""Complex exponential smoothing: up to four forms of season fitted to every series, the best by AICc.

Svetunkov, Kourentzes and Ord (2022), "Complex exponential smoothing". Levels of the season begin at the classical
decomposition; smoothing parameters and the rest of the start are least squares.
"""

from __future__ import annotations

import numpy as np

from forecastml.attribution import LEVEL
from forecastml.data.schema import Schema
from forecastml.kernels import seasonality
from forecastml.kernels.complex_estimation import Fit, Sample, estimate, state
from forecastml.kernels.complex_smoothing import COMPLEX, FORMS, Form, State, project, roll
from forecastml.learners.chunks import Chunk
from forecastml.learners.classical_season import end_aligned
from forecastml.learners.components import Components, level_and_season
from forecastml.learners.stand_in import normal_quantiles
from forecastml.learners.vectorised import Memory, Settings, VectorisedLearner
from forecastml.protocols import Capabilities, FitContext

#: A season needs so many of them.
SEASONS = 2
#: The first level is the mean of this many values, or of the first season if that is longer.
START_VALUES = 10
#: With fewer values the plain form keeps PLAIN, simple smoothing with a weight of 0.3.
LEAST, PLAIN = 8, np.array([[1.3], [1.0]])
#: Passes over the values at most. Twelve come closer to the minimum and forecast no better (measured on training
#: folds): few are a mild prior on the start. A refit begins anew for the same reason: from earlier parameters it went
#: further down and forecast worse.
ROUNDS = 5
#: Mean squared error below which a fit is perfect, for series scaled to a largest value between 0.5 and 1.
PERFECT = 1e-24


class ComplexSmoothing(VectorisedLearner):
    """Complex exponential smoothing without season, or with a simple, partial or full one: the best by AICc.

    Parameters: season_length, default the first season of the context.
    Memory: "form" (place in `FORMS`), and of that form "coefficients" (8), "trend" (2), "season" (2 * season_length),
    the slot of the next step first, and "variance" of a step.
    """

    name = "ces"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.025)
    chunk = 256

    def fit_chunk(self, chunk: Chunk, settings: Settings, context: FitContext, previous: Memory | None) -> Memory:
        """Every form that the length allows, then AICc."""
        m, n = settings.season_length, len(chunk)
        sample, plain = _sample(chunk, m), FORMS["none"]
        memory = _remembered(plain, sample, plain_fit(sample), (m, chunk.known))
        memory["form"] = np.zeros(n)
        lowest = np.full(n, np.inf)
        for at, form in enumerate(FORMS.values()):
            fits = np.flatnonzero(chunk.known >= _least(form, m))
            if (form.season is not None and m == 1) or not len(fits):
                continue
            context.deadline.check()
            part, known = sample.take(fits), chunk.known[fits]
            found, squares = estimate(form, part, ROUNDS)
            criterion = _aicc(known, squares, _degrees(form, m))
            better = criterion < lowest[fits]
            won = fits[better]
            if not len(won):
                continue
            lowest[won] = criterion[better]
            rows = _remembered(form, sample.take(won), found.take(better), (m, known[better]))
            for name, row in rows.items():
                memory[name][won] = row
            memory["form"][won] = at
        return memory

    def project(
        self, memory: Memory, settings: Settings, steps: int, levels: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Means and quantiles of normal distributions."""
        coefficients, now = _read(memory)
        mean, variance = project(coefficients, now, steps)
        return mean, normal_quantiles(mean, np.sqrt(variance * memory["variance"]), levels)

    def components(self, memory: Memory, settings: Settings, steps: int, schema: Schema) -> Components:
        """The block of the trend with the mean of the next season, and what the season is beside it."""
        coefficients, now = _read(memory)
        m = settings.season_length
        trend, _ = project(coefficients, State(now.trend, np.zeros_like(now.season)), steps)
        season, _ = project(coefficients, State(np.zeros_like(now.trend), now.season), max(steps, m))
        found = level_and_season(season[:m], season[:steps])
        return {**found, LEVEL: found[LEVEL] + trend}

    def advance(self, memory: Memory, settings: Settings, values: np.ndarray, lengths: np.ndarray) -> Memory:
        """Levels and hidden parts move on."""
        coefficients, now = _read(memory)
        roll(values, lengths, coefficients, now)
        return _written(now)


def _sample(chunk: Chunk, m: int) -> Sample:
    """The chunk with the start that its first values and its classical decomposition suggest."""
    level, count = np.zeros(len(chunk)), np.minimum(chunk.lengths, max(START_VALUES, m))
    for t in range(int(count.max(initial=0))):
        level += np.where(t < count, chunk.filled[t], 0.0)
    season = np.zeros((m, len(chunk)))
    if m > 1:
        # The decomposition counts slots from the end.
        ahead = seasonality.seasonal_indices(end_aligned(chunk), m, multiplicative=False)
        season = np.take_along_axis(ahead, (np.arange(m)[:, None] - chunk.lengths) % m, axis=0)
    return Sample(chunk.values, chunk.lengths, level / count, season)


def plain_fit(sample: Sample) -> Fit:
    """Simple smoothing as a fit of the form without season."""
    n = len(sample.lengths)
    return Fit(PLAIN + np.zeros((2, n)), np.stack([sample.level, sample.level / PLAIN[0]]), np.zeros(n))


def _degrees(form: Form, m: int) -> int:
    """Numbers that a fit estimates: variance, parameters, start of the trend, of the season and its ratio."""
    starts = 2 * (form.trend is not None) + (form.season is COMPLEX)
    seasons = 0 if form.season is None else m - (form.trend is not None)
    return 1 + form.parameters + starts + seasons


def _least(form: Form, m: int) -> int:
    """Known values that the form needs."""
    seasons = 0 if form.season is None else SEASONS * m
    return max(LEAST, seasons, _degrees(form, m) + 2)


def _aicc(known: np.ndarray, squares: np.ndarray, degrees: int) -> np.ndarray:
    fit = known * np.log(np.maximum(squares / known, PERFECT))
    criterion = fit + 2.0 * degrees + 2.0 * degrees * (degrees + 1) / np.maximum(known - degrees - 1, 1)
    return np.where(np.isnan(criterion), np.inf, criterion)


def _remembered(form: Form, sample: Sample, fit: Fit, counts: tuple[int, np.ndarray]) -> Memory:
    """Coefficients, state after the last value and variance of a step; counts: season length, known values."""
    m, known = counts
    n = len(sample.lengths)
    now = state(form, sample, fit)
    if form.season is None:
        now = State(now.trend, np.zeros((2, m, n)))
    coefficients = form.coefficients(fit.parameters)
    squares = roll(sample.values, sample.lengths, coefficients, now)
    variance = squares / np.maximum(known - _degrees(form, 1), 1.0)
    return {"coefficients": coefficients.reshape(8, n).T.copy(), "variance": variance, **_written(now)}


def _written(now: State) -> Memory:
    n = now.trend.shape[-1]
    return {"trend": now.trend.T.copy(), "season": now.season.reshape(-1, n).T.copy()}


def _read(memory: Memory) -> tuple[np.ndarray, State]:
    """Coefficients (2, 4, series) and a state of their own."""
    n = len(memory["variance"])
    season = memory["season"].T.reshape(2, -1, n)
    coefficients = np.ascontiguousarray(memory["coefficients"].T).reshape(2, 4, n)
    return coefficients, State(memory["trend"].T.copy(), season.copy())
