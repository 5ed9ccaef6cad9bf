"""`Table`: rows of plain columns, what classification and regression learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from forecastml.data.schema import Schema
from forecastml.errors import ConfigError, DataError


@dataclass(frozen=True)
class RowColumns:
    """target, weight: column names; group: key columns; features: () for every other column; labels: the target is a
    class, not a number."""

    target: str
    features: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    weight: str | None = None
    labels: bool = False

    def schema(self, available: list[str]) -> Schema:
        """The roles with the features made explicit; `DataError` when there is none."""
        schema = Schema(target=self.target, group=self.group, known=self.features, weight=self.weight)
        if not self.features:
            others = tuple(name for name in available if name not in schema.columns)
            schema = replace(schema, known=others)
        if not schema.known:
            raise DataError(f"there is no column beside {', '.join(schema.columns)}; give features to predict from")
        return schema


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers with a target, in an order that follows from their content.

    x: float64 (rows, features), NaN where missing, columns as in `schema.known`; y: float64 (rows,), numbers or
    positions in `classes`, NaN where unknown; group: int64 (rows,); group_keys: object (groups, key columns), all text;
    weight: float64 (rows,) or None; classes: the labels as text, in order, () for numbers; kind: what the labels were
    ("text", "int", "float" or "bool"), "" for numbers.
    """

    x: np.ndarray
    y: np.ndarray
    group: np.ndarray
    group_keys: np.ndarray
    schema: Schema
    weight: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    kind: str = ""
    separable: ClassVar[bool] = False

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.group_keys)

    @property
    def keys(self) -> np.ndarray:
        """The key of each row's group: object (rows, key columns)."""
        return self.group_keys[self.group]

    @property
    def signature(self) -> tuple[Any, ...]:
        """What tables must share to be read and served alike: columns and classes."""
        return self.schema, self.classes, self.kind

    @property
    def size(self) -> int:
        """Number of cells, by which learners state their cost."""
        return self.x.size

    def select(self, index: np.ndarray) -> Table:
        """The rows at `index` (positions or a boolean mask); groups keep their numbers."""
        weight = None if self.weight is None else self.weight[index]
        return replace(self, x=self.x[index], y=self.y[index], group=self.group[index], weight=weight)

    def take(self, groups: np.ndarray) -> Table:
        """The rows of these groups, which become groups 0, 1, ..."""
        groups = np.asarray(groups, dtype=np.int64)
        number = np.full(self.n_groups, -1, np.int64)
        number[groups] = np.arange(len(groups))
        part = self.select(np.flatnonzero(number[self.group] >= 0))
        return replace(part, group=number[part.group], group_keys=self.group_keys[groups])

    @staticmethod
    def stack(tables: Sequence[Table]) -> Table:
        """The rows of several tables in one; groups stay apart."""
        head = tables[0]
        for table in tables[1:]:
            if table.signature != head.signature:
                raise ConfigError("tables to stack differ in columns or classes; read them alike")
        shifts = np.cumsum([0, *(table.n_groups for table in tables[:-1])])
        weights = [np.ones(len(table)) if table.weight is None else table.weight for table in tables]
        return replace(
            head,
            x=np.concatenate([table.x for table in tables]),
            y=np.concatenate([table.y for table in tables]),
            group=np.concatenate([table.group + shift for table, shift in zip(tables, shifts, strict=True)]),
            group_keys=np.concatenate([table.group_keys for table in tables]),
            weight=None if all(table.weight is None for table in tables) else np.concatenate(weights),
        )

    def filled(self) -> Table:
        """The rows whose target is known."""
        return self.select(~np.isnan(self.y))

    def in_order(self) -> Table:
        """The same rows sorted by their content, so that the order in which they came changes nothing."""
        weight = np.zeros(len(self)) if self.weight is None else self.weight
        return self.select(np.lexsort((weight, self.y, *self.x.T[::-1], self.group)))


def table_state(table: Table) -> dict[str, Any]:
    """Columns, classes and group keys of a table as JSON values, without its rows, for `restored_table`."""
    values = {"schema": asdict(table.schema), "group_keys": table.group_keys.tolist(), "labels": table.kind}
    return {**values, "classes": list(table.classes)}


def restored_table(values: Mapping[str, Any]) -> Table:
    """The inverse of `table_state`: a table without rows."""
    schema = Schema(**{name: tuple(v) if isinstance(v, list) else v for name, v in values["schema"].items()})
    keys = np.array(values["group_keys"], dtype=object).reshape(len(values["group_keys"]), len(schema.group))
    nothing, x = np.empty(0), np.empty((0, len(schema.known)))
    classes = tuple(values["classes"])
    return Table(x, nothing, np.empty(0, np.int64), keys, schema, classes=classes, kind=values["labels"])
