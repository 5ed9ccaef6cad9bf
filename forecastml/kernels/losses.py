"""Row losses, statistics of cells of rows, and what scales them: the arithmetic of `forecastml.metrics`.

A row loss takes y (rows,), values (rows, columns) and the quantile levels of the columns (empty for a point forecast
in column 0) and returns (rows,). A cell statistic takes y, forecast and weight (rows,), the cell of each row (int64)
and the number of cells n, and returns (n,); cells without rows hold no meaning.
"""

from __future__ import annotations

import numpy as np

from forecastml.data.panel import ragged_rows


def absolute(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """|error|."""
    return np.abs(values[:, 0] - y)


def squared(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """error ** 2."""
    return (values[:, 0] - y) ** 2


def signed(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """forecast - truth: above 0 when too high."""
    return values[:, 0] - y


def squared_log(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Squared difference of log1p, negative values taken as 0."""
    return (np.log1p(np.maximum(values[:, 0], 0.0)) - np.log1p(np.maximum(y, 0.0))) ** 2


def percentage(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """100 |error| / |truth|."""
    return 100.0 * np.abs(values[:, 0] - y) / np.abs(y)


def symmetric_percentage(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """200 |error| / (|truth| + |forecast|), 0/0 = 0."""
    size = np.abs(y) + np.abs(values[:, 0])
    return 200.0 * np.abs(values[:, 0] - y) / np.where(size == 0.0, 1.0, size)


def pinball(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Quantile loss, averaged over the levels."""
    total = np.zeros(len(y))
    for column, level in enumerate(levels):
        error = y - values[:, column]
        total += np.maximum(level * error, (level - 1.0) * error)
    return total / len(levels)


def double_pinball(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Twice `pinball`: comparable with the absolute error."""
    return 2.0 * pinball(y, values, levels)


def covered(y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """1 where the truth lies between the outermost quantiles, borders included."""
    low, high = values[:, 0], values[:, -1]
    return np.where(np.isnan(low + high), np.nan, (low <= y) & (y <= high))


def median_error(y: np.ndarray, forecast: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Weighted median of |error|; the mean of two where the weight is cut in half exactly."""
    error = np.abs(forecast - y)
    order = np.lexsort((error, cell))
    error, weight, cell = error[order], weight[order], cell[order]
    below, first = np.cumsum(weight), np.searchsorted(cell, np.arange(n))
    half = 0.5 * np.bincount(cell, weights=weight, minlength=n)
    start = np.append(below - weight, 0.0)[first]
    # A margin, because the running sum of the cells before leaves rounding errors.
    lower = np.searchsorted(cell + (below - start[cell] >= half[cell] * (1 - 1e-9)) / 2, np.arange(n) + 0.25)
    upper = np.searchsorted(cell + (below - start[cell] > half[cell] * (1 + 1e-9)) / 2, np.arange(n) + 0.25)
    error = np.append(error, np.nan)
    return 0.5 * (error[lower] + error[upper])


def determination(y: np.ndarray, forecast: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """R2 = 1 - SSE / SST, clipped to [-1, 1]; 0 where the truth is constant."""
    error = np.bincount(cell, weights=weight * (forecast - y) ** 2, minlength=n)
    total, constant = _variation(y, weight, cell, n)
    return np.where(constant, 0.0, np.clip(1.0 - error / total, -1.0, 1.0))


def explained(y: np.ndarray, forecast: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """1 - Var(error) / Var(truth); 0 where the truth is constant."""
    total, constant = _variation(y, weight, cell, n)
    return np.where(constant, 0.0, 1.0 - _variation(forecast - y, weight, cell, n)[0] / total)


def rank_correlation(y: np.ndarray, forecast: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Spearman's: weighted correlation of ranks, ties at their mean; 0 where either side is constant."""
    a, b = _ranks(y, cell, n), _ranks(forecast, cell, n)
    (var_a, constant_a), (var_b, constant_b) = _variation(a, weight, cell, n), _variation(b, weight, cell, n)
    total = np.bincount(cell, weights=weight, minlength=n)
    mean_a = np.bincount(cell, weights=weight * a, minlength=n) / total
    shared = np.bincount(cell, weights=weight * (a - mean_a[cell]) * b, minlength=n)
    return np.where(constant_a | constant_b, 0.0, shared / np.sqrt(var_a * var_b))


def mean_change(target: np.ndarray, begin: np.ndarray, end: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean |y_t - y_(t-lag)| and mean square of each series, of y itself for lag 0; 0 without a value."""
    end = np.maximum(end - lag, begin)
    rows = ragged_rows(begin, end)
    values = target[rows + lag] - target[rows] if lag else target[rows]
    known = ~np.isnan(values)
    series, size, n = np.repeat(np.arange(len(begin)), end - begin)[known], np.abs(values[known]), len(begin)
    count = np.maximum(np.bincount(series, minlength=n), 1)
    total, squares = (np.bincount(series, weights=w, minlength=n) for w in (size, size**2))
    return total / count, squares / count


def _variation(x: np.ndarray, weight: np.ndarray, cell: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sum of squares around the mean of each cell, and whether it is nothing but rounding."""
    total = np.bincount(cell, weights=weight, minlength=n)
    mean = np.bincount(cell, weights=weight * x, minlength=n) / total
    around = np.bincount(cell, weights=weight * (x - mean[cell]) ** 2, minlength=n)
    return around, around <= 1e-24 * np.bincount(cell, weights=weight * x**2, minlength=n)


def _ranks(x: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
    """Ranks within each cell from 0, ties at their mean."""
    order = np.lexsort((x, cell))
    x, sorted_cell = x[order], cell[order]
    new = np.append(True, (x[1:] != x[:-1]) | (sorted_cell[1:] != sorted_cell[:-1]))[: len(x)]
    tie = np.cumsum(new) - 1
    place = np.bincount(tie, weights=np.arange(len(x))) / np.bincount(tie)
    ranks = np.empty(len(x))
    ranks[order] = place[tie] - np.searchsorted(sorted_cell, np.arange(n))[sorted_cell]
    return ranks
