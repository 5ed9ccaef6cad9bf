"""Gradient boosted trees (Ke et al. 2017, LightGBM), over all series at once or on plain rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from forecastml.learners.reduction import Reduction
from forecastml.learners.rows import TrainingTable
from forecastml.protocols import Capabilities, FitContext, Params

#: Metrics of squared errors; all others are of absolute ones.
SQUARED = frozenset({"rmse", "nrmse", "rmsse", "rmsle", "nrmsle", "r2", "explained_variance"})
SETTINGS = {
    "num_leaves": 31,
    "learning_rate": 0.1,
    "min_data_in_leaf": 20,
    "max_bin": 127,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
}
ROUNDS = 100
#: Rows that keep a thread busy; on fewer, threads wait for each other longer than they work.
ROWS_PER_THREAD = 25_000


@dataclass(frozen=True, eq=False)
class Trees:
    """Fitted trees. text: in LightGBM's own format; threads: for predictions, which they do not change; binary: they
    give the probability of the second of two classes."""

    text: str
    threads: int = 1
    binary: bool = False

    @cached_property
    def _booster(self) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=self.text)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features) -> float64 (rows,), or (rows, classes) of probabilities."""
        found = self._booster.predict(x, num_threads=_threads(self.threads, x))
        return np.column_stack([1.0 - found, found]) if self.binary else found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """No arrays, the text."""
        return {}, {"text": self.text, "binary": self.binary}


class LightGBM(Reduction):
    """LightGBM; series by lags, windows, calendar and covariates. Absolute or squared errors, as the metric wants."""

    name = "light_gbm"
    capabilities = Capabilities(
        tasks=frozenset({"forecasting", "regression", "classification"}),
        scope="pooled",
        covariates=frozenset({"known", "past", "static"}),
        missing=True,
        weights=True,
        cost=0.01,
    )

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> Trees:
        """rounds: number of trees; all other parameters are LightGBM's own. Looks at the deadline after every tree."""
        import lightgbm

        settings = {
            **SETTINGS,
            **_objective(rows, context),
            **params,
            "seed": context.seed,
            "num_threads": _threads(context.threads, rows.x),
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        rounds = settings.pop("rounds", ROUNDS)
        if len(rows.y) * settings["bagging_fraction"] < 2 * settings["min_data_in_leaf"]:
            # LightGBM refuses a bag without rows; a bag too small to be split once would only add noise.
            settings["bagging_freq"] = 0
        data = lightgbm.Dataset(
            rows.x,
            rows.y,
            weight=rows.weight,
            feature_name=[f"f{i}" for i in range(rows.x.shape[1])],
            categorical_feature=list(rows.categorical),
            params=settings,
        )
        booster = lightgbm.train(settings, data, rounds, callbacks=[lambda _: context.deadline.check()])
        return Trees(booster.model_to_string(), context.threads, rows.classes == 2)

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Trees:
        """The inverse of `Trees.state`."""
        return Trees(values["text"], binary=values.get("binary", False))


def _objective(rows: TrainingTable, context: FitContext) -> dict[str, Any]:
    if rows.classes == 2:
        return {"objective": "binary"}
    if rows.classes:
        return {"objective": "multiclass", "num_class": rows.classes}
    return {"objective": "l2" if context.metric in SQUARED else "l1"}


def _threads(allowed: int, x: np.ndarray) -> int:
    return max(1, min(allowed, len(x) // ROWS_PER_THREAD))
