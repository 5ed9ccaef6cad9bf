"""Fingerprints of stretches of numbers: equal for equal numbers in equal order, else different but for bad luck.

Every number's bits, moved on by its place, go through the mixer of SplitMix64 (Steele, Lea and Flood, 2014, "Fast
splittable pseudorandom number generators"); the sum over a stretch is exact in whole numbers, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: The step of the sequence, and the factors of the mixer.
STEP, FACTORS = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def fingerprints(columns: Sequence[np.ndarray], bounds: np.ndarray) -> np.ndarray:
    """128 bits of each stretch: uint64 (stretches, 2).

    columns: float64 (rows,) each; bounds: int64, first row of each stretch and the end of the last, rising.
    """
    if len(bounds) < 2:
        return np.empty((0, 2), dtype=np.uint64)
    place = (np.arange(bounds[0], bounds[-1]) - np.repeat(bounds[:-1], np.diff(bounds))).astype(np.uint64)
    place *= np.uint64(STEP)
    mixed = place
    for column in columns:
        # Both zeros are one number.
        mixed = _mixed(mixed + (column[bounds[0] : bounds[-1]] + 0.0).view(np.uint64))
    first = bounds[:-1] - bounds[0]
    return np.stack([np.add.reduceat(part, first) for part in (mixed, _mixed(mixed + np.uint64(STEP)))], axis=1)


def _mixed(bits: np.ndarray) -> np.ndarray:
    for shift, factor in FACTORS:
        bits ^= bits >> np.uint64(shift)
        bits *= np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return bits
