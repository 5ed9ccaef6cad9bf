"""Time zones: the wall clock against the standard library, grids over changes of clocks, and reading local times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.calendar import alias, calendar_fields, duration, natural_seasons, to_ordinals, to_times
from forecastml.data.extension import extend, reaching
from forecastml.data.frames import forecast_frame, write_table
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency, Schema
from forecastml.data.wall_clock import elapsed_steps, first_ahead, points_ahead, shown, wall_clock_steps
from forecastml.data.zones import is_fixed, moments, reading, to_local, to_utc
from forecastml.errors import ConfigError, DataError, FutureError
from forecastml.future_covariates import completed
from tests.data.samples import SCHEMA, read, same

HOUR = 3_600_000_000
#: Both hemispheres, a half-hour shift, changed rules, no shifts any more, a skipped day, negative winter time.
ZONES = (
    *("Europe/Paris", "Europe/Dublin", "Australia/Melbourne", "Australia/Lord_Howe", "America/Sao_Paulo"),
    *("America/New_York", "Asia/Tokyo", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Apia", "Europe/Moscow"),
)
KNOWN = Schema(target="y", time="ds", series=("id",), known=("x", "event"))
MOMENTS = st.integers(-2_000_000_000, 4_000_000_000)


def rows(start: str, n: int, tz: str = "Europe/Paris", freq: str = "h", name: str = "a") -> pd.DataFrame:
    """Steps of time that passes; y and x follow the local clock."""
    ds = pd.date_range(start, periods=n, freq=freq, tz=tz)
    hour = (ds.hour + ds.minute / 60).to_numpy()
    y = 10 + 5 * np.sin(2 * np.pi * hour / 24)
    return pd.DataFrame({"id": name, "ds": ds, "y": y, "x": 2 * hour, "event": np.where(hour < 3, "night", "day")})


def size(freq: str) -> pd.Timedelta:
    return pd.Timedelta(pd.tseries.frequencies.to_offset(freq))


def stamps(ds: pd.Series) -> np.ndarray:
    return pd.DatetimeIndex(ds).tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]")


def of_panel(panel: Panel) -> np.ndarray:
    """The moments that the points of the only series stand for."""
    ordinals = panel.start[0] + panel.frequency.step * np.arange(panel.lengths[0])
    if panel.frequency.unit == "wall_clock":
        return shown(ordinals, len(ordinals), panel.tz)[1]
    return to_times(ordinals, panel.frequency)


def ahead(panel: Panel, horizon: int, gap: int = 0) -> pd.DataFrame:
    """The rows of a forecast whose mean is the grid point's local hour."""
    steps = wall_clock_steps(panel, horizon, gap)
    ordinals = panel.last_ordinal[:, None] + (1 + gap + np.arange(steps)) * panel.frequency.step
    hour = ordinals.reshape(-1, 1) % (24 * HOUR) / HOUR
    return forecast_frame(panel, ordinals.ravel(), hour, ("mean",), horizon)


# --- zones ---


@settings(max_examples=200, deadline=None)
@given(tz=st.sampled_from(ZONES), seconds=st.lists(MOMENTS, min_size=1, max_size=20))
def test_local_time_is_that_of_the_standard_library(tz, seconds):
    place = ZoneInfo(tz)
    utc = np.array(seconds, dtype="datetime64[s]").astype("datetime64[us]")
    there = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s) for s in seconds]
    local = to_local(utc, tz)
    wanted = [moment.astimezone(place).replace(tzinfo=None) for moment in there]
    assert local.tolist() == wanted
    for fold, found in enumerate(moments(local, tz)):
        back = [time.replace(tzinfo=place, fold=fold).astimezone(UTC).replace(tzinfo=None) for time in wanted]
        assert found.tolist() == back


@settings(max_examples=100, deadline=None)
@given(tz=st.sampled_from(ZONES), seconds=MOMENTS, hours=st.integers(-30, 30))
def test_utc_of_any_local_time_is_that_of_pandas(tz, seconds, hours):
    local = np.array([seconds // 1800 * 1800 + hours * 3600], dtype="datetime64[s]").astype("datetime64[us]")
    first = pd.DatetimeIndex(local).tz_localize(ZoneInfo(tz), ambiguous=np.array([True]), nonexistent="shift_forward")
    assert to_utc(local, tz)[0] == first.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]")[0]


def test_names_of_zones():
    assert reading("UTC > Australia/Melbourne") == ("UTC", "Australia/Melbourne")
    assert reading("Asia/Tokyo") == ("Asia/Tokyo", "Asia/Tokyo")
    assert reading("+01:00>Europe/Paris") == ("+01:00", "Europe/Paris")
    assert [is_fixed(name) for name in ("UTC", "-03:30", "Etc/GMT-1", "Asia/Tokyo")] == [True, True, True, False]
    assert (
        to_local(np.array(["2024-01-01T00:00"], "datetime64[us]"), "-03:30").astype(str)[0][:16] == "2023-12-31T20:30"
    )
    with pytest.raises(ConfigError, match=r"'Europe/Pariss' is unknown; did you mean 'Europe/Paris'\?"):
        reading("Europe/Pariss")
    for wrong in ("", "UTC>", "+99:00", "+0530", "Europe", "../UTC", "A>B>C"):
        with pytest.raises(ConfigError, match="is unknown"):
            reading(wrong)


# --- the grid ---


def test_the_wall_clock_is_a_clock():
    hours = Frequency("wall_clock", HOUR)
    assert alias(hours) == "h"
    assert natural_seasons(hours) == (24, 168)
    assert duration(hours) == duration(Frequency("microsecond", HOUR)) == HOUR
    noon = np.array(["2024-07-01T12:00"], "datetime64[us]")
    assert to_times(to_ordinals(noon, hours)[0], hours) == noon
    assert calendar_fields(to_ordinals(noon, hours)[0], hours, "Europe/Paris")["hour"] == 12


@settings(max_examples=120, deadline=None)
@given(
    tz=st.sampled_from(ZONES),
    freq=st.sampled_from(["h", "30min", "15min", "20min", "6h"]),
    start=st.integers(0, 24_000),
    n=st.integers(60, 400),
)
def test_what_was_read_comes_back(tz, freq, start, n):
    begin = pd.Timestamp("2009-12-28", tz="UTC") + pd.Timedelta(hours=6 * start)
    frame = rows(begin, n, None, freq).assign(ds=lambda t: t.ds.dt.tz_convert(tz))
    panel, findings = read(frame, SCHEMA, freq=freq)
    assert findings == ()
    assert alias(panel.frequency) == freq
    np.testing.assert_array_equal(of_panel(panel), stamps(frame.ds))
    same(read(frame.iloc[::-1].reset_index(drop=True), SCHEMA, freq=freq)[0], panel)
    again, _ = read(rows(begin + (n + 3) * size(freq), 9, None, freq), SCHEMA, like=panel)
    last = to_times(again.last_ordinal, again.frequency)
    wanted = stamps(frame.ds)[-1] + 12 * size(freq).to_timedelta64()
    assert wanted in (moments(last, tz) if panel.frequency.unit == "wall_clock" else last)


@pytest.mark.parametrize("freq", ["h", "30min", "15min"])
def test_every_day_has_as_many_points_and_nothing_is_missing_but_what_never_was(freq):
    per_hour = pd.Timedelta(hours=1) // size(freq)
    frame = rows("2024-03-20", 366 * 24 * per_hour, freq=freq)
    panel, findings = read(frame, KNOWN)
    assert (findings, panel.frequency.unit) == ((), "wall_clock")
    hour = np.arange(panel.lengths[0]) % (24 * per_hour) / per_hour
    wanted = 10 + 5 * np.sin(2 * np.pi * hour / 24)
    skipped = np.isnan(panel.target)
    assert skipped.sum() == per_hour
    assert (hour[skipped].astype(int) == 2).all()
    np.testing.assert_allclose(panel.target[~skipped], wanted[~skipped], atol=1e-12)
    np.testing.assert_allclose(panel.known[:, 0][~skipped], 2 * hour[~skipped])
    # The skipped hour lies between what is known before and after it; a category stays.
    edges = panel.known[[np.flatnonzero(skipped)[0] - 1, np.flatnonzero(skipped)[-1] + 1], 0]
    assert (panel.known[skipped, 0] == edges.mean()).all()
    assert {panel.categories["event"][int(code)] for code in panel.known[skipped, 1]} == {"night"}


def test_both_passes_of_a_repeated_hour_are_one_point():
    frame = rows("2024-10-26 22:00", 9, freq="h")
    frame["y"] = [0.0, 1.0, 2.0, 3.0, 4.0, 8.0, 6.0, 7.0, 8.0]
    frame["event"] = ["a", "b", "c", "d", None, "e", "f", "g", "h"]
    assert frame.ds.dt.hour.tolist()[4:6] == [2, 2]
    panel, findings = read(frame, KNOWN)
    assert findings == ()
    assert panel.target.tolist() == [0, 1, 2, 3, 6, 6, 7, 8]
    assert panel.categories["event"][int(panel.known[4, 1])] == "e"
    one = read(frame.assign(y=frame.y.where(frame.index != 5)), KNOWN)[0]
    assert one.target[4] == 4
    with pytest.raises(DataError, match="1 rows repeat a time"):
        read(pd.concat([frame, frame.iloc[[5]]]), KNOWN)


def test_gaps_beside_a_skipped_hour_are_gaps():
    frame = rows("2024-03-25", 24 * 10)
    hole = frame.ds.dt.strftime("%d %H").isin(["31 01", "31 03", "31 04"])
    panel, (finding,) = read(frame[~hole], SCHEMA)
    assert (finding.code, finding.count, int(np.isnan(panel.target).sum())) == ("gaps", 3, 4)


def test_a_series_does_not_depend_on_its_neighbours():
    parts = [rows("2024-03-20", 400, name="a"), rows("2024-01-01", 5000, name="b"), rows("2024-10-20", 300, name="c")]
    together, _ = read(pd.concat(parts).sample(frac=1, random_state=1), KNOWN)
    for i, part in enumerate(parts):
        alone, _ = read(part, KNOWN)
        same(together.select(np.array([i])).compact(), alone)


@pytest.mark.parametrize(
    ("tz", "freq", "local", "unit"),
    [
        ("Australia/Lord_Howe", "h", False, "microsecond"),
        ("Australia/Lord_Howe", "h", True, "wall_clock"),
        ("Australia/Lord_Howe", "30min", False, "wall_clock"),
        ("Europe/Paris", "6h", False, "microsecond"),
        ("Europe/Paris", "6h", True, "wall_clock"),
        ("Europe/Paris", "24h", True, "day"),
        ("UTC", "h", False, "microsecond"),
        ("Asia/Tokyo", "6h", False, "wall_clock"),
    ],
)
def test_the_clock_that_rows_keep_decides(tz, freq, local, unit):
    """Over both changes; local: the rows lie on a grid of local time, otherwise on one of UTC."""
    ds = pd.date_range("2023-01-01", "2024-01-01", freq=freq, tz=None if local else "UTC")
    ds = ds.tz_localize(tz, ambiguous=True, nonexistent="NaT").dropna() if local else ds.tz_convert(tz)
    panel, findings = read(pd.DataFrame({"id": "a", "ds": ds, "y": 1.0}), SCHEMA)
    assert (panel.frequency.unit, findings) == (unit, ())
    if unit != "day":
        np.testing.assert_array_equal(np.unique(of_panel(panel)), np.unique(np.append(of_panel(panel), stamps(ds))))


def test_six_hours_without_a_change_of_clocks_go_by_their_midnights():
    units = [read(rows("2024-06-01", 100, tz, "6h"), SCHEMA)[0].frequency.unit for tz in ("Europe/Paris", "UTC")]
    assert units == ["wall_clock", "microsecond"]
    of_utc = rows("2024-06-01", 100, "UTC", "6h").assign(ds=lambda t: t.ds.dt.tz_convert("Europe/Paris"))
    assert read(of_utc, SCHEMA)[0].frequency.unit == "microsecond"


# --- ahead ---


@settings(max_examples=150, deadline=None)
@given(
    tz=st.sampled_from(ZONES),
    freq=st.sampled_from(["h", "30min", "15min"]),
    start=st.integers(0, 24 * 365 * 14),
    horizon=st.integers(1, 120),
)
def test_a_forecast_shows_time_as_it_passes(tz, freq, start, horizon):
    begin = pd.Timestamp("2011-12-20", tz="UTC") + pd.Timedelta(hours=start)
    frame = rows(begin, 130, None, freq).assign(ds=lambda t: t.ds.dt.tz_convert(tz))
    panel, _ = read(frame.iloc[:10], SCHEMA, freq=freq)
    last = to_times(panel.last_ordinal, panel.frequency)
    if panel.frequency.unit == "wall_clock" and moments(last, tz)[0] < moments(last, tz)[1]:
        return  # The origin lies within a repeated hour: see the test of its second pass.
    out = ahead(panel, horizon)
    assert (pd.DatetimeIndex(out.ds) == pd.DatetimeIndex(frame.ds[10 : 10 + horizon])).all()
    if panel.frequency.unit == "wall_clock":
        np.testing.assert_array_equal(out["mean"], out.ds.dt.hour + out.ds.dt.minute / 60)
    assert elapsed_steps(panel, points_ahead(panel, horizon)).tolist() == [horizon]


def test_models_of_before_the_wall_clock_go_on_with_time_that_passes():
    frame = rows("2024-03-28", 200)
    older, _ = read(frame.iloc[:60].assign(ds=lambda t: t.ds.dt.tz_convert("UTC")), SCHEMA)
    older = replace(older, tz="Europe/Paris")
    joined = extend(older, read(frame.iloc[60:], SCHEMA, like=older)[0])
    assert (joined.frequency.unit, joined.lengths.tolist()) == ("microsecond", [200])
    out = forecast_frame(older, older.last_ordinal + HOUR * np.arange(1, 141), np.zeros((140, 1)), ("mean",))
    assert (pd.DatetimeIndex(out.ds) == pd.DatetimeIndex(frame.ds[60:])).all()


def test_a_date_far_off_is_refused_in_time():
    frame = pd.concat([rows("2024-03-28", 200), rows("2024-01-01", 1).assign(ds=pd.Timestamp("2250-12-31", tz="UTC"))])
    with pytest.raises(DataError, match="correct the wrong date"):
        read(frame.assign(ds=lambda t: t.ds.astype(str)), SCHEMA, timezone="Europe/Paris")


def test_each_series_is_shown_for_the_same_time():
    frame = pd.concat([rows("2024-03-27", 90, name="a"), rows("2024-03-27", 40, name="b")])
    panel, _ = read(frame, KNOWN)
    assert points_ahead(panel, 24).tolist() == [25, 24]
    assert wall_clock_steps(panel, 24) == 25
    assert elapsed_steps(panel, np.array([25, -3])).tolist() == [24, 0]
    out = ahead(panel, 24)
    assert out.groupby("id").size().tolist() == [24, 24]
    for name, part in out.groupby("id"):
        steps = part.ds.dt.tz_convert("UTC").diff().dropna()
        assert (steps == pd.Timedelta("1h")).all()
        assert part.ds.iloc[0] == frame.ds[frame.id == name].iloc[-1] + pd.Timedelta("1h")
    plain, _ = read(frame.assign(ds=frame.ds.dt.tz_convert("UTC")), KNOWN)
    assert points_ahead(plain, 24).tolist() == [24, 24]


def test_a_gap_is_counted_on_the_clock():
    panel, _ = read(rows("2024-03-28", 71), SCHEMA)
    assert str(panel.last_ordinal.astype("datetime64[us]")[0])[:13] == "2024-03-30T22"
    assert ahead(panel, 24, gap=24).ds.iloc[0] == pd.Timestamp("2024-03-31 23:00", tz="Europe/Paris")
    assert [to_times(first_ahead(panel, gap), panel.frequency)[0].item().hour for gap in (0, 2, 3, 4)] == [23, 1, 3, 3]


def test_known_covariates_over_a_skipped_hour_are_complete():
    frame = rows("2024-03-25", 24 * 8)
    cut = int((frame.ds < pd.Timestamp("2024-03-31 03:00", tz="Europe/Paris")).sum()) - 1
    panel, _ = read(frame.iloc[: cut + 1], KNOWN)
    future, findings = read(frame.iloc[cut + 1 : cut + 25].drop(columns="y"), KNOWN, like=panel)
    assert findings == ()
    assert (future.start == first_ahead(panel)).all()
    longer = extend(panel, future, "future")
    needed = points_ahead(panel, 24)
    assert needed.tolist() == [25]
    assert completed(longer, needed, "error", ()) == (longer, "")
    assert longer.known[cut : cut + 3, 0].tolist() == [2, 4, 6]
    assert reaching(longer, 25) is longer
    assert len(reaching(longer, 30).known) == len(longer.known) + 5
    with pytest.raises(FutureError, match=r"first id=a at 2024-03-31 03:00:00, 2024-03-31 04:00:00; give") as refused:
        completed(panel, 3, "nan", ())
    assert [str(time) for time in refused.value.missing["ds"]] == [f"2024-03-31 0{h}:00:00+02:00" for h in (3, 4)]
    hole = frame.iloc[cut + 1 : cut + 25].assign(x=lambda t: t.x.where(t.index > cut + 1), y=np.nan)
    holed = extend(panel, read(hole, KNOWN, like=panel)[0], "future")
    lacking = completed(holed, needed, "nan", ())[1]
    assert "in 1 future rows, first 'x' of id=a at 2024-03-31 03:00:00;" in lacking
    carried = completed(holed, needed, "carry", ())[0]
    assert carried.known[cut : cut + 4, 0].tolist() == [2, 2, 2, 8]


def test_the_second_pass_of_the_hour_that_a_series_ends_in_may_follow():
    frame = rows("2024-10-26", 80, freq="30min").assign(y=np.arange(80.0))
    for end in (53, 54):
        panel, _ = read(frame.iloc[:end], SCHEMA)
        later, _ = read(frame.iloc[end:], SCHEMA, like=panel)
        joined = extend(panel, later)
        whole, _ = read(frame, SCHEMA)
        assert (joined.start, joined.lengths) == (whole.start, whole.lengths)
        assert (joined.target == whole.target).sum() >= whole.lengths[0] - 2
        with pytest.raises(FutureError, match="not after the model's last one"):
            extend(panel, read(frame.iloc[50:], SCHEMA, like=panel)[0])


# --- reading local times ---


def naive(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(ds=frame.ds.dt.tz_localize(None))


@settings(max_examples=60, deadline=None)
@given(
    # Hours of UTC come once in an hour and a half that Lord Howe repeats half of: nothing tells which pass.
    place=st.sampled_from([(tz, freq) for tz in ZONES for freq in ("h", "30min") if (tz, freq) != (ZONES[3], "h")]),
    start=st.integers(0, 365 * 14),
)
def test_local_times_without_a_zone(place, start):
    tz, freq = place
    begin = pd.Timestamp("2011-01-01", tz="UTC") + pd.Timedelta(days=start)
    parts = [rows(begin, 200, None, freq, name).assign(ds=lambda t: t.ds.dt.tz_convert(tz)) for name in "ab"]
    zoned = pd.concat(parts, ignore_index=True)
    panel, findings = read(naive(zoned), SCHEMA, freq=freq, timezone=tz)
    assert (findings, panel.tz) == ((), tz)
    same(panel, read(zoned, SCHEMA, freq=freq)[0])


def test_zones_meet_at_the_same_panel(tmp_path):
    zoned = rows("2024-03-20", 24 * 20)
    wanted, _ = read(zoned, KNOWN)
    utc = zoned.assign(ds=zoned.ds.dt.tz_convert("UTC"))
    same(read(utc, KNOWN, timezone="Europe/Paris")[0], wanted)
    same(read(naive(utc), KNOWN, timezone="UTC>Europe/Paris")[0], wanted)
    same(read(naive(utc).assign(ds=lambda t: t.ds.astype(str)), KNOWN, timezone="UTC>Europe/Paris")[0], wanted)
    write_table(zoned, tmp_path / "t.csv")
    same(read(tmp_path / "t.csv", KNOWN, timezone="Europe/Paris")[0], wanted)
    later = naive(rows("2024-04-10", 24))
    same(
        read(later, KNOWN, like=wanted, timezone="Europe/Paris")[0],
        read(rows("2024-04-10", 24), KNOWN, like=wanted)[0],
    )
    with pytest.raises(FutureError, match="time zone none, that of the training data Europe/Paris"):
        read(later, KNOWN, like=wanted)


def test_utc_taken_for_local_time_is_told():
    utc = naive(rows("2024-03-25", 24 * 10, "UTC", name="s1"))
    with pytest.raises(DataError) as told:
        read(utc, SCHEMA, timezone="Europe/Paris")
    assert "does not hold local times of zone Europe/Paris" in str(told.value)
    assert "first 2024-03-31 02:00 (row 146, id=s1)" in str(told.value)
    assert "timezone='UTC>Europe/Paris'" in str(told.value)


def test_a_repeated_hour_is_resolved_in_order_however_the_rows_lie():
    frame = rows("2024-10-26 23:00", 12, freq="30min").assign(y=np.arange(12.0))
    wanted, _ = read(frame, SCHEMA)
    by_time = naive(frame).sort_values("ds", kind="stable")
    assert by_time.y.tolist() != frame.y.tolist()
    for table in (naive(frame), by_time):
        same(read(table, SCHEMA, timezone="Europe/Paris")[0], wanted)
    once, findings = read(naive(frame).drop(index=[8]), SCHEMA, timezone="Europe/Paris")
    assert (findings, once.target[6]) == ((), 6)
    with pytest.raises(DataError, match="1 rows repeat a time"):
        read(pd.concat([naive(frame), naive(frame).iloc[[8]]]), SCHEMA, timezone="Europe/Paris")


def test_days_stay_local_dates():
    days = pd.DataFrame({"id": "a", "ds": pd.date_range("2018-10-10", periods=60), "y": 1.0})
    panel, findings = read(days, SCHEMA, timezone="America/Sao_Paulo")
    assert (panel.frequency, panel.tz, findings) == (Frequency("day"), "America/Sao_Paulo", ())
    assert to_times(panel.start, panel.frequency)[0] == np.datetime64("2018-10-10")
    assert panel.lengths.tolist() == [60]
    with pytest.raises(ConfigError, match="'ds' holds whole numbers, which have no zone"):
        read(days.assign(ds=range(60)), SCHEMA, timezone="Europe/Paris")


def test_mixed_offsets_are_told_unless_the_zone_is_named(tmp_path):
    frame = rows("2024-03-25", 24 * 10)
    write_table(frame, tmp_path / "t.csv")
    panel, (finding,) = read(tmp_path / "t.csv", SCHEMA)
    assert (panel.tz, finding.code, finding.severity, finding.column) == ("UTC", "mixed_offsets", "alert", "ds")
    assert "(+01:00, +02:00)" in finding.message
    assert "timezone='Europe/Paris'" in finding.remedy
    assert read(tmp_path / "t.csv", SCHEMA, timezone="Europe/Paris")[1] == ()
    write_table(frame.iloc[:100], tmp_path / "winter.csv")
    assert read(tmp_path / "winter.csv", SCHEMA)[1] == ()
