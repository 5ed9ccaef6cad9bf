"""Items handed to slots, one at a time each: what every engine has in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

from many_models.child import CANCELLED, ENDING
from many_models.child_main import Failure
from many_models.errors import StoreFull
from many_models.protocols import Lost

T = TypeVar("T")

#: Items in memory for each slot: the one that runs, and one more so that no slot waits for the driver.
AHEAD = 2
#: Seconds after which the driver looks whether it is to stop, where no item finishes.
AWAKE = 0.2


class Slots:
    """A thread for each worker, which waits for its item; the caller's thread draws items and takes results."""

    def __init__(self, workers: int, stop: Callable[[], None] = lambda: None) -> None:
        """stop: ends what runs elsewhere for the slots, so that their waiting ends."""
        self.workers = workers
        self._stop = stop
        self._cancelled: set[threading.Event] = set()

    def cancel(self) -> None:
        """Ends every `map`; calls of `many_models.child` in its slots kill their child."""
        for event in list(self._cancelled):
            event.set()

    def map(self, run: Callable[[T], Any], items: Iterable[T]) -> Iterator[tuple[T, Any]]:
        """Each item with `run(item)`, or a `Lost` where that raised, as they finish.

        At most twice as many items as slots are in memory. After a `StoreFull` no items are drawn; it is raised when
        those that run have finished. What stops a program (`KeyboardInterrupt`), or what the iterator of items raises,
        stops all and is raised at once.
        """
        cancelled = threading.Event()
        self._cancelled.add(cancelled)
        pool = ThreadPoolExecutor(self.workers, "many-models", initializer=CANCELLED.set, initargs=(cancelled,))
        running: dict[Future[Any], T] = {}
        drawn, full = iter(items), None
        try:
            while not cancelled.is_set():
                if full is None:
                    for item in islice(drawn, AHEAD * self.workers - len(running)):
                        running[pool.submit(run, item)] = item
                if not running:
                    break
                for future in wait(running, timeout=AWAKE, return_when=FIRST_COMPLETED).done:
                    item, error = running.pop(future), future.exception()
                    if isinstance(error, StoreFull):
                        full = full or error
                        running = {other: item for other, item in running.items() if not other.cancel()}
                    elif not isinstance(error, CancelledError):
                        yield item, _outcome(future)
        finally:
            cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)
            if running:
                self._stop()
                # Those that were never begun count as cancelled, but not as done: nobody would end the wait for them.
                wait([future for future in running if not future.cancelled()], timeout=ENDING)
            self._cancelled.discard(cancelled)
        if full is not None:
            raise full


def _outcome(future: Future[Any]) -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(error, Exception):
        raise error
    failure = Failure.of(type(error), error, error.__traceback__)
    return Lost("exception", {"error": str(failure), "traceback": failure.traceback})
