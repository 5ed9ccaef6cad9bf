"""Scalers of columns: how the columns of a table are brought to like size before a learner that measures distances.

All but "normalizer" are affine, so that what a linear model learned on scaled columns can be told in the given ones.
Every row is scaled by itself, column after column: its neighbours change no bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: "pca" and "truncated_svd" keep as many components as explain this share of the squares.
EXPLAINED = 0.99
KINDS = ("standard", "min_max", "max_abs", "robust", "pca", "truncated_svd", "normalizer", "none")


@dataclass(frozen=True, eq=False)
class Scaling:
    """(x - centre) / spread, then the components or the row's length.

    kind: one of `KINDS`; centre, spread: float64 (columns,); components: float64 (columns, kept), for "pca" and
    "truncated_svd"; otherwise (columns, 0), without meaning.
    """

    kind: str
    centre: np.ndarray
    spread: np.ndarray
    components: np.ndarray

    @classmethod
    def of(cls, kind: str, table: np.ndarray, plain: np.ndarray | None = None) -> Scaling:
        """What brings this table to like size: float64 (rows, columns), no value missing, every column varies.

        plain: bool (columns,), those that stay as they are: of a rare mark, 1 would become a distance above all others.
        """
        centre, spread = _size(kind, table)
        if plain is not None:
            centre, spread = np.where(plain, 0.0, centre), np.where(plain, 1.0, spread)
        spread = np.where(spread > 0, spread, 1.0)
        none = np.empty((len(centre), 0))
        if kind not in ("pca", "truncated_svd") or not len(centre):
            return cls(kind, centre, spread, none)
        squares, directions = np.linalg.eigh(_gram((table - centre) / spread))
        order = np.argsort(-squares, kind="stable")
        shares = np.cumsum(np.maximum(squares[order], 0.0))
        kept = order[: int(np.searchsorted(shares, EXPLAINED * shares[-1])) + 1]
        directions = directions[:, kept]
        # The sign of a direction is arbitrary; its largest part points up.
        largest = directions[np.abs(directions).argmax(axis=0), np.arange(len(kept))]
        return cls(kind, centre, spread, directions * np.where(largest < 0, -1.0, 1.0))

    @property
    def width(self) -> int:
        """Number of columns of `transform`."""
        return self.components.shape[1] if self.kind in ("pca", "truncated_svd") else len(self.centre)

    def transform(self, table: np.ndarray) -> np.ndarray:
        """float64 (rows, columns) -> (rows, width)."""
        scaled = (table - self.centre) / self.spread
        if self.kind == "normalizer":
            return scaled / _lengths(scaled)[:, None]
        if self.kind not in ("pca", "truncated_svd"):
            return scaled
        found = np.zeros((len(table), self.width))
        for k in range(scaled.shape[1]):
            found += scaled[:, k, None] * self.components[k]
        return found

    def columns(self, table: np.ndarray) -> np.ndarray:
        """Scaled columns that still belong to one given column each: float64 (rows, columns)."""
        scaled = (table - self.centre) / self.spread
        return scaled / _lengths(scaled)[:, None] if self.kind == "normalizer" else scaled

    def told(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients of `transform`'s columns as those of `columns`': float64 (width, answers) -> (columns, ...)."""
        return self.components @ coefficients if self.kind in ("pca", "truncated_svd") else coefficients

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        return {"centre": self.centre, "spread": self.spread, "components": self.components}, {"scaler": self.kind}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Scaling:
        """The inverse of `state`."""
        return cls(values["scaler"], arrays["centre"], arrays["spread"], arrays["components"])


def _size(kind: str, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    zero, one = np.zeros(table.shape[1]), np.ones(table.shape[1])
    if not len(table) or kind in ("none", "normalizer", "truncated_svd"):
        return zero, one
    if kind == "min_max":
        return table.min(axis=0), np.ptp(table, axis=0)
    if kind == "max_abs":
        return zero, np.abs(table).max(axis=0)
    spread = table.std(axis=0)
    if kind == "robust":
        low, middle, high = np.quantile(table, (0.25, 0.5, 0.75), axis=0)
        # A column that is mostly one value has no quartiles apart.
        return middle, np.where(high > low, high - low, spread)
    return table.mean(axis=0), spread


def _gram(table: np.ndarray) -> np.ndarray:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return table.T @ table


def _lengths(table: np.ndarray) -> np.ndarray:
    """Euclidean length of every row, 1 for rows of zeros."""
    squares = np.zeros(len(table))
    for k in range(table.shape[1]):
        squares += table[:, k] ** 2
    return np.where(squares > 0, np.sqrt(squares), 1.0)
