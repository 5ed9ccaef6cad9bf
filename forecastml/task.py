"""Tasks: the only place that knows which kind of problem is solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from forecastml.data.checks import Reading
from forecastml.data.doctor import admitted, examined
from forecastml.data.leak_guard import POLICIES as LEAK_POLICIES
from forecastml.data.leak_guard import alike, remaining
from forecastml.data.panel import Panel, extent
from forecastml.data.policies import Policies
from forecastml.data.row_leaks import admitted_rows
from forecastml.data.schema import Schema, names
from forecastml.data.table import RowColumns, Table
from forecastml.errors import ConfigError, DataError
from forecastml.future_covariates import FILLING, POLICIES
from forecastml.metrics import get_metric, scales
from forecastml.option_checks import check_metric, check_one_of, check_whole, checked_levels
from forecastml.protocols import Candidate, Cut, Facts, FitContext, Fold, Metric, Splitter, Task
from forecastml.splits import Holdout, KFold, RollingOrigin, earliest

#: From so many rows on, one part held out tells enough.
HOLDOUT_ROWS = 20_000
#: Seasons of up to so many horizons are to be seen whole by the folds.
SPANNED = 10
#: 0.1, 0.2, ..., 0.9
DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))


@dataclass(frozen=True)
class Forecasting:
    """What to forecast, and how forecasts are judged.

    horizon: steps to forecast; target, time: columns; series: key columns, one series per distinct key (none: one
    series); group: key columns whose series share an ensemble (none: each series its own); known, past, static:
    covariates known in the future / up to the origin / constant per series; weight: row weights; mask: true where
    a value is not to be believed (closed, sold out); freq: pandas alias or integer step (None: inferred); aggregate:
    "sum", "mean", "min" or "max", to bring rows to the coarser `freq`; duplicates, gaps, stale: how repeated rows,
    holes and series that ended long ago are handled (see `data.policies.Policies`); timezone: of local time, such as
    "Europe/Paris" ("UTC>Europe/Paris" when times without a zone are UTC); season: season lengths in steps (None: found
    in the data; () or 1: none); holidays: country codes whose holidays count ("US", "DE-BY" with a subdivision), or
    "column:state", a column that tells the place of each series; holiday_table: holidays of your own, a table or file
    with the columns date, name and, if not for all series, place; metric: see `forecastml.metrics.metric_names()`;
    n_folds, step: of the rolling origin, "auto" by the rule of
    `RollingOrigin`; gap: periods after the last known value that are not forecast; quantiles: levels of the
    intervals; integer: round forecasts; lower: bound of forecasts ("auto": 0 for series that never were negative,
    None: none, or a number); missing_future: what stands in for known covariates that a forecast lacks, see
    `future_covariates.completed`; leaks: columns that give the target away are told ("warn"), left out ("exclude") or
    refused ("error"), see `data.leak_guard`; unseen: series that only a forecast's tables have are served by "pooled"
    members or are an "error"; features_unknown_at_forecast_time: columns that are `past`, whether or not
    they are among `known`.

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
    mask: str | None = None
    freq: str | int | None = None
    aggregate: str | None = None
    duplicates: str = "error"
    gaps: str = "nan"
    stale: str = "own"
    timezone: str | None = None
    season: int | Sequence[int] | None = None
    holidays: str | Sequence[str] | None = None
    holiday_table: Any = None
    metric: str = "mase"
    n_folds: int | str = "auto"
    step: int | str = "auto"
    gap: int = 0
    quantiles: Sequence[float] = DECILES
    integer: bool = False
    lower: float | str | None = "auto"
    missing_future: str = "nan"
    leaks: str = "warn"
    unseen: str = "pooled"
    features_unknown_at_forecast_time: InitVar[str | Sequence[str] | None] = None

    name: ClassVar[str] = "forecasting"

    def __post_init__(self, features_unknown_at_forecast_time: str | Sequence[str] | None) -> None:
        unknown = names(features_unknown_at_forecast_time)
        object.__setattr__(self, "known", tuple(c for c in names(self.known) if c not in unknown))
        object.__setattr__(self, "past", tuple(dict.fromkeys((*names(self.past), *unknown))))
        for name in ("series", "group", "known", "past", "static", "holidays"):
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
        check_whole("horizon", self.horizon, least=1)
        check_whole("gap", self.gap, least=0)
        for name in (n for n in ("n_folds", "step") if getattr(self, n) != "auto"):
            check_whole(name, getattr(self, name), least=1)
        if self.lower not in (None, "auto") and not isinstance(self.lower, (int, float)):
            raise ConfigError(f"lower is {self.lower!r}; give a number, None or 'auto'")
        if self.holidays or self.holiday_table is not None:
            from forecastml.features.holiday_table import checked_holidays

            object.__setattr__(self, "holiday_table", checked_holidays(self.holidays, self.holiday_table))
        check_metric(self.metric, self.name)
        check_one_of("missing_future", self.missing_future, POLICIES)
        check_one_of("leaks", self.leaks, LEAK_POLICIES)
        check_one_of("unseen", self.unseen, ("pooled", "error"))
        _ = self.schema, self.policies

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
            mask=self.mask,
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Columns of a forecast: "mean" and the quantile levels."""
        return ("mean", *(str(level) for level in self.quantiles))

    @property
    def scorer(self) -> Metric:
        """The metric by name."""
        return get_metric(self.metric)

    @property
    def policies(self) -> Policies:
        """How a table is mended while it is read."""
        after, lent = self.gap + self.horizon, self.missing_future in FILLING
        return Policies(self.duplicates, self.gaps, self.stale, after, self.aggregate, self.timezone, lent)

    def read(self, source: Any, like: Panel | None = None) -> Reading:
        """Read a table into a panel and look it over; raises `DataError` with all that cannot be used."""
        from forecastml.data.frames import read_panel

        policies, after = self.policies, self.gap + self.horizon
        # Newer rows lie on the grid of their panel; `freq` still tells the periods that they are aggregated to.
        freq = self.freq if like is None or self.aggregate else None
        schema = self.schema if like is None else remaining(self.schema, like.schema)
        reading = read_panel(source, schema, like, freq, policies)
        if like is not None:
            # What others share is known: one group may well be without a value, and has the columns that they have.
            reading = replace(reading, data=alike(reading.data, like.schema))
            return reading if len(like) else examined(reading, after, "warn")
        if not reading.data.lengths.any():
            raise DataError(f"column {self.target!r} holds no number at all; check the target column")
        if self.holidays:
            from forecastml.features.holiday_features import check_places

            check_places(reading.data, self.holidays, self.holiday_table or ())
        return admitted(reading, after, self.leaks)

    def check(self, source: Any) -> Reading:
        """Everything that is wrong with a table or looks wrong, without raising for it; without data when it could not
        be read so far."""
        from forecastml.data.frames import check_panel

        reading = check_panel(source, self.schema, self.freq, self.policies)
        return reading if reading.data is None else examined(reading, self.gap + self.horizon, self.leaks)

    def cut(self, data: Panel, most_folds: Callable[[int], int]) -> Cut:
        """Rolling origins with every "auto" made explicit, and the seasons."""
        splitter = self.splitter(data, self._spanning(data, most_folds(len(data))))
        folds = tuple(splitter.folds(data))
        seasons = self.seasons(data, folds)
        primary = seasons[0] if seasons else 1
        if primary != splitter.season_length:
            # The scale of MASE follows the season that was found; the cutoffs stay where they are.
            splitter = replace(splitter, season_length=primary)
            folds = tuple(splitter.folds(data))
        return Cut(splitter, folds, seasons)

    def context(self, data: Panel, seasons: tuple[int, ...]) -> FitContext:
        """Point forecasts of the gap and the horizon; quantiles are made from residuals."""
        return FitContext(
            horizon=self.gap + self.horizon,
            gap=self.gap,
            outputs=("mean",),
            seasons=seasons,
            metric=self.scorer.name,
            holidays=self.holidays,
            holiday_table=self.holiday_table or (),
        )

    def fallback(self, seasons: tuple[int, ...] = ()) -> Candidate:
        """The seasonal naive."""
        return Candidate("seasonal_naive", {"season_length": (*seasons, 1)[0]})

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

    def _spanning(self, panel: Panel, folds: int) -> int:
        """Up to twice as many folds where those would see a part of a season only, a Friday and no Sunday."""
        from forecastml.data.calendar import natural_seasons

        seasons = self.season or natural_seasons(panel.frequency)
        near = [-(-season // self.horizon) for season in seasons if season <= SPANNED * self.horizon]
        return max(folds, min(max(near, default=1), 2 * folds))

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

    def facts(self, data: Panel, cut: Cut) -> Facts:
        """What learners may look at to state their spaces, from the earliest training window."""
        from forecastml.data.calendar import natural_seasons
        from forecastml.kernels.intermittent import demand_shares

        window = earliest(data, cut.folds)
        lengths = window.lengths[window.lengths > 0]
        covariates = [kind for kind in ("known", "past", "static") if getattr(data.schema, kind)]
        lowest = float(np.nanmin(extent(window)[0], initial=np.inf)) if len(window) else -np.inf
        return Facts(
            task=self.name,
            horizon=self.gap + self.horizon,
            items=len(window),
            shortest=int(lengths.min(initial=0)),
            longest=int(lengths.max(initial=0)),
            seasons=cut.seasons,
            natural=1 if self.season is not None else (*natural_seasons(data.frequency), 1)[0],
            positive=lowest > 0,
            nonnegative=lowest >= 0,
            covariates=frozenset(covariates),
            demand=demand_shares(window.target, window.begin, window.end),
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


@dataclass(frozen=True)
class _OfRows:
    """What classification and regression share.

    target: column to predict; features: numeric columns to predict from (none: every other column); group: key columns
    whose rows share an ensemble (none: all rows do); weight: row weights; metric; n_folds: "auto" by the number of rows
    (10 below 1,000, else 3, above 20,000 one tenth held out), or a number; seed: of the folds; leaks: features that are
    the target in other words are told ("warn"), left out ("exclude") or refused ("error").
    """

    target: str = "y"
    features: str | Sequence[str] | None = None
    group: str | Sequence[str] | None = None
    weight: str | None = None
    metric: str = ""
    n_folds: int | str = "auto"
    seed: int = 0
    leaks: str = "warn"

    name: ClassVar[str] = ""
    labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("features", "group"):
            object.__setattr__(self, name, names(getattr(self, name)))
        if self.n_folds != "auto":
            check_whole("n_folds", self.n_folds, least=2)
        check_one_of("leaks", self.leaks, LEAK_POLICIES)
        check_metric(self.metric, self.name)

    @property
    def scorer(self) -> Metric:
        """The metric by name."""
        return get_metric(self.metric)

    @property
    def columns(self) -> RowColumns:
        """The roles of the columns."""
        return RowColumns(self.target, self.features, self.group, self.weight, self.labels)

    def read(self, source: Any, like: Table | None = None) -> Reading:
        """Read a table into rows and say what was found; raises `DataError` with the remedy."""
        from forecastml.data.table_reading import read_table

        reading = read_table(source, self.columns, like)
        return reading if like is not None else admitted_rows(reading, self.leaks)

    def cut(self, data: Table, most_folds: Callable[[int], int]) -> Cut:
        """Cross validation, or one part held out of many rows."""
        large = self.n_folds == "auto" and len(data) > HOLDOUT_ROWS
        splitter: Splitter = KFold(self.n_folds, self.labels, self.seed).resolve(data)
        if large:
            splitter = Holdout(stratified=self.labels, seed=self.seed)
        return Cut(splitter, tuple(splitter.folds(data)))

    def facts(self, data: Table, cut: Cut) -> Facts:
        """The size of the smallest training part."""
        rows = min((len(fold.train) for fold in cut.folds), default=len(data))
        return Facts(self.name, 1, rows, rows, rows, covariates=frozenset({"known"}), separable=False)

    def context(self, data: Table, seasons: tuple[int, ...]) -> FitContext:
        """One prediction per row: a number, or the probability of each class."""
        return FitContext(outputs=data.classes or ("mean",), metric=self.scorer.name)

    def fallback(self, seasons: tuple[int, ...] = ()) -> Candidate:
        """The mean, or the shares of the classes."""
        return Candidate("dummy")


@dataclass(frozen=True)
class Regression(_OfRows):
    __doc__ = f"""Predict a number from the other columns of a row.

    {_OfRows.__doc__.partition("share.")[2].strip()}

    Example: `Regression(target="price")`
    """

    metric: str = "rmse"
    name: ClassVar[str] = "regression"


@dataclass(frozen=True)
class Classification(_OfRows):
    __doc__ = f"""Predict a class, with probabilities, from the other columns of a row.

    {_OfRows.__doc__.partition("share.")[2].strip()}

    Example: `Classification(target="species", metric="accuracy")`
    """

    metric: str = "log_loss"
    name: ClassVar[str] = "classification"
    labels: ClassVar[bool] = True


_TASKS = {task.name: task for task in (Forecasting, Classification, Regression)}


def task_to_json(task: Task) -> dict[str, Any]:
    """All fields of a task and its kind as JSON values."""
    return {"kind": task.name, **asdict(task)}


def task_from_json(values: Mapping[str, Any]) -> Task:
    """The inverse of `task_to_json`; without a kind it is forecasting."""
    fields = {name: value for name, value in values.items() if name != "kind"}
    return _TASKS[values.get("kind", Forecasting.name)](**fields)


def grouped(task: Task, by: Sequence[str]) -> Task:
    """The same task for groups that are told apart by these columns; they tell series apart too."""
    if isinstance(task, Forecasting):
        return replace(task, group=by, series=(*by, *(name for name in task.series if name not in by)))
    return replace(task, group=by)
