"""Holidays of one's own: a table of dates, names and places as rows of text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecastml.data.columns import is_text
from forecastml.data.sources import missing_columns, open_source
from forecastml.errors import ConfigError, DataError
from forecastml.features.holiday_days import Table
from forecastml.features.holidays import holiday_names

_COLUMNS = ("date", "name", "place")


def checked_holidays(places: tuple[str, ...], table: Any) -> Table | None:
    """The rows of a table (see `holiday_rows`), None for None; `ConfigError` for places that are unknown or that no
    series can have."""
    holiday_names(places)
    if table is None:
        return None
    rows = holiday_rows(table)
    if not places and any(place for _, _, place in rows):
        place = next(place for _, _, place in rows if place)
        raise ConfigError(
            f"holiday_table has the place {place!r}, but no series has one; give holidays, such as {place!r} or "
            "'column:state', or leave the place empty"
        )
    return rows


def holiday_rows(table: Any) -> Table:
    """Distinct rows (date as YYYY-MM-DD, name, place) in order of date.

    table: rows of two or three, a table (pandas, polars, Arrow), or a path to CSV or Parquet, with columns date, name
    and, if wanted, place; the place "" is everywhere. `DataError` names the row that is wrong.
    """
    if isinstance(table, Sequence) and not isinstance(table, str | bytes):
        rows = [_row(row, number) for number, row in enumerate(table)]
    else:
        rows = _read(table)
    if not rows:
        raise DataError("holiday_table has no rows; give dates and names of holidays, or leave it out")
    return tuple(sorted(set(rows)))


def _row(row: Any, number: int) -> tuple[str, str, str]:
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) not in (2, 3):
        raise DataError(f"holiday_table: row {number} is {row!r}; give (date, name) or (date, name, place)")
    date, name, *rest = row
    return _checked(str(date), name, rest[0] if rest else "", number)


def _read(table: Any) -> list[tuple[str, str, str]]:
    source = open_source(table, {"name", "place"})
    missing = [name for name in _COLUMNS[:2] if name not in source.names]
    if missing:
        what = f" {table}" if isinstance(table, str | os.PathLike) else ""
        raise DataError(f"holiday_table{what}: {missing_columns(missing, source.names, table)}")
    columns = source.read([name for name in _COLUMNS if name in source.names])
    dates = _date_texts(columns["date"])
    names = columns["name"].to_pylist()
    places = columns["place"].to_pylist() if "place" in columns else [None] * len(dates)
    return [_checked(*row, number) for number, row in enumerate(zip(dates, names, places, strict=True))]


def _date_texts(dates: pa.Array) -> list[str]:
    """Dates as text, by the clock that they are written in."""
    if is_text(dates):
        return [str(text) for text in dates.to_pylist()]
    if pa.types.is_timestamp(dates.type) and dates.type.tz:
        dates = pc.local_timestamp(dates)
    if not pa.types.is_temporal(dates.type):
        raise DataError(f"holiday_table: column 'date' holds {dates.type}; write dates as YYYY-MM-DD")
    return [str(day) for day in pc.cast(dates, pa.date32(), safe=False).to_pylist()]


def _checked(date: str, name: Any, place: Any, number: int) -> tuple[str, str, str]:
    try:
        day = np.datetime64(date.strip().replace("/", "-")[:10], "D")
    except ValueError:
        day = np.datetime64("NaT")
    # A year or a month alone is a date to numpy, and not a day.
    if np.isnat(day) or len(date.strip()) < len("YYYY-MM-DD"):
        raise DataError(f"holiday_table: row {number} has the date {date!r}; write it as YYYY-MM-DD")
    texts = ["" if given is None or given != given else str(given).strip() for given in (name, place)]
    if not texts[0]:
        raise DataError(f"holiday_table: row {number} ({day}) has no name; name the holiday")
    return str(day), texts[0], texts[1]
