"""What the models of a shard answer: forecasts that were kept, or made now, and what became of each group."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forecastml.errors import ConfigError, CorruptModelError, DataError, ForecastWarning
from forecastml.task import checked_levels
from many_models.columns import distinct_keys
from many_models.errors import CorruptStoreError
from many_models.group_rows import GroupRows
from many_models.protocols import FALLBACK, File
from many_models.serving import apart, older
from many_models.shard import Shard
from many_models.store import Store
from many_models.versions import Champion

#: Columns that `Wish.labels` adds, by the version that serves; with "_" after it where a column has the name already.
MODEL, IS_FALLBACK = "model_used", "is_fallback"


@dataclass(frozen=True)
class Wish:
    """What is asked of each model. horizon, quantiles: None for those it was trained for; future, context: tables or
    paths, as for `Forecaster.forecast`; labels: with the columns `MODEL` and `IS_FALLBACK`."""

    horizon: int | None = None
    quantiles: Sequence[float] | None = None
    future: Any = None
    context: Any = None
    labels: bool = False

    def __post_init__(self) -> None:
        if self.horizon is not None and (not isinstance(self.horizon, int) or self.horizon < 1):
            raise ConfigError(f"horizon is {self.horizon!r}; give a whole number of 1 or more")
        if self.quantiles is not None:
            object.__setattr__(self, "quantiles", checked_levels(self.quantiles))

    @property
    def kept(self) -> bool:
        """Whether the forecasts that were made with the models will do."""
        return all(part is None for part in (self.horizon, self.quantiles, self.future, self.context))


@dataclass(frozen=True)
class Part:
    """Forecasts of some groups. tables: their rows; served: how many groups; lacking: key -> why it has none;
    restored: how many are served by an older version; notes: what there is to tell; failure: the first error of a group
    that was asked."""

    tables: tuple[pa.Table, ...] = ()
    served: int = 0
    lacking: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    restored: int = 0
    notes: tuple[str, ...] = ()
    failure: DataError | None = None

    def __add__(self, other: Part) -> Part:
        notes = tuple(dict.fromkeys(self.notes + other.notes))
        return Part(
            self.tables + other.tables,
            self.served + other.served,
            {**self.lacking, **other.lacking},
            self.restored + other.restored,
            notes,
            self.failure or other.failure,
        )


@dataclass(frozen=True, eq=False)
class Answers:
    """Asks the models of a store. by: partition columns; horizon: that was trained; future, context: rows by group."""

    store: Store
    wish: Wish
    by: tuple[str, ...]
    horizon: int
    future: GroupRows | None = None
    context: GroupRows | None = None

    def part(self, champions: Sequence[Champion]) -> Part:
        """Forecasts of groups whose versions are in one shard."""
        kept, rest = self._kept(champions) if self.wish.kept else ([], champions)
        part = Part(tuple(kept), len(champions) - len(rest))
        return part + self._made(rest) if rest else part

    def _kept(self, champions: Sequence[Champion]) -> tuple[list[pa.Table], list[Champion]]:
        """Forecasts that were written with the models, and the versions that have none."""
        tables: list[pa.Table] = []
        rest = [champion for champion in champions if champion.forecast is None]
        files = dict.fromkeys(champion.forecast for champion in champions if champion.forecast is not None)
        for file in files:
            asked = {champion.digest: champion for champion in champions if champion.forecast == file}
            try:
                table, found = self._read(file, asked)
            except CorruptStoreError:
                # The models can make them again.
                table, found = None, set()
            if table is not None and table.num_rows:
                tables.append(table)
            rest += [champion for digest, champion in asked.items() if digest not in found]
        return tables, rest

    def _read(self, file: File, asked: Mapping[str, Champion]) -> tuple[pa.Table, set[str]]:
        """The rows of these digests in a forecast part, and the digests that have some."""
        table = pq.read_table(pa.BufferReader(self.store.read(file)), use_threads=False).replace_schema_metadata(None)
        # Told by its place, since a column of the user may have the name.
        groups = table.column(0).unify_dictionaries().combine_chunks()
        digests, code = groups.dictionary.to_pylist(), groups.indices.to_numpy()
        wanted = np.array([digest in asked for digest in digests], dtype=bool)
        table = table.remove_column(0)
        if not wanted.all():
            rows = wanted[code]
            table, code = table.filter(pa.array(rows)), code[rows]
        found = {digest for digest in digests if digest in asked}
        return self._labelled(table, [asked.get(digest) for digest in digests], code), found

    def _made(self, champions: Sequence[Champion]) -> Part:
        """Forecasts by the models themselves."""
        champions = sorted(champions, key=lambda champion: champion.place)
        shard = champions[0].shard
        part, first = Part(), 0
        try:
            models = Shard.unpack(self.store.read(shard), shard.name)
            for model in models.models([champion.place for champion in champions]):
                count = len(model.weights)
                part += self._answered(model, champions[first : first + count])
                first += count
        except (CorruptStoreError, CorruptModelError):
            return self._restored(champions)
        return part

    def _restored(self, champions: Sequence[Champion]) -> Part:
        """Forecasts by the versions before these, which are damaged."""
        before = [(champion, older(self.store, champion)) for champion in champions]
        why = "its model is damaged and there is no older one: `many-models fsck --repair`"
        part = Part(lacking={champion.key: why for champion, found in before if found is None})
        found = sorted((found for _, found in before if found is not None), key=lambda version: version.shard.name)
        for _, versions in groupby(found, key=lambda version: version.shard.name):
            answer = self.part(list(versions))
            part += replace(answer, restored=answer.served)
        return part

    def _answered(self, model: Any, champions: Sequence[Champion]) -> Part:
        """What a model answers for its groups; where it refuses, halving finds the groups that are to blame."""
        part, waiting = Part(), [(model, champions)]
        while waiting:
            model, some = waiting.pop()
            try:
                part += self._answer(model, some)
            except DataError as error:
                if len(some) == 1:
                    part += Part(lacking={some[0].key: str(error)}, failure=error)
                    continue
                middle = len(some) // 2
                for half in (range(middle, len(some)), range(middle)):
                    waiting.append((model.take(list(half)), [some[k] for k in half]))
        return part

    def _answer(self, model: Any, champions: Sequence[Champion]) -> Part:
        keys = [champion.key for champion in champions]
        future, context = (rows.of(keys) if rows else None for rows in (self.future, self.context))
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", ForecastWarning)
            # The horizon is told, so that what a group gets does not depend on how far its neighbours' rows reach.
            frame = model.forecast(future, context, self.wish.horizon or self.horizon, self.wish.quantiles)
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        if self.wish.labels:
            code, found = distinct_keys([table.column(name) for name in self.by])
            by_key = {champion.key: champion for champion in champions}
            table = self._labelled(table, [by_key[key] for key in found], code)
        texts = (str(note.message) for note in notes if issubclass(note.category, ForecastWarning))
        return Part((table,), len(champions), notes=tuple(dict.fromkeys(texts)))

    def _labelled(self, table: pa.Table, champions: Sequence[Champion | None], code: np.ndarray) -> pa.Table:
        """The table with how each row's group is served, if that is wished. code: of each row's champion."""
        if not self.wish.labels:
            return table
        models = pa.array(["" if champion is None else champion.model for champion in champions], pa.large_string())
        fallback = np.array([champion is not None and champion.state == FALLBACK for champion in champions], dtype=bool)
        columns = {MODEL: models.take(pa.array(code)), IS_FALLBACK: pa.array(fallback[code])}
        for name, column in columns.items():
            table = table.append_column(apart(name, table.column_names), column)
        return table
