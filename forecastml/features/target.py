"""Target transforms: a value is told as its distance from a base in the series' own scale, and told back.

    told = (value - base) / scale          value = base + scale * told

The base of a point is read from the values before it, so that it moves along while a forecast is made step by step,
and trees, which cannot leave the range of what they saw, follow a trend. The scale is one number per series, so that
series of all sizes can share a model. The base is y[t-1] for "difference", y[t-m] for "seasonal_difference", and the
mean of the last m values for "scale". Where it reaches back before the start, it is y[t-1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.kernels.lags import lagged, mean_by_series, trailing

KINDS = ("difference", "seasonal_difference", "scale")


@dataclass(frozen=True)
class TargetTransform:
    """kind: one of `KINDS`; season: m, 1 for none."""

    kind: str
    season: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"transform {self.kind!r} is unknown; use {', '.join(KINDS)}")

    @property
    def depth(self) -> int:
        """How many values before a point its base reads."""
        return 1 if self.kind == "difference" else self.season

    def base(self, values: np.ndarray, rows: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The base of each point (see `kernels.lags`): float64 (points,)."""
        latest = lagged(values, rows, first, 1)
        if self.kind == "difference":
            return latest
        if self.kind == "seasonal_difference":
            base = lagged(values, rows, first, self.season)
        else:
            base = trailing(values, rows, first, (self.season,))[self.season][0]
        return np.where(np.isnan(base), latest, base)

    def scales(self, panel: Panel) -> np.ndarray:
        """Mean distance between values a season apart, else between neighbours: float64 (series,), 0 for neither.

        panel: compact, missing values filled forward. A scale of 0 means a series that never changed.
        """
        series = np.repeat(np.arange(len(panel)), panel.lengths)
        rows, first = np.arange(len(series)), np.repeat(panel.begin, panel.lengths)
        found = np.zeros(len(panel))
        for lag in dict.fromkeys((self.season, 1)):
            distance = np.abs(panel.target - lagged(panel.target, rows, first, lag))
            # Differences below the smallest normal number are none: to divide by them would overflow.
            found = np.where(
                found > np.finfo(float).tiny, found, np.nan_to_num(mean_by_series(distance, series, len(panel)))
            )
        return np.where(found > np.finfo(float).tiny, found, 0.0)
