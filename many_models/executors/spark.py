"""Workers of a Spark cluster."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

from forecastml.extras import require
from many_models.errors import StoreFull
from many_models.executors.slots import Slots
from many_models.protocols import Lost

T = TypeVar("T")
R = TypeVar("R")


class SparkExecutor:
    """Jobs of one task each on the cluster of `session` (None: the active one), else of the master at `address`, else
    on a local one of so many workers; what is begun here ends with `close`. A job for each item, so that results come
    as they finish and a failed one is a value. In a session of yours, set `spark.task.maxFailures` to 1, or Spark
    begins a failed task anew.

    Raises `MissingExtra` where pyspark is not installed.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("address", "session")

    def __init__(self, workers: int, session: Any = None, address: str | None = None) -> None:
        self.workers = workers
        self._sql = require("pyspark.sql", "spark")
        self._slots = Slots(workers, self._stop)
        self._group = f"many-models-{uuid.uuid4().hex}"
        self._folder: str | None = None
        if session is None and address is None:
            session = self._sql.SparkSession.getActiveSession()
        self._began = session is None
        self._session = session or self._begin(address or f"local[{self.workers}]")

    def _begin(self, master: str) -> Any:
        self._folder = tempfile.mkdtemp(prefix="mm-spark-")
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.task.maxFailures": "1",
            "spark.local.dir": self._folder,
            "spark.sql.warehouse.dir": self._folder,
            "spark.pyspark.python": sys.executable,
            "spark.pyspark.driver.python": sys.executable,
        }
        if master.startswith("local"):
            settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
        builder = self._sql.SparkSession.builder.master(master).appName("many-models")
        for name, value in settings.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        # The settings alone do not reach workers of a session that a running Python begins.
        session.sparkContext.pythonExec = os.environ.get("PYSPARK_PYTHON", sys.executable)
        return session

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | Lost]]:
        """Each item with its result or a `Lost`, as they finish; raises `StoreFull` after the others have finished."""
        import cloudpickle

        def run(item: T) -> R | Lost:
            return self._await(cloudpickle.dumps((function, item)))

        return self._slots.map(run, items)

    def _await(self, call: bytes) -> Any:
        import cloudpickle

        errors = require("py4j.protocol", "spark")
        context = self._session.sparkContext
        context.setJobGroup(self._group, "many-models", interruptOnCancel=True)
        try:
            (answer,) = context.parallelize([call], 1).map(_run).collect()
        except (errors.Py4JError, require("pyspark.errors", "spark").PySparkException) as error:
            text = str(error)
            # A function that raised shows its traceback; a worker that died has none to show.
            return Lost("exception" if "Traceback (most recent call last)" in text else "lost", {"error": text})
        full, value = cloudpickle.loads(answer)
        if full:
            raise StoreFull(value)
        return value

    def _stop(self) -> None:
        """Spark ends the Python worker of an interrupted task, and the child of that sees that its driver is gone."""
        self._session.sparkContext.cancelJobGroup(self._group)

    def cancel(self) -> None:
        """Cancels the jobs that run, begins nothing more; `map` ends."""
        self._slots.cancel()

    def close(self) -> None:
        """Cancels, and stops the session that was begun here."""
        self.cancel()
        if self._began:
            self._session.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> SparkExecutor:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _run(call: bytes) -> bytes:
    """On the worker. A full disk is told as a value: it stops the run, and is not lost among the engine's errors."""
    import cloudpickle

    function, item = cloudpickle.loads(call)
    try:
        return cloudpickle.dumps((False, function(item)))
    except StoreFull as full:
        return cloudpickle.dumps((True, str(full)))
