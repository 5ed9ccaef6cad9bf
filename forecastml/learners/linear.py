"""Linear learners, on rows as they are and, but for the logistic regression, on the rows of series.

Columns are standardised and what is missing takes the mean; nominal columns (codes, months, days of the week) become
one column per level. Predictions add up column by column, so that a row's result does not depend on its neighbours.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from forecastml.learners.reduction import Reduction
from forecastml.learners.rows import TabularLearner, TrainingTable
from forecastml.protocols import Capabilities, Facts, FitContext, Params

#: A nominal column with more levels than this is left out.
MOST_LEVELS = 60
#: Penalties that ridge regression chooses from by leave-one-out errors, per row.
PENALTIES = tuple(10.0**k for k in range(-3, 5))


@dataclass(frozen=True)
class Design:
    """How rows become columns of a linear model: the source column of each, and the level it stands for (None: the
    number itself), its mean and its spread."""

    source: tuple[int, ...]
    level: tuple[float | None, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, rows: TrainingTable) -> Design:
        """The columns of a table that vary."""
        parts: list[tuple[int, float | None]] = []
        for j in range(rows.x.shape[1]):
            column = rows.x[:, j]
            if j not in rows.nominal:
                parts.append((j, None))
                continue
            levels = np.unique(column[~np.isnan(column)])
            if len(levels) <= MOST_LEVELS:
                parts += [(j, float(level)) for level in levels]
        sources, levels = tuple(source for source, _ in parts), tuple(level for _, level in parts)
        plain = cls(sources, levels, (0.0,) * len(parts), (1.0,) * len(parts))
        found = []
        for k, (source, level) in enumerate(parts):
            values = plain.column(rows.x, k)
            known = values[~np.isnan(values)]
            spread = float(known.std()) if len(known) else 0.0
            if spread > 1e-9 * max(float(np.abs(known).max(initial=0.0)), 1e-30):
                found.append((source, level, float(known.mean()), spread))
        return cls(*(tuple(values) for values in zip(*found, strict=True))) if found else cls((), (), (), ())

    def __len__(self) -> int:
        """Number of columns."""
        return len(self.source)

    def column(self, x: np.ndarray, k: int) -> np.ndarray:
        """Column k for the rows of x, standardised, NaN where missing: float64 (rows,)."""
        values = x[:, self.source[k]].astype(np.float64)
        if self.level[k] is not None:
            values = (values == np.float32(self.level[k])).astype(np.float64)
        return (values - self.mean[k]) / self.spread[k]

    def matrix(self, x: np.ndarray) -> np.ndarray:
        """All columns, missing values at their mean: float64 (rows, columns)."""
        found = np.empty((len(x), len(self)))
        for k in range(len(self)):
            found[:, k] = self.column(x, k)
        return np.nan_to_num(found, copy=False, posinf=0.0, neginf=0.0)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class LinearModel:
    """coefficients: float64 (columns, answers); intercepts: float64 (answers,), -inf for a class that was never seen.

    share: answers are turned into probabilities (softmax).
    """

    design: Design
    coefficients: np.ndarray
    intercepts: np.ndarray
    share: bool = False

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features) -> float64 (rows,), or (rows, classes) of probabilities."""
        answers = np.tile(self.intercepts, (len(x), 1))
        for k in range(len(self.design)):
            column = np.nan_to_num(self.design.column(x, k), posinf=0.0, neginf=0.0)
            answers += column[:, None] * self.coefficients[k]
        if not self.share:
            return answers[:, 0]
        odds = np.exp(answers - answers.max(axis=1, keepdims=True))
        total = odds[:, 0].copy()
        for k in range(1, odds.shape[1]):
            total += odds[:, k]
        return odds / total[:, None]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays, and the design."""
        arrays = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        return arrays, {"design": self.design.to_json(), "share": self.share}


def _restored(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> LinearModel:
    design = Design(**{name: tuple(listed) for name, listed in values["design"].items()})
    return LinearModel(design, arrays["coefficients"], arrays["intercepts"], values["share"])


class _LinearRegression(Reduction):
    """A linear regression: a subclass names scikit-learn's estimator."""

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> LinearModel:
        """Other parameters than the estimator's own are not known."""
        design = Design.of(rows)
        mean = float(np.average(rows.y, weights=_weights(rows)))
        flat = LinearModel(design, np.zeros((len(design), 1)), np.array([mean]))
        if not len(design) or len(rows.y) < 3 or np.ptp(rows.y) == 0:
            return flat
        found = _quietly(self.estimator(rows, params), design.matrix(rows.x), rows.y, rows.weight)
        return replace(flat, coefficients=np.reshape(found.coef_, (-1, 1)), intercepts=np.reshape(found.intercept_, -1))

    def estimator(self, rows: TrainingTable, params: Params) -> Any:
        """scikit-learn's estimator, not fitted."""
        raise NotImplementedError

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> LinearModel:
        """The inverse of `LinearModel.state`."""
        return _restored(arrays, values)


_OF_NUMBERS = Capabilities(
    tasks=frozenset({"forecasting", "regression"}),
    scope="pooled",
    covariates=frozenset({"known", "past", "static"}),
    missing=True,
    weights=True,
    cost=0.004,
)


class Ridge(_LinearRegression):
    """Least squares with a penalty on the squares of the coefficients, chosen by leave-one-out errors."""

    name = "ridge"
    capabilities = _OF_NUMBERS

    def estimator(self, rows: TrainingTable, params: Params) -> Any:
        """`RidgeCV` with penalties in proportion to the number of rows."""
        from sklearn.linear_model import RidgeCV

        return RidgeCV(**{"alphas": [len(rows.y) * penalty for penalty in PENALTIES], **params})


class ElasticNet(_LinearRegression):
    """Least squares with penalties on squares and absolute values of the coefficients: it leaves columns out."""

    name = "elastic_net"
    capabilities = _OF_NUMBERS

    def estimator(self, rows: TrainingTable, params: Params) -> Any:
        """`ElasticNetCV` over 20 penalties and three parts of the rows."""
        from sklearn.linear_model import ElasticNetCV

        return ElasticNetCV(**{"l1_ratio": 0.5, "alphas": 20, "cv": 3, "max_iter": 500, "tol": 1e-3, **params})


class Logistic(TabularLearner):
    """Multinomial logistic regression with a penalty on the squares of the coefficients."""

    name = "logistic"
    capabilities = Capabilities(
        tasks=frozenset({"classification"}), scope="pooled", missing=True, weights=True, cost=0.004
    )

    def space(self, facts: Facts) -> Sequence[Params]:
        """Inverse strengths C of the penalty."""
        return [{"C": 1.0}, {"C": 0.1}, {"C": 10.0}]

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> LinearModel:
        """Parameters are those of scikit-learn's `LogisticRegression`."""
        from sklearn.linear_model import LogisticRegression

        design, seen = Design.of(rows), np.unique(rows.y.astype(np.int64))
        coefficients = np.zeros((len(design), rows.classes))
        intercepts = np.full(rows.classes, -np.inf)
        counts = np.bincount(rows.y.astype(np.int64), weights=_weights(rows), minlength=rows.classes)
        intercepts[seen] = np.log(np.maximum(counts[seen], 1e-12))
        if len(seen) > 1 and len(design):
            estimator = LogisticRegression(**{"max_iter": 300, **params})
            found = _quietly(estimator, design.matrix(rows.x), rows.y.astype(np.int64), rows.weight)
            if len(seen) == 2:
                # One set of coefficients tells the second class from the first.
                coefficients[:, seen[1]], intercepts[seen] = found.coef_[0], (0.0, found.intercept_[0])
            else:
                coefficients[:, seen], intercepts[seen] = found.coef_.T, found.intercept_
        return LinearModel(design, coefficients, intercepts, share=True)

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> LinearModel:
        """The inverse of `LinearModel.state`."""
        return _restored(arrays, values)


def _weights(rows: TrainingTable) -> np.ndarray:
    weighted = rows.weight is not None and rows.weight.any()
    return rows.weight if weighted else np.ones(len(rows.y))


def _quietly(estimator: Any, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """The estimator, fitted on one thread and without its warnings about convergence, which cost little here."""
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return estimator.fit(x, y, sample_weight=weight)
