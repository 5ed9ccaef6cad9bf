"""`Holidays`: what holidays tell about a point, by the places that hold for all series or for each of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.features.holiday_days import DayTable, Observance, Table, day_table, offsets, table_places, vocabulary
from forecastml.features.holidays import COLUMN, fixed_places, holiday_names, is_place, place_columns
from forecastml.features.moments import Moments, distinct, is_coarse, local_periods
from forecastml.features.points import Points

#: Distances in days are told up to this one.
REACH = 14
_DAILY = ("is_holiday", "holiday_label", "days_to_holiday", "days_since_holiday", "paid_time_off")
_COUNTS = ("holiday_days", "holiday_label", "paid_days_off", "working_days")


@dataclass(frozen=True)
class Holidays:
    """Holidays by local date, of daily and finer points, or counted in the days that a coarser point stands for.

    places: see `features.holidays`, those of each series as "column:state"; table: rows (date, name, place) of one's
    own; seen: names of the holidays of the places that series had when the feature was declared, which have codes too;
    counts: whether days are counted; window: days before and after a holiday that are told by its name, None: by
    holiday, see `features.holiday_days.window_of`; reach: the largest distance in days, for daily points.

    Daily: `is_holiday`; `holiday_label`, code of the holiday or of "1 day after Christmas Day" (see `labels`), NaN for
    none; `days_to_holiday`, `days_since_holiday`, 0 on the day; `paid_time_off`: a paid holiday of the place that is on
    no weekend. Counts: `holiday_days` in the period, `holiday_label` of the first of them, `paid_days_off`,
    `working_days`. A series without a place has no holidays but those of the table that are everywhere.
    """

    places: tuple[str, ...] = ()
    table: Table = ()
    seen: tuple[str, ...] = ()
    counts: bool = False
    window: tuple[int, int] | None = None
    reach: int = REACH

    kind: ClassVar[str] = "holidays"
    role: ClassVar[str] = "point"
    categorical: ClassVar[tuple[str, ...]] = ("holiday_label",)
    nominal: ClassVar[tuple[str, ...]] = ("holiday_label",)

    def __post_init__(self) -> None:
        for name in ("places", "seen"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "table", tuple(tuple(row) for row in self.table))
        if self.window is not None:
            object.__setattr__(self, "window", tuple(int(days) for days in self.window))
            if len(self.window) != 2 or not all(0 <= days <= 60 for days in self.window):
                raise ConfigError(f"holiday window is {self.window}; give days before and after, each from 0 to 60")
        if not 1 <= self.reach <= 365:
            raise ConfigError(f"holiday reach is {self.reach}; give a number of days from 1 to 365")

    @classmethod
    def of(cls, panel: Panel, places: tuple[str, ...], table: Table = ()) -> Holidays:
        """The declaration that suits the frequency and the places of a panel."""
        combinations, _ = _whereabouts(panel, places, table)
        series = {place for there in combinations for place in there} - set(fixed_places(places))
        seen = holiday_names(tuple(sorted(filter(is_place, series))))
        return cls(tuple(places), table, seen, is_coarse(panel.frequency))

    @property
    def names(self) -> tuple[str, ...]:
        """The features in the order of their columns."""
        return _COUNTS if self.counts else _DAILY

    @property
    def labels(self) -> tuple[str, ...]:
        """What the codes of `holiday_label` stand for: names of holidays, then days around them."""
        window = (0, 0) if self.counts else self.window
        return tuple(_label(*at) for at in offsets(self._vocabulary, window))

    @property
    def _vocabulary(self) -> tuple[str, ...]:
        return vocabulary(fixed_places(self.places), self.seen, self.table)

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """Each feature at each point: float64 (points,). `ConfigError` for integer time, which has no dates."""
        if panel.frequency.unit == "integer":
            raise ConfigError("holidays need dates, and the time column holds integers; give dates or no holidays")
        if not len(points):
            return [np.empty(0) for _ in self.names]
        moments = Moments.of(panel, points)
        first, end = local_periods(moments.ordinals, panel.frequency, panel.tz)
        if not self.counts:
            first, where = distinct(first, 1)
            moments, end = Moments(first, where[moments.where]), first + 1
        combinations, index = _whereabouts(panel, self.places, self.table)
        present, at = distinct(index[points.series], 1)
        told = np.stack([self._told(combinations[place], first, end) for place in present], axis=1)
        cell = at * len(first) + moments.where
        return [values.ravel()[cell] for values in told]

    def _told(self, places: tuple[str, ...], first: np.ndarray, end: np.ndarray) -> np.ndarray:
        """The features of periods [first, end) of days in some place: float64 (features, periods)."""
        years = np.array([first.min(), end.max()]).astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
        window = (0, 0) if self.counts else self.window
        # Places of tables alone have no library calendar, and no weekend of their own.
        observance = Observance(places, self.table, window, self.reach)
        days = day_table(observance, self._vocabulary, int(years[0]), int(years[1]))
        if self.counts:
            return _counted(days, first - days.begin, end - days.begin)
        at = first - days.begin
        label = np.where(days.label[at] < 0, np.nan, days.label[at])
        return np.stack([days.is_holiday[at], label, days.until[at], days.since[at], days.off[at]])


def check_places(panel: Panel, places: tuple[str, ...], table: Table = ()) -> None:
    """`ConfigError` for a column of places that is none, for a place of a series that nothing is known about, and for
    times that are no dates."""
    if panel.frequency.unit == "integer":
        raise ConfigError(f"holidays need dates, and {panel.schema.time!r} holds whole numbers; leave holidays out")
    for column in place_columns(places):
        texts = _texts(panel, column)
        own = table_places(table)
        for place in np.unique(texts):
            if place and place not in own and not is_place(place):
                series = panel.label(int(np.flatnonzero(texts == place)[0]))
                raise ConfigError(
                    f"column {column!r}: holidays of {str(place)!r} ({series}) are unknown; write a country code such "
                    "as 'US', one with a subdivision such as 'US-TX', a place of your holiday table, or leave it empty"
                )


def _whereabouts(panel: Panel, places: tuple[str, ...], table: Table) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """The distinct combinations of places that series have, and the combination of each: int64 (series,).

    A place of a column that is unknown to the library and to the table is left out.
    """
    fixed, columns = fixed_places(places), place_columns(places)
    if not columns:
        return [fixed], np.zeros(len(panel), np.int64)
    own = table_places(table)
    texts = [_texts(panel, column) for column in columns]
    index, rows = np.zeros(len(panel), np.int64), 1
    for text in texts:
        values, codes = np.unique(text, return_inverse=True)
        index, rows = index * len(values) + codes.reshape(-1), rows * len(values)
    _, first, index = np.unique(index, return_index=True, return_inverse=True)
    found = []
    for i in first:
        here = (str(text[i]) for text in texts)
        found.append(tuple(dict.fromkeys([*fixed, *(place for place in here if place in own or is_place(place))])))
    return found, index.reshape(-1)


def _texts(panel: Panel, column: str) -> np.ndarray:
    """The text of a column for each series, "" where there is none: str (series,)."""
    schema = panel.schema
    if column in schema.series:
        found = panel.keys[:, schema.series.index(column)]
    elif column in schema.static and column in panel.categories:
        names = np.array([*panel.categories[column], ""], dtype=object)
        codes = panel.static[:, schema.static.index(column)]
        found = names[np.where(codes >= 0, codes, -1).astype(np.int64)]
    else:
        raise ConfigError(
            f"holidays '{COLUMN}{column}': {column!r} is neither a series key nor a static covariate of text; name it "
            "in series or static, with places such as 'US' or 'DE-BY' in it"
        )
    return np.char.strip(found.astype(str)) if len(found) else np.empty(0, "U1")


def _counted(days: DayTable, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """What is counted in [first, end), positions in a table of days: float64 (features, periods)."""
    counts = []
    for flags in (days.is_holiday, days.off, days.works):
        total = np.concatenate([[0], np.cumsum(flags)])
        counts.append((total[end] - total[first]).astype(np.float64))
    named = np.append(np.flatnonzero(days.name >= 0), len(days.name))
    next_named = named[np.searchsorted(named, first)]
    label = np.append(days.name, -1)[next_named].astype(np.float64)
    holidays, off, works = counts
    return np.stack([holidays, np.where(next_named < end, label, np.nan), off, works])


def _label(name: str, distance: int) -> str:
    if not distance:
        return name
    days = f"{abs(distance)} day{'s' if abs(distance) > 1 else ''}"
    return f"{days} {'before' if distance < 0 else 'after'} {name}"
