"""`run_batch`: the AutoML run of every group of a batch, from its rows to files in the store; the guard of its groups.

It knows nothing of the driver: what it needs comes with the job, and what it did goes back as a receipt.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa
import pyarrow.parquet as pq

import forecastml as fm
from forecastml.errors import FutureError, NothingToCompare
from forecastml.learners.registry import registered
from forecastml.prior_storage import unpack_prior
from many_models.errors import StoreFull
from many_models.files import read, write
from many_models.protocols import (
    FAILED,
    FALLBACK,
    OK,
    QUARANTINED,
    SKIPPED,
    Batch,
    Death,
    File,
    Group,
    GroupResult,
    Layout,
    Receipt,
)
from many_models.shard import Fit, Shard, served_groups
from many_models.succession import challenged, serving_models, shards_of

#: What a user is told of a group that takes part in no fold.
NOT_JUDGED = "not judged: it is too short, or ended before the others; it has the weights that all groups share"
#: The column of a forecast part that tells the rows of a group.
GROUP = "_group"
#: What is told of a group that an update leaves as it is.
UNMOVED = "no newer rows: it stays as it is"
#: Groups served by the last resort whose errors are looked into, per batch: each costs a fit of its own.
EXPLAINED = 16


@dataclass(frozen=True, eq=False)
class Job:
    """What the batches of a run have in common; small, and can be sent to a worker.

    task: with its groups; root: folder of the store; prior: what the groups share, in the store; None: each group is
    searched on its own; learners: what the user has registered, as cloudpickle writes it.
    """

    task: Any
    config: fm.Config
    layout: Layout
    root: str
    prior: File | None = None
    learners: bytes = b""

    @classmethod
    def of(cls, task: Any, config: fm.Config, layout: Layout, root: Path, prior: File | None) -> Job:
        """A job with the learners that are registered now."""
        return cls(task, config, layout, str(root), prior, cloudpickle.dumps(registered()))


def run_batch(job: Job, batch: Batch) -> Receipt:
    """Fit the groups of a batch, write their models and forecasts to the store, and say what became of each.

    A group that cannot be read or fitted is told as failed and costs the others nothing. Raises `StoreFull`.
    """
    began = time.time()
    for learner in cloudpickle.loads(job.learners):
        fm.register(learner)
    prior = unpack_prior(read(Path(job.root), job.prior)) if job.prior else None
    fits, failures = fitted(job, _trained(prior), [batch] if prior else _singles(batch))
    results = _results(job, fits, partial(_explained, job, prior))
    if any(group.serving for group in batch.groups):
        results, fits = challenged(job, prior, results, fits)
    return handed_in(job, batch, (results, fits, failures), began)


def update_batch(job: Job, batch: Batch) -> Receipt:
    """Move the models that serve the groups of a batch over its rows, which may be older in part, without a fit.

    A group that no model serves is told as skipped, and one without newer rows keeps its version. What a version has
    learned from stays what it was. Raises `StoreFull`.
    """
    began = time.time()
    strangers = [group for group in batch.groups if group.serving is None]
    results = [
        GroupResult(group.digest, SKIPPED, rows=group.rows, accepted=False, error="not in the store yet: retrain stale")
        for group in strangers
    ]
    pairs, failures = fitted(job, _moved, shards_of(batch))
    fits = [Fit(pair.model[0], pair.batch) for pair in pairs]
    stay = {key for pair in pairs for key in pair.model[1]}
    serving = {group.digest: group for group in batch.groups if group.serving}
    for result in _results(job, fits):
        group = serving[result.digest]
        result = replace(result, content=group.serving.content, newest=group.serving.newest)
        results.append(replace(result, accepted=False, label=UNMOVED) if group.key in stay else result)
    return handed_in(job, batch, (results, fits, failures), began)


def handed_in(
    job: Job, batch: Batch, done: tuple[list[GroupResult], list[Fit], dict[str, BaseException]], began: float
) -> Receipt:
    """The receipt of what was done, once its files are in the store."""
    results, fits, failures = done
    root = Path(job.root)
    shard = write(root, "shards", Shard.of([fit.model for fit in fits]).pack(), ".zip") if fits else None
    forecast = _forecasts(job, fits, root)
    results = results + [_failed(group, failures[group.digest]) for group in batch.groups if group.digest in failures]
    ended = time.time()
    seconds = max(ended - began, 0.0) / len(batch)
    return Receipt(
        batch=batch.name,
        results=tuple(replace(result, seconds=seconds) for result in results),
        shard=shard,
        forecast=forecast,
        began=began,
        ended=ended,
        place=f"{platform.node()}:{os.getpid()}",
    )


def lost(batch: Batch, death: Death, attempts: int) -> Receipt:
    """The receipt of a lone group that took its worker down, or of a batch that no worker could do."""
    now = time.time()
    results = [
        GroupResult(
            group.digest,
            QUARANTINED,
            rows=group.rows,
            content=group.content,
            accepted=False,
            reason=death.reason,
            error=death.text,
            attempts=attempts,
        )
        for group in batch.groups
    ]
    return Receipt(batch.name, tuple(results), began=now, ended=now, peak=death.peak)


def _singles(batch: Batch) -> Iterator[Batch]:
    return (Batch((group,), batch.parts) for group in batch.groups)


def fitted(
    job: Job, make: Callable[[Job, Batch], Any], batches: Iterable[Batch]
) -> tuple[list[Fit], dict[str, BaseException]]:
    """Models for the groups of these batches; where one cannot be made, halving finds the groups that are to blame."""
    fits, failures, parts = [], {}, list(batches)[::-1]
    while parts:
        batch = parts.pop()
        try:
            fits.append(Fit(make(job, batch), batch))
        except StoreFull:
            raise
        except Exception as error:
            if len(batch) == 1:
                failures[batch.groups[0].digest] = error
            else:
                parts += batch.halves()[::-1]
    return fits, failures


def _trained(prior: Any) -> Callable[[Job, Batch], Any]:
    return lambda job, batch: fm.fit(job.layout.read(batch), job.task, job.config, prior)


def _moved(job: Job, batch: Batch) -> tuple[Any, set[tuple[str, ...]]]:
    """The model that serves these groups of one shard, moved over the rows, and the keys of groups that stand still."""
    first, *others = serving_models(job, batch)
    model = first.stack(others) if others else first
    try:
        moved = model.append(job.layout.read(batch), overlap=True)
    except NothingToCompare:
        if len(batch) > 1:
            raise
        return model, {batch.groups[0].key}
    went = set(moved.panel.group[moved.panel.last_ordinal > model.panel.last_ordinal].tolist())
    keys = served_groups(moved, job.layout.by)
    return moved, {key for k, key in enumerate(keys) if k not in went}


def _results(
    job: Job, fits: list[Fit], explained: Callable[[Fit, Group, GroupResult], GroupResult] | None = None
) -> list[GroupResult]:
    """How the groups of these fits are served, with their places in a shard of the models in this order.

    explained: gives the result of a group that only the last resort serves with the reason.
    """
    results, first, asked = [], 0, 0
    for fit in fits:
        rows = fit.groups(job.layout.by)
        places = {key: first + k for k, key in enumerate(rows)}
        for group in fit.batch.groups:
            if group.key not in rows:
                reason = "all of its series ended long before the others"
                results.append(GroupResult(group.digest, SKIPPED, rows=group.rows, error=reason, accepted=False))
                continue
            result = _served(group, rows[group.key], places[group.key])
            if explained and result.state == FALLBACK and asked < EXPLAINED:
                asked += 1
                result = explained(fit, group, result)
            results.append(result)
        first += len(rows)
    return results


def _served(group: Group, row: Mapping[str, Any], place: int) -> GroupResult:
    label = row["reason"]
    if row["state"] == OK and row["baseline"] < row["loss"]:
        label = f"its baseline was better out of fold: {row['baseline']:.4g} against {row['loss']:.4g}"
    if row["state"] == OK and row["loss"] != row["loss"]:
        label = NOT_JUDGED
    return GroupResult(
        group.digest,
        row["state"],
        model=row["model_used"],
        place=place,
        series=int(row["items"]),
        rows=group.rows,
        content=group.content,
        until=row.get("until", ""),
        loss=float(row["loss"]),
        baseline=float(row["baseline"]),
        newest=float(row["newest"]),
        label=label,
    )


def _explained(job: Job, prior: Any, fit: Fit, group: Group, result: GroupResult) -> GroupResult:
    """The result with the errors of the learners that could not serve this group, from a fit of it alone."""
    log = fit.model.log
    if len(fit.batch) > 1:
        alone, _ = fitted(job, _trained(prior), [Batch((group,), fit.batch.parts)])
        log = alone[0].model.log if alone else ()
    errors = [f"{row.name}: {row.error}" for row in log if row.error]
    return replace(result, reason="exception", error="; ".join(errors)) if errors else result


def _failed(group: Group, error: BaseException) -> GroupResult:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return GroupResult(
        group.digest,
        FAILED,
        rows=group.rows,
        content=group.content,
        accepted=False,
        reason="oom" if isinstance(error, MemoryError) else "exception",
        error=text,
    )


def _forecasts(job: Job, fits: list[Fit], root: Path) -> File | None:
    """The forecasts of these models as a Parquet file in the store; None where there are none.

    Models of rows have none, and no more those that need covariates of a future that the source does not hold.
    """
    # Where two models hold a group the later one serves it: an older version that goes on.
    last = {group.digest: k for k, fit in enumerate(fits) for group in fit.batch.groups}
    served = [{digest for digest, of in last.items() if of == k} for k in range(len(fits))]
    tables = [table for fit, some in zip(fits, served, strict=True) if (table := _forecast(job, fit, some)) is not None]
    if not tables:
        return None
    buffer = BytesIO()
    pq.write_table(pa.concat_tables(tables), buffer, compression="zstd")
    return write(root, "forecasts", buffer.getvalue(), ".parquet")


def _forecast(job: Job, fit: Fit, served: set[str]) -> pa.Table | None:
    """Forecasts of a model for the groups that it serves, with the digest of each row's group in the column `GROUP`."""
    if not hasattr(fit.model, "forecast"):
        return None
    try:
        frame = fit.model.forecast()
    except FutureError:
        return None
    table = pa.Table.from_pandas(frame, preserve_index=False)
    digests = {group.key: group.digest for group in fit.batch.groups if group.digest in served}
    keys = zip(*(table[column].to_pylist() for column in job.layout.by), strict=True)
    column = pa.array([digests.get(key) for key in keys], pa.string()).dictionary_encode()
    return table.add_column(0, GROUP, column).filter(column.is_valid())
