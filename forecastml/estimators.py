"""The scikit-learn doors: the same `fit` behind estimators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from forecastml.automl import fit
from forecastml.config import Config
from forecastml.data.schema import Schema
from forecastml.data.table import Table
from forecastml.errors import ConfigError, DataError
from forecastml.task import DECILES, Classification, Forecasting, Regression


class AutoForecaster(BaseEstimator):
    """AutoML for a long table of time series, by the conventions of scikit-learn.

    Parameters are those of `Forecasting`, then those of `Config.preset`. X is a long table (pandas, polars, Arrow or
    a path) that holds the series, time and target columns: there is no separate y.

    Attributes after `fit`: `model_` (the `FittedModel`), `leaderboard_` (a table of what was tried).

    >>> AutoForecaster(horizon=28, time="date", series=("store", "item"), target="sales").get_params()["horizon"]
    28
    """

    def __init__(
        self,
        horizon: int = 1,
        *,
        target: str = "y",
        time: str = "ds",
        series: str | Sequence[str] | None = None,
        group: str | Sequence[str] | None = None,
        known: str | Sequence[str] | None = None,
        past: str | Sequence[str] | None = None,
        static: str | Sequence[str] | None = None,
        weight: str | None = None,
        mask: str | None = None,
        freq: str | int | None = None,
        aggregate: str | None = None,
        duplicates: str = "error",
        gaps: str = "nan",
        stale: str = "own",
        timezone: str | None = None,
        season: int | Sequence[int] | None = None,
        holidays: str | Sequence[str] | None = None,
        holiday_table: Any = None,
        metric: str = "mase",
        n_folds: int | str = "auto",
        step: int | str = "auto",
        gap: int = 0,
        quantiles: Sequence[float] = DECILES,
        integer: bool = False,
        lower: float | str | None = "auto",
        missing_future: str = "nan",
        leaks: str = "warn",
        unseen: str = "pooled",
        features_unknown_at_forecast_time: str | Sequence[str] | None = None,
        preset: str = "balanced",
        seconds: float | None = None,
        seed: int = 0,
        allow: Sequence[str] = (),
        block: Sequence[str] = (),
        workers: int = 1,
    ) -> None:
        self.horizon = horizon
        self.target = target
        self.time = time
        self.series = series
        self.group = group
        self.known = known
        self.past = past
        self.static = static
        self.weight = weight
        self.mask = mask
        self.freq = freq
        self.aggregate = aggregate
        self.duplicates = duplicates
        self.gaps = gaps
        self.stale = stale
        self.timezone = timezone
        self.season = season
        self.holidays = holidays
        self.holiday_table = holiday_table
        self.metric = metric
        self.n_folds = n_folds
        self.step = step
        self.gap = gap
        self.quantiles = quantiles
        self.integer = integer
        self.lower = lower
        self.missing_future = missing_future
        self.leaks = leaks
        self.unseen = unseen
        self.features_unknown_at_forecast_time = features_unknown_at_forecast_time
        self.preset = preset
        self.seconds = seconds
        self.seed = seed
        self.allow = allow
        self.block = block
        self.workers = workers

    def fit(self, X: Any, y: None = None) -> Self:
        """Try learners on the long table X, weigh them by backtests and fit the best combination."""
        self._refuse(y)
        run = self.get_params(deep=False)
        names = (*(field.name for field in fields(Forecasting)), "features_unknown_at_forecast_time")
        task = Forecasting(**{name: run.pop(name) for name in names})
        self.model_ = fit(X, task, Config.preset(run.pop("preset"), **run))
        self.leaderboard_ = self.model_.leaderboard()
        return self

    def predict(self, X: Any = None, *, horizon: int | None = None) -> Any:
        """Point forecasts after the last training row: a frame of the series columns, the time column and `mean`.

        X: future values of the known covariates, one row per series and step; not needed without them.
        horizon: number of steps, as trained when None. Raises `NotFittedError` before `fit`.
        """
        check_is_fitted(self, "model_")
        return self.model_.forecast(future=X, horizon=horizon, quantiles=())

    def predict_quantiles(
        self, X: Any = None, *, horizon: int | None = None, quantiles: Sequence[float] | None = None
    ) -> Any:
        """Like `predict`, with one more column per quantile level ("0.1"); the trained levels when None."""
        check_is_fitted(self, "model_")
        return self.model_.forecast(future=X, horizon=horizon, quantiles=quantiles)

    def score(self, X: Any, y: None = None) -> float:
        """1 - WAPE of rolling forecasts for X, rows with the target after the training rows; 1 is perfect.

        WAPE is the sum of |error| over the sum of |y|, over all series and steps whose target is known. Beyond the
        horizon the origin moves on, over the actual values: see `Forecaster.roll` and, for other metrics,
        `Forecaster.score`.
        """
        check_is_fitted(self, "model_")
        self._refuse(y)
        frame = self.model_.roll(X, step=self.model_.task.horizon, quantiles=())
        actual, forecast = frame[self.model_.task.target].to_numpy(), frame["mean"].to_numpy()
        return float(1 - np.nansum(np.abs(actual - forecast)) / np.nansum(np.abs(actual)))

    def _refuse(self, y: Any) -> None:
        if y is not None:
            raise ConfigError(f"y is not taken: the target is column {self.target!r} of X")


class _OfRows(BaseEstimator):
    """What `AutoClassifier` and `AutoRegressor` share: a search over rows of numbers."""

    def __init__(
        self,
        metric: str,
        n_folds: int | str,
        preset: str,
        seconds: float | None,
        seed: int,
        allow: Sequence[str],
        block: Sequence[str],
        workers: int,
    ) -> None:
        self.metric = metric
        self.n_folds = n_folds
        self.preset = preset
        self.seconds = seconds
        self.seed = seed
        self.allow = allow
        self.block = block
        self.workers = workers

    def _search(self, table: Table, task: Classification | Regression) -> None:
        limits = {name: getattr(self, name) for name in ("seconds", "seed", "allow", "block", "workers")}
        self.model_ = fit(table.in_order(), task, Config.preset(self.preset, **limits))
        self.leaderboard_ = self.model_.leaderboard()

    def _table(self, X: np.ndarray, y: np.ndarray, sample_weight: Any = None, classes: Sequence[str] = ()) -> Table:
        names = tuple(f"x{i}" for i in range(X.shape[1]))
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        nothing = np.zeros(len(X), np.int64)
        keys = np.empty((1, 0), dtype=object)
        kind = "text" if len(classes) else ""
        return Table(X, y, nothing, keys, Schema("y", known=names), weight, tuple(classes), kind)

    def _values(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        X = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        like = self.model_.like
        return self.model_.values(self._table(X, np.full(len(X), np.nan), classes=like.classes))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class AutoClassifier(ClassifierMixin, _OfRows):
    """AutoML for classes, by the conventions of scikit-learn: X (rows, features) of numbers, NaN allowed; y of labels.

    Parameters are those of `Classification` and of `Config.preset`. Attributes after `fit`: `model_` (the `Predictor`),
    `leaderboard_`, `classes_`.

    >>> AutoClassifier(metric="accuracy").get_params()["preset"]
    'balanced'
    """

    def __init__(
        self,
        metric: str = "log_loss",
        *,
        n_folds: int | str = "auto",
        preset: str = "balanced",
        seconds: float | None = None,
        seed: int = 0,
        allow: Sequence[str] = (),
        block: Sequence[str] = (),
        workers: int = 1,
    ) -> None:
        super().__init__(metric, n_folds, preset, seconds, seed, allow, block, workers)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Try learners on folds of the rows, weigh them and fit the best combination."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y has one class only, {self.classes_[0]!r}; give rows of two classes or more")
        table = self._table(X, codes.astype(np.float64), sample_weight, [str(label) for label in self.classes_])
        self._search(table, Classification(metric=self.metric, n_folds=self.n_folds, seed=self.seed))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each row: (rows,)."""
        likeliest = np.argmax(self._values(X), axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of `classes_`: (rows, classes)."""
        return self._values(X)


class AutoRegressor(RegressorMixin, _OfRows):
    """AutoML for numbers, by the conventions of scikit-learn: X (rows, features) of numbers, NaN allowed; y of numbers.

    Parameters are those of `Regression` and of `Config.preset`. Attributes after `fit`: `model_` (the `Predictor`),
    `leaderboard_`.

    >>> AutoRegressor(seconds=60).get_params()["metric"]
    'rmse'
    """

    def __init__(
        self,
        metric: str = "rmse",
        *,
        n_folds: int | str = "auto",
        preset: str = "balanced",
        seconds: float | None = None,
        seed: int = 0,
        allow: Sequence[str] = (),
        block: Sequence[str] = (),
        workers: int = 1,
    ) -> None:
        super().__init__(metric, n_folds, preset, seconds, seed, allow, block, workers)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Try learners on folds of the rows, weigh them and fit the best combination."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan", y_numeric=True)
        if not np.isfinite(y).all():
            raise DataError("y has missing or infinite values; remove these rows")
        table = self._table(X, np.asarray(y, dtype=np.float64), sample_weight)
        self._search(table, Regression(metric=self.metric, n_folds=self.n_folds, seed=self.seed))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """One number per row: (rows,)."""
        return self._values(X)[:, 0]
