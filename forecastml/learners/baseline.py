"""Baselines: the last value, the last season, the mean, the mean of the last season, and drift.

All of them say: step s of the forecast is an entry of a repeating pattern plus s times a slope. They read rows one
after the other, so that fitting is reading from nothing and `append` is reading on; neighbours change no bit.
A seasonal baseline of a series that is shorter than a season is its last known value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecastml.attribution import LEVEL, SEASON, TREND, Explanation
from forecastml.data.panel import Panel, ragged_rows
from forecastml.errors import ConfigError
from forecastml.learners.state import OK, SeriesArrays
from forecastml.protocols import Capabilities, Facts, FitContext, Params, Prediction

Memory = dict[str, np.ndarray]
#: Rows that are read together, roughly: what is known of each row fits into the cache, and memory stays bounded.
READ = 100_000
NO_VALUES = "no values"


@dataclass(frozen=True, eq=False)
class NewRows:
    """Rows that follow each series' origin, series by series, oldest first.

    series, at, slot: int64 (rows,): position of the series, grid position of the row (ordinal / step), and its place
    in the season, at modulo season length; value: float64, NaN where missing.
    """

    series: np.ndarray
    at: np.ndarray
    slot: np.ndarray
    value: np.ndarray

    def known(self) -> NewRows:
        """The rows that have a value."""
        return self.where(~np.isnan(self.value))

    def where(self, rows: np.ndarray) -> NewRows:
        """These rows alone (mask)."""
        return NewRows(self.series[rows], self.at[rows], self.slot[rows], self.value[rows])


@dataclass(frozen=True, eq=False)
class BaselineForecaster:
    """A fitted baseline. memory: "origin" (grid position of the last row read), "season", "rows", "last", "last_at"
    (last known value and its grid position), and what the learner itself remembers."""

    learner: Baseline
    memory: SeriesArrays

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok", or "no values" for a series without a single known value."""
        return self.memory.status

    def predict(self, inputs: Panel, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """The pattern from the origin on; outputs other than "mean" are NaN."""
        pattern, slope = self._pattern()
        values = self._repeated(pattern, horizon) + slope[:, None] * np.arange(1, horizon + 1)
        filled = [values if name == "mean" else np.full_like(values, np.nan) for name in outputs]
        return Prediction(np.stack(filled, axis=-1).reshape(-1, len(outputs)), outputs)

    def explain(self, inputs: Panel, horizon: int) -> Explanation:
        """The mean of the pattern, the slope, and what the places of a season are beside the mean."""
        pattern, slope = self._pattern()
        season, total = self.memory["season"], np.zeros(len(pattern))
        for slot in range(pattern.shape[1]):
            total += np.where(slot < season, pattern[:, slot], 0.0)
        level = np.repeat((total / season)[:, None], horizon, axis=1)
        trend = slope[:, None] * np.arange(1, horizon + 1)
        if self.learner.seasonal:
            return Explanation.of({LEVEL: level, SEASON: self._repeated(pattern, horizon) - level})
        return Explanation.of({LEVEL: level, TREND: trend})

    def append(self, data: Panel) -> BaselineForecaster:
        """The same baseline after reading the rows of `data` that follow the origin."""
        return replace(self, memory=self.learner.read(self.memory.arrays, data))

    def take(self, items: np.ndarray) -> BaselineForecaster:
        """The part for these series."""
        return replace(self, memory=self.memory.take(items))

    def stack(self, others: Sequence[BaselineForecaster]) -> BaselineForecaster:
        """This and others of the same baseline in one."""
        return replace(self, memory=self.memory.stack([other.memory for other in others]))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        return self.memory.state()

    def _pattern(self) -> tuple[np.ndarray, np.ndarray]:
        """Values by place in the season (series, season), none missing where there is a last one; slope (series,)."""
        arrays = self.memory.arrays
        pattern, slope = self.learner.pattern(arrays)
        short = (arrays["rows"] < arrays["season"])[:, None]
        return np.where(np.isnan(pattern) | short, arrays["last"][:, None], pattern), slope

    def _repeated(self, pattern: np.ndarray, horizon: int) -> np.ndarray:
        arrays = self.memory.arrays
        slots = (arrays["origin"][:, None] + np.arange(1, horizon + 1)) % arrays["season"][:, None]
        return np.take_along_axis(pattern, slots, axis=1)


class Baseline:
    """What all baselines share; one of them is `_remember` and `pattern`."""

    name: str
    seasonal = False
    capabilities = Capabilities(missing=True, cost=0.0001)

    def space(self, facts: Facts) -> Sequence[Params]:
        """One entry per season length for the seasonal ones (else the calendar's); a single empty one otherwise."""
        usual = (facts.natural,) if 1 < facts.natural < facts.longest else ()
        return [{"season_length": m} for m in facts.seasons or usual] if self.seasonal else [{}]

    def fit(self, train: Panel, params: Params, context: FitContext) -> BaselineForecaster:
        """Read all rows of `train`. season_length: default the first of the context, 1 when it has none."""
        context.deadline.check()
        season = int(params.get("season_length", (*context.seasons, 1)[0])) if self.seasonal else 1
        if season < 1:
            raise ConfigError(f"{self.name}: season_length is {season}; give 1 or more")
        n = len(train)
        memory: Memory = {
            "origin": train.start // train.frequency.step - 1,
            "season": np.full(n, season, dtype=np.int64),
            "rows": np.zeros(n, dtype=np.int64),
            "last": np.full(n, np.nan),
            "last_at": np.zeros(n, dtype=np.int64),
        }
        return BaselineForecaster(self, self.read({**memory, **self._blank(n, season)}, train))

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> BaselineForecaster:
        """The inverse of `BaselineForecaster.state`."""
        return BaselineForecaster(self, SeriesArrays.restore(arrays, values))

    def read(self, memory: Mapping[str, np.ndarray], panel: Panel) -> SeriesArrays:
        """The memory after the rows of `panel` that follow its origins."""
        blocks = np.array_split(np.arange(len(panel)), max(1, min(len(panel), panel.size // READ)))
        first, *more = (
            self._read_block({name: array[block] for name, array in memory.items()}, panel.select(block))
            for block in blocks
        )
        return first.stack(more)

    def _read_block(self, memory: Mapping[str, np.ndarray], panel: Panel) -> SeriesArrays:
        rows = _new_rows(memory, panel)
        moved: Memory = {**memory, **self._remember(dict(memory), rows)}
        known = rows.known()
        final = np.append(known.series[1:] != known.series[:-1], True)[: len(known.series)]
        moved["last"], moved["last_at"] = memory["last"].copy(), memory["last_at"].copy()
        moved["last"][known.series[final]] = known.value[final]
        moved["last_at"][known.series[final]] = known.at[final]
        moved["rows"] = memory["rows"] + np.bincount(rows.series, minlength=len(panel))
        moved["origin"] = np.maximum(memory["origin"], panel.last_ordinal // panel.frequency.step)
        return SeriesArrays(moved, tuple(np.where(np.isnan(moved["last"]), NO_VALUES, OK).tolist()))

    def pattern(self, memory: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Values by place in the season (series, season), NaN for the last known value; slope per step (series,)."""
        raise NotImplementedError

    def _blank(self, n: int, season: int) -> Memory:
        """What is remembered of n series before any row is read."""
        return {}

    def _remember(self, memory: Memory, rows: NewRows) -> Memory:
        """What changes in the memory when rows are read."""
        return {}


class Naive(Baseline):
    """The last known value."""

    name = "naive"

    def pattern(self, memory: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The last value, no slope."""
        return memory["last"][:, None], np.zeros(len(memory["last"]))


class SeasonalNaive(Baseline):
    """The last season, repeated.

    A value missing in it is the latest known one of the same place in an earlier season, else the last known value.
    """

    name = "seasonal_naive"
    seasonal = True

    def pattern(self, memory: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The last season, no slope."""
        return memory["table"], np.zeros(len(memory["last"]))

    def _blank(self, n: int, season: int) -> Memory:
        return {"table": np.full((n, season), np.nan)}

    def _remember(self, memory: Memory, rows: NewRows) -> Memory:
        return {"table": _latest(memory["table"], rows.known())}


class Average(Baseline):
    """The mean of all known values."""

    name = "average"

    def pattern(self, memory: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The mean, no slope."""
        return _ratio(memory["total"], memory["count"]), np.zeros(len(memory["last"]))

    def _blank(self, n: int, season: int) -> Memory:
        return {"total": np.zeros((n, season)), "count": np.zeros((n, season))}

    def _remember(self, memory: Memory, rows: NewRows) -> Memory:
        known = rows.known()
        return {
            "total": _added(memory["total"], known, known.value),
            "count": _added(memory["count"], known, np.ones(len(known.value))),
        }


class SeasonalAverage(Baseline):
    """The mean of the last season, flat.

    With the parameter `slots=True` it is the mean of each place in the season over all of history instead.
    """

    name = "seasonal_average"
    seasonal = True

    def fit(self, train: Panel, params: Params, context: FitContext) -> BaselineForecaster:
        """As `Baseline.fit`; slots: means by place in the season, default False."""
        if params.get("slots", False):
            return _SlotAverage().fit(train, params, context)
        return super().fit(train, params, context)

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> BaselineForecaster:
        """The inverse of `BaselineForecaster.state`."""
        learner = _SlotAverage() if "total" in arrays else self
        return BaselineForecaster(learner, SeriesArrays.restore(arrays, values))

    def pattern(self, memory: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the last season's known values, no slope."""
        table, season = memory["table"], memory["season"]
        total, count = np.zeros((len(table), 1)), np.zeros((len(table), 1))
        for back in range(table.shape[1]):
            slot = ((memory["origin"] + 1 + back) % season)[:, None]
            value = np.take_along_axis(table, slot, axis=1)
            known = ~np.isnan(value) & (back < season)[:, None]
            total += np.where(known, value, 0.0)
            count += known
        return np.tile(_ratio(total, count), table.shape[1]), np.zeros(len(table))

    def _blank(self, n: int, season: int) -> Memory:
        return {"table": np.full((n, season), np.nan)}

    def _remember(self, memory: Memory, rows: NewRows) -> Memory:
        return {"table": _latest(memory["table"], rows)}


class _SlotAverage(Average):
    """The mean of each place in the season over all of history."""

    name = "seasonal_average"
    seasonal = True


class Drift(Baseline):
    """The line through the first and the last known value (Hyndman & Athanasopoulos, fpp3, section 5.2)."""

    name = "drift"

    def pattern(self, memory: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The value of the line at the origin, and its slope."""
        steps = memory["last_at"] - memory["first_at"]
        slope = np.where(steps > 0, (memory["last"] - memory["first"]) / np.maximum(steps, 1), 0.0)
        return (memory["last"] + slope * (memory["origin"] - memory["last_at"]))[:, None], slope

    def _blank(self, n: int, season: int) -> Memory:
        return {"first": np.full(n, np.nan), "first_at": np.zeros(n, dtype=np.int64)}

    def _remember(self, memory: Memory, rows: NewRows) -> Memory:
        known = rows.known()
        known = known.where(np.isnan(memory["first"])[known.series])
        series, begin = np.unique(known.series, return_index=True)
        first, first_at = memory["first"].copy(), memory["first_at"].copy()
        first[series], first_at[series] = known.value[begin], known.at[begin]
        return {"first": first, "first_at": first_at}


def _new_rows(memory: Mapping[str, np.ndarray], panel: Panel) -> NewRows:
    begin_at = panel.start // panel.frequency.step
    skip = np.clip(memory["origin"] + 1 - begin_at, 0, panel.lengths)
    fresh = panel.lengths - skip
    series = np.repeat(np.arange(len(panel)), fresh)
    at = ragged_rows(begin_at + skip, begin_at + panel.lengths)
    rows = ragged_rows(panel.begin + skip, panel.end)
    return NewRows(series, at, at % memory["season"][series], panel.target[rows])


def _latest(table: np.ndarray, rows: NewRows) -> np.ndarray:
    """The table (series, season) with each cell that has a row in `rows` set to its latest one."""
    newest = np.full(table.size, -1, dtype=np.int64)
    # An assignment with repeated indices has no defined order; a maximum has.
    np.maximum.at(newest, rows.series * table.shape[1] + rows.slot, np.arange(len(rows.value)))
    newest = newest.reshape(table.shape)
    return np.where(newest >= 0, np.append(rows.value, np.nan)[newest], table)


def _added(table: np.ndarray, rows: NewRows, amounts: np.ndarray) -> np.ndarray:
    """The table (series, season) with the amounts of the rows added to their cells, in the order of time."""
    cells = np.concatenate([np.arange(table.size), rows.series * table.shape[1] + rows.slot])
    return np.bincount(cells, np.concatenate([table.ravel(), amounts])).reshape(table.shape)


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count, NaN where nothing was counted."""
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
