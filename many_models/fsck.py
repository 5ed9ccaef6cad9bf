"""Proof that a store is whole, and its repair: what is lost goes back to the version before or is queued again."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from many_models import files
from many_models.errors import CorruptStoreError
from many_models.ledger import RESTORE
from many_models.protocols import FAILED, QUARANTINED, File
from many_models.store import Store
from many_models.versions import SERVES

#: Seconds by which the clock of a file server may go wrong: a file this much older than a run may still belong to it.
SLACK = 300.0
CORRUPT = "corrupt"


@dataclass(frozen=True)
class Problem:
    """Something in a store that is not as it should be.

    kind: "missing", "changed" (content), "link" (or no plain file), "orphan" (a file that the ledger does not name),
    "unfinished" (a temporary file whose writer died), "champion" (what serves a group is damaged), "document"; name:
    the file, or the digest of the group; text: for the user.
    """

    kind: str
    name: str
    text: str


def fsck(store: Store, repair: bool = False) -> list[Problem]:
    """Check the ledger, the hash of every file, and what lies about; returns what was found, an empty list for nothing.

    repair (the store open for writing): a group whose champion's shard is damaged goes back to the newest version
    before it that is whole, or to any later one. Where its run is not done it is queued again there; a group that is
    left without a version and is not queued has failed, with reason "corrupt". A damaged forecast part is forgotten,
    its model stays. Orphans are removed.

    A damaged ledger is no problem of the list but raises `CorruptStoreError`, since nothing else can be trusted.
    """
    defects = store.ledger.defects()
    if defects:
        text = "; ".join(defects[:3])
        raise CorruptStoreError(f"store {store.root}: the ledger is damaged ({text}); {RESTORE}")
    bad = dict(_damaged(store))
    problems = [Problem(kind, name, text) for name, (kind, text) in bad.items()]
    problems += _affected(store, list(bad))
    loose = list(orphans(store))
    problems += [Problem("orphan", name, f"{name} belongs to no version") for name in loose]
    problems += _strange(store, set(bad))
    problems += [
        Problem("unfinished", f"{files.TEMPORARY}/{path.name}", "the writer of a temporary file died")
        for path in sorted((store.root / files.TEMPORARY).glob("*.part"))
        if files.is_abandoned(path)
    ]
    if repair:
        _repair(store, list(bad))
        # A link to a folder before what seems to lie in it.
        for name in sorted({p.name for p in problems if p.kind in ("link", "changed")} | set(loose), key=len):
            if files.is_inside(name):  # else somebody wrote it into the ledger
                files.remove(store.root, name)
        files.sweep(store.root)
    return problems


def orphans(store: Store, grace: float = 0.0) -> Iterator[str]:
    """Names of plain files that the ledger does not name, untouched for `grace` seconds.

    While a run is going its workers have files that are not committed yet: what is younger than the run stays.
    """
    # The files first, the ledger after: what is committed in between is known then.
    found = [(name, state.st_mtime) for name, state in files.listing(store.root) if stat.S_ISREG(state.st_mode)]
    going = [run.began for run in store.runs.all() if run.state == "running"]
    latest = min([time.time() - grace, *(began - SLACK for began in going)])
    with store.ledger.snapshot() as connection:
        for name, touched in found:
            known = connection.execute("SELECT 1 FROM files WHERE name = ?", (name,)).fetchone()
            if known is None and touched <= latest:
                yield name


def _damaged(store: Store) -> Iterator[tuple[str, tuple[str, str]]]:
    """Files of the ledger that cannot be read, with the kind of problem and its text."""
    for name, sha256, size in list(store.ledger.stream("SELECT name, sha256, size FROM files ORDER BY name")):
        try:
            files.read(store.root, File(name, sha256, size))
        except CorruptStoreError as error:
            yield name, (_kind(store.root, name), str(error))


def _kind(root: Path, name: str) -> str:
    path = root / name
    if not files.is_inside(name):
        return "changed"
    if any((root / part).is_symlink() for part in (name, *PurePosixPath(name).parents)):
        return "link"
    if not os.path.lexists(path):
        return "missing"
    return "changed" if path.is_file() else "link"


def _affected(store: Store, bad: list[str]) -> Iterator[Problem]:
    """Groups and documents that need a damaged file."""
    with store.ledger.snapshot() as connection:
        for name in bad:
            for digest, number in connection.execute(
                "SELECT lower(hex(g.digest)), v.number FROM files f JOIN versions v ON v.shard = f.id "
                "JOIN groups g ON g.id = v.group_id AND g.champion = v.number WHERE f.name = ?",
                (name,),
            ):
                yield Problem("champion", digest, f"version {number} of group {digest} serves from {name}")
            for (document,) in connection.execute(
                "SELECT d.name FROM documents d JOIN files f ON f.id = d.file WHERE f.name = ?", (name,)
            ):
                yield Problem("document", document, f"document {document!r} is lost: it was in {name}")


def _strange(store: Store, bad: set[str]) -> Iterator[Problem]:
    """Entries of the content folders that are no plain files: links, sockets and the like."""
    for name, state in files.listing(store.root):
        if not stat.S_ISREG(state.st_mode) and name not in bad:
            yield Problem("link", name, f"{name} is a link or no plain file, and nobody of ours made it")


def _repair(store: Store, bad: list[str]) -> None:
    with store.ledger.transaction() as connection:
        for name in bad:
            (file,) = connection.execute("SELECT id FROM files WHERE name = ?", (name,)).fetchone()
            connection.execute("UPDATE versions SET forecast = NULL WHERE forecast = ?", (file,))
            lost = connection.execute("SELECT group_id, number, run FROM versions WHERE shard = ?", (file,)).fetchall()
            for group, number, run in lost:
                _lose(connection, group, number, run)
            connection.execute("DELETE FROM documents WHERE file = ?", (file,))
            connection.execute("DELETE FROM files WHERE id = ?", (file,))


def _lose(connection: sqlite3.Connection, group: int, number: int, run: int | None) -> None:
    """Version `number` has no model any more."""
    connection.execute(
        "UPDATE versions SET shard = NULL, forecast = NULL, place = -1, reason = ? WHERE group_id = ? AND number = ?",
        (CORRUPT, group, number),
    )
    (champion,) = connection.execute("SELECT champion FROM groups WHERE id = ?", (group,)).fetchone()
    if champion != number:
        return
    # The newest before it; else the newest there is.
    whole = connection.execute(
        f"SELECT v.number FROM versions v WHERE v.group_id = ? AND {SERVES} ORDER BY v.number < ? DESC, v.number DESC",
        (group, number),
    ).fetchone()
    connection.execute("UPDATE groups SET champion = ? WHERE id = ?", (whole and whole[0], group))
    if not _queue_again(connection, group, number, run) and whole is None:
        _fail(connection, group, number)


def _queue_again(connection: sqlite3.Connection, group: int, number: int, run: int | None) -> bool:
    """Make the group pending in the run that the version came from, where that run still has it in its plan."""
    planned = connection.execute(
        "SELECT b.id FROM plan p JOIN batches b ON b.id = p.batch JOIN runs r ON r.id = b.run "
        "WHERE p.group_id = ? AND b.run = ? AND r.state NOT IN ('done', 'failed') "
        "AND r.id = (SELECT max(id) FROM runs)",
        (group, run),
    ).fetchone()
    if planned is None:
        return False
    connection.execute("UPDATE batches SET left = left + 1 WHERE id = ?", planned)
    connection.execute(
        "UPDATE tallies SET groups = groups - 1 WHERE run = ? AND state = (SELECT state FROM versions WHERE "
        "group_id = ? AND number = ?)",
        (run, group, number),
    )
    connection.execute("UPDATE versions SET run = NULL WHERE group_id = ? AND number = ?", (group, number))
    return True


def _fail(connection: sqlite3.Connection, group: int, number: int) -> None:
    """Add a version that says the group failed, unless its last one says so."""
    latest, state = connection.execute(
        "SELECT g.latest, v.state FROM groups g JOIN versions v ON v.group_id = g.id AND v.number = g.latest "
        "WHERE g.id = ?",
        (group,),
    ).fetchone()
    if state in (FAILED, QUARANTINED):
        return
    connection.execute(
        "INSERT INTO versions SELECT group_id, ?, NULL, NULL, NULL, -1, NULL, ?, '', series, rows, content, until, "
        "NULL, NULL, NULL, 0, ?, ?, 0, 0, '' FROM versions WHERE group_id = ? AND number = ?",
        (latest + 1, FAILED, CORRUPT, f"CorruptStoreError: the model of version {number} is damaged", group, number),
    )
    connection.execute("UPDATE groups SET latest = ? WHERE id = ?", (latest + 1, group))
