"""What a fork server imports before it forks, so that a child begins in milliseconds. For the fork server alone.

Importing this module is its effect: native libraries are told to use one thread before they are loaded (a forked copy
of a process with threads may hang), and every library that a fit needs is loaded once for all children.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from many_models.child_main import ONE_THREAD

#: In the order in which they are loaded. Each costs a child its whole import when it is missing here. statsmodels and
#: pmdarima stay out: they load polars, whose threads a forked copy would lack.
LIBRARIES = (
    "ctypes",
    "resource",
    "faulthandler",
    "cloudpickle",
    "numpy",
    "scipy.linalg",
    "scipy.optimize",
    "scipy.signal",
    "scipy.special",
    "scipy.stats",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "narwhals",
    "sklearn.linear_model",
    "sklearn.preprocessing",
    "lightgbm",
    "holidays",
    "prophet",
)
#: Parts of forecastml that no fit needs.
DOORS = ("__main__", "cli", "datasets", "demo", "estimators", "plot", "progress")


def load() -> tuple[str, ...]:
    """Imports it all; returns what is not installed or does not load."""
    missing = []
    for library in LIBRARIES:
        try:
            importlib.import_module(library)
        except (ImportError, OSError):
            missing.append(library)
    package = importlib.import_module("forecastml")
    for module in pkgutil.walk_packages(package.__path__, "forecastml."):
        if not module.name.split(".")[1].startswith(DOORS):
            importlib.import_module(module.name)
    return tuple(missing)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing that a library says while it is loaded reaches the terminal of the driver."""
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for place, original in zip((1, 2), kept, strict=True):
            os.dup2(original, place)
            os.close(original)
        os.close(nowhere)


os.environ.update(ONE_THREAD)
with silence():
    MISSING = load()
# What is there now lives as long as the server: left out of collections, its pages stay shared with the children.
gc.freeze()
