"""Holidays of points: golden dates, days around them, counts in periods, places of each series, tables of one's own."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import holidays as library
import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.data.panel import Panel
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError, DataError
from forecastml.features.holiday_features import Holidays, check_places
from forecastml.features.holiday_table import holiday_rows
from forecastml.features.holidays import holiday_codes, holiday_days, holiday_names
from forecastml.learners.prophet_curve import Design
from forecastml.task import task_from_json, task_to_json
from tests.features.points import dated, told


def days_of(panel: Panel, feature: Holidays) -> dict[str, dict[str, float]]:
    """Feature -> date -> value, for one daily series."""
    dates = [str(day) for day in (panel.start[0] + np.arange(panel.lengths[0])).astype("datetime64[D]")]
    return {name: dict(zip(dates, values, strict=True)) for name, values in told(feature, panel).items()}


def placed(panel: Panel, places: list[str], role: str = "series") -> Panel:
    """The panel with a column `state` that holds these places."""
    if role == "series":
        keys = np.array([[place, str(i)] for i, place in enumerate(places)], dtype=object)
        return replace(panel, keys=keys, schema=Schema("y", "ds", series=("state", "item")))
    texts = tuple(sorted(set(places) - {""}))
    codes = np.array([[texts.index(place) if place else -1] for place in places], dtype=float)
    schema = Schema("y", "ds", series=("unique_id",), static=("state",))
    return replace(panel, static=codes, categories={"state": texts}, schema=schema)


def test_easter_and_thanksgiving_move():
    german, american = Holidays(("DE-BB",)), Holidays(("US",))
    spring = days_of(dated("D", ["2011-04-20"], [10]), german)
    label = {date: german.labels[int(code)] for date, code in spring["holiday_label"].items()}
    assert label["2011-04-24"] == "Easter Sunday"
    assert (label["2011-04-22"], label["2011-04-25"]) == ("Good Friday", "Easter Monday")
    assert label["2011-04-21"] == "1 day before Good Friday"
    assert label["2011-04-26"] == "1 day after Easter Monday"
    assert spring["is_holiday"]["2011-04-24"] == 1 and spring["is_holiday"]["2011-04-23"] == 0
    later = days_of(dated("D", ["2019-04-20"], [3]), german)
    assert german.labels[int(later["holiday_label"]["2019-04-21"])] == "Easter Sunday"
    autumn = days_of(dated("D", ["2011-11-20"], [30]), american)
    assert [date for date, flag in autumn["is_holiday"].items() if flag] == ["2011-11-24"]
    assert autumn["days_to_holiday"]["2011-11-20"] == 4 and autumn["days_since_holiday"]["2011-11-27"] == 3
    assert autumn["days_to_holiday"]["2011-11-24"] == autumn["days_since_holiday"]["2011-11-24"] == 0
    assert autumn["days_to_holiday"]["2011-11-25"] == 14, "Christmas is further away than is told"


def test_a_subdivision_has_holidays_of_its_own():
    panel = dated("D", ["2012-01-06"], [1])
    assert told(Holidays(("DE-BY",)), panel)["is_holiday"] == [1]
    assert told(Holidays(("DE",)), panel)["is_holiday"] == [0]
    assert told(Holidays(("DE", "DE-BY")), panel)["is_holiday"] == [1]


def test_a_day_off_on_a_weekend_is_none():
    # Christmas 2022 is a Sunday, and the Monday after it is off instead.
    found = days_of(dated("D", ["2022-12-23"], [6]), Holidays(("US",)))
    assert [date[-2:] for date, off in found["paid_time_off"].items() if off] == ["26"]
    assert [date[-2:] for date, flag in found["is_holiday"].items() if flag] == ["25", "26"]
    # The weekend of Saudi Arabia is Friday and Saturday: its national day on a Sunday is off.
    assert told(Holidays(("SA",)), dated("D", ["2018-09-23"], [1]))["paid_time_off"] == [1]


def test_local_dates_around_midnight():
    # ANZAC Day 2014 in Melbourne, ten hours ahead of UTC.
    panel = dated("30min", ["2014-04-24T13:00"], [52], "Australia/Melbourne")
    found = told(Holidays(("AU-VIC",)), panel)["is_holiday"]
    assert found == [0, 0] + [1] * 48 + [0, 0]
    utc = told(Holidays(("AU-VIC",)), replace(panel, tz=None))["is_holiday"]
    assert utc == [0] * 22 + [1] * 30


def test_the_window_is_declared_or_follows_the_holiday():
    wide, bare = Holidays(("US",), window=(10, 10)), Holidays(("US",), window=(0, 0))
    names = holiday_names(("US",))
    assert bare.labels == names and wide.labels[: len(names)] == names
    assert len(wide.labels) == 21 * len(names)
    panel = dated("D", ["2011-11-10"], [60])
    labels = days_of(panel, wide)["holiday_label"]
    assert wide.labels[int(labels["2011-12-04"])] == "10 days after Thanksgiving Day"
    assert wide.labels[int(labels["2011-12-15"])] == "10 days before Christmas Day"
    usual = Holidays(("US",))
    assert "7 days before Christmas Day" in usual.labels and "8 days before Christmas Day" not in usual.labels
    assert "3 days before Labor Day" in usual.labels and "2 days after Labor Day" not in usual.labels
    np.testing.assert_array_equal(
        told(bare, panel)["holiday_label"], holiday_codes(("US",), panel.start[0] + np.arange(60))
    )


@pytest.mark.parametrize(
    ("freq", "start", "bounds"),
    [
        ("W", "2010-01-03", lambda day: (day, day + pd.Timedelta(days=7))),
        ("MS", "2010-01-01", lambda day: (day, day + pd.DateOffset(months=1))),
        ("ME", "2010-01-31", lambda day: (day.replace(day=1), day + pd.Timedelta(days=1))),
        ("QS", "2010-01-01", lambda day: (day, day + pd.DateOffset(months=3))),
        ("2D", "2010-01-01", lambda day: (day, day + pd.Timedelta(days=2))),
    ],
)
def test_counts_in_periods_by_brute_force(freq, start, bounds):
    panel = dated(freq, [start], [60])
    feature = Holidays.of(panel, ("DE-BY",))
    assert feature.counts and feature.names == ("holiday_days", "holiday_label", "paid_days_off", "working_days")
    found = told(feature, panel)
    known = library.country_holidays("DE", subdiv="BY", years=range(2009, 2027), language="en_US")
    for place, day in enumerate(pd.date_range(start, periods=60, freq=freq)):
        first, end = bounds(day)
        period = [date.date() for date in pd.date_range(first, end - pd.Timedelta(days=1))]
        hits = [date for date in period if date in known]
        off = [date for date in hits if date.weekday() < 5]
        assert found["holiday_days"][place] == len(hits)
        assert found["paid_days_off"][place] == len(off)
        assert found["working_days"][place] == sum(date.weekday() < 5 for date in period) - len(off)
        code = found["holiday_label"][place]
        assert (feature.labels[int(code)] in known.get_list(hits[0])) if hits else np.isnan(code)


def test_easter_moves_between_months():
    panel = dated("MS", ["2011-03-01", "2013-03-01"], [2, 2])
    assert told(Holidays.of(panel, ("DE",)), panel)["holiday_days"] == [0, 2, 1, 1]


@pytest.mark.parametrize("role", ["series", "static"])
def test_each_series_has_its_own_place(role):
    places = ["US", "DE-BY", "", "US"]
    panel = placed(dated("D", ["2012-01-01"] * 4, [30] * 4), places, role)
    feature = Holidays.of(panel, ("column:state",))
    assert feature.seen == holiday_names(("DE-BY", "US"))
    columns = np.array(list(told(feature, panel).values())).reshape(5, 4, 30)
    for i, place in enumerate(places):
        fixed = Holidays((place,) if place else (), seen=feature.seen)
        alone = dated("D", ["2012-01-01"], [30])
        np.testing.assert_array_equal(columns[:, i], np.array(list(told(fixed, alone).values())))
    assert columns[0, 1, 5] == 1 and columns[0, 0, 5] == 0, "Epiphany is a holiday in Bavaria alone"
    nowhere = columns[:, 2]
    assert not nowhere[0].any() and np.isnan(nowhere[1]).all() and (nowhere[2:4] == 14).all()


def test_whole_numbers_have_no_holidays():
    numbers = pd.DataFrame({"ds": np.arange(30), "y": np.arange(30.0)})
    with pytest.raises(ConfigError, match="holidays need dates, and 'ds' holds whole numbers"):
        fm.Forecasting(3, holidays="US").read(numbers)


def test_places_of_series_join_those_of_all():
    panel = placed(dated("D", ["2012-01-01"] * 2, [30] * 2), ["DE-BY", ""])
    found = np.array(told(Holidays.of(panel, ("US", "column:state")), panel)["is_holiday"]).reshape(2, 30)
    assert [list(np.flatnonzero(flags) + 1) for flags in found] == [[1, 2, 6, 16], [1, 2, 16]]


def test_an_unknown_place_is_refused_when_read_and_harmless_later():
    panel = placed(dated("D", ["2012-01-01"] * 2, [20] * 2), ["US", "TX"])
    with pytest.raises(ConfigError, match=r"column 'state'.*'TX' \(state=TX, item=1\).*US-TX"):
        check_places(panel, ("column:state",))
    check_places(panel, ("column:state",), (("2012-01-03", "Fair", "TX"),))
    feature = Holidays(("column:state",), seen=holiday_names(("US",)))
    found = np.array(told(feature, panel)["is_holiday"]).reshape(2, 20)
    assert found[0].any() and not found[1].any()
    # A place that came later: a holiday, without a code for its name.
    late = told(feature, placed(dated("D", ["2012-01-06"], [1]), ["DE-BY"]))
    assert late["is_holiday"] == [1] and np.isnan(late["holiday_label"][0])
    with pytest.raises(ConfigError, match="'region' is neither a series key"):
        check_places(panel, ("column:region",))


def test_a_series_is_told_the_same_among_others():
    panel = placed(dated("W", ["2012-01-01", "2012-01-04", "2015-06-01"], [30, 20, 10]), ["US", "DE-BY", "US"])
    feature = Holidays.of(panel, ("column:state",))
    whole = np.array(list(told(feature, panel).values()))
    for i, rows in enumerate(np.split(np.arange(60), [30, 50])):
        alone = panel.select(np.array([i]))
        np.testing.assert_array_equal(np.array(list(told(feature, alone).values())), whole[:, rows])


TABLE = (("2012-01-03", "Sale", ""), ("2012-01-05", "Fair", "DE"), ("2012-01-10", "Fair", "US-TX"))


def test_own_tables_count_where_they_say():
    panel = placed(dated("D", ["2012-01-01"] * 3, [14] * 3), ["DE-BY", "US", "US-TX"])
    feature = Holidays.of(panel, ("column:state",), TABLE)
    assert {"Sale", "Fair"} <= set(feature.labels)
    found = np.array(told(feature, panel)["is_holiday"]).reshape(3, 14)
    assert [list(np.flatnonzero(flags) + 1) for flags in found] == [[1, 3, 5, 6], [1, 2, 3], [1, 2, 3, 10]]
    off = np.array(told(feature, panel)["paid_time_off"]).reshape(3, 14)
    assert not off[:, 2].any(), "a day of a table is no paid one"
    own = Holidays((), (("2012-01-03", "Sale", ""),))
    assert list(np.flatnonzero(told(own, dated("D", ["2012-01-01"], [14]))["is_holiday"])) == [2]


def test_a_place_of_a_table_alone_needs_no_library():
    panel = placed(dated("D", ["2012-01-01"] * 2, [14] * 2), ["depot", "US"])
    feature = Holidays.of(panel, ("column:state",), (("2012-01-04", "Stocktaking", "depot"),))
    found = np.array(told(feature, panel)["is_holiday"]).reshape(2, 14)
    assert [list(np.flatnonzero(flags) + 1) for flags in found] == [[4], [1, 2]]


def test_names_and_codes_do_not_depend_on_the_dates():
    old, new = (dated("D", [start], [400]) for start in ("1995-03-01", "2024-03-01"))
    features = [Holidays.of(panel, ("US", "DE")) for panel in (old, new)]
    assert features[0] == features[1] and features[0].labels == features[1].labels
    code = features[0].labels.index("Christmas Day")
    for panel in (old, new):
        hits = np.flatnonzero(np.array(told(features[0], panel)["holiday_label"]) == code) + panel.start[0]
        assert [str(day)[5:] for day in hits.astype("datetime64[D]")] == ["12-25"]


@pytest.mark.parametrize(
    "table",
    [
        [("2012-01-05", "Fair"), (datetime.date(2012, 1, 3), "Sale", "US")],
        pd.DataFrame({"date": ["2012-01-05", "2012-01-03"], "name": ["Fair", "Sale"], "place": [None, "US"]}),
        pd.DataFrame(
            {"date": pd.to_datetime(["2012-01-05", "2012-01-03"]), "name": ["Fair", "Sale"], "place": ["", "US"]}
        ),
        pd.DataFrame(
            {
                # The evening of the day before in UTC.
                "date": pd.to_datetime(["2012-01-05", "2012-01-03"]).tz_localize("Australia/Melbourne"),
                "name": ["Fair", "Sale"],
                "place": ["", "US"],
            }
        ),
    ],
    ids=["rows", "text", "dates", "zoned"],
)
def test_tables_of_all_kinds_are_the_same_rows(table):
    assert holiday_rows(table) == (("2012-01-03", "Sale", "US"), ("2012-01-05", "Fair", ""))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([("2012-01", "Fair")], "row 0.*'2012-01'.*YYYY-MM-DD"),
        ([("2012-01-03", "Sale"), ("someday !", "Fair")], "row 1.*YYYY-MM-DD"),
        ([("2012-01-03", "")], "no name"),
        ([("2012-01-03",)], r"\(date, name\)"),
        ([], "no rows"),
        (pd.DataFrame({"day": ["2012-01-03"], "name": ["Sale"]}), "'date' not found.*'day'"),
        (pd.DataFrame({"date": [3], "name": ["Sale"]}), "column 'date' holds int64"),
        ("no_such_file.csv", "no_such_file"),
    ],
)
def test_bad_tables_are_refused(table, says):
    with pytest.raises(DataError, match=says):
        fm.Forecasting(horizon=1, holidays="US", holiday_table=table)


def test_the_task_reads_tables_and_places(tmp_path):
    path = tmp_path / "holidays.csv"
    path.write_text("date,name,place\n2012-01-03,Sale,\n2012-01-05,Fair,DE\n", encoding="utf-8")
    task = fm.Forecasting(horizon=2, series=("state", "item"), holidays=("US", "column:state"), holiday_table=path)
    assert task.holiday_table == (("2012-01-03", "Sale", ""), ("2012-01-05", "Fair", "DE"))
    assert task_from_json(json.loads(json.dumps(task_to_json(task)))) == task
    rows = pd.DataFrame({"state": "DE-BY", "item": "a", "ds": pd.date_range("2012-01-01", periods=30), "y": 1.0})
    panel = task.read(rows).data
    context = task.context(panel, ())
    assert (context.holidays, context.holiday_table) == (("US", "column:state"), task.holiday_table)
    with pytest.raises(ConfigError, match="'Bayern'"):
        task.read(rows.assign(state="Bayern"))
    with pytest.raises(ConfigError, match="no series has one"):
        fm.Forecasting(horizon=2, holiday_table=path)
    # Prophet has one set of holidays for all series: those of all.
    assert Design.of(panel, (), ("US", "column:state"), False).holidays == holiday_names(("US",))
    assert Design.of(panel, (), ("column:state",), False).holidays == ()


@pytest.mark.parametrize("declared", [{"window": (1,)}, {"window": (-1, 2)}, {"reach": 0}])
def test_what_cannot_be_declared_is_refused(declared):
    with pytest.raises(ConfigError, match=r"from (0 to 60|1 to 365)"):
        Holidays(("US",), **declared)


def test_integer_time_has_no_holidays():
    panel = Panel.of([[1.0, 2.0]])
    with pytest.raises(ConfigError, match="holidays need dates"):
        told(Holidays(("US",)), panel)


def test_the_library_is_asked_for_complete_years():
    found = holiday_days(("US",), *(np.array(["2011-06-01", "2012-06-01"], "datetime64[D]").astype(int)))
    assert [str(day) for day in found["Thanksgiving Day"].astype("datetime64[D]")] == ["2011-11-24", "2012-11-22"]
