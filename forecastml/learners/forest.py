"""Decision trees as arrays: how they answer, what each feature adds to an answer, and what it gained in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from forecastml.errors import LearnerError
from forecastml.learners.contributions import of_exponential
from forecastml.learners.rows import TrainingTable

#: Nodes that are stepped through at once, rows by trees: more would leave the processor's caches.
STEPS = 1 << 14
#: Above every value of a row and below infinity, which stands for missing values that go right.
LARGEST = 1e300
#: Rows of the mean that a level of a category starts with: levels of few rows stay near it.
PRIOR_ROWS = 10.0


@dataclass(frozen=True, eq=False)
class CategoryOrder:
    """The levels of code columns by their mean target in training, so that a threshold splits them as well as numbers
    (Fisher 1958). column: int64 (levels,), the feature; code: float32 (levels,); rank: float32 (levels,). A level that
    was never seen is missing."""

    column: np.ndarray
    code: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, rows: TrainingTable) -> CategoryOrder:
        """Of all categorical columns; of classes the share of the most frequent one counts."""
        y = rows.y
        if rows.classes:
            y = (y == np.bincount(y.astype(np.int64), minlength=rows.classes).argmax()).astype(np.float64)
        weight = np.ones(len(y)) if rows.weight is None or not rows.weight.any() else rows.weight
        centre = np.average(y, weights=weight)
        columns, codes, ranks = [], [], []
        for j in rows.categorical:
            known = ~np.isnan(rows.x[:, j])
            levels, place = np.unique(rows.x[known, j], return_inverse=True)
            total = np.bincount(place, weight[known] * (y[known] - centre), minlength=len(levels))
            mean = total / (np.bincount(place, weight[known], minlength=len(levels)) + PRIOR_ROWS)
            rank = np.empty(len(levels), np.float32)
            rank[np.argsort(mean, kind="stable")] = np.arange(len(levels), dtype=np.float32)
            columns.append(np.full(len(levels), j, np.int64))
            codes.append(levels.astype(np.float32))
            ranks.append(rank)
        if not columns:
            return cls(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))
        return cls(np.concatenate(columns), np.concatenate(codes), np.concatenate(ranks))

    def ranked(self, x: np.ndarray) -> np.ndarray:
        """float32 (rows, features) with ranks in the place of codes; the same array where there are no codes."""
        if not len(self.column):
            return x
        found = x.copy()
        for j in np.unique(self.column):
            mine = np.flatnonzero(self.column == j)
            place = np.minimum(np.searchsorted(self.code[mine], x[:, j]), len(mine) - 1)
            found[:, j] = np.where(self.code[mine][place] == x[:, j], self.rank[mine][place], np.float32(np.nan))
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Arrays."""
        return {"category_column": self.column, "category_code": self.code, "category_rank": self.rank}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> CategoryOrder:
        """The inverse of `state`."""
        return cls(arrays["category_column"], arrays["category_code"], arrays["category_rank"])


@dataclass(frozen=True, eq=False)
class Nodes:
    """The nodes of some trees, one tree after the other.

    feature: int32 (nodes,), -1 for leaves; threshold: float64 (nodes,), left where the value is not above it, +inf
    where only missing values go right; missing_left: bool (nodes,); left, right: int32 (nodes,), positions in all
    nodes, a leaf's are its own; value: float64 (nodes, width), of inner nodes the mean of the rows that came there;
    gain: float64 (nodes,); root: int64 (trees,).
    """

    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    gain: np.ndarray
    root: np.ndarray

    @classmethod
    def stack(cls, trees: Sequence[Nodes]) -> Nodes:
        """Trees of several parts in one."""
        sizes = np.array([len(tree.feature) for tree in trees])
        start = np.cumsum(sizes) - sizes

        def joined(name: str, moved: bool = False) -> np.ndarray:
            parts = [getattr(t, name) + (s if moved else 0) for t, s in zip(trees, start, strict=True)]
            return np.concatenate(parts).astype(getattr(trees[0], name).dtype)

        kept = {name: joined(name) for name in ("feature", "threshold", "missing_left", "value", "gain")}
        return cls(**kept, **{name: joined(name, moved=True) for name in ("left", "right", "root")})

    @cached_property
    def depth(self) -> int:
        """Steps from a root to the deepest leaf."""
        nodes, steps = self.root, 0
        while (inner := nodes[self.feature[nodes] >= 0]).size:
            nodes = np.concatenate([self.left[inner], self.right[inner]])
            steps += 1
        return steps

    @cached_property
    def _way(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every node: twice its feature, one more where missing values go right; its threshold; and, for left and
        right in turn, its children. Leaves have feature 0. Positions are int64, which numpy takes fastest."""
        feature = 2 * np.maximum(self.feature, 0).astype(np.int64) + ~self.missing_left
        children = np.stack([self.left, self.right], axis=1).ravel().astype(np.int64)
        return feature, np.minimum(self.threshold, LARGEST), children

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """The leaf of each tree that each row of x, float32 (rows, features), ends in: int64 (trees, rows)."""
        feature, threshold, children = self._way
        values, first = _sided(x)
        found = np.repeat(self.root, len(x))
        inner = self.feature >= 0
        going = np.flatnonzero(inner.take(found))
        node, row = found[going], np.tile(first, len(self.root))[going]
        while len(going):
            right = values.take(feature.take(node) + row) > threshold.take(node)
            node = children.take(2 * node + right)
            found[going] = node
            on = np.flatnonzero(inner.take(node))
            going, node, row = going.take(on), node.take(on), row.take(on)
        return found.reshape(len(self.root), len(x))

    def steps(self, x: np.ndarray) -> np.ndarray:
        """The node of each tree that each row stands at after each step: int64 (steps + 1, trees, rows)."""
        feature, threshold, children = self._way
        values, first = _sided(x)
        found = np.empty((self.depth + 1, len(self.root), len(x)), dtype=np.int64)
        found[0] = self.root[:, None]
        for step in range(self.depth):
            node = found[step]
            right = values.take(feature.take(node) + first) > threshold.take(node)
            found[step + 1] = children.take(2 * node + right)
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Arrays."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def _sided(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value of x twice in turn, a missing one as the lowest and the highest, so that a node looks it up where it
    lies on the side to which it sends missing ones; and where each row begins."""
    limit = np.finfo(np.float32).max
    clipped = np.clip(x, -limit, limit).astype(np.float64)[:, :, None]
    return np.where(np.isnan(clipped), (-np.inf, np.inf), clipped).ravel(), np.arange(len(x)) * (2 * x.shape[1])


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees whose values add up.

    nodes: of all trees; answer: int64 (trees,), the answer that a tree adds to, -1 where it has a value for each; base:
    float64 (answers,), where sums begin, -inf for a class that was never seen; features: of a row; link: "" for sums
    as they are, "exp", "sigmoid", "softmax", or "shares" for values that are shares of classes already.
    """

    nodes: Nodes | None
    answer: np.ndarray
    base: np.ndarray
    order: CategoryOrder
    features: int
    link: str = ""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features) -> float64 (rows,), or (rows, classes) of probabilities."""
        total = np.tile(self.base, (len(x), 1))
        for part, ranked in self._parts(x):
            for leaf, answer in zip(self.nodes.leaves(ranked), self.answer, strict=True):
                if answer < 0:
                    total[part] += self.nodes.value[leaf]
                else:
                    total[part, answer] += self.nodes.value[:, 0].take(leaf)
        return _LINKS[self.link](total)

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """What each feature adds on a row's way (the change of the mean at each split: Saabas 2014), and the mean of
        all rows: float64 (rows, features + 1)."""
        if len(self.base) > 1 or self.link not in ("", "exp"):
            raise LearnerError("contributions are told of numbers, not of classes")
        found = np.zeros((len(x), self.features + 1))
        found[:, -1] = self.base[0]
        for part, ranked in self._parts(x):
            steps = self.nodes.steps(ranked)
            means = self.nodes.value[:, 0][steps]
            rows = np.arange(part.start, part.start + steps.shape[2])
            found[part, -1] += means[0].sum(axis=0)
            for step in range(len(steps) - 1):
                change = means[step + 1] - means[step]
                feature = np.maximum(self.nodes.feature[steps[step]], 0)
                for tree in range(len(self.answer)):
                    found[rows, feature[tree]] += change[tree]
        return of_exponential(found) if self.link == "exp" else found

    def gains(self) -> np.ndarray:
        """Total gain of the splits of each feature: float64 (features,)."""
        if self.nodes is None:
            return np.zeros(self.features)
        inner = self.nodes.feature >= 0
        return np.bincount(self.nodes.feature[inner], self.nodes.gain[inner], minlength=self.features)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays; what is no array."""
        arrays = {"answer": self.answer, "base": self.base, **self.order.state()}
        trees = {} if self.nodes is None else self.nodes.state()
        return {**arrays, **trees}, {"features": self.features, "link": self.link}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Forest:
        """The inverse of `state`."""
        nodes = Nodes(**{name: arrays[name] for name in Nodes.__dataclass_fields__}) if "root" in arrays else None
        order = CategoryOrder.restore(arrays)
        return cls(nodes, arrays["answer"], arrays["base"], order, values["features"], values["link"])

    def _parts(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Slices of rows, and their features with ranks in the place of categories; nothing where no tree is."""
        if self.nodes is None:
            return
        x = self.order.ranked(x)
        size = max(1, STEPS // len(self.answer))
        for begin in range(0, len(x), size):
            part = slice(begin, min(begin + size, len(x)))
            yield part, x[part]


def _softmax(total: np.ndarray) -> np.ndarray:
    return _shares(np.exp(total - total.max(axis=1, keepdims=True)))


def _sigmoid(total: np.ndarray) -> np.ndarray:
    found = 1.0 / (1.0 + np.exp(-np.clip(total[:, 0], -700.0, 700.0)))
    return np.stack([1.0 - found, found], axis=1)


def _shares(odds: np.ndarray) -> np.ndarray:
    """Rows brought to a sum of 1, added class by class: alone or among others, the same bits."""
    whole = odds[:, 0].copy()
    for k in range(1, odds.shape[1]):
        whole += odds[:, k]
    return odds / whole[:, None]


_LINKS = {
    "": lambda total: total[:, 0],
    "exp": lambda total: np.exp(total[:, 0]),
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "shares": _shares,
}
