"""Windows of the last values: their mean, and their mean or median at each place in the season.

What is remembered is the window itself, newest first. (fpp3 of Hyndman and Athanasopoulos has the whole-history forms
in section 5.2; those and windows of one season are in `learners.baseline`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecastml.data.schema import Schema
from forecastml.errors import ConfigError
from forecastml.kernels.intermittent import packed
from forecastml.learners.chunks import Chunk
from forecastml.learners.components import Components, level_and_season
from forecastml.learners.flat import FlatLearner, FlatSettings
from forecastml.learners.vectorised import Memory, Settings, VectorisedLearner
from forecastml.protocols import Capabilities, Facts, FitContext, Params

#: Windows that are tried: from a mere damping of noise up to a year of weeks.
VALUES = (2, 3, 4, 6, 8, 12, 18, 26, 39, 52)
#: Seasons that are tried; one season is the seasonal naive's.
SEASONS = (2, 3, 4, 6, 8)
#: Seasons of the median: an odd number, so that it is a value that occurred; few, so that it follows a change of level.
MEDIAN_SEASONS = 3


def checked_window(name: str, window: int | None) -> int | None:
    """The window as it is; `ConfigError` unless it is None or a whole number from 1 on."""
    whole = isinstance(window, int | float | np.number) and not isinstance(window, bool) and window == int(window)
    if window is not None and not (whole and window >= 1):
        raise ConfigError(f"{name}: window is {window!r}; give a whole number from 1 on, or leave it out")
    return None if window is None else int(window)


@dataclass(frozen=True)
class WindowSettings(FlatSettings):
    """window: number of values, None to choose it for each series."""

    window: int | None = None

    @classmethod
    def of(cls, name: str, params: Params, context: FitContext) -> WindowSettings:
        """Parameters over the defaults; `ConfigError` if unknown or no number."""
        return super().of(name, {**params, "window": checked_window(name, params.get("window"))}, context)


@dataclass(frozen=True)
class SeasonalWindowSettings(Settings):
    """window: number of seasons, None for what the learner does by itself."""

    window: int | None = None

    @classmethod
    def of(cls, name: str, params: Params, context: FitContext) -> SeasonalWindowSettings:
        """Parameters over the defaults; `ConfigError` if unknown or no number."""
        return super().of(name, {**params, "window": checked_window(name, params.get("window"))}, context)


class WindowAverage(FlatLearner):
    """The mean of the last known values.

    How many is chosen for each series from `VALUES`, by squared one-step errors, or given as `window`. Unknown values
    are passed over.
    """

    name = "window_average"
    capabilities = Capabilities(missing=True, cost=0.0005)
    settings_type = WindowSettings

    def level(self, memory: Memory, settings: WindowSettings) -> np.ndarray:
        """The mean over the window."""
        total, count = np.zeros(len(memory["window"])), np.zeros(len(memory["window"]))
        for back, value in enumerate(memory["recent"].T):
            inside = (back < memory["window"]) & ~np.isnan(value)
            total += np.where(inside, value, 0.0)
            count += inside
        return total / count

    def fit_chunk(self, chunk: Chunk, settings: WindowSettings, context: FitContext, previous: Memory | None) -> Memory:
        """Choose the window and cut it out."""
        values, counts = packed(chunk.values, ~np.isnan(chunk.values))
        if settings.window is None:
            window = np.array(VALUES)[_lowest(_window_errors(values, counts))]
        else:
            window = np.full(len(chunk), settings.window)
        blank = np.full((len(chunk), int(window.max())), np.nan)
        return {"window": window.astype(np.float64), "recent": _moved(blank, values, counts)}

    def advance(self, memory: Memory, settings: WindowSettings, values: np.ndarray, lengths: np.ndarray) -> Memory:
        """The window moves on by the known values."""
        return {"recent": _moved(memory["recent"], *packed(values, ~np.isnan(values)))}


class SeasonalWindowAverage(VectorisedLearner):
    """The mean of the last seasons at each place in the season.

    How many is chosen for each series from `SEASONS`, by squared errors of forecasts one season ahead, or given as
    `window`. A place without a known value has the last known value of the series.
    """

    name = "seasonal_window_average"
    capabilities = Capabilities(missing=True, cost=0.0005)
    settings_type = SeasonalWindowSettings

    def space(self, facts: Facts) -> Sequence[Params]:
        """One set per season length (else the calendar's) that the longest series holds more than twice."""
        seasons = facts.seasons or (facts.natural,)
        return [{"season_length": m} for m in seasons if m > 1 and 2 * m < facts.longest]

    def fit_chunk(
        self, chunk: Chunk, settings: SeasonalWindowSettings, context: FitContext, previous: Memory | None
    ) -> Memory:
        """Choose the window and cut it out."""
        window = self._window(chunk, settings)
        blank = np.full((len(chunk), int(window.max()) * settings.season_length), np.nan)
        memory = {"window": window.astype(np.float64), "recent": blank, "last": np.full(len(chunk), np.nan)}
        return memory | self.advance(memory, settings, chunk.values, chunk.lengths)

    def project(
        self, memory: Memory, settings: SeasonalWindowSettings, steps: int, levels: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The centre of each place in the season, repeated; no quantiles."""
        m, recent = settings.season_length, memory["recent"]
        at = m - 1 - np.arange(min(m, steps))
        seasons = [np.where(k < memory["window"], recent[:, at + k * m].T, np.nan) for k in range(recent.shape[1] // m)]
        pattern = self._centre(np.stack(seasons))
        pattern = np.where(np.isnan(pattern), memory["last"], pattern)
        return pattern[np.arange(steps) % m], None

    def components(self, memory: Memory, settings: SeasonalWindowSettings, steps: int, schema: Schema) -> Components:
        """The mean of a season, and what its places are beside it."""
        m = settings.season_length
        values, _ = self.project(memory, settings, max(steps, m), ())
        return level_and_season(values[:m], values[:steps])

    def advance(
        self, memory: Memory, settings: SeasonalWindowSettings, values: np.ndarray, lengths: np.ndarray
    ) -> Memory:
        """The window moves on, with its gaps."""
        known, counts = packed(values, ~np.isnan(values))
        return {
            "recent": _moved(memory["recent"], values, lengths),
            "last": _moved(memory["last"][:, None], known, counts)[:, 0],
        }

    def _window(self, chunk: Chunk, settings: SeasonalWindowSettings) -> np.ndarray:
        """Seasons in the window of each series: int64 (series,)."""
        if settings.window is not None:
            return np.full(len(chunk), settings.window)
        return np.array(SEASONS)[_lowest(_seasonal_errors(chunk.values, settings.season_length))]

    def _centre(self, seasons: np.ndarray) -> np.ndarray:
        """The mean over seasons (seasons, steps, series), NaN left out: (steps, series), NaN where all are."""
        total, count = np.zeros(seasons.shape[1:]), np.zeros(seasons.shape[1:])
        for season in seasons:
            total += np.where(np.isnan(season), 0.0, season)
            count += ~np.isnan(season)
        return total / count


class SeasonalMedian(SeasonalWindowAverage):
    """The median of the last seasons at each place in the season: for the short and the strange.

    window: number of seasons, default `MEDIAN_SEASONS`. A place without a known value has the last known value of the
    series.
    """

    name = "seasonal_median"

    def _window(self, chunk: Chunk, settings: SeasonalWindowSettings) -> np.ndarray:
        return np.full(len(chunk), settings.window or MEDIAN_SEASONS)

    def _centre(self, seasons: np.ndarray) -> np.ndarray:
        """The median over seasons (seasons, steps, series), NaN left out: (steps, series), NaN where all are."""
        ordered = np.sort(seasons, axis=0)
        known = np.maximum(np.count_nonzero(~np.isnan(seasons), axis=0), 1)[None]
        low = np.take_along_axis(ordered, (known - 1) // 2, axis=0)[0]
        return 0.5 * (low + np.take_along_axis(ordered, known // 2, axis=0)[0])


def _moved(recent: np.ndarray, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Windows (series, width), newest first, after the first `lengths` values (time, series) of each series."""
    back = np.arange(recent.shape[1])
    at = lengths[:, None] - 1 - back
    if not len(values):
        return recent
    new = np.take_along_axis(values.T, np.maximum(at, 0), axis=1)
    old = np.take_along_axis(recent, np.maximum(back - lengths[:, None], 0), axis=1)
    return np.where(at >= 0, new, old)


def _window_errors(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums of squared one-step errors of the mean of the last `VALUES` values, or all before: (windows, series)."""
    total = np.cumsum(values, axis=0)
    squares = []
    for window in VALUES:
        before = total.copy()
        before[window:] -= total[:-window]
        seen = np.minimum(np.arange(1.0, len(values) + 1), window)[:, None]
        error = np.zeros_like(values)
        error[1:] = values[1:] - before[:-1] / seen[:-1]
        squares.append(np.take_along_axis(np.cumsum(error * error, axis=0), counts[None] - 1, axis=0)[0])
    return np.stack(squares)


def _seasonal_errors(values: np.ndarray, season_length: int) -> np.ndarray:
    """Sums of squared errors of the mean of the last `SEASONS` seasons at the same place: (windows, series).

    All windows are judged on the same steps, those that the shortest one can forecast.
    """
    total, count, squares = np.zeros_like(values), np.zeros_like(values), []
    for lag in range(1, SEASONS[-1] + 1):
        earlier = np.full_like(values, np.nan)
        earlier[lag * season_length :] = values[: max(len(values) - lag * season_length, 0)]
        known = ~np.isnan(earlier)
        total += np.where(known, earlier, 0.0)
        count += known
        if lag == SEASONS[0]:
            judged = (count > 0) & ~np.isnan(values)
        if lag in SEASONS:
            error = np.where(judged, values - total / np.maximum(count, 1.0), 0.0)
            squares.append(np.cumsum(error * error, axis=0)[-1])
    return np.stack(squares)


def _lowest(squares: np.ndarray) -> np.ndarray:
    """Position of the first of the lowest in each column."""
    return np.argmin(np.where(np.isnan(squares), np.inf, squares), axis=0)
