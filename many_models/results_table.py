"""The results table: how each group ended, a row per group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from forecastml.errors import ConfigError
from many_models.exporting import Export
from many_models.protocols import STATES
from many_models.serving import apart, partition_columns, reading
from many_models.store import Store

if TYPE_CHECKING:
    import pandas as pd

#: Rows that are in memory at once.
PIECE = 10_000
_TIME = pa.timestamp("us", "UTC")
#: Columns after those of the key, and the fields of `Versions.results` that they hold.
FIELDS: dict[str, tuple[str, pa.DataType]] = {
    "run": ("run", pa.int64()),
    "version": ("version", pa.int64()),
    "serves": ("champion", pa.bool_()),
    "state": ("state", pa.string()),
    "model_used": ("model", pa.string()),
    "is_fallback": ("is_fallback", pa.bool_()),
    "loss": ("loss", pa.float64()),
    "baseline": ("baseline", pa.float64()),
    "beats_baseline": ("", pa.bool_()),
    "label": ("label", pa.string()),
    "error_type": ("error_type", pa.string()),
    "error_code": ("reason", pa.string()),
    "error": ("error", pa.string()),
    "attempts": ("attempts", pa.int64()),
    "seconds": ("seconds", pa.float64()),
    "started": ("began", _TIME),
    "ended": ("ended", _TIME),
    "rows": ("rows", pa.int64()),
    "series": ("series", pa.int64()),
    "until": ("until", pa.string()),
    "peak": ("peak", pa.int64()),
    "worker": ("worker", pa.string()),
}


def results(
    store: Store | str | Path,
    run: int | None = None,
    states: Sequence[str] = STATES,
    out: str | Path | None = None,
) -> pd.DataFrame | None:
    """How each group ended: in a run, or (None) in its last version; a row per group, in the order of planning.

    states: only groups that ended so; out: a .csv or .parquet file that is written in pieces, for which nothing is
    returned. Columns: those of the partition, then run, version, serves (whether this version answers), state,
    model_used (members by weight), is_fallback, loss and baseline (out of fold, by the task's metric), beats_baseline
    (None where nothing could be judged), label, error_type, error_code ("timeout", "oom", "signal 11", "exception"),
    error, attempts, seconds, started, ended (UTC), rows, series, until (the last period learned from), peak (bytes of
    memory of the worker) and worker. Where a partition column has one of these names, ours gets "_" after it.
    """
    with reading(store) as opened:
        tables = result_tables(opened, run, states)
        if out is None:
            return pa.concat_tables(tables).to_pandas()
        with Export(out) as export:
            for table in tables:
                export.write(table)
    return None


def result_tables(store: Store, run: int | None = None, states: Sequence[str] = STATES) -> Iterator[pa.Table]:
    """The rows of `results` in pieces; a table without rows where there are none."""
    if unknown := [state for state in states if state not in STATES]:
        raise ConfigError(f"state {unknown[0]!r} is unknown; use {', '.join(STATES)}")
    if run is not None:
        store.runs.get(run)
    by = partition_columns(store)
    schema = pa.schema(
        [(name, pa.string()) for name in by] + [(apart(name, by), kind) for name, (_, kind) in FIELDS.items()]
    )
    rows = store.versions.results(run, states)
    piece = list(islice(rows, PIECE))
    while True:
        yield _table(piece, schema)
        piece = list(islice(rows, PIECE))
        if not piece:
            return


def beats(loss: float, baseline: float) -> bool | None:
    """Whether a model is at least as good as its baseline; None where one of them was not judged."""
    return None if loss != loss or baseline != baseline else loss <= baseline


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    keys = list(zip(*(row["key"] for row in rows), strict=True)) or [()] * (len(schema) - len(FIELDS))
    columns: list[Any] = [pa.array(texts, pa.string()) for texts in keys]
    for name, (field, kind) in FIELDS.items():
        if name == "beats_baseline":
            values = [beats(row["loss"], row["baseline"]) for row in rows]
        elif kind == _TIME:
            values = [None if row[field] is None else round(row[field] * 1e6) for row in rows]
        else:
            values = [row[field] for row in rows]
        columns.append(pa.array(values, kind))
    return pa.table(columns, schema=schema)
