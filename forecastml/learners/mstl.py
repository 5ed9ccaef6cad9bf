"""Several seasons: a decomposition by loess, and a model without season on what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from forecastml.attribution import season_term
from forecastml.data.panel import Panel
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError
from forecastml.learners.chunks import Chunk
from forecastml.learners.components import Components, components, exponential
from forecastml.learners.regressors import calendar_period
from forecastml.learners.seasonal_adjustment import Adjustment, growing, last_rows, seasons_ahead, whole_cycles
from forecastml.learners.stand_in import kept_inside, moved_on, stood_in
from forecastml.learners.vectorised import Memory, Settings, VectorisedForecaster, VectorisedLearner
from forecastml.protocols import Capabilities, Facts, FitContext, Params

LOG = ("never", "auto", "always")
#: Cycles of the longest season that count, and most values.
CYCLES, MOST_VALUES = 30, 40_000


@dataclass(frozen=True)
class MstlSettings(Settings):
    """seasons: lengths in steps, shortest first; model: name of the learner of the seasonally adjusted values; window:
    values of a slot that the smoother of the shortest season sees, odd, None where each series chooses; log: one of
    `LOG`."""

    seasons: tuple[float, ...] = ()
    model: str = "dynamic_optimized_theta"
    window: int | None = None
    log: str = "never"

    @classmethod
    def of(cls, name: str, params: Params, context: FitContext) -> MstlSettings:
        """Parameters over the defaults; the seasons are those of the context. `ConfigError` if wrong."""
        known = {"seasons": context.seasons, "model": cls.model, "window": cls.window, "log": cls.log}
        for key in params:
            if key not in known:
                raise ConfigError(f"{name} has no parameter {key!r}; it has {', '.join(known)}")
        chosen = {**known, **params}
        seasons = sorted({float(m) for m in chosen["seasons"] if m != 1})
        if any(m < 2 for m in seasons):
            raise ConfigError(f"{name}: seasons are {chosen['seasons']}; give lengths of 2 steps or more, [] for none")
        window = chosen["window"]
        if window is not None and (window != int(window) or window < 3 or window % 2 == 0):
            raise ConfigError(f"{name}: window is {window}; give an odd whole number from 3 on, or None")
        if chosen["log"] not in LOG:
            raise ConfigError(f"{name}: log is {chosen['log']!r}; one of {', '.join(LOG)}")
        inner_model(chosen["model"])
        primary = int(np.ceil((*seasons, 1.0)[0]))
        return cls(primary, tuple(seasons), chosen["model"], window, chosen["log"])


def inner_model(name: str) -> tuple[VectorisedLearner, Settings]:
    """The learner of this name and its settings without a season; `ConfigError` if it cannot be one inside another."""
    # Imported when used: the registry imports this module.
    from forecastml.learners.registry import get_learner

    learner = get_learner(name)
    if not isinstance(learner, VectorisedLearner) or isinstance(learner, Mstl):
        raise ConfigError(f"mstl: model {name!r} is not one that fits a panel in one call; try {MstlSettings.model!r}")
    return learner, learner.settings_type.of(learner.name, {}, FitContext())


class Mstl(VectorisedLearner):
    """MSTL and a model of the rest: all seasons that a series holds twice are taken out by loess, the seasonally
    adjusted values are forecast by a learner without season, and the last cycle of each season is added again.

    Parameters: seasons (lengths in steps; those of the data), model (name of a learner that fits a panel in one call),
    window (of the shortest season's smoother; by default each series chooses by how well its slots are foretold), log
    ("auto": logarithms of positive series whose season grows with the level). A year of days or weeks has its true
    length. Gaps are filled by trend and seasons for the decomposition and stay gaps for the model; a series that holds
    no season twice is the model's alone.
    (Bandara, Hyndman and Bergmeir 2021, "MSTL: a seasonal-trend decomposition algorithm for time series with multiple
    seasonal patterns"; Cleveland et al. 1990.)
    """

    name = "mstl"
    capabilities: ClassVar[Capabilities] = Capabilities(missing=True, quantiles=True, cost=0.01)
    settings_type: ClassVar[type[Settings]] = MstlSettings

    def space(self, facts: Facts) -> Sequence[Params]:
        """All seasons."""
        return [{}]

    def history(self, settings: Settings) -> int:
        """Thirty cycles of the longest season; of very long ones as many as `MOST_VALUES` hold."""
        model, inner = inner_model(settings.model)
        longest = int(np.ceil((1.0, *settings.seasons)[-1]))
        return max(model.history(inner), min(CYCLES * longest, MOST_VALUES), 2 * longest)

    def fit(self, train: Panel, params: Params, context: FitContext) -> VectorisedForecaster:
        """Fit every series that has a value."""
        settings = self.settings_type.of(self.name, params, context)
        seasons = tuple(calendar_period(int(m), train.frequency) if m == int(m) else m for m in settings.seasons)
        return self._fit(train, replace(settings, seasons=seasons), context, None)

    def fit_chunk(self, chunk: Chunk, settings: Settings, context: FitContext, previous: Memory | None) -> Memory:
        """Seasons of the last cycle and their smoother, steps since, whether of logarithms, and the model's memory."""
        chunk = whole_cycles(chunk, settings.season_length)
        logged = self._logged(chunk, settings)
        values = np.where(logged, np.log(chunk.values), chunk.values)
        adjustment = Adjustment(settings.seasons, settings.window, context.horizon)
        found = adjustment.adjusted(chunk, values, None if previous is None else previous["choice"])
        model, inner = inner_model(settings.model)
        rest = _last(found.values, found.estimated, chunk.lengths, model.history(inner))
        old = None if previous is None else _inside(previous)
        if old is not None:
            # In units of this chunk's values.
            old["scale"] = old["scale"] * previous["scale"] / chunk.scale
        memory = model.remember(rest, inner, replace(context, seasons=()), old)
        return {
            **{f"season.{place}": table for place, table in enumerate(found.tables)},
            **{f"model.{name}": rows for name, rows in memory.items()},
            "age": np.zeros(len(chunk), np.int64),
            "choice": found.choice,
            "log": logged.astype(np.float64),
        }

    def project(
        self, memory: Memory, settings: Settings, steps: int, levels: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The model's means and quantiles around the seasons."""
        model, inner = inner_model(settings.model)
        rest = _inside(memory)
        mean, quantiles = model.project(rest, inner, steps, levels)
        mean, quantiles = stood_in(rest, kept_inside(rest, mean), quantiles, levels)
        seasonal = _seasonal(memory, settings, steps)

        def whole(values: np.ndarray) -> np.ndarray:
            values = values * rest["scale"] + seasonal
            return np.where(memory["log"] > 0, np.exp(values), values)

        return whole(mean), None if quantiles is None else whole(quantiles)

    def components(self, memory: Memory, settings: Settings, steps: int, schema: Schema) -> Components:
        """Those of the model, and every season."""
        model, inner = inner_model(settings.model)
        rest = _inside(memory)
        found = {term: part * rest["scale"] for term, part in components(model, rest, inner, steps, schema).items()}
        at = memory["age"] + np.arange(steps)[:, None]
        for place, length in enumerate(settings.seasons):
            found[season_term(length)] = seasons_ahead(memory[f"season.{place}"], length, at)
        return exponential(found, memory["log"] > 0)

    def advance(self, memory: Memory, settings: Settings, values: np.ndarray, lengths: np.ndarray) -> Memory:
        """The seasons stay as they are, the model reads on; a value without logarithm counts as unknown."""
        model, inner = inner_model(settings.model)
        rest = _inside(memory)
        logs = np.where(values > 0, np.log(values), np.nan)
        left = np.where(memory["log"] > 0, logs, values) - _seasonal(memory, settings, len(values))
        left = left / rest["scale"]
        moved = model.advance(rest, inner, left, lengths)
        moved |= moved_on(rest, left, lengths)
        return {**{f"model.{name}": rows for name, rows in moved.items()}, "age": memory["age"] + lengths}

    def _logged(self, chunk: Chunk, settings: Settings) -> np.ndarray:
        """Whose logarithms are modelled: bool (series,)."""
        if settings.log == "auto":
            return growing(chunk, settings.season_length)
        return (chunk.low > 0) & (settings.log == "always")


def _inside(memory: Memory) -> Memory:
    """The model's part of the memory."""
    return {name.removeprefix("model."): rows for name, rows in memory.items() if name.startswith("model.")}


def _seasonal(memory: Memory, settings: Settings, steps: int) -> np.ndarray:
    """All seasons together at the next steps: float64 (steps, series)."""
    at = memory["age"] + np.arange(steps)[:, None]
    total = np.zeros(at.shape)
    for place, length in enumerate(settings.seasons):
        total += seasons_ahead(memory[f"season.{place}"], length, at)
    return total


def _last(values: np.ndarray, estimated: np.ndarray, lengths: np.ndarray, history: int) -> Chunk:
    """A chunk of the last `history` values of each series; `estimated` stands for the first where it is unknown."""
    kept = np.minimum(lengths, history)
    cut = last_rows(values, lengths, kept)
    cut[0] = np.where(np.isnan(cut[0]), last_rows(estimated, lengths, kept)[0], cut[0])
    return Chunk.of(cut, kept, (~np.isnan(cut)).sum(axis=0))
