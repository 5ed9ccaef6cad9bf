"""Target transforms: a value is told as its distance from a base in the series' own scale, and told back.

    told = (power(value) - base) / scale          value = power^-1(base + scale * told)

The base of a point is read from what was known at its origin, so that it moves along and trees, which cannot leave the
range of what they saw, follow a trend. The scale is one number per series, so that series of all sizes can share a
model. A transform by name is made of three parts:

    power   "none", "log" (of 1 + value)
    base    "last": the value at the origin; "slot": the last known value at the point's place in the season; "level":
            the mean of the last season; each the value at the origin where it reaches back before the start;
            "zero": nothing
    scale   "error": mean distance between values a season apart, else between neighbours; "mean": of absolute values
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.features.history import History
from forecastml.features.history_features import Windows
from forecastml.features.points import Points
from forecastml.features.slots import Before, newest_known
from forecastml.kernels.lags import lagged, mean_by_series

#: name -> power, base, scale
TRANSFORMS = {
    "scale": ("none", "level", "error"),
    "difference": ("none", "last", "error"),
    "seasonal_difference": ("none", "slot", "error"),
    "log": ("log", "level", "error"),
    "log_difference": ("log", "last", "error"),
    "log_seasonal_difference": ("log", "slot", "error"),
    "mean": ("none", "zero", "mean"),
}
KINDS = tuple(TRANSFORMS)


@dataclass(frozen=True)
class TargetTransform:
    """kind: one of `TRANSFORMS`; season: m, 1 for none."""

    kind: str
    season: int = 1

    def __post_init__(self) -> None:
        if self.kind not in TRANSFORMS:
            raise ConfigError(f"transform {self.kind!r} is unknown; use {', '.join(KINDS)}")

    @property
    def power(self) -> str:
        """The first part."""
        return TRANSFORMS[self.kind][0]

    @property
    def depth(self) -> int:
        """How many values before the origin a base reads."""
        return 1 if TRANSFORMS[self.kind][1] == "last" else self.season

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Values after the power; NaN where it has none."""
        if self.power == "none":
            return values
        return np.log1p(values, out=np.full(np.shape(values), np.nan), where=values > -1)

    def backward(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `forward`."""
        return values if self.power == "none" else np.expm1(np.minimum(values, 700.0))

    def levels(self, history: History) -> list[np.ndarray]:
        """What a base needs to know of each origin, told about every row from the rows before it."""
        latest = history.earlier(history.values, 1)
        if TRANSFORMS[self.kind][1] != "level":
            return [latest]
        (mean,) = Windows((self.season,), ("mean",)).columns(history)
        return [np.where(np.isnan(mean), latest, mean)]

    def base(self, levels: list[np.ndarray], before: Before, points: Points) -> np.ndarray:
        """The base of each point: float64 (points,). levels: at the points' origins, (points,) each."""
        kind = TRANSFORMS[self.kind][1]
        if kind == "zero":
            return np.where(np.isnan(levels[0]), np.nan, 0.0)
        if kind != "slot":
            return levels[0]
        same = before(newest_known(points.step, self.season))
        return np.where(np.isnan(same), levels[0], same)

    def scales(self, panel: Panel) -> np.ndarray:
        """The scale of each series: float64 (series,), 0 for one that never changed (or is all zeros).

        panel: compact, missing values filled forward, after the power.
        """
        series = np.repeat(np.arange(len(panel)), panel.lengths)
        if TRANSFORMS[self.kind][2] == "mean":
            found = np.nan_to_num(mean_by_series(np.abs(panel.target), series, len(panel)))
            return np.where(found > np.finfo(float).tiny, found, 0.0)
        rows, first = np.arange(len(series)), np.repeat(panel.begin, panel.lengths)
        found = np.zeros(len(panel))
        for lag in dict.fromkeys((self.season, 1)):
            distance = np.abs(panel.target - lagged(panel.target, rows, first, lag))
            # Differences below the smallest normal number are none: to divide by them would overflow.
            found = np.where(
                found > np.finfo(float).tiny, found, np.nan_to_num(mean_by_series(distance, series, len(panel)))
            )
        return np.where(found > np.finfo(float).tiny, found, 0.0)
