"""Where batches run: worker processes of this machine, or a cluster by its own scheduler."""

from __future__ import annotations

import importlib
from typing import Any

from forecastml.errors import ConfigError
from many_models.protocols import Executor

#: Name of an engine -> its module and class. The module of a cluster is loaded when it is asked for.
ENGINES = {
    "local": ("many_models.executors.local", "LocalExecutor"),
    "ray": ("many_models.executors.ray", "RayExecutor"),
    "dask": ("many_models.executors.dask", "DaskExecutor"),
    "spark": ("many_models.executors.spark", "SparkExecutor"),
}


def executor(name: str, workers: int = 1, **options: Any) -> Executor:
    """The engine of this name with so many workers; close it when done, or use it as a context manager.

    options: of the engine, such as `address` (ray, dask), `client` (dask), `session` (spark). Raises `ConfigError` for
    an unknown engine or option, `MissingExtra` where its library is not installed.
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine {name!r}; choose one of {', '.join(ENGINES)}")
    if workers < 1:
        raise ConfigError(f"engine {name}: {workers} workers can do nothing; give 1 or more")
    module, kind = ENGINES[name]
    engine = getattr(importlib.import_module(module), kind)
    unknown = sorted(set(options) - set(engine.OPTIONS))
    if unknown:
        known = ", ".join(engine.OPTIONS) or "none"
        raise ConfigError(f"engine {name} has no option {', '.join(unknown)}; its options: {known}")
    return engine(workers, **options)
