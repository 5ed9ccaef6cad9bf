"""Versions of the groups' models: what each fit gave, and which version of a group serves (its champion)."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from many_models import files
from many_models.errors import StoreError
from many_models.ledger import Ledger
from many_models.protocols import FALLBACK, OK, STATES, File, GroupResult, Receipt

#: Characters of an error, a label or a model's description that are kept.
LONGEST = 4000
FIELDS = (
    "state, model, place, series, rows, content, until, loss, baseline, newest, accepted, reason, error, attempts, "
    "seconds, label"
)
NUMBERS = ("loss", "baseline", "newest", "seconds")
COLUMNS = (
    "lower(hex(g.digest)) AS digest, g.key AS key, v.number AS version, g.champion IS v.number AS champion, "
    + ", ".join(f"v.{name} AS {name}" for name in f"run, {FIELDS}".split(", "))
    + ", r.began AS began, r.ended AS ended, r.peak AS peak, r.worker AS worker, s.name AS shard, f.name AS forecast"
)
NAMES = tuple(part.split(" AS ")[1] for part in COLUMNS.split(", "))
JOINS = (
    "JOIN versions v ON v.group_id = g.id LEFT JOIN receipts r ON r.id = v.receipt "
    "LEFT JOIN files s ON s.id = v.shard LEFT JOIN files f ON f.id = v.forecast"
)
SERVES = f"v.shard IS NOT NULL AND v.accepted AND v.state IN ('{OK}', '{FALLBACK}')"


@dataclass(frozen=True, slots=True)
class Champion:
    """The version of a group that serves: its model is number `place` in `shard`; forecast: None where it has to be
    made from the model; the rest as in `GroupResult`."""

    digest: str
    key: tuple[str, ...]
    version: int
    run: int | None
    state: str
    model: str
    shard: File
    place: int
    forecast: File | None
    until: str
    content: str
    series: int
    rows: int
    loss: float
    baseline: float
    newest: float
    label: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group stands: state and reason of its last version; champion: number of the version that serves, None for
    none, with the content that it learned from and its newest loss."""

    version: int
    state: str
    reason: str
    champion: int | None
    content: str
    newest: float


class Versions:
    """The versions of a ledger; part of `Store`."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger

    def commit(self, run: int, receipt: Receipt) -> bool:
        """Record what a worker did, in one transaction; False when this run had a version of all its groups already.

        A group takes the first receipt alone. The new version serves if it is ok or a fallback, was accepted and is in
        the shard; otherwise the older one stays. Raises `CorruptStoreError` when a file of the receipt is not there,
        `StoreError` for a group that was never planned.
        """
        for file in (receipt.shard, receipt.forecast):
            if file is not None:
                files.check(self._ledger.root, file)
        with self._ledger.transaction() as connection:
            if connection.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone() is None:
                raise StoreError(f"store {self._ledger.root} has no run {run}")
            fresh = self._fresh(connection, run, receipt)
            if fresh:
                self._record(connection, run, receipt, fresh)
            files.crash("before_commit")
        files.crash("after_commit")
        return bool(fresh)

    def results(self, run: int | None = None, states: Sequence[str] = STATES) -> Iterator[dict[str, Any]]:
        """How each group ended, one dictionary per group: in a run, or in its last version; in the order of planning.

        Fields of `GroupResult`, and key, version, champion, run, is_fallback, error_type, began, ended, peak, worker,
        and the names of the files shard and forecast (None where there is none).
        """
        condition = "v.number = g.latest" if run is None else "v.run = ?"
        query = (
            f"SELECT {COLUMNS} FROM groups g {JOINS} WHERE {condition} AND v.state IN "
            f"(SELECT value FROM json_each(?)) ORDER BY g.id"
        )
        parameters = [*([] if run is None else [run]), json.dumps(list(states))]
        return map(_as_dictionary, self._ledger.stream(query, parameters))

    def history(self, digest: str) -> list[dict[str, Any]]:
        """Every version of a group, oldest first, as in `results`."""
        query = f"SELECT {COLUMNS} FROM groups g {JOINS} WHERE g.digest = ? ORDER BY v.number"
        return [_as_dictionary(row) for row in self._ledger.stream(query, (_identity(digest),))]

    def champions(self, digests: Iterable[str] | None = None) -> Iterator[Champion]:
        """What serves, for all groups or those named that have it: by shard and place, all of one moment.

        Shards come in the order in which their groups were planned, whichever worker was done first.
        """
        query = (
            "SELECT lower(hex(g.digest)), g.key, v.number, v.run, v.state, v.model, s.name, s.sha256, s.size, v.place, "
            "f.name, f.sha256, f.size, v.until, v.content, v.series, v.rows, v.loss, v.baseline, v.newest, v.label "
            "FROM groups g JOIN versions v ON v.group_id = g.id AND v.number = g.champion "
            "JOIN files s ON s.id = v.shard LEFT JOIN files f ON f.id = v.forecast "
            f"{'' if digests is None else 'WHERE g.digest IN (SELECT digest FROM wanted) '}ORDER BY "
            "min(g.id) OVER (PARTITION BY v.shard), v.shard, v.place"
        )
        wanted = None if digests is None else map(_identity, digests)
        for row in self._ledger.stream(query, wanted=wanted):
            forecast = None if row[10] is None else File(*row[10:13])
            loss, baseline, newest = map(_number, row[17:20])
            yield Champion(
                row[0], tuple(json.loads(row[1])), *row[2:6], File(*row[6:9]), row[9], forecast, *row[13:17],
                loss, baseline, newest, row[20],
            )  # fmt: skip

    def standing(self, digests: Iterable[str]) -> dict[str, Standing]:
        """Where the groups stand; those without a version are left out. For a plan: ask batch by batch."""
        query = (
            "SELECT lower(hex(g.digest)), v.number, v.state, v.reason, g.champion, c.content, c.newest FROM groups g "
            "JOIN versions v ON v.group_id = g.id AND v.number = g.latest "
            "LEFT JOIN versions c ON c.group_id = g.id AND c.number = g.champion "
            "WHERE g.digest IN (SELECT digest FROM wanted)"
        )
        rows = self._ledger.stream(query, wanted=map(_identity, digests))
        return {row[0]: Standing(*row[1:5], row[5] or "", _number(row[6])) for row in rows}

    def rollback(self, digests: Iterable[str] | None = None, to: int | None = None) -> int:
        """Let an older version serve again: the one that served before, or number `to`; returns how many groups moved.

        For all groups, those that have no such version stay; for named ones that is a `StoreError`, and nothing moves.
        """
        target = "v.number < groups.champion" if to is None else "v.number = ?"
        found = f"SELECT max(v.number) FROM versions v WHERE v.group_id = groups.id AND {target} AND "
        found += SERVES if to is None else "v.shard IS NOT NULL"
        change = f"UPDATE groups SET champion = ({found}) WHERE ({found}) IS NOT NULL"
        parameters = [] if to is None else [to, to]
        with self._ledger.transaction() as connection:
            if digests is None:
                moved = connection.execute(f"{change} AND champion IS NOT ({found})", parameters + parameters[:1])
                return moved.rowcount
            names = set(digests)
            for digest in sorted(names):
                if not connection.execute(f"{change} AND digest = ?", [*parameters, _identity(digest)]).rowcount:
                    wish = "before the one that serves" if to is None else to
                    raise StoreError(
                        f"store {self._ledger.root}: group {digest} has no version {wish} with a model; see its history"
                    )
            return len(names)

    def _fresh(self, connection: sqlite3.Connection, run: int, receipt: Receipt) -> list[tuple[GroupResult, int, int]]:
        """Results that this run does not have yet, with the id of the group and the number of its last version."""
        found = {}
        for result in receipt.results:
            if result.state not in STATES:
                raise StoreError(f"group {result.digest} ends as one of {', '.join(STATES)}, not as {result.state!r}")
            row = connection.execute(
                "SELECT g.id, g.latest, EXISTS (SELECT 1 FROM versions v WHERE v.run = ? AND v.group_id = g.id) "
                "FROM groups g WHERE g.digest = ?",
                (run, _identity(result.digest)),
            ).fetchone()
            if row is None:
                raise StoreError(f"store {self._ledger.root}: group {result.digest} was never planned; plan it first")
            if not row[2]:
                found.setdefault(row[0], (result, row[0], row[1]))
        return list(found.values())

    @staticmethod
    def _record(
        connection: sqlite3.Connection, run: int, receipt: Receipt, fresh: list[tuple[GroupResult, int, int]]
    ) -> None:
        places = len({result.place for result in receipt.results if result.place >= 0})
        shard = enter(connection, receipt.shard, places)
        forecast = enter(connection, receipt.forecast)
        shared = connection.execute(
            "INSERT INTO receipts (began, ended, peak, worker) VALUES (?, ?, ?, ?)",
            (receipt.began, receipt.ended, receipt.peak, _text(receipt.place)),
        ).lastrowid
        connection.executemany(
            f"INSERT INTO versions (group_id, number, run, receipt, shard, forecast, {FIELDS}) "
            f"VALUES ({', '.join('?' * 22)})",
            (
                (group, latest + 1, run, shared, shard if result.place >= 0 else None, forecast, *_values(result))
                for result, group, latest in fresh
            ),
        )
        connection.executemany(
            "UPDATE groups SET latest = latest + 1, champion = coalesce((SELECT v.number FROM versions v WHERE "
            f"v.group_id = groups.id AND v.number = groups.latest + 1 AND {SERVES}), champion) WHERE id = ?",
            ((group,) for _, group, _ in fresh),
        )
        connection.executemany(
            "UPDATE batches SET left = left - 1 WHERE run = ? AND id IN (SELECT batch FROM plan WHERE group_id = ?)",
            ((run, group) for _, group, _ in fresh),
        )
        connection.executemany(
            "INSERT INTO tallies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET groups = groups + excluded.groups",
            ((run, state, number) for state, number in Counter(result.state for result, _, _ in fresh).items()),
        )


def enter(connection: sqlite3.Connection, file: File | None, places: int = 0) -> int | None:
    """Number of a file in the ledger, where it is entered if it is new."""
    if file is None:
        return None
    connection.execute(
        "INSERT OR IGNORE INTO files (name, sha256, size, kind, places) VALUES (?, ?, ?, ?, ?)",
        (file.name, file.sha256, file.size, file.name.partition("/")[0], places),
    )
    return int(connection.execute("SELECT id FROM files WHERE name = ?", (file.name,)).fetchone()[0])


def _values(result: GroupResult) -> list[Any]:
    values = [getattr(result, name) for name in FIELDS.split(", ")]
    return [_text(value) if isinstance(value, str) else value for value in values]


def _text(value: str) -> str:
    """Text that can be stored: half characters spelled out, the rest of a very long one left out."""
    return value[:LONGEST].encode("utf-8", "backslashreplace").decode()


def _identity(digest: str) -> bytes:
    try:
        return bytes.fromhex(digest)
    except (TypeError, ValueError):
        raise StoreError(f"{digest!r} is no digest of a group; take `digest_of(key)`") from None


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _as_dictionary(row: tuple[Any, ...]) -> dict[str, Any]:
    values = dict(zip(NAMES, row, strict=True))
    values["key"] = tuple(json.loads(values["key"]))
    values.update({name: _number(values[name]) for name in NUMBERS})
    values.update({name: bool(values[name]) for name in ("champion", "accepted")})
    values["is_fallback"] = values["state"] == FALLBACK
    # "ValueError: too short" -> "ValueError"; a worker that died has no type, but a reason.
    kind, colon, _ = values["error"].partition(":")
    values["error_type"] = kind if colon and kind.isidentifier() else values["reason"]
    return values
