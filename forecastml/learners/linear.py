"""Linear learners, on rows as they are and, but for the logistic regression, on the rows of series.

What is missing takes the mean and is marked; nominal columns (codes, months, days of the week) become one column per
level; then all are scaled. Predictions add up column by column, so that a row's result does not depend on its
neighbours.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from forecastml.errors import LearnerError
from forecastml.learners.design import Design
from forecastml.learners.parameters import Choice, Known, Number, settled
from forecastml.learners.ranges import Range
from forecastml.learners.reduction import Reduction
from forecastml.learners.rows import TabularLearner, TrainingTable
from forecastml.learners.scaling import KINDS, Scaling
from forecastml.protocols import Capabilities, Facts, FitContext, Params

#: Penalties that ridge regression chooses from by leave-one-out errors, per row.
PENALTIES = tuple(10.0**k for k in range(-3, 5))
#: Rows that are computed at once; more would leave the processor's caches.
BLOCK = 8192
#: Rows that the elastic net learns from at most; its search over penalties passes over them hundreds of times.
MOST_ROWS = 40_000
SCALER = Choice("standard", KINDS)


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Sums of scaled columns.

    coefficients: float64 (columns, answers); intercepts: float64 (answers,), -inf for a class that was never seen;
    middle, size: float64 (columns,), mean and standard deviation of the scaled columns in training; features: number
    of features of a row; link: "" for numbers; answers become probabilities by "softmax" or by "sigmoids" that are
    brought to a sum of 1.
    """

    design: Design
    scaling: Scaling
    coefficients: np.ndarray
    intercepts: np.ndarray
    middle: np.ndarray
    size: np.ndarray
    features: int
    link: str = ""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features) -> float64 (rows,), or (rows, classes) of probabilities."""
        answers = np.tile(self.intercepts, (len(x), 1))
        for begin in range(0, len(x), BLOCK):
            columns = self.scaling.columns(self.design.matrix(x[begin : begin + BLOCK]))
            part = answers[begin : begin + BLOCK]
            for k in range(len(self.design)):
                part += columns[:, k, None] * self.coefficients[k]
        return _LINKS[self.link](answers)

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """What each feature adds, compared with its mean, and what the means get: float64 (rows, features + 1)."""
        if self.link:
            raise LearnerError("contributions are told of numbers, not of classes")
        found = np.zeros((len(x), self.features + 1))
        found[:, -1] = self.intercepts[0] + float(self.middle @ self.coefficients[:, 0])
        for begin in range(0, len(x), BLOCK):
            columns = self.scaling.columns(self.design.matrix(x[begin : begin + BLOCK]))
            for k, source in enumerate(self.design.source):
                found[begin : begin + BLOCK, source] += (columns[:, k] - self.middle[k]) * self.coefficients[k, 0]
        return found

    def gains(self) -> np.ndarray:
        """Coefficients by the spread of their columns, as absolute values: float64 (features,)."""
        sizes = np.abs(self.coefficients).sum(axis=1) * self.size
        return np.bincount(np.array(self.design.source, dtype=np.int64), sizes, minlength=self.features)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays, the design and the scaling."""
        scales, kind = self.scaling.state()
        arrays = {name: getattr(self, name) for name in ("coefficients", "intercepts", "middle", "size")}
        told = {"design": self.design.to_json(), "features": self.features, "link": self.link}
        return {**arrays, **scales}, {**told, **kind}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> LinearModel:
        """The inverse of `state`; also of what the first form, whose columns were all standardised."""
        design = values["design"]
        if "fill" in design:
            own = (arrays[name] for name in ("coefficients", "intercepts", "middle", "size"))
            scaling = Scaling.restore(arrays, values)
            return cls(Design.from_json(design), scaling, *own, values["features"], values["link"])
        mean, width = np.array(design["mean"], dtype=np.float64), len(design["mean"])
        scaling = Scaling("standard", mean, np.array(design["spread"], dtype=np.float64), np.empty((width, 0)))
        fill = [v if level is None else 0.0 for v, level in zip(design["mean"], design["level"], strict=True)]
        return cls(
            Design.from_json({**design, "fill": fill}),
            scaling,
            arrays["coefficients"],
            arrays["intercepts"],
            np.zeros(width),
            np.ones(width),
            max(design["source"], default=-1) + 1,
            "softmax" if values["share"] else "",
        )


def _softmax(answers: np.ndarray) -> np.ndarray:
    return _shares(np.exp(answers - answers.max(axis=1, keepdims=True)))


def _sigmoids(answers: np.ndarray) -> np.ndarray:
    # The floor keeps rows that no class wants from dividing zeros.
    return _shares(1.0 / (1.0 + np.exp(-np.maximum(answers, -500.0))) * np.isfinite(answers))


def _shares(odds: np.ndarray) -> np.ndarray:
    """Rows brought to a sum of 1, added class by class: alone or among others, the same bits."""
    total = odds[:, 0].copy()
    for k in range(1, odds.shape[1]):
        total += odds[:, k]
    return odds / total[:, None]


_LINKS = {"": lambda answers: answers[:, 0], "softmax": _softmax, "sigmoids": _sigmoids}


@dataclass(frozen=True, eq=False)
class Standing:
    """Rows as a linear learner takes them. table: float64 (rows, width); y: float64 (rows,); weight: float64 (rows,),
    of mean 1, no row at 0; blank: the model that answers the mean, or the share of each class."""

    table: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    blank: LinearModel

    @classmethod
    def of(cls, rows: TrainingTable, scaler: str, marks: bool = True) -> Standing:
        """Columns that vary, without holes, scaled; marks: those of 0 and 1 too."""
        weight = np.ones(len(rows.y)) if rows.weight is None or not rows.weight.any() else rows.weight
        use = slice(None) if weight.all() else np.flatnonzero(weight)
        rows = replace(rows, x=rows.x[use], y=rows.y[use])
        weight = weight[use] / weight[use].mean()
        design = Design.of(rows)
        table = design.matrix(rows.x)
        plain = None if marks else np.array([level is not None for level in design.level], dtype=bool)
        scaling = Scaling.of(scaler, table, plain)
        columns = scaling.columns(table)
        middle, size = columns.mean(axis=0), columns.std(axis=0)
        if rows.classes:
            counts = np.bincount(rows.y.astype(np.int64), weights=weight, minlength=rows.classes)
            start = np.where(counts > 0, np.log(np.maximum(counts, 1e-12)), -np.inf)
        else:
            start = np.array([np.average(rows.y, weights=weight)])
        blank = LinearModel(design, scaling, np.zeros((len(design), len(start))), start, middle, size, rows.x.shape[1])
        same = scaling.kind not in ("pca", "truncated_svd")
        blank = replace(blank, link="softmax" if rows.classes else "")
        return cls(columns if same else scaling.transform(table), rows.y, weight, blank)

    def even(self, most: int) -> Standing:
        """At most so many rows, evenly drawn."""
        if len(self.y) <= most:
            return self
        kept = np.linspace(0, len(self.y) - 1, most).astype(np.int64)
        return replace(self, table=self.table[kept], y=self.y[kept], weight=self.weight[kept])

    @property
    def learnable(self) -> bool:
        """Whether there is anything to tell apart."""
        return self.table.shape[1] > 0 and len(self.y) >= 3 and bool(np.ptp(self.y) > 0)

    def model(self, coefficients: np.ndarray, intercepts: np.ndarray, link: str = "") -> LinearModel:
        """coefficients: (width, answers) of the table's columns; intercepts: (answers,)."""
        if not (np.isfinite(coefficients).all() and not np.isnan(intercepts).any()):
            raise LearnerError("coefficients became infinite; scale the columns with scaler=standard")
        told = self.blank.scaling.told(coefficients)
        return replace(self.blank, coefficients=told, intercepts=intercepts, link=link)


class LinearRegression(Reduction):
    """A linear regression: a subclass finds coefficients of columns that were scaled."""

    parameters: ClassVar[Known] = {"scaler": SCALER}
    capabilities = replace(Reduction.capabilities, tasks=frozenset({"forecasting", "regression"}), cost=0.008)

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> LinearModel:
        """Parameters are those of `parameters`."""
        given = settled(self.name, self.parameters, params)
        standing = Standing.of(rows, given["scaler"])
        if not standing.learnable:
            return standing.blank
        centre, size = standing.blank.intercepts[0], max(float(standing.y.std()), 1e-300)
        told = replace(standing, y=(standing.y - centre) / size)
        coefficients, intercept = self.solved(told, given, context)
        return standing.model(coefficients[:, None] * size, np.array([centre + intercept * size]))

    def solved(self, rows: Standing, params: Params, context: FitContext) -> tuple[np.ndarray, float]:
        """Coefficients (width,) and intercept for a target that was standardised."""
        raise NotImplementedError

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> LinearModel:
        """The inverse of `LinearModel.state`."""
        return LinearModel.restore(arrays, values)


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted second moments of rows about their means. centre: (width,), of the columns; level: of the target;
    gram: (width, width); with_target: (width,); squares: of the target."""

    centre: np.ndarray
    level: float
    gram: np.ndarray
    with_target: np.ndarray
    squares: float

    @classmethod
    def of(cls, rows: Standing) -> Moments:
        """Sums over all rows, block by block."""
        from threadpoolctl import threadpool_limits

        total = rows.weight.sum()
        with threadpool_limits(1):
            centre, level = rows.weight @ rows.table / total, float(rows.weight @ rows.y / total)
            gram, with_target = np.zeros((len(centre), len(centre))), np.zeros(len(centre))
            for begin in range(0, len(rows.y), BLOCK):
                part = slice(begin, begin + BLOCK)
                table = rows.table[part] - centre
                weighted = table.T * rows.weight[part]
                gram += weighted @ table
                with_target += weighted @ (rows.y[part] - level)
        return cls(centre, level, gram, with_target, float(rows.weight @ (rows.y - level) ** 2))


class Ridge(LinearRegression):
    """Least squares with a penalty on the squares of the coefficients, chosen by leave-one-out errors."""

    name = "ridge"
    parameters: ClassVar[Known] = {"scaler": SCALER, "alpha": Number(None, 1e-9)}
    search_space: ClassVar[Mapping[str, Range]] = {"alpha": Range(1e-5, 1e3, 0.01)}

    def solved(self, rows: Standing, params: Params, context: FitContext) -> tuple[np.ndarray, float]:
        """alpha: the penalty per row; None: that of `PENALTIES` with the smallest leave-one-out errors (Allen 1974)."""
        from threadpoolctl import threadpool_limits

        found = Moments.of(rows)
        penalties = np.array(PENALTIES if params["alpha"] is None else [params["alpha"]]) * len(rows.y)
        with threadpool_limits(1):
            values, vectors = np.linalg.eigh(found.gram)
            shrunk = 1.0 / (np.maximum(values, 0.0)[:, None] + penalties)
            parts = (vectors.T @ found.with_target)[:, None] * shrunk
            best = int(np.argmin(self._left_out(rows, found, vectors, shrunk, parts))) if len(penalties) > 1 else 0
            coefficients = vectors @ parts[:, best]
        return coefficients, found.level - float(found.centre @ coefficients)

    @staticmethod
    def _left_out(
        rows: Standing, found: Moments, vectors: np.ndarray, shrunk: np.ndarray, parts: np.ndarray
    ) -> np.ndarray:
        """Weighted squares of the leave-one-out errors of each penalty."""
        losses, total = np.zeros(shrunk.shape[1]), rows.weight.sum()
        for begin in range(0, len(rows.y), BLOCK):
            part = slice(begin, begin + BLOCK)
            turned, weight = (rows.table[part] - found.centre) @ vectors, rows.weight[part, None]
            leverage = weight * (turned**2 @ shrunk + 1.0 / total)
            errors = (rows.y[part] - found.level)[:, None] - turned @ parts
            losses += (weight * (errors / np.maximum(1.0 - leverage, 1e-12)) ** 2).sum(axis=0)
        return losses


class LassoLars(LinearRegression):
    """Least squares with a penalty on absolute coefficients, by least angles (Efron et al. 2004)."""

    name = "lasso_lars"
    parameters: ClassVar[Known] = {
        "scaler": SCALER,
        "alpha": Number(None, 0.0),
        "criterion": Choice("aic", ("aic", "bic")),
    }
    search_space: ClassVar[Mapping[str, Range]] = {"alpha": Range(1e-5, 0.3, 0.05)}

    def solved(self, rows: Standing, params: Params, context: FitContext) -> tuple[np.ndarray, float]:
        """alpha: the penalty; None: the step of the path with the best information criterion ("aic", "bic")."""
        from sklearn.linear_model import lars_path_gram

        found, n = Moments.of(rows), len(rows.y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, _, path = lars_path_gram(
                found.with_target,
                found.gram,
                n_samples=n,
                max_iter=4 * rows.table.shape[1],
                alpha_min=params["alpha"] or 0.0,
                method="lasso",
            )
        step = path.shape[1] - 1
        if params["alpha"] is None:
            squares = found.squares - 2 * found.with_target @ path + (path * (found.gram @ path)).sum(axis=0)
            price = 2.0 if params["criterion"] == "aic" else np.log(n)
            squares = np.maximum(squares, 1e-12 * found.squares)
            step = int(np.argmin(n * np.log(squares / n) + price * (path != 0).sum(axis=0)))
        coefficients = path[:, step]
        return coefficients, found.level - float(found.centre @ coefficients)


class ElasticNet(LinearRegression):
    """Least squares with penalties on squares and absolute values of the coefficients: it leaves columns out."""

    name = "elastic_net"
    capabilities = replace(LinearRegression.capabilities, cost=0.03)
    parameters: ClassVar[Known] = {"scaler": SCALER, "alpha": Number(None, 1e-9), "l1_ratio": Number(0.5, 0.01, 1.0)}
    search_space: ClassVar[Mapping[str, Range]] = {
        "alpha": Range(1e-5, 1.0, 0.1),
        "l1_ratio": Range(0.05, 1.0, 0.5, log=False),
    }

    def space(self, facts: Facts) -> Sequence[Params]:
        """For rows, shares of the penalty on absolute values."""
        return super().space(facts) if facts.separable else [{}, {"l1_ratio": 0.9}, {"l1_ratio": 0.1}]

    def solved(self, rows: Standing, params: Params, context: FitContext) -> tuple[np.ndarray, float]:
        """alpha: the penalty; None: the best of 20 over three parts of the rows."""
        from sklearn import linear_model

        settings = {"l1_ratio": params["l1_ratio"], "max_iter": 500, "tol": 1e-3}
        if params["alpha"] is None:
            estimator = linear_model.ElasticNetCV(alphas=20, cv=3, **settings)
        else:
            estimator = linear_model.ElasticNet(alpha=params["alpha"], **settings)
        found = quietly(estimator, rows.even(MOST_ROWS))
        return found.coef_, float(found.intercept_)


class Logistic(TabularLearner):
    """Multinomial logistic regression with a penalty on the squares of the coefficients."""

    name = "logistic"
    parameters: ClassVar[Known] = {"scaler": SCALER, "C": Number(1.0, 1e-9), "max_iter": Number(300, 1, whole=True)}
    search_space: ClassVar[Mapping[str, Range]] = {"C": Range(1e-3, 1e3, 1.0)}
    capabilities = Capabilities(
        tasks=frozenset({"classification"}), scope="pooled", missing=True, weights=True, cost=0.008
    )

    def space(self, facts: Facts) -> Sequence[Params]:
        """Inverse strengths C of the penalty."""
        return [{"C": 1.0}, {"C": 0.1}, {"C": 10.0}]

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> LinearModel:
        """C: inverse strength of the penalty; max_iter: steps of the optimiser at most."""
        from sklearn.linear_model import LogisticRegression

        given = settled(self.name, self.parameters, params)
        standing = Standing.of(rows, given.pop("scaler"))
        if not standing.learnable:
            return standing.blank
        found = quietly(LogisticRegression(**given), standing)
        return with_classes(standing, found, "softmax")

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> LinearModel:
        """The inverse of `LinearModel.state`."""
        return LinearModel.restore(arrays, values)


def with_classes(rows: Standing, found: Any, link: str) -> LinearModel:
    """The model of a fitted linear classifier of scikit-learn; a class that it never saw has no probability."""
    seen = np.unique(rows.y.astype(np.int64))
    intercepts = np.full(len(rows.blank.intercepts), -np.inf)
    coefficients = np.zeros((rows.table.shape[1], len(intercepts)))
    if len(seen) == 2:
        # One set of coefficients tells the second class from the first.
        coefficients[:, seen[1]], intercepts[seen] = found.coef_[0], (0.0, found.intercept_[0])
        return rows.model(coefficients, intercepts, "softmax")
    coefficients[:, seen], intercepts[seen] = found.coef_.T, found.intercept_
    return rows.model(coefficients, intercepts, link)


def quietly(estimator: Any, rows: Standing) -> Any:
    """The estimator, fitted on one thread and without its warnings about convergence, which cost little here."""
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return estimator.fit(rows.table, rows.y, sample_weight=rows.weight)
