"""Which model answers for a group: groups by name, groups that nothing serves, and older versions of damaged ones."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from forecastml.errors import ConfigError
from many_models.errors import StoreError
from many_models.protocols import FALLBACK, OK, File, digest_of
from many_models.store import Store
from many_models.versions import Champion

#: A key: text for one partition column, a tuple with a text for each of several.
Key = str | tuple[str, ...]
#: Keys that are looked through for one like a misspelt one.
LOOKED_THROUGH = 20_000
#: What is told of a group that was planned and not begun.
WAITING = "not trained yet: `many-models resume`"


@contextlib.contextmanager
def reading(store: Store | str | Path) -> Iterator[Store]:
    """An open store as it is, or the one in a folder, opened for reading."""
    if isinstance(store, Store):
        yield store
    else:
        with Store.open(store) as opened:
            yield opened


def apart(name: str, taken: Sequence[str]) -> str:
    """The name of a column, with "_" after it where a column of the user has it already."""
    while name in taken:
        name += "_"
    return name


def partition_columns(store: Store) -> tuple[str, ...]:
    """The columns that tell the groups of a store apart; `StoreError` for a store without a run."""
    last = store.runs.last()
    if last is None:
        raise StoreError(f"store {store.root}: there is no run yet; call `many-models run` first")
    return tuple(json.loads(last.job)["by"])


def named(store: Store, groups: Key | Sequence[Key]) -> dict[str, tuple[str, ...]]:
    """Digest -> key of the groups with these keys; `ConfigError` for one that the store does not know."""
    columns = partition_columns(store)
    given = [groups] if isinstance(groups, str | tuple) or not hasattr(groups, "__iter__") else list(groups)
    keys = [tuple(map(str, key)) if isinstance(key, tuple | list) else (str(key),) for key in given]
    if not keys:
        raise ConfigError("groups is empty; name one or more, or leave it out for all of them")
    for key in keys:
        if len(key) != len(columns):
            raise ConfigError(
                f"group {', '.join(key)}: a key has {len(columns)} parts ({', '.join(columns)}), not {len(key)}"
            )
    found = {digest_of(key): key for key in keys}
    query = "SELECT lower(hex(digest)) FROM groups WHERE digest IN (SELECT digest FROM wanted)"
    known = {digest for (digest,) in store.ledger.stream(query, wanted=map(bytes.fromhex, found))}
    for digest, key in found.items():
        if digest not in known:
            raise ConfigError(f"group {_named(columns, key)} is not in the store; {_nearest(store, columns, key)}")
    return found


def rollback(store: Store | str | Path, groups: Key | Sequence[Key] | None = None, to: int | None = None) -> int:
    """Let an older version serve again: the one that served before, or number `to`; returns how many groups moved.

    groups: a key or several, None for all, of which those without such a version stay as they are. Raises
    `ConfigError` for an unknown group, `StoreError` for a named one without such a version (nothing moves then).
    """
    if isinstance(store, Store):
        return store.versions.rollback(None if groups is None else list(named(store, groups)), to)
    with Store.open(store, write=True) as opened:
        return rollback(opened, groups, to)


def unserved(store: Store, digests: Iterable[str] | None = None) -> Iterator[tuple[tuple[str, ...], str]]:
    """Groups that no model serves, all or of those named, each with its key and why."""
    query = (
        "SELECT g.key, v.state, v.reason, v.error FROM groups g LEFT JOIN versions v ON v.group_id = g.id AND v.number "
        "= g.latest WHERE g.champion IS NULL"
    )
    if digests is not None:
        query += " AND g.digest IN (SELECT digest FROM wanted)"
    wanted = None if digests is None else map(bytes.fromhex, digests)
    for key, state, reason, error in store.ledger.stream(f"{query} ORDER BY g.id", wanted=wanted):
        why = WAITING if state is None else ": ".join(filter(None, (state, error or reason)))
        yield tuple(json.loads(key)), why


def older(store: Store, champion: Champion) -> Champion | None:
    """The newest version of the group before this one that could serve, None where there is none."""
    for row in reversed(store.versions.history(champion.digest)):
        usable = row["shard"] and row["accepted"] and row["state"] in (OK, FALLBACK)
        if usable and row["version"] < champion.version:
            return _as_champion(store, champion, row)
    return None


def _as_champion(store: Store, champion: Champion, row: Mapping[str, Any]) -> Champion:
    files = {name: None if row[name] is None else _file(store, row[name]) for name in ("shard", "forecast")}
    same = ("version", "run", "state", "model", "place", "until", "content", "series", "rows")
    losses = ("loss", "baseline", "newest", "label")
    return replace(champion, **files, **{name: row[name] for name in same + losses})


def _file(store: Store, name: str) -> File:
    ((sha256, size),) = store.ledger.stream("SELECT sha256, size FROM files WHERE name = ?", (name,))
    return File(name, sha256, size)


def _nearest(store: Store, columns: Sequence[str], key: tuple[str, ...]) -> str:
    text = " / ".join(key)
    # Letters beyond ASCII take six characters in the ledger.
    query = "SELECT key FROM groups WHERE abs(length(key) - ?) <= 12 LIMIT ?"
    rows = store.ledger.stream(query, (len(json.dumps(key)), LOOKED_THROUGH))
    alike = {" / ".join(other): other for other in (json.loads(row[0]) for row in rows)}
    near = difflib.get_close_matches(text, alike, n=50, cutoff=0.6)
    if near:
        # Of those that are alike the one with the same letters in the same places.
        best = max(near, key=lambda other: sum(map(str.__eq__, text, other)))
        return f"did you mean {_named(columns, alike[best])}?"
    for (first,) in store.ledger.stream("SELECT key FROM groups ORDER BY id LIMIT 1"):
        return f"the first of its groups is {_named(columns, json.loads(first))}"
    return "it has no groups yet"


def _named(columns: Sequence[str], key: Sequence[str]) -> str:
    return ", ".join(f"{column}={part}" for column, part in zip(columns, key, strict=True))
