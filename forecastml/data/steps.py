"""The step of the grid that ascending integers lie on, for many series at once, past gaps and a few wrong points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: This share of the steps of a series must fit its grid; the rest may be wrong dates, which the reader then names.
FITTING = 0.9
#: Without a clear modal step, a common divisor counts only if the series fills this share of the grid it spans.
_FILLED = 0.1
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Runs:
    """Ascending int64 points of several series, one series after the other; `count` of each, three or more."""

    points: np.ndarray
    count: np.ndarray

    @property
    def first(self) -> np.ndarray:
        return np.cumsum(self.count) - self.count

    def of(self, values: np.ndarray) -> np.ndarray:
        """One value per series, repeated for its points."""
        return np.repeat(values, self.count)

    def share(self, flags: np.ndarray) -> np.ndarray:
        """Share of each series' points that are flagged."""
        return np.add.reduceat(flags.astype(np.int64), self.first) / self.count

    def keep(self, series: np.ndarray, points: np.ndarray | None = None) -> Runs:
        """The series of a mask, with other points in place of their own if given."""
        return Runs((self.points if points is None else points)[self.of(series)], self.count[series])

    def step(self) -> np.ndarray:
        """Step of each series' grid, 0 when none is plain."""
        ahead = np.delete(np.diff(self.points), self.first[1:] - 1)
        steps = Runs(ahead, self.count - 1)
        smallest = np.minimum.reduceat(np.where(ahead > 0, ahead, _NEVER), steps.first)
        clear = (steps.share(ahead == steps.of(smallest)) >= 0.5) & (smallest < _NEVER)
        clear &= steps.share(ahead % steps.of(smallest) == 0) >= FITTING
        found = np.where(clear, smallest, 0)
        if not clear.all():
            found[~clear] = steps.keep(~clear)._sparse_step()
        return found

    def _sparse_step(self) -> np.ndarray:
        """`step` where the smallest step is not the modal one; the points of self are steps."""
        owner = self.of(np.arange(len(self.count)))
        pairs, times = np.unique(np.stack([owner, self.points])[:, self.points > 0], axis=1, return_counts=True)
        order = np.lexsort((pairs[1], -times, pairs[0]))
        who, first = np.unique(pairs[0][order], return_index=True)
        modal = np.ones(len(self.count), np.int64)
        modal[who] = pairs[1][order][first]
        fits = self.share(self.points % self.of(modal) == 0) >= FITTING
        divisor = np.gcd.reduceat(self.points, self.first)
        total = np.add.reduceat(self.points, self.first)
        dense = (divisor > 0) & (total * _FILLED <= divisor * self.count)
        return np.where(fits, modal, np.where(dense, divisor, 0))
