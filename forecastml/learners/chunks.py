"""A panel in chunks of series of similar length, time first and series last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forecastml.data.panel import Panel


@dataclass(frozen=True, eq=False)
class Chunk:
    """Series that are fitted together, longest first, from their first known value on, scaled by powers of two.

    values: float64 (time, series), largest absolute value of a series between 0.5 and 1 (0 for zeros), NaN where
    unknown and after the end; lengths: int64 (series,), never increasing; known: int64 (series,), known values, at
    least 1; scale: float64 (series,), original value / scaled value; drivers: what else is known at these rows, float64
    (time, series, columns), where the learner asks for it (`VectorisedLearner.drivers`).
    """

    values: np.ndarray
    lengths: np.ndarray
    known: np.ndarray
    scale: np.ndarray
    drivers: np.ndarray | None = None

    @classmethod
    def of(cls, values: np.ndarray, lengths: np.ndarray, known: np.ndarray, drivers: np.ndarray | None = None) -> Chunk:
        """values: float64 (time, series) as they are."""
        # The next power of two above the largest numbers is infinite.
        scale = np.ldexp(1.0, np.minimum(np.frexp(np.fmax.reduce(np.abs(values), axis=0))[1], 1023))
        return cls(values / scale, lengths, known, scale, drivers)

    @classmethod
    def blank(cls) -> Chunk:
        """A single series of a single zero."""
        return cls.of(np.zeros((1, 1)), np.ones(1, np.int64), np.ones(1, np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def filled(self) -> np.ndarray:
        """The values with gaps on the straight line between their neighbours, the last one going on to the end."""
        return bridged(self.values, self.lengths, self.known)

    @cached_property
    def low(self) -> np.ndarray:
        """Smallest known value: float64 (series,)."""
        return np.fmin.reduce(self.values, axis=0)

    @cached_property
    def high(self) -> np.ndarray:
        """Largest known value: float64 (series,)."""
        return np.fmax.reduce(self.values, axis=0)

    def take(self, series: np.ndarray) -> Chunk:
        """These series: mask, or positions of which the lengths never increase."""
        lengths = self.lengths[series]
        values = np.ascontiguousarray(self.values[: lengths.max(initial=0), series])
        drivers = None if self.drivers is None else self.drivers[: len(values), series]
        return Chunk(values, lengths, self.known[series], self.scale[series], drivers)


def windows(panel: Panel, history: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each fit begins: values to skip, values from there on, known ones among them: three int64 (series,).

    It is the first known value of the last `history` up to the last known one; all are 0 for a series without any.
    """
    rows = np.flatnonzero(~np.isnan(panel.target))
    if not len(rows):
        return tuple(np.zeros(len(panel), np.int64) for _ in range(3))
    after = np.searchsorted(rows, panel.end)
    some = after > np.searchsorted(rows, panel.begin)
    # Where a series has no known value these point to another's, and the result is not used.
    last = rows[np.maximum(after - 1, 0)]
    first = np.searchsorted(rows, np.maximum(panel.begin, last + 1 - history))
    begin = rows[np.minimum(first, len(rows) - 1)]
    return tuple(np.where(some, a, 0) for a in (begin - panel.begin, panel.end - begin, after - first))


def chunked(lengths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Positions of the series that have values, longest first, `size` at a time."""
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    for first in range(0, len(order), size):
        yield order[first : first + size]


def columns(panel: Panel, series: np.ndarray, skip: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The `lengths` values of each of these series after its first `skip`: float64 (time, series), NaN elsewhere."""
    time = np.arange(lengths.max())[:, None]
    at = skip + time
    inside = (time < lengths) & (at >= 0) & (at < panel.lengths[series])
    return np.where(inside, panel.target[np.where(inside, panel.begin[series] + at, 0)], np.nan)


def bridged(values: np.ndarray, lengths: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Columns with gaps filled by the straight line between their neighbours; `values` itself where there is none."""
    gaps = np.flatnonzero(known < lengths)
    filled = values.copy() if len(gaps) else values
    for i in gaps:
        column = values[: lengths[i], i]
        at = np.flatnonzero(~np.isnan(column))
        filled[: lengths[i], i] = np.interp(np.arange(len(column)), at, column[at])
    return filled
