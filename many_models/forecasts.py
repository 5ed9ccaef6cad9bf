"""Forecasts of all or some groups of a store: those that were kept where nothing else is asked, else from the models.

Work goes shard by shard, so that memory holds the groups of one; a damaged shard costs its groups alone, and those are
served by their version before, where that is whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from forecastml.errors import ConfigError, ForecastWarning
from many_models.answers import Answers, Part, Wish
from many_models.errors import RunFailed
from many_models.exporting import Export, checked_path, fitting
from many_models.group_rows import group_rows
from many_models.serving import Key, named, partition_columns, reading, unserved
from many_models.settings import Request
from many_models.store import Store

if TYPE_CHECKING:
    import pandas as pd

#: Groups that a warning names; twice as many notes.
NAMED = 5


@dataclass(frozen=True)
class Told:
    """What became of all groups. lacking: groups without a forecast; restored: those served by an older version, since
    the newer is damaged; rows: of forecasts; texts: what there is to tell of them and of the forecasts."""

    served: int = 0
    lacking: int = 0
    restored: int = 0
    rows: int = 0
    named: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def after(self, part: Part) -> Told:
        """With one part more; of many groups and notes only the first are kept."""
        few = [f"{' / '.join(key)} ({why})" for key, why in list(part.lacking.items())[:NAMED]]
        return Told(
            self.served + part.served,
            self.lacking + len(part.lacking),
            self.restored + part.restored,
            self.rows + sum(table.num_rows for table in part.tables),
            (*self.named, *few)[:NAMED],
            tuple(dict.fromkeys(self.notes + part.notes))[: 2 * NAMED],
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """Sentences for the user."""
        texts = list(self.notes)
        if self.lacking:
            more = f" and {self.lacking - len(self.named):,} more" if self.lacking > len(self.named) else ""
            count = f"{self.lacking:,} of {self.lacking + self.served:,} groups"
            texts.append(f"{count} have no forecast: {'; '.join(self.named)}{more}; see `many-models results`")
        if self.restored:
            texts.append(
                f"{self.restored:,} groups are served by an older version, since their newest is damaged: "
                "`many-models fsck --repair`"
            )
        return tuple(texts)


def forecast(
    store: Store | str | Path,
    groups: Key | Sequence[Key] | None = None,
    horizon: int | None = None,
    quantiles: Sequence[float] | None = None,
    future: Any = None,
    context: Any = None,
    out: str | Path | None = None,
    labels: bool = False,
) -> pd.DataFrame | None:
    """Forecast every group of a store, or some, by the versions that serve.

    groups: a key or several, None for all (a key is text, a tuple of texts for several partition columns); horizon,
    quantiles: None for those trained; future: table or path with known covariates; context: rows newer than those of
    training, which move the origins; out: a .csv or .parquet file that is written in pieces, for which nothing is
    returned and memory holds the groups of a shard alone; labels: add the columns model_used and is_fallback.
    Columns: those of the series, the time, "mean", one per level. Groups that cannot be forecast are left out and
    named in a `ForecastWarning`. Raises `ConfigError` for an unknown group, `DataError` (`FutureError`) when nothing
    can be forecast with these tables, `StoreError` when no group has a model.
    """
    wish = Wish(horizon, quantiles, future, context, labels)
    with reading(store) as opened:
        if out is not None:
            told = write_forecasts(opened, out, groups, wish)
            frame = None
        else:
            tables, told = [], Told()
            for part in parts(opened, groups, wish):
                tables += part.tables
                told = told.after(part)
            frame = _joined(opened, tables, told).to_pandas()
    for text in told.texts:
        warnings.warn(text, ForecastWarning, stacklevel=2)
    return frame


def write_forecasts(store: Store, out: str | Path, groups: Key | Sequence[Key] | None, wish: Wish) -> Told:
    """`forecast` into a file, piece by piece; returns what became of the groups."""
    told = Told()
    with Export(checked_path(out)) as export:
        for part in parts(store, groups, wish):
            for table in part.tables:
                export.write(table)
            told = told.after(part)
        if not told.rows:
            raise _nothing(store, told)
    return told


def parts(store: Store, groups: Key | Sequence[Key] | None, wish: Wish) -> Iterator[Part]:
    """Forecasts of these groups, shard by shard; groups that nothing serves come first."""
    request = _request(store)
    task = request.task
    digests = None if groups is None else named(store, groups)
    if wish.horizon == task.horizon:
        wish = replace(wish, horizon=None)
    if wish.quantiles == task.quantiles:
        wish = replace(wish, quantiles=None)
    for key, why in unserved(store, digests):
        yield Part(lacking={key: why})
    with ExitStack() as stack:
        future, context = (
            stack.enter_context(group_rows(what, source, request.by, request.keys))
            for what, source in (("future", wish.future), ("context", wish.context))
        )
        answers = Answers(store, wish, request.by, task.horizon, future, context)
        served = 0
        for _, champions in groupby(store.versions.champions(digests), key=lambda champion: champion.shard.name):
            part = answers.part(list(champions))
            served += part.served
            if part.failure is not None and not served:
                # Not one group of a shard: it is the wish that cannot be fulfilled.
                raise part.failure
            yield part
        if digests is None:
            strangers = {rows.what: rows.strangers() for rows in (future, context) if rows is not None}
            text = "{} has rows of {:,} groups that have no model here; they are left out"
            yield Part(notes=tuple(text.format(what, count) for what, count in strangers.items() if count))


def _request(store: Store) -> Request:
    """The request of the last run; `ConfigError` for models of rows."""
    partition_columns(store)
    request = Request.from_json(store.runs.last().job)
    if not hasattr(request.task, "horizon"):
        raise ConfigError(f"store {store.root} holds models of rows, not of series: they predict, they do not forecast")
    return request


def _joined(store: Store, tables: Sequence[pa.Table], told: Told) -> pa.Table:
    if not tables:
        raise _nothing(store, told)
    return pa.concat_tables([fitting(table, tables[0].schema) for table in tables])


def _nothing(store: Store, told: Told) -> RunFailed:
    texts = "; ".join(told.texts) or "it has no groups yet"
    return RunFailed(f"store {store.root}: nothing can be forecast: {texts}")
