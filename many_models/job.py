"""`run_batch`: the AutoML run of every group of a batch, from its rows to files in the store; the guard of its groups.

It knows nothing of the driver: what it needs comes with the job, and what it did goes back as a receipt.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa
import pyarrow.parquet as pq

import forecastml as fm
from forecastml.errors import FutureError
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
from many_models.shard import Shard

#: The column of a forecast part that tells the rows of a group.
GROUP = "_group"
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


@dataclass(frozen=True, eq=False)
class _Fit:
    """A model and the batch that it was fitted for."""

    model: Any
    batch: Batch


def run_batch(job: Job, batch: Batch) -> Receipt:
    """Fit the groups of a batch, write their models and forecasts to the store, and say what became of each.

    A group that cannot be read or fitted is told as failed and costs the others nothing. Raises `StoreFull`.
    """
    began, clock = time.time(), time.monotonic()
    for learner in cloudpickle.loads(job.learners):
        fm.register(learner)
    root = Path(job.root)
    prior = unpack_prior(read(root, job.prior)) if job.prior else None
    fits, failures = [], {}
    for part in [batch] if prior else _singles(batch):
        found, failed = _fitted(job, prior, part)
        fits += found
        failures |= failed
    shard = write(root, "shards", Shard.of([fit.model for fit in fits]).pack(), ".zip") if fits else None
    results = _results(job, prior, fits)
    results += [_failed(group, failures[group.digest]) for group in batch.groups if group.digest in failures]
    seconds = (time.monotonic() - clock) / len(batch)
    return Receipt(
        batch=batch.name,
        results=tuple(replace(result, seconds=seconds) for result in results),
        shard=shard,
        forecast=_forecasts(job, fits, root),
        began=began,
        ended=time.time(),
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


def _fitted(job: Job, prior: Any, batch: Batch) -> tuple[list[_Fit], dict[str, BaseException]]:
    """Models for the groups; where a fit raises, halving finds the groups that are to blame."""
    try:
        return [_Fit(fm.fit(job.layout.read(batch), job.task, job.config, prior), batch)], {}
    except (KeyboardInterrupt, StoreFull):
        raise
    except Exception as error:
        if len(batch) == 1:
            return [], {batch.groups[0].digest: error}
    fits, failures = [], {}
    for half in batch.halves():
        found, failed = _fitted(job, prior, half)
        fits += found
        failures |= failed
    return fits, failures


def _results(job: Job, prior: Any, fits: list[_Fit]) -> list[GroupResult]:
    """How the groups of these fits are served, with their places in a shard of the models in this order."""
    results, first, explained = [], 0, 0
    for fit in fits:
        rows = fit.model.groups().to_dict("records")
        places = {tuple(row[column] for column in job.layout.by): k for k, row in enumerate(rows)}
        for group in fit.batch.groups:
            place = places.get(group.key)
            if place is None:
                reason = "all of its series ended long before the others"
                results.append(GroupResult(group.digest, SKIPPED, rows=group.rows, error=reason, accepted=False))
                continue
            row = rows[place]
            result = _served(group, row, first + place)
            if result.state == FALLBACK and explained < EXPLAINED:
                explained += 1
                result = _explained(job, prior, fit, group, result)
            results.append(result)
        first += len(rows)
    return results


def _served(group: Group, row: Mapping[str, Any], place: int) -> GroupResult:
    label = row["reason"]
    if row["state"] == OK and row["baseline"] < row["loss"]:
        label = f"its baseline was better out of fold: {row['baseline']:.4g} against {row['loss']:.4g}"
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


def _explained(job: Job, prior: Any, fit: _Fit, group: Group, result: GroupResult) -> GroupResult:
    """The result with the errors of the learners that could not serve this group, from a fit of it alone."""
    log = fit.model.log
    if len(fit.batch) > 1:
        alone, _ = _fitted(job, prior, Batch((group,), fit.batch.parts))
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


def _forecasts(job: Job, fits: list[_Fit], root: Path) -> File | None:
    """The forecasts of these models as a Parquet file in the store; None where there are none.

    Models of rows have none, and no more those that need covariates of a future that the source does not hold.
    """
    tables = [table for fit in fits if (table := _forecast(job, fit)) is not None]
    if not tables:
        return None
    buffer = BytesIO()
    pq.write_table(pa.concat_tables(tables), buffer, compression="zstd")
    return write(root, "forecasts", buffer.getvalue(), ".parquet")


def _forecast(job: Job, fit: _Fit) -> pa.Table | None:
    """Forecasts of a model with the digest of each row's group in the column `GROUP`."""
    if not hasattr(fit.model, "forecast"):
        return None
    try:
        frame = fit.model.forecast()
    except FutureError:
        return None
    table = pa.Table.from_pandas(frame, preserve_index=False)
    digests = {group.key: group.digest for group in fit.batch.groups}
    keys = zip(*(table[column].to_pylist() for column in job.layout.by), strict=True)
    return table.add_column(0, GROUP, pa.array([digests[key] for key in keys], pa.string()).dictionary_encode())
