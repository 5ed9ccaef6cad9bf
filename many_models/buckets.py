"""Rows brought together by group: spilled to disk by ranges of the digests, then sorted one bucket at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from many_models.columns import Key, distinct_keys
from many_models.partition import PartitionSettings, cuts
from many_models.protocols import digest_of
from many_models.row_hashes import group_hashes, row_hashes

#: Files that rows are spilled to at once, and how often a bucket that is too large is spilled again.
_FAN_OUT, _DEPTH = 128, 3
#: Bytes of rows that are divided together (the more, the less often a key is hashed again), and that wait in memory
#: for their turn to be spilled.
_DIVIDED, _HELD = 32 << 20, 64 << 20
#: Rows of a row group at most, in Parquet as Arrow writes it.
_ROW_GROUP = 1 << 26


@dataclass(frozen=True, eq=False)
class Listing:
    """The groups of one bucket in the order of their digests.

    rows: int64 (groups,); content: uint64 (groups, 2); starts: first group of each batch; parts: of each group.
    """

    digests: list[str]
    keys: list[Key]
    rows: np.ndarray
    content: np.ndarray
    starts: np.ndarray
    parts: list[tuple[str, ...]]


@dataclass(frozen=True)
class Span:
    """Digests whose first 64 bits lie from `low` on and below `high`."""

    low: int = 0
    high: int = 1 << 64

    def width(self, pieces: int) -> int:
        """Size of each of so many pieces."""
        return -(-(self.high - self.low) // pieces)

    def places(self, digests: Sequence[str], pieces: int) -> np.ndarray:
        """In which piece each digest lies: int64 (digests,)."""
        if pieces == 1:
            return np.zeros(len(digests), np.int64)
        first = np.frombuffer(bytes.fromhex("".join(digests)), ">u8")[::2].astype(np.uint64)
        return ((first - np.uint64(self.low)) // np.uint64(self.width(pieces))).astype(np.int64)

    def piece(self, place: int, pieces: int) -> Span:
        """One of its pieces."""
        width = self.width(pieces)
        return Span(self.low + place * width, min(self.low + (place + 1) * width, self.high))


def pieces(count: int, settings: PartitionSettings) -> int:
    """Into how many buckets so many rows are divided at first."""
    return max(min(-(-count // settings.bucket), _FAN_OUT), 1)


def gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, in larger tables."""
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size >= _DIVIDED:
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def buckets(
    tables: Iterable[pa.Table], count: int, by: Sequence[str], scratch: Path, settings: PartitionSettings
) -> Iterator[pa.Table]:
    """The rows in buckets, a group in one bucket with its rows in order; buckets rise in the digests of their groups.

    count: rows; by: key columns, text; scratch: a folder for what is spilled. A bucket holds up to twice
    `settings.bucket` rows, or one group.
    """
    yield from _divided(tables, count, Span(), tuple(by), _Spill(scratch, settings, 0))


@dataclass(frozen=True)
class _Spill:
    scratch: Path
    settings: PartitionSettings
    depth: int

    def path(self, place: int) -> Path:
        return self.scratch / f"spill-{self.depth}-{place}"


def _divided(
    tables: Iterable[pa.Table], count: int, span: Span, by: tuple[str, ...], spill: _Spill
) -> Iterator[pa.Table]:
    divisions = pieces(count, spill.settings)
    again = spill.depth > 0
    if divisions == 1 or (again and count <= 2 * spill.settings.bucket) or spill.depth == _DEPTH:
        held = list(tables)
        if held:
            yield pa.concat_tables(held)
        return
    rows = _spilled(gathered(tables), span, divisions, by, spill)
    deeper = _Spill(spill.scratch, spill.settings, spill.depth + 1)
    for place in np.flatnonzero(rows).tolist():
        yield from _divided(_unspilled(spill.path(place)), int(rows[place]), span.piece(place, divisions), by, deeper)


def _spilled(tables: Iterable[pa.Table], span: Span, divisions: int, by: Sequence[str], spill: _Spill) -> np.ndarray:
    """Rows of each file that the tables were spilled to."""
    rows = np.zeros(divisions, np.int64)
    held: list[tuple[pa.Table, np.ndarray]] = []
    size = 0
    for table in tables:
        number, keys = distinct_keys([table.column(name) for name in by])
        # Sorting numbers of two bytes takes time in proportion to their count.
        place = span.places([digest_of(key) for key in keys], divisions).astype(np.int16)[number]
        bounds = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=divisions))])
        held.append((table.combine_chunks().take(pa.array(np.argsort(place, kind="stable"))), bounds))
        rows += np.diff(bounds)
        size += held[-1][0].nbytes
        if size > _HELD:
            _append(held, spill)
            held, size = [], 0
    _append(held, spill)
    return rows


def _append(held: list[tuple[pa.Table, np.ndarray]], spill: _Spill) -> None:
    """Write what waits, each division as one more stream at the end of its file: no file stays open."""
    options = pa.ipc.IpcWriteOptions(compression="lz4" if pa.Codec.is_available("lz4") else None)
    for place in range(len(held[0][1]) - 1 if held else 0):
        parts = [table.slice(bounds[place], bounds[place + 1] - bounds[place]) for table, bounds in held]
        table = pa.concat_tables(part for part in parts if part.num_rows) if any(map(len, parts)) else None
        if table is not None:
            with (
                open(spill.path(place), "ab") as file,
                pa.ipc.new_stream(file, table.schema, options=options) as stream,
            ):
                stream.write_table(table.combine_chunks())


def _unspilled(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(os.fspath(path)) as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as stream:
                yield stream.read_all()
    path.unlink()


def sync_file(path: Path) -> None:
    """Bring a file that was written to disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_bucket(table: pa.Table, by: Sequence[str], path: Path, settings: PartitionSettings) -> Listing:
    """Sort the rows by group and write them as Parquet, a row group for each batch; the file is on disk thereafter."""
    number, keys = distinct_keys([table.column(name) for name in by])
    digests = [digest_of(key) for key in keys]
    order = sorted(range(len(keys)), key=digests.__getitem__)
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys))
    place = rank[number]
    rows = np.bincount(place, minlength=len(keys))
    begin = np.concatenate([[0], np.cumsum(rows)])
    table = table.combine_chunks().take(pa.array(np.argsort(place, kind="stable")))
    content = group_hashes(row_hashes(table.drop_columns(list(by))), begin[:-1])
    bounds = cuts(rows, settings)
    parts: list[tuple[str, ...]] = []
    group = 0
    compression = "zstd" if pa.Codec.is_available("zstd") else "snappy"
    with pq.ParquetWriter(path, table.schema, compression=compression, write_page_checksum=True) as writer:
        for start, stop in pairwise(bounds.tolist()):
            size = int(begin[stop] - begin[start])
            writer.write_table(table.slice(begin[start], size), row_group_size=min(size, _ROW_GROUP))
            after = group + -(-size // _ROW_GROUP)
            parts += [(f"{path.name}#{group}:{after}",)] * (stop - start)
            group = after
    sync_file(path)
    return Listing([digests[i] for i in order], [keys[i] for i in order], rows, content, bounds[:-1], parts)
