"""Rows of any source as a stream of Arrow tables in plain types: Parquet in pieces, everything else from memory."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from forecastml.data.sources import CSV_SUFFIXES, PARQUET_SUFFIXES, missing_columns, open_source
from forecastml.errors import DataError
from many_models.columns import joint_schema, plain_table

#: Rows that are handled together.
PIECE = 1 << 17


class Rows(Protocol):
    """Rows of a source. names: all its columns; schema: plain types of those that are read; count: how many rows."""

    @property
    def names(self) -> list[str]: ...

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def count(self) -> int: ...

    def tables(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows in order, these columns (None: all of `schema`), about `PIECE` rows at a time."""
        ...


@dataclass(frozen=True)
class MemoryRows:
    """Rows of a table in memory."""

    names: list[str]
    table: pa.Table
    schema: pa.Schema

    @property
    def count(self) -> int:
        """Rows of the table."""
        return self.table.num_rows

    def tables(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """See `Rows`."""
        schema = chosen(self.schema, names)
        for start in range(0, self.count, PIECE):
            yield plain_table(self.table.slice(start, PIECE), schema)


@dataclass(frozen=True)
class FileRows:
    """Rows of Parquet files.

    root: address of the file or folder; base: its path in the file system; files: paths below `base` ("" for a lone
    file); levels: columns that hive folders tell, with their types; names, schema, count: see `Rows`.
    """

    root: str
    base: str
    files: tuple[str, ...]
    levels: pa.Schema
    names: list[str]
    schema: pa.Schema
    count: int

    def tables(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """See `Rows`."""
        for numbered in self.numbered(names):
            yield pa.concat_tables([table for _, table in numbered])

    def numbered(self, names: Sequence[str] | None = None) -> Iterator[list[tuple[int, pa.Table]]]:
        """As `tables`, each piece with the number of its file; small files come together."""
        filesystem, _ = located(self.root)
        gathered: list[tuple[int, pa.Table]] = []
        rows = 0
        for number, file in enumerate(self.files):
            for table in self.read(filesystem, file, names):
                gathered.append((number, table))
                rows += table.num_rows
                if rows >= PIECE:
                    yield gathered
                    gathered, rows = [], 0
        if gathered:
            yield gathered

    def read(self, filesystem: fs.FileSystem, file: str, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Rows of one of the files; `DataError` naming it when it cannot be read."""
        schema = chosen(self.schema, names)
        told = level_values(self.levels, file)
        path = posixpath.join(self.base, file) if file else self.base
        stored = [name for name in schema.names if name not in told]
        try:
            with filesystem.open_input_file(path) as stream, _parquet(stream) as parquet:
                present = [name for name in stored if name in parquet.schema_arrow.names]
                for batch in parquet.iter_batches(PIECE, columns=present, use_threads=False):
                    table = pa.Table.from_batches([batch]).select(present)
                    for name, value in told.items():
                        if name in schema.names:
                            table = table.append_column(name, pa.repeat(value, batch.num_rows))
                    yield plain_table(table, schema)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError) as failure:
            raise DataError(f"{path} cannot be read: {failure}; put the file back or write it again") from failure


def chosen(schema: pa.Schema, names: Sequence[str] | None) -> pa.Schema:
    """The schema of some columns, all for None."""
    return schema if names is None else pa.schema([schema.field(name) for name in names])


def level_values(levels: pa.Schema, file: str) -> dict[str, pa.Scalar]:
    """What the hive folders of a path tell; null for a level that it lacks."""
    if not len(levels):
        return {}
    import pyarrow.dataset as ds

    told = ds.get_partition_keys(_hive(levels).parse(file))
    return {level.name: pa.scalar(told.get(level.name), level.type) for level in levels}


def _parquet(stream: Any) -> pq.ParquetFile:
    # Reading ahead would keep the whole file in memory until the last row.
    return pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)


@lru_cache(maxsize=16)
def _hive(levels: pa.Schema) -> Any:
    import pyarrow.dataset as ds

    return ds.partitioning(levels, flavor="hive")


def open_rows(source: Any, columns: Sequence[str] | None, texts: Sequence[str], scratch: Path) -> Rows:
    """The rows of a table, path or address, see `source.lay_out`.

    columns: read, None for all; texts: columns read as text where the source leaves a choice; scratch: a folder for a
    copy of a CSV file that is far away.
    """
    if not isinstance(source, str | os.PathLike):
        return _from_memory(source, columns, texts, source)
    root = os.fspath(source)
    filesystem, base = located(root)
    root = root if "://" in root else base
    info = filesystem.get_file_info(base)
    if info.type == fs.FileType.NotFound:
        raise DataError(f"there is no file or folder {root}; check the path")
    suffix = posixpath.splitext(base)[1].lower()
    if info.type == fs.FileType.Directory or suffix in PARQUET_SUFFIXES:
        return _from_files(root, filesystem, base, columns, texts)
    if suffix not in CSV_SUFFIXES:
        known = ", ".join((*CSV_SUFFIXES, *PARQUET_SUFFIXES))
        raise DataError(f"{root} is neither CSV nor Parquet; give one of {known}")
    if isinstance(filesystem, fs.LocalFileSystem):
        return _from_memory(Path(base), columns, texts, source)
    copy = scratch / f"copy{suffix}"
    try:
        fs.copy_files(base, os.fspath(copy), filesystem, fs.LocalFileSystem())
        return _from_memory(copy, columns, texts, source)
    finally:
        copy.unlink(missing_ok=True)


def located(root: str) -> tuple[fs.FileSystem, str]:
    """File system and path of a local path or an address such as s3://bucket/folder; `DataError` if there is none."""
    if "://" not in root:
        return fs.LocalFileSystem(), Path(root).absolute().as_posix()
    place = root.partition("://")[2].partition("/")[0]
    if ":" in place.rpartition("@")[0]:
        # The address is kept in the layout, and named in messages.
        raise DataError("the address of the source holds a password; leave it out and give it by the environment")
    try:
        return fs.FileSystem.from_uri(root)
    except (pa.ArrowException, OSError) as failure:
        raise DataError(f"{root} cannot be opened: {failure}; check the address") from failure


def _from_memory(opened: Any, columns: Sequence[str] | None, texts: Sequence[str], source: Any) -> MemoryRows:
    table = open_source(opened, set(texts))
    wanted = _wanted(table.names, columns, texts, source)
    try:
        arrays = table.read(wanted)
    except UnicodeError as failure:
        raise DataError(f"the table holds text that is no Unicode: {failure}; mend or remove these rows") from failure
    held = pa.table([arrays[name] for name in wanted], names=wanted)
    return MemoryRows(list(table.names), held, joint_schema([("the table", held.schema)], wanted))


def _from_files(
    root: str, filesystem: fs.FileSystem, base: str, columns: Sequence[str] | None, texts: Sequence[str]
) -> FileRows:
    import pyarrow.dataset as ds

    try:
        folder = filesystem.get_file_info(base).type == fs.FileType.Directory
        dataset = ds.dataset(base, filesystem=filesystem, format="parquet", partitioning="hive" if folder else None)
        paths = sorted(dataset.files)
        if not paths:
            raise DataError(f"{root} holds no Parquet file; check the path")
        known: dict[pa.Schema, str] = {}
        count = 0
        for path in paths:
            with filesystem.open_input_file(path) as stream:
                metadata = pq.read_metadata(stream)
                count += metadata.num_rows
                known.setdefault(metadata.schema.to_arrow_schema().remove_metadata(), path)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as failure:
        raise DataError(f"{root} cannot be read as Parquet: {failure}; check or write the file again") from failure
    # Without hive folders Arrow gives the columns of the first file for those of the folders.
    named = {unquote(step.partition("=")[0]) for path in paths for step in path[len(base) :].split("/")[:-1]}
    told = [field for field in dataset.partitioning.schema if field.name in named] if folder else []
    levels = pa.schema([pa.field(f.name, pa.string()) if f.name in texts else f for f in told])
    # What folders tell goes before what the files hold.
    stored = [(path, pa.schema([f for f in schema if f.name not in levels.names])) for schema, path in known.items()]
    names = list(dict.fromkeys([*(name for _, schema in stored for name in schema.names), *levels.names]))
    repeats = [name for _, schema in stored for name in schema.names if schema.names.count(name) > 1]
    wanted = _wanted(names + repeats, columns, texts, root)
    files = tuple(path[len(base) :].lstrip("/") for path in paths)
    rows = FileRows(root, base, files, levels, names, levels, count)
    return replace(rows, schema=joint_schema([*stored, ("its folders", levels)], wanted))


def _wanted(names: list[str], columns: Sequence[str] | None, texts: Sequence[str], source: Any) -> list[str]:
    wanted = list(dict.fromkeys([*names, *texts] if columns is None else columns))
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(missing_columns(missing, names, source))
    repeated = [name for name in wanted if names.count(name) > 1]
    if repeated:
        raise DataError(f"the table has several columns named {repeated[0]!r}; rename all but one")
    return wanted
