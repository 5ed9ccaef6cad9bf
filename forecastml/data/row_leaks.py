"""Features of rows that are the target in other words: told, left out, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecastml.data.checks import Finding, Reading
from forecastml.data.leak_guard import refuse_leaks
from forecastml.data.leaks import LEAST_DISTINCT, LEAST_ROWS, ranks_of
from forecastml.data.table import Table

#: A monotone transform of the target leaves this share of the variance of the ranks at most: ties and roundings.
LEFT = 1e-5
#: Rows that are looked at, evenly spaced.
MOST_ROWS = 20_000


def admitted_rows(reading: Reading, leaks: str) -> Reading:
    """A reading with a finding for each feature that is the target, and without these if `leaks` is "exclude".

    Raises `ConfigError` for them if `leaks` is "error", and when no feature is left.
    """
    table: Table = reading.data
    guilty = row_leaks(table)
    severity = {"warn": "alert", "exclude": "fixed", "error": "error"}[leaks]
    kept = [k for k in range(len(table.schema.known)) if k not in guilty]
    if leaks == "exclude" and not kept:
        severity = "error"
    findings = (*reading.findings, *(_finding(table, k, severity) for k in guilty))
    refuse_leaks(findings)
    if severity != "fixed" or not guilty:
        return replace(reading, findings=findings)
    schema = replace(table.schema, known=tuple(table.schema.known[k] for k in kept))
    return replace(reading, data=replace(table, x=table.x[:, kept], schema=schema), findings=findings)


def row_leaks(table: Table) -> list[int]:
    """Positions of the features that are a monotone transform of a numeric target, or name each class by a number."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), MOST_ROWS)).astype(np.int64))
    y, x = table.y[rows], table.x[rows]
    return [k for k in range(x.shape[1]) if _is_target(y, x[:, k], bool(table.classes))]


def _is_target(y: np.ndarray, x: np.ndarray, classes: bool) -> bool:
    known = ~np.isnan(y) & ~np.isnan(x)
    y, x = y[known], x[known]
    many = len(np.unique(y))
    if len(y) < LEAST_ROWS or many < 2:
        return False
    if classes:
        pairs = len(np.unique(np.column_stack([y, x]), axis=0))
        return pairs == many and len(np.unique(x)) == many
    if len(np.unique(x)) < min(many, LEAST_DISTINCT):
        return False
    # Of series there is one here, and its time does not matter.
    places = ranks_of(np.stack([y, x]))
    places = places - places.mean(axis=1, keepdims=True)
    spread = (places**2).sum(axis=1)
    return bool(1.0 - (places[0] @ places[1]) ** 2 / (spread[0] * spread[1]) <= LEFT)


def _finding(table: Table, column: int, severity: str) -> Finding:
    name, target = table.schema.known[column], table.schema.target
    message, remedy = (
        f"feature {name!r} is {target!r} in other words",
        "leave it out (leaks=): scores with it mean nothing",
    )
    if severity == "fixed":
        message, remedy = f"{message}; it is left out", ""
    return Finding("leak", severity, message, "", name, 1, remedy)
