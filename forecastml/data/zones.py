"""Time zones: when the clocks of a zone shift, local time of UTC, and UTC of local time.

A shift forward skips a stretch of local time, a shift back repeats one. Times are datetime64[us] without a zone, or
int64 microseconds since 1970.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np

from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError, DataError

_SECOND = 1_000_000
_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: No clock was shifted earlier; a date later than that is a mistake and not worth to follow the rules so far.
_YEARS = (1800, 2500)
#: The one spelling that pandas and Arrow read alike.
_OFFSET = re.compile(r"(?:UTC)?([+-])(\d\d):(\d\d)")


@cache
def zone(name: str) -> tzinfo:
    """The zone of a name such as "Europe/Paris" or of an offset such as "+01:00"; `ConfigError` for any other."""
    offset = _OFFSET.fullmatch(name)
    try:
        if offset:
            size = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
            return timezone(-size if offset[1] == "-" else size)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        close = difflib.get_close_matches(name, available_timezones(), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else "give a name such as 'Europe/Paris'"
        raise ConfigError(f"time zone {name!r} is unknown; {hint}") from None


def reading(timezone: str) -> tuple[str, str]:
    """The zone that times without one are in and the zone to model in, of "Zone" or "Zone>Zone"; both are checked.

    >>> reading("UTC>Australia/Melbourne"), reading("Europe/Paris")
    (('UTC', 'Australia/Melbourne'), ('Europe/Paris', 'Europe/Paris'))
    """
    naive, _, modelled = (part.strip() for part in timezone.rpartition(">"))
    naive = naive or modelled
    for name in (naive, modelled):
        _ = zone(name)
    return naive, modelled


def is_fixed(tz: str) -> bool:
    """Whether the clocks of the zone never shift, by its definition."""
    return zone(tz).utcoffset(None) is not None


@dataclass(frozen=True, eq=False)
class Shifts:
    """The shifts of a zone's clocks in order: UTC moment and offsets before and after, int64 (shifts,) microseconds."""

    moment: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def skipped(self) -> tuple[np.ndarray, np.ndarray]:
        """Local begin and end of each stretch that never was: two int64 (shifts forward,)."""
        forward = self.after > self.before
        return (self.moment + self.before)[forward], (self.moment + self.after)[forward]


def shifts(tz: str, first: int, last: int) -> tuple[Shifts, int]:
    """The shifts of a zone in the years of [first, last] microseconds since 1970, a day more on both sides.

    Returns them and the offset before the first of them, in microseconds.
    """
    years = (np.array([first // _SECOND - _DAY, last // _SECOND + _DAY]) // _DAY).astype("datetime64[D]")
    begin, end = np.clip(years.astype("datetime64[Y]").astype(int) + 1970, *_YEARS)
    return _shifts_of_years(tz, int(begin), int(end))


@lru_cache(maxsize=256)
def _shifts_of_years(tz: str, begin: int, end: int) -> tuple[Shifts, int]:
    found = [shift for year in range(begin, end + 1) for shift in _shifts_of_year(tz, year)]
    moment, after = np.array(found, dtype=np.int64).reshape(-1, 2).T * _SECOND
    initial = _offset(zone(tz), _new_year(begin)) * _SECOND
    return Shifts(moment, np.append(initial, after)[:-1], after), initial


@lru_cache(maxsize=1 << 16)
def _shifts_of_year(tz: str, year: int) -> tuple[tuple[int, int], ...]:
    """Each shift of a year as (UTC second, offset after it in seconds); no zone has two within a day."""
    place = zone(tz)
    if is_fixed(tz):
        return ()
    days = range(_new_year(year), _new_year(year + 1) + 1, _DAY)
    offsets = [_offset(place, second) for second in days]
    found = []
    for day, before, after in zip(days, offsets, offsets[1:], strict=False):
        if before != after:
            low, high = day, day + _DAY
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(place, middle) == before else (low, middle)
            found.append((high, after))
    return tuple(found)


def _new_year(year: int) -> int:
    return int((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1))


def _offset(place: tzinfo, second: int) -> int:
    return int((_EPOCH + timedelta(seconds=second)).astimezone(place).utcoffset() // timedelta(seconds=1))


def microseconds(times: np.ndarray) -> np.ndarray:
    """Timestamps as int64 microseconds since 1970."""
    return np.asarray(times).astype("datetime64[us]").astype(np.int64)


def _of_span(tz: str, micro: np.ndarray) -> tuple[Shifts, np.ndarray]:
    """The shifts around these microseconds, and all offsets in order, the one before the first shift too."""
    first, last = (int(micro.min()), int(micro.max())) if micro.size else (0, 0)
    table, initial = shifts(tz, first, last)
    return table, np.append(initial, table.after)


def offsets(times: np.ndarray, tz: str) -> np.ndarray:
    """How far the clocks of zone `tz` are ahead of UTC at UTC timestamps: int64 microseconds, shaped as `times`."""
    micro = microseconds(times)
    table, all_offsets = _of_span(tz, micro)
    return all_offsets[np.searchsorted(table.moment, micro, side="right")]


def to_local(times: np.ndarray, tz: str) -> np.ndarray:
    """The wall clock of zone `tz` at UTC timestamps: datetime64[us] without zone, both."""
    return (microseconds(times) + offsets(times, tz)).astype("datetime64[us]")


def to_utc(local: np.ndarray, tz: str) -> np.ndarray:
    """UTC of the wall clock of zone `tz`: an hour that occurs twice is its first, one that is skipped moves forward."""
    first, second = moments(local, tz)
    table, _ = _of_span(tz, microseconds(local))
    # In a skipped stretch the second reading lies before the shift and the first after it.
    place = np.searchsorted(table.moment, microseconds(first), side="right") - 1
    shift = np.append(table.moment, 0)[place].astype("datetime64[us]")
    return np.where(second < first, shift, first)


def moments(local: np.ndarray, tz: str) -> tuple[np.ndarray, np.ndarray]:
    """UTC of the wall clock of zone `tz` by the offset before the nearest shift, and by the one after it.

    The same where there is one moment; the second is later where local time is repeated, earlier where it is skipped.
    """
    micro = microseconds(local)
    table, all_offsets = _of_span(tz, micro)
    late = table.moment + np.maximum(table.before, table.after)
    soon = table.moment + np.minimum(table.before, table.after)
    first = micro - all_offsets[np.searchsorted(late, micro, side="right")]
    second = micro - all_offsets[np.searchsorted(soon, micro, side="right")]
    return first.astype("datetime64[us]"), second.astype("datetime64[us]")


def local_dates(times: np.ndarray, frequency: Frequency, tz: str) -> np.ndarray:
    """The wall clock of UTC times; where a shift moved the usual time of day, that time all the same."""
    local, day = microseconds(to_local(times, tz)), _DAY * _SECOND
    moved = np.flatnonzero(local % day != frequency.time_of_day)
    usual = local[moved] // day * day + frequency.time_of_day
    local[moved] = np.where(to_utc(usual.astype("datetime64[us]"), tz) == times[moved], usual, local[moved])
    return local.astype("datetime64[us]")


def from_naive(local: np.ndarray, series: np.ndarray, tz: str, name: str, label: Callable[[int], str]) -> np.ndarray:
    """UTC of a time column without zone that holds local times of `tz`: datetime64[us] (rows,), both.

    The first row of a series in an hour that occurs twice is in its first pass (summer time), the next one in its
    second. Times of one clock only are dates, whatever the clocks did. `DataError` for local times that never were.
    """
    first, second = moments(local, tz)
    twice = np.flatnonzero(second > first)
    if len(twice):
        _, pair = np.unique(np.stack([series[twice], microseconds(local)[twice]]), axis=1, return_inverse=True)
        pair = pair.reshape(-1)
        order = np.argsort(pair, kind="stable")
        again = twice[order[1:][pair[order[1:]] == pair[order[:-1]]]]
        first[again] = second[again]
    never = np.flatnonzero(second < first)
    if len(never) and len(np.unique(microseconds(local) % (_DAY * _SECOND))) > 1:
        row = int(never[0])
        raise DataError(
            f"time column {name!r} does not hold local times of zone {tz}: in {len(never)} rows the clocks skip that "
            f"time, first {str(local[row])[:16].replace('T', ' ')} (row {row}, {label(row)}); it looks like UTC: write "
            f"the times with an offset (+00:00), or give timezone='UTC>{tz}'"
        )
    first[never] = to_utc(local[never], tz)
    return first
