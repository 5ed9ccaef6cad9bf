"""Features of what was known at the origin: lags of the target, aggregates of what lies before it, and what they tell.

Each is a small declaration. `columns` tells about every row of a flat `History`, or about the last one of a history
that is time first, from the rows before it alone: float64 (rows,) or (1, series), NaN where nothing is known. `units`
says per column how it is brought to the series' own scale: a "level" is told as its distance from the base, a "spread"
in units of the scale, a "number" as it is. Features see values after the power of the target's transform, gaps filled.
A forecast keeps `depth` rows of history, so that no feature looks further back than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forecastml.errors import ConfigError
from forecastml.features.aggregates import Line, aggregate_unit, aggregated
from forecastml.features.history import Arrays, Gathered, History, Outs, plus

#: How many rows "all of the history" means.
MOST = 1000
#: What is left of the weights where an exponentially weighted mean ends.
REST = 1e-6


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
        return [history.lag(lag) for lag in self.lags]


@dataclass(frozen=True)
class Windows:
    """Aggregates of the last values, for every size: those that are missing are left out."""

    sizes: tuple[int, ...]
    aggregates: tuple[str, ...] = ("mean", "min", "max")
    kind: ClassVar[str] = "windows"
    role: ClassVar[str] = "history"

    def __post_init__(self) -> None:
        for name in self.aggregates:
            aggregate_unit(name)

    @property
    def names(self) -> tuple[str, ...]:
        """mean_window4, min_window4, ..."""
        return tuple(f"{name}_window{size}" for size in self.sizes for name in self.aggregates)

    @property
    def units(self) -> tuple[str, ...]:
        """As the aggregates have them."""
        return tuple(aggregate_unit(name) for name in self.aggregates) * len(self.sizes)

    @property
    def depth(self) -> int:
        """The largest size."""
        return max(self.sizes, default=1)

    def columns(self, history: History) -> list[np.ndarray]:
        """By size, then by aggregate."""
        return aggregated(history, self.sizes, self.aggregates)


@dataclass(frozen=True)
class Expanding:
    """Aggregates of all values so far, but of the last `most` at most: a forecast keeps no more of the history."""

    aggregates: tuple[str, ...] = ("mean",)
    most: int = MOST
    kind: ClassVar[str] = "expanding"
    role: ClassVar[str] = "history"

    def __post_init__(self) -> None:
        for name in self.aggregates:
            aggregate_unit(name)

    @property
    def names(self) -> tuple[str, ...]:
        """mean_expanding, ..."""
        return tuple(f"{name}_expanding" for name in self.aggregates)

    @property
    def units(self) -> tuple[str, ...]:
        """As the aggregates have them."""
        return tuple(aggregate_unit(name) for name in self.aggregates)

    @property
    def depth(self) -> int:
        """The most rows that count."""
        return self.most

    def columns(self, history: History) -> list[np.ndarray]:
        """One per aggregate."""
        return aggregated(history, (self.most,), self.aggregates)


@dataclass(frozen=True)
class Ewm:
    """Exponentially weighted means: the weight of a value is (1 - alpha)^k where k values stand between it and the row.

    It ends where what is left weighs less than `REST` of the whole, and after `most` rows.
    """

    alphas: tuple[float, ...]
    most: int = MOST
    kind: ClassVar[str] = "ewm"
    role: ClassVar[str] = "history"

    def __post_init__(self) -> None:
        for alpha in self.alphas:
            if not 0.0 < alpha < 1.0:
                raise ConfigError(f"ewm has alpha {alpha!r}; give numbers between 0 and 1, such as [0.3]")

    @property
    def names(self) -> tuple[str, ...]:
        """ewm0.3, ..."""
        return tuple(f"ewm{alpha:g}" for alpha in self.alphas)

    @property
    def units(self) -> tuple[str, ...]:
        """Levels."""
        return ("level",) * len(self.alphas)

    @property
    def depth(self) -> int:
        """Rows of the slowest one."""
        return max((self.size(alpha) for alpha in self.alphas), default=1)

    def size(self, alpha: float) -> int:
        """Rows that count."""
        return int(min(np.ceil(np.log(REST) / np.log1p(-alpha)), self.most))

    def columns(self, history: History) -> list[np.ndarray]:
        """One per alpha."""
        found = []
        for alpha in self.alphas:

            def fading(later: Arrays, earlier: Arrays, width: int, out: Outs, kept: float = 1.0 - alpha) -> Arrays:
                return plus(later, tuple(kept**width * array for array in earlier), width, out)

            total, weight = Gathered.of(history, (history.numbers, history.known), fading, (0.0, 0.0)).over(
                self.size(alpha)
            )
            # A value that stands behind a long gap alone has a weight too small to divide by.
            found.append(np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > REST))
        return found


@dataclass(frozen=True)
class Differences:
    """One lag less another, for every pair (newer, older)."""

    pairs: tuple[tuple[int, int], ...]
    kind: ClassVar[str] = "differences"
    role: ClassVar[str] = "history"

    @property
    def names(self) -> tuple[str, ...]:
        """lag1_minus_lag8, ..."""
        return tuple(f"lag{a}_minus_lag{b}" for a, b in self.pairs)

    @property
    def units(self) -> tuple[str, ...]:
        """Spreads."""
        return ("spread",) * len(self.pairs)

    @property
    def depth(self) -> int:
        """The longest lag."""
        return max((max(pair) for pair in self.pairs), default=1)

    def columns(self, history: History) -> list[np.ndarray]:
        """One per pair."""
        return [history.lag(a) - history.lag(b) for a, b in self.pairs]


@dataclass(frozen=True)
class Ratios:
    """One lag in units of another, for every pair (newer, older); NaN where the older one is 0 (or next to it)."""

    pairs: tuple[tuple[int, int], ...]
    kind: ClassVar[str] = "ratios"
    role: ClassVar[str] = "history"

    @property
    def names(self) -> tuple[str, ...]:
        """lag1_over_lag8, ..."""
        return tuple(f"lag{a}_over_lag{b}" for a, b in self.pairs)

    @property
    def units(self) -> tuple[str, ...]:
        """Numbers."""
        return ("number",) * len(self.pairs)

    @property
    def depth(self) -> int:
        """The longest lag."""
        return max((max(pair) for pair in self.pairs), default=1)

    def columns(self, history: History) -> list[np.ndarray]:
        """One per pair."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratios = [history.lag(a) / history.lag(b) for a, b in self.pairs]
        # Tables are float32, which holds nothing beyond.
        return [np.where(np.abs(ratio) <= np.finfo(np.float32).max, ratio, np.nan) for ratio in ratios]


@dataclass(frozen=True)
class SinceNonzero:
    """Rows back to the last value that is not 0; where there is none among the last `most`, the number of values known
    there. NaN before the first value."""

    most: int = MOST
    kind: ClassVar[str] = "since_nonzero"
    role: ClassVar[str] = "history"
    names: ClassVar[tuple[str, ...]] = ("since_nonzero",)
    units: ClassVar[tuple[str, ...]] = ("number",)

    @property
    def depth(self) -> int:
        """The most rows that count."""
        return self.most

    def columns(self, history: History) -> list[np.ndarray]:
        """One."""
        past = history.past
        there = (past != 0) & ~np.isnan(past)
        if history.position is None:
            there = there[-self.most :][::-1]
            back = np.where(there.any(axis=0), there.argmax(axis=0) + 1, self.most + 1)[None]
        else:
            rows = np.arange(len(past))
            back = rows - np.maximum.accumulate(np.where(there, rows, -1)) + 1
            # Row 0 of a series has no past: what is found further back than that is a neighbour's.
            back = np.where(back <= history.position, back, self.most + 1)
        count = history.count(self.most)
        return [np.where(count == 0, np.nan, np.where(back <= self.most, back, count))]


@dataclass(frozen=True)
class Slopes:
    """Recent trend: change per row of the least squares line through the last `size` values."""

    sizes: tuple[int, ...]
    kind: ClassVar[str] = "slopes"
    role: ClassVar[str] = "history"

    @property
    def names(self) -> tuple[str, ...]:
        """slope_window8, ..."""
        return tuple(f"slope_window{size}" for size in self.sizes)

    @property
    def units(self) -> tuple[str, ...]:
        """Spreads."""
        return ("spread",) * len(self.sizes)

    @property
    def depth(self) -> int:
        """The largest size."""
        return max(self.sizes, default=1)

    def columns(self, history: History) -> list[np.ndarray]:
        """One per size."""
        line = Line.of(history)
        return [line.slope(size) for size in self.sizes]


@dataclass(frozen=True)
class WasNull:
    """Whether the value at the origin was missing and is filled in; NaN where that is not known, or before a series."""

    kind: ClassVar[str] = "was_null"
    role: ClassVar[str] = "history"
    names: ClassVar[tuple[str, ...]] = ("target_WASNULL",)
    units: ClassVar[tuple[str, ...]] = ("number",)
    depth: ClassVar[int] = 1

    def columns(self, history: History) -> list[np.ndarray]:
        """One."""
        latest = history.lag(1)
        if history.missing is None:
            return [np.full(latest.shape, np.nan)]
        missing = history.lag(1, history.missing.astype(np.float64))
        return [np.where(np.isnan(latest), np.nan, missing)]


def gathered(
    history: History, values: np.ndarray, size: int, join: Callable[[np.ndarray, np.ndarray], np.ndarray], fill: float
) -> np.ndarray:
    """The last `size` entries up to each row of an array, joined by an associative operation in log2(size) steps.

    fill: the neutral entry that stands before the start. Told about every row of both layouts, in the array's shape;
    where only the last row of time first is asked for, `Gathered` is faster.
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
