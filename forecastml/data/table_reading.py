"""Tables of rows, as classification and regression read them, into a `Table`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecastml.data.checks import Finding, Reading
from forecastml.data.columns import distinct_keys, is_text, key_codes, numbers
from forecastml.data.schema import Schema
from forecastml.data.sources import missing_columns, open_source
from forecastml.data.table import RowColumns, Table
from forecastml.errors import DataError

#: Texts of the two truth values, in order.
_TRUTH = ("False", "True")
#: A whole number as it is usually written: "01" is text.
_WHOLE = re.compile(r"-?(0|[1-9]\d*)")
#: The column of predictions, beside one per class.
PREDICTION = "prediction"


def read_table(source: Any, columns: RowColumns, like: Table | None = None) -> Reading:
    """Read rows to learn from, and say what was mended or looks wrong.

    source: as for `read_panel`. like: a table whose columns and classes apply. Rows are sorted by their content, and
    those without a target are left out. Raises `DataError` for columns that are missing or not numeric, and for a
    target without values or with one class.
    """
    table, findings = _read(source, columns, like, required=True)
    table = _learnable(table, findings, alone=like is None)
    return Reading(table, tuple(findings), np.empty((0, len(columns.group)), dtype=object))


def read_rows(source: Any, columns: RowColumns, like: Table, judged: bool = False) -> Table:
    """Read rows to predict, in their order; like: the table that the model learned from.

    The target is not looked at (NaN then), unless judged: it has to be there then. Raises `DataError` for columns that
    are missing or not numeric, and for groups that `like` does not have.
    """
    table, _ = _read(source, columns, like, required=judged)
    place = {tuple(key): i for i, key in enumerate(like.group_keys)}
    strangers = [key for key in table.group_keys if tuple(key) not in place]
    if strangers:
        named = ", ".join(f"{column}={text}" for column, text in zip(like.schema.group, strangers[0], strict=True))
        raise DataError(f"{len(strangers)} groups were not in the training data, first {named}; remove their rows")
    number = np.array([place[tuple(key)] for key in table.group_keys], dtype=np.int64)
    return replace(table, group=number[table.group], group_keys=like.group_keys)


def _read(source: Any, columns: RowColumns, like: Table | None, required: bool) -> tuple[Table, list[Finding]]:
    """The rows as they are; `required`: target and weight must be there."""
    labels = {columns.target} if columns.labels else set()
    opened = open_source(source, {*columns.group, *labels})
    schema = columns.schema(list(opened.names)) if like is None else like.schema
    optional = () if required else (schema.target, schema.weight)
    missing = [name for name in schema.columns if name not in opened.names and name not in optional]
    if missing:
        raise DataError(missing_columns(missing, opened.names, source))
    table = opened.read(
        [name for name in schema.columns if name in opened.names and (required or name not in optional)]
    )
    rows = len(next(iter(table.values())))
    if not rows:
        raise DataError("the table has no rows")
    x, findings = _features(table, schema)
    classes, kind = (like.classes, like.kind) if like is not None else ((), "")
    if not required:
        y = np.full(rows, np.nan)
    elif columns.labels:
        written = isinstance(source, str | os.PathLike)
        classes, kind, y = _labels(schema.target, table[schema.target], (classes, kind), written)
    else:
        y = _numbers(schema.target, table[schema.target])
    weight = _weight(schema.weight, table) if schema.weight in table else None
    codes = {name: key_codes(name, table[name]) for name in schema.group}
    for name, (code, _) in codes.items():
        if (code < 0).any():
            raise DataError(f"group column {name!r} is empty in {(code < 0).sum()} rows; give every row a group")
    group, keys = distinct_keys(list(codes.values()), rows)
    return Table(x, y, group, keys, schema, weight, classes, kind), findings


def _features(table: dict[str, pa.Array], schema: Schema) -> tuple[np.ndarray, list[Finding]]:
    unusable = [name for name in schema.known if is_text(table[name]) or pa.types.is_temporal(table[name].type)]
    if unusable:
        named = ", ".join(map(repr, unusable[:5]))
        kind = "text" if is_text(table[unusable[0]]) else str(table[unusable[0]].type)
        raise DataError(
            f"columns {named} hold {kind}, not numbers; encode them as numbers, or name the columns to use as features"
        )
    x = np.column_stack([_numbers(name, table[name]) for name in schema.known])
    findings = []
    infinite, missing = np.isinf(x), np.isnan(x)
    for name, many in zip(schema.known, infinite.sum(axis=0), strict=True):
        if many:
            message = f"column {name!r} has {many} infinite values, taken as missing"
            findings.append(Finding("infinite", "alert", message, "", name, int(many), "correct or clear them"))
    if missing.any():
        named = ", ".join(repr(name) for name, there in zip(schema.known, missing.any(axis=0), strict=True) if there)
        message = f"{missing.sum()} cells are empty, in the columns {named}"
        remedy = "fill them in; learners take the mean, or what other rows without a value had"
        findings.append(Finding("missing_features", "alert", message, count=int(missing.sum()), remedy=remedy))
    return np.where(infinite, np.nan, x), findings


def _numbers(name: str, array: pa.Array) -> np.ndarray:
    values, bad = numbers(array)
    if bad is None:
        return values
    what = bad.kind or f"text ({bad.texts[0]!r} in row {bad.rows[0]})"
    raise DataError(f"column {name!r} holds {what}, not numbers, in {len(bad.rows)} rows; correct or clear these cells")


def _labels(
    name: str, array: pa.Array, known: tuple[tuple[str, ...], str], written: bool
) -> tuple[tuple[str, ...], str, np.ndarray]:
    """The classes in order, what they were, and the position of each row's class (NaN: none).

    known: the classes and their kind, empty when they are to be found; written: the text is that of a file, in which
    whole numbers cannot be told from text otherwise.
    """
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    kind = "text"
    if pa.types.is_boolean(array.type):
        kind, texts = "bool", pc.if_else(array, *reversed(_TRUTH))
    elif pa.types.is_integer(array.type):
        kind, texts = "int", array.cast(pa.string())
    elif pa.types.is_floating(array.type):
        given = np.array(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
        whole = np.isnan(given) | (given == np.trunc(given))
        # What some rows look like must not decide how the labels of all are written.
        kind = known[1] or ("int" if whole.all() else "float")
        short = whole if kind == "int" else np.zeros(len(given), dtype=bool)
        written_as = zip(given, short, strict=True)
        texts = pa.array([None if np.isnan(v) else str(int(v) if s else float(v)) for v, s in written_as], pa.string())
    elif is_text(array) or pa.types.is_null(array.type):
        texts = array.cast(pa.string())
    else:
        raise DataError(f"target column {name!r} holds {array.type}, not labels; convert it to text")
    classes, known_kind = known
    distinct = [text for text in pc.unique(texts).to_pylist() if text]
    if kind == "text" and written and distinct and all(_WHOLE.fullmatch(text) for text in distinct):
        kind = "int"
    if not classes:
        numeric = {"int": int, "float": float}.get(kind, str)
        classes, known_kind = tuple(sorted(distinct, key=numeric)), kind
        if PREDICTION in classes:
            raise DataError(f"a class of {name!r} is named {PREDICTION!r}, as a column of the result is; rename it")
    elif strange := [text for text in distinct if text not in classes]:
        raise DataError(f"class {strange[0]!r} in column {name!r} is not one of those prepared: {', '.join(classes)}")
    place = {text: float(i) for i, text in enumerate(classes)}
    return classes, known_kind, np.array([place.get(text, np.nan) for text in texts.to_pylist()])


def _weight(name: str, table: dict[str, pa.Array]) -> np.ndarray:
    weight = _numbers(name, table[name])
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        where = f"in {len(wrong)} rows, first row {wrong[0]}"
        raise DataError(f"weight {name!r} is negative or missing {where}; give 0 or more")
    if not weight.any():
        raise DataError(f"weight {name!r} is 0 in every row, so that nothing counts; give weights above 0")
    return weight


def _learnable(table: Table, findings: list[Finding], alone: bool) -> Table:
    """The rows with a target in canonical order; those left out are told among `findings`. `DataError` for nothing, if
    there is nothing else to learn from."""
    name = table.schema.target
    infinite = np.isinf(table.y)
    without = int((np.isnan(table.y) | infinite).sum())
    if alone and without == len(table):
        raise DataError(f"target column {name!r} holds no value; check the target column")
    if without:
        message = f"{without} rows have no value in target column {name!r} and are left out"
        findings.append(Finding("no_target", "fixed", message, "", name, without, "give values, or remove the rows"))
    table = table.select(np.flatnonzero(~(np.isnan(table.y) | infinite))).in_order()
    if alone and len(table) < 2:
        raise DataError(f"only {len(table)} row has a value in target column {name!r}; give two or more")
    if table.kind and len(table.classes) < 2:
        raise DataError(f"target column {name!r} has one class only, {table.classes[0]!r}; give rows of two or more")
    return table
