"""Which features suit a panel: the choices of a user, and what data and seasons suggest for what is left open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from forecastml.data.calendar import calendar_fields, local_days
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.features.covariates import Key, Known, KnownChange, KnownSeasonChange, Past, Static, Steps
from forecastml.features.history_features import Lags, Windows
from forecastml.features.panel import CALENDAR, Calendar, FeatureSet, HolidayCode, Slots
from forecastml.features.slots import SeasonLags, SeasonWindow
from forecastml.protocols import FitContext

#: Lags of a season that are told one by one.
NEAR = 24


@dataclass(frozen=True)
class FeatureOptions:
    """A user's choices; None or "auto" where the data are to decide.

    lags: of the target, one (that one alone) or several; windows: sizes; aggregates: of the windows; ids: key columns
    of the series as categories.
    """

    lags: Any = "auto"
    windows: Any = "auto"
    aggregates: tuple[str, ...] = ("mean", "min", "max")
    ids: bool = False

    @classmethod
    def split(cls, params: Mapping[str, Any]) -> tuple[FeatureOptions, dict[str, Any]]:
        """The options among a candidate's parameters, and the others."""
        mine = {field.name for field in fields(cls)}
        given = {name: value for name, value in params.items() if name in mine}
        return cls(**given), {name: value for name, value in params.items() if name not in mine}

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """Distinct whole numbers, ascending; None for "auto"."""
        value = getattr(self, name)
        if value in ("auto", None):
            return None
        listed = (value,) if isinstance(value, int) else tuple(value)
        if not all(isinstance(v, int) and v >= 1 for v in listed):
            raise ConfigError(f"{name} is {value!r}; give 'auto' or whole numbers of rows, such as [1, 7]")
        return tuple(sorted(set(listed)))


def automatic(panel: Panel, context: FitContext, direct: bool, options: FeatureOptions) -> FeatureSet:
    """The features of a panel, for a direct model or for a recursive one.

    Lags: the first max(m, 8) up to 24, around one and two seasons, around the second season; none that no series is
    long enough for. Windows of four values, one and two seasons, and the second season. Holidays for daily and finer
    data.
    """
    seasons, horizon = context.seasons, context.horizon
    longest = int(panel.lengths.max(initial=1))
    season, second = (*seasons, 1, 1)[:2]
    lags, windows = options.sizes("lags"), options.sizes("windows")
    if lags is None:
        near = range(1, min(max(season, 8), NEAR) + 1)
        around = (season - 1, season, season + 1, 2 * season - 1, 2 * season, second - 1, second, second + 1)
        lags = sorted({lag for lag in (*near, *(() if direct else around)) if 1 <= lag < max(longest, 2)})
    if windows is None:
        windows = sorted({size for size in (4, season, 2 * season, second) if 1 < size < max(longest, 2)})
    codes = tuple(panel.categories)
    schema = panel.schema
    numbers = [column for column in schema.known if column not in codes]
    fields_ = calendar_fields(panel.start[:1], panel.frequency, panel.tz)
    parts: list[Any] = [Lags(tuple(lags)), Windows(tuple(windows), tuple(options.aggregates))]
    if direct:
        for m in seasons:
            count = min(3, (longest - horizon) // m)
            if count >= 1:
                parts += [SeasonLags(m, count)]
            if count >= 2:
                parts += [SeasonWindow(m, min(8, (longest - horizon) // m))]
        parts.append(Steps())
    parts.append(Calendar(tuple(name for name in CALENDAR if name in fields_)))
    parts.append(Slots(tuple(m for m in seasons if not fields_ and m > 1)))
    if context.holidays and local_days(panel.start[:1], panel.frequency) is not None:
        parts.append(HolidayCode(context.holidays))
    parts.append(Known(schema.known, tuple(c for c in schema.known if c in codes)))
    for column in numbers:
        if _moves(panel, column):
            parts += [KnownChange(column, 8)]
            parts += [KnownSeasonChange(column, m) for m in seasons if m * 2 < longest]
    lag = (1,) if direct else (horizon,)
    parts.append(Past(schema.past, tuple(c for c in schema.past if c in codes), lag))
    parts.append(Static(schema.static, tuple(c for c in schema.static if c in codes)))
    if options.ids and len(panel) > 1:
        for k, column in enumerate(schema.series):
            levels = tuple(sorted(set(panel.keys[:, k].tolist())))
            if len(levels) > 1:
                parts.append(Key(column, levels))
    return FeatureSet(tuple(part for part in parts if part.names))


def _moves(panel: Panel, column: str) -> bool:
    """Whether a known number takes more than two values."""
    k = panel.schema.known.index(column)
    for i in range(min(len(panel), 20)):
        values = panel.known[panel.known_begin[i] : panel.known_begin[i] + panel.lengths[i], k]
        if len(np.unique(values[~np.isnan(values)])) > 2:
            return True
    return False
