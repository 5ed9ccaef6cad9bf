"""Features of known facts: covariates at the point and around it, past ones at the origin, and what is constant.

`columns(panel, points)` gives float64 (points,) each, NaN where unknown; codes below 0, which stand for categories that
were not seen, are unknown too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forecastml.data.panel import Panel
from forecastml.features.points import Points
from forecastml.features.slots import newest_known


@dataclass(frozen=True)
class Steps:
    """How many steps the point lies after the origin: one model for all of them."""

    kind: ClassVar[str] = "steps"
    role: ClassVar[str] = "point"
    names: ClassVar[tuple[str, ...]] = ("step",)

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """The step."""
        return [points.step.astype(np.float64)]


@dataclass(frozen=True)
class Known:
    """Known covariates at the point, and so many rows before and (lead) after it; codes: those that are categories."""

    covariates: tuple[str, ...]
    codes: tuple[str, ...] = ()
    lags: tuple[int, ...] = (0,)
    kind: ClassVar[str] = "known"
    role: ClassVar[str] = "point"

    @property
    def names(self) -> tuple[str, ...]:
        """price, price_lag1, price_lead1, ..."""
        return tuple(_shifted_name(column, lag) for column in self.covariates for lag in self.lags)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Those of categories."""
        return tuple(
            _shifted_name(column, lag) for column in self.covariates if column in self.codes for lag in self.lags
        )

    @property
    def nominal(self) -> tuple[str, ...]:
        """The same."""
        return self.categorical

    @property
    def depth(self) -> int:
        """Rows before the origin that are read."""
        return max((*self.lags, 1))

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """By column, then by lag."""
        found = []
        for column in self.covariates:
            values = panel.known[:, panel.schema.known.index(column)]
            for lag in self.lags:
                found.append(known_at(panel, values, points, lag, column in self.codes))
        return found


@dataclass(frozen=True)
class KnownNull:
    """Whether known covariates are missing at the point."""

    covariates: tuple[str, ...]
    kind: ClassVar[str] = "known_null"
    role: ClassVar[str] = "point"

    @property
    def names(self) -> tuple[str, ...]:
        """price_WASNULL, ..."""
        return tuple(f"{column}_WASNULL" for column in self.covariates)

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """One per column: 1.0 where it is missing or reaches no further, else 0.0."""
        found = []
        for column in self.covariates:
            values = panel.known[:, panel.schema.known.index(column)]
            found.append(np.isnan(known_at(panel, values, points, 0)).astype(np.float64))
        return found


@dataclass(frozen=True)
class KnownChange:
    """A known covariate at the point against its mean over the `size` rows before the point: their difference."""

    column: str
    size: int
    kind: ClassVar[str] = "known_change"
    role: ClassVar[str] = "point"

    @property
    def names(self) -> tuple[str, ...]:
        """price_change8"""
        return (f"{self.column}_change{self.size}",)

    @property
    def depth(self) -> int:
        """Rows before the origin that are read."""
        return self.size

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """One."""
        values = panel.known[:, panel.schema.known.index(self.column)]
        total, count = np.zeros(len(points)), np.zeros(len(points))
        for lag in range(1, self.size + 1):
            value = known_at(panel, values, points, lag)
            there = ~np.isnan(value)
            total += np.where(there, value, 0.0)
            count += there
        mean = np.divide(total, count, out=np.full(len(points), np.nan), where=count > 0)
        return [known_at(panel, values, points, 0) - mean]


@dataclass(frozen=True)
class KnownSeasonChange:
    """A known covariate at the point against the last known point of the same place in the season: their difference."""

    column: str
    season: int
    kind: ClassVar[str] = "known_season_change"
    role: ClassVar[str] = "point"

    @property
    def names(self) -> tuple[str, ...]:
        """temperature_season24_change"""
        return (f"{self.column}_season{self.season}_change",)

    @property
    def depth(self) -> int:
        """Rows before the origin that are read: the last ones at each place in the season."""
        return self.season

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """One."""
        values = panel.known[:, panel.schema.known.index(self.column)]
        back = newest_known(points.step, self.season)
        return [known_at(panel, values, points, 0) - known_at(panel, values, points, back)]


@dataclass(frozen=True)
class Past:
    """Past covariates as they were so many rows before the next one after the origin: lag 1 is at the origin."""

    covariates: tuple[str, ...]
    codes: tuple[str, ...] = ()
    lags: tuple[int, ...] = (1,)
    kind: ClassVar[str] = "past"
    role: ClassVar[str] = "point"

    @property
    def names(self) -> tuple[str, ...]:
        """visitors_lag1, ..."""
        return tuple(f"{column}_lag{lag}" for column in self.covariates for lag in self.lags)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Those of categories."""
        return tuple(f"{column}_lag{lag}" for column in self.covariates if column in self.codes for lag in self.lags)

    @property
    def nominal(self) -> tuple[str, ...]:
        """The same."""
        return self.categorical

    @property
    def depth(self) -> int:
        """Rows before the origin that are read."""
        return max(self.lags, default=1)

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """By column, then by lag."""
        found = []
        for column in self.covariates:
            values = panel.past[:, panel.schema.past.index(column)]
            for lag in self.lags:
                position = points.anchor - lag
                there = (position >= 0) & (position < panel.lengths[points.series])
                value = _where(values, panel.begin[points.series] + position, there)
                found.append(_seen(value) if column in self.codes else value)
        return found


@dataclass(frozen=True)
class Static:
    """What is constant per series; codes: those that are categories."""

    covariates: tuple[str, ...]
    codes: tuple[str, ...] = ()
    kind: ClassVar[str] = "static"
    role: ClassVar[str] = "point"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return self.covariates

    @property
    def categorical(self) -> tuple[str, ...]:
        """Those of categories."""
        return self.codes

    @property
    def nominal(self) -> tuple[str, ...]:
        """The same."""
        return self.codes

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """One per column."""
        found = []
        for column in self.covariates:
            value = panel.static[points.series, panel.schema.static.index(column)]
            found.append(_seen(value) if column in self.codes else value)
        return found


@dataclass(frozen=True)
class Key:
    """A key column of the series as a category: its level is the place of its text in `levels`, NaN for others."""

    column: str
    levels: tuple[str, ...]
    kind: ClassVar[str] = "key"
    role: ClassVar[str] = "point"

    @property
    def names(self) -> tuple[str, ...]:
        """key_store"""
        return (f"key_{self.column}",)

    @property
    def categorical(self) -> tuple[str, ...]:
        """All."""
        return self.names

    @property
    def nominal(self) -> tuple[str, ...]:
        """All."""
        return self.names

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """One."""
        place = {level: float(k) for k, level in enumerate(self.levels)}
        keys = panel.keys[:, panel.schema.series.index(self.column)]
        return [np.array([place.get(key, np.nan) for key in keys], dtype=np.float64)[points.series]]


def known_at(panel: Panel, values: np.ndarray, points: Points, lag: int | np.ndarray, code: bool = False) -> np.ndarray:
    """One known column, `lag` rows before each point (after it when negative): float64 (points,)."""
    row = points.position - lag
    there = (row >= 0) & (row < (panel.known_end - panel.known_begin)[points.series])
    found = _where(values, panel.known_begin[points.series] + row, there)
    return _seen(found) if code else found


def _shifted_name(column: str, lag: int) -> str:
    return column if lag == 0 else f"{column}_lag{lag}" if lag > 0 else f"{column}_lead{-lag}"


def _where(values: np.ndarray, rows: np.ndarray, there: np.ndarray) -> np.ndarray:
    found = np.full(len(rows), np.nan)
    found[there] = values[rows[there]]
    return found


def _seen(codes: np.ndarray) -> np.ndarray:
    return np.where(codes < 0, np.nan, codes)
