"""How the features of a table become numbers without holes, for learners that need them so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forecastml.learners.rows import TrainingTable

#: A nominal column with more levels than this is left out.
MOST_LEVELS = 60
#: The level that marks missing values.
MISSING = "missing"


@dataclass(frozen=True)
class Design:
    """Columns: the source column of each; the level that it stands for, 1.0 where the source has it ("missing": where
    the source has no value; None: the number itself); and what a missing number becomes, the mean."""

    source: tuple[int, ...]
    level: tuple[float | str | None, ...]
    fill: tuple[float, ...]

    @classmethod
    def of(cls, rows: TrainingTable) -> Design:
        """The columns of a table that vary."""
        found: list[tuple[int, float | str | None, float]] = []
        gaps: set[bytes] = set()
        for j in range(rows.x.shape[1]):
            column = rows.x[:, j].astype(np.float64)
            known = np.isfinite(column)
            values = column[known]
            if j in rows.nominal:
                levels, counts = np.unique(values, return_counts=True)
                if len(levels) <= MOST_LEVELS:
                    found += [(j, float(v), 0.0) for v, n in zip(levels, counts, strict=True) if n < len(column)]
                continue
            spread = float(values.std()) if len(values) else 0.0
            if spread > 1e-9 * max(float(np.abs(values).max(initial=0.0)), 1e-30):
                found.append((j, None, float(values.mean())))
            pattern = known.tobytes()
            # Lags of a series' first rows are missing together: one marker says it.
            if known.any() and not known.all() and pattern not in gaps:
                gaps.add(pattern)
                found.append((j, MISSING, 0.0))
        return cls(*(tuple(values) for values in zip(*found, strict=True))) if found else cls((), (), ())

    def __len__(self) -> int:
        """Number of columns."""
        return len(self.source)

    def names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """What the columns are called, given the names of the features: `price`, `weekday=3`, `price_WASNULL`."""
        ends = ("" if v is None else "_WASNULL" if v == MISSING else f"={v:g}" for v in self.level)
        return tuple(names[j] + end for j, end in zip(self.source, ends, strict=True))

    def matrix(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features), NaN where unknown -> float64 (rows, columns), no value missing."""
        found = np.empty((len(self), len(x))).T
        for k, (source, level) in enumerate(zip(self.source, self.level, strict=True)):
            values = x[:, source].astype(np.float64)
            if level is None:
                found[:, k] = np.where(np.isfinite(values), values, self.fill[k])
            else:
                found[:, k] = ~np.isfinite(values) if level == MISSING else values == np.float32(level)
        return found

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Design:
        """The inverse of `to_json`."""
        return cls(*(tuple(values[name]) for name in ("source", "level", "fill")))
