"""Forecasting as regression on a table: the only bridge from tabular learners to series.

One model for all series learns what lies ahead from a row of features (`learners.reduced`), with the target told in the
series' own scale (`features.target`). The fitted object holds nothing about a series; it reads the last `lookback`
values of its inputs, and serves series that it never saw.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecastml.attribution import BASE, Explanation, Term, add_shares, merged
from forecastml.data.panel import Panel
from forecastml.data.schema import Schema
from forecastml.data.table import Table
from forecastml.errors import ConfigError
from forecastml.features.automatic import FeatureOptions, automatic
from forecastml.features.panel import FeatureSet
from forecastml.features.sources import feature_terms
from forecastml.features.target import TargetTransform
from forecastml.learners.reduced import ReducedModel, reach_of, training_table
from forecastml.learners.rows import RowPredictor, TabularLearner, own_arrays
from forecastml.learners.shuffled import Shuffled
from forecastml.learners.state import OK, SeriesArrays, equal_states
from forecastml.protocols import Capabilities, Facts, FitContext, Params, Prediction

#: Rows of training at most: of longer panels the most recent values of every series.
MAX_ROWS = 120_000
#: How a horizon is reached.
STEPS = ("recursive", "direct")


@dataclass(frozen=True, eq=False)
class ReducedForecaster:
    """Fitted models and which of them serves each series; one alone serves any panel, series it never saw too.

    items: "model" (position in `models`, int64) per series, and their status.
    """

    models: tuple[ReducedModel, ...]
    items: SeriesArrays

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok" or why there is no forecast."""
        return self.items.status

    @property
    def lookback(self) -> int:
        """Values of history that a forecast reads: a panel's `last(lookback)` gives the same bits as all of it."""
        return max(model.lookback for model in self.models)

    def predict(self, inputs: Panel, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """The next `horizon` values of `inputs`; outputs other than "mean" are NaN."""
        values = np.full((len(inputs), horizon, len(outputs)), np.nan)
        for index, part in self._served(inputs):
            mean = self.models[index].predict(inputs.select(part), horizon)
            values[part] = np.where([name == "mean" for name in outputs], mean[:, :, None], np.nan)
        return Prediction(values.reshape(-1, len(outputs)), outputs)

    def explain(self, inputs: Panel, horizon: int, exact: bool = True) -> Explanation:
        """What each feature adds to the base of the target transform and of the table learner; exact: see
        `learners.contributions`."""
        parts = []
        for index, part in self._served(inputs):
            model = self.models[index]
            terms = (*feature_terms(model.features, inputs.schema), BASE)
            values = model.explain(inputs.select(part), horizon, exact)
            parts.append((Explanation(tuple(term.name for term in terms), values, terms), part))
        return merged(parts, len(inputs))

    def terms(self, schema: Schema) -> tuple[Term, ...]:
        """The engineered features of all models."""
        return tuple(dict.fromkeys(term for model in self.models for term in feature_terms(model.features, schema)))

    def gains(self, schema: Schema) -> dict[Term, float]:
        """What each feature was worth in training: shares of 1 in each model, by how many series it serves."""
        found: dict[Term, float] = {}
        for model, count in zip(self.models, self._counts(), strict=True):
            if model.table is not None:
                add_shares(found, feature_terms(model.features, schema), model.table.gains(), count)
        return found

    def shuffled(self, terms: Collection[Term], schema: Schema, seed: int) -> ReducedForecaster:
        """The same with these features shuffled among the rows that are predicted together."""
        models = []
        for model in self.models:
            columns = [k for k, term in enumerate(feature_terms(model.features, schema)) if term in terms]
            changed = bool(columns) and model.table is not None
            models.append(replace(model, table=Shuffled(model.table, tuple(columns), seed)) if changed else model)
        return replace(self, models=tuple(models))

    def append(self, data: Panel) -> ReducedForecaster:
        """The same models for the series of `data`; the origin lies in the inputs of `predict`."""
        status = np.empty(len(data), dtype=object)
        which = np.zeros(len(data), dtype=np.int64)
        for index, part in self._served(data):
            status[part], which[part] = self.models[index].status(data.select(part)), index
        return replace(self, items=SeriesArrays({"model": which}, tuple(status)))

    def take(self, items: np.ndarray) -> ReducedForecaster:
        """The part for these series, with the models that serve them."""
        return _with_models_in_use(self.models, self.items.take(items))

    def stack(self, others: Sequence[ReducedForecaster]) -> ReducedForecaster:
        """This and others in one; equal models are kept once."""
        models: list[ReducedModel] = []
        parts = []
        for part in (self, *others):
            place = np.array([_position(models, model) for model in part.models])
            parts.append(SeriesArrays({"model": place[part.items["model"]]}, part.status))
        return ReducedForecaster(tuple(models), parts[0].stack(parts[1:]))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, values = self.items.state()
        models = []
        for i, model in enumerate(self.models):
            own, told = model.state()
            arrays |= {f"{i}.{name}": array for name, array in own.items()}
            models.append(told)
        return arrays, {**values, "models": models}

    def _counts(self) -> list[int]:
        """How many series each model serves."""
        return np.bincount(self.items["model"], minlength=len(self.models)).tolist()

    def _served(self, panel: Panel) -> list[tuple[int, np.ndarray]]:
        """Position of each model and the series of `panel` that it serves."""
        if len(self.models) == 1:
            return [(0, np.arange(len(panel)))]
        return [(i, np.flatnonzero(self.items["model"] == i)) for i in range(len(self.models))]


class Reduction(TabularLearner):
    """A tabular learner that also takes series: a subclass gives `fit_table` and `restore_table`."""

    capabilities = Capabilities(
        tasks=frozenset({"forecasting", "regression", "classification"}),
        scope="pooled",
        covariates=frozenset({"known", "past", "static"}),
        missing=True,
        weights=True,
    )

    def space(self, facts: Facts) -> Sequence[Params]:
        """For series, transforms and both ways to the horizon, best guess first (`Config` has a list of its own)."""
        if not facts.separable:
            return super().space(facts)
        kinds = ("scale", "mean", "seasonal_difference", "difference")
        found = [{"transform": kind, "steps": steps} for steps in STEPS for kind in kinds]
        return [params for params in found if self.suits(params, facts)]

    def suits(self, params: Params, facts: Facts) -> bool:
        """Direct where there is more than one step, seasonal where there is a season, powers and likelihoods of counts
        for values that they are made for."""
        kind = params.get("transform", "scale")
        if params.get("steps") == "direct" and not 1 < facts.horizon < facts.longest:
            return False
        if "seasonal" in kind and not facts.seasons:
            return False
        if kind == "box_cox" and not facts.positive:
            return False
        bounded = kind.startswith("log") or params.get("objective") in ("tweedie", "poisson")
        return facts.nonnegative or not bounded

    def fit(self, train: Panel | Table, params: Params, context: FitContext) -> ReducedForecaster | RowPredictor:
        """Learn from the rows of a table, or from those of all series; the oldest are left out beyond `MAX_ROWS`.

        transform: see `features.target`; steps: "recursive" or "direct"; lags, windows, ...: see
        `features.automatic.FeatureOptions`; other parameters go to the table learner.
        """
        if isinstance(train, Table):
            return super().fit(train, params, context)
        context.deadline.check()
        season = (*context.seasons, 1)[0]
        options, rest = FeatureOptions.split(params)
        transform = TargetTransform(rest.pop("transform", "scale"), season).fitted(train)
        steps = rest.pop("steps", "recursive")
        if steps not in STEPS:
            raise ConfigError(f"steps is {steps!r}; use {' or '.join(STEPS)}")
        direct = steps == "direct"
        features = automatic(train, context, direct, options)
        model = ReducedModel(features, transform, None, context.horizon if direct else 0)
        rows = training_table(train, model, MAX_ROWS)
        if len(rows.y):
            model = replace(model, table=self.fit_table(rows, rest, context), reach=reach_of(rows.y))
        blank = SeriesArrays({"model": np.zeros(len(train), np.int64)}, (OK,) * len(train))
        return ReducedForecaster((model,), blank).append(train)

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> ReducedForecaster | RowPredictor:
        """The inverse of the fitted object's `state`."""
        if "rows" in values:
            return super().restore(arrays, values)
        models = []
        for i, told in enumerate(values["models"]):
            table = None if told["table"] is None else self.restore_table(own_arrays(arrays, i), told["table"])
            transform = TargetTransform(**told["transform"])
            features = FeatureSet.from_json(told["features"])
            low, high = told.get("reach", (None, None))
            reach = (-np.inf if low is None else low, np.inf if high is None else high)
            models.append(ReducedModel(features, transform, table, told.get("steps", 0), reach))
        items = SeriesArrays.restore({name: arrays[name] for name in ("model", "status")}, values)
        return ReducedForecaster(tuple(models), items)


def _with_models_in_use(models: Sequence[ReducedModel], items: SeriesArrays) -> ReducedForecaster:
    used = np.unique(items["model"]) if len(items) else np.zeros(1, np.int64)
    which = np.searchsorted(used, items["model"])
    return ReducedForecaster(tuple(models[i] for i in used), SeriesArrays({"model": which}, items.status))


def _position(models: list[ReducedModel], model: ReducedModel) -> int:
    """Where `model` stands in `models`; appended when it is new."""
    for i, known in enumerate(models):
        if known is model or _equal(known, model):
            return i
    models.append(model)
    return len(models) - 1


def _equal(one: ReducedModel, other: ReducedModel) -> bool:
    if any(getattr(one, name) != getattr(other, name) for name in ("features", "transform", "steps", "reach")):
        return False
    return equal_states(one.state(), other.state())
