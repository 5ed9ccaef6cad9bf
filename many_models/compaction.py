"""Making room in a store: files that no kept version needs go, and shards are cut to what lives in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from many_models import files
from many_models.errors import CorruptStoreError, StoreError
from many_models.fsck import orphans
from many_models.protocols import File
from many_models.store import Store
from many_models.versions import enter

#: Groups whose old versions are dropped in one transaction.
PIECE = 10_000
#: Cuts a shard to the models at these places, in this order.
Rewrite = Callable[[bytes, list[int]], bytes]


@dataclass(frozen=True)
class Freed:
    """What `gc` did: files removed, their bytes, shards cut, and shards left as they are because they are damaged."""

    files: int
    bytes: int
    compacted: int
    damaged: int


def gc(store: Store, keep_versions: int = 1, rewrite: Rewrite | None = None, grace: float = 0.0) -> Freed:
    """Remove what is not needed; the store must be open for writing.

    keep_versions: per group those whose models stay: the champion, then the newest accepted ones; the rows of all
    versions stay, for the history. rewrite: cuts shards of which less than half lives; None leaves them. grace:
    seconds for which a file stays after it is needed no more, for readers that still know its name. A crash at any
    point leaves only orphans, which the next call removes. The plans of runs that are done are cleared.
    """
    if keep_versions < 1:
        raise StoreError(f"keep_versions is 1 at least, the version that serves, not {keep_versions}")
    _drop_versions(store, keep_versions)
    _clear_plans(store)
    done = [_compact(store, *shard, rewrite) for shard in _sparse_shards(store)] if rewrite is not None else []
    for name in _forget_files(store):
        if grace:
            _age(store, name)
    removed = [files.remove(store.root, name) for name in list(orphans(store, grace))]
    files.sweep(store.root)
    return Freed(len(removed), sum(removed), done.count(True), done.count(False))


def _drop_versions(store: Store, keep: int) -> None:
    ((last,),) = store.ledger.stream("SELECT coalesce(max(id), 0) FROM groups")
    for begin in range(0, last + 1, PIECE):
        with store.ledger.transaction() as connection:
            connection.execute(
                "UPDATE versions SET shard = NULL, forecast = NULL, place = -1 WHERE (group_id, number) IN (SELECT "
                "group_id, number FROM (SELECT v.group_id, v.number, row_number() OVER (PARTITION BY v.group_id ORDER "
                "BY v.number IS g.champion DESC, v.accepted DESC, v.number DESC) AS rank FROM versions v JOIN groups g "
                "ON g.id = v.group_id WHERE v.group_id BETWEEN ? AND ? AND v.shard IS NOT NULL) WHERE rank > ?)",
                (begin, begin + PIECE - 1, keep),
            )
            # A version without a model (it failed) may still refer to the forecasts of its batch.
            connection.execute(
                "UPDATE versions SET forecast = NULL WHERE group_id BETWEEN ? AND ? AND shard IS NULL "
                "AND forecast IS NOT NULL",
                (begin, begin + PIECE - 1),
            )


def _clear_plans(store: Store) -> None:
    found = list(store.ledger.stream("SELECT b.id FROM batches b JOIN runs r ON r.id = b.run WHERE r.state = 'done'"))
    for begin in range(0, len(found), 100):
        with store.ledger.transaction() as connection:
            connection.executemany("DELETE FROM plan WHERE batch = ?", found[begin : begin + 100])
            connection.executemany("DELETE FROM batches WHERE id = ?", found[begin : begin + 100])


def _sparse_shards(store: Store) -> list[tuple[int, File]]:
    """Shards that are less than half live, but not quite dead."""
    query = (
        "SELECT f.id, f.name, f.sha256, f.size FROM files f JOIN versions v ON v.shard = f.id "
        "GROUP BY f.id HAVING count(DISTINCT v.place) * 2 < f.places"
    )
    return [(row[0], File(*row[1:])) for row in store.ledger.stream(query)]


def _compact(store: Store, number: int, file: File, rewrite: Rewrite) -> bool:
    """Point the ledger from a shard to one of the live models alone; False for a damaged one, left to `fsck`."""
    query = "SELECT DISTINCT place FROM versions WHERE shard = ? ORDER BY place"
    places = [place for (place,) in store.ledger.stream(query, (number,))]
    try:
        content = store.read(file)
    except CorruptStoreError:
        return False
    fresh = files.write(store.root, "shards", rewrite(content, places), "".join(PurePosixPath(file.name).suffixes))
    with store.ledger.transaction() as connection:
        # Upwards: a place is never larger than the one that it replaces, so no two meet on the way.
        connection.executemany(
            "UPDATE versions SET place = ? WHERE shard = ? AND place = ?",
            ((new, number, old) for new, old in enumerate(places)),
        )
        other = enter(connection, fresh, len(places))
        connection.execute("UPDATE versions SET shard = ? WHERE shard = ?", (other, number))
        connection.execute("UPDATE files SET places = ? WHERE id = ?", (len(places), other))
        files.crash("before_commit")
    files.crash("after_commit")
    return True


def _forget_files(store: Store) -> Iterator[str]:
    """Take files that nothing refers to out of the ledger; their names. From here on they are orphans."""
    unused = (
        "NOT EXISTS (SELECT 1 FROM versions WHERE shard = files.id) AND NOT EXISTS (SELECT 1 FROM versions WHERE "
        "forecast = files.id) AND NOT EXISTS (SELECT 1 FROM documents WHERE file = files.id)"
    )
    with store.ledger.transaction() as connection:
        found = connection.execute(f"SELECT name FROM files WHERE {unused}").fetchall()
        connection.execute(f"DELETE FROM files WHERE {unused}")
    return (name for (name,) in found)


def _age(store: Store, name: str) -> None:
    """Let the time of grace begin now."""
    with contextlib.suppress(OSError):
        os.utime(store.root / name)
