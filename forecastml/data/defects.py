"""Defects of rows that show before the rows lie on a grid: each function mends one kind and says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecastml.data.calendar import DAY, to_text
from forecastml.data.checks import Finding
from forecastml.data.rows import Rows, first_and_last


def in_order(rows: Rows) -> tuple[Rows, list[Finding]]:
    """The rows ordered by series, then time, then place in the table; a finding when some were not in order."""
    ahead = np.diff(rows.series)
    if np.all((ahead > 0) | ((ahead == 0) & (rows.times[1:] >= rows.times[:-1]))):
        return rows, []
    order = np.lexsort((rows.times, rows.series))
    rows = rows.at(order)
    # Sorting is stable: what it moved within a series had a later row before it.
    back = 1 + np.flatnonzero((np.diff(order) < 0) & (rows.series[1:] == rows.series[:-1]))
    if not len(back):
        return rows, []
    where = rows.series[back]
    message = f"rows are not in the order of time in {len(np.unique(where))} series, they were sorted: "
    remedy = "nothing need be done"
    return rows, [Finding("unsorted", "fixed", message + rows.named(where), rows.only(where), "", len(back), remedy)]


def finite(rows: Rows) -> tuple[Rows, list[Finding]]:
    """Rows with NaN for infinite values, and a finding for each column that had some."""
    columns, findings = {}, []
    for name, values in rows.columns.items():
        infinite = np.isinf(values)
        if infinite.any() and name != rows.schema.weight:
            columns[name] = np.where(infinite, np.nan, values)
            where = rows.series[infinite]
            message = f"column {name!r} has {len(where)} infinite values, taken as missing: {rows.named(where)}"
            remedy = "correct them, or clear the cells"
            findings.append(Finding("infinite", "alert", message, rows.only(where), name, len(where), remedy))
    return rows.put(columns), findings


def one_group(rows: Rows) -> tuple[Rows, list[Finding]]:
    """Sorted rows whose series have one group each, that of their first row."""
    if rows.group is None:
        return rows, []
    group = rows.group[rows.bounds()[0]][rows.series]
    mixed = np.flatnonzero(rows.group != group)
    if not len(mixed):
        return rows, []
    columns, where = ", ".join(rows.schema.group), rows.series[mixed]
    message = f"series with rows in several groups ({columns}): {rows.named(where)}"
    remedy = "a series belongs to one group: name the group columns as series too, or correct the rows"
    count = len(np.unique(where))
    finding = Finding("mixed_group", "error", message, rows.only(where), columns, count, remedy)
    return replace(rows, group=group), [finding]


def one_static_value(rows: Rows) -> tuple[Rows, list[Finding]]:
    """Sorted rows whose static columns hold the first known value of their series, a finding for each that varied."""
    columns, findings = {}, []
    begin, end = rows.bounds() if rows.schema.static else (None, None)
    for name in rows.schema.static:
        values = rows.columns[name]
        there = values >= 0 if rows.is_category(name) else ~np.isnan(values)
        known = begin if there.all() else first_and_last(there, begin, end)[1]
        columns[name] = values[known][rows.series]
        where = rows.series[there & (values != columns[name])]
        if len(where):
            message = f"static column {name!r} varies within {len(np.unique(where))} series, first value taken: "
            remedy = f"give {name!r} as known or past if it changes with time"
            message, only = message + rows.named(where), rows.only(where)
            findings.append(Finding("static_varies", "alert", message, only, name, len(where), remedy))
    return rows.put(columns), findings


def without_masked(rows: Rows) -> tuple[Rows, list[Finding]]:
    """Rows with a missing target where they are masked."""
    masked = rows.masked
    if not masked.any():
        return rows, []
    name, where = rows.schema.mask, rows.series[masked]
    message = f"{len(where)} rows are masked by {name!r}, their target counts as missing: {rows.named(where)}"
    finding = Finding("masked", "fixed", message, rows.only(where), name, len(where), "nothing need be done")
    return rows.put({rows.schema.target: np.where(masked, np.nan, rows.target)}), [finding]


def sound_weights(rows: Rows) -> tuple[Rows, list[Finding]]:
    """Rows with weights of 0 or more, 0 where the target is missing."""
    name = rows.schema.weight
    if name is None or name not in rows.columns:
        return rows, []
    weight, counts = rows.columns[name], np.isfinite(rows.target)
    sound = np.isfinite(weight) & (weight >= 0)
    wrong = np.flatnonzero(counts & ~sound)
    rows = rows.put({name: np.where(counts & sound, weight, 0.0)})
    if not len(wrong):
        return rows, []
    where = rows.series[wrong]
    details = rows.named(where, lambda first: [f"({weight[row]})" for row in wrong[first]])
    message = f"weight {name!r} is negative or missing in {len(wrong)} rows: {details}"
    return rows, [Finding("negative_weight", "error", message, rows.only(where), name, len(wrong), "give 0 or more")]


def without_duplicates(rows: Rows, policy: str) -> tuple[Rows, list[Finding]]:
    """Sorted rows with one per series and time: several are combined by the policy (under "error" the last is kept).

    "last": as the last row has it. "sum", "mean": the target so, weights too, numeric covariates by their mean, of
    categories the last in the order of text; missing values are left out. One masked row masks them all.
    """
    repeats = (rows.series[1:] == rows.series[:-1]) & (rows.times[1:] == rows.times[:-1])
    same = np.flatnonzero(repeats)
    if not len(same):
        return rows, []
    where = rows.named(rows.series[same], lambda first: [f"at {time}" for time in to_text(rows.times[same[first]])])
    message, severity, remedy = f"{len(same)} rows repeat a time of their series", "fixed", "nothing need be done"
    if policy == "error":
        severity, remedy = "error", "sum or drop them first, or name all key columns as series"
        if rows.tz is None and rows.times.dtype.kind == "M" and (rows.times[same].astype(np.int64) % DAY).any():
            remedy += "; if clocks went back there, name the time zone (timezone)"
        if not rows.schema.series:
            remedy = "name the columns that tell the series apart as series, or sum the rows first"
    else:
        message += f", {'the last of each is kept' if policy == 'last' else f'combined by {policy}'}"
    only = rows.only(rows.series[same])
    finding = Finding("duplicates", severity, f"{message}: {where}", only, rows.schema.time or "", len(same), remedy)
    return _combined(rows, repeats, policy), [finding]


def _combined(rows: Rows, repeats: np.ndarray, policy: str) -> Rows:
    last = np.append(~repeats, True)
    kept, number = rows.at(np.flatnonzero(last)), np.cumsum(last) - last
    several = np.flatnonzero(np.append(False, repeats) | ~last)
    run, columns = number[several], {}
    for name, values in with_open_weights(rows).columns.items():
        how = "last" if policy in ("last", "error") else policy
        if name == rows.schema.mask:
            how = "max"
        elif how != "last" and name not in (rows.schema.target, rows.schema.weight):
            how = "max" if rows.is_category(name) else "mean"
        if how != "last":
            # In ascending order, so that the order of the rows does not change a bit of a sum.
            ascending = values[several][np.lexsort((values[several], run))]
            columns[name] = kept.columns[name].copy()
            columns[name][run[np.flatnonzero(np.diff(run, prepend=-1))]] = reduced(run, ascending, how)
    return counted(kept.put(columns))


def with_open_weights(rows: Rows) -> Rows:
    """Rows with missing weights where the target is missing, so that they count in no sum and no mean."""
    name = rows.schema.weight
    return (
        rows.put({name: np.where(np.isnan(rows.target), np.nan, rows.columns[name])}) if name in rows.columns else rows
    )


def counted(rows: Rows) -> Rows:
    """Rows with a missing target where they are masked, and the weight 0 where it is missing."""
    name, target = rows.schema.weight, np.where(rows.masked, np.nan, rows.target)
    weight = {name: np.where(np.isnan(target), 0.0, rows.columns[name])} if name in rows.columns else {}
    return rows.put({rows.schema.target: target} | weight)


def reduced(run: np.ndarray, values: np.ndarray, how: str) -> np.ndarray:
    """Values of the same run number as one: float64 (distinct runs,), NaN where all are missing.

    run: int64 (values,), ascending; how: sum, mean, min or max of what is not missing. Values are added one after the
    other, so that other runs do not change a bit.
    """
    starts = np.flatnonzero(np.diff(run, prepend=-1))
    if how in ("min", "max"):
        return (np.fmin if how == "min" else np.fmax).reduceat(values, starts)
    there = ~np.isnan(values)
    number = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(run)))[there]
    total = np.bincount(number, values[there], len(starts))
    count = np.bincount(number, minlength=len(starts))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total, np.nan) if how == "sum" else total / count
