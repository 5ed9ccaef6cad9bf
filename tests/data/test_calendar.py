"""Names of frequencies, inference under gaps, ordinals, seasons and calendar fields, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.calendar import (
    alias,
    anchor,
    calendar_fields,
    infer_frequency,
    natural_seasons,
    parse_frequency,
    series_frequencies,
    to_ordinals,
    to_times,
)
from forecastml.data.schema import Frequency
from forecastml.data.zones import to_local, to_utc
from forecastml.errors import ConfigError, FrequencyError

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
CLOCK = ("h", "2h", "6h", "12h", "30min", "15min", "10min", "5min", "min", "s", "10s", "250ms")
CURRENT = (
    *("D", "2D", "3D", "7D", "10D", "B", "W", "2W", "4W", "MS", "ME", "2MS", "6ME", "QS", "QE", "2QS", "YS", "YE"),
    *CLOCK,
    *(f"W-{day}" for day in DAYS),
    *(f"{unit}-{month}" for unit in ("QS", "QE", "YS", "YE") for month in MONTHS),
)
OLD = {"M": "ME", "Q": "QE", "A": "YE", "Y": "YE", "AS": "YS", "H": "h", "T": "min", "15T": "15min", "S": "s"}
OLD |= {"Q-NOV": "QE-NOV", "A-JUN": "YE-JUN", "L": "ms", "d": "D", "w": "W", "2b": "2B"}


def lone(times: np.ndarray) -> Frequency:
    return infer_frequency(times, np.array([0]), np.array([len(times)]))


@settings(deadline=None, max_examples=150)
@given(
    name=st.sampled_from(CURRENT),
    start=st.datetimes(pd.Timestamp(1950, 1, 1), pd.Timestamp(2050, 1, 1)),
    clock=st.booleans(),
    dropped=st.sets(st.integers(1, 58), max_size=15),
)
def test_any_alias_from_any_start_is_found_under_gaps_and_continues_the_pandas_grid(name, start, clock, dropped):
    start = start.replace(microsecond=0) if clock else start.replace(hour=0, minute=0, second=0, microsecond=0)
    times = pd.date_range(start, periods=80, freq=name).to_numpy("datetime64[us]")
    kept = times[[i for i in range(60) if i not in dropped]]
    frequency = lone(kept)
    expected = parse_frequency(name)
    assert (frequency.unit, frequency.step) == (expected.unit, expected.step)
    ordinals, on_grid = to_ordinals(kept, frequency)
    assert on_grid.all()
    np.testing.assert_array_equal(to_times(ordinals[-1] + frequency.step * np.arange(21), frequency), times[59:])
    continued = pd.date_range(kept[-1], periods=21, freq=alias(frequency, int(ordinals[-1])))
    np.testing.assert_array_equal(continued.to_numpy("datetime64[us]"), times[59:])


@pytest.mark.parametrize("name", CURRENT)
def test_alias_prints_what_pandas_prints(name):
    times = pd.date_range("2021-03-05", periods=3, freq=name)
    frequency = parse_frequency(name)
    first = int(to_ordinals(times.to_numpy("datetime64[us]"), frequency)[0][0])
    np.testing.assert_array_equal(pd.date_range(times[0], periods=3, freq=alias(frequency, first)), times)
    assert parse_frequency(alias(frequency, first)) == frequency
    stated = anchor(name)
    assert stated is None or first % stated[1] == stated[0]


@pytest.mark.parametrize(("old", "current"), OLD.items())
def test_old_spellings_name_the_same_grid(old, current):
    assert parse_frequency(old) == parse_frequency(current)
    assert anchor(old) == anchor(current)


def test_alias_of_anchored_grids():
    day = {weekday: int(np.datetime64(f"2024-01-{i + 1:02d}").astype(int)) for i, weekday in enumerate(DAYS)}
    assert [alias(Frequency("day", 7), day[name]) for name in DAYS] == [f"W-{name}" for name in DAYS]
    assert [alias(Frequency("month_start", 3), m) for m in range(4)] == ["QS-JAN", "QS-FEB", "QS-MAR", "QS-JAN"]
    assert [alias(Frequency("month_end", 3), m) for m in range(3)] == ["QE-OCT", "QE-NOV", "QE-DEC"]
    assert alias(Frequency("month_end", 12), 11) == "YE-DEC"
    assert alias(Frequency("integer", 5)) == "5"
    assert alias(Frequency("microsecond", 5_400_000_000)) == "90min"


@pytest.mark.parametrize("step", [1, 7, np.int64(3), "1", "12"])
def test_integers_are_integer_time(step):
    assert parse_frequency(step) == Frequency("integer", int(step))
    assert anchor(step) is None


def test_pandas_offsets_are_accepted():
    assert parse_frequency(pd.offsets.MonthBegin(2)) == Frequency("month_start", 2)


@pytest.mark.parametrize(
    "wrong", ["", "X", "SM", "BMS", "C", "1.5h", "-1D", "MS-JAN", "W-JAN", "Q-MON", "h-MON", "0D", 0]
)
def test_frequencies_without_a_grid_are_refused(wrong):
    with pytest.raises(ConfigError):
        parse_frequency(wrong)


def test_a_panel_votes_and_the_finer_grid_wins_a_tie():
    hours = np.datetime64("2024-01-01", "us") + np.arange(10) * np.timedelta64(1, "h")
    days = np.datetime64("2024-01-01", "us") + np.arange(10) * np.timedelta64(1, "D")
    ends = np.array([10, 20, 30])
    assert infer_frequency(np.concatenate([days, days, hours]), ends - 10, ends) == Frequency("day")
    tie = np.concatenate([days, hours])
    assert infer_frequency(tie, ends[:2] - 10, ends[:2]) == Frequency("microsecond", 3_600_000_000)
    distinct, own = series_frequencies(np.concatenate([days, hours[:2], hours]), *np.array([[0, 10, 12], [10, 12, 22]]))
    assert [None if i < 0 else distinct[i].unit for i in own] == ["day", None, "microsecond"]


def test_a_few_wrong_dates_do_not_change_the_grid():
    months = pd.date_range("2015-01-01", periods=40, freq="MS").to_numpy("datetime64[us]").copy()
    months[7] += np.timedelta64(16, "D")
    frequency = lone(months)
    assert frequency == Frequency("month_start")
    np.testing.assert_array_equal(np.flatnonzero(~to_ordinals(months, frequency)[1]), [7])
    hours = np.datetime64("2024-01-01", "us") + np.arange(60) * np.timedelta64(1, "h")
    hours[30] += np.timedelta64(17, "m")
    assert lone(hours) == Frequency("microsecond", 3_600_000_000)


def test_short_and_sparse_series():
    day = np.datetime64("2024-01-01", "us")
    steps = np.timedelta64(1, "D")
    assert lone(day + np.array([0, 14, 35]) * steps) == Frequency("day", 7)
    assert lone(day + np.array([0, 1, 2]) * steps) == Frequency("day")
    assert lone(day + np.array([3, 4, 7]) * steps) == Frequency("business_day")
    assert lone(np.array([5, 10, 20])) == Frequency("integer", 5)


def test_a_monday_after_the_friday_of_another_series_is_no_evidence_of_business_days():
    friday = np.datetime64("2024-01-05", "us")
    step = np.timedelta64(1, "D")
    times = np.concatenate([friday + np.arange(-3, 1) * step, friday + np.arange(3, 7) * step])
    assert infer_frequency(times, np.array([0, 4]), np.array([4, 8])) == Frequency("day")


@pytest.mark.parametrize(
    "offsets",
    [[0, 1], [0, 1_000_003, 9_000_017, 400_000_123], [0, 15 * 86_400, 47 * 86_400 + 5]],
    ids=["two rows", "irregular", "irregular days"],
)
def test_no_frequency_is_an_error_that_asks_for_freq(offsets):
    times = np.datetime64("2024-01-01", "us") + np.array(offsets) * np.timedelta64(1, "s")
    with pytest.raises(FrequencyError, match="pass freq"):
        lone(times)


def test_dates_and_integers_do_not_mix():
    with pytest.raises(FrequencyError, match="holds dates"):
        to_ordinals(np.array(["2024-01-01"], "datetime64[us]"), Frequency("integer"))
    with pytest.raises(FrequencyError, match="holds integers"):
        to_ordinals(np.array([1]), Frequency("day"))


def test_off_grid_timestamps_are_marked():
    times = np.array(["2024-02-01", "2024-02-17", "2024-02-29", "2024-02-01T06"], "datetime64[us]")
    assert to_ordinals(times, Frequency("month_start"))[1].tolist() == [True, False, False, False]
    assert to_ordinals(times, Frequency("month_end"))[1].tolist() == [False, False, True, False]
    assert to_ordinals(times, Frequency("business_day"))[1].tolist() == [True, False, True, False]
    assert to_ordinals(times, Frequency("day"))[1].tolist() == [True, True, True, False]
    six = Frequency("month_start", 1, 6 * 3_600_000_000)
    assert to_ordinals(times, six)[1].tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "seasons"),
    [
        *[("h", (24, 168)), ("30min", (48, 336)), ("15min", (96, 672)), ("10min", (144, 1008)), ("5min", (288, 2016))],
        *[("min", (60, 1440, 10080)), ("s", (60, 3600, 86400)), ("2h", (12, 84)), ("5h", ()), ("D", (7, 365))],
        *[
            ("B", (5,)),
            ("W", (52,)),
            ("7D", (52,)),
            ("2W", (26,)),
            ("3W", ()),
            ("2D", ()),
            ("MS", (12,)),
            ("ME", (12,)),
        ],
        *[("2MS", (6,)), ("QS", (4,)), ("QE", (4,)), ("YS", ()), ("YE-JUN", ()), (1, ())],
    ],
)
def test_natural_seasons(name, seasons):
    assert natural_seasons(parse_frequency(name)) == seasons


def test_calendar_fields_agree_with_pandas():
    index = pd.date_range("2019-12-20 00:30", periods=20_000, freq="77min")
    frequency = parse_frequency("77min")
    fields = calendar_fields(to_ordinals(index.to_numpy("datetime64[us]"), frequency)[0], frequency)
    quarter_start = index.to_period("Q").start_time.normalize()
    expected = {
        "year": index.year,
        "half": (index.month > 6) + 1,
        "quarter": index.quarter,
        "month": index.month,
        "day": index.day,
        "wday": index.day_of_week,
        "qday": (index.normalize() - quarter_start).days + 1,
        "yday": index.day_of_year,
        "week": index.isocalendar().week,
        "hour": index.hour,
        "am_pm": index.hour >= 12,
        "hour12": index.hour % 12,
        "minute": index.minute,
    }
    assert list(fields) == list(expected)
    for name, values in expected.items():
        assert fields[name].dtype == np.float64
        np.testing.assert_array_equal(fields[name], np.asarray(values, dtype=np.float64), err_msg=name)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("MS", "year half quarter month"),
        ("ME", "year half quarter month"),
        ("QS", "year half quarter"),
        ("6MS", "year half"),
        ("YE", "year"),
        ("W-THU", "year half quarter month week"),
        ("D", "year half quarter month day wday qday yday week"),
        ("B", "year half quarter month day wday qday yday week"),
        ("12h", "year half quarter month day wday qday yday week hour am_pm"),
        ("h", "year half quarter month day wday qday yday week hour am_pm hour12"),
        ("10s", "year half quarter month day wday qday yday week hour am_pm hour12 minute second"),
        (1, ""),
    ],
)
def test_calendar_fields_are_pruned_by_frequency(name, fields):
    frequency = parse_frequency(name)
    found = calendar_fields(np.arange(20_000) * frequency.step, frequency)
    assert list(found) == fields.split()
    for field, values in found.items():
        if field not in ("year", "half", "quarter", "month", "day", "qday", "yday", "week", "wday"):
            assert len(np.unique(values)) > 1, field


def test_fields_of_month_ends_are_those_of_the_month():
    fields = calendar_fields(np.array([0, 1, 11, 12]), Frequency("month_end"))
    assert fields["month"].tolist() == [1, 2, 12, 1]
    assert fields["year"].tolist() == [1970, 1970, 1970, 1971]


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25)])
def test_local_clock_on_days_when_clocks_change(day, hours):
    index = pd.date_range(day, periods=hours, freq="h", tz="Europe/Paris")
    utc = index.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]")
    local = to_local(utc, "Europe/Paris")
    np.testing.assert_array_equal(local, index.tz_localize(None).to_numpy("datetime64[us]"))
    frequency = parse_frequency("h")
    fields = calendar_fields(to_ordinals(utc, frequency)[0], frequency, "Europe/Paris")
    np.testing.assert_array_equal(fields["hour"], index.hour.astype(float))
    assert set(fields["day"]) == {float(day[-2:])}
    first = np.flatnonzero(np.diff(local, prepend=local[:1] - np.timedelta64(1, "h")) != np.timedelta64(0))
    np.testing.assert_array_equal(to_utc(local[first], "Europe/Paris"), utc[first])
