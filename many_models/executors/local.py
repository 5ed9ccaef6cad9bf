"""Workers of this machine: a slot each, whose supervised calls run in child processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, TypeVar

from many_models.executors.slots import Slots
from many_models.protocols import Lost

T = TypeVar("T")
R = TypeVar("R")


class LocalExecutor:
    """So many slots in this process. The function itself runs in a thread here and begins its own child processes, as
    `many_models.supervision.supervise` does."""

    OPTIONS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._slots = Slots(workers)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | Lost]]:
        """Each item with its result or a `Lost`, as they finish; raises `StoreFull` after the others have finished."""
        return self._slots.map(function, items)

    def cancel(self) -> None:
        """Kills the children that run, begins nothing more; `map` ends."""
        self._slots.cancel()

    def close(self) -> None:
        """Nothing of it outlives `map`; as `cancel`."""
        self.cancel()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
