"""Season and trend of a decomposition by loess as features: what was known before a block of rows, carried on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.features.points import Points
from forecastml.kernels.stl import Loess, SeasonPlan, stl

#: Parts and the unit that they are told in.
PARTS = {"season": "spread", "trend": "level"}
#: Blocks of a series at most, and values that are decomposed at a time.
BLOCKS, CHUNK = 20, 1 << 20
#: Cycles that the season is smoothed over.
SMOOTHER = Loess(7)


@dataclass(frozen=True)
class StlFeatures:
    """Season and trend at a point, told from the last whole cycles (`cycles` at most) before the point's block.

    The season repeats its last cycle and the trend stays at its last value. A block is one season, more for a series of
    more than 20 of them, and counted from the start of the series; where the origin is the end of a series it ends
    there. Before two whole cycles are known the season is 0 and the trend NaN.
    """

    season: int
    parts: tuple[str, ...] = ("season", "trend")
    cycles: int = 8
    kind: ClassVar[str] = "stl"
    role: ClassVar[str] = "decomposition"

    def __post_init__(self) -> None:
        if self.season < 2:
            raise ConfigError(f"stl has a season of {self.season} rows; give 2 or more")
        for part in self.parts:
            if part not in PARTS:
                raise ConfigError(f"stl has no part {part!r}; use {', '.join(PARTS)}")

    @property
    def names(self) -> tuple[str, ...]:
        """stl_season24, stl_trend24"""
        return tuple(f"stl_{part}{self.season}" for part in self.parts)

    @property
    def units(self) -> tuple[str, ...]:
        """As the parts have them."""
        return tuple(PARTS[part] for part in self.parts)

    @property
    def depth(self) -> int:
        """Rows before the origin that are read."""
        return self.season * self.cycles

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """One per part: float64 (points,). panel: compact, after the power, missing values filled forward."""
        end = self._ends(panel.lengths[points.series], points.anchor)
        longest = int(panel.lengths.max(initial=0)) + 1
        pairs, where = np.unique(points.series * longest + end, return_inverse=True)
        cycle, trend = self._decomposed(panel, pairs // longest, pairs % longest)
        told = {"season": cycle[(points.position - end) % self.season, where], "trend": trend[where]}
        return [told[part] for part in self.parts]

    def _ends(self, length: np.ndarray, anchor: np.ndarray) -> np.ndarray:
        """The first row that is not read for each point."""
        block = self.season * np.maximum(-(-length // (self.season * BLOCKS)), 1)
        return np.where(anchor >= length, length, anchor // block * block)

    def _decomposed(self, panel: Panel, series: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Last cycle (season, pairs) and last trend (pairs,) of the values of series before rows."""
        cycle, trend = np.zeros((self.season, len(series))), np.full(len(series), np.nan)
        owner = np.repeat(np.arange(len(panel)), panel.lengths)
        first = np.bincount(owner[np.isnan(panel.target)], minlength=len(panel))
        count = np.minimum((end - first[series]) // self.season, self.cycles)
        plan = SeasonPlan.of(self.season, SMOOTHER)
        for cycles in np.unique(count[count >= 2]).tolist():
            rows = np.arange(-cycles * self.season, 0)[:, None]
            found = np.flatnonzero(count == cycles)
            for part in np.array_split(found, -(-len(found) * len(rows) // CHUNK)):
                # A lone series is doubled, so that it is added up as it is among others.
                both = np.resize(part, max(len(part), 2))
                parts = stl(panel.target[rows + (panel.begin[series[both]] + end[both])], plan)
                cycle[:, part] = parts.seasonal[0][-self.season :, : len(part)]
                trend[part] = parts.trend[-1, : len(part)]
        return cycle, trend
