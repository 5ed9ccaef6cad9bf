"""Rows laid out by group: batches of groups, and the rows of a batch, read without the rest."""

from __future__ import annotations

import base64
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forecastml.errors import ConfigError, DataError
from many_models.columns import distinct_keys, keyed, plain_table
from many_models.errors import CorruptStoreError
from many_models.group_index import INDEX, entries, read_about
from many_models.partition import PartitionSettings, partition
from many_models.protocols import Batch, Group
from many_models.row_hashes import group_hashes, row_hashes
from many_models.streams import FileRows, level_values, located

#: A part of a bucket: its file, and the row groups from the first up to but not with the second.
_PART = re.compile(r"(bucket-\d+\.parquet)#(\d+):(\d+)")


class Total(NamedTuple):
    """Size of a layout."""

    groups: int
    rows: int


@dataclass(frozen=True)
class Layout:
    """Rows of a source by group; small, and can be sent to a worker that sees the same folder.

    folder: where the index is; by: partition columns; columns: all columns that are read; total: groups and rows;
    texts: columns that are keys, text; fractions: those of them that held decimals; schema: Arrow schema as bytes;
    place: name of the folder of buckets, or the address of a source that stays as it is (`rewritten` false).
    """

    folder: str
    by: tuple[str, ...]
    columns: tuple[str, ...]
    total: Total
    settings: PartitionSettings
    texts: tuple[str, ...]
    fractions: tuple[str, ...]
    schema: bytes
    place: str
    rewritten: bool

    def groups(self) -> Iterator[Group]:
        """Every group in the order of the digests, few at a time in memory."""
        return (entry.group for entry in entries(Path(self.folder)))

    def batches(self, wanted: Collection[str] | None = None) -> Iterator[Batch]:
        """Every group in one batch, batches of near-equal cost, always the same for the same source.

        wanted: digests, to have batches of these groups alone.
        """
        every = entries(Path(self.folder))
        if wanted is None:
            for _, members in groupby(every, key=lambda entry: entry.batch):
                chosen = list(members)
                yield _batch([entry.group for entry in chosen], [entry.parts for entry in chosen])
            return
        of_these = (entry for entry in every if entry.digest in wanted)
        for _, members in groupby(of_these, key=lambda entry: entry.bucket):
            chosen = list(members)
            parts = {entry.digest: entry.parts for entry in chosen}
            yield from partition((entry.group for entry in chosen), self.settings, parts)

    def sample(self, limit: int) -> pa.Table:
        """The rows of up to `limit` groups, those with the smallest digests: the same whatever the order of the rows.

        Raises as `read` does.
        """
        if limit < 1:
            raise ConfigError(f"limit is {limit}; give 1 or more")
        chosen = list(islice(entries(Path(self.folder)), limit))
        return self.read(_batch([entry.group for entry in chosen], [entry.parts for entry in chosen]))

    def read(self, batch: Batch) -> pa.Table:
        """The rows of these groups alone, those of a group together and in the order of the source; keys are text.

        Only the parts of the batch are opened, and what they hold is compared with the content that the groups had.
        Raises `CorruptStoreError` for a bucket, `DataError` for a source that stays as it is, when a file is missing
        or has changed.
        """
        try:
            table = self._bucket_rows(batch) if self.rewritten else self._source_rows(batch)
            return self._checked(table, batch)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, IndexError, UnicodeError) as failure:
            raise self._failure(batch, str(failure)) from failure

    def _bucket_rows(self, batch: Batch) -> pa.Table:
        tables = []
        for name, row_groups in self._row_groups(batch).items():
            path = Path(self.folder, self.place, name)
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                tables.append(file.read_row_groups(row_groups, use_threads=False))
        return plain_table(pa.concat_tables(tables), self._schema())

    def _row_groups(self, batch: Batch) -> dict[str, list[int]]:
        """Row groups of each file."""
        found: dict[str, list[int]] = {}
        for part in batch.parts:
            match = _PART.fullmatch(part)
            if match is None:
                raise self._failure(batch, f"{part!r} is no part of a layout")
            found.setdefault(match[1], []).extend(range(int(match[2]), int(match[3])))
        return {name: sorted(set(row_groups)) for name, row_groups in found.items()}

    def _source_rows(self, batch: Batch) -> pa.Table:
        filesystem, base = located(self.place)
        schema = self._schema()
        levels = pa.schema([schema.field(name) for name in self.by])
        rows = FileRows(self.place, base, (), levels, schema.names, schema, 0)
        wanted = {group.key for group in batch.groups}
        tables = []
        for part in batch.parts:
            if part.startswith("/") or ".." in part.split("/"):
                raise self._failure(batch, f"{part!r} is no part of a layout")
            told = level_values(levels, part)
            if tuple(told[name].as_py() for name in self.by) in wanted:
                tables += rows.read(filesystem, part)
        return keyed(pa.concat_tables(tables) if tables else schema.empty_table(), self.texts, self.fractions)

    def _checked(self, table: pa.Table, batch: Batch) -> pa.Table:
        """The rows of the groups of a batch, when they are what they were."""
        number, keys = distinct_keys([table.column(name) for name in self.by])
        place_of = {group.key: place for place, group in enumerate(batch.groups)}
        place = np.array([place_of.get(key, -1) for key in keys], np.int64)[number]
        if (place < 0).any():
            table, place = table.filter(pa.array(place >= 0)), place[place >= 0]
        if (np.diff(place) < 0).any():
            order = np.argsort(place, kind="stable")
            table, place = table.take(pa.array(order)), place[order]
        rows = np.bincount(place, minlength=len(batch))
        begin = np.cumsum(rows) - rows
        there = np.flatnonzero(rows)
        content = group_hashes(row_hashes(table.drop_columns(list(self.by))), begin[there])
        found = {int(i): words.astype(">u8").tobytes().hex() for i, words in zip(there, content, strict=True)}
        for i, group in enumerate(batch.groups):
            if rows[i] != group.rows or found.get(i) != group.content:
                label = ", ".join(f"{name}={_brief(part)}" for name, part in zip(self.by, group.key, strict=True))
                now = "its rows have changed" if rows[i] == group.rows else f"it has {rows[i]} rows, not {group.rows}"
                raise self._failure(batch, f"group {label}: {now}")
        return table.select(list(self.columns))

    def _schema(self) -> pa.Schema:
        return pa.ipc.read_schema(pa.py_buffer(self.schema))

    def _failure(self, batch: Batch, what: str) -> DataError | CorruptStoreError:
        files = list(dict.fromkeys(part.partition("#")[0] if self.rewritten else part for part in batch.parts))
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        if self.rewritten:
            names = ", ".join(str(Path(self.folder, self.place, name)) for name in files[:3])
            return CorruptStoreError(
                f"{names}{more} of the layout: {what}; put the file back, or remove {Path(self.folder, INDEX)} "
                "to read the source anew"
            )
        names = ", ".join(posixpath.join(self.place, name) for name in files[:3])
        return DataError(
            f"{names}{more} of the source: {what}; the source must stay as it was when the run began: put the file "
            "back, or begin a new run"
        )


def open_layout(folder: str | Path) -> Layout | None:
    """The layout that was finished in a folder, without reading its source; None where there is none.

    Raises `CorruptStoreError` for a damaged index, `NewerStoreError` for one of a newer version.
    """
    folder = Path(folder).absolute()
    about = read_about(folder)
    if about is None:
        return None
    try:
        return Layout(
            str(folder),
            tuple(about["by"]),
            tuple(about["columns"]),
            Total(about["groups"], about["rows"]),
            PartitionSettings(**about["settings"]),
            tuple(about["texts"]),
            tuple(about["fractions"]),
            base64.b64decode(about["schema"]),
            about["place"],
            about["rewritten"],
        )
    except (KeyError, TypeError, ValueError) as failure:
        raise CorruptStoreError(
            f"{folder / INDEX} is incomplete: {failure!r}; remove it to read the source anew"
        ) from failure


def described(layout: Layout) -> Mapping[str, Any]:
    """What the index keeps of a layout beside its groups."""
    about = asdict(layout) | {"schema": base64.b64encode(layout.schema).decode()}
    return {name: value for name, value in about.items() if name not in ("folder", "total")}


def _batch(groups: list[Group], parts: list[tuple[str, ...]]) -> Batch:
    return Batch(tuple(groups), tuple(dict.fromkeys(part for some in parts for part in some)))


def _brief(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
