"""Which groups a run has to do, in which batches, and what of it is left."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from many_models.errors import StoreError
from many_models.ledger import Ledger
from many_models.protocols import Batch, Group
from many_models.runs import Runs

#: Batches and groups that are written in one transaction, and batches that are read at once.
BATCHES, GROUPS, PIECE = 200, 20_000, 16


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    batches: int
    batches_done: int
    groups: int
    groups_done: int


class Plan:
    """The plans of a ledger; part of `Store`."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger

    def add(self, run: int, batches: Iterable[Batch]) -> Progress:
        """Write the plan of a run as the batches come; memory holds a few hundred of them.

        A plan that was cut short is begun anew; a complete one stays, and nothing is drawn. `StoreError` when a group
        comes twice.
        """
        if not Runs(self._ledger).get(run).planned:
            self._clear(run)
            for piece in _pieces(batches):
                with self._ledger.transaction() as connection:
                    for batch in piece:
                        self._insert(connection, run, batch)
            with self._ledger.transaction() as connection:
                connection.execute("UPDATE runs SET planned = 1 WHERE id = ?", (run,))
        return self.progress(run)

    def pending(self, run: int) -> Iterator[Batch]:
        """Batches with groups that have no version of this run yet, and of these the groups that have none; few at a
        time are in memory, and commits may go on meanwhile."""
        if not Runs(self._ledger).get(run).planned:
            raise StoreError(f"store {self._ledger.root}: the plan of run {run} was cut short; add it anew")
        last = 0
        while piece := self._piece(run, last):
            last = piece[-1][0]
            yield from (batch for _, batch in piece if len(batch))

    def progress(self, run: int) -> Progress:
        """Batches and groups of a run, in all and done; zeros once `gc` has cleared the plan of a finished run."""
        with self._ledger.snapshot() as connection:
            batches, open_, left = connection.execute(
                "SELECT count(*), count(nullif(left, 0)), total(left) FROM batches WHERE run = ?", (run,)
            ).fetchone()
            (groups,) = connection.execute(
                "SELECT count(*) FROM batches b JOIN plan p ON p.batch = b.id WHERE b.run = ?", (run,)
            ).fetchone()
        return Progress(batches, batches - open_, groups, groups - int(left))

    def _piece(self, run: int, last: int) -> list[tuple[int, Batch]]:
        with self._ledger.snapshot() as connection:
            found = connection.execute(
                "SELECT id, parts FROM batches WHERE run = ? AND left > 0 AND id > ? ORDER BY id LIMIT ?",
                (run, last, PIECE),
            ).fetchall()
            return [(number, Batch(self._groups(connection, run, number), _parts(parts))) for number, parts in found]

    @staticmethod
    def _groups(connection: sqlite3.Connection, run: int, batch: int) -> tuple[Group, ...]:
        rows = connection.execute(
            "SELECT g.key, p.rows, p.content FROM plan p JOIN groups g ON g.id = p.group_id WHERE p.batch = ? AND NOT "
            "EXISTS (SELECT 1 FROM versions v WHERE v.run = ? AND v.group_id = p.group_id) ORDER BY p.position",
            (batch, run),
        )
        return tuple(Group(tuple(json.loads(key)), rows, content) for key, rows, content in rows)

    def _insert(self, connection: sqlite3.Connection, run: int, batch: Batch) -> None:
        parts = json.dumps(batch.parts)
        number = connection.execute("INSERT INTO batches (run, parts, left) VALUES (?, ?, 0)", (run, parts)).lastrowid
        left = 0
        for position, group in enumerate(batch.groups):
            digest = bytes.fromhex(group.digest)
            connection.execute(
                "INSERT OR IGNORE INTO groups (digest, key, latest) VALUES (?, ?, 0)", (digest, json.dumps(group.key))
            )
            identity, done, planned = connection.execute(
                "SELECT g.id, EXISTS (SELECT 1 FROM versions v WHERE v.run = ? AND v.group_id = g.id), EXISTS (SELECT "
                "1 FROM plan p JOIN batches b ON b.id = p.batch WHERE p.group_id = g.id AND b.run = ?) FROM groups g "
                "WHERE g.digest = ?",
                (run, run, digest),
            ).fetchone()
            if planned:
                raise StoreError(
                    f"group {' / '.join(group.key)} is in the plan of run {run} twice; a group has one batch"
                )
            row = (number, position, identity, group.rows, group.content)
            connection.execute("INSERT INTO plan VALUES (?, ?, ?, ?, ?)", row)
            left += not done
        connection.execute("UPDATE batches SET left = ? WHERE id = ?", (left, number))

    def _clear(self, run: int) -> None:
        """Take away what a planning that was cut short has left, in pieces."""
        with self._ledger.snapshot() as connection:
            found = connection.execute("SELECT id FROM batches WHERE run = ?", (run,)).fetchall()
        for begin in range(0, len(found), BATCHES):
            with self._ledger.transaction() as connection:
                connection.executemany("DELETE FROM plan WHERE batch = ?", found[begin : begin + BATCHES])
                connection.executemany("DELETE FROM batches WHERE id = ?", found[begin : begin + BATCHES])


def _pieces(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    piece: list[Batch] = []
    for batch in batches:
        piece.append(batch)
        if len(piece) == BATCHES or sum(map(len, piece)) >= GROUPS:
            yield piece
            piece = []
    if piece:
        yield piece


def _parts(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
