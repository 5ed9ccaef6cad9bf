"""Values of a task's options, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from forecastml.errors import ConfigError
from forecastml.metrics import get_metric, metric_names


def checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Quantile levels as a sorted tuple of distinct floats in (0, 1)."""
    levels = (levels,) if isinstance(levels, (int, float)) else tuple(levels)
    for level in levels:
        if not 0 < float(level) < 1:
            raise ConfigError(f"quantile level {level} is not between 0 and 1; 0.9 means the 90 % quantile")
    return tuple(sorted({float(level) for level in levels}))


def check_metric(name: str, task: str) -> None:
    """Raise `ConfigError` unless this metric can judge a task of this kind."""
    metric = get_metric(name)
    if metric.name not in metric_names(task):
        raise ConfigError(f"metric {name!r} cannot judge {task}; use one of {', '.join(metric_names(task))}")


def check_one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise `ConfigError` unless an option has one of these values."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; give one of {', '.join(choices)}")


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise `ConfigError` unless an option is a whole number of at least so much."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigError(f"{name} is {value!r}; give a whole number of {least} or more")
