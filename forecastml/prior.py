"""`Prior`: everything a group borrows from others, as one value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from forecastml.protocols import Candidate, Dataset, Fitted, Splitter, Task
from forecastml.search.ensemble import Weights
from forecastml.search.intervals import Pool
from forecastml.search.log import LogRow


@dataclass(frozen=True, eq=False)
class Prior:
    """Learned once by `prepare` on up to 1,000 groups; with it, a group's result depends on its own rows alone.

    task: what it was prepared for; like: data without items that carry schema, frequency, time zone, category codes and
    classes; splitter: with its choices made explicit; seasons: season lengths; candidates: what is tried; weights:
    pooled weights by candidate name; shrinkage: of group weights; pool: of residuals, None for rows; cold: forecast of
    a series without values; shared: pooled learners by candidate name, one fitted per fold (oldest first) and a final
    one; log: what was tried to learn it.
    """

    task: Task
    like: Dataset
    splitter: Splitter
    seasons: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    weights: Mapping[str, float]
    shrinkage: float
    pool: Pool | None
    cold: float
    shared: Mapping[str, tuple[tuple[Fitted, ...], Fitted]] = field(default_factory=dict)
    log: tuple[LogRow, ...] = ()

    def pooled_weights(self, names: list[str]) -> Weights:
        """The pooled weights of these candidates, renormalised; equal ones when none of them has any."""
        pooled = np.array([self.weights.get(name, 0.0) for name in names])
        pooled = pooled / pooled.sum() if pooled.sum() > 0 else np.full(len(names), 1.0 / len(names))
        return Weights(pooled, pooled[None], self.shrinkage)

    @property
    def fingerprint(self) -> str:
        """A hash of the content, for the fingerprint of a run."""
        digest = hashlib.sha256()
        rest = (self.splitter, self.seasons, [c.name for c in self.candidates], sorted(self.weights.items()))
        newest = getattr(self.like, "newest", None)
        digest.update(repr((self.task, self.like.signature, newest, rest, self.shrinkage, self.cold)).encode())
        if self.pool is not None:
            digest.update(repr(self.pool.ratio).encode() + self.pool.profile.tobytes() + self.pool.table.tobytes())
        for name, (folds, final) in sorted(self.shared.items()):
            for fitted in (*folds, final):
                arrays, values = fitted.state()
                digest.update(repr((name, values)).encode())
                for key in sorted(arrays):
                    digest.update(key.encode() + np.ascontiguousarray(arrays[key]).tobytes())
        return digest.hexdigest()


def drawn_groups(data: Dataset, limit: int = 1000) -> np.ndarray:
    """Up to `limit` groups drawn by the hash of their first item's key: the same for every order of the rows."""
    _, first = np.unique(data.group, return_index=True)
    if len(first) <= limit:
        return np.arange(len(first))
    digests = [hashlib.sha256("\x1f".join(data.keys[i]).encode()).digest() for i in first]
    return np.sort(np.array(sorted(range(len(first)), key=lambda g: digests[g])[:limit]))
