"""Workers of a Dask cluster."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Any, ClassVar, TypeVar

from forecastml.extras import require
from many_models.child import CANCELLED
from many_models.errors import StoreFull
from many_models.executors.slots import Slots
from many_models.protocols import Lost

T = TypeVar("T")
R = TypeVar("R")

#: Seconds between two looks of a worker whether its task is still wanted.
POLL = 0.2


class DaskExecutor:
    """Tasks on the cluster of `client`, or at `address`, or else on one of so many worker processes begun here, which
    ends with `close`. Dask's own retries are off; on a cluster of yours `distributed.scheduler.allowed-failures` says
    how often a task begins anew after its worker died.

    Raises `MissingExtra` where distributed is not installed, OSError where there is no scheduler at the address.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("address", "client")

    def __init__(self, workers: int, address: str | None = None, client: Any = None) -> None:
        self.workers = workers
        self._distributed = require("distributed", "dask")
        self._slots = Slots(workers, self._stop)
        self._running: set[Any] = set()
        self._cluster: Any = None
        self._folder: str | None = None
        self._began = client is None
        self._client = client or self._connect(address)

    def _connect(self, address: str | None) -> Any:
        if address is not None:
            return self._distributed.Client(address)
        self._folder = tempfile.mkdtemp(prefix="mm-dask-")
        with require("dask", "dask").config.set({"distributed.scheduler.allowed-failures": 0}):
            self._cluster = self._distributed.LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                dashboard_address=None,
                local_directory=self._folder,
                silence_logs="CRITICAL",
            )
        return self._distributed.Client(self._cluster)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | Lost]]:
        """Each item with its result or a `Lost`, as they finish; raises `StoreFull` after the others have finished."""

        def run(item: T) -> R | Lost:
            return self._await(self._client.submit(_run, function, item, pure=False, retries=0))

        return self._slots.map(run, items)

    def _await(self, future: Any) -> Any:
        self._running.add(future)
        try:
            self._distributed.wait(future)
        except CancelledError:
            pass  # by us, when all is stopped; what the future holds says so
        finally:
            self._running.discard(future)
        if future.cancelled():
            raise CancelledError("stopped by the driver")
        if future.status != "finished":
            error = future.exception()
            killed = isinstance(error, self._distributed.KilledWorker)
            return Lost("lost" if killed else "exception", {"error": f"{type(error).__name__}: {error}"})
        full, value = future.result()
        if full:
            raise StoreFull(value)
        return value

    def _stop(self) -> None:
        for future in list(self._running):
            future.cancel(force=True)

    def cancel(self) -> None:
        """Tells the workers to kill the children of what runs, begins nothing more; `map` ends."""
        self._slots.cancel()

    def close(self) -> None:
        """Cancels, and shuts down the cluster or the connection that was begun here."""
        self.cancel()
        if self._began:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _run(function: Callable[[T], R], item: T) -> tuple[bool, R | str | None]:
    """On the worker, in a thread of its, which Dask cannot stop: the task looks itself whether it is still wanted."""
    ended = threading.Event()
    cancelled = threading.Event()
    before = CANCELLED.set(cancelled)
    watch = threading.Thread(target=_watch, args=(_task(), cancelled, ended), daemon=True, name="wanted")
    watch.start()
    try:
        return False, function(item)
    except StoreFull as full:
        return True, str(full)
    except CancelledError:
        if not cancelled.is_set():
            raise
        return False, None  # nobody is there to take it
    finally:
        ended.set()
        CANCELLED.reset(before)


def _task() -> Any:
    """What the worker knows of the task that runs in this thread."""
    import distributed

    worker = distributed.get_worker()
    return worker.state.tasks[worker.get_current_task()]


def _watch(task: Any, cancelled: threading.Event, ended: threading.Event) -> None:
    while not ended.wait(POLL):
        if task.state not in ("executing", "long-running"):
            cancelled.set()
            return
