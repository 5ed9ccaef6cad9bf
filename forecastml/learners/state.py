"""What a learner of scope `series` remembers: arrays with one row per series, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OK = "ok"


@dataclass(frozen=True, eq=False)
class SeriesArrays:
    """Named arrays whose first axis is the series, and one status per series ("ok" or why it has no forecast).

    Arrays of two axes may differ in width between objects that are stacked; the narrower ones end in NaN.
    """

    arrays: Mapping[str, np.ndarray]
    status: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def take(self, items: np.ndarray) -> SeriesArrays:
        """The series at these positions."""
        items = np.asarray(items, dtype=np.int64)
        return SeriesArrays(
            {name: array[items] for name, array in self.arrays.items()}, tuple(self.status[i] for i in items)
        )

    def stack(self, others: Sequence[SeriesArrays]) -> SeriesArrays:
        """These series and those of others, in order."""
        parts = [self, *others]
        return SeriesArrays(
            {name: _stacked([part[name] for part in parts]) for name in self.arrays},
            tuple(status for part in parts for status in part.status),
        )

    @staticmethod
    def joined(parts: Sequence[Mapping[str, np.ndarray]], order: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of several parts one after the other, then their rows in this order."""
        return {name: _stacked([part[name] for part in parts])[order] for name in parts[0]}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values, for `restore`."""
        reasons = sorted(set(self.status))
        codes = np.array([reasons.index(status) for status in self.status], dtype=np.int32)
        return {**self.arrays, "status": codes}, {"reasons": reasons}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> SeriesArrays:
        """The inverse of `state`."""
        status = tuple(values["reasons"][code] for code in arrays["status"])
        return cls({name: array for name, array in arrays.items() if name != "status"}, status)


def _stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    blanks = [np.full((len(part), width - part.shape[1]), np.nan) for part in parts]
    return np.concatenate([np.hstack(pair) for pair in zip(parts, blanks, strict=True)])


State = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]


def equal_states(one: State, other: State) -> bool:
    """Whether two states hold the same arrays and values."""
    (arrays, values), (more, told) = one, other
    same = values == told and arrays.keys() == more.keys()
    return same and all(np.array_equal(arrays[name], more[name]) for name in arrays)
