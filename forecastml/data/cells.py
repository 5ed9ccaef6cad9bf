"""Cells of a table to numbers and codes, and what is said of those that hold something else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.data.checks import Finding
from forecastml.data.columns import BadCells, category_codes, is_text, mixed_numbers, numbers, switches
from forecastml.data.panel import Panel
from forecastml.data.rows import key_label, named
from forecastml.data.schema import Schema
from forecastml.data.sources import Columns


@dataclass(frozen=True, eq=False)
class Identity:
    """Which series each row belongs to, and the rows' numbers in the table, as messages name them.

    keys: object (series, key columns); series, numbers: int64 (rows,).
    """

    columns: tuple[str, ...]
    keys: np.ndarray
    series: np.ndarray
    numbers: np.ndarray

    def label(self, row: int) -> str:
        """The series of a row as `id=b`."""
        return key_label(self.columns, self.keys[self.series[row]])

    def only(self, rows: np.ndarray) -> str:
        """The series that these rows belong to when it is one, else ""."""
        own = self.series[rows]
        return self.label(rows[0]) if (own == own[0]).all() else ""

    def named(self, rows: np.ndarray) -> str:
        """The first five series of these rows, "" when it is one."""
        return "" if self.only(rows) else f" in {named(self.columns, self.keys, self.series[rows])}"


def column_values(
    table: Columns, schema: Schema, like: Panel | None, identity: Identity
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]], list[Finding]]:
    """Target, covariates, weight and mask as float64 (rows,), the categories of codes, and cells that are no number."""
    rows, findings = len(identity.series), []
    columns: dict[str, np.ndarray] = {}
    categories = {} if like is None else dict(like.categories)
    covariates = (*schema.known, *schema.past, *schema.static)
    for name in (schema.target, *covariates, *(n for n in (schema.weight, schema.mask) if n in table)):
        bad, severity = None, "error"
        if name not in table:
            columns[name] = np.full(rows, -1.0 if name in categories else np.nan)
        elif name == schema.mask:
            columns[name], bad = switches(table[name])
        elif name in categories or (like is None and name in covariates and is_text(table[name])):
            bad, severity = mixed_numbers(table[name]), "alert"
            columns[name], categories[name] = category_codes(table[name], categories.get(name))
        else:
            columns[name], bad = numbers(table[name])
        if bad is not None and len(bad.rows):
            findings.append(_no_numbers(name, bad, identity, severity, name == schema.mask))
    return columns, categories, findings


def _no_numbers(name: str, bad: BadCells, identity: Identity, severity: str, switch: bool) -> Finding:
    """A finding about cells of a column that hold no number (a switch: neither true nor false)."""
    remedy = "a number is needed: correct or clear these cells"
    if bad.kind:
        message, remedy = f"column {name!r} holds {bad.kind}, not numbers", "convert it or leave it out"
    else:
        kind = "other values" if switch else "text"
        first = f"{bad.texts[0]!r} ({identity.label(bad.rows[0])}, row {identity.numbers[bad.rows[0]]})"
        first += "".join(f", {text!r}" for text in bad.texts[1:])
        message = f"column {name!r} holds {kind} in {len(bad.rows)} rows, first {first}{identity.named(bad.rows)}"
    if bad.commas:
        remedy = "these are decimal commas: write numbers with a point, as 1.5"
    if severity == "alert":
        message += "; all of it was taken as categories"
    if switch:
        remedy = "a mask is true or false, or 1 or 0"
    return Finding("text_in_numbers", severity, message, identity.only(bad.rows), name, len(bad.rows), remedy)
