"""Parts of a whole: they are read as the whole is, and newer rows are told from older ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forecastml as fm
from forecastml.data.extension import newer
from forecastml.data.panel import Panel, panel_state, restored_panel
from forecastml.data.sources import open_source
from forecastml.errors import FutureError
from tests.tables import monthly

LATE = pd.Timestamp("2020-12-01")


def task(**options) -> fm.Forecasting:
    return fm.Forecasting(horizon=3, series="unique_id", **options)


def ended(months: int) -> pd.DataFrame:
    """Three series, the second of which ended so many months before the others; the third has no value."""
    table = monthly(3)
    second = table["unique_id"] == "001"
    table = table[~second | (table["ds"] <= LATE - pd.DateOffset(months=months))].reset_index(drop=True)
    return table.assign(y=table["y"].mask(table["unique_id"] == "002"))


def prior_like(table: pd.DataFrame, asked: fm.Forecasting) -> Panel:
    whole = asked.read(table).data
    return replace(whole.select(np.empty(0, np.int64)).compact(), newest=int(whole.last_ordinal.max()))


def same(one: Panel, other: Panel) -> bool:
    return all(
        np.array_equal(getattr(one.compact(), name), getattr(other.compact(), name), equal_nan=True)
        for name in ("target", "begin", "end", "start", "known", "known_begin", "known_end")
    )


@pytest.mark.parametrize("stale", ["own", "common", "skip"])
@pytest.mark.parametrize("months", [2, 3, 4, 12])
def test_a_part_is_read_as_it_is_in_the_whole(stale, months):
    table, asked = ended(months), task(stale=stale)
    like, whole = prior_like(table, asked), asked.read(table)
    everything = asked.read(table, like=like)
    assert same(everything.data, whole.data)
    for name in ("000", "001", "002"):
        alone = asked.read(table[table["unique_id"] == name], like=like)
        place = [key[0] for key in whole.data.keys].index(name) if name in whole.data.keys else None
        if place is None:
            assert len(alone.data) == 0
            assert alone.skipped.tolist() == whole.skipped.tolist() == [["001"]]
        else:
            assert same(alone.data, whole.data.select(np.array([place])))
            assert len(alone.skipped) == 0
    gone = {"own": 0, "common": 0, "skip": 1}[stale] if months > 3 else 0
    assert len(whole.skipped) == gone
    added = np.isnan(whole.data.values(1)).sum() if stale == "common" else 0
    assert added == (months if stale == "common" and months > 3 else 0)


def test_an_end_after_the_whole_is_no_stale_one():
    asked = task(stale="skip")
    table = ended(6)
    like = prior_like(table, asked)
    later = pd.DataFrame({"unique_id": "009", "ds": pd.date_range("2021-01-01", periods=30, freq="MS"), "y": 1.0})
    assert asked.read(later, like=like).data.lengths.tolist() == [30]
    both = asked.read(pd.concat([later, table[table["unique_id"] == "000"]]), like=like)
    assert len(both.data) == 2, "what is newer than the whole makes nothing else stale"


def test_without_a_date_a_part_tells_the_end_by_itself():
    asked = task(stale="skip")
    table = ended(12)
    like = replace(prior_like(table, asked), newest=None)
    alone = asked.read(table[table["unique_id"] == "001"], like=like)
    assert len(alone.data) == 1 and len(alone.skipped) == 0


def test_the_date_survives_the_disk_and_older_panels_have_none():
    panel = replace(task().read(monthly(2)).data, newest=77)
    arrays, values = panel_state(panel)
    assert restored_panel(arrays, values).newest == 77
    older = {name: value for name, value in values.items() if name != "newest"}
    assert restored_panel(arrays, older).newest is None
    none = panel.select(np.empty(0, np.int64)).compact()
    again = restored_panel(*panel_state(none))
    assert again.keys.shape == (0, 1) and again.newest == 77 and again.signature == none.signature


def test_rows_up_to_the_end_are_left_out():
    panel = task().read(monthly(3)).data
    rows = task().read(
        pd.DataFrame(
            {
                "unique_id": np.repeat(["000", "001", "002"], [5, 2, 3]),
                "ds": [
                    *pd.date_range("2020-11-01", periods=5, freq="MS"),
                    *pd.date_range("2020-01-01", periods=2, freq="MS"),
                    *pd.date_range("2021-01-01", periods=3, freq="MS"),
                ],
                "y": np.arange(10.0),
            }
        ),
        like=panel,
    )
    left = newer(panel, rows.data)
    assert left.lengths.tolist() == [3, 0, 3]
    assert left.compact().target.tolist() == [2.0, 3.0, 4.0, 7.0, 8.0, 9.0]
    assert left.start[[0, 2]].tolist() == (panel.last_ordinal[[0, 2]] + 1).tolist()
    with pytest.raises(FutureError, match="zzz"):
        newer(panel, replace(rows.data, keys=np.array([["000"], ["zzz"], ["002"]], dtype=object)))


def test_known_covariates_go_with_the_rows_they_belong_to():
    asked = task(known="price")
    table = monthly(1).assign(price=np.arange(60.0))
    panel = asked.read(table[:50]).data
    rows = table.assign(y=table["y"].where(table.index < 55))
    left = newer(panel, asked.read(rows, like=panel).data)
    assert left.lengths.tolist() == [5]
    assert left.known[left.known_begin[0] : left.known_end[0], 0].tolist() == list(range(50, 60))


def parts(folder, *columns, below=("", "")):
    """Two Parquet files with these values of y."""
    for number, (values, step) in enumerate(zip(columns, below, strict=True)):
        place = folder / step
        place.mkdir(parents=True, exist_ok=True)
        ds = pd.date_range(f"2020-0{number + 1}-01", periods=len(values)).astype("datetime64[us]")
        pq.write_table(pa.table({"ds": pa.array(ds), "y": values}), place / f"part-{number}.parquet")
    return folder


@pytest.mark.parametrize("below", [("", ""), ("a", "b"), ("a", "a/c")])
def test_files_of_a_folder_without_levels_are_read_in_types_that_suit_all(tmp_path, below):
    whole, halves = pa.array([1, 2, 3], pa.int64()), pa.array([1.5, 2.5], pa.float64())
    source = open_source(parts(tmp_path / "t", whole, halves, below=below), set())
    assert source.names == ["ds", "y"]
    assert sorted(source.read(["y"])["y"].to_pylist()) == [1.0, 1.5, 2.0, 2.5, 3.0]
    panel = fm.Forecasting(horizon=1).read(tmp_path / "t").data
    assert panel.target[~np.isnan(panel.target)].tolist() == [1.0, 2.0, 3.0, 1.5, 2.5]


def test_levels_are_read_beside_types_that_suit_all(tmp_path):
    whole, halves = pa.array([1, 2, 3], pa.int64()), pa.array([1.5, 2.5], pa.float64())
    folder = parts(tmp_path / "t", whole, halves, below=("shop=01", "shop=02"))
    source = open_source(folder, {"shop"})
    assert set(source.names) == {"ds", "y", "shop"}
    found = source.read(["y", "shop"])
    assert found["y"].to_pylist() == [1.0, 2.0, 3.0, 1.5, 2.5]
    assert found["shop"].to_pylist() == ["01"] * 3 + ["02"] * 2
    assert open_source(folder, set()).read(["shop"])["shop"].to_pylist() == [1, 1, 1, 2, 2]


def test_a_level_with_an_escaped_name(tmp_path):
    folder = parts(tmp_path / "t", pa.array([1]), pa.array([0.5]), below=("my%20shop=a", "my%20shop=b"))
    assert open_source(folder, set()).read(["my shop", "y"])["my shop"].to_pylist() == ["a", "b"]
