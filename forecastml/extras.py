"""Optional libraries: import one or say how to install it."""

from __future__ import annotations

import importlib
from types import ModuleType

from forecastml.errors import MissingExtra


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise `MissingExtra` with the pip line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module} is needed here and is not installed: pip install 'forecastml[{extra}]'"
        ) from error
