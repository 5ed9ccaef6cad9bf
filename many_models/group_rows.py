"""Rows that come beside those of training, such as known covariates of the future, found by group."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from many_models.group_index import entries
from many_models.layout import Layout
from many_models.protocols import Batch, Group, digest_of
from many_models.source import lay_out


class GroupRows:
    """A table laid out by group in a folder of its own; opened by `group_rows`. what: how messages call it."""

    def __init__(self, what: str, layout: Layout, index: sqlite3.Connection) -> None:
        self.what = what
        self._layout = layout
        self._index = index

    def of(self, keys: Collection[tuple[str, ...]]) -> pa.Table | None:
        """The rows of these groups, None where there are none."""
        groups, parts = [], []
        for key in keys:
            digest = digest_of(key)
            query = "SELECT rows, content, parts FROM places WHERE digest = ?"
            for rows, content, told in self._index.execute(query, (digest,)).fetchall():
                self._index.execute("UPDATE places SET asked = 1 WHERE digest = ?", (digest,))
                groups.append(Group(key, rows, content))
                parts += json.loads(told)
        return self._layout.read(Batch(tuple(groups), tuple(dict.fromkeys(parts)))) if groups else None

    def strangers(self) -> int:
        """Groups of the table that nobody has asked for."""
        return int(self._index.execute("SELECT count(*) FROM places WHERE asked = 0").fetchone()[0])


@contextlib.contextmanager
def group_rows(what: str, source: Any, by: Sequence[str], keys: Sequence[str]) -> Iterator[GroupRows | None]:
    """The rows of a table or path by group; None for None. by: partition columns; keys: the other key columns.

    They lie in a temporary folder as long as this is open, so that memory holds the rows of a few groups alone. Raises
    `DataError` for a table that cannot be read.
    """
    if source is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="many-models-") as folder:
        layout = lay_out(source, by, None, Path(folder) / what, keys=keys)
        with contextlib.closing(sqlite3.connect(Path(folder) / f"{what}.db")) as index:
            # Where each group lies: on disk too, since there may be a million of them.
            index.execute("PRAGMA synchronous = OFF")
            index.execute("CREATE TABLE places (digest TEXT PRIMARY KEY, rows, content, parts, asked) WITHOUT ROWID")
            found = (
                (entry.digest, entry.group.rows, entry.group.content, json.dumps(entry.parts), 0)
                for entry in entries(Path(layout.folder))
            )
            index.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?)", found)
            yield GroupRows(what, layout, index)
