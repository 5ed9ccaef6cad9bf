"""Nearest neighbours (Cover and Hart 1967): an answer is that of the most similar rows of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from forecastml.errors import LearnerError
from forecastml.learners.design import Design
from forecastml.learners.linear import SCALER, Standing
from forecastml.learners.parameters import SQUARED, Choice, Known, Number, settled
from forecastml.learners.ranges import Range
from forecastml.learners.reduction import Reduction
from forecastml.learners.rows import TrainingTable
from forecastml.learners.scaling import Scaling
from forecastml.protocols import Facts, FitContext, Params

#: Rows that are remembered at most, and values: with many columns a search looks at nearly every row.
MOST_ROWS, MOST_VALUES = 20_000, 120_000


@dataclass(frozen=True, eq=False)
class Memory:
    """Remembered rows. points: float64 (rows, width), scaled; y, weight: float64 (rows,); neighbours: how many answer;
    closer: whether nearer ones count more, by the inverse of their distance; answer: "mean", "median" or "shares"."""

    design: Design
    scaling: Scaling
    points: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    features: int
    neighbours: int
    closer: bool
    answer: str
    classes: int = 0

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.points)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features) -> float64 (rows,), or (rows, classes) of probabilities."""
        if not self.points.shape[1]:
            distance = np.zeros((len(x), len(self.y)))
            place = np.tile(np.arange(len(self.y)), (len(x), 1))
        else:
            nearest = self._tree.query(self.scaling.transform(self.design.matrix(x)), k=range(1, self.neighbours + 1))
            distance, place = nearest
        weight = self.weight[place]
        if self.closer:
            weight = weight / np.maximum(distance, 1e-6 * np.maximum(distance[:, -1:], 1e-12))
        return _ANSWERS[self.answer](self.y[place], weight, self.classes)

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """Nothing is told of single features, all stands in the last column: float64 (rows, features + 1)."""
        if self.classes:
            raise LearnerError("contributions are told of numbers, not of classes")
        found = np.zeros((len(x), self.features + 1))
        found[:, -1] = self.predict(x)
        return found

    def gains(self) -> np.ndarray:
        """No feature gains anything: float64 (features,)."""
        return np.zeros(self.features)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        scales, kind = self.scaling.state()
        told = {name: getattr(self, name) for name in ("features", "neighbours", "closer", "answer", "classes")}
        arrays = {"points": self.points, "y": self.y, "weight": self.weight}
        return {**arrays, **scales}, {**told, **kind, "design": self.design.to_json()}


def _mean(y: np.ndarray, weight: np.ndarray, classes: int) -> np.ndarray:
    """Weighted mean of each row, neighbour after neighbour: alone or among others, the same bits."""
    total, whole = np.zeros(len(y)), np.zeros(len(y))
    for k in range(y.shape[1]):
        total += y[:, k] * weight[:, k]
        whole += weight[:, k]
    return total / whole


def _median(y: np.ndarray, weight: np.ndarray, classes: int) -> np.ndarray:
    """Weighted median of each row, halfway between the two neighbours around half of the weight."""
    order = np.argsort(y, axis=1, kind="stable")
    y, share = np.take_along_axis(y, order, axis=1), np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    half, rows = 0.5 * share[:, -1:], np.arange(len(y))
    low = np.minimum((share < half * (1 - 1e-12)).sum(axis=1), y.shape[1] - 1)
    high = np.minimum((share <= half * (1 + 1e-12)).sum(axis=1), y.shape[1] - 1)
    return 0.5 * y[rows, low] + 0.5 * y[rows, high]


def _shares(y: np.ndarray, weight: np.ndarray, classes: int) -> np.ndarray:
    """Share of each class in the weight of each row's neighbours."""
    found, whole = np.zeros((len(y), classes)), np.zeros(len(y))
    rows, code = np.arange(len(y)), y.astype(np.int64)
    for k in range(y.shape[1]):
        found[rows, code[:, k]] += weight[:, k]
        whole += weight[:, k]
    return found / whole[:, None]


_ANSWERS = {"mean": _mean, "median": _median, "shares": _shares}


class Neighbours(Reduction):
    """The answer of the nearest rows of training, of at most `MOST_ROWS` evenly drawn ones."""

    name = "knn"
    parameters: ClassVar[Known] = {
        "scaler": SCALER,
        "neighbours": Number(None, 1, 1000, whole=True),
        "weights": Choice("distance", ("distance", "uniform")),
    }
    search_space: ClassVar[Mapping[str, Range]] = {"neighbours": Range(1, 200, 10, whole=True)}
    capabilities = replace(Reduction.capabilities, cost=0.02)

    def space(self, facts: Facts) -> Sequence[Params]:
        """For rows, also fewer and more neighbours, and the main directions alone."""
        if facts.separable:
            return super().space(facts)
        return [{}, {"scaler": "pca"}, {"neighbours": 5}, {"neighbours": 40}]

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> Memory:
        """neighbours: how many answer, None for a number that grows with the rows; weights: "distance" or "uniform"."""
        given = settled(self.name, self.parameters, params)
        standing = Standing.of(rows, given["scaler"], marks=False)
        n, width = standing.table.shape
        most = min(n, MOST_ROWS, max(1000, MOST_VALUES // max(width, 1)))
        kept = np.linspace(0, n - 1, most).astype(np.int64)
        neighbours = min(most, given["neighbours"] or int(np.clip(np.sqrt(most), 5, 30)))
        if not width:
            kept = kept[:: max(1, most // 1000)]
        answer = "shares" if rows.classes else "mean" if context.metric in SQUARED else "median"
        return Memory(
            standing.blank.design,
            standing.blank.scaling,
            np.ascontiguousarray(standing.table[kept]),
            standing.y[kept],
            standing.weight[kept],
            rows.x.shape[1],
            neighbours,
            given["weights"] == "distance",
            answer,
            rows.classes,
        )

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Memory:
        """The inverse of `Memory.state`."""
        told = {name: values[name] for name in ("features", "neighbours", "closer", "answer", "classes")}
        own = {name: arrays[name] for name in ("points", "y", "weight")}
        return Memory(Design.from_json(values["design"]), Scaling.restore(arrays, values), **own, **told)
