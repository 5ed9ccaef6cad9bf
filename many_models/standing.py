"""How far the runs of a store are; can be asked from any process while one writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from many_models.errors import StoreError
from many_models.lease import Holder, holder
from many_models.runs import Run
from many_models.serving import reading
from many_models.store import Store

if TYPE_CHECKING:
    import pandas as pd

#: Shards of which the pace is told.
RECENT = 20
_TIME = pa.timestamp("us", "UTC")


@dataclass(frozen=True, eq=False)
class Status:
    """How the last run of a store stands.

    run: its number, 0 where there is none; kind: "run", "update", "retrain ..."; state: "running", "done", "failed"
    (more groups than allowed), "paused" or "interrupted" (`resume` goes on); phase: what a running one is at; done,
    total: groups; counts: groups by state; rate: groups per second of late, NaN before the first are done; left:
    seconds that the rest will take at that pace, NaN where nobody knows; seconds: since it began, or that it took;
    holder: who writes to the store, "" for nobody; note: why it ended early; runs: a table with a row per run.
    """

    store: str
    run: int
    kind: str
    state: str
    phase: str
    done: int
    total: int
    counts: Mapping[str, int]
    rate: float
    left: float
    seconds: float
    holder: str
    note: str
    runs: pd.DataFrame


def status(store: Store | str | Path) -> Status:
    """How the last run of a store stands."""
    with reading(store) as opened:
        writer, runs = _writer(opened), list(opened.runs.all())
        standings = [_standing(opened, run, writer) for run in runs]
        table = _table(runs, standings)
        if not runs:
            nan = float("nan")
            who = "" if writer is None else str(writer)
            return Status(str(opened.root), 0, "", "", "", 0, 0, {}, nan, nan, 0.0, who, "", table)
        last, (state, done, total) = runs[-1], standings[-1]
        ended = time.time() if state == "running" or last.ended is None else last.ended
        rate = _rate(opened, last, state, done, ended)
        return Status(
            store=str(opened.root),
            run=last.id,
            kind=last.kind,
            state=state,
            phase=_phase(opened, last) if state == "running" else "",
            done=done,
            total=total,
            counts=opened.runs.counts(last.id),
            rate=rate,
            left=(total - done) / rate if state == "running" and rate > 0 else float("nan"),
            seconds=max(ended - last.began, 0.0),
            holder="" if writer is None else str(writer),
            note=last.note,
            runs=table,
        )


def _writer(store: Store) -> Holder | None:
    try:
        return holder(store.root)
    except StoreError:
        # A folder that can only be read: nobody can write to it from here.
        return None


def _standing(store: Store, run: Run, writer: Holder | None) -> tuple[str, int, int]:
    """State, groups done and groups in all; the plan of a finished run may be cleared."""
    counted = sum(store.runs.counts(run.id).values())
    planned = store.plan.progress(run.id).groups
    # A driver that was killed had no time to say so.
    state = "interrupted" if run.state == "running" and writer is None else run.state
    return state, counted, max(planned, counted)


def _phase(store: Store, run: Run) -> str:
    if run.planned:
        return "training"
    if not (store.root / "data" / f"run-{run.id}" / "groups.parquet").exists():
        return "laying out the rows"
    return "planning" if store.find(f"prior-{run.id}") else "learning what groups share"


def _rate(store: Store, run: Run, state: str, done: int, ended: float) -> float:
    """Groups per second: of a running one by the shards that came last, since it may have been resumed."""
    if state != "running":
        return done / (ended - run.began) if done and ended > run.began else float("nan")
    query = (
        "SELECT max(r.ended), count(*) FROM versions v JOIN receipts r ON r.id = v.receipt WHERE v.run = ? AND v.shard "
        "IN (SELECT id FROM files WHERE kind = 'shards' ORDER BY id DESC LIMIT ?) GROUP BY v.shard ORDER BY 1"
    )
    recent = list(store.ledger.stream(query, (run.id, RECENT)))
    if len(recent) < 2 or ended <= recent[0][0]:
        return float("nan")
    return sum(groups for _, groups in recent[1:]) / (ended - recent[0][0])


def _table(runs: list[Run], standings: list[tuple[str, int, int]]) -> pd.DataFrame:
    def times(name: str) -> pa.Array:
        values = [getattr(run, name) for run in runs]
        return pa.array([None if value is None else round(value * 1e6) for value in values], _TIME)

    columns = {
        "run": pa.array([run.id for run in runs], pa.int64()),
        "kind": pa.array([run.kind for run in runs], pa.string()),
        "state": pa.array([state for state, _, _ in standings], pa.string()),
        "done": pa.array([done for _, done, _ in standings], pa.int64()),
        "groups": pa.array([total for _, _, total in standings], pa.int64()),
        "began": times("began"),
        "ended": times("ended"),
        "note": pa.array([run.note for run in runs], pa.string()),
    }
    return pa.table(columns).to_pandas()
