"""Small stores whose shards are JSON lists, so that a test can see that a place holds the model of its group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from many_models import files
from many_models.protocols import Batch, Group, GroupResult, Receipt, digest_of
from many_models.store import Store

ROOT = Path(__file__).parents[2]


def group(name: str, content: str = "c0") -> Group:
    return Group((name,), 10, content)


def batches(number: int, size: int = 4, content: str = "c0") -> list[Batch]:
    groups = [group(f"store {i}", content) for i in range(number)]
    return [Batch(tuple(groups[i : i + size]), ("data/0.parquet",)) for i in range(0, number, size)]


def digest(name: str) -> str:
    return digest_of((name,))


def receipt(root: Path, batch: Batch, salt: str = "", states: dict[str, str] | None = None, **fields) -> Receipt:
    """What a worker would hand back: models in a shard for what has one, forecasts, a result per group.

    states: by text of the key, "ok" for the others.
    """
    results, models = [], []
    for item in batch.groups:
        state = (states or {}).get(item.key[0], "ok")
        place = -1
        if state in ("ok", "fallback"):
            place = len(models)
            models.append(f"{item.digest} {salt}")
        values = {"rows": item.rows, "content": item.content, "series": 1, **fields}
        results.append(GroupResult(item.digest, state, "theta", place, **values))
    shard = files.write(root, "shards", json.dumps(models).encode(), ".json") if models else None
    forecast = files.write(root, "forecasts", f"{batch.name} {salt}".encode(), ".parquet")
    return Receipt(batch.name, tuple(results), shard, forecast, 1.0, 2.0, 1000, "here:1")


def cut(content: bytes, places: list[int]) -> bytes:
    models = json.loads(content)
    return json.dumps([models[place] for place in places]).encode()


def fitted(store: Store, planned: Iterable[Batch], salt: str = "", **options) -> int:
    """A whole run; its number."""
    run = store.runs.begin("fit", "f", "{}")
    store.plan.add(run, planned)
    for batch in store.plan.pending(run):
        assert store.versions.commit(run, receipt(store.root, batch, salt, **options))
    store.runs.end(run, "done")
    return run


def served(store: Store) -> dict[str, str]:
    """Key -> the text of its model, each read from its shard and checked to be of this group."""
    found = {}
    for champion in store.versions.champions():
        model = json.loads(store.read(champion.shard))[champion.place]
        assert model.startswith(champion.digest)
        assert champion.digest == digest_of(champion.key)
        found[champion.key[0]] = model.partition(" ")[2]
    return found


def script(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A process of its own that runs `code` with this project and the arguments."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def finished(process: subprocess.Popen[str], text: str = "") -> str:
    """Output of a process that must end well."""
    out, error = process.communicate(text, timeout=60)
    assert process.returncode == 0, error
    return out
