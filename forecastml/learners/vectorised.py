"""The frame of every learner that fits a whole panel in one call: windows, chunks, scales, stand-ins, origins.

A family of models says how a chunk of series is fitted, projected and moved on (`VectorisedLearner`); what is the same
for all of them stands here. Arrays inside hold time first and series last; every operation is elementwise in the
series, so that neighbours and borders of chunks change no bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from forecastml.attribution import LEVEL, Explanation, Term
from forecastml.data.extension import without_future
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.learners.baseline import NO_VALUES
from forecastml.learners.chunks import Chunk, chunked, columns, windows
from forecastml.learners.components import components
from forecastml.learners.stand_in import begun, kept_inside, moved_on, stood_in
from forecastml.learners.state import OK, SeriesArrays
from forecastml.protocols import Capabilities, Facts, FitContext, Params, Prediction

Memory = dict[str, np.ndarray]
#: Series that are projected together.
PROJECTED = 4096


@dataclass(frozen=True)
class Settings:
    """What the parameters of a fit come to, JSON values alone. season_length: 1 for none."""

    season_length: int = 1

    @classmethod
    def of(cls, name: str, params: Params, context: FitContext) -> Settings:
        """Parameters over the defaults; the season is the primary one of the context. `ConfigError` if unknown."""
        known = cls.__dataclass_fields__
        for key in params:
            if key not in known:
                raise ConfigError(f"{name} has no parameter {key!r}; it has {', '.join(known)}")
        season = params.get("season_length", (*context.seasons, 1)[0])
        if not isinstance(season, int | float | np.number) or season != int(season) or season < 1:
            raise ConfigError(f"{name}: season_length is {season!r}; give a whole number, 1 for none")
        return cls(**{**params, "season_length": int(season)})


@dataclass(frozen=True, eq=False)
class VectorisedForecaster:
    """What a `VectorisedLearner` fitted: one row per series in every array.

    memory: what the family remembers of scaled values, "scale", "origin" (grid position of the last row read), and
    what `stand_in` says.
    """

    learner: VectorisedLearner
    settings: Settings
    memory: SeriesArrays

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok", or "no values" for a series without a single known value."""
        return self.memory.status

    @property
    def replaced(self) -> np.ndarray:
        """Where simple smoothing stands in, because the learner's own forecasts exploded: bool (series,)."""
        return self.memory["replaced"] > 0

    def predict(self, inputs: Panel, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """The next `horizon` values of every series; levels are NaN unless the learner declares quantiles."""
        levels = tuple(float(name) for name in outputs if name != "mean")
        at = [place for place, name in enumerate(outputs) if name != "mean"]
        means = [place for place, name in enumerate(outputs) if name == "mean"]
        values = np.full((len(self.status), horizon, len(outputs)), np.nan)
        ok = np.flatnonzero([status == OK for status in self.status])
        for first in range(0, len(ok), PROJECTED):
            items = ok[first : first + PROJECTED]
            memory = self._rows(items) | _ahead(
                self.learner, inputs, items, inputs.lengths[items], horizon, self.settings
            )
            with np.errstate(all="ignore"):
                mean, quantiles = self.learner.project(memory, self.settings, horizon, levels)
                mean, quantiles = stood_in(memory, kept_inside(memory, mean), quantiles, levels)
            for place in means:
                values[items, :, place] = (mean * memory["scale"]).T
            for k, place in enumerate(at if quantiles is not None else ()):
                values[items, :, place] = (kept_inside(memory, quantiles[k]) * memory["scale"]).T
        return Prediction(values.reshape(-1, len(outputs)), outputs)

    def explain(self, inputs: Panel, horizon: int) -> Explanation:
        """What the means are the sum of; a learner that has no `components` has a level alone."""
        whole: dict[Term, np.ndarray] = {}
        ok = np.flatnonzero([status == OK for status in self.status])
        if not len(ok):
            return Explanation.of({LEVEL: np.full((len(self.status), horizon), np.nan)})
        for first in range(0, len(ok), PROJECTED):
            items = ok[first : first + PROJECTED]
            memory = self._rows(items) | _ahead(
                self.learner, inputs, items, inputs.lengths[items], horizon, self.settings
            )
            for term, values in components(self.learner, memory, self.settings, horizon, inputs.schema).items():
                blank = np.full((len(self.status), horizon), np.nan)
                whole.setdefault(term, blank)[items] = (values * memory["scale"]).T
        return Explanation.of(whole)

    def append(self, data: Panel) -> VectorisedForecaster:
        """The same parameters after the rows of `data` that follow the origin."""
        if len(data) != len(self.status):
            raise ConfigError(f"fitted on {len(self.status)} series, given {len(data)} to append; give the same series")
        origin, last = self.memory["origin"], data.last_ordinal // data.frequency.step
        skip, new = origin + 1 - data.start // data.frequency.step, np.maximum(last - origin, 0)
        arrays = {name: array.copy() for name, array in self.memory.arrays.items()}
        ok = np.array([status == OK for status in self.status], dtype=bool)
        for items in chunked(np.where(ok, new, 0), self.learner.chunk):
            rows = int(new[items].max())
            memory = self._rows(items) | _ahead(self.learner, data, items, skip[items], rows, self.settings)
            values = columns(data, items, skip[items], new[items]) / memory["scale"]
            with np.errstate(all="ignore"):
                moved = self.learner.advance(memory, self.settings, values, new[items])
                moved |= moved_on(memory, values, new[items])
            for name, rows in moved.items():
                arrays[name][items] = rows
        arrays["origin"] = origin + new
        return replace(self, memory=replace(self.memory, arrays=arrays))

    def take(self, items: np.ndarray) -> VectorisedForecaster:
        """The part for these series."""
        return replace(self, memory=self.memory.take(items))

    def stack(self, others: Sequence[VectorisedForecaster]) -> VectorisedForecaster:
        """This and others in one; `ConfigError` when they were fitted with other settings."""
        for other in others:
            if other.settings != self.settings:
                raise ConfigError(
                    f"cannot stack {other.settings} on {self.settings}; fit them with the same parameters"
                )
        return replace(self, memory=self.memory.stack([other.memory for other in others]))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, values = self.memory.state()
        return arrays, {**values, "settings": asdict(self.settings)}

    def _rows(self, items: np.ndarray) -> Memory:
        return {name: array[items] for name, array in self.memory.arrays.items()}


class VectorisedLearner:
    """A family of models. A subclass says what is its own: `settings_type`, `fit_chunk`, `project`, `advance`.

    chunk: series fitted together; arrays of some 10,000 numbers per step in time stay in the cache.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    settings_type: ClassVar[type[Settings]] = Settings
    chunk: ClassVar[int] = 256

    def space(self, facts: Facts) -> Sequence[Params]:
        """The primary season, then every other one that the longest series holds twice."""
        return [{}, *({"season_length": m} for m in facts.seasons[1:] if 2 * m < facts.longest)]

    def history(self, settings: Settings) -> int:
        """Only so many of the last values count for a fit."""
        return max(500, 10 * settings.season_length)

    def drivers(
        self, panel: Panel, series: np.ndarray, first: np.ndarray, rows: int, settings: Settings
    ) -> np.ndarray | None:
        """What else than its values tells of each series: float64 (rows, series, columns) from its row `first` on.

        None for a learner that asks for nothing else. Chunks have them, and the memory that is projected or advanced,
        as "drivers" of the rows ahead.
        """
        return None

    def fit_chunk(self, chunk: Chunk, settings: Settings, context: FitContext, previous: Memory | None) -> Memory:
        """What to remember of each series of a chunk, one row each. previous: of an earlier cutoff, with its scale."""
        raise NotImplementedError

    def project(
        self, memory: Memory, settings: Settings, steps: int, levels: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Scaled means (steps, series) and quantiles (levels, steps, series), None without quantiles of its own.

        A step does not depend on how many come after it.
        """
        raise NotImplementedError

    def advance(self, memory: Memory, settings: Settings, values: np.ndarray, lengths: np.ndarray) -> Memory:
        """What changes in the memory after new scaled values (time, series), NaN unknown; lengths never increase."""
        raise NotImplementedError

    def fit(self, train: Panel, params: Params, context: FitContext) -> VectorisedForecaster:
        """Fit every series that has a value."""
        return self._fit(train, self.settings_type.of(self.name, params, context), context, None)

    def refit(self, previous: VectorisedForecaster, train: Panel, context: FitContext) -> VectorisedForecaster:
        """Fit again with the help of an earlier cutoff's parameters."""
        if len(train) != len(previous.status):
            raise ConfigError(f"fitted on {len(previous.status)} series, given {len(train)} to refit; fit instead")
        return self._fit(train, previous.settings, context, previous)

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> VectorisedForecaster:
        """The inverse of `VectorisedForecaster.state`."""
        settings = {name: tuple(v) if isinstance(v, list) else v for name, v in values["settings"].items()}
        return VectorisedForecaster(self, self.settings_type(**settings), SeriesArrays.restore(arrays, values))

    def _fit(
        self, train: Panel, settings: Settings, context: FitContext, previous: VectorisedForecaster | None
    ) -> VectorisedForecaster:
        # What is known of the future may move forecasts, but nothing that is fitted.
        train = without_future(train)
        skip, lengths, known = windows(train, self.history(settings))
        blank = np.flatnonzero(lengths == 0)
        order, parts = [blank], []
        if len(blank) or not len(train):
            # Something of the right shape has to stand where there is nothing to fit.
            row = self.remember(Chunk.blank(), settings, context)
            parts.append({name: np.repeat(array, len(blank), axis=0) for name, array in row.items()})
        for items in chunked(lengths, self.chunk):
            context.deadline.check()
            rows = int(lengths[items].max())
            drivers = self.drivers(train, items, skip[items], rows, settings)
            values = columns(train, items, skip[items], lengths[items])
            chunk = Chunk.of(values, lengths[items], known[items], drivers)
            old = None if previous is None else previous._rows(items)
            ahead = _ahead(self, train, items, train.lengths[items], context.horizon, settings)
            parts.append(self.remember(chunk, settings, context, old, ahead))
            order.append(items)
        rows = SeriesArrays.joined(parts, np.argsort(np.concatenate(order)))
        arrays = {**rows, "origin": train.last_ordinal // train.frequency.step}
        status = tuple(np.where(known > 0, OK, NO_VALUES).tolist())
        return VectorisedForecaster(self, settings, SeriesArrays(arrays, status))

    def remember(
        self,
        chunk: Chunk,
        settings: Settings,
        context: FitContext,
        previous: Memory | None = None,
        ahead: Memory | None = None,
    ) -> Memory:
        """All of the memory of a chunk: what `fit_chunk` says, its scale, and the stand-in of what explodes."""
        with np.errstate(all="ignore"):
            memory = self.fit_chunk(chunk, settings, context, previous)
            memory |= {"scale": chunk.scale, **begun(chunk)}
            mean, _ = self.project(memory | (ahead or {}), settings, context.horizon, ())
            # Not where they are merely large: NaN too counts as outside.
            inside = kept_inside(memory, mean) == mean
            memory["replaced"] = (~inside.all(axis=0)).astype(np.float64)
        return memory


def _ahead(
    learner: VectorisedLearner, panel: Panel, series: np.ndarray, first: np.ndarray, rows: int, settings: Settings
) -> Memory:
    """`drivers` as a part of the memory."""
    found = learner.drivers(panel, series, first, rows, settings)
    return {} if found is None else {"drivers": found}
