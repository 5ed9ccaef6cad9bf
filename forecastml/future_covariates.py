"""Known covariates that a forecast needs and does not have: which these are, and what stands in for them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from forecastml.data.calendar import to_text, to_times
from forecastml.data.extension import reaching
from forecastml.data.panel import Panel, extent, ragged_rows
from forecastml.data.schema import Schema
from forecastml.data.wall_clock import passes, with_skipped_known
from forecastml.errors import ForecastWarning, FutureError
from forecastml.learners.registry import get_learner
from forecastml.protocols import FitContext
from forecastml.search.evaluate import fit_guarded, predict_guarded

if TYPE_CHECKING:
    import pandas as pd

#: What stands in for a value that is missing: nothing (the learner sees that it is), the last value, a forecast of the
#: covariate; or nothing may be missing.
POLICIES = ("nan", "carry", "forecast", "error")
FILLING = ("carry", "forecast")
#: What forecasts a covariate, first those of numbers, then those of categories and flags.
OF_NUMBERS, OF_SLOTS = "theta", "seasonal_naive"
#: Times that a message names.
NAMED = 5


@dataclass(frozen=True, eq=False)
class Missing:
    """Rows of a panel's known covariates without a value in some column; rows that are not there at all count too.

    series: int64 (rows,), position of the series, ascending; position: int64 (rows,), counted from its first value;
    cells: bool (rows, known columns), what is missing, or a category that was never seen; absent: bool (rows,), the row
    is not there.
    """

    panel: Panel
    series: np.ndarray
    position: np.ndarray
    cells: np.ndarray
    absent: np.ndarray

    @classmethod
    def between(cls, panel: Panel, begin: np.ndarray, end: np.ndarray) -> Missing:
        """Of the rows from `begin` to before `end` of each series, int64 (series,) both.

        Points that a shift of the clocks skips do not count.
        """
        position = ragged_rows(begin, np.maximum(begin, end))
        series = np.repeat(np.arange(len(panel)), np.maximum(end - begin, 0))
        absent = position >= (panel.known_end - panel.known_begin)[series]
        rows = np.where(absent, len(panel.known), panel.known_begin[series] + position)
        cells = _unknown(panel, np.vstack([panel.known, _blank(panel)])[rows])
        ordinals = panel.start[series] + position * panel.frequency.step
        cells[passes(ordinals, panel.frequency, panel.tz) == 0] = False
        kept = np.flatnonzero(cells.any(axis=1))
        return cls(panel, series[kept], position[kept], cells[kept], absent[kept])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.series)

    def rows(self, kept: np.ndarray) -> Missing:
        """The rows of a mask."""
        parts = {name: getattr(self, name)[kept] for name in ("series", "position", "cells", "absent")}
        return replace(self, **parts)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns concerned."""
        return tuple(name for k, name in enumerate(self.panel.schema.known) if self.cells[:, k].any())

    def frame(self) -> pd.DataFrame:
        """A row each: series columns, the time column, and "missing", the names of the columns without a value."""
        from forecastml.data.frames import grid_times, to_frame

        panel, schema = self.panel, self.panel.schema
        keys = panel.keys[self.series]
        which, inverse = np.unique(self.cells, axis=0, return_inverse=True)
        named = [", ".join(name for name, there in zip(schema.known, row, strict=True) if there) for row in which]
        return to_frame(
            {
                **{name: keys[:, j] for j, name in enumerate(schema.series)},
                schema.time: grid_times(panel, self._ordinals()),
                "missing": np.array(named, dtype=object)[inverse.reshape(-1)],
            }
        )

    def where(self, column: int | None = None) -> str:
        """The first row (of a column), as a message names it."""
        row = 0 if column is None else int(np.flatnonzero(self.cells[:, column])[0])
        return f"{self.panel.label(int(self.series[row]))} at {self._times(slice(row, row + 1))[0]}"

    def refusal(self, ways: str) -> FutureError:
        """The exception that names the first of the rows and holds them all; ways: out of it."""
        panel = self.panel
        first = self.series == self.series[0]
        times = self._times(np.flatnonzero(first)[:NAMED])
        more = f", ... ({int(first.sum())} in all)" if first.sum() > NAMED else ""
        count = len(np.unique(self.series))
        what = f"known covariates {', '.join(self.columns)} are missing for {count} of {len(panel)} series"
        named = f"first {panel.label(int(self.series[0]))} at {', '.join(times)}{more}"
        text = f"{what}, in {len(self)} rows; {named}; give them as future rows{ways}"
        return FutureError(text, missing=self.frame())

    def _ordinals(self) -> np.ndarray:
        return self.panel.start[self.series] + self.position * self.panel.frequency.step

    def _times(self, rows: np.ndarray | slice) -> list[str]:
        return to_text(to_times(self._ordinals()[rows], self.panel.frequency))


def completed(panel: Panel, steps: int | np.ndarray, policy: str, seasons: Sequence[int]) -> tuple[Panel, str]:
    """The panel with known covariates for so many grid points after every series' end, and what to warn of, "" if not.

    steps: int, or int64 (series,); seasons: season lengths, primary first. policy, for values that are missing or of a
    category that was never seen: "nan" leaves them so, but rows must be there; "carry" takes the last known value
    before; "forecast" a forecast of the covariate from the first one that is missing, of numbers by theta and within
    the range of its history (whole ones stay whole), of flags and categories the value at the same place in the season;
    "error" takes none. Raises `FutureError`, whose `missing` lists the rows.
    """
    if not panel.schema.known:
        return panel, ""
    missing = Missing.between(panel, panel.lengths, panel.lengths + steps)
    if not len(missing):
        return panel, ""
    ways = ", or let missing_future (--missing-future) be 'carry' or 'forecast'"
    if policy == "error":
        raise missing.refusal(ways)
    if policy == "nan":
        if missing.absent.any():
            raise missing.rows(missing.absent).refusal(ways)
        return panel, _lacking(missing, "future")
    filled = stood_in(panel, missing, policy, seasons)
    return filled, _made_up(missing, policy, "future")


def known_ahead(panel: Panel, points: np.ndarray, policy: str, seasons: Sequence[int]) -> Panel:
    """What `completed` makes of a panel, with equally many points for all series; warns of what is missing.

    points: int64 (series,). The last ones of a series are repeated where others, by the clock, need more.
    """
    panel, lacking = completed(panel, points, policy, seasons)
    if lacking:
        warnings.warn(lacking, ForecastWarning, stacklevel=4)
    return reaching(panel, int(points.max(initial=1)))


def at_origin(panel: Panel, steps: int, policy: str, seasons: Sequence[int]) -> Panel:
    """The panel with what stands in for known covariates after its ends, where `lacking_in` told already."""
    missing = Missing.between(panel, panel.lengths, panel.lengths + steps)
    if policy not in FILLING or not len(missing):
        return panel
    return stood_in(panel, missing, policy, seasons)


def lacking_in(panel: Panel, first: np.ndarray, policy: str) -> str:
    """What to warn of when known covariates are missing after the first rows of each series, where actual rows give
    them; raises `FutureError` under the policy "error"."""
    missing = Missing.between(panel, first, panel.lengths)
    if not len(missing):
        return ""
    if policy == "error":
        raise missing.refusal(", or let missing_future (--missing-future) be 'carry' or 'forecast'")
    return _lacking(missing, "newer") if policy == "nan" else _made_up(missing, policy, "newer")


def stood_in(panel: Panel, missing: Missing, policy: str, seasons: Sequence[int]) -> Panel:
    """The panel with values in the place of missing ones by the policy "carry" or "forecast"; a copy.

    Where nothing is known of a covariate, its values stay missing.
    """
    reach = panel.known_end - panel.known_begin
    np.maximum.at(reach, missing.series, missing.position + 1)
    panel = _reaching(panel, reach)
    place = panel.known_begin[missing.series] + missing.position
    known = panel.known.copy()
    for k, name in enumerate(panel.schema.known):
        cells = np.flatnonzero(missing.cells[:, k])
        if not len(cells):
            continue
        values = _carried(panel, k, place[cells], missing.series[cells])
        if policy == "forecast":
            ahead = _forecast(panel, k, (missing.series[cells], missing.position[cells]), seasons)
            values = np.where(np.isnan(ahead), values, ahead)
        known[place[cells], k] = np.where(np.isnan(values) & (name in panel.categories), -1.0, values)
    return with_skipped_known(replace(panel, known=known))


def _carried(panel: Panel, column: int, place: np.ndarray, series: np.ndarray) -> np.ndarray:
    """The last known value of a column before each place of the flat rows, NaN where the series has none."""
    unknown = _unknown(panel, panel.known)[:, column]
    last = np.maximum.accumulate(np.where(unknown, -1, np.arange(len(unknown))))[place]
    return np.where(last >= panel.known_begin[series], panel.known[np.maximum(last, 0), column], np.nan)


def _forecast(panel: Panel, column: int, cells: tuple[np.ndarray, np.ndarray], seasons: Sequence[int]) -> np.ndarray:
    """Forecasts of a column at cells (series, ascending; position), from what lies before the first of each series."""
    which, first, place = np.unique(cells[0], return_index=True, return_inverse=True)
    part = _history(panel, column, which, cells[1][first])
    steps = cells[1] - part.lengths[place.reshape(-1)]
    values = np.full((len(which), int(steps.max()) + 1), np.nan)
    slots = _is_flag(part) | (panel.schema.known[column] in panel.categories)
    for learner, some in ((OF_NUMBERS, np.flatnonzero(~slots)), (OF_SLOTS, np.flatnonzero(slots))):
        if len(some):
            values[some] = _of_learner(learner, part.select(some), values.shape[1], seasons)
    low, high = extent(part)
    values = np.clip(values, low[:, None], high[:, None])
    return np.where(_is_whole(part)[:, None], np.rint(values), values)[place.reshape(-1), steps]


def _of_learner(name: str, panel: Panel, steps: int, seasons: Sequence[int]) -> np.ndarray:
    """Forecasts of every series, NaN where there is none: float64 (series, steps)."""
    values = np.full((len(panel), steps), np.nan)
    some = np.flatnonzero(~np.isnan(extent(panel)[0]))
    if not len(some):
        return values
    part, context = panel.select(some), FitContext(horizon=steps, seasons=tuple(seasons))
    season = {"season_length": (*seasons, 1)[0]}
    outcome = fit_guarded(get_learner(name), part, season, context, most_guilty=None)
    served = outcome.served(len(some))
    found, _ = predict_guarded(outcome.fitted, part.select(served), steps, ("mean",))
    values[some[served]] = found.reshape(-1, steps)
    return values


def _history(panel: Panel, column: int, series: np.ndarray, lengths: np.ndarray) -> Panel:
    """The first values of a known covariate of these series, as the target of a panel of its own, compact."""
    begin = panel.known_begin[series]
    values = np.where(_unknown(panel, panel.known)[:, column], np.nan, panel.known[:, column])
    nothing = np.zeros(len(series), np.int64)
    schema = Schema(target=panel.schema.known[column], time=panel.schema.time, series=panel.schema.series)
    part = replace(
        panel.select(series),
        target=values,
        begin=begin,
        end=begin + lengths,
        schema=schema,
        known=np.empty((0, 0)),
        known_begin=nothing,
        known_end=nothing,
        past=np.empty((len(values), 0)),
        static=np.empty((len(series), 0)),
        weight=None,
        categories={},
    )
    return part.compact()


def _is_flag(panel: Panel) -> np.ndarray:
    """Whether a series holds nothing but 0 and 1: bool (series,)."""
    low, high = extent(panel)
    return _is_whole(panel) & (low >= 0) & (high <= 1)


def _is_whole(panel: Panel) -> np.ndarray:
    """Whether a series holds nothing but whole numbers: bool (series,)."""
    broken = ~np.isnan(panel.target) & (panel.target != np.rint(panel.target))
    return np.bincount(np.repeat(np.arange(len(panel)), panel.lengths)[broken], minlength=len(panel)) == 0


def _reaching(panel: Panel, reach: np.ndarray) -> Panel:
    """The panel with `reach` rows of known covariates per series, those that were not there without a value; a copy."""
    end = np.cumsum(reach)
    known = np.repeat(_blank(panel), int(reach.sum()), axis=0)
    begin, own = end - reach, panel.known_end - panel.known_begin
    known[ragged_rows(begin, begin + own)] = panel.known[ragged_rows(panel.known_begin, panel.known_end)]
    return replace(panel, known=known, known_begin=begin, known_end=end)


def _blank(panel: Panel) -> np.ndarray:
    """A row without any value: -1 for codes of categories, NaN for numbers."""
    return np.array([[-1.0 if name in panel.categories else np.nan for name in panel.schema.known]])


def _unknown(panel: Panel, known: np.ndarray) -> np.ndarray:
    """Which known covariates (rows, columns) have no value, or a category that was never seen: bool."""
    codes = np.array([name in panel.categories for name in panel.schema.known], dtype=bool)
    return np.isnan(known) | (codes & (known < 0))


def _lacking(missing: Missing, what: str) -> str:
    """That values are missing, for a warning."""
    column = int(np.flatnonzero(missing.cells[0])[0])
    first = f"{missing.panel.schema.known[column]!r} of {missing.where()}"
    count = f"known covariates are missing or new in {len(missing)} {what} rows"
    return f"{count}, first {first}; give their values for better forecasts"


def _made_up(missing: Missing, policy: str, what: str) -> str:
    """How many values of which column were made up, for a warning."""
    way = {"carry": "the last known value", "forecast": "a forecast of the covariate"}[policy]
    columns = [
        f"{name!r} in {int(missing.cells[:, k].sum())} {what} rows (first {missing.where(k)})"
        for k, name in enumerate(missing.panel.schema.known)
        if missing.cells[:, k].any()
    ]
    told = f"known covariates are missing or new, {way} stands in for {', '.join(columns)}"
    return f"{told}; give them for better forecasts"
