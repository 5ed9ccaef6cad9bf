"""Stochastic gradient descent: linear models by small steps, row after row (Bottou 2010)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from forecastml.errors import ConfigError
from forecastml.learners.linear import (
    SCALER,
    LinearModel,
    LinearRegression,
    Standing,
    quietly,
    with_classes,
)
from forecastml.learners.parameters import SQUARED, Choice, Known, Number, settled
from forecastml.learners.ranges import Range
from forecastml.learners.reduction import Reduction
from forecastml.learners.rows import TrainingTable
from forecastml.protocols import Facts, FitContext, Params

#: Rows that are looked at, over all passes, and passes at least and at most.
STEPS, FEWEST, MOST = 1_000_000, 5, 500
#: Distances between quartiles from the median, beyond which values are cut off in training; rows to find them by.
REACH, SAMPLE = 8.0, 10_000
LOSSES = {"squared": "squared_error", "absolute": "epsilon_insensitive", "huber": "huber"}


class SGD(LinearRegression):
    """A linear model of absolute, squared or Huber's errors, or of the odds of each class, averaged over its steps."""

    name = "sgd"
    parameters: ClassVar[Known] = {
        "scaler": SCALER,
        "loss": Choice(None, tuple(LOSSES)),
        "penalty": Choice("l2", ("l2", "l1", "elasticnet")),
        "alpha": Number(1e-4, 1e-12),
    }
    search_space: ClassVar[Mapping[str, Range]] = {"alpha": Range(1e-7, 1e-1, 1e-4)}
    capabilities = replace(Reduction.capabilities, cost=0.01)

    def space(self, facts: Facts) -> Sequence[Params]:
        """For rows, strengths of the penalty."""
        return super().space(facts) if facts.separable else [{}, {"alpha": 1e-2}, {"penalty": "l1", "alpha": 1e-3}]

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> LinearModel:
        """loss: None for what the metric wants; alpha: strength of the penalty."""
        if not rows.classes:
            return super().fit_table(rows, params, context)
        from sklearn.linear_model import SGDClassifier

        given = settled(self.name, self.parameters, params)
        if given["loss"] is not None:
            raise ConfigError(f"sgd: parameter 'loss' is {given['loss']!r}, but classes have a loss of their own")
        standing = Standing.of(rows, given["scaler"])
        if not standing.learnable:
            return standing.blank
        estimator = SGDClassifier(loss="log_loss", **_settings(standing, given, context))
        return with_classes(standing, quietly(estimator, _tamed(standing)), "sigmoids")

    def solved(self, rows: Standing, params: Params, context: FitContext) -> tuple[np.ndarray, float]:
        """Steps shrink with the length of the rows, so that none overshoots."""
        from sklearn.linear_model import SGDRegressor

        loss = params["loss"] or ("squared" if context.metric in SQUARED else "absolute")
        tamed = _tamed(rows)
        length = float(np.mean(np.sum(tamed.table**2, axis=1)))
        estimator = SGDRegressor(
            loss=LOSSES[loss],
            epsilon=1.0 if loss == "huber" else 0.0,
            eta0=0.5 / (1.0 + length),
            **_settings(rows, params, context),
        )
        found = quietly(estimator, tamed)
        return found.coef_, float(found.intercept_[0])


def _settings(rows: Standing, params: Params, context: FitContext) -> dict[str, Any]:
    return {
        "penalty": params["penalty"],
        "alpha": params["alpha"],
        "max_iter": int(np.clip(STEPS // max(len(rows.y), 1), FEWEST, MOST)),
        "tol": 1e-4,
        "average": True,
        "random_state": context.seed % 2**32,
    }


def _tamed(rows: Standing) -> Standing:
    """Without values that lie far from all others: one row must not throw the rest away."""
    low, middle, high = np.quantile(rows.even(SAMPLE).table, (0.25, 0.5, 0.75), axis=0)
    # Columns that are mostly one value, as marks are, have no quartiles apart, and are left alone.
    reach = np.where(high > low, REACH * (high - low), np.inf)
    return replace(rows, table=np.clip(rows.table, middle - reach, middle + reach))
