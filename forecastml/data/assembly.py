"""Rows that lie on a grid into the flat arrays of a `Panel`: ends, gaps, and series that stopped early."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.calendar import to_text, to_times
from forecastml.data.checks import Finding
from forecastml.data.panel import Panel
from forecastml.data.policies import Holes, Policies
from forecastml.data.rows import Grid, Rows, first_and_last
from forecastml.data.wall_clock import count_skipped, with_skipped_known


def assembled(grid: Grid, like: Panel | None, policies: Policies) -> tuple[Panel, list[Finding], np.ndarray]:
    """The panel of rows on their grid, what was found, and the keys of the series left out."""
    rows, ordinals, step = grid.rows, grid.ordinals, grid.frequency.step
    schema, (begin, end) = rows.schema, rows.bounds()
    has, first, last = first_and_last(np.isfinite(rows.target), begin, end)
    newest = int(ordinals[last[has]].max()) if has.any() else 0
    newest = newest if like is None or like.newest is None else like.newest
    if like is None or not len(like):
        known = has.any() or (like is not None and like.newest is not None)
        without = _start_without_values(ordinals, newest, (begin, end), step) if known else ordinals[begin]
        start = np.where(has, ordinals[first], without)
    else:
        # Rows that continue a model begin where they begin: the first may bring known covariates alone.
        start = ordinals[begin]
    own = np.where(has, (ordinals[last] - start) // step + 1, 0)
    after = policies.stale_after if like is None or like.newest is not None else None
    stale = has & ((newest - ordinals[last]) // step > after) if after is not None else np.zeros(len(has), bool)
    common = stale & (policies.stale == "common")
    length = np.where(common, (newest - start) // step + 1, own)
    reach = np.maximum((ordinals[end - 1] - start) // step + 1, np.where(common, length, 0))
    offset = (ordinals - start[rows.series]) // step
    values, known = _Slots.of(rows.series, offset, length), _Slots.of(rows.series, offset, reach)
    never = count_skipped(start, own, grid.frequency, rows.tz)
    target, weight, found = _filled(rows, values, (offset, own, length, never), policies.gaps)
    panel = Panel(
        target=target,
        begin=values.end - length,
        end=values.end,
        start=start,
        frequency=grid.frequency,
        keys=rows.keys,
        group=_groups(rows, begin),
        schema=schema,
        known=_block(rows, schema.known, known),
        known_begin=known.end - reach,
        known_end=known.end,
        past=_block(rows, schema.past, values),
        static=_block(rows.at(begin), schema.static, None),
        weight=weight,
        tz=rows.tz,
        categories=dict(rows.categories or {}),
    )
    panel = with_skipped_known(panel)
    panel = _coded_by_appearance(panel) if like is None else panel
    findings = [*(_no_values(rows, has) if like is None else ()), *found]
    findings += _stale_finding(rows, stale, to_text(to_times(np.array([newest]), grid.frequency))[0], policies)
    if not stale.any() or policies.stale != "skip":
        return panel, findings, rows.keys[:0]
    return panel.select(~stale).compact(), findings, rows.keys[stale]


def _start_without_values(
    ordinals: np.ndarray, known_until: int, bounds: tuple[np.ndarray, np.ndarray], step: int
) -> np.ndarray:
    """Where a series without a value would be forecast from: its first row after all known values, or its end.

    So rows of the past do not count as future ones, and a new series can bring covariates of its future.
    """
    begin, end = bounds
    first, newest = ordinals[begin], ordinals[end - 1]
    missing = np.maximum(known_until + 1 - first, 0)
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


def _block(rows: Rows, names: tuple[str, ...], slots: _Slots | None) -> np.ndarray:
    """These columns in place (as they are without slots): float64 (buffer, columns)."""
    block = np.empty((len(rows) if slots is None else int(slots.end[-1]), len(names)))
    for j, name in enumerate(names):
        values = rows.columns[name]
        block[:, j] = values if slots is None else slots.put(values, -1.0 if rows.is_category(name) else np.nan)
    return block


def _stale_finding(rows: Rows, stale: np.ndarray, newest: str, policies: Policies) -> list[Finding]:
    where = np.flatnonzero(stale)
    if not len(where):
        return []
    done = {
        "own": "each is forecast from its own end",
        "common": "missing values were added up to there",
        "skip": "they were left out",
    }[policies.stale]
    after = policies.stale_after
    message = f"{len(where)} series end more than {after} periods before {newest}, {done}: {rows.named(where)}"
    severity = "alert" if policies.stale == "own" else "fixed"
    remedy = "add their newer rows, or set stale to 'common' or 'skip'" if policies.stale == "own" else "add newer rows"
    return [Finding("stale", severity, message, rows.only(where), count=len(where), remedy=remedy)]


def _no_values(rows: Rows, has: np.ndarray) -> list[Finding]:
    empty = np.flatnonzero(~has)
    if not len(empty):
        return []
    target = rows.schema.target
    message = f"{len(empty)} series have no value in {target!r}: {rows.named(empty)}"
    remedy = "remove their rows, or give values"
    return [Finding("no_values", "alert", message, rows.only(empty), target, len(empty), remedy)]


def _filled(
    rows: Rows, slots: _Slots, lengths: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], gaps: str
) -> tuple[np.ndarray, np.ndarray | None, list[Finding]]:
    """Target and weight in place, holes filled by the policy, and a finding about these.

    lengths: of each row the place in its series; of each series the length up to its last value, that in `slots`, and
    how many of its points never were (hours that the clocks skipped).
    """
    offset, own, length, never = lengths
    target = slots.put(rows.target)
    weight = slots.put(rows.columns[rows.schema.weight], 0.0) if rows.schema.weight in rows.columns else None
    if gaps == "nan" and slots.at is None:
        return target, weight, []
    if gaps == "nan":
        inside = (offset >= 0) & (offset < own[rows.series])
        missing = own - never - np.bincount(rows.series[inside], minlength=len(own))
        return target, weight, _gaps(rows, missing, "periods without a row became missing values", "fixed")
    series = np.repeat(np.arange(len(length)), length)
    holes = Holes.of(target, slots.put(rows.masked.astype(np.float64), 0.0) == 0, series)
    if len(holes.at):
        target, filling = target.copy(), holes.filling(target, gaps)
        target[holes.at] = filling
        if weight is not None:
            weight = weight.copy()
            weight[holes.at] = weight[holes.low]
    missing = np.maximum(np.bincount(series[holes.at], minlength=len(own)) - never, 0)
    severity, done = "fixed", f"missing values inside series were filled by {gaps!r}"
    if gaps == "interpolate":
        severity, done = "alert", f"{done}, which looks ahead where a backtest cuts a hole"
    return target, weight, _gaps(rows, missing, done, severity)


def _gaps(rows: Rows, missing: np.ndarray, done: str, severity: str) -> list[Finding]:
    where = np.flatnonzero(missing)
    if not len(where):
        return []
    total = int(missing.sum())
    named = rows.named(where, lambda first: [f"({n})" for n in missing[where[first]]])
    message = f"{total} {done}, in {len(where)} series: {named}"
    return [Finding("gaps", severity, message, rows.only(where), count=total, remedy="add the rows if they exist")]


def _coded_by_appearance(panel: Panel) -> Panel:
    """The panel with categories numbered by their first appearance (by text at the same time).

    So a category that comes later changes no code of the rows before it.
    """
    known, past, static, categories = panel.known.copy(), panel.past.copy(), panel.static.copy(), {}
    begins = (panel.known_begin, panel.known_end), (panel.begin, panel.end)
    for table, columns, bounds in (
        (known, panel.schema.known, begins[0]),
        (past, panel.schema.past, begins[1]),
        (static, panel.schema.static, None),
    ):
        at = panel.start
        if bounds is not None:
            count = bounds[1] - bounds[0]
            place = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
            at = np.repeat(panel.start, count) + place * panel.frequency.step
        for j, name in enumerate(columns):
            if name in panel.categories:
                codes, texts = table[:, j].astype(np.int64), panel.categories[name]
                # Codes of -1 (missing) fall on the entry beyond the texts.
                first = np.full(len(texts) + 1, np.iinfo(np.int64).max)
                np.minimum.at(first, codes, at)
                order = np.lexsort((np.arange(len(texts)), first[:-1]))
                rank = np.full(len(texts) + 1, -1.0)
                rank[order] = np.arange(len(texts))
                table[:, j] = rank[codes]
                categories[name] = tuple(texts[i] for i in order)
    return replace(panel, known=known, past=past, static=static, categories=categories) if categories else panel


def _groups(rows: Rows, begin: np.ndarray) -> np.ndarray:
    if rows.group is None:
        return np.arange(len(begin), dtype=np.int64)
    return np.unique(rows.group[begin], return_inverse=True)[1].reshape(-1).astype(np.int64)
