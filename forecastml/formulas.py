"""Formulas of metrics: row losses or statistics, aggregated over the cells (fold, group) of a truth.

Rows with a missing truth or weight 0 are not scored; a cell without a scored row has no loss (NaN) and is left out of
means; a missing prediction on a scored row makes the loss NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forecastml.errors import ConfigError
from forecastml.protocols import Truth

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

    @property
    def scales(self) -> frozenset[str]:
        """Names of the scales of a truth that it reads."""
        names = {name for term in self.terms for name in (term.scale, term.over)}
        return frozenset(names - {"", "rows", "actual"})

    def bind(self, cells: Cells, levels: np.ndarray) -> CellScorer:
        """Function: values of the scored rows -> score of each cell."""
        terms = [term.bind(cells, levels) for term in self.terms]

        def mean(values: np.ndarray) -> np.ndarray:
            return sum(term(values) for term in terms) / len(terms)

        return (lambda values: np.sqrt(mean(values))) if self.root else mean


@dataclass(frozen=True)
class PerCell:
    """A statistic of all rows of a cell together, or with `scale` of each series, scaled and averaged over series.

    whole: it takes all columns of the values (rows, columns), not the first alone (rows,).
    """

    statistic: CellStatistic
    scale: str = ""
    whole: bool = False
    mergeable = False

    @property
    def scales(self) -> frozenset[str]:
        """Names of the scales of a truth that it reads."""
        return frozenset({self.scale} - {""})

    def bind(self, cells: Cells, levels: np.ndarray) -> CellScorer:
        """Function: values of the scored rows -> score of each cell."""
        truth = cells.truth
        series = cells.by_series(self.scale) if self.scale else None
        inner, count = (series.inner, len(series.outer)) if series else (cells.cell, len(cells))
        rows = np.bincount(inner, minlength=count)

        def scores(values: np.ndarray) -> np.ndarray:
            with np.errstate(divide="ignore", invalid="ignore"):
                result = self.statistic(truth.y, values if self.whole else values[:, 0], truth.weight, inner, count)
                complete = np.bincount(inner, weights=~np.isnan(values[:, 0]), minlength=count)
                result = np.where((rows > 0) & (complete == rows), result, np.nan)
                return series.scaled_total(result) / series.number() if series else result

        return scores


@dataclass(frozen=True)
class FormulaMetric:
    """A metric as a value: a formula, what it reads, and in which sense it is good.

    reads: "mean" (the first output), "quantiles" (all outputs named by level), "interval" (the outermost two) or
    "classes" (all outputs, probabilities); tasks: whose predictions it can judge; sense: "lower", "higher", "zero" (its
    absolute value counts) or "nominal" (its distance from the interval's level).
    """

    name: str
    formula: Ratio | PerCell
    reads: str = "mean"
    sense: str = "lower"
    skip_zeros: bool = False
    tasks: frozenset[str] = frozenset({"forecasting", "regression"})

    @property
    def needs_quantiles(self) -> bool:
        """Whether it reads the outputs named by quantile level."""
        return self.reads in ("quantiles", "interval")

    @property
    def scales(self) -> frozenset[str]:
        """Names of the scales of a truth that it reads, "naive2" among them."""
        return self.formula.scales

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

    def score(
        self, values: np.ndarray, outputs: tuple[str, ...], truth: Truth, groups: int | None = None
    ) -> float | np.ndarray:
        """Mean over folds of the value that users know: r2 as r2, bias with its sign, coverage as a share.

        values: float64 (rows, outputs); with `groups`, one score for each of them: float64 (groups,).
        """
        cells, _, score = self._bound(truth, outputs, groups)
        means = cells.mean_over_folds(score(values))
        return float(means[0]) if groups is None else means

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
        if not self.needs_quantiles:
            return slice(1 if self.reads == "mean" else None), np.empty(0)
        named = sorted((float(name), column) for column, name in enumerate(outputs) if name[:1].isdigit())
        if not named:
            raise ConfigError(f"metric {self.name!r} needs quantiles; the outputs are {', '.join(outputs)}")
        if self.reads == "interval":
            named = [named[0], named[-1]]
        return [column for _, column in named], np.array([level for level, _ in named])
