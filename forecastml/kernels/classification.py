"""Losses and statistics of class probabilities, for `forecastml.metrics`.

y: float64 (rows,), positions of the true class; values: float64 (rows, classes), probabilities. Statistics take the
weight and the cell of each row and the number of cells, and return one value per cell: NaN for cells without rows.
Curves and counts are scikit-learn's. Classes that a cell has no row of do not take part in its averages.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: A probability is taken as no smaller than this in the logarithm.
SMALLEST = 1e-15

Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def log_loss(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """-log of the probability given to the true class."""
    total = values.sum(axis=1)
    share = values[np.arange(len(y)), y.astype(np.int64)] / np.where(total > 0, total, 1.0)
    return -np.log(np.clip(share, SMALLEST, 1.0))


def correct(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """1 where the likeliest class is the true one, else 0; NaN without a prediction."""
    return np.where(np.isnan(values[:, 0]), np.nan, _likeliest(values) == y)


def _likeliest(values: np.ndarray) -> np.ndarray:
    return np.argmax(np.nan_to_num(values, nan=-1.0), axis=1)


def _by_cell(statistic: Statistic):
    """A statistic of the rows of one cell as one of all cells."""

    def of_cells(y: np.ndarray, values: np.ndarray, weight: np.ndarray, cell: np.ndarray, count: int) -> np.ndarray:
        result = np.full(count, np.nan)
        for k in np.unique(cell):
            rows = cell == k
            if not np.isnan(values[rows]).any():
                result[k] = statistic(y[rows].astype(np.int64), values[rows], weight[rows])
        return result

    of_cells.__doc__ = statistic.__doc__
    return of_cells


@_by_cell
def balanced_accuracy(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> float:
    """Mean over classes of the share found."""
    from sklearn.metrics import recall_score

    return recall_score(y, _likeliest(values), labels=np.unique(y), average="macro", sample_weight=weight)


@_by_cell
def normalized_recall(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> float:
    """Balanced accuracy, 0 for guessing and 1 for perfect: (recall - 1/C) / (1 - 1/C)."""
    from sklearn.metrics import recall_score

    chance = 1.0 / max(values.shape[1], 2)
    recall = recall_score(y, _likeliest(values), labels=np.unique(y), average="macro", sample_weight=weight)
    return (recall - chance) / (1.0 - chance)


@_by_cell
def f1_macro(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> float:
    """Mean over classes of the harmonic mean of precision and recall."""
    from sklearn.metrics import f1_score

    return f1_score(y, _likeliest(values), average="macro", sample_weight=weight, zero_division=0.0)


@_by_cell
def f1_weighted(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> float:
    """The harmonic mean of precision and recall, classes weighted by their rows."""
    from sklearn.metrics import f1_score

    return f1_score(y, _likeliest(values), average="weighted", sample_weight=weight, zero_division=0.0)


@_by_cell
def precision_weighted(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> float:
    """Share of right answers among those that name a class, classes weighted by their rows."""
    from sklearn.metrics import precision_score

    return precision_score(y, _likeliest(values), average="weighted", sample_weight=weight, zero_division=0.0)


@_by_cell
def matthews(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> float:
    """Matthews' correlation coefficient."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(y, _likeliest(values), sample_weight=weight))


@_by_cell
def auc_weighted(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> float:
    """Area under the ROC curve of each class against the rest, weighted by rows; 0.5 with one class alone."""
    from sklearn.metrics import roc_auc_score

    return _against_rest(roc_auc_score, y, values, weight, 0.5)


@_by_cell
def average_precision_weighted(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> float:
    """Average precision of each class against the rest, weighted by rows; 1 with one class alone."""
    from sklearn.metrics import average_precision_score

    return _against_rest(average_precision_score, y, values, weight, 1.0)


def _against_rest(
    score: Callable[..., float], y: np.ndarray, values: np.ndarray, weight: np.ndarray, alone: float
) -> float:
    present = np.unique(y)
    if len(present) < 2:
        return alone
    scores = [score(y == k, values[:, k], sample_weight=weight) for k in present]
    return float(np.average(scores, weights=[weight[y == k].sum() for k in present]))
