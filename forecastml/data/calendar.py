"""The calendar: names of frequencies, grid ordinals to and from timestamps, and the fields of a date as arrays.

Timestamps are datetime64[us] without a zone: local time on grids of the wall clock and on day or coarser grids, UTC
on others.
"""

from __future__ import annotations

import re

import numpy as np

from forecastml.data.panel import ragged_rows
from forecastml.data.schema import CLOCK_UNITS, UNITS, Frequency
from forecastml.data.steps import FITTING, Runs
from forecastml.data.zones import to_local
from forecastml.errors import ConfigError, FrequencyError

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
WEEK = 7 * DAY
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

#: Current spelling -> microseconds, coarsest first.
_CLOCK = {"h": HOUR, "min": MINUTE, "s": SECOND, "ms": 1_000, "us": 1}
#: Alias (old and new spellings) -> unit and units per step.
_ALIASES: dict[str, tuple[str, int]] = {
    **{name: ("microsecond", size) for name, size in _CLOCK.items()},
    **{"H": ("microsecond", HOUR), "T": ("microsecond", MINUTE), "S": ("microsecond", SECOND)},
    **{"L": ("microsecond", 1_000), "U": ("microsecond", 1)},
    **dict.fromkeys("Dd", ("day", 1)),
    **dict.fromkeys("Ww", ("day", 7)),
    **dict.fromkeys("Bb", ("business_day", 1)),
    "MS": ("month_start", 1),
    "QS": ("month_start", 3),
    **dict.fromkeys(("YS", "AS"), ("month_start", 12)),
    **dict.fromkeys(("ME", "M"), ("month_end", 1)),
    **dict.fromkeys(("QE", "Q"), ("month_end", 3)),
    **dict.fromkeys(("YE", "Y", "A"), ("month_end", 12)),
}
_SPELLING = re.compile(r"(\d*)([A-Za-z]+)(?:-([A-Za-z]{3}))?")


def parse_frequency(alias: str | int) -> Frequency:
    """The grid that a pandas alias (old or new spelling) or an integer step names.

    The anchor of a week, quarter or year is not part of the grid: it follows from the start of a series (see `anchor`).
    `ConfigError` for what has no regular grid here.

    >>> parse_frequency("30min"), parse_frequency("W-THU")
    (Frequency(unit='microsecond', step=1800000000, time_of_day=0), Frequency(unit='day', step=7, time_of_day=0))
    """
    if isinstance(alias, int | np.integer) and not isinstance(alias, bool):
        return Frequency("integer", int(alias))
    count, unit, size, _ = _read(alias)
    return Frequency(unit, count * size)


def anchor(alias: str | int) -> tuple[int, int] | None:
    """The anchor that an alias spells out, as (phase, modulus) of its ordinals; None when it names none.

    >>> anchor("QS-FEB"), anchor("W")
    ((1, 3), None)
    """
    if isinstance(alias, int | np.integer):
        return None
    _, _, size, phase = _read(alias)
    return None if phase is None else (phase, size)


def _read(alias: str | int) -> tuple[int, str, int, int | None]:
    """Count, unit, units per step, and phase of the anchor, of an alias."""
    text = str(getattr(alias, "freqstr", alias)).strip()
    if text.isdecimal():
        return int(text), "integer", 1, None
    match = _SPELLING.fullmatch(text)
    if match is None or match[2] not in _ALIASES:
        raise ConfigError(
            f"frequency {text!r} is unknown; give a pandas alias such as 'h', '30min', 'D', 'B', 'W-MON', 'MS', 'ME', "
            "'QS', 'YS' (with a count: '2h'), or an integer step for integer time"
        )
    unit, size = _ALIASES[match[2]]
    phase = None
    if match[3]:
        known = WEEKDAYS if match[2] in "Ww" else MONTHS if size > 1 and unit.startswith("month") else ()
        if match[3].upper() not in known:
            raise ConfigError(f"frequency {text!r} has no anchor {match[3]!r}; known are {', '.join(known) or 'none'}")
        place = known.index(match[3].upper())
        phase = (place - 3) % 7 if known is WEEKDAYS else place % size
    return int(match[1] or 1), unit, size, phase


def alias(frequency: Frequency, ordinal: int = 0) -> str:
    """The current pandas spelling, with the anchor of the grid that `ordinal` lies on; "1" for integers.

    >>> alias(Frequency("month_start", 3), 0), alias(Frequency("day", 14), 4)
    ('QS-JAN', '2W-MON')
    """
    unit, step = frequency.unit, frequency.step
    if unit == "integer":
        return str(step)
    if unit in CLOCK_UNITS:
        name, size = next((name, size) for name, size in _CLOCK.items() if step % size == 0)
    elif unit == "day":
        name, size = (f"W-{WEEKDAYS[(ordinal + 3) % 7]}", 7) if step % 7 == 0 else ("D", 1)
    elif unit == "business_day":
        name, size = "B", 1
    else:
        edge = "S" if unit == "month_start" else "E"
        if step % 12 == 0:
            name, size = f"Y{edge}-{MONTHS[ordinal % 12]}", 12
        elif step % 3 == 0:
            name, size = f"Q{edge}-{MONTHS[ordinal % 3 + (0 if edge == 'S' else 9)]}", 3
        else:
            name, size = f"M{edge}", 1
    return name if step == size else f"{step // size}{name}"


def to_ordinals(times: np.ndarray, frequency: Frequency) -> tuple[np.ndarray, np.ndarray]:
    """Ordinals of timestamps, and whether each timestamp is a point of the unit: int64 and bool, shaped as `times`.

    times: datetime64 or integers. Off-grid timestamps get the ordinal of the unit that they lie in. The step and its
    phase are not looked at. `FrequencyError` when dates meet an integer frequency or the reverse.
    """
    dated = times.dtype.kind == "M"
    if dated == (frequency.unit == "integer"):
        kind, remedy = ("dates", "a frequency such as 'D'") if dated else ("integers", "an integer step such as 1")
        raise FrequencyError(f"the time column holds {kind}; give freq as {remedy}")
    if not dated:
        return times.astype(np.int64), np.ones(times.shape, bool)
    micro = times.astype("datetime64[us]").astype(np.int64)
    if frequency.unit in CLOCK_UNITS:
        return micro, np.ones(times.shape, bool)
    days, rest = np.divmod(micro - frequency.time_of_day, DAY)
    on_grid = rest == 0
    if frequency.unit == "day":
        return days, on_grid
    if frequency.unit == "business_day":
        weeks, weekday = np.divmod(days + 3, 7)
        return weeks * 5 + np.minimum(weekday, 4) - 3, on_grid & (weekday < 5)
    months = _months(days)
    if frequency.unit == "month_start":
        return months, on_grid & (_first_day(months) == days)
    return months, on_grid & (_first_day(months + 1) == days + 1)


def to_times(ordinals: np.ndarray, frequency: Frequency) -> np.ndarray:
    """Timestamps of ordinals, the inverse of `to_ordinals`: datetime64[us], or int64 for integer time."""
    ordinals = np.asarray(ordinals, dtype=np.int64)
    if frequency.unit == "integer":
        return ordinals
    if frequency.unit in CLOCK_UNITS:
        return ordinals.astype("datetime64[us]")
    if frequency.unit == "day":
        days = ordinals
    elif frequency.unit == "business_day":
        weeks, weekday = np.divmod(ordinals + 3, 5)
        days = weeks * 7 + weekday - 3
    elif frequency.unit == "month_start":
        days = _first_day(ordinals)
    else:
        days = _first_day(ordinals + 1) - 1
    return (days * DAY + frequency.time_of_day).astype("datetime64[us]")


def infer_frequency(times: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Frequency:
    """The frequency most series have: one vote per series of three points or more, a tie goes to the finer grid.

    times: datetime64 or int64, ascending and distinct within each series [begin, end). `FrequencyError` when no
    series shows one.
    """
    return voted(*series_frequencies(times, begin, end))


def voted(distinct: tuple[Frequency, ...], index: np.ndarray) -> Frequency:
    """The frequency most series have, of the result of `series_frequencies`; errors as in `infer_frequency`."""
    if not distinct:
        raise FrequencyError(
            "the time column shows no frequency: no series has three rows or more at a regular step; pass freq, for "
            "example freq='D' (monthly data must be dated on the first or the last day of the month)"
        )
    votes = np.bincount(index[index >= 0])
    return max(zip(distinct, votes, strict=True), key=lambda v: (v[1], -duration(v[0]), v[0].unit, -v[0].time_of_day))[
        0
    ]


def series_frequencies(
    times: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> tuple[tuple[Frequency, ...], np.ndarray]:
    """The frequency of each series by itself: the distinct ones, and int64 (series,) into them, -1 for none.

    Arguments as in `infer_frequency`. By modal steps and common divisors, so that gaps and a few wrong dates do no
    harm; months by calendar arithmetic; business days when no point lies on a weekend and a Monday follows a Friday.
    """
    voters = np.flatnonzero(end - begin >= 3)
    found = np.zeros((len(begin), 3), np.int64)
    if len(voters):
        points = times[ragged_rows(begin[voters], end[voters])]
        dated = points.dtype.kind == "M"
        points = points.astype("datetime64[us]").astype(np.int64) if dated else points
        runs = Runs(points, (end - begin)[voters])
        found[voters] = _dated(runs) if dated else _rows("integer", runs.step())
    rows, index = np.unique(found, axis=0, return_inverse=True)
    missing = int(rows[0, 1] == 0) if len(rows) else 0
    distinct = tuple(Frequency(UNITS[unit], int(step), int(clock)) for unit, step, clock in rows[missing:])
    return distinct, index.reshape(-1) - missing


def duration(frequency: Frequency) -> int:
    """Length of a step, months as 30 days and business days as days: microseconds (integers as they are)."""
    unit = {"day": DAY, "business_day": DAY, "month_start": 30 * DAY, "month_end": 30 * DAY}.get(frequency.unit, 1)
    return unit * frequency.step


def _rows(unit: str, step: np.ndarray, time_of_day: np.ndarray | int = 0) -> np.ndarray:
    """Unit code, step and time of day as rows of three; zeros where the step is 0."""
    rows = np.stack(np.broadcast_arrays(UNITS.index(unit), step, time_of_day), axis=1)
    return rows * (step > 0)[:, None]


def _dated(runs: Runs) -> np.ndarray:
    """Grid of each series (points in microseconds): unit code, step, time of day."""
    days, clock = np.divmod(runs.points, DAY)
    middle = runs.first + runs.count // 2
    found = np.zeros((len(runs.count), 3), np.int64)
    usual = np.where(runs.share(clock == runs.of(clock[runs.first])) >= FITTING, clock[runs.first], clock[middle])
    daily = runs.share(clock == runs.of(usual)) >= FITTING
    if not daily.all():
        found[~daily] = _rows("microsecond", runs.keep(~daily).step())
    if daily.any():
        found[daily] = _daily(runs.keep(daily, days), usual[daily])
    return found


def _daily(runs: Runs, time_of_day: np.ndarray) -> np.ndarray:
    """As `_dated`, for series with one time of day (points in days)."""
    found = np.zeros((len(runs.count), 3), np.int64)
    last = runs.first + runs.count - 1
    sparse = runs.points[last] - runs.points[runs.first] >= 27 * (runs.count - 1)
    for unit, shift in (("month_start", 0), ("month_end", 1)):
        if sparse.any():
            rows = runs.keep(sparse)
            months = _months(rows.points + shift)
            fits = rows.share(_first_day(months) == rows.points + shift) >= FITTING
            step = np.where(fits, Runs(months, rows.count).step(), 0)
            found[sparse] = _rows(unit, step, time_of_day[sparse])
            sparse = sparse & (found[:, 1] == 0)
    rest = found[:, 1] == 0
    if rest.any():
        rows = runs.keep(rest)
        found[rest] = _rows("day", rows.step(), time_of_day[rest])
        found[np.flatnonzero(rest)[(found[rest, 1] == 1) & _working_days(rows)], 0] = UNITS.index("business_day")
    return found


def _working_days(runs: Runs) -> np.ndarray:
    """Which series (points in days) keep off weekends and have a Monday right after a Friday."""
    weekday = (runs.points + 3) % 7
    monday = np.append((weekday[:-1] == 4) & (np.diff(runs.points) == 3), False)
    monday[runs.first[1:] - 1] = False
    return (runs.share(weekday > 4) == 0) & (runs.share(monday) > 0)


def to_text(times: np.ndarray) -> list[str]:
    """Timestamps or integers as messages show them: midnights as bare dates."""
    if times.dtype.kind != "M":
        return [str(time) for time in times]
    return [text.removesuffix("T00:00:00").replace("T", " ") for text in np.datetime_as_string(times, unit="s")]


def natural_seasons(frequency: Frequency) -> tuple[int, ...]:
    """Season lengths in steps that the calendar suggests for a frequency, shortest first; () when it suggests none.

    Hours repeat by day and week, minutes by hour too, days by week and year, months and quarters by year.

    >>> natural_seasons(Frequency("microsecond", HOUR)), natural_seasons(Frequency("month_start", 3))
    ((24, 168), (4,))
    """
    unit, step = frequency.unit, frequency.step
    if unit in CLOCK_UNITS:
        cycles = (DAY, WEEK) if step >= 5 * MINUTE else (HOUR, DAY, WEEK) if step >= MINUTE else (MINUTE, HOUR, DAY)
        return tuple(cycle // step for cycle in cycles if cycle % step == 0 and cycle > step)
    if unit == "day" and step == 1:
        return (7, 365)
    if unit == "business_day" and step == 1:
        return (5,)
    year = {"day": 52 * 7, "month_start": 12, "month_end": 12}.get(unit, 0)
    whole = year > step and year % step == 0 and (unit != "day" or step % 7 == 0)
    return (year // step,) if whole else ()


def calendar_fields(ordinals: np.ndarray, frequency: Frequency, tz: str | None = None) -> dict[str, np.ndarray]:
    """Fields of the dates at `ordinals`: float64 arrays by name, without those finer than the frequency.

    year; half, quarter, month (from 1); day of month, qday, yday (from 1); wday (0 = Monday); ISO week; hour, am_pm,
    hour12, minute, second. With `tz` they are those of the local clock. Integer time has none.
    """
    unit, step = frequency.unit, frequency.step
    if unit == "integer":
        return {}
    if unit.startswith("month"):
        fields = _year_fields(np.asarray(ordinals, dtype=np.int64))
        kept = ("year", *_KEPT_BY_MONTHS.get(step, ("half", "quarter", "month") if step % 12 else ()))
        return {name: fields[name].astype(np.float64) for name in kept}
    times = to_times(ordinals, frequency)
    if tz is not None and unit == "microsecond":
        times = to_local(times, tz)
    days, clock = np.divmod(times.astype(np.int64), DAY)
    fields = _year_fields(_months(days)) | _day_fields(days, step if unit == "day" else max(1, step // DAY))
    if unit in CLOCK_UNITS:
        fields |= _clock_fields(clock, step)
    return {name: field.astype(np.float64) for name, field in fields.items()}


def local_days(ordinals: np.ndarray, frequency: Frequency, tz: str | None = None) -> np.ndarray | None:
    """Days since 1970-01-01 by the local clock, int64 shaped as `ordinals`; None on grids coarser than a day."""
    unit, step = frequency.unit, frequency.step
    if unit not in (*CLOCK_UNITS, "day", "business_day") or (unit == "day" and step > 1):
        return None
    times = to_times(ordinals, frequency)
    if tz is not None and unit == "microsecond":
        times = to_local(times, tz)
    return times.astype(np.int64) // DAY


#: Step in months -> the parts of a year that are neither finer than the step nor the same as another.
_KEPT_BY_MONTHS = {3: ("half", "quarter"), 4: ("half", "month"), 6: ("half",)}


def _year_fields(months: np.ndarray) -> dict[str, np.ndarray]:
    month = months % 12
    return {
        "year": months // 12 + 1970,
        "half": month // 6 + 1,
        "quarter": month // 3 + 1,
        "month": month + 1,
    }


def _day_fields(days: np.ndarray, step: int) -> dict[str, np.ndarray]:
    months, wday = _months(days), (days + 3) % 7
    thursday = days - wday + 3
    week = (thursday - _first_day(_months(thursday) // 12 * 12)) // 7 + 1
    if step >= 7:
        return {"week": week}
    return {
        "day": days - _first_day(months) + 1,
        "wday": wday,
        "qday": days - _first_day(months // 3 * 3) + 1,
        "yday": days - _first_day(months // 12 * 12) + 1,
        "week": week,
    }


def _clock_fields(clock: np.ndarray, step: int) -> dict[str, np.ndarray]:
    hour = clock // HOUR
    fields = {}
    if step % DAY:
        fields |= {"hour": hour, "am_pm": hour // 12}
    if step % (DAY // 2):
        fields["hour12"] = hour % 12
    if step % HOUR:
        fields["minute"] = clock // MINUTE % 60
    if step % MINUTE:
        fields["second"] = clock // SECOND % 60
    return fields


def _months(days: np.ndarray) -> np.ndarray:
    """Months since 1970-01 of days since 1970-01-01."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _first_day(months: np.ndarray) -> np.ndarray:
    """Days since 1970-01-01 of the first days of months since 1970-01."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
