"""Fit a batch in a child process; when that dies, find the group that is to blame and let the others have their fit.

A batch whose child dies is halved, and so are the halves, until the guilty group stands alone. Every good group is
finished once, and the pieces on the way to a guilty one cost no more than the batch again, because they halve.

Time-outs are dear, because each costs its whole budget. The budget of the whole batch is the limit of a group times its
groups; a piece of a batch that ran out of time gets half as much per group as the batch had, though never less than one
group may take; a group that stands alone gets its whole limit. All pieces that are no lone group then cost at most
three batch budgets, even where every group hangs; where one hangs, it is the batch's budget and a third of it again. A
good group that a small budget cuts off is never blamed for it: only what happens to a group alone counts.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import NoReturn

from many_models.child import CANCELLED, Answer, call
from many_models.child_main import Failure
from many_models.errors import StoreFull
from many_models.protocols import Batch, Death, Limits, Receipt

#: A group with more rows than this may take as much longer.
ROWS = 1000
#: Seconds for reading the rows and writing the files of a piece, on top of what its groups may take.
OVERHEAD = 2.0
#: Seconds before a lone group is begun again, doubled each time.
BACK_OFF = 0.1

#: What ran out of memory once runs again beside no other that did.
_one_at_a_time = threading.Lock()
_FULL = f"{StoreFull.__module__}.{StoreFull.__qualname__}"


@dataclass(frozen=True)
class Supervised:
    """`supervise` with everything but the batch, as an executor maps it; can be sent to a worker's machine."""

    work: Callable[[Batch], Receipt]
    limits: Limits
    lost: Callable[[Batch, Death, int], Receipt]
    scratch: str | None = None

    def __call__(self, batch: Batch) -> tuple[Receipt, ...]:
        return supervise(self.work, batch, self.limits, self.lost, self.scratch)


def supervise(
    work: Callable[[Batch], Receipt],
    batch: Batch,
    limits: Limits,
    lost: Callable[[Batch, Death, int], Receipt],
    scratch: str | os.PathLike[str] | None = None,
) -> tuple[Receipt, ...]:
    """Receipts for every group of the batch, of `work` where its child lives and of `lost` where it does not.

    lost: (the batch of a lone group, why its last child died, how often the group was begun) -> its receipt; scratch:
    folder for temporary files of the children. Raises `StoreFull` when the disk is full: no group is to blame for it.
    """
    return tuple(_receipts(_Piece(batch), work, limits, lost, scratch))


@dataclass(frozen=True)
class _Piece:
    """A part of a batch. begun: how often its groups were begun before; share: of the seconds per group."""

    batch: Batch
    begun: int = 0
    share: float = 1.0

    def seconds(self, limits: Limits) -> float | None:
        """Wall time for a child."""
        if limits.seconds is None:
            return None
        weights = [max(1.0, group.rows / ROWS) for group in self.batch.groups]
        return limits.seconds * max(*weights, sum(weights) * self.share, 1.0) + OVERHEAD

    def halves(self, death: Death) -> Iterator[_Piece]:
        """What is left to do when a child for all of it has died."""
        share = self.share / 2 if death.reason == "timeout" else self.share
        for half in self.batch.halves():
            yield _Piece(half, self.begun + 1, share)


def _receipts(
    whole: _Piece,
    work: Callable[[Batch], Receipt],
    limits: Limits,
    lost: Callable[[Batch, Death, int], Receipt],
    scratch: str | os.PathLike[str] | None,
) -> Iterator[Receipt]:
    pending = [whole]
    while pending:
        piece = pending.pop()
        alone = len(piece.batch) <= 1
        outcome = _alone(piece, work, limits, scratch) if alone else _attempt(piece, work, limits, scratch)
        if isinstance(outcome, Receipt):
            yield outcome
        elif alone:
            begun = piece.begun + max(1, limits.attempts)
            yield _counted(lost(piece.batch, outcome, begun), begun)
        else:
            pending += reversed(list(piece.halves(outcome)))


def _alone(
    piece: _Piece, work: Callable[[Batch], Receipt], limits: Limits, scratch: str | os.PathLike[str] | None
) -> Receipt | Death:
    outcome = _attempt(piece, work, limits, scratch)
    for again in range(1, max(1, limits.attempts)):
        if isinstance(outcome, Receipt):
            break
        _wait(BACK_OFF * 2 ** (again - 1))
        piece = replace(piece, begun=piece.begun + 1)
        if outcome.reason == "oom":
            with _one_at_a_time:
                outcome = _attempt(piece, work, limits, scratch)
        else:
            outcome = _attempt(piece, work, limits, scratch)
    return outcome


def _attempt(
    piece: _Piece, work: Callable[[Batch], Receipt], limits: Limits, scratch: str | os.PathLike[str] | None
) -> Receipt | Death:
    try:
        answer = call(work, piece.batch, piece.seconds(limits), limits.memory, scratch)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _full(str(error))
        raise
    if isinstance(answer, Death):
        return answer
    if answer.error is None:
        return _counted(_peaked(answer), piece.begun + 1)
    if _FULL in answer.error.kinds or answer.error.errno in (errno.ENOSPC, errno.EDQUOT):
        _full(answer.error.message)
    return Death("exception", _told(answer.error), answer.peak)


def _full(text: str) -> NoReturn:
    raise StoreFull(text)


def _told(failure: Failure) -> str:
    """Type and message, and where: the last line of its traceback that names a place."""
    places = [line.strip() for line in failure.traceback.splitlines() if line.lstrip().startswith("File ")]
    return f"{failure}; {places[-1]}" if places else str(failure)


def _peaked(answer: Answer) -> Receipt:
    return replace(answer.value, peak=max(answer.value.peak, answer.peak))


def _counted(receipt: Receipt, begun: int) -> Receipt:
    """The same receipt, its groups begun so often."""
    return replace(receipt, results=tuple(replace(result, attempts=begun) for result in receipt.results))


def _wait(seconds: float) -> None:
    cancelled = CANCELLED.get()
    if cancelled is None:
        time.sleep(seconds)
    elif cancelled.wait(seconds):
        raise CancelledError("stopped by the driver")
