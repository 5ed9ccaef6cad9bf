"""Grids of the wall clock (frequency unit "wall_clock"): local time of a zone, so that every day has as many points.

A season keeps its place on the clock. A point that a shift of the clocks skips never existed: its target is missing,
its known covariates lie between those beside it. One that a shift repeats stands for two moments: rows of both become
their mean, a forecast of it is shown twice. Ordinals are microseconds of local time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from forecastml.data.panel import Panel, ragged_rows
from forecastml.data.schema import Frequency
from forecastml.data.zones import is_fixed, microseconds, moments, shifts

#: The longest stretch that a zone ever skipped, in microseconds; and how far ahead its shifts are looked at.
_DAY = 86_400_000_000
_AHEAD = 3 * 365 * _DAY


def clocked(frequency: Frequency, local: np.ndarray, series: np.ndarray, tz: str | None) -> Frequency:
    """The frequency, on the wall clock if it counts microseconds and all rows lie on its grid in local time.

    Steps that divide every shift of the clocks, such as hours, do so always. Others, such as 6 hours, must have kept
    the grid over a shift, or lie on whole steps since local midnight and not on those of UTC. local: datetime64[us]
    (rows,) in zone `tz`; series: int64 (rows,), ascending.
    """
    if frequency.unit != "microsecond" or tz is None or is_fixed(tz):
        return frequency
    keeps = _keeps_wall_clock(microseconds(local), series, frequency.step, tz)
    return replace(frequency, unit="wall_clock") if keeps else frequency


def _keeps_wall_clock(local: np.ndarray, series: np.ndarray, step: int, tz: str) -> bool:
    first = np.searchsorted(series, series)
    if ((local - local[first]) % step).any():
        return False
    utc = microseconds(moments(local, tz)[0])
    table, _ = shifts(tz, int(utc.min()), int(utc.max()) + _AHEAD)
    offset = local - utc
    crossed = (offset != offset[first]).any()
    aligned = not (local % step).any() and bool((utc % step).any())
    return bool(crossed or aligned or not ((table.after - table.before) % step).any())


def merged(
    series: np.ndarray, local: np.ndarray, columns: Mapping[str, np.ndarray], codes: Collection[str]
) -> tuple[np.ndarray | slice, Mapping[str, np.ndarray]]:
    """Rows with the two passes of a repeated hour as one, by mean; of columns that hold codes, the first that is known.

    series: int64 (rows,) ascending; local: datetime64[us] (rows,), in order of UTC within a series; columns: float64
    (rows,) by name. Returns which rows stay, ordered by series and local time, and their columns.
    """
    if np.all((np.diff(series) > 0) | (np.diff(local) > np.timedelta64(0))):
        return slice(None), columns
    order = np.lexsort((local, series))
    series, local = series[order], local[order]
    again = np.append(False, (series[1:] == series[:-1]) & (local[1:] == local[:-1]))
    once, twice = np.flatnonzero(~again), np.flatnonzero(again)
    at = np.cumsum(~again)[twice] - 1
    joined = {}
    for name, values in columns.items():
        joined[name], other = values[order][once], values[order][twice]
        mine = joined[name][at]
        if name in codes:
            joined[name][at] = np.where(mine >= 0, mine, other)
        else:
            both = np.where(np.isnan(other), mine, 0.5 * (mine + other))
            joined[name][at] = np.where(np.isnan(mine), other, both)
    return order[once], joined


def skipped(
    start: np.ndarray, lengths: np.ndarray, frequency: Frequency, tz: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stretches of grid points that a shift of the clocks skips: series and positions [begin, end), int64 all three.

    start: ordinals of the first point, lengths: points, int64 (series,). None on grids other than the wall clock.
    """
    blank = np.empty(0, np.int64)
    if frequency.unit != "wall_clock" or tz is None or not len(start) or not lengths.any():
        return blank, blank, blank
    step = frequency.step
    table, _ = shifts(tz, int(start.min()), int((start + lengths * step).max()))
    edges = [-((start[:, None] - edge) // step) for edge in table.skipped]
    begin, end = (np.clip(edge, 0, lengths[:, None]) for edge in edges)
    series, which = np.nonzero(end > begin)
    return series, begin[series, which], end[series, which]


def count_skipped(panel_start: np.ndarray, lengths: np.ndarray, frequency: Frequency, tz: str | None) -> np.ndarray:
    """Number of `skipped` grid points of each series: int64 (series,)."""
    series, begin, end = skipped(panel_start, lengths, frequency, tz)
    return np.bincount(series, weights=end - begin, minlength=len(lengths)).astype(np.int64)


def with_skipped_known(panel: Panel) -> Panel:
    """`panel` with known covariates at skipped points, so that nothing is missing there: the mean of both sides.

    Codes of categories are those before. What is there already stays.
    """
    width = panel.known.shape[1]
    lengths = panel.known_end - panel.known_begin
    series, begin, end = skipped(panel.start, lengths, panel.frequency, panel.tz)
    if not len(series) or not width:
        return panel
    codes = np.array([name in panel.categories for name in panel.schema.known])
    base = panel.known_begin[series]
    before = panel.known[base + np.maximum(begin - 1, 0)]
    before[begin == 0] = np.where(codes, -1.0, np.nan)
    after = panel.known[base + np.minimum(end, lengths[series] - 1)]
    after[end == lengths[series]] = np.where(codes, -1.0, np.nan)
    mean = np.where(np.isnan(before), after, np.where(np.isnan(after), before, 0.5 * (before + after)))
    values = np.repeat(np.where(codes, np.where(before >= 0, before, after), mean), end - begin, axis=0)
    rows = ragged_rows(base + begin, base + end)
    known = panel.known.copy()
    there = np.where(codes, known[rows] >= 0, ~np.isnan(known[rows]))
    known[rows] = np.where(there, known[rows], values)
    return replace(panel, known=known)


def first_ahead(panel: Panel, gap: int = 0) -> np.ndarray:
    """Ordinal of the first point after the origin and `gap` points more that no shift skips: int64 (series,)."""
    step = panel.frequency.step
    first = panel.last_ordinal + (1 + gap) * step
    reach = np.full(len(panel), _DAY // step + 1, np.int64)
    series, begin, end = skipped(first, reach, panel.frequency, panel.tz)
    here = begin == 0
    first[series[here]] += end[here] * step
    return first


def reopened(panel: Panel) -> np.ndarray:
    """Ordinal from which newer rows of each series may begin: int64 (series,).

    The one after the last; the first of the repeated hour when the series ends in one, whose second pass may follow.
    """
    after = panel.last_ordinal + panel.frequency.step
    if panel.frequency.unit != "wall_clock" or panel.tz is None or not len(panel):
        return after
    last = panel.last_ordinal
    first, second = (microseconds(moment) for moment in moments(last.astype("datetime64[us]"), panel.tz))
    # The second pass of the hour began when the clocks went back by the difference.
    table, _ = shifts(panel.tz, int(last.min()), int(last.max()))
    place = np.searchsorted(table.moment, second, side="right") - 1
    begin = (np.append(table.moment, 0) + np.append(table.after, 0))[place]
    return np.where(second > first, begin, after)


def points_ahead(panel: Panel, horizon: int, gap: int = 0) -> np.ndarray:
    """Grid points after the gap that cover `horizon` elapsed steps of each series: int64 (series,).

    On the wall clock one more over a skipped hour, one less over a repeated one; elsewhere `horizon`. The gap is
    counted in grid points, as in training.
    """
    step, tz = panel.frequency.step, panel.tz
    if panel.frequency.unit != "wall_clock" or tz is None or not len(panel):
        return np.full(len(panel), horizon, np.int64)
    origins, which = np.unique(panel.last_ordinal + (1 + gap) * step, return_inverse=True)
    points = horizon
    while True:
        rows, utc = shown((origins[:, None] + step * np.arange(points)).ravel(), points, tz, horizon)
        bounds = np.searchsorted(rows, np.arange(len(origins) + 1) * points)
        short = horizon - int(np.diff(bounds).min())
        if short <= 0:
            # In a repeated hour the first pass of a later point may come before the second of an earlier one.
            late = utc[bounds[1:] - 1] - moments((origins + step * points).astype("datetime64[us]"), tz)[0]
            short = int(late.max().astype(np.int64)) // step + 1
        if short <= 0:
            return (np.maximum.reduceat(rows % points, bounds[:-1]) + 1)[which]
        points += short


def ordinals_ahead(panel: Panel, steps: int, gap: int = 0) -> np.ndarray:
    """Ordinals of so many grid points of each series after the gap: int64 (series * steps,), series-major."""
    return (panel.last_ordinal[:, None] + (1 + gap + np.arange(steps)) * panel.frequency.step).ravel()


def wall_clock_steps(panel: Panel, horizon: int, gap: int = 0) -> int:
    """The most `points_ahead` that any series needs."""
    return int(points_ahead(panel, horizon, gap).max(initial=1))


def elapsed_steps(panel: Panel, points: np.ndarray, gap: int = 0) -> np.ndarray:
    """Elapsed steps that so many grid points after the gap cover: int64 (series,), the inverse of `points_ahead`.

    points: int64 (series,), those below 0 count as 0.
    """
    points = np.maximum(points, 0)
    if panel.frequency.unit != "wall_clock" or panel.tz is None or not points.any():
        return points
    series = np.repeat(np.arange(len(panel)), points)
    origin = panel.last_ordinal + (1 + gap) * panel.frequency.step
    ordinals = origin[series] + ragged_rows(np.zeros_like(points), points) * panel.frequency.step
    first, second = moments(ordinals.astype("datetime64[us]"), panel.tz)
    limit = moments((origin + points * panel.frequency.step).astype("datetime64[us]"), panel.tz)[0][series]
    covered = ((second >= first) & (first < limit)).astype(np.int64) + ((second > first) & (second < limit))
    return np.bincount(series, weights=covered, minlength=len(panel)).astype(np.int64)


def passes(ordinals: np.ndarray, frequency: Frequency, tz: str | None) -> np.ndarray:
    """How many moments each grid point stands for, 0, 1 or 2: int64, shaped as `ordinals`."""
    if frequency.unit != "wall_clock" or tz is None:
        return np.ones(ordinals.shape, np.int64)
    first, second = moments(ordinals.astype("datetime64[us]"), tz)
    return 1 + np.sign((second - first).astype(np.int64))


def shown(ordinals: np.ndarray, steps: int, tz: str, horizon: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a forecast on the wall clock as time passes: which of `ordinals`, and their UTC (datetime64[us]).

    ordinals: int64 (rows,), series-major, `steps` of each series. Skipped points are left out, repeated ones come
    twice; the first `horizon` rows of each series are kept (None: all).
    """
    first, second = moments(ordinals.astype("datetime64[us]"), tz)
    rows = np.repeat(np.arange(len(ordinals)), 1 + np.sign((second - first).astype(np.int64)))
    again = np.diff(rows, prepend=-1) == 0
    utc = np.where(again, second[rows], first[rows])
    series = rows // max(steps, 1)
    if again.any():
        order = np.lexsort((utc, series))
        rows, utc, series = rows[order], utc[order], series[order]
    kept = np.arange(len(rows)) - np.searchsorted(series, series) < (len(rows) if horizon is None else horizon)
    return rows[kept], utc[kept]
