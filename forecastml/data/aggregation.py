"""Rows to those of a coarser frequency: one per series and period."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.calendar import (
    alias,
    anchor,
    duration,
    parse_frequency,
    series_frequencies,
    to_ordinals,
    to_text,
    to_times,
    voted,
)
from forecastml.data.checks import Finding
from forecastml.data.defects import counted, reduced, with_open_weights
from forecastml.data.panel import Panel
from forecastml.data.rows import Rows, first_and_last
from forecastml.data.schema import Frequency, Schema
from forecastml.data.zones import to_local, to_utc

#: A period with less than this share of the usual number of values is told.
SPARSE = 0.8
#: What becomes of a numeric covariate: one column each, named so.
SUFFIXES = ("sum", "mean", "min", "max")
_UNITS = ("day", "business_day", "month_start", "month_end", "integer")


@dataclass(frozen=True)
class Periods:
    """The periods of a coarse frequency: `phase` is an ordinal of the grid of their labels.

    As in pandas, weeks (any step of whole weeks) and frequencies that count month ends are labelled by their last day,
    all others by their begin. Weeks end on Sunday and years in December unless the alias says otherwise; the periods
    of a multiple such as "2MS" or "6h" are counted from 1970-01-01, in local time where there is a zone.
    """

    frequency: Frequency
    phase: int

    @classmethod
    def of(cls, freq: str | int | None, like: Panel | None) -> Periods:
        """The periods that `freq` names, or without it those of a panel."""
        frequency = replace(like.frequency if freq is None else parse_frequency(freq), time_of_day=0)
        step = frequency.step
        stated = None if freq is None else anchor(freq)
        if stated is not None:
            return cls(frequency, stated[0] % step)
        if freq is None and len(like):
            start = like.start[:1]
            if frequency.unit == "microsecond" and like.tz is not None:
                start = to_local(to_times(start, frequency), like.tz).astype(np.int64)
            return cls(frequency, int(start[0]) % step)
        last = {"day": 3 if step % 7 == 0 else 0, "month_end": step - 1}
        return cls(frequency, last.get(frequency.unit, 0))

    @property
    def by_end(self) -> bool:
        """Whether the label is the last unit of the period, not the first."""
        return self.frequency.unit == "month_end" or (self.frequency.unit == "day" and self.frequency.step % 7 == 0)

    def labels(self, local: np.ndarray) -> np.ndarray:
        """The label of the period that each local time lies in: int64 ordinals, microseconds below the day."""
        step = self.frequency.step
        known = self.frequency.unit in _UNITS
        ordinals = to_ordinals(local, self.frequency)[0] if known else local.astype(np.int64)
        if self.by_end:
            return ordinals + (self.phase - ordinals) % step
        return ordinals - (ordinals - self.phase) % step

    def bounds(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Begin of each period and of the next one: int64, microseconds of local time, or integers."""
        unit, step = self.frequency.unit, self.frequency.step
        first = labels - step + 1 if self.by_end else labels
        if unit not in _UNITS:
            return first, first + step
        plain = Frequency("month_start" if unit == "month_end" else unit)
        return to_times(first, plain).astype(np.int64), to_times(first + step, plain).astype(np.int64)

    def times(self, labels: np.ndarray, rows: Rows, local: np.ndarray) -> np.ndarray:
        """The times of the labels of rows, in UTC when these have a zone: as `rows.times`."""
        known = self.frequency.unit in _UNITS
        named = to_times(labels, self.frequency) if known else labels.astype("datetime64[us]")
        if rows.tz is None or named.dtype.kind != "M":
            return named
        utc = to_utc(named, rows.tz)
        if not known:
            # An hour that the clock shows twice is two periods: the label that lies so far back in elapsed time.
            back = rows.times - (local - named)
            utc = np.where(to_local(back, rows.tz) == named, back, utc)
        return utc


def aggregated(rows: Rows, how: str, periods: Periods, like: Panel | None) -> tuple[Rows, list[Finding]]:
    """One row per series and period, of sorted rows without duplicates, and what was done.

    The target by `how` (sum, mean, min, max) of what is not missing; numeric covariates become four columns each (see
    `SUFFIXES`), of categories the most frequent (the first in the order of text among equals); weights by sum for sum,
    else by mean. A first or last period of a series that its rows do not fill is left out.
    """
    local = rows.times if rows.tz is None else to_local(rows.times, rows.tz)
    labels = periods.labels(local)
    times = periods.times(labels, rows, local)
    starts = np.flatnonzero(np.append(True, (np.diff(rows.series) != 0) | (times[1:] != times[:-1])))
    run = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows)))
    fine = _Fine.of(rows, local)
    ends = _Ends.of(rows, local, fine, periods.bounds(labels), like is not None and len(like) > 0)
    coarse = replace(_columns(rows, starts, run, how), times=times[starts])
    target = coarse.target.copy()
    target[run[ends.no_value]] = np.nan
    keep = np.ones(len(coarse), bool)
    keep[run[ends.no_row]] = False
    # A series keeps one row, without a value, so that it is not forgotten.
    lonely = np.flatnonzero(np.bincount(coarse.series[keep], minlength=len(rows.keys)) == 0)
    stays = coarse.bounds()[0][lonely]
    keep[stays], target[stays] = True, np.nan
    coarse = counted(coarse.put({rows.schema.target: target}))
    done = f"{alias(periods.frequency, periods.phase)} by {how}"
    findings = [ends.finding(rows, int(keep.sum()), done), *_coarser(fine, periods)]
    if how == "sum":
        count = np.bincount(run[~np.isnan(rows.target) | rows.masked], minlength=len(starts))
        found = coarse.put({rows.schema.target: count.astype(np.float64)})
        findings += _sparse(found, keep & ~np.isnan(target))
    return coarse.kept(keep), findings


def _sparse(counted_rows: Rows, whole: np.ndarray) -> list[Finding]:
    """A finding about periods whose sum is of far fewer values than usual in the series, and therefore too small.

    counted_rows: a row per period with its number of values in place of the target; whole: periods to look at.
    """
    begin, end = counted_rows.bounds()
    usual = np.array([np.median(counted_rows.target[a:b]) if b > a else 0.0 for a, b in zip(begin, end, strict=True)])
    few = np.flatnonzero(whole & (counted_rows.target < SPARSE * usual[counted_rows.series]))
    if not len(few):
        return []
    where = counted_rows.series[few]
    named = counted_rows.named(where, lambda first: [f"at {t}" for t in to_text(counted_rows.times[few[first]])])
    message = f"{len(few)} periods are sums of far fewer values than usual, and so too small: {named}"
    remedy = "add the missing rows, or aggregate by 'mean'"
    return [Finding("sparse_periods", "alert", message, counted_rows.only(where), "", len(few), remedy)]


def expanded(schema: Schema, categories: dict[str, tuple[str, ...]]) -> Schema:
    """The schema of aggregated rows: four columns in place of each numeric covariate."""

    def four(names: tuple[str, ...]) -> tuple[str, ...]:
        several = ((name,) if name in categories else tuple(f"{name}_{s}" for s in SUFFIXES) for name in names)
        return tuple(name for group in several for name in group)

    return replace(schema, known=four(schema.known), past=four(schema.past))


def _columns(rows: Rows, starts: np.ndarray, run: np.ndarray, how: str) -> Rows:
    """The rows of the periods, their times still those of their first rows."""
    first, schema = rows.at(starts), rows.schema
    columns = dict(first.columns)
    for name, values in with_open_weights(rows).columns.items():
        if name == schema.target:
            columns[name] = reduced(run, values, how)
        elif name == schema.weight:
            columns[name] = reduced(run, values, "sum" if how == "sum" else "mean")
        elif name == schema.mask:
            columns[name] = reduced(run, values, "min")
        elif name not in schema.static and rows.is_category(name):
            columns[name] = _most_frequent(run, values, len(starts))
        elif name not in schema.static:
            del columns[name]
            columns |= {f"{name}_{suffix}": reduced(run, values, suffix) for suffix in SUFFIXES}
    return replace(first, columns=columns, schema=expanded(schema, dict(rows.categories or {})))


def _most_frequent(run: np.ndarray, codes: np.ndarray, runs: int) -> np.ndarray:
    """The code (0 or more) most frequent in each run, the smallest among equals, -1 where none is: float64 (runs,)."""
    there = codes >= 0
    pairs, count = np.unique(np.stack([run[there], codes[there].astype(np.int64)]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -count, pairs[0]))
    which, first = np.unique(pairs[0][order], return_index=True)
    result = np.full(runs, -1.0)
    result[which] = pairs[1][order][first]
    return result


@dataclass(frozen=True, eq=False)
class _Fine:
    """The frequency of each series before it is aggregated: `own` (series,) into `distinct`, -1 for none."""

    distinct: tuple[Frequency, ...]
    own: np.ndarray

    @classmethod
    def of(cls, rows: Rows, local: np.ndarray) -> _Fine:
        distinct, own = series_frequencies(local, *rows.bounds())
        if rows.tz is None or all(frequency.unit != "microsecond" for frequency in distinct):
            return cls(distinct, own)
        elapsed, clock = series_frequencies(rows.times, *rows.bounds())
        daily = np.array([frequency.unit != "microsecond" for frequency in distinct] + [False])[own]
        return cls(distinct + elapsed, np.where(daily | (clock < 0), own, clock + len(distinct)))

    def beside(self, rows: Rows, local: np.ndarray, at: np.ndarray, step: int) -> np.ndarray:
        """The point of its grid `step` steps from the row `at` of each series, in local time; int64 (series,).

        The row itself where the frequency is unknown.
        """
        found = local[at].astype(np.int64)
        for i, frequency in enumerate(self.distinct):
            which = np.flatnonzero(self.own == i)
            if frequency.unit == "microsecond":
                moved = rows.times[at[which]] + np.timedelta64(step * frequency.step, "us")
                moved = moved if rows.tz is None else to_local(moved, rows.tz)
            else:
                moved = to_times(to_ordinals(local[at[which]], frequency)[0] + step * frequency.step, frequency)
            found[which] = moved.astype(np.int64)
        return found


@dataclass(frozen=True, eq=False)
class _Ends:
    """Rows in periods that their series does not fill: `no_row` where all of it goes, `no_value` where its target does.

    last, first: series whose last or first period is concerned.
    """

    no_row: np.ndarray
    no_value: np.ndarray
    last: np.ndarray
    first: np.ndarray

    @classmethod
    def of(
        cls, rows: Rows, local: np.ndarray, fine: _Fine, bounds: tuple[np.ndarray, np.ndarray], continued: bool
    ) -> _Ends:
        begin, end = rows.bounds()
        has, first, last = first_and_last(~np.isnan(rows.target), begin, end)
        # Masked rows beside the values belong to them: that day there was nothing to sell.
        closed = np.flatnonzero(np.isnan(rows.target) & ~rows.masked)
        around = np.concatenate([[-1], closed, [len(rows)]])
        after = np.minimum(around[np.searchsorted(around, last, "right")], end) - 1
        before = np.maximum(around[np.searchsorted(around, first) - 1], begin - 1) + 1
        unknown = fine.own < 0
        told = ~(unknown & (end - begin < 3)) if continued else np.ones(len(begin), bool)

        def ends_inside(row: np.ndarray, of: np.ndarray) -> np.ndarray:
            return told & (fine.beside(rows, local, row, 1) < bounds[1][of])

        def begins_inside(row: np.ndarray, of: np.ndarray) -> np.ndarray:
            return ~unknown & (fine.beside(rows, local, row, -1) >= bounds[0][of])

        row_last, row_first = ends_inside(end - 1, end - 1), begins_inside(begin, begin)
        value_last = has & ends_inside(after, last)
        # Rows that continue a panel do not begin its series: their first value may be missing like any other.
        value_first = has & begins_inside(before, first) & (not continued)
        return cls(
            no_row=np.concatenate([(end - 1)[row_last], begin[row_first]]),
            no_value=np.concatenate([last[value_last], first[value_first]]),
            last=np.flatnonzero(row_last | value_last),
            first=np.flatnonzero(row_first | value_first),
        )

    def finding(self, rows: Rows, count: int, done: str) -> Finding:
        """What was aggregated, and where periods were left out."""
        message, remedy = f"{len(rows)} rows became {count} of {done}", "nothing need be done"
        for which, series in (("last", self.last), ("first", self.first)):
            if len(series):
                message += f"; the {which} period of {len(series)} series is not whole, left out: {rows.named(series)}"
                remedy = "give the rows of whole periods to keep these"
        return Finding("aggregated", "fixed", message, count=len(rows), remedy=remedy)


def _coarser(fine: _Fine, periods: Periods) -> list[Finding]:
    """A finding when most series have a frequency coarser than the one wanted."""
    if not (fine.own >= 0).any():
        return []
    used, index = np.unique(fine.own[fine.own >= 0], return_inverse=True)
    usual = voted(tuple(fine.distinct[i] for i in used), index)
    if duration(usual) <= duration(periods.frequency):
        return []
    message = (
        f"the rows are of frequency {alias(usual)}, coarser than the {alias(periods.frequency, periods.phase)} wanted"
    )
    return [Finding("frequency", "error", message, remedy="pass a coarser freq, or leave out aggregate")]
