"""Runs of a store: when they began, what they were asked, how they ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from many_models.errors import StoreError
from many_models.ledger import Ledger
from many_models.protocols import STATES

#: How a run stands. paused: no room, or stopped by the user; interrupted: its driver died.
RUN_STATES = ("running", "done", "paused", "failed", "interrupted")
COLUMNS = "id, kind, began, ended, state, fingerprint, job, note, allowed, planned"


@dataclass(frozen=True)
class Run:
    """One run. began, ended: seconds since 1970, ended None until it has; job: JSON text; allowed: share of groups that
    may fail; planned: whether its plan is complete."""

    id: int
    kind: str
    began: float
    ended: float | None
    state: str
    fingerprint: str
    job: str
    note: str
    allowed: float
    planned: bool


class Runs:
    """The runs of a ledger; part of `Store`."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger

    def begin(self, kind: str, fingerprint: str, job: str, note: str = "", allowed: float = 0.0) -> int:
        """Open a run in state "running"; returns its number, 1 for the first of a store."""
        values = (kind, time.time(), fingerprint, job, note, allowed)
        with self._ledger.transaction() as connection:
            done = connection.execute(
                "INSERT INTO runs (kind, began, state, fingerprint, job, note, allowed, planned) "
                "VALUES (?, ?, 'running', ?, ?, ?, ?, 0)",
                values,
            )
        return int(done.lastrowid or 0)

    def resume(self, run: int) -> Run:
        """Set a run going again that is not done; its plan and what it has committed stay."""
        if self.get(run).state == "done":
            raise StoreError(f"store {self._ledger.root}: run {run} is done; begin another one")
        with self._ledger.transaction() as connection:
            connection.execute("UPDATE runs SET state = 'running', ended = NULL WHERE id = ?", (run,))
        return self.get(run)

    def end(self, run: int, state: str, note: str | None = None) -> None:
        """Close a run; "done" is refused while groups of its plan have no version."""
        if state not in RUN_STATES[1:]:
            raise StoreError(f"a run ends as one of {', '.join(RUN_STATES[1:])}, not as {state!r}")
        self.get(run)
        with self._ledger.transaction() as connection:
            (left,) = connection.execute("SELECT total(left) FROM batches WHERE run = ?", (run,)).fetchone()
            if state == "done" and left:
                raise StoreError(
                    f"store {self._ledger.root}: run {run} is not done, {int(left):,} groups of its plan have no result"
                )
            connection.execute(
                "UPDATE runs SET state = ?, ended = ?, note = coalesce(?, note) WHERE id = ?",
                (state, time.time(), note, run),
            )

    def get(self, run: int) -> Run:
        """One run; `StoreError` when there is none of this number."""
        for found in self._select("WHERE id = ?", run):
            return found
        raise StoreError(f"store {self._ledger.root} has no run {run}")

    def last(self, kind: str | None = None) -> Run | None:
        """The newest run, of a kind if one is given; None for an empty store."""
        return next(self._select("WHERE kind = coalesce(?, kind) ORDER BY id DESC LIMIT 1", kind), None)

    def all(self) -> Iterator[Run]:
        """Every run, oldest first."""
        return self._select("ORDER BY id")

    def counts(self, run: int) -> dict[str, int]:
        """Groups of a run by state, every state named; kept up with each commit, so that asking costs nothing."""
        rows = self._ledger.stream("SELECT state, groups FROM tallies WHERE run = ?", (run,))
        return {**dict.fromkeys(STATES, 0), **dict(rows)}

    def _select(self, condition: str, *parameters: object) -> Iterator[Run]:
        rows = list(self._ledger.stream(f"SELECT {COLUMNS} FROM runs {condition}", parameters))
        return (Run(*row[:-1], planned=bool(row[-1])) for row in rows)
