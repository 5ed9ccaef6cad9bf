"""The theta method on seasonally adjusted series: standard, optimised and dynamic optimised, all series in one call.

Assimakopoulos and Nikolopoulos (2000), "The theta model: a decomposition approach to forecasting"; Fiorucci et al.
(2016), "Models for optimising the theta method and their relationship to state space models".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from forecastml.kernels import seasonality
from forecastml.kernels import theta as kernel
from forecastml.kernels.theta import FORMS, Form
from forecastml.learners.chunks import Chunk
from forecastml.learners.stand_in import normal_quantiles
from forecastml.learners.vectorised import Memory, Settings, VectorisedLearner
from forecastml.protocols import Capabilities, FitContext

#: A season is looked for in series that hold so many of them.
SEASONS = 3
#: Multiplicative indices below this would blow the adjusted values up.
LEAST_INDEX = 0.01


def seasonal_factors(chunk: Chunk, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors and terms (m, series) of the season, that of the next step first: value = adjusted * factor + term.

    Classical decomposition where the autocorrelation at lag m passes the 90 % test of the M competitions:
    multiplicative for positive series, additive for others; factor 1 and term 0 without a season.
    """
    factors, terms = np.ones((m, len(chunk))), np.zeros((m, len(chunk)))
    some = np.flatnonzero(chunk.known >= SEASONS * m) if m > 1 else np.empty(0, np.int64)
    if len(some):
        matrix = _end_aligned(chunk.take(some))
        seasonal = seasonality.correlates(matrix, m)
        some, matrix = some[seasonal], np.ascontiguousarray(matrix[:, seasonal])
    if len(some):
        ratios = seasonality.seasonal_indices(matrix, m, multiplicative=True)
        multiplied = (chunk.low[some] > 0) & (ratios >= LEAST_INDEX).all(axis=0)
        differences = seasonality.seasonal_indices(matrix, m, multiplicative=False)
        factors[:, some] = np.where(multiplied, ratios, 1.0)
        terms[:, some] = np.where(multiplied, 0.0, differences)
    return factors, terms


def _end_aligned(chunk: Chunk) -> np.ndarray:
    """Values (time, series) with the last of each series in the last row."""
    time = len(chunk.values)
    at = np.arange(time)[:, None] - (time - chunk.lengths)
    return np.where(at >= 0, np.take_along_axis(chunk.values, np.maximum(at, 0), axis=0), np.nan)


class _Theta(VectorisedLearner):
    """Fits and forecasts the seasonally adjusted values; a subclass says which form.

    Memory: "alpha", "weight" (1 - 1 / theta), "state" (8: kernels.theta), "variance" of a step, "factors" and "terms"
    (season_length), that of the next step first.
    """

    chunk = 512
    form: ClassVar[Form]

    def fit_chunk(self, chunk: Chunk, settings: Settings, context: FitContext, previous: Memory | None) -> Memory:
        """Test for a season, adjust, least squares."""
        m = settings.season_length
        factors, terms = seasonal_factors(chunk, m)
        values = adjusted(chunk.values, factors, terms, -chunk.lengths)
        near = None if previous is None else previous["alpha"]
        parameters, state = kernel.estimate(self.form, values, chunk.lengths, near)
        squares, count = kernel.roll(self.form, values, chunk.lengths, parameters, state)
        return {
            "alpha": parameters[0],
            "weight": parameters[1],
            "state": state.T,
            "variance": squares / np.maximum(count - self.estimated, 1.0),
            "factors": factors.T,
            "terms": terms.T,
        }

    @property
    def estimated(self) -> int:
        """How many numbers are estimated: alpha, the first level and perhaps w."""
        return 2 + (self.form.weight is None)

    def project(
        self, memory: Memory, settings: Settings, steps: int, levels: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Means and quantiles of normal distributions, seasonal again."""
        parameters = np.stack([memory["alpha"], memory["weight"]])
        state = np.ascontiguousarray(memory["state"].T)
        mean, variance = kernel.project(self.form, parameters, state, steps)
        slots = np.arange(steps) % settings.season_length
        factors, terms = memory["factors"].T[slots], memory["terms"].T[slots]
        spread = np.sqrt(variance * memory["variance"]) * factors
        mean = mean * factors + terms
        return mean, normal_quantiles(mean, spread, levels)

    def advance(self, memory: Memory, settings: Settings, values: np.ndarray, lengths: np.ndarray) -> Memory:
        """Level, and the line of a dynamic form, move on; the season turns."""
        m = settings.season_length
        factors, terms = memory["factors"].T, memory["terms"].T
        state = np.ascontiguousarray(memory["state"].T)
        parameters = np.stack([memory["alpha"], memory["weight"]])
        zero = np.zeros(len(lengths), dtype=np.int64)
        kernel.roll(self.form, adjusted(values, factors, terms, zero), lengths, parameters, state)
        turned = (np.arange(m)[:, None] + lengths) % m
        season = {"factors": factors, "terms": terms}
        moved = {name: np.take_along_axis(rows, turned, axis=0).T for name, rows in season.items()}
        return {"state": state.T, **moved}


def adjusted(values: np.ndarray, factors: np.ndarray, terms: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Values (time, series) without their season; shift (series,): slot of the first value."""
    slots = (np.arange(len(values))[:, None] + shift) % len(factors)
    return (values - np.take_along_axis(terms, slots, axis=0)) / np.take_along_axis(factors, slots, axis=0)


class Theta(_Theta):
    """The standard theta method (theta = 2): simple smoothing with half the slope of the line through all values.

    Parameters: season_length, default the first season of the context.
    """

    name = "theta"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.001)
    form = FORMS["STM"]


class OptimizedTheta(_Theta):
    """The optimised theta method: theta is estimated too.

    Parameters: season_length, default the first season of the context.
    """

    name = "optimized_theta"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.001)
    form = FORMS["OTM"]


class DynamicOptimizedTheta(_Theta):
    """The dynamic optimised theta method: theta is estimated, and the line follows the values step by step.

    Parameters: season_length, default the first season of the context.
    """

    name = "dynamic_optimized_theta"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.001)
    form = FORMS["DOTM"]
