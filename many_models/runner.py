"""Runs over all groups: prepare, plan, do the batches somewhere, enter their receipts into the ledger.

    run       every group of a source
    resume    what a run that was cut short has left
    retrain   groups that failed, that have new data, or all of them: the older version stays until the new one is good
    update    newer rows for the models as they are, without a fit

A batch's receipt is what counts: files without one are nobody's, and a batch that is done twice changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import forecastml as fm
from forecastml.config import as_config
from forecastml.errors import ConfigError, ForecastMLError
from forecastml.task import grouped
from many_models import fork_server
from many_models.errors import StoreError, StoreFull
from many_models.execution import Summary, execute
from many_models.kinds import KINDS, RETRAIN, RUN, UPDATE
from many_models.preparation import forget_rows, trained_last
from many_models.settings import Request, Settings, changed_code, code_in_use
from many_models.store import Store, is_store


def run(
    source: Any,
    by: Any,
    task: fm.Forecasting | fm.Classification | fm.Regression,
    config: fm.Config | str = "balanced",
    store: str | Path = "store",
    settings: Settings | None = None,
) -> Summary:
    """Train one AutoML model for each group of a source and keep it all in a store, which is made if it is not there.

    source: pandas, polars or Arrow table, or the path or URL of a CSV file, a Parquet file or folder; by: columns whose
    values tell groups apart; task, config: as for `forecastml.fit`. A group that fails is a row of `results` and stops
    nobody. Raises `StoreInUse`, `StoreFull` (after which `resume` goes on), `DataError` for a source that cannot be
    read, and `StoreError` when an earlier run of the store is not finished.
    """
    settings, config = settings or Settings(), as_config(config)
    by = (by,) if isinstance(by, str) else tuple(by)
    if not by:
        raise ConfigError("by is empty; name the columns that tell the groups apart")
    if settings.scope != "own":
        config = replace(config, scope=settings.scope)
    # One level of parallelism: a worker has one thread.
    config = replace(config, workers=1, threads=1)
    request = Request(_path(source), by, grouped(task, by), config, settings, code_in_use())
    with writing(store, settings, create=True) as opened:
        _refuse_unfinished(opened)
        return _begun(opened, RUN, request, source)


def resume(store: str | Path, settings: Settings | None = None) -> Summary:
    """Go on with the last run of a store where it was cut short; finished groups are not fitted again.

    settings: workers, engine, limits and listener may differ; the scope may not. Raises `StoreError` when there is
    nothing to resume, and when the code is not that of the beginning, since results would be mixed.
    """
    with writing(store, settings or Settings()) as opened:
        last = opened.runs.last()
        if last is None or last.state in ("done", "failed"):
            raise StoreError(f"store {opened.root}: there is no unfinished run to resume")
        request = Request.from_json(last.job)
        if settings is not None:
            request = replace(request, settings=replace(settings, scope=request.settings.scope))
        if differs := changed_code(request.code, code_in_use()):
            raise StoreError(
                f"store {opened.root}: run {last.id} was begun with other code ({differs}); what it left cannot be "
                "added to what it did: go back to that code, or `retrain --all`"
            )
        opened.runs.resume(last.id)
        return _done(opened, last.id, last.kind, request, None)


def retrain(store: str | Path, which: str = "stale", source: Any = None, settings: Settings | None = None) -> Summary:
    """Train groups of a finished store anew; a version that serves is replaced by one that is no worse alone.

    which: "failed" (those without a result; a group that took its worker down is left alone), "quarantined" (those
    too), "stale" (those whose rows are not what they learned from, and new ones) or "all", which also gives up a run
    that was cut short; source: where the rows are now, None: those of the last training, read again where they have a
    path. Task and config are those of the last run, and so are the settings where none are given.
    """
    if which not in RETRAIN:
        raise ConfigError(f"which is {which!r}; use {', '.join(RETRAIN)}")
    with writing(store, settings or Settings()) as opened:
        if which != "all":
            _refuse_unfinished(opened)
        return _begun(opened, RETRAIN[which], _again(opened, source, settings), source)


def update(store: str | Path, source: Any, settings: Settings | None = None) -> Summary:
    """Move the models of a store on over newer rows: parameters, weights and intervals stay, origins move.

    source: rows after those that were learned from (older ones may be among them); groups without newer rows are left
    as they are, groups that the store does not know are told as skipped.
    """
    with writing(store, settings or Settings()) as opened:
        _refuse_unfinished(opened)
        request = _again(opened, source, settings)
        if not hasattr(request.task, "horizon"):
            raise ConfigError(f"store {opened.root} holds models of rows, which have no end to move on; `retrain` them")
        return _begun(opened, UPDATE, request, source)


def _again(store: Store, source: Any, settings: Settings | None) -> Request:
    """The request of the last run that trained, for other rows."""
    last = trained_last(store)
    request = Request.from_json(last.job)
    settings = replace(settings or request.settings, scope=request.settings.scope)
    source = request.source if source is None else _path(source)
    return replace(request, source=source, settings=settings, code=code_in_use())


def _begun(store: Store, kind: str, request: Request, source: Any) -> Summary:
    """A new run of this kind, to its end."""
    allowed = request.settings.max_failed
    number = store.runs.begin(kind, request.fingerprint, request.to_json(), allowed=allowed)
    return _done(store, number, kind, request, source)


def _done(store: Store, run: int, kind: str, request: Request, source: Any) -> Summary:
    """A run to its end; what ends it early is written down."""
    if request.settings.engine == "local":
        # The server that workers are forked from loads its libraries while the rows are laid out.
        fork_server.warm()
    try:
        job = KINDS[kind].job(store, run, request, source)
        store.plan.add(run, KINDS[kind].batches(store, job, request.settings.processes))
        summary = execute(store, run, KINDS[kind], job, request.settings)
        forget_rows(store, but=trained_last(store).id)
        return summary
    except (KeyboardInterrupt, StoreFull) as error:
        # Where even this finds no room, the next writer sees that the run was cut short.
        with contextlib.suppress(StoreFull):
            store.runs.end(run, "paused", str(error) or "interrupted by the user")
        raise
    except ForecastMLError as error:
        store.runs.end(run, "interrupted", str(error))
        raise


def _path(source: Any) -> str | None:
    """A path that still holds from another working directory, a URL as it is; None for a table."""
    if isinstance(source, Path):
        return str(source.absolute())
    if isinstance(source, str):
        return source if "://" in source else str(Path(source).absolute())
    return None


@contextlib.contextmanager
def writing(path: str | Path, settings: Settings, create: bool = False) -> Iterator[Store]:
    """A store open for writing; where there is none one is made if `create` says so."""
    make = create and not is_store(path)
    with Store.create(path) if make else Store.open(path, write=True, wait=settings.wait) as opened:
        yield opened


def _refuse_unfinished(store: Store) -> None:
    last = store.runs.last()
    # A run that has planned nothing has nothing to lose.
    if last is not None and last.planned and last.state not in ("done", "failed"):
        raise StoreError(
            f"store {store.root}: run {last.id} is not finished ({last.state}); `resume` it, or `retrain --all` with "
            "new data"
        )
