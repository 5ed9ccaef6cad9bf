"""Forecasts of models of single series as sums: level, trend, season, covariates. Arrays are (steps, series)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from forecastml.attribution import LEVEL, REMAINDER, SEASON, Term
from forecastml.data.schema import Schema
from forecastml.learners.stand_in import kept_inside, stood_in

Components = dict[Term, np.ndarray]
Memory = dict[str, np.ndarray]


@runtime_checkable
class Composed(Protocol):
    """A vectorised learner whose means are sums."""

    def components(self, memory: Memory, settings: Any, steps: int, schema: Schema) -> Components:
        """Scaled parts of the means that `project` gives; their terms depend on settings and schema alone."""
        ...


def components(learner: Any, memory: Memory, settings: Any, steps: int, schema: Schema) -> Components:
    """Parts of what a vectorised learner forecasts, scaled: of its means once they are kept inside and stood in for.

    Where simple smoothing stands in there is a level alone; what the bounds change is the remainder.
    """
    with np.errstate(all="ignore"):
        plain, _ = learner.project(memory, settings, steps, ())
        found = learner.components(memory, settings, steps, schema) if isinstance(learner, Composed) else {LEVEL: plain}
        mean, _ = stood_in(memory, kept_inside(memory, plain), None, ())
        told = total(found)
    lost = (memory["replaced"] > 0) | ~np.isfinite(told)
    found = {term: np.where(lost, 0.0, values) for term, values in found.items()}
    found[LEVEL] = np.where(lost, mean, found.get(LEVEL, 0.0))
    found[REMAINDER] = np.where(lost | (mean == plain), 0.0, mean - told)
    return found


def total(parts: Mapping[Term, np.ndarray]) -> np.ndarray:
    """The parts added in order."""
    whole = 0.0
    for values in parts.values():
        whole = whole + values
    return whole


def level_and_season(cycle: np.ndarray, values: np.ndarray) -> Components:
    """Values (steps, series) as the mean of a cycle (slots, series) and what they are beside it."""
    level = np.zeros(cycle.shape[1])
    for slot in cycle:
        level = level + slot
    level = np.repeat((level / len(cycle))[None], len(values), axis=0)
    return {LEVEL: level, SEASON: values - level}


def factored(parts: Components, factors: np.ndarray, terms: np.ndarray | float = 0.0) -> Components:
    """Parts of a forecast without season, and the season as what (forecast * factors + terms) is beside it."""
    season = total(parts) * (factors - 1.0) + terms
    return {**parts, SEASON: parts[SEASON] + season if SEASON in parts else season}


def exponential(parts: Components, logged: np.ndarray) -> Components:
    """Where logged, bool (series,), the parts of exp(sum): one after the other, what each multiplies by."""
    found, before, whole = {}, 0.0, 0.0
    for place, (term, values) in enumerate(parts.items()):
        whole = whole + values
        now = np.exp(whole)
        found[term] = np.where(logged, now - before if place else now, values)
        before = now
    return found
