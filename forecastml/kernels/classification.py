"""Losses and statistics of class probabilities, for `forecastml.metrics`.

y: float64 (rows,), positions of the true class; values: float64 (rows, classes), probabilities. Statistics take the
weight and the cell of each row and the number of cells n, and return (n,); cells without rows hold no meaning. Classes
that a cell has no row of do not take part in its averages. Definitions follow scikit-learn's functions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: A probability is taken as no smaller than this in the logarithm.
SMALLEST = 1e-15

#: (scores (rows,), positive (rows,), weight (rows,), cell (rows,), n) -> (n,)
Ranking = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def log_loss(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """-log of the probability given to the true class."""
    total = values.sum(axis=1)
    share = values[np.arange(len(y)), y.astype(np.int64)] / np.where(total > 0, total, 1.0)
    return -np.log(np.clip(share, SMALLEST, 1.0))


def correct(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """1 where the likeliest class is the true one, else 0; NaN without a prediction."""
    return np.where(np.isnan(values[:, 0]), np.nan, _likeliest(values) == y)


def balanced_accuracy(y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Mean over classes of the share found."""
    found = _Confusion.of(y, values, weight, cell, n)
    return _mean(_ratio(found.hit, found.true), found.true > 0)


def normalized_recall(y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Balanced accuracy, 0 for guessing and 1 for perfect: (recall - 1/C) / (1 - 1/C)."""
    chance = 1.0 / max(values.shape[1], 2)
    return (balanced_accuracy(y, values, weight, cell, n) - chance) / (1.0 - chance)


def f1_macro(y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Mean over classes of the harmonic mean of precision and recall."""
    found = _Confusion.of(y, values, weight, cell, n)
    return _mean(found.f1, found.true + found.told > 0)


def f1_weighted(y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """The harmonic mean of precision and recall, classes weighted by their rows."""
    found = _Confusion.of(y, values, weight, cell, n)
    return _ratio((found.f1 * found.true).sum(axis=1), found.true.sum(axis=1))


def precision_weighted(y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Share of right answers among those that name a class, classes weighted by their rows."""
    found = _Confusion.of(y, values, weight, cell, n)
    return _ratio((_ratio(found.hit, found.told) * found.true).sum(axis=1), found.true.sum(axis=1))


def matthews(y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Matthews' correlation coefficient; 0 where truth or answer is one class alone."""
    found = _Confusion.of(y, values, weight, cell, n)
    total, hits = found.true.sum(axis=1), found.hit.sum(axis=1)
    shared = hits * total - (found.true * found.told).sum(axis=1)
    spread = [total**2 - (side**2).sum(axis=1) for side in (found.true, found.told)]
    return _ratio(shared, np.sqrt(np.maximum(spread[0], 0.0) * np.maximum(spread[1], 0.0)))


def auc_weighted(y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Area under the ROC curve of each class against the rest, weighted by rows; 0.5 with one class alone."""
    return _against_rest(_area, (y, values, weight, cell, n), 0.5)


def average_precision_weighted(
    y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int
) -> np.ndarray:
    """Average precision of each class against the rest, weighted by rows; 1 with one class alone."""
    return _against_rest(_average_precision, (y, values, weight, cell, n), 1.0)


class _Confusion:
    """Weights of rows by cell and class: hit (true and told), true, told; each float64 (cells, classes)."""

    def __init__(self, hit: np.ndarray, true: np.ndarray, told: np.ndarray) -> None:
        self.hit, self.true, self.told = hit, true, told

    @classmethod
    def of(cls, y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> _Confusion:
        classes = values.shape[1]
        true, told = y.astype(np.int64), _likeliest(values)

        def total(of_class: np.ndarray, share: np.ndarray) -> np.ndarray:
            return np.bincount(cell * classes + of_class, weights=share, minlength=n * classes).reshape(n, classes)

        return cls(total(true, weight * (true == told)), total(true, weight), total(told, weight))

    @property
    def f1(self) -> np.ndarray:
        """2 hit / (true + told), 0 for 0/0: (cells, classes)."""
        return _ratio(2.0 * self.hit, self.true + self.told)


def _likeliest(values: np.ndarray) -> np.ndarray:
    return np.argmax(np.nan_to_num(values, nan=-1.0), axis=1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 for 0/0."""
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)


def _mean(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean over the classes that are there: (cells, classes) -> (cells,)."""
    return _ratio(np.where(there, values, 0.0).sum(axis=1), there.sum(axis=1).astype(np.float64))


def _against_rest(ranking: Ranking, rows: tuple, alone: float) -> np.ndarray:
    y, values, weight, cell, n = rows
    total, mass, present = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    for k in range(values.shape[1]):
        own = np.bincount(cell, weights=weight * (y == k), minlength=n)
        score = ranking(values[:, k], y == k, weight, cell, n)
        total += np.where(own > 0, own * score, 0.0)
        mass += own
        present += own > 0
    return np.where(present > 1, _ratio(total, mass), alone)


def _curve(
    score: np.ndarray, positive: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At each distinct score of each cell, highest first: its cell, and the weight of positives and of negatives with
    that score or a higher one in the cell."""
    order = np.lexsort((-score, cell))
    score, cell = score[order], cell[order]
    last = np.append((score[1:] != score[:-1]) | (cell[1:] != cell[:-1]), True)[: len(score)]
    sums = []
    for side in (positive, ~positive):
        share = (weight * side)[order]
        running = np.cumsum(share)
        before = np.append(0.0, running)[np.searchsorted(cell, np.arange(n))]
        sums.append((running - before[cell])[last])
    return cell[last], sums[0], sums[1]


def _area(score: np.ndarray, positive: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Area under the ROC curve by trapezoids."""
    cell, hits, misses = _curve(score, positive, weight, cell, n)
    first = np.append(True, cell[1:] != cell[:-1])[: len(cell)]
    earlier_hits, earlier_misses = (np.where(first, 0.0, np.append(0.0, side[:-1])) for side in (hits, misses))
    area = np.bincount(cell, weights=(misses - earlier_misses) * (hits + earlier_hits) / 2.0, minlength=n)
    totals = [np.zeros(n), np.zeros(n)]
    for total, side in zip(totals, (hits, misses), strict=True):
        np.maximum.at(total, cell, side)
    return _ratio(area, totals[0] * totals[1])


def _average_precision(
    score: np.ndarray, positive: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int
) -> np.ndarray:
    """Sum over thresholds of the gain in recall times the precision."""
    cell, hits, misses = _curve(score, positive, weight, cell, n)
    first = np.append(True, cell[1:] != cell[:-1])[: len(cell)]
    gained = hits - np.where(first, 0.0, np.append(0.0, hits[:-1]))
    total = np.zeros(n)
    np.maximum.at(total, cell, hits)
    return _ratio(np.bincount(cell, weights=gained * _ratio(hits, hits + misses), minlength=n), total)
