"""The baseline of tables: the mean of the target, or the share of each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecastml.errors import LearnerError
from forecastml.learners.rows import TabularLearner, TrainingTable
from forecastml.protocols import Capabilities, FitContext, Params


@dataclass(frozen=True, eq=False)
class Constant:
    """The same answer for every row: float64 (1,), or (classes,). features: number of them in a row."""

    answer: np.ndarray
    features: int = 0

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features) -> float64 (rows,) or (rows, classes)."""
        return np.tile(self.answer, (len(x), 1)) if len(self.answer) > 1 else np.tile(self.answer, len(x))

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """All of it is the base: float64 (rows, features + 1)."""
        if len(self.answer) > 1:
            raise LearnerError("contributions are told of numbers, not of classes")
        return np.column_stack([np.zeros(x.shape), self.predict(x)])

    def gains(self) -> np.ndarray:
        """No feature gains anything: float64 (features,)."""
        return np.zeros(self.features)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The answer."""
        return {"answer": self.answer}, {"features": self.features}


class Dummy(TabularLearner):
    """Looks at no feature."""

    name = "dummy"
    capabilities = Capabilities(
        tasks=frozenset({"regression", "classification"}), scope="pooled", missing=True, weights=True, cost=0.0
    )

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> Constant:
        """The weighted mean, or the weighted share of each class; of no rows at all 0, or equal shares."""
        if not len(rows.y):
            return Constant(np.full(max(rows.classes, 1), 1.0 / rows.classes if rows.classes else 0.0), rows.x.shape[1])
        weight = np.ones(len(rows.y)) if rows.weight is None or not rows.weight.any() else rows.weight
        if not rows.classes:
            return Constant(np.array([np.average(rows.y, weights=weight)]), rows.x.shape[1])
        counts = np.bincount(rows.y.astype(np.int64), weights=weight, minlength=rows.classes)
        return Constant(counts / counts.sum(), rows.x.shape[1])

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Constant:
        """The inverse of `Constant.state`."""
        return Constant(arrays["answer"], values.get("features", 0))
