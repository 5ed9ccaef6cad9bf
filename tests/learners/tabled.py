"""Tables that table learners are tried on."""

from __future__ import annotations

import json

import numpy as np

from forecastml.learners.registry import get_learner
from forecastml.learners.rows import TableModel, TrainingTable
from forecastml.protocols import FitContext


def table(n: int = 600, seed: int = 0, classes: int = 0, weighted: bool = False) -> TrainingTable:
    """Five features: two numbers, one with holes, a code that counts (its levels have effects), one of noise."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 5)).astype(np.float32)
    x[:, 3] = random.integers(0, 9, n)
    effect = np.array([0, 3, -2, 1, 0, -4, 2, 5, -1])[x[:, 3].astype(int)]
    y = 5 + 2 * x[:, 0] - x[:, 1] + effect + 0.3 * random.normal(size=n)
    x[random.random(n) < 0.1, 2] = np.nan
    if classes:
        y = np.digitize(y, np.quantile(y, np.linspace(0, 1, classes + 1)[1:-1])).astype(float)
    weight = random.integers(0, 4, n).astype(float) if weighted else None
    return TrainingTable(x, y, weight, ("a", "b", "c", "code", "noise"), (3,), (3,), classes)


def fitted(name: str, rows: TrainingTable, metric: str = "mase", **params) -> TableModel:
    return get_learner(name).fit_table(rows, params, FitContext(metric=metric))


def again(name: str, model: TableModel) -> TableModel:
    """The model after a way through its state."""
    arrays, values = model.state()
    return get_learner(name).restore_table(arrays, json.loads(json.dumps(values, allow_nan=False)))
