"""The theta method on seasonally adjusted series: standard, optimised and dynamic optimised, all series in one call.

Assimakopoulos and Nikolopoulos (2000), "The theta model: a decomposition approach to forecasting"; Fiorucci et al.
(2016), "Models for optimising the theta method and their relationship to state space models".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from forecastml.attribution import LEVEL, TREND
from forecastml.data.schema import Schema
from forecastml.kernels import theta as kernel
from forecastml.kernels.theta import FORMS, Form
from forecastml.learners.chunks import Chunk
from forecastml.learners.classical_season import adjusted, seasonal_factors
from forecastml.learners.components import Components, factored
from forecastml.learners.stand_in import normal_quantiles
from forecastml.learners.vectorised import Memory, Settings, VectorisedLearner
from forecastml.protocols import Capabilities, FitContext


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
        mean, variance = self._plain(memory, steps)
        factors, terms = _seasons(memory, settings, steps)
        spread = np.sqrt(variance * memory["variance"]) * factors
        mean = mean * factors + terms
        return mean, normal_quantiles(mean, spread, levels)

    def components(self, memory: Memory, settings: Settings, steps: int, schema: Schema) -> Components:
        """The smoothed level, what the line adds to it, and the season."""
        mean, _ = self._plain(memory, steps)
        level = np.repeat(memory["state"].T[kernel.LEVEL][None], steps, axis=0)
        return factored({LEVEL: level, TREND: mean - level}, *_seasons(memory, settings, steps))

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

    def _plain(self, memory: Memory, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Means without season and their variances: two of (steps, series)."""
        parameters = np.stack([memory["alpha"], memory["weight"]])
        return kernel.project(self.form, parameters, np.ascontiguousarray(memory["state"].T), steps)


def _seasons(memory: Memory, settings: Settings, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors and terms of the next steps: two of (steps, series)."""
    slots = np.arange(steps) % settings.season_length
    return memory["factors"].T[slots], memory["terms"].T[slots]


class Theta(_Theta):
    """The standard theta method (theta = 2): simple smoothing with half the slope of the line through all values.

    Parameters: season_length, default the first season of the context.
    """

    name = "theta"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.003)
    form = FORMS["STM"]


class OptimizedTheta(_Theta):
    """The optimised theta method: theta is estimated too.

    Parameters: season_length, default the first season of the context.
    """

    name = "optimized_theta"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.003)
    form = FORMS["OTM"]


class DynamicOptimizedTheta(_Theta):
    """The dynamic optimised theta method: theta is estimated, and the line follows the values step by step.

    Parameters: season_length, default the first season of the context.
    """

    name = "dynamic_optimized_theta"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.003)
    form = FORMS["DOTM"]
