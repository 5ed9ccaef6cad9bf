"""Metrics by name: a row loss, an aggregation within each fold, and the mean over folds (`forecastml.formulas`).

Rows with a missing truth or weight 0 are not scored; a fold or group without a scored row has no loss (NaN) and is
left out of means; a missing prediction on a scored row makes the loss NaN. Within a fold:

- mae, rmse, medae, mape, rmsle, smape, pinball, coverage: over all rows, weighted; r2, explained_variance and
  spearman (of ranks within the fold) too;
- nmae, nrmse, nmedae (by the range of the full training target), nrmsle (by the range of its log1p), mase, rmsse, sql
  (by the error of the seasonal naive in the fold's train): per series, weighted, then the plain mean over series;
- wape, wql, bias: ratio of two weighted sums; owa: mean of the ratios of smape and of mase to those of Naive2.

Zeros and constants, by rule: mape leaves out rows whose |y| is below 1e-9 of the largest of their series; smape counts
0/0 as 0; a scale of zero is replaced as `scales` says; an average |y| (wape, wql, bias) or a Naive2 error (owa) of zero
counts as 1; rmsle and nrmsle count negative values as 0; r2 and explained_variance are 0 where the truth is constant,
spearman where truth or forecast is. r2 is clipped to [-1, 1]. mape and smape are percentages.

`loss` is always lower-is-better: r2, explained_variance and spearman negated, |bias|, |coverage - nominal|. `score`
gives the value that users know, with its sign. Scaled metrics: Hyndman and Koehler (2006); owa: Makridakis et al.
(2020); wql and sql as in GluonTS and AutoGluon, twice the pinball loss averaged over levels.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from forecastml.data.panel import Panel, extent
from forecastml.data.table import Table
from forecastml.errors import ConfigError
from forecastml.formulas import FormulaMetric, PerCell, Ratio, Term
from forecastml.kernels import classification, losses
from forecastml.protocols import Metric


def _metrics() -> tuple[FormulaMetric, ...]:
    smape_to_naive2 = Term(losses.symmetric_percentage, over="naive2")
    mase_to_naive2 = Term(losses.absolute, "seasonal_error", over="naive2")
    numeric, series = frozenset({"forecasting", "regression"}), frozenset({"forecasting"})
    everywhere = (
        FormulaMetric("mae", Ratio((Term(losses.absolute),))),
        FormulaMetric("rmse", Ratio((Term(losses.squared),), root=True)),
        FormulaMetric("medae", PerCell(losses.median_error)),
        FormulaMetric("mape", Ratio((Term(losses.percentage),)), skip_zeros=True),
        FormulaMetric("rmsle", Ratio((Term(losses.squared_log),), root=True)),
        FormulaMetric("nmae", Ratio((Term(losses.absolute, "range"),))),
        FormulaMetric("nrmse", Ratio((Term(losses.squared, "range", root=True),))),
        FormulaMetric("nmedae", PerCell(losses.median_error, "range")),
        FormulaMetric("nrmsle", Ratio((Term(losses.squared_log, "log_range", root=True),))),
        FormulaMetric("r2", PerCell(losses.determination), sense="higher"),
        FormulaMetric("explained_variance", PerCell(losses.explained), sense="higher"),
        FormulaMetric("spearman", PerCell(losses.rank_correlation), sense="higher"),
        FormulaMetric("wape", Ratio((Term(losses.absolute, over="actual"),))),
        FormulaMetric("smape", Ratio((Term(losses.symmetric_percentage),))),
        FormulaMetric("bias", Ratio((Term(losses.signed, over="actual"),)), sense="zero"),
    )
    of_series = (
        FormulaMetric("mase", Ratio((Term(losses.absolute, "seasonal_error"),))),
        FormulaMetric("rmsse", Ratio((Term(losses.squared, "seasonal_squared_error", root=True, power=0.5),))),
        FormulaMetric("owa", Ratio((smape_to_naive2, mase_to_naive2))),
        FormulaMetric("pinball", Ratio((Term(losses.pinball),)), reads="quantiles"),
        FormulaMetric("sql", Ratio((Term(losses.double_pinball, "seasonal_error"),)), reads="quantiles"),
        FormulaMetric("wql", Ratio((Term(losses.double_pinball, over="actual"),)), reads="quantiles"),
        FormulaMetric("coverage", Ratio((Term(losses.covered),)), reads="interval", sense="nominal"),
    )
    return (
        *(replace(metric, tasks=numeric) for metric in everywhere),
        *(replace(metric, tasks=series) for metric in of_series),
        *_of_classes(),
    )


def _of_classes() -> tuple[FormulaMetric, ...]:
    """Metrics of class probabilities."""
    statistics = {
        "balanced_accuracy": classification.balanced_accuracy,
        "norm_macro_recall": classification.normalized_recall,
        "auc_weighted": classification.auc_weighted,
        "average_precision_weighted": classification.average_precision_weighted,
        "f1_macro": classification.f1_macro,
        "f1_weighted": classification.f1_weighted,
        "precision_weighted": classification.precision_weighted,
        "matthews": classification.matthews,
    }
    found = (
        FormulaMetric("log_loss", Ratio((Term(classification.log_loss),))),
        FormulaMetric("accuracy", Ratio((Term(classification.correct),)), sense="higher"),
        *(FormulaMetric(name, PerCell(of_cells, whole=True), sense="higher") for name, of_cells in statistics.items()),
    )
    return tuple(replace(metric, reads="classes", tasks=frozenset({"classification"})) for metric in found)


_registered: dict[str, Metric] = {metric.name: metric for metric in _metrics()}

#: Long names, accepted wherever a metric is named.
ALIASES: Mapping[str, str] = {
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
    "median_absolute_error": "medae",
    "mean_absolute_percentage_error": "mape",
    "root_mean_squared_log_error": "rmsle",
    "normalized_mean_absolute_error": "nmae",
    "normalized_root_mean_squared_error": "nrmse",
    "normalized_median_absolute_error": "nmedae",
    "normalized_root_mean_squared_log_error": "nrmsle",
    "r2_score": "r2",
    "spearman_correlation": "spearman",
}


def metric_names(task: str = "forecasting") -> tuple[str, ...]:
    """The names of a task's metrics, without aliases; a metric of your own that names no tasks belongs to all."""
    return tuple(name for name, metric in _registered.items() if task in getattr(metric, "tasks", (task,)))


def get_metric(name: str) -> Metric:
    """The metric of this name or alias, or `ConfigError` that lists the known ones."""
    known = ALIASES.get(name, name)
    if known in _registered:
        return _registered[known]
    near = difflib.get_close_matches(name, (*_registered, *ALIASES), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"metric {name!r} is unknown; {hint}known are {', '.join(_registered)}")


def register_metric(metric: Metric) -> Metric:
    """Make a metric of your own known by its name, for example a `FormulaMetric` with a row loss that you wrote."""
    for attribute in ("name", "needs_quantiles", "mergeable", "loss", "by_fold", "bind", "report"):
        if not hasattr(metric, attribute):
            raise ConfigError(f"metric {metric!r} has no {attribute!r}; see forecastml.protocols.Metric")
    _registered[metric.name] = metric
    return metric


def scales(train: Panel, full: Panel, season_length: int) -> dict[str, np.ndarray]:
    """Per-series denominators of scaled metrics, each float64 (series,) and above zero.

    "seasonal_error", "seasonal_squared_error": mean |y_t - y_(t-m)| and its square over `train`; where that is zero or
    there is no such pair, m = 1; then the mean |y| (y^2); then 1. "range", "log_range": largest minus smallest of y
    and of log1p(y), negative y taken as 0, over `full`; then the largest |y| (log1p of it); then 1.
    """
    changes = [losses.mean_change(train.target, train.begin, train.end, lag) for lag in (season_length, 1, 0)]
    absolute_errors, squared_errors, level = [], [], changes[-1][0]
    for size, square in changes:
        # Less than 1e-12 of the level is rounding, not variation.
        varies = size > 1e-12 * level
        absolute_errors.append(np.where(varies, size, 0.0))
        squared_errors.append(np.where(varies, square, 0.0))
    low, high = np.nan_to_num(extent(full))
    largest = np.maximum(np.abs(low), np.abs(high))
    log_low, log_high = np.log1p(np.maximum(low, 0.0)), np.log1p(np.maximum(high, 0.0))
    return {
        "seasonal_error": _first_positive(*absolute_errors),
        "seasonal_squared_error": _first_positive(*squared_errors),
        "range": _first_positive(high - low, largest),
        "log_range": _first_positive(log_high - log_low, log_high),
    }


def row_scales(table: Table) -> dict[str, np.ndarray]:
    """ "range" and "log_range" of the target of each group, as in `scales`; none for classes."""
    if table.kind:
        return {}
    low, high = np.full(table.n_groups, np.inf), np.full(table.n_groups, -np.inf)
    np.minimum.at(low, table.group, table.y)
    np.maximum.at(high, table.group, table.y)
    low, high = np.where(low <= high, low, 0.0), np.where(low <= high, high, 0.0)
    log_low, log_high = np.log1p(np.maximum(low, 0.0)), np.log1p(np.maximum(high, 0.0))
    return {
        "range": _first_positive(high - low, np.maximum(np.abs(low), np.abs(high))),
        "log_range": _first_positive(log_high - log_low, log_high),
    }


def _first_positive(*choices: np.ndarray) -> np.ndarray:
    scale = np.ones(len(choices[0]))
    for choice in reversed(choices):
        scale = np.where(choice > 0, choice, scale)
    return scale
