"""Contributions of features: additive parts of an answer, one column per feature and the base in the last."""

from __future__ import annotations

from typing import Any

import numpy as np


def contributions(table: Any, x: np.ndarray, exact: bool) -> np.ndarray:
    """Those of a table model, the quick ones where it has such and the exact ones are not asked for."""
    quick = getattr(table, "quick_contributions", None)
    return table.contributions(x) if exact or quick is None else quick(x)


def of_exponential(parts: np.ndarray) -> np.ndarray:
    """Parts of a sum as parts of its exponential: float64 (rows, features + 1) -> the same shape.

    Every part keeps its share of the change from exp(base) to exp(sum): its product with their logarithmic mean (Ang
    2004, the logarithmic mean Divisia index).
    """
    base, total = parts[:, -1], parts.sum(axis=1)
    low, high = np.exp(base), np.exp(total)
    change = total - base
    near = np.abs(change) < 1e-9
    mean = np.where(near, low, (high - low) / np.where(near, 1.0, change))
    found = parts * mean[:, None]
    found[:, -1] = low
    return found
