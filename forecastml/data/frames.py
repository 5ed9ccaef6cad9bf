"""The edge where tables come in and go out: pandas, polars, Arrow, CSV and Parquet. No data frame goes further."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecastml.data.calendar import to_times
from forecastml.data.cells import Identity, column_values
from forecastml.data.checks import Finding, Reading, refusal, refuse
from forecastml.data.columns import distinct_keys, flat, is_text, key_codes
from forecastml.data.grid import place
from forecastml.data.identity import separating
from forecastml.data.panel import Panel
from forecastml.data.policies import Policies
from forecastml.data.rows import Rows
from forecastml.data.schema import Schema
from forecastml.data.sources import Columns, missing_columns, open_source
from forecastml.data.wall_clock import shown
from forecastml.data.zones import from_naive, reading, to_utc
from forecastml.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

#: Spellings of dates beside ISO 8601; one must fit all rows and no other may read them differently.
_DATE_FORMATS = tuple(
    day + clock
    for day in ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y")
    for clock in ("", " %H:%M", " %H:%M:%S")
)
#: Rows are of several series when there are fewer distinct times than this share of them.
MOST_REPEAT = 0.75
_ZONED = re.compile(r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)$")

#: Times as datetime64[us] (UTC when they have a zone) or int64, their zone, the rows that cannot be read, and the
#: offsets from UTC that the text names.
Times = tuple[np.ndarray, str | None, np.ndarray, tuple[str, ...]]


def read_panel(
    source: Any,
    schema: Schema,
    like: Panel | None = None,
    freq: str | int | None = None,
    policies: Policies | None = None,
) -> Reading:
    """Read a long table into a `Panel` and say what was mended or looks wrong; the source is left as it is.

    source: pandas, polars or Arrow table, or the path of a CSV file, a Parquet file or a (hive-partitioned) folder of
    Parquet files; freq: pandas alias or integer step, None to infer it; policies: what is mended, and how (None: the
    defaults of `Policies`). like: the panel that these rows continue or look ahead of; its frequency, time zone,
    categories and, when `schema` names none, series columns apply, and target, past, static, weight, mask and group
    columns may be absent. Keys are text ("001" is not 1). Rows may come in any order. Rows after the last known target
    reach past `end` as known covariates. Raises `DataError` (`FrequencyError` when the frequency is all that is wrong,
    with `like` `FutureError`) that names every defect found, with series, column and remedy, and `ConfigError` for
    column names that cannot be used.
    """
    reading = _read(source, schema, like, freq, policies or Policies())
    refuse(reading.findings, future=like is not None and len(like) > 0)
    return reading


def check_panel(
    source: Any, schema: Schema, freq: str | int | None = None, policies: Policies | None = None
) -> Reading:
    """As `read_panel`, but what is wrong with the data becomes findings of severity "error" instead of an exception.

    The panel is then what remains after provisional mending: of repeated times the last row, without rows that have no
    key, no time or one off the grid, with missing values for text. It is for looking at, not for forecasts; None when
    the table could not be read at all.
    """
    return _read(source, schema, None, freq, policies or Policies())


def forecast_frame(
    panel: Panel, ordinals: np.ndarray, values: np.ndarray, outputs: Sequence[str], horizon: int | None = None
) -> pd.DataFrame:
    """Forecasts as a table: series columns (text), the time column (in the panel's zone), one column per output.

    ordinals: int64 (rows,), series-major, equally many per series; values: float64 (rows, outputs); horizon: rows
    shown of each series (None: all). On the wall clock an hour that the clocks skip is not shown, one that they repeat
    is shown twice.
    """
    steps = len(ordinals) // max(len(panel), 1)
    if panel.frequency.unit == "wall_clock" and panel.tz is not None:
        rows, utc = shown(ordinals, steps, panel.tz, horizon)
        times = _zoned(utc, panel.tz)
    else:
        rows = np.arange(len(ordinals))
        rows = rows if horizon is None else rows[rows % max(steps, 1) < horizon]
        times = grid_times(panel, ordinals[rows])
    keys = panel.keys[rows // max(steps, 1)]
    columns: dict[str, Any] = {name: keys[:, j] for j, name in enumerate(panel.schema.series)}
    columns[panel.schema.time] = times
    return to_frame(columns | {name: values[rows, j] for j, name in enumerate(outputs)})


def grid_times(panel: Panel, ordinals: np.ndarray) -> Any:
    """Times of points of the panel's grid, in its zone: an hour that the clocks repeat is its first pass."""
    times = to_times(ordinals, panel.frequency)
    if panel.tz is None or times.dtype.kind != "M":
        return times
    return _zoned(times if panel.frequency.unit == "microsecond" else to_utc(times, panel.tz), panel.tz)


def _zoned(utc: np.ndarray, tz: str) -> Any:
    import pandas as pd

    return pd.DatetimeIndex(utc).tz_localize("UTC").tz_convert(tz)


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


def _read(source: Any, schema: Schema, like: Panel | None, freq: str | int | None, policies: Policies) -> Reading:
    if like is not None and not schema.series:
        schema = replace(schema, series=like.schema.series)
    _check_names(schema)
    if policies.aggregate is not None and freq is None and like is None:
        raise ConfigError(f"aggregate {policies.aggregate!r} needs a frequency to bring the rows to: give freq")
    try:
        table = _load(source, schema, like, policies)
        findings: list[Finding] = []
        if like is None and not schema.series and _times_repeat(table[schema.time]):
            chosen = _separating(source, table, schema)
            if chosen:
                findings.append(_detected(chosen))
                table |= open_source(source, {*chosen}).read(chosen)
                schema = replace(schema, series=chosen)
        rows, found = _rows(table, schema, like, freq)
        if rows is not None and policies.timezone is not None:
            rows, found = _in_zone(rows, policies.timezone), [f for f in found if f.code != "mixed_offsets"]
    except DataError as failure:
        return Reading(None, (refusal("unreadable", failure),), np.empty((0, len(schema.series)), dtype=object))
    findings += found
    if rows is None or not len(rows):
        return Reading(None, tuple(findings), np.empty((0, len(schema.series)), dtype=object))
    reading = place(rows, like, freq, policies)
    found = [_with_columns(f, source, table, schema) if like is None else f for f in reading.findings]
    return replace(reading, findings=(*findings, *found))


def _load(source: Any, schema: Schema, like: Panel | None, policies: Policies) -> Columns:
    """The columns that have a role, one array each; with `like` some may be absent."""
    # Only what continues series may lack their target; a panel without series lends its grid to new ones.
    continued = like is not None and len(like) > 0
    lent = schema.known if continued and policies.known_may_lack else ()
    required = (*schema.series, schema.time, *schema.known) if continued else schema.columns
    opened = open_source(source, {*schema.series, *schema.group})
    missing = [name for name in required if name not in opened.names and name not in lent]
    if missing:
        raise DataError(missing_columns(missing, opened.names, source))
    repeated = [name for name in schema.columns if opened.names.count(name) > 1]
    if repeated:
        raise DataError(f"the table has several columns named {repeated[0]!r}; rename all but one")
    table = opened.read([name for name in schema.columns if name in opened.names])
    if len(table[schema.time]) == 0:
        raise DataError("the table has no rows; give some")
    return table | {name: pa.nulls(len(table[schema.time])) for name in lent if name not in table}


def _rows(
    table: Columns, schema: Schema, like: Panel | None, freq: str | int | None
) -> tuple[Rows | None, list[Finding]]:
    """The rows that have a key and a time, and what was found; None when the times cannot be read."""
    codes = {name: key_codes(name, table[name]) for name in (*schema.series, *schema.group) if name in table}
    findings, keyed = [], np.ones(len(table[schema.time]), bool)
    for name, (code, _) in codes.items():
        empty = int((code < 0).sum())
        if empty:
            message, remedy = f"key column {name!r} is empty in {empty} rows", "give every row a key or remove them"
            findings.append(Finding("empty_key", "error", message, "", name, empty, remedy))
            keyed &= code >= 0
    if not keyed.any():
        return None, findings
    if not keyed.all():
        table = {name: array.filter(pa.array(keyed)) for name, array in table.items()}
        codes = {name: (code[keyed], texts) for name, (code, texts) in codes.items()}
    count = len(table[schema.time])
    series, keys = distinct_keys([codes[name] for name in schema.series], count)
    grouped = schema.group and all(name in codes for name in schema.group)
    group = distinct_keys([codes[name] for name in schema.group], count)[0] if grouped else None
    identity = Identity(schema.series, keys, series, np.flatnonzero(keyed))
    columns, categories, found = column_values(table, schema, like, identity)
    findings += found
    try:
        times, tz, timed, found = _timed(schema.time, table[schema.time], identity, freq)
    except DataError as failure:
        return None, [*findings, refusal("unreadable_time", failure)]
    findings += found
    if not timed.all():
        # Times of rows that have none are placeholders until these rows go.
        whole = np.zeros(count, times.dtype)
        whole[timed] = times
        times = whole
    return Rows(schema, keys, series, times, columns, group, tz, categories).kept(timed), findings


def _in_zone(rows: Rows, timezone: str) -> Rows:
    """The rows with times in UTC, to be modelled in local time of a zone (see `zones.reading`)."""
    naive, modelled = reading(timezone)
    name = rows.schema.time
    if rows.times.dtype.kind != "M":
        raise ConfigError(f"time column {name!r} holds whole numbers, which have no zone: leave timezone out")
    if rows.tz is not None:
        return replace(rows, tz=modelled)

    def label(row: int) -> str:
        return rows.named(rows.series[row : row + 1])

    return replace(rows, times=from_naive(rows.times, rows.series, naive, name, label), tz=modelled)


def _times_repeat(times: pa.Array) -> bool:
    """Whether most times repeat: a few that do are doubled rows of one series, not several series."""
    return pc.count_distinct(times).as_py() < MOST_REPEAT * (len(times) - times.null_count)


def _separating(source: Any, table: Columns, schema: Schema) -> tuple[str, ...]:
    """Columns without a role that tell apart rows of one series and time, () for none."""
    times = flat(table[schema.time].dictionary_encode()).indices.fill_null(-1).to_numpy().astype(np.int64) + 1
    keys = [key_codes(name, table[name])[0] + 1 for name in schema.series]
    base = distinct_keys([(key, [str(i) for i in range(int(key.max()) + 1)]) for key in keys], len(times))[0]
    opened = open_source(source, set())
    used = set(schema.columns) - {*schema.group} | {*schema.series}
    names = [name for name in opened.names if name not in used and opened.names.count(name) == 1]
    try:
        return separating(times, base, opened.read(names)) if names else ()
    except DataError:
        # A column that nobody asked for may be what it is.
        return ()


def _detected(chosen: tuple[str, ...]) -> Finding:
    columns = ", ".join(chosen)
    message = f"times repeat, and {columns} tell the rows apart: taken as the series columns"
    remedy = f"to say so, or to choose others, give them as series: {columns}"
    return Finding("series_detected", "fixed", message, "", columns, len(chosen), remedy)


def _with_columns(finding: Finding, source: Any, table: Columns, schema: Schema) -> Finding:
    """A finding of duplicates that names the columns which would tell the rows apart, if there are such."""
    if finding.code != "duplicates" or not schema.series:
        return finding
    chosen = _separating(source, table, schema)
    if not chosen:
        return finding
    return replace(finding, remedy=f"name {', '.join(chosen)} as series too, or sum or drop the rows first")


def _timed(
    name: str, array: pa.Array, identity: Identity, freq: str | int | None
) -> tuple[np.ndarray, str | None, np.ndarray, list[Finding]]:
    """Times of the rows that have one, their zone, which rows these are, and what was found about the others."""
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    missing = array.is_null() if array.null_count else None
    if is_text(array):
        missing = pc.or_kleene(array.is_null(), pc.equal(pc.utf8_trim_whitespace(array), ""))
    elif pa.types.is_floating(array.type):
        missing = pc.or_kleene(array.is_null(), pc.invert(pc.is_finite(array)))
    timed = np.ones(len(array), bool)
    if missing is not None:
        timed = ~missing.to_numpy(zero_copy_only=False).astype(bool)
    findings = []
    if not timed.all():
        rows = np.flatnonzero(~timed)
        first = f"first row {identity.numbers[rows[0]]} ({identity.label(rows[0])})"
        message = f"time column {name!r} is empty in {len(rows)} rows, {first}"
        remedy = "give every row a time or remove them"
        findings.append(Finding("missing_time", "error", message, identity.only(rows), name, len(rows), remedy))
        array = array.filter(pa.array(timed))
    if not len(array):
        return np.empty(0, np.int64), None, timed, findings
    times, tz, bad, offsets = _times(name, array, freq)
    if len(offsets) > 1:
        message = f"time column {name!r} is written with several offsets from UTC ({', '.join(offsets)}), taken as UTC"
        remedy = "name the zone, for example timezone='Europe/Paris', so that days and hours are those of its clocks"
        findings.append(Finding("mixed_offsets", "alert", message, "", name, len(offsets), remedy))
    if len(bad):
        places = np.flatnonzero(timed)[bad]
        text, *others = dict.fromkeys(array[int(row)].as_py() for row in bad[:1000])
        first = f"{text!r} (row {identity.numbers[places[0]]}, {identity.label(places[0])})"
        first += "".join(f", {text!r}" for text in others[:2])
        message = f"time column {name!r}: cannot read {first} as the others, in {len(bad)} rows{identity.named(places)}"
        remedy = "write dates as 2024-01-31, all with or all without time zone"
        findings.append(Finding("unreadable_time", "error", message, identity.only(places), name, len(bad), remedy))
        timed[places] = False
        times = np.delete(times, bad)
    return times, tz, timed, findings


def _times(name: str, array: pa.Array, freq: str | int | None) -> Times:
    """The time column; array: without missing values and not encoded as a dictionary."""
    none = np.empty(0, np.int64)
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        micro = array.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        return micro.to_numpy().view("datetime64[us]"), getattr(kind, "tz", None), none, ()
    if is_text(array):
        return _parsed_times(name, array)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        given = array.to_numpy()
        if (np.trunc(given) != given).any():
            raise DataError(f"time column {name!r} holds fractions; give dates or whole numbers")
        whole = given.astype(np.int64)
        month, day = whole // 100 % 100, whole % 100
        dates = (whole > 19_000_000) & (whole < 22_000_000) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
        if freq is None and dates.all():
            raise DataError(f"time column {name!r} holds dates as numbers ({whole[0]}); convert it to dates")
        return whole, None, none, ()
    raise DataError(f"time column {name!r} is of type {kind}; give timestamps, dates, ISO text or integers")


def _parsed_times(name: str, array: pa.Array) -> Times:
    import pandas as pd

    encoded = array.dictionary_encode()
    texts, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    zoned = np.array([bool(_ZONED.search(text)) for text in texts])
    readings = [pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)]
    if readings[0].hasnans:
        readings += [pd.to_datetime(texts, format=spelling, errors="coerce", utc=True) for spelling in _DATE_FORMATS]
    best = min(readings, key=lambda reading: reading.isna().sum())
    read = ~best.isna()
    usual = zoned[codes][read[codes]].mean() > 0.5 if read.any() else False
    wrong = ~read | (zoned != usual)
    rows = np.flatnonzero(wrong[codes])
    if len(rows) * 2 > len(codes):
        raise DataError(
            f"time column {name!r}: cannot read {texts[codes[rows[0]]]!r} and more, {len(rows)} of {len(codes)} rows; "
            "write dates as 2024-01-31, all with or all without time zone"
        )
    same = [reading for reading in readings if not reading[read].hasnans]
    if any((reading[read] != best[read]).any() for reading in same):
        raise DataError(
            f"time column {name!r}: {texts[codes[0]]!r} may be day/month or month/day; write dates as 2024-01-31"
        )
    times = best.tz_localize(None).to_numpy("datetime64[us]")
    if not usual:
        return times[codes], None, rows, ()
    offsets = {_ZONED.search(text)[2].replace("Z", "+00:00") for text, there in zip(texts, zoned, strict=True) if there}
    return times[codes], "UTC", rows, tuple(sorted(offsets))
