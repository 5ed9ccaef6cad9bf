"""Features of the points of a panel, declared as data; their names follow from the declaration.

A feature of a point reads only what is known when the point's predecessor is the origin: earlier values of the target
(predicted ones, when a forecast goes on from itself), the calendar, known covariates at the point, past covariates a
horizon earlier, and what is constant per series. All features are float32, NaN where there is nothing to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forecastml.data.calendar import calendar_fields, local_days
from forecastml.data.panel import Panel
from forecastml.features.holidays import holiday_codes
from forecastml.kernels.lags import lagged, trailing

#: Calendar fields that are used: not the year, which has no repetition to learn from, and none told twice.
CALENDAR = ("quarter", "month", "day", "wday", "yday", "week", "hour", "minute", "second")

#: Those among them that a linear learner sees as one column per value.
NOMINAL = ("quarter", "month", "wday", "hour", "minute", "second")


@dataclass(frozen=True)
class FeatureSet:
    """What is told about a point.

    lags: earlier values; windows: mean, smallest and largest of so many values before; slots: place in a season of so
    many steps; calendar: fields of the date; holidays: places whose holidays count (see `features.holidays`), told as
    the name and as whether there is one; known, past, static: covariates by column; past_lag: steps by which past
    covariates are delayed; categorical: columns among the covariates that hold codes.
    """

    lags: tuple[int, ...] = (1,)
    windows: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()
    calendar: tuple[str, ...] = ()
    holidays: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    past_lag: int = 1
    categorical: tuple[str, ...] = ()

    @classmethod
    def automatic(
        cls, panel: Panel, seasons: tuple[int, ...], horizon: int, holidays: tuple[str, ...] = ()
    ) -> FeatureSet:
        """A set that suits the seasons and the length of the series.

        Lags: the first max(m, 8) up to 24, around one and two seasons, around the second season; none that no series
        is long enough for. Windows of four values, one and two seasons, and the second season. Holidays for daily and
        finer data.
        """
        longest = int(panel.lengths.max(initial=1))
        season, second = (*seasons, 1, 1)[:2]
        near = range(1, min(max(season, 8), 24) + 1)
        around = (season - 1, season, season + 1, 2 * season - 1, 2 * season, second - 1, second, second + 1)
        lags = sorted({lag for lag in (*near, *around) if 1 <= lag < max(longest, 2)})
        windows = sorted({size for size in (4, season, 2 * season, second) if 1 < size < max(longest, 2)})
        fields = calendar_fields(panel.start[:1], panel.frequency, panel.tz)
        return cls(
            lags=tuple(lags),
            windows=tuple(windows),
            slots=tuple(m for m in seasons if not fields and m > 1),
            calendar=tuple(name for name in CALENDAR if name in fields),
            holidays=holidays if local_days(panel.start[:1], panel.frequency) is not None else (),
            known=panel.schema.known,
            past=panel.schema.past,
            static=panel.schema.static,
            past_lag=horizon,
            categorical=tuple(panel.categories),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The features in the order of their columns, those that follow the target first."""
        windows = (f"{kind}_window{size}" for size in self.windows for kind in ("mean", "min", "max"))
        past = (f"{column}_lag{self.past_lag}" for column in self.past)
        return (
            *(f"lag{lag}" for lag in self.lags),
            *windows,
            *self.calendar,
            *(f"season{m}" for m in self.slots),
            *(("is_holiday", "holiday") if self.holidays else ()),
            *self.known,
            *past,
            *self.static,
        )

    @property
    def categorical_columns(self) -> tuple[int, ...]:
        """Positions of the features that are codes."""
        first = len(self.names) - len(self.known) - len(self.past) - len(self.static)
        columns = (*self.known, *self.past, *self.static)
        codes = tuple(first + i for i, column in enumerate(columns) if column in self.categorical)
        return (first - 1, *codes) if self.holidays else codes

    @property
    def nominal_columns(self) -> tuple[int, ...]:
        """Positions of the features whose numbers name something that repeats: codes, slots, and fields of the date."""
        dated = [
            i for i, name in enumerate(self.names) if name in NOMINAL or name in map("season{}".format, self.slots)
        ]
        return (*dated, *self.categorical_columns)

    @property
    def depth(self) -> int:
        """How many rows of history before a point are read."""
        return max((*self.lags, *self.windows, self.past_lag if self.past else 1))

    def of_target(
        self, values: np.ndarray, rows: np.ndarray, first: np.ndarray, unit: tuple[np.ndarray, np.ndarray]
    ) -> list[np.ndarray]:
        """The features that follow the target at some points (see `kernels.lags`), each (points,).

        unit: base and 1 / scale of each point; a feature is told as (value - base) / scale.
        """
        base, inverse = unit
        found = [lagged(values, rows, first, lag) for lag in self.lags]
        for window in trailing(values, rows, first, self.windows).values():
            found += window
        return [((value - base) * inverse).astype(np.float32) for value in found]

    def of_circumstances(self, panel: Panel, series: np.ndarray, position: np.ndarray) -> list[np.ndarray]:
        """The other features, at `position` (from 0) of each series, each (points,); may lie after the end."""
        step = panel.frequency.step
        ordinals, where = np.unique(panel.start[series] + step * position, return_inverse=True)
        fields = calendar_fields(ordinals, panel.frequency, panel.tz)
        dates = [*(fields[name] for name in self.calendar), *(ordinals // step % m for m in self.slots)]
        if self.holidays:
            codes = holiday_codes(self.holidays, local_days(ordinals, panel.frequency, panel.tz))
            dates += [~np.isnan(codes), codes]
        row, delayed = panel.known_begin[series] + position, position - self.past_lag
        known = _columns(panel.known, row, row < panel.known_end[series])
        there = (delayed >= 0) & (delayed < panel.lengths[series])
        past = _columns(panel.past, panel.begin[series] + delayed, there)
        covariates = [*known, *past, *panel.static[series].T]
        for column in self.categorical_columns[1 if self.holidays else 0 :]:
            # A code below 0 stands for a category that was not seen: nothing is known then.
            place = column - len(self.names)
            covariates[place] = np.where(covariates[place] < 0, np.nan, covariates[place])
        return [value.astype(np.float32) for value in (*(date[where] for date in dates), *covariates)]

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FeatureSet:
        """The inverse of `to_json`."""
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _columns(table: np.ndarray, rows: np.ndarray, there: np.ndarray) -> list[np.ndarray]:
    """The columns of `table` at `rows`, NaN where the row is not there."""
    found = np.full((len(rows), table.shape[1]), np.nan)
    found[there] = table[rows[there]]
    return list(found.T)
