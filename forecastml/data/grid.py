"""Rows of a table onto the regular grid of a `Panel`: sorted, checked, gaps left as NaN."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from forecastml.data.aggregation import Periods, aggregated
from forecastml.data.assembly import assembled
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
from forecastml.data.checks import Finding, Reading, refusal
from forecastml.data.defects import (
    finite,
    in_order,
    one_group,
    one_static_value,
    sound_weights,
    without_duplicates,
    without_masked,
)
from forecastml.data.panel import Panel
from forecastml.data.policies import Policies
from forecastml.data.rows import Grid, Rows
from forecastml.data.schema import CLOCK_UNITS, Frequency
from forecastml.data.wall_clock import clocked, merged
from forecastml.data.zones import local_dates, to_local
from forecastml.errors import FrequencyError, FutureError

#: A series is of a coarser frequency, not one with gaps, when chance would hardly leave such gaps: less than this.
_CHANCE = 1e-4
#: More grid points per row than this (above a million) come from a wrong date.
_EMPTY = 50
#: Rows off the grid of a given frequency are left out when they are few: this share must lie on it.
_ON_GRID = 0.9


def place(
    rows: Rows, like: Panel | None = None, freq: str | int | None = None, policies: Policies | None = None
) -> Reading:
    """The panel of these rows, and what was mended or is wrong: all of it, in one pass.

    like: the panel whose frequency, zone and phases the rows must continue; freq: the frequency, None to infer it.
    What is wrong is mended provisionally (see each finding), so that one reading shows every defect; the panel is None
    when no row is left or the rows have no frequency.
    """
    policies = policies or Policies()
    findings: list[Finding] = []
    for mend in (in_order, finite, one_group, one_static_value, without_masked, sound_weights):
        rows, found = mend(rows)
        findings += found
    rows, found = without_duplicates(rows, policies.duplicates)
    findings += found
    lost = rows.keys[:0]
    try:
        rows = replace(rows, tz=rows.tz if like is None else _same_zone(rows, like))
        if policies.aggregate is not None:
            rows, found = aggregated(rows, policies.aggregate, Periods.of(freq, like), like)
            findings += found
        grid, found, lost = _gridded(rows, like, freq)
        findings += found
    except FutureError as failure:
        return Reading(None, (*findings, refusal("unreadable_time", failure)), lost)
    except FrequencyError as failure:
        return Reading(None, (*findings, refusal("frequency", failure)), lost)
    if not len(grid.rows):
        return Reading(None, tuple(findings), lost)
    panel, found, skipped = assembled(grid, like, policies)
    return Reading(panel, (*findings, *found), np.concatenate([lost, skipped]))


def _gridded(rows: Rows, like: Panel | None, freq: str | int | None) -> tuple[Grid, list[Finding], np.ndarray]:
    """The rows that lie on one grid, what was found, and the keys of the series that have no such row."""
    findings: list[Finding] = []
    if like is None:
        wall = _wall(rows)
        frequency, coarser, findings = _frequency(rows, wall, freq)
        rows = wall if frequency.unit == "wall_clock" else rows
        # Provisionally without them: on the finer grid their rows would look like gaps.
        rows = rows.kept(~np.isin(rows.series, coarser)) if len(coarser) else rows
    else:
        frequency = like.frequency
        rows = _wall(rows) if frequency.unit == "wall_clock" else rows
    ordinals, on_grid, phase = _ordinals(rows, frequency, rows.tz, like)
    if freq is not None:
        on_grid, found = _anchored(rows, freq, frequency, on_grid, phase)
        findings += found
    grid, lost = Grid(rows, frequency, ordinals), rows.keys[:0]
    if not on_grid.all():
        finding = _off_grid(grid, on_grid, phase, "future" if like is not None else "free" if freq is None else "given")
        findings.append(finding)
        if finding.severity == "fixed":
            lost = rows.keys[np.bincount(rows.series[on_grid], minlength=len(rows.keys)) == 0]
        grid = grid.kept(on_grid)
    keep, found = _deserts(grid)
    return grid.kept(keep), findings + found, lost


def _same_zone(rows: Rows, like: Panel) -> str | None:
    if rows.times.dtype.kind == "M" and (rows.tz is None) != (like.tz is None):
        raise FutureError(
            f"the time column has time zone {rows.tz or 'none'}, that of the training data {like.tz or 'none'}; "
            "convert it to the same"
        )
    return like.tz


def _wall(rows: Rows) -> Rows:
    """The rows by the local clock, the two passes of a repeated hour as one."""
    if rows.tz is None:
        return rows
    local = to_local(rows.times, rows.tz)
    kept, columns = merged(rows.series, local, rows.columns, rows.categories or {})
    group = None if rows.group is None else rows.group[kept]
    return replace(rows, series=rows.series[kept], times=local[kept], columns=columns, group=group)


def _frequency(rows: Rows, wall: Rows, freq: str | int | None) -> tuple[Frequency, np.ndarray, list[Finding]]:
    """The frequency given, with the usual time of day, or the one inferred, and the series that have a coarser one.

    wall: the rows by the local clock.
    """
    none = np.empty(0, np.int64)
    tz, local = rows.tz, wall.times
    begin, end = wall.bounds()
    if freq is not None:
        frequency = parse_frequency(freq)
        if frequency.unit == "integer" or rows.times.dtype.kind != "M":
            return frequency, none, []
        if frequency.unit == "microsecond":
            return clocked(frequency, local, wall.series, tz), none, []
        clocks, votes = np.unique(local.astype(np.int64) % DAY, return_counts=True)
        return replace(frequency, time_of_day=int(clocks[votes.argmax()])), none, []
    distinct, own = series_frequencies(local, begin, end)
    frequency = clocked(voted(distinct, own), local, wall.series, tz)
    if frequency.unit == "microsecond" and tz is not None:
        local = rows.times
        begin, end = rows.bounds()
        distinct, own = series_frequencies(local, begin, end)
        frequency = voted(distinct, own)
    ratio = np.array([max(1, round(duration(other) / duration(frequency))) for other in distinct] + [1])[own]
    coarser = np.flatnonzero((end - begin - 1) * np.log(ratio) > -math.log(_CHANCE))
    if not len(coarser):
        return frequency, none, []
    where = rows.named(
        coarser, lambda first: [f"({_spelled(distinct[own[i]], local[begin[i]])})" for i in coarser[first]]
    )
    message = f"{len(coarser)} series have another frequency than {alias(frequency)}, which most have: {where}"
    remedy = f"model them apart, bring all to one frequency, or, if these are gaps, pass freq={alias(frequency)!r}"
    finding = Finding("mixed_frequency", "error", message, rows.only(coarser), "", len(coarser), remedy)
    return frequency, coarser, [finding]


def _spelled(frequency: Frequency, first: np.datetime64 | np.int64) -> str:
    """The alias with the anchor of the grid that a first timestamp lies on."""
    return alias(frequency, int(to_ordinals(np.array([first]), frequency)[0][0]))


def _ordinals(
    rows: Rows, frequency: Frequency, tz: str | None, like: Panel | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid ordinal of each row, whether it lies on the grid of its series, and that grid's phase: int64 (series,)."""
    times = rows.times
    if tz is not None and frequency.unit not in CLOCK_UNITS:
        times = local_dates(times, frequency, tz)
    ordinals, on_grid = to_ordinals(times, frequency)
    phase = np.zeros(len(rows.keys), np.int64)
    if frequency.step > 1:
        residue = ordinals % frequency.step
        residue = residue if on_grid.all() else np.where(on_grid, residue, -1)
        phase = _phases(rows, residue)
        if like is not None:
            starts = {tuple(key): start for key, start in zip(like.keys, like.start % frequency.step, strict=True)}
            own = zip(rows.keys, phase, strict=True)
            phase = np.array([starts.get(tuple(key), start) for key, start in own], dtype=np.int64)
        on_grid = residue == phase[rows.series]
    return ordinals, on_grid, phase


def _phases(rows: Rows, residue: np.ndarray) -> np.ndarray:
    """The residue most frequent in each series, the earliest among equals, -1 not counted: int64 (series,)."""
    begin, _ = rows.bounds()
    phase = np.maximum(residue[begin], 0)
    other = rows.series[residue != phase[rows.series]]
    if len(other):
        at = np.flatnonzero(np.isin(rows.series, other) & (residue >= 0))
        pairs, first, count = np.unique(
            np.stack([rows.series[at], residue[at]]), axis=1, return_index=True, return_counts=True
        )
        order = np.lexsort((first, -count, pairs[0]))
        which, best = np.unique(pairs[0][order], return_index=True)
        phase[which] = pairs[1][order][best]
    return phase


def _anchored(
    rows: Rows, freq: str | int, frequency: Frequency, on_grid: np.ndarray, phase: np.ndarray
) -> tuple[np.ndarray, list[Finding]]:
    """Which rows lie on the grid that the anchor of `freq` names; a finding when too many do not."""
    stated = anchor(freq)
    wrong = (phase - stated[0]) % stated[1] != 0 if stated else np.zeros(len(phase), bool)
    if not wrong.any():
        return on_grid, []
    anchored = on_grid & ~wrong[rows.series]
    if anchored.mean() >= _ON_GRID:
        return anchored, []
    where = np.flatnonzero(wrong)
    found = alias(frequency, int(phase[where[0]]))
    message = f"freq is {freq}, but {len(where)} series are not on it: {rows.named(where)}; the first is on {found}"
    remedy = f"pass freq={found!r} or correct the dates"
    return on_grid, [Finding("frequency", "error", message, rows.only(where), "", len(where), remedy)]


def _off_grid(grid: Grid, on_grid: np.ndarray, phase: np.ndarray, kind: str) -> Finding:
    """Rows off the grid of a frequency that is "given", "free" (inferred) or of the "future"; they are left out."""
    rows, off = grid.rows, np.flatnonzero(~on_grid)
    where = rows.series[off]
    named = rows.named(where, lambda first: [f"at {time}" for time in to_text(rows.times[off[first]])])
    message = f"{len(off)} rows are off the grid of frequency {alias(grid.frequency, int(phase[where[0]]))}: {named}"
    severity = "error"
    remedy = "correct the times or pass another freq"
    if kind == "future":
        remedy = "give times that continue the training"
    elif kind == "given" and on_grid.mean() >= _ON_GRID:
        severity, message = "fixed", f"{message}; they were left out"
        remedy = "correct the times, or pass aggregate, such as 'sum', if several rows make one period"
    elif kind == "given":
        remedy += ", or, if several rows make one period, pass aggregate, such as 'sum'"
    return Finding("off_grid", severity, message, rows.only(where), rows.schema.time or "", len(off), remedy)


def _deserts(grid: Grid) -> tuple[np.ndarray, list[Finding]]:
    """Which rows a grid of bearable size can hold, and a finding when a wrong date stretches it beyond."""
    rows, ordinals, step = grid.rows, grid.ordinals, grid.frequency.step
    begin, end = rows.bounds()
    keep = np.ones(len(rows), bool)
    reach = (ordinals[end - 1] - ordinals[begin]) // step + 1 if len(rows) else np.zeros(0, np.int64)
    limit = 1_000_000 + _EMPTY * len(rows)
    if reach.sum() <= limit:
        return keep, []
    wide = np.flatnonzero(reach > _EMPTY * (end - begin))
    wide = wide[np.argsort(-reach[wide], kind="stable")]
    for i in wide:
        low, high = _busy(ordinals[begin[i] : end[i]] // step)
        keep[begin[i] : begin[i] + low] = keep[begin[i] + high : end[i]] = False
    left, series = ordinals[keep], rows.series[keep]
    count = np.bincount(series, minlength=len(rows.keys))
    there = count > 0
    close = (np.cumsum(count) - 1)[there]
    if ((left[close] - left[close - count[there] + 1]) // step + 1).sum() > limit:
        keep[np.isin(rows.series, wide)] = False
    times = to_text(to_times(ordinals[[begin[wide[0]], end[wide[0]] - 1]], grid.frequency))
    message = (
        f"{rows.named(wide[:1])} runs from {times[0]} to {times[1]}: {reach.max()} steps of {alias(grid.frequency)}, "
        "nearly all without rows"
        + (f" (and {len(wide) - 1} series more: {rows.named(wide[1:])})" if wide[1:].size else "")
    )
    remedy = "correct the wrong date or pass a coarser freq"
    return keep, [Finding("desert", "error", message, rows.only(wide), rows.schema.time or "", len(wide), remedy)]


def _busy(points: np.ndarray) -> tuple[int, int]:
    """Bounds of the part of ascending points that is not nearly empty: up to ten times the larger side of a hole."""
    low, high = 0, len(points)
    for _ in range(10):
        own = points[low:high]
        if len(own) < 2 or own[-1] - own[0] < _EMPTY * len(own):
            break
        cut = low + 1 + int(np.diff(own).argmax())
        low, high = (cut, high) if cut - low < high - cut else (low, cut)
    return low, high
