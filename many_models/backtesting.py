"""Backtests over all groups: the whole training at several cutoffs, or the stored models rolled through newer rows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

import forecastml as fm
from forecastml.backtesting import shared_origins
from forecastml.errors import ConfigError, NothingToCompare
from many_models.execution import engine_of
from many_models.exporting import escaped
from many_models.job import Job, fitted, lost
from many_models.kinds import with_champions
from many_models.preparation import laid_out, sampled, trained_last
from many_models.protocols import FAILED, OK, SKIPPED, Batch, Death, Group, GroupResult, Limits, Lost, Receipt
from many_models.settings import Request, Settings
from many_models.store import Store
from many_models.succession import serving_models, shards_of
from many_models.supervision import supervise

#: Files of a backtest, as `forecastml.Backtest.save` calls them, and the groups that have none.
FORECASTS, SCORES, FAILURES = "forecasts.parquet", "scores.csv", "failures.csv"
#: What is told of a group without forecasts that could be compared.
UNCOMPARED = "no row follows a cutoff, so that there is nothing to compare with"
#: The set that a mean over groups is written under: not every metric of parts can be brought together exactly.
MEAN = "mean over series"


class _Means:
    """Means of scores over series, weighted by the rows compared, for each model and metric."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], np.ndarray] = {}

    def add(self, table: pa.Table) -> None:
        """Take in rows of scores."""
        columns = [table[name].to_pylist() for name in ("model", "metric", "score", "rows")]
        for model, metric, score, rows in zip(*columns, strict=True):
            if score is not None and np.isfinite(score):
                total = self._sums.setdefault((model, metric), np.zeros(2))
                total += (score * rows, rows)

    def scores(self) -> dict[str, dict[str, float]]:
        """Model -> metric -> mean."""
        found: dict[str, dict[str, float]] = {}
        for (model, metric), (total, rows) in sorted(self._sums.items()):
            found.setdefault(model, {})[metric] = float(total / rows)
        return found

    def table(self, schema: pa.Schema) -> pa.Table:
        """The means as rows of scores, with what they are as their set."""
        rows = []
        for (model, metric), (total, count) in sorted(self._sums.items()):
            row = dict.fromkeys(schema.names, "")
            row |= {"model": model, "set": MEAN, "metric": metric, "score": float(total / count), "rows": int(count)}
            rows.append(row)
        return pa.Table.from_pylist(rows, schema)


@dataclass(frozen=True)
class Backtested:
    """How a backtest ended. folder: where its files are; groups, failed: numbers (those without a row to compare with,
    or without a model, have not failed); scores: model -> metric -> mean over series, weighted by rows."""

    folder: Path
    groups: int
    failed: int
    scores: dict[str, dict[str, float]]


def backtest(
    store: str | Path,
    out: str | Path,
    folds: int = 3,
    step: int | None = None,
    context: Any = None,
    settings: Settings | None = None,
) -> Backtested:
    """What the groups' models would have forecast, compared with what came, written into the folder `out`.

    Without `context` every group is trained anew at each of `folds` cutoffs of the rows of the last training, `step`
    periods apart (None: the horizon), under priors that were learned at the same cutoffs. With `context`, a table or
    path of rows that are newer than the training, the stored models roll through them without a fit, `step` periods at
    a time (None: the horizon), from `folds` origins at most. Writes forecasts.parquet, scores.csv and, for groups that
    failed or have no row to compare with, failures.csv. Raises `StoreError` without a finished run, `ConfigError` for a
    folder in use and for models of rows.
    """
    out = _empty_folder(Path(out))
    with Store.open(store) as opened, tempfile.TemporaryDirectory(prefix=".backtest-", dir=out) as scratch:
        request = Request.from_json(trained_last(opened).job)
        if not hasattr(request.task, "horizon"):
            raise ConfigError(f"store {opened.root} holds models of rows, which have no cutoffs; see `leaderboard`")
        request = replace(request, settings=replace(settings or request.settings, scope=request.settings.scope))
        folder = Path(scratch)
        layout = laid_out(opened, folder / "data", request, context)
        job = Job.of(request.task, request.config, layout, opened.root, None)
        if context is None:
            origins = _origins(request, layout, folds, step)
            make: Callable[[Job, Batch], Any] = partial(_retrained, origins)
            batches = layout.batches()
        else:
            make = partial(_rolled, folds, step or request.task.horizon)
            batches = (with_champions(opened, batch) for batch in layout.batches())
        work = partial(_supervised, partial(_tested, job, make, str(folder)), request.settings.limits)
        results = list(_receipts(work, batches, request.settings))
        return _collected(out, folder, results, {g.digest: g.key for b in layout.batches() for g in b.groups})


def _empty_folder(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; name a new or an empty folder for the backtest")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _origins(request: Request, layout: Any, folds: int, step: int | None) -> Any:
    if request.settings.scope == "own":
        return folds, step
    data = sampled(request, layout)
    return shared_origins(data, request.task, request.config, folds, step, of=layout.total.groups), None


def _retrained(origins: tuple[Any, int | None], job: Job, batch: Batch) -> tuple[pa.Table, pa.Table]:
    """Forecasts and scores of the groups of a batch, trained at each cutoff."""
    found = fm.backtest(job.layout.read(batch), job.task, job.config, *origins)
    return tuple(pa.Table.from_pandas(part, preserve_index=False) for part in (found.forecasts, found.scores))


def _rolled(folds: int, step: int, job: Job, batch: Batch) -> tuple[pa.Table, pa.Table]:
    """Forecasts and scores of the models that serve the groups of one shard, rolled through the rows of a batch."""
    first, *others = serving_models(job, batch)
    model = first.stack(others) if others else first
    rows = job.layout.read(batch)
    forecasts = model.roll(rows, step, folds=folds, overlap=True)
    scores = model.score(rows, step=step, folds=folds, overlap=True)
    scores.insert(0, "model", "ensemble")
    return pa.Table.from_pandas(forecasts, preserve_index=False), pa.Table.from_pandas(scores, preserve_index=False)


def _tested(job: Job, make: Callable[[Job, Batch], Any], folder: str, batch: Batch) -> Receipt:
    """The backtest of a batch as two files in the folder; a group that fails costs the others nothing."""
    began = time.time()
    stored = any(group.serving for group in batch.groups)
    fits, failures = fitted(job, make, shards_of(batch) if stored else [batch])
    if fits:
        pq.write_table(pa.concat_tables([fit.model[0] for fit in fits]), Path(folder) / f"{batch.name}.forecasts")
        pq.write_table(pa.concat_tables([fit.model[1] for fit in fits]), Path(folder) / f"{batch.name}.scores")
    done = {key for fit in fits for key in _keys(fit.model[0], job.layout.by)}
    results = [_result(group, done, failures, stored) for group in batch.groups]
    return Receipt(batch.name, tuple(results), began=began, ended=time.time())


def _keys(table: pa.Table, by: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Keys of the groups that have rows."""
    return {tuple(row.values()) for row in table.select(list(by)).group_by(list(by)).aggregate([]).to_pylist()}


def _result(
    group: Group, done: set[tuple[str, ...]], failures: Mapping[str, BaseException], stored: bool
) -> GroupResult:
    if group.key in done:
        return GroupResult(group.digest, OK)
    if stored and group.serving is None:
        return GroupResult(group.digest, SKIPPED, error="it has no model in the store")
    error = failures.get(group.digest)
    if error is None or isinstance(error, NothingToCompare):
        # Whether this was told as an error depends on its neighbours; what became of it does not.
        return GroupResult(group.digest, SKIPPED, error=UNCOMPARED)
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return GroupResult(group.digest, FAILED, reason="exception", error=text)


def _supervised(work: Callable[[Batch], Receipt], limits: Limits, batch: Batch) -> tuple[Receipt, ...]:
    return supervise(work, batch, limits, lost)


def _receipts(work: Any, batches: Iterator[Batch], settings: Settings) -> Iterator[Receipt]:
    """What became of all batches; one that an engine lost is told as such."""
    with engine_of(settings) as engine:
        for batch, outcome in engine.map(work, batches):
            if isinstance(outcome, Lost):
                yield lost(batch, Death("lost", outcome.details.get("error", outcome.reason)), 1)
            else:
                yield from outcome


def _collected(out: Path, folder: Path, receipts: list[Receipt], keys: Mapping[str, tuple[str, ...]]) -> Backtested:
    """The files of the batches as those of the backtest, in the order of their names; one batch at a time in memory."""
    bad = [result for receipt in receipts for result in receipt.results if result.state != OK]
    groups = sum(len(receipt.results) for receipt in receipts)
    means = _Means()
    names = sorted(path.stem for path in folder.glob("*.forecasts"))
    if names:
        schema = pq.read_schema(folder / f"{names[0]}.forecasts")
        with (
            pq.ParquetWriter(out / FORECASTS, schema, compression="zstd") as forecasts,
            open(out / SCORES, "wb") as scores,
        ):
            for k, name in enumerate(names):
                forecasts.write_table(pq.read_table(folder / f"{name}.forecasts").cast(schema))
                table = pq.read_table(folder / f"{name}.scores")
                table = table.filter(pc.equal(table["set"], "series"))
                means.add(table)
                csv.write_csv(escaped(table), scores, csv.WriteOptions(include_header=k == 0))
            csv.write_csv(means.table(table.schema), scores, csv.WriteOptions(include_header=False))
    if bad:
        rows = {"group": [", ".join(keys[r.digest]) for r in bad], "state": [r.state for r in bad]}
        csv.write_csv(escaped(pa.table({**rows, "error": [r.error for r in bad]})), out / FAILURES)
    failed = sum(result.state != SKIPPED for result in bad)
    return Backtested(out, groups, failed, means.scores())
