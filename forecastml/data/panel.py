"""`Panel`: many series as flat arrays, cut and joined by integer arithmetic alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from forecastml.data.schema import Frequency, Schema
from forecastml.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Panel:
    """Series on one regular grid. All methods return views: no value is copied unless the name says so.

    Series i holds `target[begin[i]:end[i]]`; its first value lies at grid ordinal `start[i]`, a missing value is NaN.
    Flat arrays have one row per value (`target`, `weight`, `past`); `known` has offsets of its own: row
    `known_begin[i]` also lies at `start[i]`, and `known_end[i] - known_begin[i]` may exceed the length, because known
    covariates reach past the origin. Categorical covariates are codes into `categories[column]`, -1 for unseen.

    target: float64 (values,); begin, end, start, known_begin, known_end, group: int64 (series,);
    keys: object (series, key columns), all text; weight: float64 (values,) or None;
    known: float64 (known rows, known columns); past: float64 (values, past columns);
    static: float64 (series, static columns); newest: ordinal of the newest value of the whole that this is read as a
    part of, None where this is the whole.
    """

    target: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    start: np.ndarray
    frequency: Frequency
    keys: np.ndarray
    group: np.ndarray
    schema: Schema
    known: np.ndarray
    known_begin: np.ndarray
    known_end: np.ndarray
    past: np.ndarray
    static: np.ndarray
    weight: np.ndarray | None = None
    tz: str | None = None
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    newest: int | None = None
    separable: ClassVar[bool] = True

    @classmethod
    def of(
        cls, values: Sequence[Sequence[float]], frequency: Frequency | None = None, start: Sequence[int] | None = None
    ) -> Panel:
        """A panel of bare series: each its own group, keys "0", "1", ..., no covariates.

        >>> Panel.of([[1.0, 2.0, 3.0], [5.0, 6.0]]).lengths
        array([3, 2])
        """
        lengths = np.array([len(v) for v in values], dtype=np.int64)
        n, end = len(lengths), np.cumsum(lengths, dtype=np.int64)
        return cls(
            target=np.concatenate([np.asarray(v, dtype=np.float64) for v in values]) if n else np.empty(0),
            begin=end - lengths,
            end=end,
            start=np.zeros(n, np.int64) if start is None else np.asarray(start, dtype=np.int64),
            frequency=frequency or Frequency("integer"),
            keys=np.array([[str(i)] for i in range(n)], dtype=object).reshape(n, 1),
            group=np.arange(n, dtype=np.int64),
            schema=Schema(target="y", time="ds", series=("unique_id",)),
            known=np.empty((0, 0)),
            known_begin=np.zeros(n, np.int64),
            known_end=np.zeros(n, np.int64),
            past=np.empty((int(lengths.sum()), 0)),
            static=np.empty((n, 0)),
        )

    def __len__(self) -> int:
        """Number of series."""
        return len(self.begin)

    @property
    def lengths(self) -> np.ndarray:
        """Number of values of each series, NaN included: int64 (series,)."""
        return self.end - self.begin

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.group.max()) + 1 if len(self) else 0

    @property
    def group_columns(self) -> tuple[str, ...]:
        """Key columns that tell groups apart: those of the series where groups have none."""
        return tuple(name for name in self.schema.group if name in self.schema.series) or self.schema.series

    @property
    def group_keys(self) -> np.ndarray:
        """Keys of the groups: object (groups, group columns)."""
        _, first = np.unique(self.group, return_index=True)
        return self.keys[first][:, [self.schema.series.index(column) for column in self.group_columns]]

    @property
    def signature(self) -> tuple[Any, ...]:
        """What panels must share to be read and served alike: columns, frequency, time zone, categories."""
        return self.schema, self.frequency, self.tz, tuple(sorted(self.categories.items()))

    @property
    def size(self) -> int:
        """Number of values of all series, by which learners state their cost."""
        return int(self.lengths.sum())

    @property
    def last_ordinal(self) -> np.ndarray:
        """Grid ordinal of the last value of each series: int64 (series,)."""
        return self.start + (self.lengths - 1) * self.frequency.step

    def values(self, i: int) -> np.ndarray:
        """The target of series i: float64 (length,)."""
        return self.target[self.begin[i] : self.end[i]]

    def label(self, i: int) -> str:
        """The key of series i as a user writes it, for messages: `store=001, item=7`."""
        return ", ".join(f"{c}={k}" for c, k in zip(self.schema.series, self.keys[i], strict=False)) or "the series"

    def filled(self) -> Panel:
        """A copy whose missing values lie on the straight line between their neighbours."""
        target = self.target.copy()
        missing = np.isnan(target)
        before = np.concatenate([[0], np.cumsum(missing)])
        for i in np.flatnonzero(before[self.end] > before[self.begin]):
            rows = np.arange(self.begin[i], self.end[i])
            gaps = missing[rows]
            if gaps.any() and not gaps.all():
                target[rows[gaps]] = np.interp(rows[gaps], rows[~gaps], target[rows[~gaps]])
        return replace(self, target=target)

    def before(self, lengths: np.ndarray) -> Panel:
        """The first `lengths[i]` values of each series; known covariates stay, for they are known."""
        return replace(self, end=self.begin + np.clip(lengths, 0, self.lengths))

    def last(self, n: int) -> Panel:
        """The last n values of each series (all of it, if shorter)."""
        skip = np.maximum(self.lengths - n, 0)
        return replace(
            self,
            begin=self.begin + skip,
            start=self.start + skip * self.frequency.step,
            known_begin=np.minimum(self.known_begin + skip, self.known_end),
        )

    def select(self, index: np.ndarray) -> Panel:
        """The series at `index` (positions or a boolean mask), groups renumbered in order of appearance."""
        index = np.asarray(index)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        group = self.group[index]
        _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first, kind="stable")] = np.arange(len(first))
        return replace(
            self,
            begin=self.begin[index],
            end=self.end[index],
            start=self.start[index],
            keys=self.keys[index],
            group=rank[inverse].astype(np.int64),
            known_begin=self.known_begin[index],
            known_end=self.known_end[index],
            static=self.static[index],
        )

    def take(self, groups: np.ndarray) -> Panel:
        """The series of these groups, in the order of `groups`; they become groups 0, 1, ..."""
        order = np.argsort(self.group, kind="stable")
        first = np.searchsorted(self.group[order], np.arange(self.n_groups + 1))
        return self.select(np.concatenate([order[first[g] : first[g + 1]] for g in groups] or [order[:0]]))

    @staticmethod
    def stack(panels: Sequence[Panel]) -> Panel:
        """The series of several panels in one; groups stay apart. Copies the flat arrays."""
        head = panels[0]
        for panel in panels[1:]:
            if (panel.schema, panel.frequency, panel.tz) != (head.schema, head.frequency, head.tz):
                raise ConfigError("panels to stack differ in schema, frequency or time zone; read them alike")
        tight = [panel.compact() for panel in panels]

        def offsets(name: str, sizes: list[int]) -> np.ndarray:
            shifts = np.cumsum([0, *sizes[:-1]])
            return np.concatenate([getattr(p, name) + s for p, s in zip(tight, shifts, strict=True)])

        rows, known_rows = [len(p.target) for p in tight], [len(p.known) for p in tight]
        weights = [np.ones(len(p.target)) if p.weight is None else p.weight for p in tight]
        return replace(
            head,
            target=np.concatenate([p.target for p in tight]),
            begin=offsets("begin", rows),
            end=offsets("end", rows),
            start=np.concatenate([p.start for p in tight]),
            keys=np.concatenate([p.keys for p in tight]),
            group=offsets("group", [p.n_groups for p in tight]),
            known=np.concatenate([p.known for p in tight]),
            known_begin=offsets("known_begin", known_rows),
            known_end=offsets("known_end", known_rows),
            past=np.concatenate([p.past for p in tight]),
            static=np.concatenate([p.static for p in tight]),
            weight=None if all(p.weight is None for p in tight) else np.concatenate(weights),
        )

    def compact(self) -> Panel:
        """A copy whose flat arrays hold the rows of these series alone, in order."""
        rows = ragged_rows(self.begin, self.end)
        known_rows = ragged_rows(self.known_begin, self.known_end)
        end, known_end = np.cumsum(self.lengths), np.cumsum(self.known_end - self.known_begin)
        return replace(
            self,
            target=self.target[rows],
            begin=end - self.lengths,
            end=end,
            known=self.known[known_rows],
            known_begin=known_end - (self.known_end - self.known_begin),
            known_end=known_end,
            past=self.past[rows],
            weight=None if self.weight is None else self.weight[rows],
        )


def ragged_rows(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Row numbers begin[0]..end[0]-1, begin[1]..end[1]-1, ... as one int64 array."""
    lengths = end - begin
    total = int(lengths.sum())
    shift = np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
    return np.arange(total, dtype=np.int64) + shift


def extent(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest known value of each series, NaN where there is none: two float64 (series,)."""
    low, high = np.full(len(panel), np.nan), np.full(len(panel), np.nan)
    there = np.flatnonzero(panel.lengths)
    if len(there):
        # reduceat reads begin[0]:end[0], end[0]:begin[1], ...: every other result is a series.
        bounds = np.stack([panel.begin[there], panel.end[there]], axis=1).ravel()
        buffer = np.append(panel.target, np.nan)
        low[there], high[there] = np.fmin.reduceat(buffer, bounds)[::2], np.fmax.reduceat(buffer, bounds)[::2]
    return low, high


#: The arrays of a panel that are always there.
_ARRAYS = ("target", "begin", "end", "start", "group", "known", "known_begin", "known_end", "past", "static")


def panel_state(panel: Panel) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A panel as arrays (named "panel.target", ...) and JSON values, for `restored_panel`."""
    arrays = {f"panel.{name}": getattr(panel, name) for name in _ARRAYS}
    if panel.weight is not None:
        arrays["panel.weight"] = panel.weight
    return arrays, {
        "schema": asdict(panel.schema),
        "frequency": asdict(panel.frequency),
        "tz": panel.tz,
        "keys": panel.keys.tolist(),
        "categories": {column: list(values) for column, values in panel.categories.items()},
        "newest": panel.newest,
    }


def restored_panel(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Panel:
    """The inverse of `panel_state`."""
    schema = {name: tuple(v) if isinstance(v, list) else v for name, v in values["schema"].items()}
    return Panel(
        **{name: arrays[f"panel.{name}"] for name in _ARRAYS},
        frequency=Frequency(**values["frequency"]),
        keys=np.array(values["keys"], dtype=object).reshape(
            len(values["keys"]), -1 if values["keys"] else len(schema["series"])
        ),
        schema=Schema(**schema),
        weight=arrays.get("panel.weight"),
        tz=values["tz"],
        categories={column: tuple(v) for column, v in values["categories"].items()},
        newest=values.get("newest"),
    )
