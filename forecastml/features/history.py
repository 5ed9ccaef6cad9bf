"""`History`: values of series of which features at any row may look at earlier rows, never across to a neighbour.

Two layouts share one way of computing, by elementwise operations on shifted arrays alone, so that neither the layout
nor a neighbour changes a bit: flat, one series after the other, for all rows of a panel at once; and time first, one
column per series that ends at the same row, to tell about the row after the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class History:
    """values: float64, (rows,) or (time, series), NaN where missing or before a series; position: int64 (rows,), row in
    its series of each flat value, None for time first."""

    values: np.ndarray
    position: np.ndarray | None = None

    def earlier(self, values: np.ndarray, steps: int, fill: float = np.nan) -> np.ndarray:
        """The entry `steps` rows before each row of an array shaped as `values`; `fill` where there is none."""
        found = np.full(values.shape, fill)
        if steps < len(values):
            found[steps:] = values[: len(values) - steps]
        if self.position is not None and steps:
            found[self.position < steps] = fill
        return found

    def last(self, depth: int) -> History:
        """Enough to tell about the last row what depends on `depth` rows before it; all of a flat one."""
        return self if self.position is not None else replace(self, values=self.values[-depth - 1 :])
