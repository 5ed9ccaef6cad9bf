"""`History`: values of series of which features at any row may look at earlier rows, never across to a neighbour.

Two layouts share one way of computing, by elementwise operations in an order that the size of a window alone decides,
so that neither the layout nor a neighbour changes a bit: flat, one series after the other, for all rows of a panel at
once; and time first, one column per series that ends at the same row, to tell about that last row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from forecastml.data.panel import ragged_rows

Arrays = tuple[np.ndarray, ...]
#: Where results go: arrays, or None for new ones.
Outs = tuple[np.ndarray | None, ...]
#: (later, earlier, rows that `later` covers, where to) -> both joined.
Join = Callable[[Arrays, Arrays, int, Outs], Arrays]


@dataclass(frozen=True, eq=False)
class Starts:
    """Where the series of a flat layout begin.

    position: int64 (rows,), row in its series; empty: so many rows without a value stand before each series, -1 the
    last of them. Where a look back reaches no further than these, it never gets to a neighbour.
    """

    position: np.ndarray
    empty: int = 0

    @cached_property
    def begin(self) -> np.ndarray:
        """First row of each series."""
        return np.flatnonzero(self.position == 0)

    @cached_property
    def outside(self) -> np.ndarray:
        """Rows that are of no series."""
        return np.flatnonzero(self.position < 0)

    def within(self, steps: int) -> np.ndarray | slice:
        """The first `steps` rows of each series; those before the first series where no other can be reached."""
        if steps <= self.empty:
            return slice(0, steps)
        if steps not in self._found:
            end = np.append(self.begin[1:], len(self.position))
            self._found[steps] = ragged_rows(self.begin, np.minimum(self.begin + steps, end))
        return self._found[steps]

    @cached_property
    def _found(self) -> dict[int, np.ndarray]:
        return {}


@dataclass(frozen=True, eq=False)
class History:
    """values: float64, (rows,) or (time, series), NaN where missing or before a series; position: int64 (rows,), row in
    its series of each flat value, None for time first; missing: bool like values, where a value was filled in, None
    where that is not known; starts: of a flat layout, where it is known."""

    values: np.ndarray
    position: np.ndarray | None = None
    missing: np.ndarray | None = None
    starts: Starts | None = None

    def earlier(self, values: np.ndarray, steps: int, fill: float = np.nan) -> np.ndarray:
        """The entry `steps` rows before each row of an array shaped as `values`; `fill` where there is none."""
        if steps >= len(values):
            return np.full(values.shape, fill, dtype=values.dtype)
        found = np.empty_like(values)
        found[:steps] = fill
        found[steps:] = values[: len(values) - steps]
        if self.position is not None and steps:
            found[self.begun_within(steps)] = fill
        return found

    def lag(self, steps: int, values: np.ndarray | None = None) -> np.ndarray:
        """The entry of `values` (or of an array of its shape) so many rows before the row told about: one per flat
        row, or (1, series)."""
        values = self.values if values is None else values
        if self.position is not None:
            return self.earlier(values, steps)
        row = len(values) - 1 - steps
        return values[row : row + 1] if row >= 0 else np.full((1, values.shape[1]), np.nan)

    @cached_property
    def past(self) -> np.ndarray:
        """What is known when a row is told about: float64, the value before each flat row, or all rows but the last."""
        return self.values[:-1] if self.position is None else self.earlier(self.values, 1)

    @cached_property
    def known(self) -> np.ndarray:
        """1.0 where `past` holds a value: float64 like `past`."""
        return self._with(np.ones(self.past.shape), 0.0)

    @cached_property
    def numbers(self) -> np.ndarray:
        """`past` with 0 where it holds no value: float64."""
        return self._with(np.array(self.past), 0.0)

    @cached_property
    def sums(self) -> Gathered:
        """Sums of the known values before a row."""
        return Gathered.of(self, (self.numbers,), plus, (0.0,))

    def count(self, size: int) -> np.ndarray:
        """How many of the `size` values before a row are known: float64, one per flat row, or (1, series)."""
        # Whole numbers add up exactly in any order.
        if self.position is None:
            return self.known[-size:].sum(axis=0, keepdims=True)
        if self._gaps:
            return Gathered.of(self, (self.known,), plus, (0.0,)).over(size)[0]
        return np.fmin(self._so_far, size)

    @cached_property
    def _gone(self) -> np.ndarray:
        """Places of what is missing in `past`, counted through."""
        return np.flatnonzero(np.isnan(self.past))

    def _with(self, values: np.ndarray, fill: float) -> np.ndarray:
        """`values` (contiguous, of its shape) with this where `past` is missing."""
        values.reshape(-1)[self._gone] = fill
        return values

    @cached_property
    def _so_far(self) -> np.ndarray:
        """Of a flat history, known values of the series before each row: float64 (rows,)."""
        if self.whole:
            return self.position.astype(np.float64)
        total = np.cumsum(self.known)
        begin = np.arange(len(total)) - np.maximum(self.position, 0)
        return total - total[begin]

    @cached_property
    def _gaps(self) -> bool:
        """Whether values of a flat history are missing after the first of a series."""
        return not self.whole and bool(((self.known == 0) & (self._so_far > 0)).any())

    @cached_property
    def whole(self) -> bool:
        """Whether nothing is missing in the series of a flat history."""
        return not (self.position[self._gone] > 0).any()

    def last(self, depth: int) -> History:
        """Enough to tell about the last row what depends on `depth` rows before it; all of a flat one."""
        if self.position is not None:
            return self
        missing = None if self.missing is None else self.missing[-depth - 1 :]
        return replace(self, values=self.values[-depth - 1 :], missing=missing)

    def begun_within(self, steps: int) -> np.ndarray | slice:
        """Flat rows that would have a neighbour's entry, or none, so many rows before them."""
        return self._starts.within(steps)

    @cached_property
    def _starts(self) -> Starts:
        return Starts(self.position) if self.starts is None else self.starts


def plus(later: Arrays, earlier: Arrays, width: int, out: Outs) -> Arrays:
    """Sums."""
    return tuple(np.add(a, b, out=o) for a, b, o in zip(later, earlier, out, strict=True))


@dataclass(frozen=True, eq=False)
class Gathered:
    """Entries of a history's past joined over windows of any size, in log2(size) steps.

    levels: of the flat layout, the joined 1, 2, 4, ... entries up to each row as far as they were asked for; of time
    first the entries themselves. join: associative. fills: the neutral entries that stand before the start.
    """

    history: History
    levels: list[Arrays]
    join: Join
    fills: tuple[float, ...]

    @classmethod
    def of(cls, history: History, entries: Arrays, join: Join, fills: tuple[float, ...]) -> Gathered:
        """entries: like `history.past` each; those of a missing value are neutral."""
        return cls(history, [entries], join, fills)

    def over(self, size: int) -> Arrays:
        """The last `size` entries joined: one per flat row, or (1, series)."""
        found, width = None, 0
        for power in range(size.bit_length()):
            if not size >> power & 1:
                continue
            if self.history.position is None:
                block = self._pairs(power, width)
                found = block if found is None else self.join(found, block, width, (None,) * len(block))
            else:
                block = self._level(power)
                found = block if found is None else self._joined(found, block, width)
            width += 1 << power
        return found

    def _level(self, power: int) -> Arrays:
        """The joined 2^power entries up to each flat row."""
        while len(self.levels) <= power:
            reach = 1 << len(self.levels) - 1
            self.levels.append(self._joined(self.levels[-1], self.levels[-1], reach))
        return self.levels[power]

    def _joined(self, later: Arrays, earlier: Arrays, width: int) -> Arrays:
        """Each flat row of `later` with the row of `earlier` that lies `width` rows before."""
        found = tuple(np.empty_like(array) for array in later)
        if width < len(later[0]):
            parts = tuple(a[width:] for a in later), tuple(a[:-width] for a in earlier)
            self.join(*parts, width, tuple(a[width:] for a in found))
        rows = self.history.begun_within(width)
        if isinstance(rows, slice):
            for array, fill in zip(found, self.fills, strict=True):
                array[rows] = fill
            return found
        before = tuple(np.full(len(rows), fill) for fill in self.fills)
        first = self.join(tuple(a[rows] for a in later), before, width, (None,) * len(before))
        for array, part in zip(found, first, strict=True):
            array[rows] = part
        return found

    def _pairs(self, power: int, back: int) -> Arrays:
        """Of time first: the block alone, its neighbours joined until one is left."""
        size, rows = 1 << power, len(self.levels[0][0])
        until = rows - back
        parts = []
        for array, fill in zip(self.levels[0], self.fills, strict=True):
            part = array[max(until - size, 0) : max(until, 0)]
            if len(part) < size:
                part = np.concatenate([np.full((size - len(part), *array.shape[1:]), fill), part])
            parts.append(part)
        found, width = tuple(parts), 1
        while width < size:
            found = self.join(tuple(a[1::2] for a in found), tuple(a[::2] for a in found), width, (None,) * len(found))
            width *= 2
        return found
