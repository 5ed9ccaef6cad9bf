"""Batches given out to an engine, and their receipts entered into the ledger, until every group has a result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from many_models.executors import executor
from many_models.job import Job, lost
from many_models.kinds import Kind
from many_models.protocols import FAILED, FALLBACK, OK, QUARANTINED, Death, Executor, Lost
from many_models.settings import Settings
from many_models.store import Store

#: How often a batch is given out that an engine lost.
ROUNDS = 3


@dataclass(frozen=True)
class Summary:
    """How a run ended. state: "done" or "failed" (more groups than allowed); counts: groups by state; better: share of
    the groups whose loss out of fold is at or below their baseline's, of those that could be judged (NaN for none);
    peak: bytes of memory of a worker at most."""

    run: int
    state: str
    counts: Mapping[str, int]
    seconds: float
    better: float
    peak: int

    @property
    def groups(self) -> int:
        """All groups of the run."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Groups without a result."""
        return self.counts.get(FAILED, 0) + self.counts.get(QUARANTINED, 0)

    @property
    def exit_code(self) -> int:
        """0 all well, 1 more groups failed than allowed, 2 some did."""
        return 1 if self.state == "failed" else 2 if self.failed else 0


def execute(store: Store, run: int, kind: Kind, job: Job, settings: Settings) -> Summary:
    """Do what is left of a planned run."""
    began = time.monotonic()
    total = store.plan.progress(run)
    settings.tell({"event": "phase", "name": "training"})
    settings.tell({"event": "groups", "run": run, "total": total.groups, "done": total.groups_done})
    with engine_of(settings) as engine:
        for turn in range(ROUNDS):
            missing = _round(store, run, engine, kind, (job, settings))
            if not missing:
                break
            if turn == ROUNDS - 1:
                _give_up(store, run, missing)
    return _ended(store, run, settings, time.monotonic() - began)


def engine_of(settings: Settings) -> Any:
    """The executor that a run asked for, to be closed when done."""
    options = {} if settings.address is None else {"address": settings.address}
    return executor(settings.engine, settings.processes, **options)


def _round(store: Store, run: int, engine: Executor, kind: Kind, asked: tuple[Job, Settings]) -> dict[str, str]:
    """Every pending batch once; returns why the engine lost some, by the name of the batch."""
    (job, settings), reasons = asked, {}
    work = partial(kind.work, job, settings.limits)
    for batch, outcome in engine.map(work, kind.given(store, store.plan.pending(run))):
        if isinstance(outcome, Lost):
            reasons[batch.name] = f"the engine lost it: {outcome.details.get('error', outcome.reason)}"
            settings.tell({"event": "lost", "run": run, "groups": len(batch), "error": reasons[batch.name]})
            continue
        for receipt in outcome:
            store.versions.commit(run, receipt)
            for result in receipt.results:
                event = {"event": "group", "run": run, "group": result.digest, "state": result.state}
                settings.tell({**event, "seconds": result.seconds, "error": result.error})
    return reasons


def _give_up(store: Store, run: int, reasons: Mapping[str, str]) -> None:
    """What an engine has lost again and again is told as quarantined."""
    for batch in list(store.plan.pending(run)):
        text = reasons.get(batch.name, "the engine lost it")
        store.versions.commit(run, lost(batch, Death("lost", text), ROUNDS))


def _ended(store: Store, run: int, settings: Settings, seconds: float) -> Summary:
    counts = store.runs.counts(run)
    judged, better, peak = 0, 0, 0
    for row in store.versions.results(run, (OK, FALLBACK)):
        peak = max(peak, row["peak"] or 0)
        if row["loss"] == row["loss"] and row["baseline"] == row["baseline"]:
            judged += 1
            better += row["loss"] <= row["baseline"]
    summary = Summary(run, "done", counts, seconds, better / judged if judged else float("nan"), peak)
    if summary.failed > settings.max_failed * summary.groups:
        summary = replace(summary, state="failed")
    store.runs.end(run, summary.state)
    settings.tell({"event": "end", "run": run, "state": summary.state, **counts})
    return summary
