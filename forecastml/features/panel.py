"""Features of the points of a panel, declared as data; their names follow from the declaration.

A set is a tuple of declarations of four roles (see the modules of this package): "history" tells what was known at the
origin, "slot" the same place of earlier seasons as far as it was known, "decomposition" season and trend as they were
known, and "point" the date and known facts. No feature reads a target after the origin. All features are told as
float32, NaN where there is nothing to tell. A declaration has `units` (else plain numbers), `depth` (else 1 row),
`categorical` and `nominal` (else none) where it needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from forecastml.data.calendar import local_days
from forecastml.data.panel import Panel
from forecastml.features.covariates import Key, Known, KnownChange, KnownNull, KnownSeasonChange, Past, Static, Steps
from forecastml.features.dates import POINT_FEATURES, Calendar, Slots
from forecastml.features.decomposition import StlFeatures
from forecastml.features.history_features import (
    Differences,
    Ewm,
    Expanding,
    Lags,
    Ratios,
    SinceNonzero,
    Slopes,
    WasNull,
    Windows,
)
from forecastml.features.holidays import holiday_codes
from forecastml.features.points import Points
from forecastml.features.slots import SeasonLags, SeasonWindow


@dataclass(frozen=True)
class FeatureSet:
    """What is told about a point: declarations, in the order of their columns."""

    features: tuple[Any, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The engineered features in the order of their columns."""
        return tuple(name for feature in self.features for name in feature.names)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """How each is brought to the series' own scale: "level", "spread" or "number"."""
        return tuple(unit for feature in self.features for unit in _units(feature))

    @property
    def categorical_columns(self) -> tuple[int, ...]:
        """Positions of the features that are codes."""
        return self._positions("categorical")

    @property
    def nominal_columns(self) -> tuple[int, ...]:
        """Positions of the features whose numbers name something that repeats: codes, slots, and fields of the date."""
        return self._positions("nominal")

    @cached_property
    def depth(self) -> int:
        """How many rows of history before the origin are read."""
        return max((getattr(feature, "depth", 1) for feature in self.features), default=1)

    def of_role(self, role: str) -> list[tuple[int, Any]]:
        """First column and declaration of each feature of this role."""
        found, first = [], 0
        for feature in self.features:
            if feature.role == role:
                found.append((first, feature))
            first += len(feature.names)
        return found

    def to_json(self) -> dict[str, Any]:
        """The declarations as JSON values."""
        return {"features": [{"kind": feature.kind, **asdict(feature)} for feature in self.features]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FeatureSet:
        """The inverse of `to_json`; also of sets as they were written before features were declared one by one."""
        if "features" not in values:
            return _before_declarations(values)
        return cls(tuple(_declared(told) for told in values["features"]))

    def _positions(self, kind: str) -> tuple[int, ...]:
        found, first = [], 0
        for feature in self.features:
            wanted = getattr(feature, kind, ())
            found += [first + i for i, name in enumerate(feature.names) if name in wanted]
            first += len(feature.names)
        return tuple(found)


def _units(feature: Any) -> tuple[str, ...]:
    return getattr(feature, "units", None) or ("number",) * len(feature.names)


@dataclass(frozen=True)
class HolidayCode:
    """Whether there is a holiday, and its name as a code, as models of older versions have it (see `Holidays`)."""

    places: tuple[str, ...]
    kind: ClassVar[str] = "holiday_code"
    role: ClassVar[str] = "point"
    names: ClassVar[tuple[str, ...]] = ("is_holiday", "holiday")
    categorical: ClassVar[tuple[str, ...]] = ("holiday",)
    nominal: ClassVar[tuple[str, ...]] = ("holiday",)

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """Two."""
        ordinals, where = np.unique(
            panel.start[points.series] + panel.frequency.step * points.position, return_inverse=True
        )
        codes = holiday_codes(self.places, local_days(ordinals, panel.frequency, panel.tz))
        return [(~np.isnan(codes)).astype(np.float64)[where], codes[where]]


KINDS = {
    feature.kind: feature
    for feature in (
        Lags,
        Windows,
        Expanding,
        Ewm,
        Differences,
        Ratios,
        SinceNonzero,
        Slopes,
        WasNull,
        SeasonLags,
        SeasonWindow,
        StlFeatures,
        Steps,
        *POINT_FEATURES.values(),
        HolidayCode,
        Known,
        KnownNull,
        KnownChange,
        KnownSeasonChange,
        Past,
        Static,
        Key,
    )
}


def _declared(told: Mapping[str, Any]) -> Any:
    values = {name: _frozen(value) for name, value in told.items() if name != "kind"}
    return KINDS[told["kind"]](**values)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list | tuple) else value


def _before_declarations(values: Mapping[str, Any]) -> FeatureSet:
    told = {name: _frozen(value) for name, value in values.items()}
    codes = told["categorical"]

    def coded(columns: Sequence[str]) -> tuple[str, ...]:
        return tuple(column for column in columns if column in codes)

    parts = [
        Lags(told["lags"]),
        Windows(told["windows"]),
        Calendar(told["calendar"]),
        Slots(told["slots"]),
        HolidayCode(told["holidays"]) if told.get("holidays") else None,
        Known(told["known"], coded(told["known"])),
        Past(told["past"], coded(told["past"]), (told["past_lag"],)),
        Static(told["static"], coded(told["static"])),
    ]
    return FeatureSet(tuple(part for part in parts if part is not None and part.names))
