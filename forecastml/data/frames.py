"""The edge where tables come in and go out: pandas, polars, Arrow, CSV and Parquet. No data frame goes further."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecastml.data.calendar import to_times
from forecastml.data.checks import Finding
from forecastml.data.columns import Label, category_codes, distinct_keys, flat, is_text, key_codes, numbers
from forecastml.data.grid import Rows, key_label, place
from forecastml.data.panel import Panel
from forecastml.data.schema import Schema
from forecastml.data.wall_clock import shown
from forecastml.data.zones import from_naive, reading, to_utc
from forecastml.errors import ConfigError, DataError, FutureError

if TYPE_CHECKING:
    import pandas as pd

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
#: Spellings of dates beside ISO 8601; one must fit all rows and no other may read them differently.
_DATE_FORMATS = tuple(
    day + clock
    for day in ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y")
    for clock in ("", " %H:%M", " %H:%M:%S")
)
_ZONED = re.compile(r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)$")


def read_panel(
    source: Any,
    schema: Schema,
    like: Panel | None = None,
    freq: str | int | None = None,
    timezone: str | None = None,
) -> tuple[Panel, tuple[Finding, ...]]:
    """Read a long table into a `Panel` and say what was mended or looks wrong; the source is left as it is.

    source: pandas, polars or Arrow table, or the path of a CSV file, a Parquet file or a (hive-partitioned) folder of
    Parquet files; freq: pandas alias or integer step, None to infer it. like: the panel that these rows continue or
    look ahead of; its frequency, time zone and categories apply, and target, past, static, weight and group columns may
    be absent. timezone: zone whose local time the data are modelled in (with `like`, its own), and that times without a
    zone are in; "UTC>Europe/Paris" says that those are in UTC. Keys are text ("001" is not 1). Rows may come in any
    order. Rows after the last known target reach past `end` as known covariates. Raises `DataError` (`FrequencyError`,
    with `like` `FutureError`) naming series, column and remedy, and `ConfigError` for column names that cannot be used.
    """
    _check_names(schema)
    table = _load(source, schema, like)
    codes = {name: key_codes(name, table[name]) for name in (*schema.series, *schema.group) if name in table}
    series, keys = distinct_keys([codes[name] for name in schema.series], len(table[schema.time]))
    grouped = schema.group and all(name in codes for name in schema.group)
    group = distinct_keys([codes[name] for name in schema.group], len(series))[0] if grouped else None

    def label(row: int) -> str:
        return key_label(schema.series, keys[series[row]])

    times, tz, findings = _times(schema.time, table[schema.time], label, freq)
    if timezone is not None:
        naive, modelled = reading(timezone)
        if times.dtype.kind != "M":
            raise ConfigError(
                f"time column {schema.time!r} holds whole numbers, which have no zone: leave timezone out"
            )
        times = times if tz is not None else from_naive(times, series, naive, schema.time, label)
        tz, findings = modelled, ()
    columns, categories = _values(table, schema, like, label)
    panel, found = place(Rows(schema, keys, series, times, columns, group, tz, categories), like, freq)
    return panel, (*findings, *found)


def forecast_frame(
    panel: Panel, ordinals: np.ndarray, values: np.ndarray, outputs: Sequence[str], horizon: int | None = None
) -> pd.DataFrame:
    """Forecasts as a table: series columns (text), the time column (in the panel's zone), one column per output.

    ordinals: int64 (rows,), series-major, equally many per series; values: float64 (rows, outputs); horizon: rows
    shown of each series (None: all). On the wall clock an hour that the clocks skip is not shown, one that they repeat
    is shown twice.
    """
    import pandas as pd

    steps = len(ordinals) // max(len(panel), 1)
    rows = np.arange(len(ordinals))
    rows = rows if horizon is None else rows[rows % max(steps, 1) < horizon]
    times = to_times(ordinals[rows], panel.frequency)
    if panel.tz is not None and times.dtype.kind == "M":
        if panel.frequency.unit == "wall_clock":
            rows, times = shown(ordinals, steps, panel.tz, horizon)
        elif panel.frequency.unit != "microsecond":
            times = to_utc(times, panel.tz)
        times = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(panel.tz)
    keys = panel.keys[rows // max(steps, 1)]
    columns: dict[str, Any] = {name: keys[:, j] for j, name in enumerate(panel.schema.series)}
    columns[panel.schema.time] = times
    return to_frame(columns | {name: values[rows, j] for j, name in enumerate(outputs)})


def to_frame(columns: dict[str, Any]) -> pd.DataFrame:
    """A table of these columns, in order."""
    import pandas as pd

    return pd.DataFrame(columns)


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV or Parquet, by the suffix of `path`; a reader never sees half a file."""
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{path} must end in .csv or .parquet")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist")
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            (frame.to_csv if path.suffix == ".csv" else frame.to_parquet)(file, index=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _check_names(schema: Schema) -> None:
    if schema.time is None:
        raise ConfigError("a table of series needs a time column: give time")
    for name in (*schema.series, schema.time):
        if name == "mean" or re.fullmatch(r"0?\.\d+", name):
            raise ConfigError(f"column {name!r} is named like a column of the forecast; rename it")


def _load(source: Any, schema: Schema, like: Panel | None) -> dict[str, pa.Array]:
    """The columns that have a role, one array each; with `like` some may be absent."""
    error = DataError if like is None else FutureError
    required = schema.columns if like is None else (*schema.series, schema.time, *schema.known)
    names, read = _open(source, {*schema.series, *schema.group})
    missing = [name for name in required if name not in names]
    if missing:
        raise error(_missing_message(missing, names, source))
    repeated = [name for name in schema.columns if names.count(name) > 1]
    if repeated:
        raise DataError(f"the table has several columns named {repeated[0]!r}; rename all but one")
    try:
        table = read([name for name in schema.columns if name in names])
    except (pa.ArrowException, UnicodeDecodeError) as failure:
        raise DataError(f"the table cannot be read: {failure}") from failure
    if len(table[schema.time]) == 0:
        raise error("the table has no rows")
    return table


def _values(
    table: dict[str, pa.Array], schema: Schema, like: Panel | None, label: Label
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Target, covariates and weight as float64 (rows,), and the categories of those that are codes."""
    rows = len(table[schema.time])
    columns: dict[str, np.ndarray] = {}
    categories = {} if like is None else dict(like.categories)
    covariates = (*schema.known, *schema.past, *schema.static)
    for name in (schema.target, *covariates, *((schema.weight,) if schema.weight in table else ())):
        if name not in table:
            columns[name] = np.full(rows, -1.0 if name in categories else np.nan)
        elif name in categories or (like is None and name in covariates and is_text(table[name])):
            columns[name], categories[name] = category_codes(table[name], categories.get(name))
        else:
            columns[name] = numbers(name, table[name], label)
    return columns, categories


def _missing_message(missing: list[str], names: list[str], source: Any) -> str:
    message = f"{', '.join(map(repr, missing))} not found; the table has the columns {', '.join(map(repr, names))}"
    close = difflib.get_close_matches(missing[0], names, n=1)
    if close:
        message += f"; did you mean {close[0]!r}?"
    if missing[0] in (getattr(getattr(source, "index", None), "names", None) or ()):
        message += f"; {missing[0]!r} is in the index: call reset_index() first"
    return message


Reader = Callable[[list[str]], dict[str, pa.Array]]


def _open(source: Any, keys: set[str]) -> tuple[list[str], Reader]:
    """Column names of a source, and a function that reads some of them."""
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source), keys)
    import narwhals as nw

    try:
        frame = nw.from_native(source)
        columns = {str(name): name for name in frame.collect_schema().names()}
    except (TypeError, nw.exceptions.NarwhalsError) as failure:
        raise DataError(
            f"cannot read a table from {type(source).__name__}: {failure}; give a pandas, polars or Arrow table "
            "with distinct column names, or a path"
        ) from failure

    def read(names: list[str]) -> dict[str, pa.Array]:
        eager = frame
        if isinstance(frame, nw.LazyFrame):
            eager = frame.select(nw.col(*(columns[name] for name in names))).collect("pyarrow")
        return {name: _arrow(eager.get_column(columns[name])) for name in names}

    return list(columns), read


def _arrow(column: Any) -> pa.Array:
    try:
        return flat(column.to_arrow())
    except pa.ArrowException:
        # Objects of several types have no Arrow type: as text they are keys, or the bad value that a message names.
        texts = (str(value) for value in column.to_list())
        return pa.array([None if text in ("None", "nan", "<NA>", "NaT") else text for text in texts], pa.string())


def _open_path(path: Path, keys: set[str]) -> tuple[list[str], Reader]:
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    if path.is_dir() or path.suffix.lower() in PARQUET_SUFFIXES:
        return _open_parquet(path, keys)
    if path.suffix.lower() in CSV_SUFFIXES:
        return _open_csv(path, keys)
    raise DataError(f"{path} is neither CSV nor Parquet; give one of {', '.join(CSV_SUFFIXES + PARQUET_SUFFIXES)}")


def _open_csv(path: Path, keys: set[str]) -> tuple[list[str], Reader]:
    import csv

    from pyarrow import csv as arrow_csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
    except UnicodeDecodeError as failure:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8") from failure
    delimiter = max(",;\t", key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])

    def parsed(wanted: list[str], texts: set[str]) -> pa.Table:
        return arrow_csv.read_csv(
            path,
            # One block, so that the type of a column is inferred from all of its rows.
            read_options=arrow_csv.ReadOptions(block_size=min(max(path.stat().st_size, 1 << 20), 1 << 30)),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=wanted, column_types={name: pa.string() for name in texts}
            ),
        )

    def read(wanted: list[str]) -> dict[str, pa.Array]:
        table = parsed(wanted, keys)
        # Times with an offset are brought to UTC, which offsets they had is lost: they are needed as text.
        for field in table.schema:
            if getattr(field.type, "tz", None):
                column = parsed([field.name], {field.name}).column(0)
                table = table.set_column(table.schema.get_field_index(field.name), field.name, column)
        columns = {name: flat(table.column(name)) for name in wanted}
        empty = pa.scalar(None, pa.string())
        return {
            name: pc.if_else(pc.equal(column, ""), empty, column) if is_text(column) else column
            for name, column in columns.items()
        }

    return names, read


def _open_parquet(path: Path, keys: set[str]) -> tuple[list[str], Reader]:
    import pyarrow.dataset as ds

    try:
        dataset = ds.dataset(path, format="parquet", partitioning="hive")
        files = [fragment.physical_schema for fragment in dataset.get_fragments()]
        if not files:
            raise DataError(f"{path} holds no Parquet file")
        fields = {field.name: field for field in pa.unify_schemas(files, promote_options="permissive")}
        levels = dataset.partitioning.schema if path.is_dir() else ()
        levels = pa.schema([pa.field(f.name, pa.string()) if f.name in keys else f for f in levels])
        fields |= {level.name: level for level in levels}
        dataset = ds.dataset(
            path, pa.schema(fields.values()), format="parquet", partitioning=ds.partitioning(levels, flavor="hive")
        )
    except (pa.ArrowException, OSError) as failure:
        raise DataError(f"{path} cannot be read as Parquet: {failure}") from failure

    def read(wanted: list[str]) -> dict[str, pa.Array]:
        table = dataset.to_table(columns=wanted)
        return {name: flat(table.column(name)) for name in wanted}

    return list(fields), read


def _times(
    name: str, array: pa.Array, label: Label, freq: str | int | None
) -> tuple[np.ndarray, str | None, tuple[Finding, ...]]:
    """The time column as datetime64[us] (UTC when it has a zone) with its zone, or as int64; and what looks wrong."""
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    if array.null_count:
        row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(
            f"time column {name!r} is empty in {array.null_count} rows, first row {row} ({label(row)}); "
            "give every row a time or remove them"
        )
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        micro = array.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        return micro.to_numpy().view("datetime64[us]"), getattr(kind, "tz", None), ()
    if is_text(array):
        return _parsed_times(name, array, label)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        given = array.to_numpy()
        if (np.trunc(given) != given).any():
            raise DataError(f"time column {name!r} holds fractions; give dates or whole numbers")
        whole = given.astype(np.int64)
        month, day = whole // 100 % 100, whole % 100
        dates = (whole > 19_000_000) & (whole < 22_000_000) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
        if freq is None and dates.all():
            raise DataError(f"time column {name!r} holds dates as numbers ({whole[0]}); convert it to dates")
        return whole, None, ()
    raise DataError(f"time column {name!r} is of type {kind}; give timestamps, dates, ISO text or integers")


def _parsed_times(name: str, array: pa.Array, label: Label) -> tuple[np.ndarray, str | None, tuple[Finding, ...]]:
    import pandas as pd

    encoded = array.dictionary_encode()
    texts, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    zoned = [bool(_ZONED.search(text)) for text in texts]
    readings = [pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)]
    if readings[0].hasnans:
        readings += [pd.to_datetime(texts, format=spelling, errors="coerce", utc=True) for spelling in _DATE_FORMATS]
    full = [reading for reading in readings if not reading.hasnans]
    best = min(readings, key=lambda reading: reading.isna().sum())
    if not full or any(zoned) != all(zoned):
        wrong = best.isna() if not full else np.array(zoned) != zoned[codes[0]]
        row = int(np.flatnonzero(wrong[codes])[0])
        raise DataError(
            f"time column {name!r}: cannot read {texts[codes[row]]!r} (row {row}, {label(row)}) as the others; "
            "write dates as 2024-01-31, all with or all without time zone"
        )
    if any((reading != full[0]).any() for reading in full):
        raise DataError(
            f"time column {name!r}: {texts[codes[0]]!r} may be day/month or month/day; write dates as 2024-01-31"
        )
    times = full[0].tz_localize(None).to_numpy("datetime64[us]")
    if not all(zoned):
        return times[codes], None, ()
    written = np.unique([_ZONED.search(text)[2].replace("Z", "+00:00") for text in texts])
    message = f"time column {name!r} is written with several offsets from UTC ({', '.join(written)}), taken as UTC"
    remedy = "name the zone, for example timezone='Europe/Paris', so that days and hours are those of its clocks"
    mixed = Finding("mixed_offsets", "alert", message, "", name, len(written), remedy)
    return times[codes], "UTC", (mixed,) if len(written) > 1 else ()
