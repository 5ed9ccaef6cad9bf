"""Libraries that are not installed with the package itself, but with one of its extras."""

from __future__ import annotations

import importlib
from types import ModuleType

from forecastml.errors import MissingExtra


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library; raises `MissingExtra` with the pip line when it is not there or does not load.

    >>> require("json", "plot").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as failure:
        raise MissingExtra(f"{module} cannot be imported ({failure}); pip install 'forecastml[{extra}]'") from failure
