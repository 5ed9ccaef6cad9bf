"""Tasks: the only place that knows which kind of problem is solved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forecastml.data.checks import Finding
from forecastml.data.panel import Panel, extent
from forecastml.data.schema import Schema, names
from forecastml.errors import ConfigError
from forecastml.metrics import get_metric, scales
from forecastml.protocols import Facts, Fold, Metric
from forecastml.splits import RollingOrigin

#: 0.1, 0.2, ..., 0.9
DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))


@dataclass(frozen=True)
class Forecasting:
    """What to forecast, and how forecasts are judged.

    horizon: steps to forecast; target, time: columns; series: key columns, one series per distinct key (none: one
    series); group: key columns whose series share an ensemble (none: each series its own); known, past, static:
    covariates known in the future / up to the origin / constant per series; weight: row weights; freq: pandas alias
    or integer step (None: inferred); season: season lengths in steps (None: found in the data; () or 1: none);
    metric: see `forecastml.metrics.metric_names()`; n_folds, step: of the rolling origin, "auto" by the rule of
    `RollingOrigin`; gap: periods after the last known value that are not forecast; quantiles: levels of the
    intervals; integer: round forecasts; lower: bound of forecasts ("auto": 0 for series that never were negative,
    None: none, or a number).

    Example: `Forecasting(horizon=18, series="unique_id", time="ds", target="y")`
    """

    horizon: int
    target: str = "y"
    time: str = "ds"
    series: str | Sequence[str] | None = None
    group: str | Sequence[str] | None = None
    known: str | Sequence[str] | None = None
    past: str | Sequence[str] | None = None
    static: str | Sequence[str] | None = None
    weight: str | None = None
    freq: str | int | None = None
    season: int | Sequence[int] | None = None
    metric: str = "mase"
    n_folds: int | str = "auto"
    step: int | str = "auto"
    gap: int = 0
    quantiles: Sequence[float] = DECILES
    integer: bool = False
    lower: float | str | None = "auto"

    def __post_init__(self) -> None:
        for name in ("series", "group", "known", "past", "static"):
            object.__setattr__(self, name, names(getattr(self, name)))
        object.__setattr__(self, "quantiles", checked_levels(self.quantiles))
        if not self.quantiles:
            raise ConfigError("quantiles is empty; give levels such as (0.1, 0.9)")
        if self.freq is not None and not isinstance(self.freq, int):
            object.__setattr__(self, "freq", str(getattr(self.freq, "freqstr", self.freq)))
        if self.season is not None:
            seasons = (self.season,) if isinstance(self.season, int) else tuple(self.season)
            if any(not isinstance(m, (int, np.integer)) or m < 1 for m in seasons):
                raise ConfigError(f"season is {self.season!r}; give whole numbers of steps, such as 24 or (24, 168)")
            object.__setattr__(self, "season", tuple(sorted({int(m) for m in seasons if m > 1})))
        _whole("horizon", self.horizon, least=1)
        _whole("gap", self.gap, least=0)
        for name in ("n_folds", "step"):
            if getattr(self, name) != "auto":
                _whole(name, getattr(self, name), least=1)
        if self.lower not in (None, "auto") and not isinstance(self.lower, (int, float)):
            raise ConfigError(f"lower is {self.lower!r}; give a number, None or 'auto'")
        get_metric(self.metric)
        _ = self.schema

    @property
    def schema(self) -> Schema:
        """The roles of the columns."""
        return Schema(
            target=self.target,
            time=self.time,
            series=self.series,
            group=self.group,
            known=self.known,
            past=self.past,
            static=self.static,
            weight=self.weight,
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Columns of a forecast: "mean" and the quantile levels."""
        return ("mean", *(str(level) for level in self.quantiles))

    @property
    def scorer(self) -> Metric:
        """The metric by name."""
        return get_metric(self.metric)

    def read(self, source: Any, like: Panel | None = None) -> tuple[Panel, tuple[Finding, ...]]:
        """Read a table into a panel and say what was found; raises `DataError` with the remedy."""
        from forecastml.data.frames import read_panel

        reading = read_panel(source, self.schema, like=like, freq=None if like is not None else self.freq)
        return reading.panel, reading.findings

    def splitter(self, panel: Panel, most_folds: int) -> RollingOrigin:
        """The rolling origin with every "auto" made explicit for this panel."""
        from forecastml.data.calendar import natural_seasons

        season = self.season or natural_seasons(panel.frequency) or (1,)
        rolling = RollingOrigin(
            horizon=self.horizon,
            n_folds=self.n_folds,
            most_folds=most_folds,
            step=self.step,
            gap=self.gap,
            season_length=season[0],
        )
        return rolling.resolve(panel)

    def seasons(self, panel: Panel, folds: Sequence[Fold]) -> tuple[int, ...]:
        """Season lengths: the user's, or those that the earliest training window supports, primary first."""
        if self.season is not None:
            return self.season
        from forecastml.data.calendar import natural_seasons
        from forecastml.kernels.seasonality import detect_seasons, propose_seasons

        window = earliest(panel, folds)
        natural = natural_seasons(panel.frequency)
        if not natural:
            return propose_seasons(window)
        return detect_seasons(window, natural, expected=natural[0])

    def facts(self, panel: Panel, folds: Sequence[Fold], seasons: tuple[int, ...]) -> Facts:
        """What learners may look at to state their spaces, from the earliest training window."""
        window = earliest(panel, folds)
        lengths = window.lengths[window.lengths > 0]
        covariates = [kind for kind in ("known", "past", "static") if getattr(panel.schema, kind)]
        smallest = extent(window)[0]
        return Facts(
            task="forecasting",
            horizon=self.gap + self.horizon,
            items=len(window),
            shortest=int(lengths.min(initial=0)),
            longest=int(lengths.max(initial=0)),
            seasons=seasons,
            positive=bool(len(smallest)) and bool(np.nanmin(smallest) > 0),
            covariates=frozenset(covariates),
        )

    def in_sample_scale(self, panel: Panel, season_length: int) -> np.ndarray:
        """Typical size of a seasonal naive error of each series: float64 (series,), above zero."""
        return scales(panel, panel, season_length)["seasonal_error"]

    def lower_bounds(self, panel: Panel) -> np.ndarray:
        """Bound of each series' forecasts: float64 (series,), -inf for none."""
        if self.lower is None:
            return np.full(len(panel), -np.inf)
        if self.lower != "auto":
            return np.full(len(panel), float(self.lower))
        return np.where(extent(panel)[0] >= 0, 0.0, -np.inf)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Forecasting:
        """The inverse of `to_json`."""
        return cls(**values)


def earliest(panel: Panel, folds: Sequence[Fold]) -> Panel:
    """The earliest training window: each series up to its oldest cutoff; without folds, all of it."""
    if not folds:
        return panel
    lengths = np.zeros(len(panel), np.int64)
    for fold in reversed(folds):
        lengths[fold.items] = fold.cutoff
    window = panel.before(lengths)
    return window.select(window.lengths > 0)


def checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Quantile levels as a sorted tuple of distinct floats in (0, 1)."""
    levels = (levels,) if isinstance(levels, (int, float)) else tuple(levels)
    for level in levels:
        if not 0 < float(level) < 1:
            raise ConfigError(f"quantile level {level} is not between 0 and 1; 0.9 means the 90 % quantile")
    return tuple(sorted({float(level) for level in levels}))


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigError(f"{name} is {value!r}; give a whole number of {least} or more")
