"""Which features suit a panel: the choices of a user, and what data and seasons suggest for what is left open."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from forecastml.data.calendar import natural_seasons
from forecastml.data.panel import Panel, ragged_rows
from forecastml.errors import ConfigError
from forecastml.features import dates
from forecastml.features.covariates import Key, Known, KnownChange, KnownNull, KnownSeasonChange, Past, Static, Steps
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
from forecastml.features.panel import FeatureSet
from forecastml.features.slots import SeasonLags, SeasonWindow
from forecastml.kernels.autocorrelation import partial_autocorrelations, without_season
from forecastml.protocols import FitContext

#: Lags of a season that are told one by one; lags whose partial autocorrelation is looked at, at most.
NEAR, MOST_LAGS = 24, 192


@dataclass(frozen=True)
class FeatureOptions:
    """A user's choices; None or "auto" where the data are to decide.

    lags: of the target, one (that one alone) or several, or "pacf"; windows: sizes, or "pacf" (see `lookback_rule`);
    aggregates: of the windows; expanding: aggregates of all values so far; ewm: alphas; differences, ratios: pairs of
    lags (newer, older); slopes: sizes; since_nonzero: rows since the last value that is not 0; stl: "season" or
    "season_trend", of the primary season if there is one; was_null: whether values were missing, of the target and of
    known numbers; season_windows: counts of earlier seasons whose same place is aggregated by season_aggregates; ids:
    key columns of the series as categories.
    """

    lags: Any = "auto"
    windows: Any = "auto"
    aggregates: Any = ("mean", "min", "max")
    expanding: Any = ()
    ewm: Any = ()
    differences: Any = ()
    ratios: Any = ()
    slopes: Any = ()
    since_nonzero: bool = False
    stl: str | None = None
    was_null: bool = False
    season_windows: Any = "auto"
    season_aggregates: Any = ("mean",)
    ids: bool = False

    def __post_init__(self) -> None:
        for name in ("since_nonzero", "was_null", "ids"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give True or False")
        if self.stl not in STL:
            raise ConfigError(f"stl is {self.stl!r}; use season, season_trend or None")

    @classmethod
    def written(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """A user's choices by name, as plain values that can be saved; `ConfigError` for a name that is unknown."""
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"features: {name!r} is unknown; known are {', '.join(known)}{hint}")
        return {name: _plain(value) for name, value in given.items()}

    @classmethod
    def split(cls, params: Mapping[str, Any]) -> tuple[FeatureOptions, dict[str, Any]]:
        """The options among a candidate's parameters, and the others."""
        mine = {field.name for field in fields(cls)}
        given = {name: value for name, value in params.items() if name in mine}
        return cls(**given), {name: value for name, value in params.items() if name not in mine}

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """Distinct whole numbers, ascending; None for "auto" and "pacf"."""
        value = getattr(self, name)
        if value in ("auto", None) or (value == "pacf" and name in ("lags", "windows")):
            return None
        listed = (value,) if isinstance(value, int) else value
        if isinstance(listed, str) or not all(_counts(v) for v in listed):
            raise ConfigError(f"{name} is {value!r}; give 'auto' or whole numbers of rows, such as [1, 7]")
        return tuple(sorted(set(listed)))

    def words(self, name: str) -> tuple[str, ...]:
        """Names of aggregates, one or several."""
        value = getattr(self, name)
        return (value,) if isinstance(value, str) else tuple(value or ())

    def asked(self) -> list[Any]:
        """The features of history that no data are needed to choose."""
        alphas = (self.ewm,) if isinstance(self.ewm, int | float) else tuple(self.ewm or ())
        if not all(isinstance(alpha, int | float) for alpha in alphas):
            raise ConfigError(f"ewm is {self.ewm!r}; give numbers between 0 and 1, such as [0.3]")
        return [
            Expanding(self.words("expanding")),
            Ewm(alphas),
            Differences(self._pairs("differences")),
            Ratios(self._pairs("ratios")),
            Slopes(self.sizes("slopes") or ()),
            *([SinceNonzero()] if self.since_nonzero else []),
            *([WasNull()] if self.was_null else []),
        ]

    def _pairs(self, name: str) -> tuple[tuple[int, int], ...]:
        value = getattr(self, name)
        right = isinstance(value, Sequence) and not isinstance(value, str)
        if not right or not all(_is_pair(pair) for pair in value):
            raise ConfigError(f"{name} is {value!r}; give pairs of two lags, such as [[1, 8]]")
        return tuple(tuple(pair) for pair in value)


#: Components by the name of the option.
STL = {None: (), "season": ("season",), "season_trend": ("season", "trend")}


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_counts, value)) and value[0] != value[1]


def automatic(panel: Panel, context: FitContext, direct: bool, options: FeatureOptions) -> FeatureSet:
    """The features of a panel, for a direct model or for a recursive one.

    Lags: the first max(m, 8) up to 24, around one and two seasons, around the second season; none that no series is
    long enough for. Windows of four values, one and two seasons, and the second season. Holidays for daily and finer
    data.
    """
    seasons, horizon = context.seasons, context.horizon
    longest = int(panel.lengths.max(initial=1))
    lags, windows = _lookback(panel, seasons, direct, options)
    codes = tuple(panel.categories)
    schema = panel.schema
    numbers = [column for column in schema.known if column not in codes]
    parts: list[Any] = [Lags(lags), Windows(windows, options.words("aggregates")), *options.asked()]
    if options.stl is not None:
        parts += [StlFeatures(m, STL[options.stl]) for m in seasons[:1] if m > 1]
    parts += _of_seasons(panel, context, direct, options)
    if direct:
        parts.append(Steps())
    parts += dates.automatic(panel, context)
    parts.append(Known(schema.known, tuple(c for c in schema.known if c in codes)))
    if options.was_null:
        parts.append(KnownNull(tuple(column for column in numbers if np.isnan(_known(panel, column)).any())))
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


def _lookback(
    panel: Panel, seasons: tuple[int, ...], direct: bool, options: FeatureOptions
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lags and sizes of windows."""
    longest = int(panel.lengths.max(initial=1))
    season, second = (*seasons, 1, 1)[:2]
    lags, windows = options.sizes("lags"), options.sizes("windows")
    if "pacf" in (options.lags, options.windows):
        last, size = lookback_rule(panel, season)
        lags = tuple(range(1, last + 1)) if options.lags == "pacf" else lags
        windows = tuple(v for v in (size,) if v > 1) if options.windows == "pacf" else windows
    if lags is None:
        near = range(1, min(max(season, 8), NEAR) + 1)
        around = (season - 1, season, season + 1, 2 * season - 1, 2 * season, second - 1, second, second + 1)
        lags = sorted({lag for lag in (*near, *(() if direct else around)) if 1 <= lag < max(longest, 2)})
    if windows is None:
        windows = sorted({size for size in (4, season, 2 * season, second) if 1 < size < max(longest, 2)})
    return tuple(lags), tuple(windows)


def lookback_rule(panel: Panel, season: int) -> tuple[int, int]:
    """The last lag in a row, and the last of all, that has a partial autocorrelation of its own; 0 for none.

    It has one where the median of its size over the series, their season taken out, is above 1.96 / sqrt(most). Lags
    are looked at up to two of the next coarser unit of the calendar (days: 14, weeks: 8). Where all have one, that is a
    strong season, and there is no lag in a row.
    """
    coarser = 4 if (panel.frequency.unit, panel.frequency.step) == ("day", 7) else 0
    most = min(2 * (coarser or (*natural_seasons(panel.frequency), max(season, 4))[0]), MOST_LAGS)
    enough = panel.select(panel.lengths > 2 * most).compact()
    if not len(enough):
        return 1, 0
    values = without_season(enough.target, enough.begin, enough.end, season)
    partial = np.abs(partial_autocorrelations(values, enough.begin, enough.end, most))
    partial = partial[~np.isnan(partial).any(axis=1)]
    found = np.median(partial, axis=0) > 1.96 / np.sqrt(most) if len(partial) else np.zeros(most, dtype=bool)
    last = int(np.flatnonzero(found)[-1]) + 1 if found.any() else 0
    return (0 if found.all() else int(np.argmin(found))), last


def _of_seasons(panel: Panel, context: FitContext, direct: bool, options: FeatureOptions) -> list[Any]:
    """Values at the same place of earlier seasons: of direct models, and of recursive ones where asked for."""
    counts, words = options.sizes("season_windows"), options.words("season_aggregates")
    room, found = int(panel.lengths.max(initial=1)) - context.horizon, []
    for m in context.seasons:
        most = room // m
        if direct and most >= 1:
            found.append(SeasonLags(m, min(3, most)))
        own = counts if counts is not None else (min(8, most),) if direct and most >= 2 else ()
        found += [SeasonWindow(m, count, words) for count in own]
    return found


def _known(panel: Panel, column: str) -> np.ndarray:
    rows = ragged_rows(
        panel.known_begin, panel.known_begin + np.minimum(panel.lengths, panel.known_end - panel.known_begin)
    )
    return panel.known[rows, panel.schema.known.index(column)]


def _plain(value: Any) -> Any:
    """Lists of Python's own numbers in place of ranges, tuples and arrays."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return [_plain(part) for part in value] if isinstance(value, range | tuple | list) else value


def _moves(panel: Panel, column: str) -> bool:
    """Whether a known number takes more than two values in some series."""
    values = _known(panel, column)
    series = np.repeat(np.arange(len(panel)), np.minimum(panel.lengths, panel.known_end - panel.known_begin))
    low, high = np.full(len(panel), np.inf), np.full(len(panel), -np.inf)
    there = ~np.isnan(values)
    np.minimum.at(low, series[there], values[there])
    np.maximum.at(high, series[there], values[there])
    return bool(((values > low[series]) & (values < high[series])).any())
