"""`Points`: places in a panel that features tell about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Points:
    """Points of series, within their values or after them; all arrays are int64 (points,).

    series: position in the panel; position: row in the series, from 0; step: how many rows the origin lies before the
    point, 1 for the next row. What is known at the origin alone may be told: the rows before `anchor`.
    """

    series: np.ndarray
    position: np.ndarray
    step: np.ndarray

    @property
    def anchor(self) -> np.ndarray:
        """The first row of the series that is not known at the origin: int64 (points,)."""
        return self.position - self.step + 1

    def __len__(self) -> int:
        return len(self.series)
