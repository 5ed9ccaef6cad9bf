"""The kinds of runs: where the rows come from, which groups take part, and what is done with a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from many_models.job import Job, lost, run_batch, update_batch
from many_models.preparation import laid_out_job, prepared
from many_models.protocols import FAILED, QUARANTINED, UPDATE, Batch, Group, Limits, Receipt, Serving
from many_models.settings import Request
from many_models.store import Store
from many_models.supervision import supervise

RUN = "run"
#: What a user may train again -> the kind of run.
RETRAIN = {which: f"retrain {which}" for which in ("failed", "quarantined", "stale", "all")}


#: A worker is to have so many batches, so that none waits long for the others, of so many groups at least.
TURNS, FEWEST = 3, 50


@dataclass(frozen=True)
class Kind:
    """job: of a run, from its request; chosen: which groups of a batch take part, None for all; work: what a worker
    does with a batch; champions: each group comes with the version that serves it."""

    job: Callable[[Store, int, Request, Any], Job]
    work: Callable[[Job, Limits, Batch], tuple[Receipt, ...]]
    chosen: Callable[[Store, Batch], Iterable[Group]] | None = None
    champions: bool = False

    def batches(self, store: Store, job: Job, workers: int) -> Iterator[Batch]:
        """The batches of the plan: enough of them for all workers; where few groups take part, brought together."""
        if self.chosen is None:
            most = max(FEWEST, -(-job.layout.total.groups // (TURNS * workers)))
            return (part for batch in job.layout.batches() for part in _cut(batch, most))
        return _gathered(replace(batch, groups=tuple(self.chosen(store, batch))) for batch in job.layout.batches())

    def given(self, store: Store, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Batches as a worker gets them."""
        return (with_champions(store, batch) for batch in batches) if self.champions else batches


def trained(job: Job, limits: Limits, batch: Batch) -> tuple[Receipt, ...]:
    """`run_batch` in a supervised child; what a worker does, on whatever machine."""
    return supervise(partial(run_batch, job), batch, limits, lost)


def updated(job: Job, limits: Limits, batch: Batch) -> tuple[Receipt, ...]:
    """`update_batch` in a supervised child."""
    return supervise(partial(update_batch, job), batch, limits, lost)


def _failed(store: Store, batch: Batch, states: tuple[str, ...]) -> Iterator[Group]:
    standing = store.versions.standing(group.digest for group in batch.groups)
    return (g for g in batch.groups if g.digest in standing and standing[g.digest].state in states)


def _stale(store: Store, batch: Batch) -> Iterator[Group]:
    """Groups whose rows are others than those that were learned from; those that took their worker down are left."""
    standing = store.versions.standing(group.digest for group in batch.groups)
    for group in batch.groups:
        found = standing.get(group.digest)
        if found is None or (found.content != group.content and found.state != QUARANTINED):
            yield group


def _cut(batch: Batch, most: int) -> Iterator[Batch]:
    """The batch in pieces of about equal numbers of groups."""
    pieces = -(-len(batch) // most)
    for k in range(pieces):
        yield Batch(batch.groups[k * len(batch) // pieces : (k + 1) * len(batch) // pieces], batch.parts)


def _gathered(batches: Iterable[Batch], most: int = 400) -> Iterator[Batch]:
    """Batches joined until they hold about as many groups as one usually does."""
    groups: tuple[Group, ...] = ()
    parts: tuple[str, ...] = ()
    for batch in batches:
        if len(batch):
            groups, parts = groups + batch.groups, tuple(dict.fromkeys(parts + batch.parts))
        if len(groups) >= most // 2:
            yield Batch(groups, parts)
            groups, parts = (), ()
    if groups:
        yield Batch(groups, parts)


def with_champions(store: Store, batch: Batch) -> Batch:
    """The groups with the versions that serve them."""
    digests = [group.digest for group in batch.groups]
    serving = {c.digest: Serving(c.shard, c.place, c.newest, c.content) for c in store.versions.champions(digests)}
    return replace(batch, groups=tuple(replace(g, serving=serving.get(g.digest)) for g in batch.groups))


KINDS = {
    RUN: Kind(prepared, trained),
    UPDATE: Kind(laid_out_job, updated, champions=True),
    RETRAIN["failed"]: Kind(prepared, trained, partial(_failed, states=(FAILED,)), champions=True),
    RETRAIN["quarantined"]: Kind(prepared, trained, partial(_failed, states=(FAILED, QUARANTINED)), champions=True),
    RETRAIN["stale"]: Kind(prepared, trained, _stale, champions=True),
    RETRAIN["all"]: Kind(prepared, trained, champions=True),
}
