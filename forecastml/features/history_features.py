"""Features of what was known at the origin: lags and aggregates of the target before it.

Each is a small declaration. `columns` tells about every row of a `History` from the rows before it alone, float64 in
its shape, NaN where nothing is known. `units` says per column how it is brought to the series' own scale: a "level" is
told as its distance from the base, a "spread" in units of the scale, a "number" as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forecastml.errors import ConfigError
from forecastml.features.history import History

#: Aggregates of a window and the unit that they are told in.
AGGREGATES = {"mean": "level", "min": "level", "max": "level"}


@dataclass(frozen=True)
class Lags:
    """The values so many rows before; lag 1 is the value at the origin."""

    lags: tuple[int, ...]
    kind: ClassVar[str] = "lags"
    role: ClassVar[str] = "history"

    @property
    def names(self) -> tuple[str, ...]:
        """lag1, lag2, ..."""
        return tuple(f"lag{lag}" for lag in self.lags)

    @property
    def units(self) -> tuple[str, ...]:
        """Levels."""
        return ("level",) * len(self.lags)

    @property
    def depth(self) -> int:
        """The longest lag."""
        return max(self.lags, default=1)

    def columns(self, history: History) -> list[np.ndarray]:
        """One per lag."""
        return [history.earlier(history.values, lag) for lag in self.lags]


@dataclass(frozen=True)
class Windows:
    """Aggregates of the last values, for every size: those that are missing are left out."""

    sizes: tuple[int, ...]
    aggregates: tuple[str, ...] = ("mean", "min", "max")
    kind: ClassVar[str] = "windows"
    role: ClassVar[str] = "history"

    def __post_init__(self) -> None:
        for name in self.aggregates:
            if name not in AGGREGATES:
                raise ConfigError(f"aggregate {name!r} is unknown; use {', '.join(AGGREGATES)}")

    @property
    def names(self) -> tuple[str, ...]:
        """mean_window4, min_window4, ..."""
        return tuple(f"{name}_window{size}" for size in self.sizes for name in self.aggregates)

    @property
    def units(self) -> tuple[str, ...]:
        """As the aggregates have them."""
        return tuple(AGGREGATES[name] for name in self.aggregates) * len(self.sizes)

    @property
    def depth(self) -> int:
        """The largest size."""
        return max(self.sizes, default=1)

    def columns(self, history: History) -> list[np.ndarray]:
        """By size, then by aggregate."""
        past = history.earlier(history.values, 1)
        found = []
        for size in self.sizes:
            short = _only_last(history, past, size)
            for name in self.aggregates:
                found.append(_padded(_AGGREGATE[name](history, short, size), past.shape))
        return found


def _only_last(history: History, values: np.ndarray, size: int) -> np.ndarray:
    """Time first, the last `size` rows: no other one counts for the last."""
    return values if history.position is not None else values[-size:]


def _padded(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape == shape:
        return values
    found = np.full(shape, np.nan)
    found[-len(values) :] = values
    return found


def gathered(
    history: History, values: np.ndarray, size: int, join: Callable[[np.ndarray, np.ndarray], np.ndarray], fill: float
) -> np.ndarray:
    """The last `size` entries up to each row, joined by an associative operation in log2(size) steps.

    fill: the neutral entry that stands before the start.
    """
    found, width, doubled, reach = None, 0, values, 1
    while True:
        if size & reach:
            later = doubled if found is None else history.earlier(doubled, width, fill)
            found = later if found is None else join(found, later)
            width += reach
        if width == size:
            return found
        doubled = join(doubled, history.earlier(doubled, reach, fill))
        reach *= 2


def _mean(history: History, values: np.ndarray, size: int) -> np.ndarray:
    known = ~np.isnan(values)
    total = gathered(history, np.where(known, values, 0.0), size, np.add, 0.0)
    count = gathered(history, known.astype(np.float64), size, np.add, 0.0)
    return np.divide(total, count, out=np.full(values.shape, np.nan), where=count > 0)


def _least(history: History, values: np.ndarray, size: int) -> np.ndarray:
    return gathered(history, values, size, np.fmin, np.nan)


def _largest(history: History, values: np.ndarray, size: int) -> np.ndarray:
    return gathered(history, values, size, np.fmax, np.nan)


_AGGREGATE = {"mean": _mean, "min": _least, "max": _largest}
