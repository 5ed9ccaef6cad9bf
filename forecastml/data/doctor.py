"""The data doctor: what is wrong, or looks wrong, with the series and covariates of a finished panel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.calendar import to_text, to_times
from forecastml.data.checks import NAMED, Finding, Reading, alert
from forecastml.data.clocks import local_zones
from forecastml.data.leak_guard import LeakGuard, refuse_leaks
from forecastml.data.outliers import HALF, outliers
from forecastml.data.panel import Panel, extent, ragged_rows
from forecastml.data.shifts import Grid, shifts

#: Fewer values say nothing about what is usual.
LEAST_VALUES = 3
#: Share of values below zero that may be wrong: where all are whole numbers, and elsewhere.
FEW_NEGATIVE, FEWER_NEGATIVE = 0.05, 0.02
#: Share of mostly zero series that is worth a word.
MANY_SPARSE = 0.1
#: Values cross zero smoothly when those beside negative ones are below this share of the median.
NEAR_ZERO = 0.25


def examined(reading: Reading, horizon: int, leaks: str) -> Reading:
    """A reading with what looks wrong in its panel, and without covariates that give the target away if `leaks` is
    "exclude"; see `diagnose` and `LeakGuard`."""
    guard = LeakGuard.of(reading.data, horizon, leaks)
    findings = (*reading.findings, *diagnose(reading.data, horizon, guard))
    return replace(reading, data=guard.guarded(reading.data), findings=findings)


def admitted(reading: Reading, horizon: int, leaks: str) -> Reading:
    """As `examined`; raises `ConfigError` for leaks if `leaks` is "error"."""
    reading = examined(reading, horizon, leaks)
    refuse_leaks(reading.findings)
    return reading


def diagnose(panel: Panel, horizon: int, guard: LeakGuard | None = None) -> tuple[Finding, ...]:
    """What looks wrong in a panel: at most one finding per code and column; nothing is changed.

    horizon: steps to forecast; guard: what gives the target away, None: it is looked for. Codes: constant, all_zero,
    mostly_zero, negative, short, level_shift, outliers, covariate_missing, covariate_constant, leak, clock_change.
    Messages name the first series concerned, and remedies what to do.
    """
    if not len(panel):
        return ()
    guard = LeakGuard.of(panel, horizon) if guard is None else guard
    return (
        *_constant(panel),
        *_mostly_zero(panel),
        *_negative(panel),
        *_short(panel, horizon),
        *_breaks(panel),
        *_covariates(panel),
        *guard.findings(panel),
        *_clock_change(panel),
    )


def _counts(panel: Panel, flags: np.ndarray) -> np.ndarray:
    """How many values of each series are flagged: int64 (series,)."""
    total = np.concatenate([[0], np.cumsum(flags)])
    return total[panel.end] - total[panel.begin]


def _times(panel: Panel, series: np.ndarray, rows: np.ndarray) -> list[str]:
    """Times of rows of the target, each of the series given with it, for messages."""
    ordinals = panel.start[series] + (rows - panel.begin[series]) * panel.frequency.step
    return to_text(to_times(ordinals, panel.frequency))


def _constant(panel: Panel) -> Iterator[Finding]:
    low, high = extent(panel)
    same = (low == high) & (_counts(panel, ~np.isnan(panel.target)) >= LEAST_VALUES)
    target = panel.schema.target
    constant = np.flatnonzero(same & (low != 0))
    if len(constant):
        details = [f"(always {value:g})" for value in low[constant[:NAMED]]]
        remedy = "leave them out if nothing is measured there; otherwise the forecast is that value"
        what = f"{target!r} never changes in {len(constant)} series: {{}}"
        yield alert(panel, "constant", target, (constant, details), what, remedy)
    zero = np.flatnonzero(same & (low == 0))
    if len(zero):
        remedy = "leave them out if they are closed or not yet open; otherwise the forecast is zero"
        what = f"{target!r} is zero throughout in {len(zero)} series: {{}}"
        yield alert(panel, "all_zero", target, (zero, ()), what, remedy)


def _mostly_zero(panel: Panel) -> Iterator[Finding]:
    low, high = extent(panel)
    zeros, known = _counts(panel, panel.target == 0), _counts(panel, ~np.isnan(panel.target))
    series = np.flatnonzero((2 * zeros > known) & (low < high))
    if len(series) >= MANY_SPARSE * len(panel) and len(series):
        target = panel.schema.target
        remedy = "absolute errors are smallest for forecasts of 0 there: to forecast means, judge by rmsse or wql"
        yield alert(
            panel, "mostly_zero", target, (series, ()), f"{target!r} is mostly 0 in {len(series)} series: {{}}", remedy
        )


def _negative(panel: Panel) -> Iterator[Finding]:
    """Few values below zero where counts or amounts are expected, such as returns among sales."""
    low = extent(panel)[0]
    if not (low < 0).any():
        return
    known, count = _counts(panel, ~np.isnan(panel.target)), _counts(panel, panel.target < 0)
    whole = _counts(panel, np.trunc(panel.target) != panel.target) == _counts(panel, np.isnan(panel.target))
    few = (count > 0) & (count <= known * np.where(whole, FEW_NEGATIVE, FEWER_NEGATIVE))
    series = np.array([i for i in np.flatnonzero(few) if not _crosses_zero(panel.values(i))], dtype=np.int64)
    if not len(series):
        return
    rows = np.array([panel.begin[i] + np.flatnonzero(panel.values(i) < 0)[0] for i in series[:NAMED]])
    times = _times(panel, series[:NAMED], rows)
    details = [f"({value:g} at {time})" for value, time in zip(panel.target[rows], times, strict=True)]
    remedy = (
        "if they are returns or corrections, set them to 0 or to missing, or book them where the sale was; with them "
        "the models take values below zero for possible"
    )
    total = int(count[series].sum())
    what = (
        f"{total} values of {panel.schema.target!r} are below zero, in {len(series)} series that hardly ever are: {{}}"
    )
    yield replace(alert(panel, "negative", panel.schema.target, (series, details), what, remedy), count=total)


def _crosses_zero(values: np.ndarray) -> bool:
    """Whether a series passes through zero as temperatures do: values beside negative ones are near zero too."""
    values = values[~np.isnan(values)]
    negative = np.flatnonzero(values < 0)
    beside = np.concatenate([values[np.maximum(negative - 1, 0)], values[np.minimum(negative + 1, len(values) - 1)]])
    centred = (values - values.mean()) / np.abs(values).max()
    persistent = (centred[1:] * centred[:-1]).sum() > 0.5 * (centred**2).sum()
    return bool(persistent and np.median(np.abs(beside)) <= NEAR_ZERO * np.median(values))


def _short(panel: Panel, horizon: int) -> Iterator[Finding]:
    """Series of which no row lies before the newest fold, see `RollingOrigin`."""
    series = np.flatnonzero((panel.lengths > 0) & (panel.lengths <= horizon))
    if len(series):
        details = [f"({n})" for n in panel.lengths[series[:NAMED]]]
        remedy = (
            "give more history or a shorter horizon; as they are, they take the weights of all series and lean on "
            "pooled learners"
        )
        what = f"{len(series)} series have no row before the last {horizon}, so no fold can judge models on them: {{}}"
        yield alert(panel, "short", panel.schema.target, (series, details), what, remedy)


def _breaks(panel: Panel) -> Iterator[Finding]:
    """Breaks of level, and the outliers that do not lie beside one."""
    series, rows = shifts(panel)
    owner, far = outliers(panel)
    at = np.full(len(panel), np.iinfo(np.int64).max // 2)
    at[series] = rows
    clear = np.abs(far - at[owner]) > HALF + Grid.of(panel).block
    yield from _level_shift(panel, series, rows)
    yield from _outliers(panel, owner[clear], far[clear])


def _level_shift(panel: Panel, series: np.ndarray, rows: np.ndarray) -> Iterator[Finding]:
    if len(rows):
        details = [f"(from {time})" for time in _times(panel, series[:NAMED], rows[:NAMED])]
        remedy = (
            "if the old level will not come back, leave out what lies before it, or give a known covariate that is 0 "
            "before and 1 from then on"
        )
        what = f"the level of {panel.schema.target!r} breaks and stays so in {len(series)} series: {{}}"
        yield alert(panel, "level_shift", panel.schema.target, (series, details), what, remedy)


def _outliers(panel: Panel, owner: np.ndarray, rows: np.ndarray) -> Iterator[Finding]:
    if not len(rows):
        return
    series, first = np.unique(owner, return_index=True)
    shown = rows[first[:NAMED]]
    times = _times(panel, series[:NAMED], shown)
    details = [f"({value:g} at {time})" for value, time in zip(panel.target[shown], times, strict=True)]
    known = int(_counts(panel, ~np.isnan(panel.target)).sum())
    remedy = (
        "set them to missing if they are errors; if they have a cause that can come again, give it as a known covariate"
    )
    what = (
        f"{len(rows)} values of {panel.schema.target!r} ({100 * len(rows) / known:.2g} %) are far off their neighbours "
        f"and season, in {len(series)} series: {{}}"
    )
    finding = alert(panel, "outliers", panel.schema.target, (series, details), what, remedy)
    yield replace(finding, count=len(rows))


@dataclass(frozen=True, eq=False)
class _Covariates:
    """The covariates of one role: values (rows, columns), the series of each row, and the rows that a table has."""

    names: tuple[str, ...]
    values: np.ndarray
    series: np.ndarray
    present: np.ndarray
    coded: np.ndarray

    @classmethod
    def of(cls, panel: Panel, names: tuple[str, ...], values: np.ndarray, series: np.ndarray) -> _Covariates:
        coded = np.array([name in panel.categories for name in names], dtype=bool)
        return cls(names, values, series, np.ones(len(values), bool), coded)

    @property
    def unknown(self) -> np.ndarray:
        """Whether a value is missing: NaN, or the code -1."""
        return np.isnan(self.values) | (self.coded & (self.values == -1))


def _by_role(panel: Panel) -> tuple[_Covariates, ...]:
    """Known, past and static covariates; a period without any row is not present."""
    each = np.arange(len(panel))
    rows = ragged_rows(panel.begin, panel.end)
    past = _Covariates.of(panel, panel.schema.past, panel.past[rows], np.repeat(each, panel.lengths))
    static = _Covariates.of(panel, panel.schema.static, panel.static, each)
    empty = np.isnan(panel.target[rows]) & past.unknown.all(axis=1)
    if not panel.schema.known:
        return replace(past, present=~empty), static
    reach = panel.known_end - panel.known_begin
    values = panel.known[ragged_rows(panel.known_begin, panel.known_end)]
    known = _Covariates.of(panel, panel.schema.known, values, np.repeat(each, reach))
    place = ragged_rows(np.zeros(len(panel), np.int64), reach)
    inside = place < panel.lengths[known.series]
    # Where the row of a known value lies among those of the targets.
    at = ((np.cumsum(panel.lengths) - panel.lengths)[known.series] + place)[inside]
    bare = known.unknown.all(axis=1)
    absent = np.zeros(len(values), bool)
    absent[inside] = bare[inside] & empty[at]
    empty[at] &= bare[inside]
    return replace(known, present=~absent), replace(past, present=~empty), static


def _covariates(panel: Panel) -> Iterator[Finding]:
    for role in _by_role(panel):
        unknown = role.unknown
        for k, name in enumerate(role.names):
            missing = np.flatnonzero(unknown[:, k] & role.present)
            if len(missing):
                series, count = np.unique(role.series[missing], return_counts=True)
                details = [f"({n})" for n in count[:NAMED]]
                remedy = "fill them in; learners take the last known value or the usual one, or cannot use the column"
                what = f"covariate {name!r} is missing in {len(missing)} rows, in {len(series)} series: {{}}"
                finding = alert(panel, "covariate_missing", name, (series, details), what, remedy)
                yield replace(finding, count=len(missing))
            values = role.values[~unknown[:, k], k]
            several = len(values) >= 2 and (role.names != panel.schema.static or len(panel) >= 2)
            if several and values.min() == values.max():
                value = panel.categories[name][int(values[0])] if name in panel.categories else f"{values[0]:g}"
                remedy = "leave the column out: what never changes cannot help"
                what = f"covariate {name!r} is {value} in all rows"
                yield Finding("covariate_constant", "alert", what, "", name, len(values), remedy)


def _clock_change(panel: Panel) -> Iterator[Finding]:
    zones = local_zones(panel)
    if zones:
        series = np.unique(np.concatenate(list(zones.values())))
        best = max(zones, key=lambda zone: len(zones[zone]))
        names = ", ".join(zones)
        remedy = (
            f"name the zone of the clock that wrote them, such as --timezone {best} (timezone={best!r}); days of 23 "
            "and 25 hours are then counted as such"
        )
        what = (
            f"the times have no zone, and in spring skip the hour that local clocks skip ({names}), in "
            f"{len(series)} series: {{}}"
        )
        yield alert(panel, "clock_change", panel.schema.time or "", (series, ()), what, remedy)
