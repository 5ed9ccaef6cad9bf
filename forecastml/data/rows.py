"""`Rows`: the used columns of a table as arrays, before they lie on a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.schema import Frequency, Schema

#: Texts that say more about some of the series that a message names, by their places.
Details = Callable[[np.ndarray], Sequence[str]]


@dataclass(frozen=True, eq=False)
class Rows:
    """The used columns of a table as arrays.

    keys: text of the key columns, object (series, key columns), sorted; series: int64 (rows,) into `keys`;
    group: int64 (rows,) that sorts as the group keys do, None when each series is its own; times: datetime64[us]
    (UTC when `tz` is set) or int64; columns: target, weight, mask (1.0 where masked) and covariates by name, float64
    (rows,), categorical ones as codes into `categories`, -1 where missing.
    """

    schema: Schema
    keys: np.ndarray
    series: np.ndarray
    times: np.ndarray
    columns: Mapping[str, np.ndarray]
    group: np.ndarray | None = None
    tz: str | None = None
    categories: Mapping[str, tuple[str, ...]] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.series)

    @property
    def target(self) -> np.ndarray:
        """The target: float64 (rows,)."""
        return self.columns[self.schema.target]

    @property
    def masked(self) -> np.ndarray:
        """Which rows are masked: bool (rows,)."""
        name = self.schema.mask
        return self.columns[name] > 0 if name in self.columns else np.zeros(len(self), bool)

    def is_category(self, name: str) -> bool:
        """Whether a column holds codes."""
        return name in (self.categories or {})

    def at(self, index: np.ndarray) -> Rows:
        """The rows at these positions, all series kept."""
        return replace(
            self,
            series=self.series[index],
            times=self.times[index],
            columns={name: values[index] for name, values in self.columns.items()},
            group=None if self.group is None else self.group[index],
        )

    def kept(self, keep: np.ndarray) -> Rows:
        """The rows of a mask, and the series that have some."""
        if keep.all():
            return self
        rows = self.at(np.flatnonzero(keep))
        present = np.bincount(rows.series, minlength=len(self.keys)) > 0
        return replace(rows, keys=self.keys[present], series=(np.cumsum(present) - 1)[rows.series])

    def put(self, columns: Mapping[str, np.ndarray]) -> Rows:
        """The rows with these arrays in place of the columns of that name."""
        return replace(self, columns={**self.columns, **columns})

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """First and one past the last row of each series, of sorted rows."""
        count = np.bincount(self.series, minlength=len(self.keys))
        end = np.cumsum(count)
        return end - count, end

    def named(self, series: np.ndarray, details: Details | None = None) -> str:
        """The first five of these series as a user writes them, each with a detail if given."""
        return named(self.schema.series, self.keys, series, details)

    def only(self, series: np.ndarray) -> str:
        """The name of the series concerned when there is one, else ""."""
        return self.named(series[:1]) if len(series) and (series == series[0]).all() else ""


@dataclass(frozen=True, eq=False)
class Grid:
    """Sorted rows and where they lie: an ordinal each."""

    rows: Rows
    frequency: Frequency
    ordinals: np.ndarray

    def kept(self, keep: np.ndarray) -> Grid:
        """The rows of a mask."""
        return self if keep.all() else replace(self, rows=self.rows.kept(keep), ordinals=self.ordinals[keep])


def key_label(columns: Sequence[str], key: Sequence[str]) -> str:
    """A key as a user writes it: `store=001, item=7`."""
    return ", ".join(f"{column}={text}" for column, text in zip(columns, key, strict=True)) or "the series"


def named(columns: Sequence[str], keys: np.ndarray, series: np.ndarray, details: Details | None = None) -> str:
    """The first five of these series (numbers into `keys`) as a user writes them, each with a detail if given.

    details: called with the places in `series` where those five are first found.
    """
    distinct, first = np.unique(series, return_index=True)
    labels = [key_label(columns, keys[i]) for i in distinct[:5]]
    if details is not None:
        labels = [f"{label} {detail}" for label, detail in zip(labels, details(first[:5]), strict=True)]
    return ", ".join(labels) + (f" and {len(distinct) - 5} more" if len(distinct) > 5 else "")


def first_and_last(flags: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether a series has a flagged row, its first and its last one (the series' first row where none)."""
    flagged = np.flatnonzero(flags)
    low, high = np.searchsorted(flagged, begin), np.searchsorted(flagged, end)
    has = high > low
    first, last = begin.copy(), begin.copy()
    first[has], last[has] = flagged[low[has]], flagged[high[has] - 1]
    return has, first, last
