"""Workers of a Ray cluster."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

from forecastml.extras import require
from many_models.errors import StoreFull
from many_models.executors.slots import Slots
from many_models.protocols import Lost

T = TypeVar("T")
R = TypeVar("R")


class RayExecutor:
    """Tasks of one core each on the cluster that this process is connected to, or that `address` names, or else on one
    of so many workers begun here, which ends with `close`. Ray's own retries are off.

    Raises `MissingExtra` where ray is not installed, `ConnectionError` where there is no cluster at the address.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("address",)

    def __init__(self, workers: int, address: str | None = None) -> None:
        self.workers = workers
        self._ray = require("ray", "ray")
        self._slots = Slots(workers, self._stop)
        self._running: set[Any] = set()
        self._folder: str | None = None
        self._began = not self._ray.is_initialized()
        if self._began:
            self._connect(address)

    def _connect(self, address: str | None) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is not None:
            self._ray.init(address=address, **quiet)
            return
        self._folder = tempfile.mkdtemp(prefix="mm-ray-")
        self._ray.init(address="local", num_cpus=self.workers, include_dashboard=False, _temp_dir=self._folder, **quiet)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | Lost]]:
        """Each item with its result or a `Lost`, as they finish; raises `StoreFull` after the others have finished."""
        sent = self._ray.put(function)
        task = self._ray.remote(max_retries=0, num_cpus=1)(_run)

        def run(item: T) -> R | Lost:
            return self._await(task.remote(sent, item))

        return self._slots.map(run, items)

    def _await(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        self._running.add(reference)
        try:
            full, value = self._ray.get(reference)
        except errors.RayTaskError as error:
            return Lost("exception", {"error": str(error.cause), "traceback": str(error)})
        except errors.RayError as error:
            return Lost("lost", {"error": f"{type(error).__name__}: {error}"})
        finally:
            self._running.discard(reference)
        if full:
            raise StoreFull(value)
        return value

    def _stop(self) -> None:
        """By force: it ends the worker process, and the child of that sees that its driver is gone."""
        for reference in list(self._running):
            self._ray.cancel(reference, force=True)

    def cancel(self) -> None:
        """Ends the worker processes of what runs, begins nothing more; `map` ends."""
        self._slots.cancel()

    def close(self) -> None:
        """Cancels, and shuts down the cluster or the connection that was begun here."""
        self.cancel()
        if self._began:
            self._ray.shutdown()
            self._began = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _run(function: Callable[[T], R], item: T) -> tuple[bool, R | str]:
    """On the worker. A full disk is told as a value: it stops the run, and is not lost among the engine's errors."""
    try:
        return False, function(item)
    except StoreFull as full:
        return True, str(full)
