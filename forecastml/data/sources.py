"""Where tables come from: pandas, polars and Arrow tables, CSV and Parquet files, as columns of Arrow arrays."""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from forecastml.data.columns import flat, is_text
from forecastml.errors import DataError

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
#: A longer first line is not one of column names.
_HEADER_LIMIT = 1 << 22

Columns = dict[str, pa.Array]


@dataclass(frozen=True)
class Source:
    """A table not yet read: its column names, and a function that reads some of them."""

    names: list[str]
    reader: Callable[[list[str]], Columns]

    def read(self, names: Sequence[str]) -> Columns:
        """These columns, one array each; `DataError` when they cannot be read."""
        try:
            return self.reader(list(names))
        except (pa.ArrowException, UnicodeDecodeError) as failure:
            raise DataError(f"the table cannot be read: {failure}; mend or write it again") from failure


def open_source(source: Any, keys: set[str]) -> Source:
    """A table by its names, where `keys` are columns that must be read as text; `DataError` for what is no table."""
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source), keys)
    import narwhals as nw

    try:
        frame = nw.from_native(source)
        columns = {str(name): name for name in frame.collect_schema().names()}
    except (TypeError, nw.exceptions.NarwhalsError) as failure:
        raise DataError(
            f"cannot read a table from {type(source).__name__}: {failure}; give a pandas, polars or Arrow table "
            "with distinct column names, or a path"
        ) from failure

    def read(names: list[str]) -> Columns:
        eager = frame
        if isinstance(frame, nw.LazyFrame):
            eager = frame.select(nw.col(*(columns[name] for name in names))).collect("pyarrow")
        return {name: _arrow(eager.get_column(columns[name])) for name in names}

    return Source(list(columns), read)


def missing_columns(missing: list[str], names: list[str], source: Any) -> str:
    """What to say of columns that a table lacks, with a guess at what was meant."""
    few = ", ".join(map(repr, names[:30])) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    message = f"{', '.join(map(repr, missing))} not found; the table has the columns {few}"
    close = difflib.get_close_matches(missing[0], names, n=1)
    if close:
        message += f"; did you mean {close[0]!r}?"
    if missing[0] in (getattr(getattr(source, "index", None), "names", None) or ()):
        message += f"; {missing[0]!r} is in the index: call reset_index() first"
    return message


def _arrow(column: Any) -> pa.Array:
    try:
        return flat(column.to_arrow())
    except pa.ArrowException:
        # Objects of several types have no Arrow type: as text they are keys, or the bad value that a message names.
        texts = (str(value) for value in column.to_list())
        return pa.array([None if text in ("None", "nan", "<NA>", "NaT") else text for text in texts], pa.string())


def _open_path(path: Path, keys: set[str]) -> Source:
    if not path.exists():
        raise DataError(f"there is no file or folder {path}; check the path")
    if path.is_dir() or path.suffix.lower() in PARQUET_SUFFIXES:
        return _open_parquet(path, keys)
    if path.suffix.lower() in CSV_SUFFIXES:
        return _open_csv(path, keys)
    raise DataError(f"{path} is neither CSV nor Parquet; give one of {', '.join(CSV_SUFFIXES + PARQUET_SUFFIXES)}")


def _open_csv(path: Path, keys: set[str]) -> Source:
    from pyarrow import csv as arrow_csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline(_HEADER_LIMIT)
    except UnicodeDecodeError as failure:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8") from failure
    if len(header) == _HEADER_LIMIT:
        raise DataError(f"the first line of {path} is longer than {_HEADER_LIMIT:,} characters; name the columns there")
    delimiter = max(",;\t", key=header.count)
    try:
        names = next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error as failure:
        raise DataError(f"the first line of {path} cannot be read: {failure}; name the columns there") from failure

    def parsed(wanted: list[str], texts: set[str]) -> pa.Table:
        return arrow_csv.read_csv(
            path,
            # One block, so that the type of a column is inferred from all of its rows.
            read_options=arrow_csv.ReadOptions(block_size=min(max(path.stat().st_size, 1 << 20), 1 << 30)),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=wanted, column_types={name: pa.string() for name in texts}
            ),
        )

    def read(wanted: list[str]) -> Columns:
        table = parsed(wanted, keys)
        # Times with an offset are brought to UTC, which offsets they had is lost: they are needed as text.
        for field in table.schema:
            if getattr(field.type, "tz", None):
                column = parsed([field.name], {field.name}).column(0)
                table = table.set_column(table.schema.get_field_index(field.name), field.name, column)
        columns = {name: flat(table.column(name)) for name in wanted}
        empty = pa.scalar(None, pa.string())
        return {
            name: pc.if_else(pc.equal(column, ""), empty, column) if is_text(column) else column
            for name, column in columns.items()
        }

    return Source(names, read)


def _open_parquet(path: Path, keys: set[str]) -> Source:
    import pyarrow.dataset as ds

    try:
        dataset = ds.dataset(path, format="parquet", partitioning="hive")
        files = [fragment.physical_schema for fragment in dataset.get_fragments()]
        if not files:
            raise DataError(f"{path} holds no Parquet file; check the path")
        fields = {field.name: field for field in pa.unify_schemas(files, promote_options="permissive")}
        levels = _levels(path, dataset)
        levels = pa.schema([pa.field(f.name, pa.string()) if f.name in keys else f for f in levels])
        fields |= {level.name: level for level in levels}
        dataset = ds.dataset(
            path, pa.schema(fields.values()), format="parquet", partitioning=ds.partitioning(levels, flavor="hive")
        )
    except (pa.ArrowException, OSError) as failure:
        raise DataError(f"{path} cannot be read as Parquet: {failure}; check or write the file again") from failure

    def read(wanted: list[str]) -> Columns:
        table = dataset.to_table(columns=wanted)
        return {name: flat(table.column(name)) for name in wanted}

    return Source(list(fields), read)


def _levels(path: Path, dataset: Any) -> list[pa.Field]:
    """Columns that the names of folders below `path` tell.

    Without such folders Arrow gives the columns of the first file for them, whose types may be narrower than others'.
    """
    if not path.is_dir():
        return []
    below = (Path(file).relative_to(path).parts[:-1] for file in dataset.files)
    named = {unquote(step.partition("=")[0]) for steps in below for step in steps}
    return [field for field in dataset.partitioning.schema if field.name in named]
