"""Table models whose features are disturbed, to see what these are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Shuffled:
    """A table model that gets some columns from other rows, the same ones for each number of rows."""

    table: Any
    columns: tuple[int, ...]
    seed: int

    def predict(self, x: np.ndarray) -> np.ndarray:
        """As the table model, of x with its columns shuffled together."""
        order = np.random.default_rng((self.seed, len(x))).permutation(len(x))
        x = x.copy()
        x[:, self.columns] = x[order][:, self.columns]
        return self.table.predict(x)


def revealed(table: Any, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """What each feature adds to the probability of a class, and the base: float64 (rows, features + 1).

    chosen: int64 (rows,). The features of a row of which nothing is known (NaN) are revealed one after the other, once
    from the first on and once from the last; the mean of both is told. It sums to the probability. (Two of the orders
    of Shapley's value, each the reverse of the other: Mitchell, Cooper, Frank and Holmes 2022, "Sampling permutations
    for Shapley value estimation".)
    """
    rows, width = np.arange(len(x)), x.shape[1]
    found = np.zeros((len(x), width + 1))
    for order in (range(width), range(width - 1, -1, -1)):
        known = np.full_like(x, np.nan)
        before = table.predict(known)[rows, chosen]
        found[:, -1] += 0.5 * before
        for k in order:
            known[:, k] = x[:, k]
            now = table.predict(known)[rows, chosen]
            found[:, k] += 0.5 * (now - before)
            before = now
    return found
