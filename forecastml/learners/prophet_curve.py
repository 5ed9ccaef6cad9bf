"""Prophet's model as plain arithmetic: y = scale * (trend * (1 + multiplicative) + additive).

trend is a line that bends at changepoints; the two other terms are X beta over waves, holidays and known covariates
(Taylor & Letham 2018, "Forecasting at scale"). Time is counted in microseconds of the local clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecastml.attribution import Term
from forecastml.data.calendar import DAY, duration, to_local, to_times
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.features.holidays import holiday_days, holiday_names
from forecastml.learners.regressors import YEAR, KnownColumns, Wave, column_terms

#: Harmonics of a day, a week, a year, and of any other season.
DAILY, WEEKLY, YEARLY, OTHER = 6, 3, 10, 5
#: Seasons whose lengths differ by less than this share are the same.
SAME_SEASON = 0.03


@dataclass(frozen=True)
class Design:
    """Columns that all series of a panel share: waves with periods in days, holidays of places, known covariates.

    multiplicative: the columns multiply the trend instead of being added to it.
    """

    multiplicative: bool
    waves: tuple[Wave, ...]
    places: tuple[str, ...]
    holidays: tuple[str, ...]
    known: KnownColumns

    @classmethod
    def of(cls, panel: Panel, seasons: tuple[int, ...], places: tuple[str, ...], multiplicative: bool) -> Design:
        """The columns that suit a panel; holidays need dates, a day apart at most."""
        dated = panel.frequency.unit != "integer" and duration(panel.frequency) <= DAY
        places = places if dated else ()
        names = holiday_names(places) if places else ()
        return cls(multiplicative, waves(panel.frequency, seasons), places, names, KnownColumns.of(panel))

    @property
    def bounds(self) -> tuple[int, int, int]:
        """Where waves, holidays and known covariates end among the columns."""
        first = sum(2 * len(wave.harmonics) for wave in self.waves)
        second = first + len(self.holidays)
        return first, second, second + len(self.known.columns)

    def table(self, clock: np.ndarray, known: np.ndarray) -> np.ndarray:
        """float64 (rows, columns). clock: int64 (rows,), see `clock_of`; known: float64 (rows, known columns)."""
        parts = [wave.columns(clock / DAY) for wave in self.waves]
        if self.holidays and len(clock):
            days = clock // DAY
            found = holiday_days(self.places, int(days.min()), int(days.max()))
            nothing = np.empty(0, np.int64)
            parts.append(np.column_stack([np.isin(days, found.get(name, nothing)) for name in self.holidays]))
        elif self.holidays:
            parts.append(np.empty((0, len(self.holidays))))
        return np.column_stack([np.empty((len(clock), 0)), *parts, known])

    def terms(self, panel: Panel) -> dict[Term, list[int]]:
        """The columns of each wave, of the holidays and of each known covariate."""
        first, second, _ = self.bounds
        step = days_per_step(panel.frequency)
        waves = [Wave(wave.period / step, wave.harmonics) for wave in self.waves]
        holidays = {Term("holidays", "holidays"): list(range(first, second))} if self.holidays else {}
        known = column_terms((), self.known, panel.schema, second)
        return column_terms(waves, KnownColumns(), panel.schema, 0) | holidays | known

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "multiplicative": self.multiplicative,
            "waves": [[wave.period, list(wave.harmonics)] for wave in self.waves],
            "places": list(self.places),
            "holidays": list(self.holidays),
            "known": [list(pair) for pair in self.known.columns],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Design:
        """The inverse of `to_json`."""
        waves = tuple(Wave(period, tuple(harmonics)) for period, harmonics in values["waves"])
        known = KnownColumns(tuple((column, code) for column, code in values["known"]))
        return cls(values["multiplicative"], waves, tuple(values["places"]), tuple(values["holidays"]), known)


def waves(frequency: Frequency, seasons: tuple[int, ...]) -> tuple[Wave, ...]:
    """Days, weeks and years where the frequency can show them, and other seasons (in steps): periods in days.

    >>> [wave.period for wave in waves(Frequency("day"), (7, 365))]
    [7.0, 365.25]
    """
    step = days_per_step(frequency)
    periods: dict[float, int] = {}
    if frequency.unit != "integer":
        calendar = {1.0: DAILY, 7.0: WEEKLY, YEAR: YEARLY}
        periods = {period: most for period, most in calendar.items() if 1.9 * step < period}
    for season in seasons:
        period = season * step
        if season > 1 and all(abs(period / other - 1) > SAME_SEASON for other in periods):
            periods[period] = OTHER
    found = []
    for period, most in sorted(periods.items()):
        harmonics = range(1, min(most, int(period / step / 2 + 0.1)) + 1)
        found.append(Wave(period, tuple(harmonics)))
    return tuple(found)


def days_per_step(frequency: Frequency) -> float:
    """Mean length of a step in days; a step of integer time counts as a day."""
    if frequency.unit == "integer":
        return 1.0
    if frequency.unit.startswith("month"):
        return frequency.step * YEAR / 12
    if frequency.unit == "business_day":
        return frequency.step * 7 / 5
    return duration(frequency) / DAY


def clock_of(panel: Panel, series: int, first: int, rows: int, epoch: int = 0) -> np.ndarray:
    """The local clock in microseconds since 1970, of the rows from position `first` of a series on: int64 (rows,).

    Integer time counts one day per step, from the step `epoch` on.
    """
    frequency = panel.frequency
    ordinals = panel.start[series] + frequency.step * np.arange(first, first + rows, dtype=np.int64)
    if frequency.unit == "integer":
        return (ordinals // frequency.step - epoch) * DAY
    times = to_times(ordinals, frequency)
    if panel.tz is not None and frequency.unit == "microsecond":
        times = to_local(times, panel.tz)
    return times.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Curve:
    """One fitted series. t = (clock - start) / span; the trend is offset + slope t, and its slope changes by bends at
    the times changes, NaN beyond the last one; scale: of the values; noise: standard deviation of what is left, in
    units of scale; beta: (columns,), NaN for a column that is not used; centre, spread: of the known covariates."""

    slope: float
    offset: float
    scale: float
    noise: float
    start: int
    span: int
    changes: np.ndarray
    bends: np.ndarray
    beta: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    def trend(self, t: np.ndarray) -> np.ndarray:
        """The trend at these times in units of scale: float64 (rows,)."""
        slope, offset = np.full(len(t), self.slope), np.full(len(t), self.offset)
        # Term by term: a matrix product may round differently when there are more rows.
        for change, bend in zip(self.changes, self.bends, strict=True):
            passed = t >= change
            slope += np.where(passed, bend, 0.0)
            offset -= np.where(passed, bend * change, 0.0)
        return slope * t + offset

    def predict(self, design: Design, clock: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Values at these times: float64 (rows,). Arguments as in `Design.table`."""
        trend = self.trend((clock - self.start) / self.span)
        extra = np.zeros(len(clock))
        for _, part in self._columns(design, clock, known):
            extra += part
        return self.scale * (trend * (1.0 + extra) if design.multiplicative else trend + extra)

    def parts(self, design: Design, clock: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The trend, then what each column of the design adds: float64 (1 + columns, rows)."""
        trend = self.trend((clock - self.start) / self.span)
        found = np.zeros((1 + design.bounds[2], len(clock)))
        found[0] = self.scale * trend
        for column, part in self._columns(design, clock, known):
            found[1 + column] = self.scale * (trend * part if design.multiplicative else part)
        return found

    def _columns(self, design: Design, clock: np.ndarray, known: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Columns that are used, and beta times their values."""
        table = design.table(clock, np.nan_to_num((known - self.centre) / self.spread))
        for column in np.flatnonzero(~np.isnan(self.beta)).tolist():
            yield column, self.beta[column] * table[:, column]
