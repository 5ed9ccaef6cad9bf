"""Rows onto the grid: defects, ends, time zones, and tables that continue a panel."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.calendar import alias, to_times
from forecastml.data.frames import forecast_frame, write_table
from forecastml.data.schema import Frequency, Schema
from forecastml.errors import DataError, FrequencyError, FutureError
from tests.data.samples import FULL, SCHEMA, read, sales, same, series


@settings(max_examples=30, deadline=None)
@given(
    freq=st.sampled_from(["h", "D", "B", "W-WED", "MS", "QE", "30min"]),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_panel_is_what_pandas_makes_of_each_series_by_itself(freq, lengths, seed):
    random = np.random.default_rng(seed)
    parts = [series(f"{i}", n, freq, "2024-02-05").assign(x=random.normal(size=n)) for i, n in enumerate(lengths)]
    frame = pd.concat(parts, ignore_index=True)
    frame["y"] = np.where(random.random(len(frame)) < 0.2, np.nan, frame["y"])
    frame = frame.sample(frac=random.uniform(0.5, 1), random_state=seed % 1000)
    panel, _ = read(frame, Schema(target="y", time="ds", series=("id",), known=("x",)), freq=freq)
    assert panel.keys[:, 0].tolist() == sorted(frame["id"].unique())
    for i, key in enumerate(panel.keys[:, 0]):
        own = frame[frame["id"] == key].set_index("ds").sort_index()
        known = own.dropna(subset="y")
        if known.empty:
            assert panel.lengths[i] == 0
            continue
        own = own[known.index[0] :]
        whole = own[["y", "x"]].asfreq(freq)
        np.testing.assert_array_equal(panel.known[panel.known_begin[i] : panel.known_end[i], 0], whole["x"])
        np.testing.assert_array_equal(panel.values(i), whole["y"][: known.index[-1]])
        assert to_times(panel.start[[i]], panel.frequency)[0] == np.datetime64(own.index[0])


# --- defects ---


def test_duplicates_are_refused_by_name():
    frame = pd.concat([series("a"), series("b"), series("b").iloc[[4, 6]]])
    with pytest.raises(DataError, match=r"2 rows repeat a time of their series: id=b at 2024-01-05; sum or drop"):
        read(frame, SCHEMA)


def test_gaps_are_missing_values_and_reported_once():
    frame = pd.concat([series("a").drop(index=[3, 4]), series("b").drop(index=7), series("c")])
    panel, (finding,) = read(frame, SCHEMA)
    assert panel.lengths.tolist() == [20] * 3
    assert np.flatnonzero(np.isnan(panel.target)).tolist() == [3, 4, 27]
    assert (finding.code, finding.severity, finding.count) == ("gaps", "fixed", 3)
    assert "id=a (2), id=b (1)" in finding.message
    assert read(frame.query("id != 'b'"), SCHEMA)[1][0].series == "id=a"


def test_covariates_inside_gaps_are_missing():
    frame = sales().drop(index=[4]).assign(w=lambda t: t.w)
    panel, _ = read(frame, FULL)
    assert np.isnan(panel.known[4, :2]).all()
    assert panel.known[4, 2] == -1
    assert np.isnan(panel.past[4, 0])
    assert panel.weight[4] == 0


def test_off_grid_rows_are_refused_by_name():
    frame = pd.concat([series("a", 40, "MS"), series("b", 40, "MS")], ignore_index=True)
    frame.loc[45, "ds"] += pd.Timedelta("16D")
    with pytest.raises(DataError, match=r"1 rows are off the grid of frequency MS: id=b at 2024-06-17"):
        read(frame, SCHEMA)


@pytest.mark.parametrize(("freq", "other"), [("h", "D"), ("D", "W"), ("D", "MS"), ("MS", "QS"), ("B", "W-WED")])
def test_a_series_of_a_coarser_frequency_is_refused_unless_freq_is_given(freq, other):
    frame = pd.concat([series("a", 40, freq), series("b", 40, freq), series("odd", 14, other)])
    with pytest.raises(DataError, match=rf"1 series have another frequency than {freq}, .*: id=odd \({other}"):
        read(frame, SCHEMA)
    panel, findings = read(frame, SCHEMA, freq=freq)
    assert panel.lengths[2] > 14
    assert findings[0].code == "gaps"


def test_intermittent_rows_are_gaps_not_another_frequency():
    random = np.random.default_rng(0)
    parts = [series(f"s{i}", 200).sample(frac=0.3, random_state=random).sort_values("ds") for i in range(80)]
    panel, (finding,) = read(pd.concat(parts), SCHEMA)
    assert panel.frequency == Frequency("day")
    assert finding.code == "gaps"


def test_text_in_a_column_of_numbers_is_refused_by_name(tmp_path):
    frame = pd.concat([series("a"), series("b")], ignore_index=True).astype({"y": object})
    frame.loc[25, "y"] = "n.v."
    for source in (frame, tmp_path / "t.csv"):
        if source is not frame:
            write_table(frame, source)
        with pytest.raises(DataError, match=r"column 'y' holds text in 1 rows, first 'n\.v\.' \(id=b, row 25\)"):
            read(source, SCHEMA)


def test_a_type_that_shows_late_in_a_large_csv(tmp_path):
    frame = series("a" * 50, 30_000, "h")
    frame["y"] = ["7"] * 29_990 + ["1.5"] + ["7"] * 9
    write_table(frame, tmp_path / "t.csv")
    assert read(tmp_path / "t.csv", SCHEMA)[0].target[29_990] == 1.5


def test_numbers_as_text_and_words_for_missing(tmp_path):
    frame = series().astype({"y": object})
    frame["y"] = [str(i) for i in range(20)]
    frame.loc[[3, 4], "y"] = ["NA", ""]
    panel, _ = read(frame, SCHEMA)
    assert np.flatnonzero(np.isnan(panel.target)).tolist() == [3, 4]
    assert panel.target[19] == 19


def test_infinity_is_missing_with_an_alert():
    frame = series()
    frame.loc[4, "y"] = np.inf
    panel, (finding,) = read(frame, SCHEMA)
    assert np.isnan(panel.target[4])
    assert (finding.code, finding.severity, finding.series, finding.column) == ("infinite", "alert", "id=a", "y")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["2024-01-01", "2024-13-45", "2024-01-03"], r"cannot read '2024-13-45' \(row 1, id=a\)"),
        (["2024-01-01", "soon", "2024-01-03"], "cannot read 'soon'"),
        (["01/02/2024", "02/02/2024", "03/02/2024"], "may be day/month or month/day"),
        (["2024-01-01 00:00", "2024-01-02 00:00+01:00", "2024-01-03 00:00"], "all with or all without time zone"),
    ],
)
def test_dates_that_do_not_parse_are_refused(texts, message):
    with pytest.raises(DataError, match=message):
        read(pd.DataFrame({"id": "a", "ds": texts, "y": 1.0}), SCHEMA)


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-30", "2024-01-31", "2024-02-01"],
        ["30/01/2024", "31/01/2024", "01/02/2024"],
        ["1/30/2024", "1/31/2024", "2/1/2024"],
        ["30.01.2024 00:00", "31.01.2024 00:00", "01.02.2024 00:00"],
        ["20240130", "20240131", "20240201"],
    ],
)
def test_dates_as_text(texts):
    panel, _ = read(pd.DataFrame({"id": "a", "ds": texts, "y": 1.0}), SCHEMA)
    assert str(to_times(panel.start, panel.frequency)[0])[:10] == "2024-01-30"
    assert panel.lengths.tolist() == [3]


def test_dates_as_numbers_are_refused():
    frame = pd.DataFrame({"id": "a", "ds": [20240130, 20240131, 20240201], "y": 1.0})
    with pytest.raises(DataError, match="dates as numbers"):
        read(frame, SCHEMA)


def test_a_missing_time_is_refused():
    frame = series()
    frame.loc[2, "ds"] = pd.NaT
    with pytest.raises(DataError, match=r"'ds' is empty in 1 rows, first row 2 \(id=a\)"):
        read(frame, SCHEMA)


def test_a_missing_column_is_named_with_a_guess():
    with pytest.raises(DataError, match=r"'ds' not found; the table has the columns 'id', 'dss', 'y'; .*'dss'\?"):
        read(series().rename(columns={"ds": "dss"}), SCHEMA)
    with pytest.raises(DataError, match="reset_index"):
        read(series().set_index("ds"), SCHEMA)


def test_tables_that_cannot_be_tables(tmp_path):
    with pytest.raises(DataError, match="cannot read a table from dict"):
        read({"y": [1]}, SCHEMA)
    with pytest.raises(DataError, match="there is no file"):
        read(tmp_path / "absent.csv", SCHEMA)
    with pytest.raises(DataError, match="no rows"):
        read(series().iloc[:0], SCHEMA)
    (tmp_path / "t.xls").write_text("x")
    with pytest.raises(DataError, match="neither CSV nor Parquet"):
        read(tmp_path / "t.xls", SCHEMA)
    (tmp_path / "t.csv").write_text("id,ds,y\na,2024-01-01,1,9\n")
    with pytest.raises(DataError, match="Expected 3 columns, got 4"):
        read(tmp_path / "t.csv", SCHEMA)
    (tmp_path / "t.csv").write_bytes("id,ds,y\né,2024-01-01,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"UTF-?8"):
        read(tmp_path / "t.csv", SCHEMA)
    (tmp_path / "t.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(tmp_path / "t.parquet", SCHEMA)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no Parquet file"):
        read(tmp_path / "empty", SCHEMA)


def test_one_row_needs_a_frequency():
    with pytest.raises(FrequencyError, match="pass freq"):
        read(series(n=1), SCHEMA)
    panel, _ = read(series(n=1), SCHEMA, freq="MS")
    assert panel.target.tolist() == [0.0]


def test_a_given_frequency_is_checked():
    mondays = series(n=9, freq="W-MON")
    assert read(mondays, SCHEMA, freq="W")[0].frequency == Frequency("day", 7)
    with pytest.raises(FrequencyError, match="pass freq='W-MON'"):
        read(mondays, SCHEMA, freq="W-THU")
    with pytest.raises(DataError, match="off the grid"):
        read(series(n=9, freq="h"), SCHEMA, freq="D")
    six = series(n=9, start="2024-01-01 06:00")
    assert read(six, SCHEMA, freq="D")[0].frequency == Frequency("day", 1, 6 * 3_600_000_000)


def test_a_wrong_century_does_not_fill_the_memory():
    frame = series(n=50, freq="min")
    frame.loc[49, "ds"] = pd.Timestamp("2124-01-01")
    with pytest.raises(DataError, match="id=a runs from 2024-01-01 to 2124-01-01"):
        read(frame, SCHEMA)


def test_missing_targets_at_both_ends_and_everywhere():
    frame = pd.concat([series("a"), series("b"), series("c")], ignore_index=True)
    frame["x"] = np.arange(60.0)
    frame.loc[[0, 1, 18, 19], "y"] = np.nan
    frame.loc[20:39, "y"] = np.nan
    schema = Schema(target="y", time="ds", series=("id",), known=("x",))
    panel, (finding,) = read(frame, schema)
    assert panel.lengths.tolist() == [16, 0, 20]
    assert (panel.known_end - panel.known_begin).tolist() == [18, 0, 20]
    assert panel.start.tolist() == [19725, 19743, 19723]
    assert panel.known[panel.known_begin[[0, 2]], 0].tolist() == [2, 40]
    assert (finding.code, finding.series) == ("no_values", "id=b")


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_weights_must_be_finite_and_not_negative(wrong):
    schema = Schema(target="y", time="ds", series=("id",), weight="w")
    frame = pd.concat([series("a"), series("b")], ignore_index=True).assign(w=1.0)
    frame.loc[30, "w"] = wrong
    with pytest.raises(DataError, match=r"weight 'w' is negative or missing in 1 rows: id=b"):
        read(frame, schema)
    frame.loc[30, "y"] = np.nan
    assert read(frame, schema)[0].weight[30] == 0


def test_a_static_column_that_varies_is_alerted():
    frame = sales()
    frame["region"] = frame["region"].astype(object)
    frame.loc[[0, 13], "region"] = [None, "west"]
    panel, (finding,) = read(frame, FULL)
    assert panel.static[:, 0].tolist() == [0, 0, 1, 1]
    assert (finding.code, finding.severity, finding.column) == ("static_varies", "alert", "region")
    assert finding.series == "store=001, item=x y"


# --- time ---


def test_integer_time():
    frame = pd.DataFrame({"id": "a", "ds": [2000, 2010, 2020, 2040], "y": 1.0})
    for times in (frame.ds, frame.ds.astype(float)):
        panel, _ = read(frame.assign(ds=times), SCHEMA)
        assert panel.frequency == Frequency("integer", 10)
        assert panel.lengths.tolist() == [5]
    out = forecast_frame(panel, panel.last_ordinal + 10 * np.arange(1, 3), np.ones((2, 1)), ("mean",))
    assert out.ds.tolist() == [2050, 2060]
    with pytest.raises(DataError, match="fractions"):
        read(frame.assign(ds=frame.ds + 0.5), SCHEMA)
    with pytest.raises(FrequencyError, match="integer step"):
        read(frame, SCHEMA, freq="D")


@pytest.mark.parametrize("day", ["2024-03-30", "2024-10-26"])
@pytest.mark.parametrize("freq", ["h", "30min", "D"])
@pytest.mark.parametrize("frames", [pd.DataFrame, pl.from_pandas])
def test_days_when_clocks_change_have_no_gap_and_no_duplicate(day, freq, frames):
    frame = series(n=200, freq=freq, start=day, tz="Europe/Paris")
    panel, findings = read(frames(frame.iloc[:150]), SCHEMA)
    assert findings == ()
    assert panel.tz == "Europe/Paris"
    assert alias(panel.frequency) == freq
    ordinals = panel.last_ordinal[0] + panel.frequency.step * np.arange(1, 51)
    out = forecast_frame(panel, ordinals, np.zeros((50, 1)), ("mean",))
    assert (pd.DatetimeIndex(out.ds) == pd.DatetimeIndex(frame.ds[150:])).all()
    assert str(out.ds.dt.tz) == "Europe/Paris"


def test_midnights_that_a_change_of_clocks_skips_are_on_the_grid():
    frame = series(n=60, start="2018-10-10")
    frame["ds"] = frame.ds.dt.tz_localize("America/Sao_Paulo", nonexistent="shift_forward")
    assert (frame.ds.dt.hour != 0).any()
    panel, findings = read(frame.iloc[:20], SCHEMA)
    assert findings == ()
    out = forecast_frame(panel, panel.last_ordinal[0] + np.arange(1, 41), np.zeros((40, 1)), ("mean",))
    assert (pd.DatetimeIndex(out.ds) == pd.DatetimeIndex(frame.ds[20:])).all()


def test_zoned_text_is_utc(tmp_path):
    frame = series(n=100, freq="h", start="2024-03-30", tz="Europe/Paris")
    write_table(frame, tmp_path / "t.csv")
    panel, findings = read(tmp_path / "t.csv", SCHEMA)
    codes = [finding.code for finding in findings]
    assert (panel.tz, panel.lengths.tolist(), codes) == ("UTC", [100], ["mixed_offsets"])
    same(read(frame.assign(ds=frame.ds.astype(str)), SCHEMA)[0], panel)


# --- tables that continue a panel ---


def test_a_future_table_has_known_rows_only():
    history, _ = read(sales().query("ds < '2024-01-09'"), FULL)
    future = sales().query("ds >= '2024-01-09'")[["store", "item", "ds", "price", "promo", "event"]]
    future = future.assign(event=["rain", "snow"] * 4)
    panel, findings = read(future, FULL, like=history)
    assert findings == ()
    assert panel.lengths.tolist() == [0] * 4
    assert (panel.known_end - panel.known_begin).tolist() == [2] * 4
    assert panel.start.tolist() == (history.last_ordinal + 1).tolist()
    assert panel.known[:2].tolist() == [[9.5, 0, 1], [10.5, 1, -1]]
    assert panel.categories == history.categories
    assert panel.keys.tolist() == history.keys.tolist()


def test_a_context_table_has_history():
    history, _ = read(sales(), FULL)
    later = sales().assign(ds=lambda t: t.ds + pd.Timedelta("10D"))
    panel, _ = read(later, FULL, like=history)
    assert panel.lengths.tolist() == [8] * 4
    np.testing.assert_array_equal(panel.past, history.past)
    assert panel.group.tolist() == history.group.tolist()
    few, _ = read(later.drop(columns=["visits", "w", "region", "area"]), FULL, like=history)
    assert np.isnan(few.past).all()
    assert few.weight is None
    assert (few.static[:, 0] == -1).all()


def test_one_row_of_a_future_is_enough():
    history, _ = read(series(freq="W-WED"), SCHEMA)
    ahead = series(n=21, freq="W-WED").iloc[[20]].drop(columns="y")
    panel, _ = read(ahead, SCHEMA, like=history)
    assert panel.start.tolist() == (history.last_ordinal + 7).tolist()
    with pytest.raises(FutureError, match="off the grid of frequency W-WED: id=a at 2024-05-23"):
        read(ahead.assign(ds=ahead.ds + pd.Timedelta("1D")), SCHEMA, like=history)


def test_a_future_in_another_zone_is_brought_to_that_of_the_history():
    frame = series(n=40, start="2024-03-20", tz="Europe/Paris")
    history, _ = read(frame.iloc[:30], SCHEMA)
    ahead = frame.iloc[30:].assign(ds=lambda t: t.ds.dt.tz_convert("UTC"))
    panel, _ = read(ahead, SCHEMA, like=history)
    assert panel.tz == "Europe/Paris"
    assert panel.start.tolist() == (history.last_ordinal + 1).tolist()


def test_future_tables_that_lack_something_are_refused():
    history, _ = read(sales(), FULL)
    with pytest.raises(FutureError, match="'price', 'event' not found"):
        read(sales().drop(columns=["price", "event"]), FULL, like=history)
    with pytest.raises(FutureError, match="'store' not found"):
        read(sales().drop(columns=["store"]), FULL, like=history)
    with pytest.raises(FutureError, match="no rows"):
        read(sales().iloc[:0], FULL, like=history)
    with pytest.raises(FutureError, match="time zone UTC, that of the training data none"):
        read(sales().assign(ds=lambda t: t.ds.dt.tz_localize("UTC")), FULL, like=history)
    with pytest.raises(DataError, match="column 'price' holds text"):
        read(sales().assign(price="dear"), FULL, like=history)
