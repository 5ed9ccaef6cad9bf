"""Sines and cosines of seasons."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Wave:
    """Sines and cosines of one season: period in steps, and the harmonics of it that no other wave has."""

    period: float
    harmonics: tuple[int, ...]

    def columns(self, at: np.ndarray) -> np.ndarray:
        """at: grid positions in steps, float64 (rows,) -> float64 (rows, 2 * harmonics): a sine and a cosine each."""
        found = np.empty((len(at), 2 * len(self.harmonics)))
        for place, k in enumerate(self.harmonics):
            angle = 2.0 * np.pi * np.remainder(k * at / self.period, 1.0)
            found[:, 2 * place], found[:, 2 * place + 1] = np.sin(angle), np.cos(angle)
        return found


def waves(periods: Sequence[float], most: Sequence[int], taken: Collection[float] = ()) -> tuple[Wave, ...]:
    """One wave per period, with its first `most` harmonics but for those that the grid cannot show or that are told
    already: by an earlier wave, or as one of the frequencies `taken` (cycles per step, to 9 digits)."""
    told, found = set(taken), []
    for period, last in zip(periods, most, strict=True):
        kept = [k for k in range(1, last + 1) if 2 * k < period and round(k / period, 9) not in told]
        told |= {round(k / period, 9) for k in kept}
        found.append(Wave(period, tuple(kept)))
    return tuple(found)
