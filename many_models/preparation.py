"""From a request to a job: the rows laid out by group, and the prior that the groups share, both kept in the store."""

from __future__ import annotations

import os
import shutil
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import forecastml as fm
from forecastml.errors import DataError, ForecastMLError, NothingToJudge
from forecastml.learners.registry import registered
from forecastml.prior_storage import pack_prior
from many_models.child import Answer, call
from many_models.errors import CorruptStoreError, RunFailed, StoreError
from many_models.job import Job
from many_models.partition import PartitionSettings
from many_models.protocols import UPDATE, File
from many_models.runs import Run
from many_models.settings import Request
from many_models.source import lay_out, open_layout
from many_models.store import Store

#: The prior is learned from one group in so many, but from no fewer than `LEAST`.
ONE_IN, LEAST = 5, 200
#: Groups that are looked at one by one to see whether none can be read.
TRIED = 20
#: Seconds in which the sample is read, beside the time of its groups.
STARTING = 10.0
#: Parts that a harmful sample is cut into at most.
MOST_PARTS = 32


def prepared(store: Store, run: int, request: Request, source: Any = None) -> Job:
    """The job of a run; what an earlier attempt left finished is taken up again.

    source: the table or path; None: as the request says. Raises `DataError` for a source that cannot be read, and when
    no group of a sample can, `StoreError` for a table in memory that was lost before it was laid out.
    """
    layout = laid_out(store, folder_of(store, run), request, source)
    return Job.of(request.task, request.config, layout, store.root, _prior(store, run, request, layout))


def laid_out_job(store: Store, run: int, request: Request, source: Any = None) -> Job:
    """A job without a prior, for work that fits nothing."""
    layout = laid_out(store, folder_of(store, run), request, source)
    return Job.of(request.task, request.config, layout, store.root, None)


def folder_of(store: Store, run: int) -> Path:
    """Where the rows of a run are laid out."""
    return store.root / "data" / f"run-{run}"


def laid_out(store: Store, folder: Path, request: Request, source: Any = None) -> Any:
    """The layout in the folder, made from the source where it is not there whole."""
    layout = open_layout(folder)
    if layout is not None:
        return layout
    source = request.source if source is None else source
    if source is None and _laid_out_before(store, folder):
        return open_layout(folder)
    if source is None:
        raise StoreError("the rows came as a table in memory and were not laid out; call `run` again with the table")
    shutil.rmtree(folder, ignore_errors=True)
    settings = request.settings
    settings.tell({"event": "phase", "name": "laying out"})
    sizes = PartitionSettings(rows=settings.batch_rows, groups=settings.batch_groups)
    return lay_out(source, request.by, request.columns, folder, sizes, request.keys)


def trained_last(store: Store) -> Run:
    """The last run that was to train; `StoreError` for a store without one."""
    runs = [run for run in store.runs.all() if run.kind != UPDATE]
    if not runs:
        raise StoreError(f"store {store.root}: there is no run yet; call `run` first")
    return runs[-1]


def forget_rows(store: Store, but: int) -> None:
    """Remove the rows that were laid out for runs, but for those of one."""
    kept = folder_of(store, but)
    for folder in kept.parent.glob("run-*"):
        if folder != kept:
            shutil.rmtree(folder, ignore_errors=True)


def _laid_out_before(store: Store, folder: Path) -> bool:
    """Take over the rows of the newest run before that has them laid out; False when there is none."""
    older = [run.id for run in store.runs.all() if run.kind != UPDATE and folder_of(store, run.id) != folder]
    for run in reversed(older):
        before = folder_of(store, run)
        if open_layout(before) is not None:
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(before, part, copy_function=_linked)
            part.rename(folder)
            return True
    return False


def _linked(before: str, now: str) -> None:
    """The same file under another name; a copy where the disk is another one."""
    try:
        os.link(before, now)
    except OSError:
        shutil.copy2(before, now)


def _prior(store: Store, run: int, request: Request, layout: Any) -> File | None:
    """The prior in the store, learned where it is not there; None where each group is on its own.

    It is learned in a supervised child, as groups are fitted: one that takes the child down is not to cost the run. The
    sample is then cut in two, and so on, until a part of it does no harm.
    """
    name = f"prior-{run}"
    if request.settings.scope == "own":
        return None
    found = store.find(name)
    if found is not None and _is_whole(store, found):
        return found
    request.settings.tell({"event": "phase", "name": "learning"})
    limits = request.settings.limits
    seconds = None if limits.seconds is None else limits.seconds * _sample_size(request, layout) + STARTING
    parts = deque([(0, 1)])
    while parts:
        place, of = parts.popleft()
        learn = partial(_learned, request.silent(), layout, registered())
        answer = call(learn, (place, of), seconds, limits.memory, store.root / "tmp")
        if isinstance(answer, Answer) and answer.error is None:
            if isinstance(answer.value, ForecastMLError):
                raise answer.value
            return None if answer.value is None else store.put(name, answer.value)
        if of < MOST_PARTS:
            parts += [(place, 2 * of), (place + of, 2 * of)]
    reason = answer.error if isinstance(answer, Answer) else answer.text
    raise RunFailed(f"what the groups share cannot be learned: {reason}; block the learner at fault")


def _is_whole(store: Store, file: File) -> bool:
    """Whether a file can be read; a prior that cannot is learned again from the same rows."""
    try:
        store.read(file)
    except CorruptStoreError:
        return False
    return True


def _learned(
    request: Request, layout: Any, learners: tuple[Any, ...], part: tuple[int, int]
) -> bytes | ForecastMLError | None:
    """The prior of a part of the sample as an archive; None where no series is long enough to learn from."""
    for learner in learners:
        fm.register(learner)
    try:
        data = sampled(request, layout, part)
        return pack_prior(fm.prepare(data, request.task, request.config, of=layout.total.groups))
    except NothingToJudge:
        return None
    except ForecastMLError as error:
        return error


def _sample_size(request: Request, layout: Any) -> int:
    groups = layout.total.groups
    return min(groups, request.settings.sample, max(LEAST, groups // ONE_IN))


def sampled(request: Request, layout: Any, part: tuple[int, int] = (0, 1)) -> Any:
    """The data of some groups, drawn by the hash of their keys, to learn from what all of them share.

    part: (k, n) for the k-th of every n groups of the sample.
    """
    table = layout.sample(_sample_size(request, layout))
    place, of = part
    if of > 1:
        keys = list(zip(*(table[column].to_pylist() for column in request.by), strict=True))
        number = {key: k for k, key in enumerate(dict.fromkeys(keys))}
        table = table.filter(pa.array([number[key] % of == place for key in keys]))
    return _readable(request, table)


def _readable(request: Request, sample: Any) -> Any:
    """The sample as data. Groups with defects are in it as far as they can be read: they will be told one by one.

    Raises the `DataError` of the first when none of some groups can be read: then it is the task that is wrong.
    """
    task = request.task
    try:
        return task.read(sample).data
    except DataError as error:
        keys = dict.fromkeys(zip(*(sample[column].to_pylist() for column in request.by), strict=True))
        if not any(_can_be_read(task, sample, request.by, key) for key in list(keys)[:TRIED]):
            raise
        reading = task.check(sample)
        if reading.data is None:
            raise error
        return reading.data


def _can_be_read(task: Any, sample: Any, by: tuple[str, ...], key: tuple[str, ...]) -> bool:
    mask = None
    for column, text in zip(by, key, strict=True):
        same = pc.equal(sample[column], text)
        mask = same if mask is None else pc.and_(mask, same)
    try:
        task.read(sample.filter(mask))
    except DataError:
        return False
    return True
