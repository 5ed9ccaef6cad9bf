"""What the reader does with duplicates, gaps and series that end early, and the frequency it brings rows to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forecastml.data.zones import reading
from forecastml.errors import ConfigError


@dataclass(frozen=True)
class Policies:
    """How a table is mended; what is done is always told as a finding.

    duplicates: rows with the series and time of another are an "error", or become their "sum", "mean" or "last".
    gaps: a hole inside a series stays missing ("nan"), or is filled with the last value before it ("ffill"), 0
    ("zero"), or the line to the next value ("interpolate": it looks ahead, so that a fold whose cutoff lies inside a
    hole sees the value after it); masked rows stay missing. stale: a series that ends more than `stale_after` periods
    before the newest value of all series is forecast from its "own" end, is filled with missing values to the
    "common" end, or is left out ("skip"); None: not looked at. aggregate: rows become the "sum", "mean", "min" or
    "max" of the periods of a coarser `freq`. timezone: zone whose local time is modelled, and that times without a zone
    are in; "UTC>Europe/Paris" says that those are in UTC. known_may_lack: rows that continue series may come without
    columns of known covariates, which are then missing.
    """

    duplicates: str = "error"
    gaps: str = "nan"
    stale: str = "own"
    stale_after: int | None = None
    aggregate: str | None = None
    timezone: str | None = None
    known_may_lack: bool = False

    CHOICES: ClassVar[dict[str, tuple[str | None, ...]]] = {
        "duplicates": ("error", "sum", "mean", "last"),
        "gaps": ("nan", "ffill", "zero", "interpolate"),
        "stale": ("own", "common", "skip"),
        "aggregate": (None, "sum", "mean", "min", "max"),
    }

    def __post_init__(self) -> None:
        for name, choices in self.CHOICES.items():
            if getattr(self, name) not in choices:
                given = ", ".join(str(choice) for choice in choices)
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give one of {given}")
        if self.timezone is not None:
            reading(self.timezone)
        after = self.stale_after
        if after is not None and (isinstance(after, bool) or not isinstance(after, int | np.integer) or after < 0):
            raise ConfigError(f"stale_after is {after!r}; give a whole number of periods, 0 or more, or None")


@dataclass(frozen=True, eq=False)
class Holes:
    """Places without a value between two known values of a series, and those values' places: int64 (holes,) each."""

    at: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, target: np.ndarray, open_: np.ndarray, series: np.ndarray) -> Holes:
        """Holes of a flat target (values,) where `open_`; series: int64 (values,), ascending."""
        at, known = np.arange(len(target)), ~np.isnan(target)
        low = np.maximum.accumulate(np.where(known, at, -1))
        high = np.minimum.accumulate(np.where(known, at, len(at))[::-1])[::-1]
        hole = np.flatnonzero(open_ & ~known & (low >= 0) & (high < len(at)))
        hole = hole[(series[low[hole]] == series[hole]) & (series[high[hole]] == series[hole])]
        return cls(hole, low[hole], high[hole])

    def filling(self, target: np.ndarray, gaps: str) -> np.ndarray:
        """What fills the holes: float64 (holes,); gaps: "ffill", "zero" or "interpolate"."""
        if gaps == "zero":
            return np.zeros(len(self.at))
        if gaps == "ffill":
            return target[self.low]
        share = (self.at - self.low) / (self.high - self.low)
        return target[self.low] * (1 - share) + target[self.high] * share
