"""A guarded loop over series, for libraries that fit one series at a time.

A series whose fit raises is recorded with the reason, and the others go on. The deadline is checked between series.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from forecastml.budget import Deadline
from forecastml.data.panel import Panel, extent
from forecastml.errors import DeadlineExceeded
from forecastml.learners.stand_in import room

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a series could not be fitted."""

    reason: str


def fit_each(
    work: Callable[[Item], Result], items: Sequence[Item], deadline: Deadline, processes: int = 1
) -> list[Result | Failure]:
    """`work(item)` for every item, in order; a `Failure` where it raises.

    processes: above 1, `work` and the items are sent to so many processes. Raises `DeadlineExceeded` between series.
    """
    if processes > 1 and len(items) > 1:
        return _in_processes(work, items, deadline, processes)
    results = []
    with quiet_and_single_threaded():
        for item in items:
            deadline.check()
            results.append(_guarded(work, item))
    return results


@contextmanager
def quiet_and_single_threaded() -> Iterator[None]:
    """No warnings and one BLAS thread: small matrices on several threads wait for each other, some without end."""
    # Limits hold for libraries that are loaded by then: scipy brings a BLAS of its own.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    # Recorded, because statsmodels makes its own warnings pass every filter that was set before its first import.
    with warnings.catch_warnings(record=True), np.errstate(all="ignore"), threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield


def exploded(panel: Panel, ahead: np.ndarray) -> np.ndarray:
    """Which forecasts (series, horizon) leave the range of the history by more than `room`: bool (series,)."""
    low, high = extent(panel)
    around = room(low, high, panel.lengths, ahead.shape[1]).T
    inside = (ahead >= low[:, None] - around) & (ahead <= high[:, None] + around)
    return ~inside.all(axis=1)


def _in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], deadline: Deadline, processes: int
) -> list[Result | Failure]:
    from joblib import Parallel, delayed

    results: list[Result | Failure] = []
    with Parallel(n_jobs=processes) as pool:
        for first in range(0, len(items), 4 * processes):
            deadline.check()
            results += pool(delayed(_alone)(work, item) for item in items[first : first + 4 * processes])
    return results


def _alone(work: Callable[[Item], Result], item: Item) -> Result | Failure:
    with quiet_and_single_threaded():
        return _guarded(work, item)


def _guarded(work: Callable[[Item], Result], item: Item) -> Result | Failure:
    try:
        return work(item)
    except DeadlineExceeded:
        raise
    except Exception as error:
        return Failure(f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": "))
