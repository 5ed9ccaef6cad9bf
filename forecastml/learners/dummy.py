"""The baseline of tables: the mean of the target, or the share of each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecastml.learners.rows import TabularLearner, TrainingTable
from forecastml.protocols import Capabilities, FitContext, Params


@dataclass(frozen=True, eq=False)
class Constant:
    """The same answer for every row: float64 (1,), or (classes,)."""

    answer: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features) -> float64 (rows, 1) or (rows, classes)."""
        return np.tile(self.answer, (len(x), 1))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The answer."""
        return {"answer": self.answer}, {}


class Dummy(TabularLearner):
    """Looks at no feature."""

    name = "dummy"
    capabilities = Capabilities(
        tasks=frozenset({"regression", "classification"}), scope="pooled", missing=True, weights=True, cost=0.0
    )

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> Constant:
        """The weighted mean, or the weighted share of each class; of no rows at all 0, or equal shares."""
        if not len(rows.y):
            return Constant(np.full(max(rows.classes, 1), 1.0 / rows.classes if rows.classes else 0.0))
        weight = np.ones(len(rows.y)) if rows.weight is None or not rows.weight.any() else rows.weight
        if not rows.classes:
            return Constant(np.array([np.average(rows.y, weights=weight)]))
        counts = np.bincount(rows.y.astype(np.int64), weights=weight, minlength=rows.classes)
        return Constant(counts / counts.sum())

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Constant:
        """The inverse of `Constant.state`."""
        return Constant(arrays["answer"])
