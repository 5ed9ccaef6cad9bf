"""Tables written in pieces to CSV or Parquet: memory holds a piece, and a reader never sees half a file."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from forecastml.errors import ConfigError, DataError

SUFFIXES = (".csv", ".parquet")
#: Text that a spreadsheet would run, and text that it takes for a number, which does no harm.
_FORMULA = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-](\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


class Export:
    """A table on its way to a file; `with Export(path) as export: export.write(table)`.

    The file is there, whole, when it is left without an error; one that was there before is replaced then. In a CSV
    file a text that a spreadsheet would run as a formula gets a ' before it; Parquet keeps every text as it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = checked_path(path)
        self.rows = 0
        self._beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self._file = self._beside.open("wb")
        self._parquet: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None

    def __enter__(self) -> Export:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._parquet is not None:
                self._parquet.close()
            if kind is None and self._schema is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                os.replace(self._beside, self.path)
        finally:
            self._file.close()
            self._beside.unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Add rows; the first table tells the columns and their types, `DataError` when a later one has others."""
        table = table.replace_schema_metadata(None)
        first = self._schema is None
        self._schema = table.schema if first else self._schema
        table = fitting(table, self._schema)
        if self.path.suffix == ".csv":
            csv.write_csv(escaped(dated(table)), self._file, csv.WriteOptions(include_header=first))
        else:
            self._parquet = self._parquet or pq.ParquetWriter(self._file, table.schema, compression="zstd")
            self._parquet.write_table(table)
        self.rows += table.num_rows


def checked_path(path: str | Path) -> Path:
    """A path of a table that can be written, or `ConfigError`, before time is spent on the table."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path} must end in {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist; make it first")
    return path


def fitting(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of `schema` in its types; `DataError` where it has others."""
    if table.schema.equals(schema):
        return table
    if set(table.column_names) != set(schema.names):
        raise DataError(
            f"some groups have the columns {', '.join(table.column_names)}, others {', '.join(schema.names)}; ask for "
            "them apart"
        )
    try:
        return table.select(schema.names).cast(schema)
    except pa.ArrowException as failure:
        raise DataError(f"groups differ in the type of a column ({failure}); ask for them apart") from failure


def dated(table: pa.Table) -> pa.Table:
    """The table with its times as text, no finer than they are: a month is 2024-01-01, not 2024-01-01 00:00:00.000."""
    columns = [_shown(column) if pa.types.is_timestamp(column.type) else column for column in table.columns]
    return pa.table(columns, names=table.column_names)


def escaped(table: pa.Table) -> pa.Table:
    """The table with a ' before every text, and every name of a column, that a spreadsheet would run as a formula."""
    columns = [_without_formulas(column) if _is_text(column.type) else column for column in table.columns]
    names = pa.chunked_array([pa.array(table.column_names, pa.string())])
    return pa.table(columns, names=_without_formulas(names).to_pylist())


def _shown(column: pa.ChunkedArray) -> pa.ChunkedArray:
    def whole(unit: str) -> bool:
        return pc.all(pc.equal(pc.floor_temporal(column, unit=unit), column)).as_py() is not False

    zone = column.type.tz
    if zone is None and whole("day"):
        return pc.strftime(column.cast(pa.timestamp("s")), format="%Y-%m-%d")
    if whole("second"):
        column = column.cast(pa.timestamp("s", zone))
    return pc.strftime(column, format="%Y-%m-%d %H:%M:%S" + ("" if zone is None else "%z"))


def _without_formulas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    column = column.cast(pa.large_string())
    harmful = pc.and_(pc.match_substring_regex(column, _FORMULA), pc.invert(pc.match_substring_regex(column, _NUMBER)))
    if not pc.any(harmful).as_py():
        return column
    marked = pc.binary_join_element_wise(pa.scalar("'", pa.large_string()), column, pa.scalar("", pa.large_string()))
    return pc.if_else(harmful, marked, column)


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)
