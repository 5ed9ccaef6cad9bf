"""What days are in places: holidays by label, days around them, distances, days off, as arrays over whole years."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from forecastml.features.holidays import WEEKEND, holiday_days, holiday_names, is_place, weekend

#: Date, name and place of each holiday of one's own; the place "" is everywhere, "DE" is in "DE-BY" too.
Table = tuple[tuple[str, str, str], ...]
#: Days before and after a holiday that are told by its name, where people prepare for it or go away, and of others.
LARGE_WINDOW, WINDOW = (7, 4), (3, 1)
#: What the names of large holidays hold.
LARGE = ("christmas", "thanksgiving", "new year", "easter", "good friday", "spring festival", "eid ", "diwali")
LARGE += ("deepavali", "rosh hashanah", "passover", "midsummer", "golden week")


@dataclass(frozen=True)
class Observance:
    """Which holidays count in some place and how: places without columns, table of one's own, window of days before and
    after (None: by holiday, see `window_of`), reach: largest distance in days that is told."""

    places: tuple[str, ...]
    table: Table = ()
    window: tuple[int, int] | None = None
    reach: int = 14

    @property
    def library(self) -> tuple[str, ...]:
        """The places that are not of a table alone."""
        return tuple(place for place in self.places if is_place(place))

    def days(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Name -> days of [first, last], ascending: those of the library and those of the table."""
        found = holiday_days(self.library, first, last)
        for name, days in _own(self.table, self.places).items():
            found[name] = np.union1d(found.get(name, days[:0]), days)
        return {name: days[(days >= first) & (days <= last)] for name, days in found.items()}


@dataclass(frozen=True, eq=False)
class DayTable:
    """Days from `begin` on, of whole years: all arrays (days,).

    label: code of the label, -1 for none; name: code of the holiday on the day itself, -1 for none; is_holiday, off,
    works: bool, see `day_table`; until, since: days to the next and from the last holiday, capped.
    """

    begin: int
    label: np.ndarray
    name: np.ndarray
    is_holiday: np.ndarray
    off: np.ndarray
    works: np.ndarray
    until: np.ndarray
    since: np.ndarray


def window_of(name: str) -> tuple[int, int]:
    """Days before and after a holiday that are told by its name.

    A week before and 4 days after large ones, 3 days before and 1 after others, none around a day off in lieu.

    >>> window_of("Christmas Day"), window_of("Labor Day"), window_of("Christmas Day (observed)")
    ((7, 4), (3, 1), (0, 0))
    """
    name = name.lower()
    if "(observed" in name or "in lieu" in name:
        return 0, 0
    return LARGE_WINDOW if any(part in name for part in LARGE) else WINDOW


@lru_cache(maxsize=64)
def vocabulary(places: tuple[str, ...], others: tuple[str, ...], table: Table) -> tuple[str, ...]:
    """Names of the holidays of places, others, and those of a whole table, in alphabetical order."""
    return tuple(sorted({*holiday_names(places), *others, *(name for _, name, _ in table)}))


@lru_cache(maxsize=64)
def offsets(names: tuple[str, ...], window: tuple[int, int] | None) -> dict[tuple[str, int], int]:
    """(Holiday, days from it) -> code: the holidays themselves in order, then the days around them, first to last."""
    found = {(name, 0): code for code, name in enumerate(names)}
    for name in names:
        before, after = window_of(name) if window is None else window
        for distance in (*range(-before, 0), *range(1, after + 1)):
            found[name, distance] = len(found)
    return found


@lru_cache(maxsize=512)
def day_table(observance: Observance, names: tuple[str, ...], first_year: int, last_year: int) -> DayTable:
    """The days of [first_year, last_year] by the holidays that are observed; codes by `offsets(names, window)`.

    A label is that of the holiday on the day, else of the nearest one, the coming one first, of several the first by
    name. off: a paid holiday of the library that is on no weekend of its place; works: on no weekend, or not on that
    of all places, and not off.
    """
    begin, end = (int(day) for day in _new_year(np.array([first_year, last_year + 1])))
    # A year more on both sides: its holidays have days around them too.
    first, last = (int(day) for day in _new_year(np.array([first_year - 1, last_year + 2])))
    found = observance.days(first, last - 1)
    codes = offsets(names, observance.window)
    label, name = np.full(last - first, -1, np.int32), np.full(last - first, -1, np.int32)
    order = sorted(codes, key=lambda at: (abs(at[1]), at[1], at[0]), reverse=True)
    for holiday, distance in order:
        days = found.get(holiday, np.empty(0, np.int64)) + distance - first
        label[days[(days >= 0) & (days < last - first)]] = codes[holiday, distance]
        if not distance:
            name[days] = codes[holiday, 0]
    is_holiday = np.zeros(last - first, bool)
    for days in found.values():
        is_holiday[days - first] = True
    off, works = _work(observance.library, first, last)
    until, since = _distances(np.flatnonzero(is_holiday), last - first, observance.reach)
    kept = slice(begin - first, end - first)
    return DayTable(begin, *(_frozen(values[kept]) for values in (label, name, is_holiday, off, works, until, since)))


def table_places(table: Table) -> frozenset[str]:
    """The places that a table names."""
    return frozenset(place for _, _, place in table if place)


def _own(table: Table, places: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Name -> days of the rows of a table that hold for some of these places."""
    found: dict[str, set[int]] = {}
    for date, name, row in table:
        if not row or any(place == row or place.startswith(f"{row}-") for place in places):
            found.setdefault(name, set()).add(int(np.datetime64(date, "D").astype(np.int64)))
    return {name: np.array(sorted(days), dtype=np.int64) for name, days in found.items()}


def _work(places: tuple[str, ...], first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Which days of [first, last) are off and which are worked: bool (days,), as in `day_table`."""
    wday = (np.arange(first, last) + 3) % 7
    off, idle = np.zeros(last - first, bool), np.ones(last - first, bool)
    for place in places:
        weekly = np.isin(wday, list(weekend(place)))
        paid = np.zeros(last - first, bool)
        for days in Observance((place,)).days(first, last - 1).values():
            paid[days - first] = True
        off |= paid & ~weekly
        idle &= weekly
    if not places:
        idle = np.isin(wday, list(WEEKEND))
    return off, ~idle & ~off


def _distances(days: np.ndarray, length: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Days to the next and from the last of some ascending days, `reach` at most: two int32 (length,)."""
    at = np.arange(length)
    bounded = np.concatenate([[-reach - 1], days, [length + reach]])
    after = np.searchsorted(days, at, side="left") + 1
    before = np.searchsorted(days, at, side="right")
    until, since = bounded[after] - at, at - bounded[before]
    return np.minimum(until, reach).astype(np.int32), np.minimum(since, reach).astype(np.int32)


def _new_year(years: np.ndarray) -> np.ndarray:
    return (years - 1970).astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)


def _frozen(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.setflags(write=False)
    return values
