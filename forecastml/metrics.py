"""Metrics: a row loss, an aggregation within each fold, and the mean over folds.

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forecastml.data.panel import Panel, extent
from forecastml.errors import ConfigError
from forecastml.kernels import losses
from forecastml.protocols import Metric, Truth

#: (y (rows,), values (rows, columns), levels (columns,)) -> loss of each row.
RowLoss = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
#: (y, forecast, weight, cell of each row, number of cells) -> value of each cell.
CellStatistic = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
#: Values of the scored rows (rows, columns) -> score of each cell (cells,).
CellScorer = Callable[[np.ndarray], np.ndarray]
#: values (..., rows, outputs) -> losses (..., groups).
Scorer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Cells:
    """The scored rows of a Truth and the (fold, group) cell of each: what a formula needs, once per truth.

    rows: positions in the whole truth; truth: those rows alone; cell: int64, fold * groups + group.
    """

    rows: np.ndarray
    truth: Truth
    cell: np.ndarray
    folds: int
    groups: int

    @classmethod
    def of(cls, truth: Truth, groups: int | None, skip_zeros: bool) -> Cells:
        """groups None: all rows are one group; skip_zeros: leave out rows whose |y| is next to nothing."""
        folds, fold = np.unique(truth.fold, return_inverse=True)
        count = 1 if groups is None else groups
        cell = fold * count + (0 if groups is None else truth.group)
        scored = (truth.weight > 0) & ~np.isnan(truth.y)
        if skip_zeros:
            size = np.nan_to_num(np.abs(truth.y))
            largest = np.zeros(int(truth.series.max(initial=-1)) + 1)
            np.maximum.at(largest, truth.series, size)
            scored &= size > 1e-9 * largest[truth.series]
        rows = np.flatnonzero(scored)
        return cls(rows, truth.rows(rows), cell[rows], len(folds), count)

    def __len__(self) -> int:
        """Number of cells."""
        return self.folds * self.groups

    @cached_property
    def scored(self) -> np.ndarray:
        """Whether a cell has rows: bool (folds, groups)."""
        return np.bincount(self.cell, minlength=len(self)).reshape(self.folds, self.groups) > 0

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum of the rows of each cell; bincount adds in order, so that a group alone gets the same bits."""
        return np.bincount(self.cell, weights=values, minlength=len(self))

    def by_series(self, scale: str, power: float = 1.0) -> SeriesCells:
        """One finer cell per series of each cell, with its scale."""
        width = int(self.truth.series.max(initial=0)) + 1
        _, first, inner = np.unique(self.cell * width + self.truth.series, return_index=True, return_inverse=True)
        return SeriesCells(inner, self.cell[first], self.truth.scales[scale][first] ** power, len(self))

    def mean_over_folds(self, values: np.ndarray) -> np.ndarray:
        """(cells,) -> (groups,): the mean of the folds in which the group has scored rows, NaN without any."""
        total = np.zeros(self.groups)
        for value, there in zip(values.reshape(self.scored.shape), self.scored, strict=True):
            total += np.where(there, value, 0.0)
        count = self.scored.sum(axis=0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, eq=False)
class SeriesCells:
    """inner: finer cell of each row; outer, scale: cell and scale of each finer cell; count: number of outer cells."""

    inner: np.ndarray
    outer: np.ndarray
    scale: np.ndarray
    count: int

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum of rows per finer cell."""
        return np.bincount(self.inner, weights=values, minlength=len(self.outer))

    def scaled_total(self, values: np.ndarray) -> np.ndarray:
        """Sum of value / scale of the finer cells, per outer cell."""
        return np.bincount(self.outer, weights=values / self.scale, minlength=self.count)

    def number(self) -> np.ndarray:
        """Number of series per outer cell."""
        return np.bincount(self.outer, minlength=self.count)


@dataclass(frozen=True)
class Term:
    """A ratio of sums over a cell. Numerator: weighted row losses, or with `scale` their scaled means per series.

    over: what the denominator sums: "rows" (weights, or with a scale the number of series), "actual" (|y|), "naive2"
    (the numerator of the Naive2 forecast); root: square root of each series' mean; power: of the scale.
    """

    row: RowLoss
    scale: str = ""
    root: bool = False
    power: float = 1.0
    over: str = "rows"

    def bind(self, cells: Cells, levels: np.ndarray) -> CellScorer:
        """Function: values of the scored rows (rows, columns) -> ratio of each cell, NaN without rows."""
        truth = cells.truth
        if self.scale:
            series = cells.by_series(self.scale, self.power)
            weight, rows = series.total(truth.weight), series.number()
        else:
            rows = cells.total(truth.weight)

        def numerator(values: np.ndarray) -> np.ndarray:
            weighted = truth.weight * self.row(truth.y, values, levels)
            if not self.scale:
                return cells.total(weighted)
            means = series.total(weighted) / weight
            return series.scaled_total(np.sqrt(means) if self.root else means)

        denominator = rows.astype(np.float64)
        if self.over == "actual":
            denominator = cells.total(truth.weight * np.abs(truth.y))
        elif self.over == "naive2":
            denominator = numerator(truth.scales["naive2"][:, None])
        denominator = np.where(denominator > 0, denominator, np.where(rows > 0, rows, np.nan))
        return lambda values: numerator(values) / denominator


@dataclass(frozen=True)
class Ratio:
    """The mean of some terms, `root` of it when asked. Sums make it: parts of a data set can be merged."""

    terms: tuple[Term, ...]
    root: bool = False
    mergeable = True

    def bind(self, cells: Cells, levels: np.ndarray) -> CellScorer:
        """Function: values of the scored rows -> score of each cell."""
        terms = [term.bind(cells, levels) for term in self.terms]

        def mean(values: np.ndarray) -> np.ndarray:
            return sum(term(values) for term in terms) / len(terms)

        return (lambda values: np.sqrt(mean(values))) if self.root else mean


@dataclass(frozen=True)
class PerCell:
    """A statistic of all rows of a cell together, or with `scale` of each series, scaled and averaged over series."""

    statistic: CellStatistic
    scale: str = ""
    mergeable = False

    def bind(self, cells: Cells, levels: np.ndarray) -> CellScorer:
        """Function: values of the scored rows -> score of each cell."""
        truth = cells.truth
        series = cells.by_series(self.scale) if self.scale else None
        inner, count = (series.inner, len(series.outer)) if series else (cells.cell, len(cells))
        rows = np.bincount(inner, minlength=count)

        def scores(values: np.ndarray) -> np.ndarray:
            with np.errstate(divide="ignore", invalid="ignore"):
                result = self.statistic(truth.y, values[:, 0], truth.weight, inner, count)
                complete = np.bincount(inner, weights=~np.isnan(values[:, 0]), minlength=count)
                result = np.where((rows > 0) & (complete == rows), result, np.nan)
                return series.scaled_total(result) / series.number() if series else result

        return scores


@dataclass(frozen=True)
class FormulaMetric:
    """A metric as a value: a formula, what it reads, and in which sense it is good.

    reads: "mean" (the first output), "quantiles" (all outputs named by level) or "interval" (the outermost two);
    sense: "lower", "higher", "zero" (its absolute value counts) or "nominal" (its distance from the interval's level).
    """

    name: str
    formula: Ratio | PerCell
    reads: str = "mean"
    sense: str = "lower"
    skip_zeros: bool = False

    @property
    def needs_quantiles(self) -> bool:
        """Whether it reads the outputs named by quantile level."""
        return self.reads != "mean"

    @property
    def mergeable(self) -> bool:
        """Whether the score of a whole follows from sums over its parts; medians, ranks and r2 do not."""
        return self.formula.mergeable

    def report(self, loss: float) -> float:
        """The loss as users know it: the sign of r2, explained_variance and spearman restored."""
        return -loss if self.sense == "higher" else loss

    def bind(self, truth: Truth, outputs: tuple[str, ...], groups: int | None = None) -> Scorer:
        """A function that scores many predictions of one truth: values (..., rows, outputs) -> losses (..., groups).

        Cells, weights and denominators are computed here, once. With groups None there is one group of all rows.
        """
        cells, loss, _ = self._bound(truth, outputs, groups)

        def scorer(values: np.ndarray) -> np.ndarray:
            means = [cells.mean_over_folds(loss(values[index])) for index in np.ndindex(values.shape[:-2])]
            return np.reshape(means, (*values.shape[:-2], cells.groups))

        return scorer

    def loss(self, values: np.ndarray, outputs: tuple[str, ...], truth: Truth, groups: int | None = None) -> np.ndarray:
        """Loss of each stacked prediction, lower is better: values (..., rows, outputs) -> (...,) or (..., groups)."""
        by_group = self.bind(truth, outputs, groups)(values)
        return by_group[..., 0] if groups is None else by_group

    def by_fold(self, values: np.ndarray, outputs: tuple[str, ...], truth: Truth) -> np.ndarray:
        """Loss of each stacked prediction in each fold, oldest first: values (..., rows, outputs) -> (..., folds)."""
        cells, loss, _ = self._bound(truth, outputs, None)
        by_fold = [loss(values[index]) for index in np.ndindex(values.shape[:-2])]
        return np.reshape(by_fold, (*values.shape[:-2], len(cells)))

    def score(self, values: np.ndarray, outputs: tuple[str, ...], truth: Truth) -> float:
        """Mean over folds of the value that users know: r2 as r2, bias with its sign, coverage as a share."""
        cells, _, score = self._bound(truth, outputs, None)
        return float(cells.mean_over_folds(score(values))[0])

    def _bound(self, truth: Truth, outputs: tuple[str, ...], groups: int | None) -> tuple[Cells, Scorer, Scorer]:
        """The cells, and functions values (rows, outputs) -> loss and -> score of each cell."""
        columns, levels = self._columns(outputs)
        cells = Cells.of(truth, groups, self.skip_zeros)
        formula = self.formula.bind(cells, levels)

        def score(values: np.ndarray) -> np.ndarray:
            values = values[:, columns]
            return formula(values if len(cells.rows) == len(values) else values[cells.rows])

        def loss(values: np.ndarray) -> np.ndarray:
            if self.sense == "nominal":
                return np.abs(score(values) - (levels[-1] - levels[0]))
            return np.abs(score(values)) if self.sense == "zero" else self.report(score(values))

        return cells, loss, score

    def _columns(self, outputs: tuple[str, ...]) -> tuple[list[int] | slice, np.ndarray]:
        """Which columns of a prediction are read, by rising level, and their levels (none for "mean")."""
        if self.reads == "mean":
            return slice(1), np.empty(0)
        named = sorted((float(name), column) for column, name in enumerate(outputs) if name[:1].isdigit())
        if not named:
            raise ConfigError(f"metric {self.name!r} needs quantiles; the outputs are {', '.join(outputs)}")
        if self.reads == "interval":
            named = [named[0], named[-1]]
        return [column for _, column in named], np.array([level for level, _ in named])


def _metrics() -> tuple[FormulaMetric, ...]:
    smape_to_naive2 = Term(losses.symmetric_percentage, over="naive2")
    mase_to_naive2 = Term(losses.absolute, "seasonal_error", over="naive2")
    return (
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
        FormulaMetric("mase", Ratio((Term(losses.absolute, "seasonal_error"),))),
        FormulaMetric("rmsse", Ratio((Term(losses.squared, "seasonal_squared_error", root=True, power=0.5),))),
        FormulaMetric("wape", Ratio((Term(losses.absolute, over="actual"),))),
        FormulaMetric("smape", Ratio((Term(losses.symmetric_percentage),))),
        FormulaMetric("owa", Ratio((smape_to_naive2, mase_to_naive2))),
        FormulaMetric("bias", Ratio((Term(losses.signed, over="actual"),)), sense="zero"),
        FormulaMetric("pinball", Ratio((Term(losses.pinball),)), reads="quantiles"),
        FormulaMetric("sql", Ratio((Term(losses.double_pinball, "seasonal_error"),)), reads="quantiles"),
        FormulaMetric("wql", Ratio((Term(losses.double_pinball, over="actual"),)), reads="quantiles"),
        FormulaMetric("coverage", Ratio((Term(losses.covered),)), reads="interval", sense="nominal"),
    )


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


def metric_names() -> tuple[str, ...]:
    """The known names, without aliases."""
    return tuple(_registered)


def get_metric(name: str) -> Metric:
    """The metric of this name or alias, or `ConfigError` that lists the known ones."""
    known = ALIASES.get(name, name)
    if known in _registered:
        return _registered[known]
    near = difflib.get_close_matches(name, (*_registered, *ALIASES), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"metric {name!r} is unknown; {hint}known are {', '.join(metric_names())}")


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


def _first_positive(*choices: np.ndarray) -> np.ndarray:
    scale = np.ones(len(choices[0]))
    for choice in reversed(choices):
        scale = np.where(choice > 0, choice, scale)
    return scale
