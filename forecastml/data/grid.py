"""Rows of a table onto the regular grid of a `Panel`: sorted, checked, gaps left as NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.calendar import (
    DAY,
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
from forecastml.data.panel import Panel
from forecastml.data.schema import CLOCK_UNITS, Frequency, Schema
from forecastml.data.wall_clock import clocked, count_skipped, merged, with_skipped_known
from forecastml.data.zones import local_dates, to_local
from forecastml.errors import DataError, FrequencyError, FutureError

#: A series is of a coarser frequency, not one with gaps, when chance would hardly leave such gaps: less than this.
_CHANCE = 1e-4
#: More grid points per row than this (above a million) come from a wrong date.
_EMPTY = 50


@dataclass(frozen=True, eq=False)
class Rows:
    """The used columns of a table as arrays.

    keys: text of the key columns, object (series, key columns), sorted; series: int64 (rows,) into `keys`; group: int64
    (rows,) that sorts as the group keys do, None when each series is its own; times: datetime64[us] (UTC when `tz` is
    set, local time once on the wall clock) or int64; columns: target, weight and covariates by name, float64 (rows,),
    categorical ones as codes into `categories`, -1 where missing.
    """

    schema: Schema
    keys: np.ndarray
    series: np.ndarray
    times: np.ndarray
    columns: Mapping[str, np.ndarray]
    group: np.ndarray | None = None
    tz: str | None = None
    categories: Mapping[str, tuple[str, ...]] | None = None

    def sorted(self) -> Rows:
        """The rows ordered by series, then time."""
        ahead = np.diff(self.series)
        if np.all((ahead > 0) | ((ahead == 0) & (self.times[1:] >= self.times[:-1]))):
            return self
        order = np.lexsort((self.times, self.series))
        return replace(
            self,
            series=self.series[order],
            times=self.times[order],
            columns={name: values[order] for name, values in self.columns.items()},
            group=None if self.group is None else self.group[order],
        )

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """First and one past the last row of each series, of sorted rows."""
        count = np.bincount(self.series, minlength=len(self.keys))
        end = np.cumsum(count)
        return end - count, end

    def named(self, series: np.ndarray, details: Sequence[str] = ()) -> str:
        """The first five of these series as a user writes them, each with a detail if given."""
        distinct, first = np.unique(series, return_index=True)
        names = [key_label(self.schema.series, self.keys[i]) for i in distinct[:5]]
        if len(details):
            names = [f"{name} {details[row]}" for name, row in zip(names, first, strict=False)]
        return ", ".join(names) + (f" and {len(distinct) - 5} more" if len(distinct) > 5 else "")

    def only(self, series: np.ndarray) -> str:
        """The name of the series concerned when there is one, else ""."""
        return self.named(series[:1]) if len(np.unique(series)) == 1 else ""


def key_label(columns: Sequence[str], key: Sequence[str]) -> str:
    """A key as a user writes it: `store=001, item=7`."""
    return ", ".join(f"{column}={text}" for column, text in zip(columns, key, strict=True)) or "the series"


def place(rows: Rows, like: Panel | None = None, freq: str | int | None = None) -> tuple[Panel, tuple[Finding, ...]]:
    """The panel of these rows, and what was mended or looks wrong.

    like: the panel whose frequency, zone and phases the rows must continue; freq: the frequency, None to infer it.
    Raises `DataError`, `FrequencyError` or, with `like`, `FutureError`, naming the series.
    """
    rows, findings = _finite(rows.sorted())
    _refuse_duplicates(rows)
    tz = rows.tz if like is None else _same_zone(rows, like)
    rows, frequency = _clocked(rows, tz, like, freq)
    begin, end = rows.bounds()
    ordinals = _ordinals(rows, frequency, tz, like)
    if freq is not None:
        _check_anchor(rows, freq, frequency, ordinals[begin])
    schema, step = rows.schema, frequency.step
    has, first, last = _first_and_last(np.isfinite(rows.columns[schema.target]), begin, end)
    if like is None or not len(like):
        start = np.where(has, ordinals[first], _start_without_values(ordinals, has, last, (begin, end), step))
    else:
        # Rows that continue a model begin where they begin: the first may bring known covariates alone.
        start = ordinals[begin]
    length = np.where(has, (ordinals[last] - start) // step + 1, 0)
    reach = (ordinals[end - 1] - start) // step + 1
    _refuse_deserts(rows, frequency, ordinals, reach)
    offset = (ordinals - start[rows.series]) // step
    values = _Slots.of(rows.series, offset, length)
    known = _Slots.of(rows.series, offset, reach)
    static, varying = _static(rows, begin, end)
    findings += _no_values(rows, has) if like is None else ()
    findings += [*_gaps(rows, values, length - count_skipped(start, length, frequency, tz)), *varying]
    panel = Panel(
        target=values.put(rows.columns[schema.target]),
        begin=values.end - length,
        end=values.end,
        start=start,
        frequency=frequency,
        keys=rows.keys,
        group=_groups(rows, begin),
        schema=schema,
        known=_block(rows, schema.known, known),
        known_begin=known.end - reach,
        known_end=known.end,
        past=_block(rows, schema.past, values),
        static=static,
        weight=_weight(rows, values),
        tz=tz,
        categories=dict(rows.categories or {}),
    )
    return with_skipped_known(panel), tuple(findings)


def _start_without_values(
    ordinals: np.ndarray, has: np.ndarray, last: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], step: int
) -> np.ndarray:
    """Where a series without a value would be forecast from: its first row after all known values, or its end.

    So rows of the past do not count as future ones, and a new series can bring covariates of its future.
    """
    begin, end = bounds
    first, newest = ordinals[begin], ordinals[end - 1]
    if not has.any():
        return first
    missing = np.maximum(ordinals[last[has]].max() + 1 - first, 0)
    return np.minimum(first + -(-missing // step) * step, newest + step)


@dataclass(frozen=True, eq=False)
class _Slots:
    """Where rows go in a flat buffer: `at` of those `inside`, both None when rows and buffer agree."""

    end: np.ndarray
    inside: np.ndarray | None
    at: np.ndarray | None

    @classmethod
    def of(cls, series: np.ndarray, offset: np.ndarray, length: np.ndarray) -> _Slots:
        """Rows at `offset` of their series, kept where 0 <= offset < length."""
        end = np.cumsum(length)
        inside = (offset >= 0) & (offset < length[series])
        if end[-1] == len(series) and inside.all():
            return cls(end, None, None)
        return cls(end, inside, ((end - length)[series] + offset)[inside])

    def put(self, values: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """The flat buffer with `values` (rows,) in place."""
        if self.at is None:
            return values
        buffer = np.full(self.end[-1], fill)
        buffer[self.at] = values[self.inside]
        return buffer

    def present(self, series: np.ndarray, count: int) -> np.ndarray:
        """Number of rows in place, per series."""
        return np.bincount(series if self.inside is None else series[self.inside], minlength=count)


def _block(rows: Rows, names: tuple[str, ...], slots: _Slots) -> np.ndarray:
    """These columns in place: float64 (buffer, columns)."""
    block = np.empty((int(slots.end[-1]), len(names)))
    for j, name in enumerate(names):
        block[:, j] = slots.put(rows.columns[name], -1.0 if name in (rows.categories or {}) else np.nan)
    return block


def _first_and_last(flags: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether a series has a flagged row, its first and its last one (the series' first row where none)."""
    flagged = np.flatnonzero(flags)
    low, high = np.searchsorted(flagged, begin), np.searchsorted(flagged, end)
    has = high > low
    first, last = begin.copy(), begin.copy()
    first[has], last[has] = flagged[low[has]], flagged[high[has] - 1]
    return has, first, last


def _finite(rows: Rows) -> tuple[Rows, list[Finding]]:
    """Rows with NaN for infinite values, and a finding for each column that had some."""
    columns, findings = dict(rows.columns), []
    for name, values in rows.columns.items():
        infinite = np.isinf(values)
        if infinite.any() and name != rows.schema.weight:
            columns[name] = np.where(infinite, np.nan, values)
            where = rows.series[infinite]
            message = f"column {name!r} has {len(where)} infinite values, taken as missing: {rows.named(where)}"
            remedy = "correct them, or clear the cells"
            findings.append(Finding("infinite", "alert", message, rows.only(where), name, len(where), remedy))
    return replace(rows, columns=columns), findings


def _refuse_duplicates(rows: Rows) -> None:
    same = np.flatnonzero((rows.series[1:] == rows.series[:-1]) & (rows.times[1:] == rows.times[:-1]))
    if not len(same):
        return
    details = [f"at {time}" for time in to_text(rows.times[same])]
    where = rows.named(rows.series[same], details)
    remedy = "sum or drop them first, or name all key columns as series"
    if not rows.schema.series:
        remedy = "name the columns that tell the series apart as series, or sum the rows first"
    raise DataError(f"{len(same)} rows repeat a time of their series: {where}; {remedy}")


def _same_zone(rows: Rows, like: Panel) -> str | None:
    if rows.times.dtype.kind == "M" and (rows.tz is None) != (like.tz is None):
        raise FutureError(
            f"the time column has time zone {rows.tz or 'none'}, that of the training data {like.tz or 'none'}; "
            "convert it to the same"
        )
    return like.tz


def _clocked(rows: Rows, tz: str | None, like: Panel | None, freq: str | int | None) -> tuple[Rows, Frequency]:
    """The frequency, and the rows: on the wall clock in local time, the two passes of a repeated hour as one."""
    if tz is None:
        return rows, _frequency(rows, rows, freq) if like is None else like.frequency
    local = to_local(rows.times, tz)
    kept, columns = merged(rows.series, local, rows.columns, rows.categories or {})
    group = None if rows.group is None else rows.group[kept]
    wall = replace(rows, series=rows.series[kept], times=local[kept], columns=columns, group=group)
    frequency = _frequency(rows, wall, freq) if like is None else like.frequency
    return wall if frequency.unit == "wall_clock" else rows, frequency


def _frequency(rows: Rows, wall: Rows, freq: str | int | None) -> Frequency:
    """The frequency given, with the usual time of day, or the one inferred; wall: the rows by the local clock."""
    tz, local = rows.tz, wall.times
    begin, end = wall.bounds()
    if freq is not None:
        frequency = parse_frequency(freq)
        if frequency.unit == "integer" or rows.times.dtype.kind != "M":
            return frequency
        if frequency.unit == "microsecond":
            return clocked(frequency, local, wall.series, tz)
        clocks, votes = np.unique(local.astype(np.int64) % DAY, return_counts=True)
        return replace(frequency, time_of_day=int(clocks[votes.argmax()]))
    distinct, own = series_frequencies(local, begin, end)
    frequency = voted(distinct, own)
    frequency = clocked(frequency, local, wall.series, tz)
    if frequency.unit == "microsecond" and tz is not None:
        local = rows.times
        begin, end = rows.bounds()
        distinct, own = series_frequencies(local, begin, end)
        frequency = voted(distinct, own)
    ratio = np.array([max(1, round(duration(other) / duration(frequency))) for other in distinct] + [1])[own]
    coarser = np.flatnonzero((end - begin - 1) * np.log(ratio) > -math.log(_CHANCE))
    if len(coarser):
        spelled = [f"({_spelled(distinct[own[i]], local[begin[i]])})" for i in coarser]
        raise DataError(
            f"{len(coarser)} series have another frequency than {alias(frequency)}, which most have: "
            f"{rows.named(coarser, spelled)}; model them apart, bring all to one frequency, or, if these are gaps, "
            f"pass freq={alias(frequency)!r}"
        )
    return frequency


def _spelled(frequency: Frequency, first: np.datetime64 | np.int64) -> str:
    """The alias with the anchor of the grid that a first timestamp lies on."""
    return alias(frequency, int(to_ordinals(np.array([first]), frequency)[0][0]))


def _ordinals(rows: Rows, frequency: Frequency, tz: str | None, like: Panel | None) -> np.ndarray:
    """Grid ordinal of each row; `DataError` (with `like`, `FutureError`) for times off the grid."""
    times = rows.times
    if tz is not None and frequency.unit not in CLOCK_UNITS:
        times = local_dates(times, frequency, tz)
    ordinals, on_grid = to_ordinals(times, frequency)
    reference = ordinals[rows.bounds()[0]]
    if frequency.step > 1:
        if like is not None:
            starts = {tuple(key): start for key, start in zip(like.keys, like.start, strict=True)}
            own = zip(rows.keys, reference, strict=True)
            reference = np.array([starts.get(tuple(key), start) for key, start in own], dtype=np.int64)
        on_grid &= (ordinals - reference[rows.series]) % frequency.step == 0
    off = np.flatnonzero(~on_grid)
    if len(off):
        grid = alias(frequency, int(reference[rows.series[off[0]]]))
        details = [f"at {time}" for time in to_text(times[off])]
        raise (DataError if like is None else FutureError)(
            f"{len(off)} rows are off the grid of frequency {grid}: {rows.named(rows.series[off], details)}; "
            + ("correct the times or pass another freq" if like is None else "give times that continue the training")
        )
    return ordinals


def _check_anchor(rows: Rows, freq: str | int, frequency: Frequency, first: np.ndarray) -> None:
    stated = anchor(freq)
    wrong = np.flatnonzero((first - stated[0]) % stated[1]) if stated else ()
    if len(wrong):
        found = alias(frequency, int(first[wrong[0]]))
        raise FrequencyError(
            f"freq is {freq}, but {len(wrong)} series are not on it: {rows.named(wrong)}; "
            f"the first is on {found}: pass freq={found!r} or correct the dates"
        )


def _refuse_deserts(rows: Rows, frequency: Frequency, ordinals: np.ndarray, reach: np.ndarray) -> None:
    if reach.sum() <= 1_000_000 + _EMPTY * len(ordinals):
        return
    widest = int(reach.argmax())
    times = to_text(to_times(ordinals[rows.series == widest][[0, -1]], frequency))
    raise DataError(
        f"{rows.named(np.array([widest]))} runs from {times[0]} to {times[1]}: {reach.max()} steps of "
        f"{alias(frequency)}, nearly all without rows; correct the wrong date or pass a coarser freq"
    )


def _no_values(rows: Rows, has: np.ndarray) -> list[Finding]:
    empty = np.flatnonzero(~has)
    if not len(empty):
        return []
    target = rows.schema.target
    message = f"{len(empty)} series have no value in {target!r}: {rows.named(empty)}"
    remedy = "remove their rows, or give values"
    return [Finding("no_values", "alert", message, rows.only(empty), target, len(empty), remedy)]


def _gaps(rows: Rows, slots: _Slots, length: np.ndarray) -> list[Finding]:
    missing = length - slots.present(rows.series, len(length))
    where = np.flatnonzero(missing)
    if not len(where):
        return []
    total = int(missing.sum())
    named = rows.named(where, [f"({n})" for n in missing[where]])
    message = f"{total} periods without a row became missing values, in {len(where)} series: {named}"
    return [Finding("gaps", "fixed", message, rows.only(where), count=total, remedy="add the rows if they exist")]


def _groups(rows: Rows, begin: np.ndarray) -> np.ndarray:
    if rows.group is None:
        return np.arange(len(begin), dtype=np.int64)
    group = rows.group[begin]
    mixed = np.flatnonzero(rows.group != group[rows.series])
    if len(mixed):
        columns = ", ".join(rows.schema.group)
        raise DataError(
            f"series with rows in several groups ({columns}): {rows.named(rows.series[mixed])}; "
            "a series belongs to one group: name the group columns as series too, or correct the rows"
        )
    return np.unique(group, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _weight(rows: Rows, slots: _Slots) -> np.ndarray | None:
    name = rows.schema.weight
    if name is None or name not in rows.columns:
        return None
    weight, counts = rows.columns[name], np.isfinite(rows.columns[rows.schema.target])
    wrong = np.flatnonzero(counts & ~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        named = rows.named(rows.series[wrong], [f"({weight[row]})" for row in wrong])
        raise DataError(f"weight {name!r} is negative or missing in {len(wrong)} rows: {named}; give 0 or more")
    return slots.put(np.where(counts, weight, 0.0), 0.0)


def _static(rows: Rows, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """First known value of each static column per series, and a finding for each column that varies."""
    static, findings = np.empty((len(begin), len(rows.schema.static))), []
    for j, name in enumerate(rows.schema.static):
        values = rows.columns[name]
        there = values >= 0 if name in (rows.categories or {}) else ~np.isnan(values)
        static[:, j] = values[_first_and_last(there, begin, end)[1]]
        where = rows.series[there & (values != static[rows.series, j])]
        if len(where):
            named = rows.named(where)
            message = f"static column {name!r} varies within {len(np.unique(where))} series, first value taken: {named}"
            remedy = f"give {name!r} as known or past if it changes with time"
            findings.append(Finding("static_varies", "alert", message, rows.only(where), name, len(where), remedy))
    return static, findings
