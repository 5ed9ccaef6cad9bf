"""Series of different lengths side by side, time first and series last, longest first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def spans(lengths: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(first step, last step + 1, number of series that run) of each span in which the same series run.

    lengths: int64 (series,), never increasing: the series that still run are always the first ones.
    """
    first = 0
    for last in np.unique(lengths[lengths > 0]).tolist():
        yield first, last, int(np.searchsorted(-lengths, -last, side="right"))
        first = last
