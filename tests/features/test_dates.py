"""What dates tell about points: fields, cycles, waves, slots, age."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import numpy as np
import pytest

from forecastml.data.calendar import parse_frequency, to_ordinals
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError
from forecastml.features.dates import POINT_FEATURES, Age, Calendar, Cyclical, Fourier, Slots, automatic
from forecastml.features.holiday_features import Holidays
from forecastml.features.moments import distinct, is_coarse, local_periods
from forecastml.features.points import Points
from forecastml.features.waves import waves
from forecastml.protocols import FitContext
from tests.features.points import dated, every_point, told

FEATURES = [
    Calendar(("year", "month", "day", "wday")),
    Cyclical(("month", "yday")),
    Fourier((7, 365.25), (3, 2)),
    Slots((7, 10)),
    Age(),
    Holidays(("US",), (("2011-03-08", "Sale", ""),)),
]


def test_fields_of_known_dates():
    panel = dated("D", ["2012-02-28", "2010-12-31"], [3, 2])
    found = told(Calendar(("year", "quarter", "month", "day", "wday", "yday", "week")), panel)
    assert found["year"] == [2012, 2012, 2012, 2010, 2011]
    assert found["quarter"] == [1, 1, 1, 4, 1]
    assert found["month"] == [2, 2, 3, 12, 1]
    assert found["day"] == [28, 29, 1, 31, 1]
    assert found["wday"] == [1, 2, 3, 4, 5]
    assert found["yday"] == [59, 60, 61, 365, 1]
    assert found["week"] == [9, 9, 9, 52, 52]


@pytest.mark.parametrize(
    ("freq", "fields"),
    [
        ("30min", ("quarter", "month", "day", "wday", "yday", "week", "hour", "minute")),
        ("h", ("quarter", "month", "day", "wday", "yday", "week", "hour")),
        ("D", ("quarter", "month", "day", "wday", "yday", "week")),
        ("B", ("quarter", "month", "day", "wday", "yday", "week")),
        ("W", ("quarter", "month", "week")),
        ("MS", ("quarter", "month")),
        ("QE", ("quarter",)),
        ("YS", ()),
    ],
)
def test_fields_are_pruned_by_frequency(freq, fields):
    assert Calendar.automatic(parse_frequency(freq)).fields == fields


def test_the_clock_is_the_local_one():
    # Melbourne is eleven hours ahead in summer and ten in winter: 13:30 UTC lies after midnight in summer only.
    panel = dated("30min", ["2014-01-25T12:30", "2014-07-25T12:30"], [3, 3], "Australia/Melbourne")
    found = told(Calendar(("day", "hour", "minute")), panel)
    assert found["day"] == [25, 26, 26, 25, 25, 25]
    assert found["hour"] == [23, 0, 0, 22, 23, 23]
    assert found["minute"] == [30, 0, 30, 30, 0, 30]
    assert told(Slots((48,)), panel)["season48"] == [47, 0, 1, 45, 46, 47]


def test_cycles_close():
    panel = dated("MS", ["2019-12-01"], [14])
    found = told(Cyclical(("month",)), panel)
    assert tuple(found) == ("month_sin", "month_cos")
    sine, cosine = (np.array(values) for values in found.values())
    np.testing.assert_allclose(np.square(sine) + np.square(cosine), 1.0)
    steps = np.hypot(np.diff(sine), np.diff(cosine))
    np.testing.assert_allclose(steps, steps[0])
    np.testing.assert_allclose([sine[1], cosine[1], sine[4], cosine[4]], [0, 1, 1, 0], atol=1e-12)


def test_fourier_terms_by_their_formula():
    panel = dated("D", ["2011-03-01"], [900])
    feature = Fourier((7, 365.25), (3, 2))
    found = told(feature, panel)
    assert tuple(found)[:2] == ("sin1_7", "cos1_7") and tuple(found)[-1] == "cos2_365.25" and len(found) == 10
    t = panel.start[0] + np.arange(900)
    np.testing.assert_allclose(found["sin2_365.25"], np.sin(2 * np.pi * 2 * t / 365.25), atol=1e-8)
    np.testing.assert_allclose(found["cos3_7"], np.cos(2 * np.pi * 3 * t / 7), atol=1e-8)


def test_no_harmonic_is_told_twice():
    names = Fourier((24, 168), (12, 8)).names
    assert len(set(names)) == len(names)
    assert "sin11_24" in names and "sin12_24" not in names, "the sine of half a step's frequency is zero everywhere"
    assert "sin6_168" in names and "sin7_168" not in names and "sin8_168" in names
    assert [wave.harmonics for wave in waves((4.0,), (3,), taken={0.25})] == [()]


def test_slots_count_on_the_grid_and_ages_from_the_start():
    panel = Panel.of([[0.0] * 5, [0.0] * 3], Frequency("integer", 10), [100, 230])
    found = told(Slots((4,)), panel) | told(Age(), panel)
    assert found == {"season4": [2, 3, 0, 1, 2, 3, 0, 1], "age": [0, 1, 2, 3, 4, 0, 1, 2]}
    assert Slots((4,)).nominal == ("season4",)


def test_points_after_the_end_are_told_too():
    panel = dated("D", ["2011-12-30"], [1])
    at = Points(np.zeros(3, np.int64), np.arange(1, 4), np.arange(1, 4))
    assert [list(c) for c in Calendar(("day", "year")).columns(panel, at)] == [[31, 1, 2], [2011, 2012, 2012]]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.kind)
def test_a_declaration_is_json_and_names_the_columns(feature):
    values = json.loads(json.dumps(asdict(feature)))
    assert POINT_FEATURES[feature.kind](**values) == feature
    codes, numbers = getattr(feature, "categorical", ()), getattr(feature, "nominal", ())
    assert set(codes) <= set(numbers) <= set(feature.names)
    panel = dated("D", ["2011-03-05"], [5])
    columns = feature.columns(panel, every_point(panel))
    assert len(columns) == len(feature.names) and len(set(feature.names)) == len(feature.names)
    assert all(column.dtype == np.float64 and column.shape == (5,) for column in columns)
    nothing = Points(*(np.empty(0, np.int64) for _ in range(3)))
    assert [len(column) for column in feature.columns(panel, nothing)] == [0] * len(feature.names)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.kind)
def test_neither_order_nor_neighbours_change_a_bit(feature):
    panel = dated("D", ["2011-03-05", "1999-12-20", "2030-06-01"], [40, 25, 9])
    points = every_point(panel)
    whole = np.array(feature.columns(panel, points))
    order = np.random.default_rng(0).permutation(len(points))
    mixed = Points(points.series[order], points.position[order], points.step[order])
    np.testing.assert_array_equal(np.array(feature.columns(panel, mixed)), whole[:, order])
    for i in range(3):
        alone = panel.select(np.array([i]))
        found = np.array(feature.columns(alone, every_point(alone)))
        np.testing.assert_array_equal(found, whole[:, points.series == i])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Calendar(("moon",)), "moon"),
        (lambda: Cyclical(("year",)), "year"),
        (lambda: Fourier((7, 365.25), (3,)), "one number for each"),
        (lambda: Fourier((2,), (1,)), "more than 2 steps"),
        (lambda: Slots((1,)), "2 steps or more"),
        (lambda: told(Calendar(("hour",)), dated("D", ["2011-03-05"], [5])), "hour.*grid of D"),
    ],
)
def test_what_cannot_be_told_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_automatic_features_suit_the_panel():
    context = FitContext(seasons=(7, 12), holidays=("US",))

    def kinds(panel):
        return [feature.kind for feature in automatic(panel, context)]

    assert kinds(Panel.of([[1.0, 2.0]])) == ["slots"]
    assert kinds(dated("D", ["2011-03-05"], [5])) == ["calendar", "holidays"]
    assert kinds(dated("YS", ["2011-01-01"], [5])) == ["holidays"]
    assert automatic(dated("MS", ["2011-01-01"], [5]), context)[-1].counts
    assert automatic(dated("D", ["2011-03-05"], [5]), FitContext()) == (Calendar.automatic(Frequency("day")),)
    assert automatic(Panel.of([[1.0, 2.0]]), FitContext()) == ()
    panel = dated("D", ["2011-03-05"], [3])
    own = automatic(panel, FitContext(holiday_table=(("2011-03-06", "Sale", ""),)))[-1]
    assert told(own, panel)["is_holiday"] == [0, 1, 0]


@pytest.mark.parametrize("values", [[5], [3, 3, 9, 6], [0, 10**12], [7, 8, 10], [-20, 0, -10, 30]])
def test_distinct_is_unique_without_a_sort(values):
    for step in (1, 2, 3, 10):
        expected = np.unique(values, return_inverse=True)
        for found, true in zip(distinct(np.array(values), step), expected, strict=True):
            np.testing.assert_array_equal(found, true)


@pytest.mark.parametrize(
    ("freq", "at", "first", "end"),
    [
        ("D", "2012-02-28", "2012-02-28", "2012-02-29"),
        ("W", "2012-02-26", "2012-02-26", "2012-03-04"),
        ("MS", "2012-02-01", "2012-02-01", "2012-03-01"),
        ("ME", "2012-02-29", "2012-02-01", "2012-03-01"),
        ("QE", "2012-03-31", "2012-01-01", "2012-04-01"),
        ("QS-FEB", "2012-02-01", "2012-02-01", "2012-05-01"),
        ("6h", "2012-02-28T18:00", "2012-02-28", "2012-02-29"),
        ("48h", "2012-02-28T18:00", "2012-02-28", "2012-03-01"),
        ("B", "2012-02-29", "2012-02-29", "2012-03-01"),
    ],
)
def test_the_days_of_a_period(freq, at, first, end):
    frequency = parse_frequency(freq)
    ordinals, _ = to_ordinals(np.array([at], dtype="datetime64[us]"), frequency)
    found = [str(days.astype("datetime64[D]")[0]) for days in local_periods(ordinals, frequency, None)]
    assert found == [first, end]
    assert is_coarse(frequency) == (freq not in ("D", "6h", "B"))


def test_many_series_cost_little():
    count, length = 5000, 200
    panel = Panel.of(np.zeros((count, length)), Frequency("day"), np.full(count, 18000))
    points = every_point(panel)
    features = automatic(panel, FitContext(holidays=("US",)))
    begin = time.process_time()
    columns = [column for feature in features for column in feature.columns(panel, points)]
    # About 0.15 s; once per point instead of once per date it would be minutes.
    assert time.process_time() - begin < 3.0
    assert all(len(column) == count * length for column in columns)
