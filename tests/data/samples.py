"""Tables that the tests of this folder read."""

from __future__ import annotations

import numpy as np
import pandas as pd

from forecastml.data.checks import Finding
from forecastml.data.frames import read_panel
from forecastml.data.panel import Panel
from forecastml.data.policies import Policies
from forecastml.data.schema import Schema

SCHEMA = Schema(target="y", time="ds", series=("id",))
FULL = Schema(
    target="y",
    time="ds",
    series=("store", "item"),
    group=("store",),
    known=("price", "promo", "event"),
    past=("visits",),
    static=("region", "area"),
    weight="w",
)
ARRAYS = ("target", "begin", "end", "start", "group", "known", "known_begin", "known_end", "past", "static")


def read(*args, timezone: str | None = None, **options) -> tuple[Panel, tuple[Finding, ...]]:
    """`read_panel` as panel and findings."""
    if timezone is not None:
        options["policies"] = Policies(timezone=timezone)
    reading = read_panel(*args, **options)
    return reading.data, reading.findings


def same(a: Panel, b: Panel) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.keys.tolist() == b.keys.tolist()
    assert (a.frequency, a.schema, a.tz, dict(a.categories)) == (b.frequency, b.schema, b.tz, dict(b.categories))
    assert (a.weight is None) == (b.weight is None)
    if a.weight is not None:
        np.testing.assert_array_equal(a.weight, b.weight)


def series(name: str = "a", n: int = 20, freq: str = "D", start: str = "2024-01-01", tz: str | None = None):
    times = pd.date_range(start, periods=n, freq=freq, tz=tz)
    return pd.DataFrame({"id": name, "ds": times, "y": np.arange(n, dtype=float)})


def sales(days: int = 10) -> pd.DataFrame:
    """Four series in two stores, all kinds of columns, the last two days ahead of the target."""
    parts = []
    for k, (store, item) in enumerate([("001", "7"), ("001", "x y"), ("01", "7"), ("01", "é")]):
        rows = np.arange(days)
        part = pd.DataFrame({"store": store, "item": item, "ds": pd.date_range("2024-01-01", periods=days + 0)})
        part["y"] = np.where(rows < days - 2, rows + 10.0 * k, np.nan)
        part["price"], part["promo"] = 1.5 + rows, rows % 3 == 0
        part["event"] = np.where(rows % 4 == 1, "fair", np.where(rows % 4 == 2, "rain", None))
        part["visits"], part["region"], part["area"], part["w"] = rows * 2, "north" if k < 2 else "south", k, 1.0 + k
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
