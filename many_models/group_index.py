"""The index of a layout: its groups in the order of their digests, as one Parquet file that is written last."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from many_models.buckets import Listing, sync_file
from many_models.errors import CorruptStoreError, NewerStoreError
from many_models.protocols import Group

#: Version of the index; a newer one is refused.
FORMAT = 1
INDEX = "groups.parquet"
_META, _SUM = "many_models", "many_models.checksum"
_PIECE = 8192
_SCHEMA = pa.schema(
    [
        ("digest", pa.binary(16)),
        ("content", pa.binary(16)),
        ("key", pa.list_(pa.large_string())),
        ("rows", pa.int64()),
        ("parts", pa.list_(pa.large_string())),
        ("bucket", pa.int32()),
        ("batch", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Entry:
    """A group of the index. parts: pieces of the source with its rows; bucket, batch: numbers of where it belongs."""

    digest: str
    group: Group
    parts: tuple[str, ...]
    bucket: int
    batch: int


class IndexWriter:
    """Writes an index; it appears in its folder, whole, by `finish` alone."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{INDEX}.tmp"
        self._target = folder / INDEX
        self._writer = pq.ParquetWriter(self._path, _SCHEMA, write_page_checksum=True, write_statistics=False)
        self._buckets = self._batches = self.groups = self.rows = 0

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # When given up, what closing adds does not matter, and the disk may be full.
        with suppress(pa.ArrowException, OSError):
            self._writer.close()
        self._path.unlink(missing_ok=True)

    def add(self, listing: Listing) -> None:
        """The groups of the next bucket."""
        count = len(listing.digests)
        batch = np.zeros(count, np.int64)
        batch[listing.starts] = 1
        content = np.ascontiguousarray(listing.content.astype(">u8"))
        columns = [
            pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), count, [None, pa.py_buffer(bytes.fromhex("".join(listing.digests)))]
            ),
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(content)]),
            pa.array([list(key) for key in listing.keys], _SCHEMA.field("key").type),
            pa.array(listing.rows, pa.int64()),
            pa.array([list(parts) for parts in listing.parts], _SCHEMA.field("parts").type),
            pa.array(np.full(count, self._buckets, np.int32)),
            pa.array(self._batches - 1 + np.cumsum(batch)),
        ]
        self._writer.write_table(pa.table(columns, schema=_SCHEMA))
        self._buckets += 1
        self._batches += len(listing.starts)
        self.groups += count
        self.rows += int(listing.rows.sum())

    def finish(self, about: dict[str, Any]) -> None:
        """Bring the index to disk and give it its name; about: what `read_about` shall return, with the totals."""
        whole = {"format": FORMAT, **about, "groups": self.groups, "rows": self.rows}
        text = json.dumps(whole)
        self._writer.add_key_value_metadata({_META: text, _SUM: _checksum(text.encode())})
        self._writer.close()
        sync_file(self._path)
        os.replace(self._path, self._target)
        sync_folder(self._target.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_about(folder: Path) -> dict[str, Any] | None:
    """What `finish` was told, without reading the groups; None where no layout is finished."""
    path = folder / INDEX
    try:
        metadata = pq.read_metadata(path).metadata or {}
        text = metadata[_META.encode()]
        if metadata[_SUM.encode()] != _checksum(text).encode():
            raise ValueError("its checksum does not fit")
        about = json.loads(text)
        newer = about["format"] > FORMAT
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as failure:
        raise CorruptStoreError(f"{path} is no index: {failure}; remove it to read the source anew") from failure
    if newer:
        raise NewerStoreError(f"{path} is of format {about['format']}, known is {FORMAT}: upgrade many_models")
    return about


def _checksum(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def entries(folder: Path) -> Iterator[Entry]:
    """The groups in the order of their digests, few at a time in memory."""
    path = folder / INDEX
    expected = (read_about(folder) or {}).get("groups")
    count = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
            for piece in file.iter_batches(_PIECE, use_threads=False):
                columns = (piece.column(name).to_pylist() for name in _SCHEMA.names)
                for digest, content, key, rows, parts, bucket, batch in zip(*columns, strict=True):
                    yield Entry(digest.hex(), Group(tuple(key), rows, content.hex()), tuple(parts), bucket, batch)
                count += piece.num_rows
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as failure:
        raise CorruptStoreError(f"{path} cannot be read: {failure}; remove it to read the source anew") from failure
    if count != expected:
        raise CorruptStoreError(f"{path} holds {count} groups, not {expected}; remove it to read the source anew")
