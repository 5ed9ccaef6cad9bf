"""The median of different classical models: none of them can pull it far, and few single ones beat it.

(Petropoulos and Svetunkov 2020, "A simple combination of univariate models".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecastml.attribution import Explanation, explanation, merged
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.learners.registry import get_learner
from forecastml.learners.state import OK
from forecastml.protocols import Candidate, Capabilities, Facts, FitContext, Fitted, Params, Prediction, Refittable

#: One model of each kind (on folds of monthly series five kinds were better than any three of them).
PARTS = ("exponential_smoothing", "ces", "dynamic_optimized_theta", "mstl", "auto_arima")
#: The median of two is their mean, and one more model is no combination.
FEWEST = 3


@dataclass(frozen=True, eq=False)
class MedianForecaster:
    """Fitted parts by learner name, all for the same series."""

    parts: Mapping[str, Fitted]

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok" where some part has a forecast, else the reason of the first."""
        columns = zip(*(part.status for part in self.parts.values()), strict=True)
        return tuple(OK if OK in statuses else statuses[0] for statuses in columns)

    @property
    def lookback(self) -> int:
        """The most that a part reads."""
        return max(getattr(part, "lookback", 1) for part in self.parts.values())

    def predict(self, inputs: Panel, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """Median of the parts' means; outputs other than "mean" are NaN."""
        values = np.stack([part.predict(inputs, horizon, ("mean",)).values for part in self.parts.values()])
        mean = medians(values)[:, 0]
        filled = [mean if name == "mean" else np.full_like(mean, np.nan) for name in outputs]
        return Prediction(np.stack(filled, axis=-1), outputs)

    def explain(self, inputs: Panel, horizon: int) -> Explanation:
        """The terms of the part in the middle, or the mean of the two there."""
        told = [explanation(part, inputs, horizon) for part in self.parts.values()]
        order = np.argsort(np.stack([found.total for found in told]), axis=0, kind="stable")
        count = np.zeros(order.shape[1:], dtype=np.int64)
        for found in told:
            count += ~np.isnan(found.total)
        halves = [np.take_along_axis(order, np.minimum(at, len(told) - 1)[None], axis=0)[0] for at in _middle(count)]
        everyone = np.arange(len(inputs))
        terms = merged([(found, everyone) for found in told], len(inputs)).terms
        values = np.where(count[:, :, None] > 0, np.zeros((1, 1, len(terms))), np.nan)
        for place, found in enumerate(told):
            share = 0.5 * (halves[0] == place) + 0.5 * (halves[1] == place)
            values[:, :, [terms.index(term) for term in found.terms]] += found.scaled(share).values
        return Explanation(tuple(term.name for term in terms), values, terms)

    def append(self, data: Panel) -> MedianForecaster:
        """Every part moves its origin."""
        return replace(self, parts={name: part.append(data) for name, part in self.parts.items()})

    def take(self, items: np.ndarray) -> MedianForecaster:
        """The part for these series."""
        return replace(self, parts={name: part.take(items) for name, part in self.parts.items()})

    def stack(self, others: Sequence[MedianForecaster]) -> MedianForecaster:
        """This and others in one; `ConfigError` when they are made of other learners."""
        for other in others:
            if list(other.parts) != list(self.parts):
                raise ConfigError(f"cannot stack medians of {', '.join(other.parts)} and {', '.join(self.parts)}")
        stacked = {name: part.stack([other.parts[name] for other in others]) for name, part in self.parts.items()}
        return replace(self, parts=stacked)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values of the parts, under their names."""
        arrays, values = {}, {}
        for name, part in self.parts.items():
            own, values[name] = part.state()
            arrays |= {f"{name}.{key}": array for key, array in own.items()}
        return arrays, {"parts": values}


class Median:
    """The median of several learners' forecasts.

    Parameters: of, names of learners, default `PARTS`; each is fitted with its own defaults.
    """

    name = "median"
    # Declared without its parts, which are there in most runs and are not fitted again.
    capabilities = Capabilities(missing=True, cost=0.001)

    def space(self, facts: Facts) -> Sequence[Params]:
        """A single empty set."""
        return [{}]

    def parts(self, params: Params) -> tuple[Candidate, ...]:
        """The learners by their defaults; `ConfigError` for unknown parameters, and for learners that do not suit."""
        unknown = sorted(set(params) - {"of"})
        if unknown:
            raise ConfigError(f"{self.name} has no parameter {unknown[0]!r}; it has of")
        names = tuple(params.get("of", PARTS))
        if isinstance(params.get("of"), str) or not names or self.name in names:
            raise ConfigError(f"{self.name}: of is {params['of']!r}; give other learners, as in of=[theta, ces, mstl]")
        for name in names:
            if get_learner(name).capabilities.covariates or "forecasting" not in get_learner(name).capabilities.tasks:
                raise ConfigError(f"{self.name}: {name} needs more than a series; name learners without covariates")
        return tuple(Candidate(name) for name in names)

    def among(self, learners: Sequence[str], params: Params) -> Params | None:
        """See `Combination`; None for fewer than `FEWEST`, where there were more."""
        names = tuple(params.get("of", PARTS))
        used = [name for name in names if name in learners]
        if len(used) == len(names):
            return params
        return {"of": used} if len(used) >= FEWEST else None

    def combined(self, values: np.ndarray) -> np.ndarray:
        """See `Combination`."""
        return medians(values)

    def joined(self, params: Params, fitted: Sequence[Fitted]) -> MedianForecaster:
        """See `Combination`."""
        return MedianForecaster(dict(zip((part.learner for part in self.parts(params)), fitted, strict=True)))

    def fit(self, train: Panel, params: Params, context: FitContext) -> MedianForecaster:
        """Fit every part."""
        return MedianForecaster({part.learner: _fitted(part.learner, train, context) for part in self.parts(params)})

    def refit(self, previous: MedianForecaster, train: Panel, context: FitContext) -> MedianForecaster:
        """Refit the parts that can be refitted, fit the others."""
        return MedianForecaster({name: _fitted(name, train, context, part) for name, part in previous.parts.items()})

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> MedianForecaster:
        """The inverse of `MedianForecaster.state`."""
        parts = {}
        for name, own in values["parts"].items():
            prefix = f"{name}."
            mine = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            parts[name] = get_learner(name).restore(mine, own)
        return MedianForecaster(parts)


def medians(values: np.ndarray) -> np.ndarray:
    """Medians over the first axis of those that are not NaN, NaN where all are."""
    ordered = np.sort(values, axis=0)
    count = (~np.isnan(values)).sum(axis=0)
    # NaN is sorted to the end, where the upper one points when there is nothing else.
    pick = [np.take_along_axis(ordered, np.minimum(at, len(values) - 1)[None], axis=0)[0] for at in _middle(count)]
    return 0.5 * (pick[0] + pick[1])


def _middle(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two places in the middle of so many ordered values; one and the same where their number is odd."""
    return np.maximum(count - 1, 0) // 2, count // 2


def _fitted(name: str, train: Panel, context: FitContext, previous: Fitted | None = None) -> Fitted:
    learner = get_learner(name)
    data = train if learner.capabilities.missing else train.filled()
    if previous is not None and isinstance(learner, Refittable):
        return learner.refit(previous, data, context)
    return learner.fit(data, {}, context)
