"""A source laid out by group, so that a worker opens only the rows of its batch.

A folder of Parquet files whose hive folders are the partition columns stays as it is. Everything else is rewritten
once, in pieces, into buckets of groups:

groups.parquet                       the index, written last: key, rows, content and place of every group
rows-<random>/bucket-NNNNN.parquet   rows sorted by group, one row group for each batch
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forecastml.errors import ConfigError, DataError
from many_models.buckets import Listing, Span, buckets, pieces, write_bucket
from many_models.columns import holds_fractions, key_text, keyed
from many_models.errors import CorruptStoreError, StoreError, StoreFull
from many_models.group_index import IndexWriter, read_about, sync_folder
from many_models.layout import Layout, Total, described, open_layout
from many_models.partition import PartitionSettings, cuts
from many_models.protocols import digest_of
from many_models.row_hashes import group_hashes, row_hashes
from many_models.streams import FileRows, Rows, level_values, open_rows

__all__ = ["Layout", "Total", "lay_out", "open_layout"]

_BUCKETS = "rows-"
#: What is sorted in memory at once, and what a cell is taken to need.
_BUCKET_BYTES, _TEXT_BYTES, _CELL_BYTES = 128 << 20, 32, 8
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def lay_out(
    source: Any,
    by: str | Sequence[str],
    columns: Sequence[str] | None,
    folder: str | Path,
    settings: PartitionSettings | None = None,
    keys: Sequence[str] = (),
) -> Layout:
    """Bring the rows of each group together in `folder`, once; a layout that is there already is replaced at the end.

    source: pandas, polars or Arrow table, path of a CSV file, a Parquet file or a (hive-partitioned) folder of Parquet
    files, or the address of one in another file system (s3://bucket/folder); by: partition columns, read as text;
    columns: read beside them, None for all; keys: columns among these that are keys too, such as those of the series:
    they are text, "001" is not 1. Parquet is read in pieces, so memory does not grow with the source. Raises
    `DataError` for a source that cannot be used, `StoreFull` when the disk of `folder` is full.
    """
    by = (by,) if isinstance(by, str) else tuple(by)
    if not by or len(set(by)) < len(by):
        raise ConfigError(f"the partition columns are {by!r}; name one or more, each once")
    texts = tuple(dict.fromkeys((*by, *keys)))
    if columns is not None:
        columns = (*(name for name in texts if name not in columns), *dict.fromkeys(columns))
    folder = Path(folder).absolute()
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, _current(folder))
        work = Path(tempfile.mkdtemp(prefix=_BUCKETS, dir=folder))
        try:
            _write(_Plan(source, by, columns, texts, folder, work, settings or PartitionSettings()))
        finally:
            # The rows of an older layout, or those of this one when it was not finished.
            _sweep(folder, _current(folder))
    layout = open_layout(folder)
    if layout is None:
        raise CorruptStoreError(f"the index of {folder} is gone; was the folder removed while it was written?")
    return layout


@dataclass(frozen=True)
class _Plan:
    source: Any
    by: tuple[str, ...]
    columns: tuple[str, ...] | None
    texts: tuple[str, ...]
    folder: Path
    work: Path
    settings: PartitionSettings


def _write(plan: _Plan) -> None:
    wanted = None if plan.columns is None else list(plan.columns)
    rows = open_rows(plan.source, wanted, plan.texts, plan.work)
    if rows.count == 0:
        raise DataError("the table has no rows; give some")
    fractions = _fractional(rows, plan.texts)
    layout = Layout(
        str(plan.folder),
        plan.by,
        tuple(rows.schema.names),
        Total(0, 0),
        plan.settings,
        plan.texts,
        fractions,
        rows.schema.serialize().to_pybytes(),
        plan.work.name,
        True,
    )
    with IndexWriter(plan.folder) as index:
        if isinstance(rows, FileRows) and _stays(rows, plan.by):
            layout = replace(layout, place=rows.root, rewritten=False)
            for listing in _listings(rows, layout):
                index.add(listing)
        else:
            tables = _keyed_tables(rows, layout)
            schema = keyed(rows.schema.empty_table(), plan.texts, fractions).schema
            layout = replace(layout, schema=schema.serialize().to_pybytes())
            fitting = _fitting(plan.settings, schema)
            for number, table in enumerate(buckets(tables, rows.count, plan.by, plan.work, fitting)):
                index.add(write_bucket(table, plan.by, plan.work / f"bucket-{number:05d}.parquet", plan.settings))
            os.chmod(plan.work, 0o755)
            sync_folder(plan.work)
        if not index.groups:
            raise DataError("the table has no rows; give some")
        index.finish(dict(described(layout)))


def _fitting(settings: PartitionSettings, schema: pa.Schema) -> PartitionSettings:
    """Smaller buckets for wide rows; by their columns alone, so that the same rows always make the same buckets."""
    width = sum(_TEXT_BYTES if pa.types.is_large_string(field.type) else _CELL_BYTES for field in schema)
    return replace(settings, bucket=max(min(settings.bucket, _BUCKET_BYTES // width), 1))


def _fractional(rows: Rows, texts: Sequence[str]) -> tuple[str, ...]:
    """Key columns of floats that are not all whole: one look at the whole column decides how its keys are written."""
    floats = [name for name in texts if pa.types.is_floating(rows.schema.field(name).type)]
    found: set[str] = set()
    for table in rows.tables(floats) if floats else ():
        found |= {name for name in floats if name not in found and holds_fractions(table.column(name))}
    return tuple(name for name in floats if name in found)


def _keyed_tables(rows: Rows, layout: Layout) -> Iterator[pa.Table]:
    for table in rows.tables():
        table = keyed(table, layout.texts, layout.fractions)
        if any(table.column(name).null_count for name in layout.by):
            raise _no_key(rows, layout)
        yield table


def _no_key(rows: Rows, layout: Layout) -> DataError:
    missing = dict.fromkeys(layout.by, 0)
    for table in rows.tables(layout.by):
        for name in layout.by:
            missing[name] += key_text(name, table.column(name), name in layout.fractions).null_count
    named = ", ".join(f"{name!r} is empty in {count} of {rows.count} rows" for name, count in missing.items() if count)
    return DataError(f"partition column {named}; give every row a key or remove them")


def _stays(rows: FileRows, by: Sequence[str]) -> bool:
    """Whether each file holds rows of one group, told by its folders."""
    if set(rows.levels.names) != set(by):
        return False
    return all(value.is_valid for file in rows.files for value in level_values(rows.levels, file).values())


def _listings(rows: FileRows, layout: Layout) -> Iterator[Listing]:
    """The groups of a source that stays as it is, bucket by bucket; its rows are read once for their content."""
    told = [level_values(rows.levels, file) for file in rows.files]
    digests = [digest_of([values[name].as_py() for name in layout.by]) for values in told]
    keys = {
        digest: tuple(values[name].as_py() for name in layout.by) for digest, values in zip(digests, told, strict=True)
    }
    names = sorted(keys)
    place_of = {digest: place for place, digest in enumerate(names)}
    group = np.array([place_of[digest] for digest in digests], np.int64)
    parts: list[list[str]] = [[] for _ in names]
    for place, file in zip(group.tolist(), rows.files, strict=True):
        parts[place].append(file)
    size, content = np.zeros(len(names), np.int64), np.zeros((len(names), 2), np.uint64)
    for numbered in rows.numbered():
        numbered = [(number, table) for number, table in numbered if table.num_rows]
        if numbered:
            table = keyed(pa.concat_tables([table for _, table in numbered]), layout.texts, layout.fractions)
            count = np.array([table.num_rows for _, table in numbered])
            place = group[[number for number, _ in numbered]]
            np.add.at(size, place, count)
            hashes = row_hashes(table.drop_columns(list(layout.by)))
            np.add.at(content, place, group_hashes(hashes, np.cumsum(count) - count))
    divisions = pieces(rows.count, layout.settings)
    bucket = Span().places(names, divisions)
    for division in range(divisions):
        chosen = np.flatnonzero((bucket == division) & (size > 0)).tolist()
        if chosen:
            yield Listing(
                [names[i] for i in chosen],
                [keys[names[i]] for i in chosen],
                size[chosen],
                content[chosen],
                cuts(size[chosen], layout.settings)[:-1],
                [tuple(parts[i]) for i in chosen],
            )


def _current(folder: Path) -> str | None:
    """Name of the folder that the finished layout has its rows in."""
    try:
        about = read_about(folder)
    except CorruptStoreError:
        return None
    return about["place"] if about and about.get("rewritten") else None


def _sweep(folder: Path, keep: str | None) -> None:
    for path in folder.glob(f"{_BUCKETS}*"):
        if path.name != keep and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What goes wrong on the way, as errors for the user."""
    try:
        yield
    except MemoryError:
        raise
    except UnicodeError as failure:
        raise DataError(f"the table holds text that is no Unicode: {failure}; mend or remove these rows") from failure
    except pa.ArrowException as failure:
        raise DataError(f"the table cannot be read: {failure}; mend or write it again") from failure
    except OSError as failure:
        if failure.errno in _FULL:
            raise StoreFull(f"the disk of {folder} is full: {failure}; make room and begin again") from failure
        raise StoreError(f"{folder} cannot be written: {failure}; check the folder and its permissions") from failure
