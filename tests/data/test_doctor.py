"""The data doctor: each defect is found where it was planted, and healthy data give nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.calendar import HOUR, parse_frequency, to_ordinals
from forecastml.data.doctor import diagnose
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency, Schema
from tests.data.samples import read

SHARED = Path(__file__).parents[3] / "shared" / "data"
MONTHS = parse_frequency("MS")
START = 240


def healthy(n: int = 6, length: int = 96, season: int = 12, seed: int = 0) -> np.ndarray:
    """Trend, season and noise without freaks: (series, time), all well above zero, fractions."""
    random = np.random.default_rng(seed)
    time = np.arange(length)
    level, slope = random.uniform(50, 500, (n, 1)), random.uniform(-0.1, 0.4, (n, 1))
    wave = random.uniform(0.05, 0.15, (n, 1)) * np.sin(2 * np.pi * (time / season + random.uniform(size=(n, 1))))
    noise = random.uniform(0.01, 0.03, (n, 1)) * random.uniform(-1.7, 1.7, (n, length))
    return level * (1.0 + slope * time / length + wave + noise)


def panel(values, known=None, frequency: Frequency = MONTHS, start: int = START, **parts) -> Panel:
    """Series of one start; known: column -> values like those of the series (longer is future)."""
    values = [np.asarray(v, dtype=float) for v in values]
    bare = Panel.of(values, frequency, [start] * len(values))
    known = known or {}
    columns = [[np.asarray(v, dtype=float) for v in column] for column in known.values()]
    reach = np.array([len(v) for v in columns[0]] if columns else [0] * len(values), dtype=np.int64)
    schema = replace(bare.schema, known=tuple(known), static=parts.pop("names", ()))
    block = np.stack([np.concatenate(c) for c in columns], axis=1) if columns else np.empty((0, 0))
    end = np.cumsum(reach)
    return replace(bare, schema=schema, known=block, known_begin=end - reach, known_end=end, **parts)


def codes(found) -> list[str]:
    return [finding.code for finding in found]


def the_one(found, code: str):
    """The only finding, which is of this code."""
    assert codes(found) == [code], found
    assert found[0].severity == "alert"
    assert found[0].remedy
    assert found[0].message
    return found[0]


# --- healthy data ---


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([("MS", 12), ("QS", 4), ("D", 7), ("h", 24), ("W-MON", 52), ("B", 5)]),
    seasons=st.integers(3, 12),
    scale=st.sampled_from([0.01, 1.0, 1e6]),
)
def test_healthy_series_give_nothing(seed, shape, seasons, scale):
    freq, season = shape
    length = max(season * seasons, 20)
    assert diagnose(panel(scale * healthy(4, length, season, seed), frequency=parse_frequency(freq)), 4) == ()


def test_natural_signs_trends_walks_and_intermittent_demand_give_nothing():
    random = np.random.default_rng(1)
    time = np.arange(200)
    temperature = 8 + 9 * np.sin(2 * np.pi * time / 100)
    for i in range(1, 200):
        temperature[i] += 0.8 * (temperature[i - 1] - 8 - 9 * np.sin(2 * np.pi * (i - 1) / 100)) + random.normal(0, 0.8)
    kinds = [
        temperature,
        random.normal(size=200),
        500 + np.cumsum(random.normal(size=200)),
        100 + 3.0 * time,
        10 * np.sin(2 * np.pi * time / 7),
        random.poisson(0.3, 200),
        random.poisson(5, 200),
        random.negative_binomial(0.5, 0.05, 200),
        np.exp(0.01 * time + random.normal(0, 0.1, 200)),
    ]
    assert codes(diagnose(panel(kinds, frequency=parse_frequency("D")), 14)) == ["mostly_zero"]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 13, 60])
@pytest.mark.parametrize("value", [np.nan, 0.0, 5.0, -3.0, 1e300, -1e-300])
@pytest.mark.filterwarnings("error")
def test_degenerate_series_never_raise(length, value):
    for frequency in (MONTHS, parse_frequency("h"), parse_frequency("D"), Frequency("integer")):
        values = [np.full(length, value), healthy(1)[0], np.full(length, np.nan), []]
        x = [np.full(len(v), value) for v in values]
        odd = panel(values, {"a": x, "b": x}, frequency)
        assert set(codes(diagnose(odd, 6))) <= {
            "constant",
            "all_zero",
            "short",
            "covariate_missing",
            "covariate_constant",
        }
    assert diagnose(odd.select(np.array([], dtype=int)), 6) == ()


# --- one defect each ---


def test_constant_and_zero_series():
    values = [*healthy(), np.full(50, 7.0), np.zeros(50), [np.nan] * 48 + [0, 0]]
    constant, zero = diagnose(panel(values), 6)
    assert (constant.code, constant.series, constant.column, constant.count) == ("constant", "unique_id=6", "y", 1)
    assert "(always 7)" in constant.message
    assert (zero.code, zero.series, zero.count) == ("all_zero", "unique_id=7", 1)


def test_series_that_are_mostly_zero():
    sparse = np.zeros(48)
    sparse[::5] = np.arange(1.0, 11.0)
    (found,) = diagnose(panel([*healthy(), sparse]), 6)
    assert (found.code, found.series, found.count) == ("mostly_zero", "unique_id=6", 1)
    assert "rmsse" in found.remedy
    assert diagnose(panel([*healthy(), np.where(np.arange(48) % 2, 0.0, healthy(1)[0][:48])]), 6) == ()
    assert diagnose(panel([*healthy(11), sparse]), 6) == ()


@pytest.mark.parametrize("whole", [True, False])
def test_returns_among_sales(whole):
    values = healthy()
    if whole:
        values = np.random.default_rng(3).poisson(3, values.shape).astype(float)
    values[2, 40], values[4, 7] = -2, -5
    finding = next(f for f in diagnose(panel(values), 6) if f.code == "negative")
    assert finding.count == 2
    assert "unique_id=2 (-2 at 1993-05-01), unique_id=4 (-5 at 1990-08-01)" in finding.message
    values[2, :20] = -3
    values[4, :20] = -3
    assert "negative" not in codes(diagnose(panel(values), 6))


def test_series_that_no_fold_can_judge():
    values = [*healthy(), *healthy(2, 6), *healthy(1, 7)]
    finding = the_one(diagnose(panel(values), 6), "short")
    assert finding.count == 2
    assert "unique_id=6 (6), unique_id=7 (6)" in finding.message


@settings(max_examples=30, deadline=None, derandomize=True)
@given(at=st.integers(12, 84), up=st.booleans(), seed=st.integers(0, 1000))
def test_a_break_of_level_is_found_where_it_is(at, up, seed):
    values = healthy(seed=seed)
    values[3, at:] *= 3.0 if up else 0.3
    finding = the_one(diagnose(panel(values), 6), "level_shift")
    assert (finding.series, finding.count) == ("unique_id=3", 1)
    assert f"(from {1990 + at // 12}-{at % 12 + 1:02d}-01)" in finding.message


def test_a_break_in_hourly_data_is_found_by_days():
    values = healthy(3, 24 * 60, 24)
    values[1, 24 * 30 + 5 :] *= 2
    finding = the_one(diagnose(panel(values, frequency=parse_frequency("h"), start=0), 24), "level_shift")
    assert finding.series == "unique_id=1"
    assert "1970-01-31" in finding.message or "1970-02-01" in finding.message


def test_what_recurs_each_year_or_goes_with_a_covariate_is_no_break():
    values = healthy(4, 52 * 5, 52)
    open_ = np.arange(52 * 5) % 52 < 26
    weekly = parse_frequency("W-MON")
    assert diagnose(panel(values * np.where(open_, 4.0, 1.0), frequency=weekly), 6) == ()
    values = healthy()
    later = np.arange(96) >= 50
    values[2, later] *= 3
    assert codes(diagnose(panel(values), 6)) == ["level_shift"]
    wider = [np.random.default_rng(k).normal(size=96) for k in range(5)]
    law = [*wider[:2], later, *wider[2:]]
    assert diagnose(panel(values, {"law": law}), 6) == ()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(at=st.integers(0, 95), factor=st.sampled_from([0.01, 0.1, 10.0, 100.0]), seed=st.integers(0, 1000))
def test_a_single_wrong_value_is_found_wherever_it_is(at, factor, seed):
    values = healthy(seed=seed)
    values[3, at] *= factor
    finding = the_one(diagnose(panel(values), 6), "outliers")
    assert (finding.series, finding.count) == ("unique_id=3", 1)
    assert f"at {1990 + at // 12}-{at % 12 + 1:02d}-01)" in finding.message


def test_a_run_of_wrong_values_is_found_and_its_share_told():
    values = healthy(4, 365, 7)
    values[1, 100:103] = 0.5
    finding = the_one(diagnose(panel(values, frequency=parse_frequency("D")), 14), "outliers")
    assert finding.count == 3
    assert "3 values of 'y' (0.21 %)" in finding.message


def test_promotions_are_no_outliers_with_their_flag_or_when_there_are_many():
    random = np.random.default_rng(5)
    values = healthy()
    promoted = random.random(values.shape) < 0.08
    assert diagnose(panel(values * np.where(promoted, random.uniform(2, 6, values.shape), 1.0)), 6) == ()
    once = np.zeros(values.shape)
    once[:, 30] = 1
    spiked = values * np.where(once, 8.0, 1.0)
    assert the_one(diagnose(panel(spiked), 6), "outliers").count == 6
    assert diagnose(panel(spiked, {"promo": once}), 6) == ()


def test_a_peak_of_every_season_is_no_outlier():
    values = healthy()
    values[:, 11::12] *= 5
    assert diagnose(panel(values), 6) == ()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_order_of_series_scale_and_neighbours_change_nothing(data, seed):
    values = healthy(8, seed=seed)
    values[2, 50] *= 20
    values[5, 40:] *= 4
    values[6, 20] = np.nan
    order = np.array(data.draw(st.permutations(range(8))))
    whole = diagnose(panel(values), 6)
    assert codes(whole) == ["level_shift", "outliers"]
    assert diagnose(panel(values).select(order), 6) == whole
    assert codes(diagnose(panel(1000 * values), 6)) == codes(whole)
    assert [f.series for f in diagnose(panel(1000 * values), 6)] == ["unique_id=5", "unique_id=2"]
    alone = diagnose(panel(values).select(np.array([2])), 6)
    assert alone[0].series == "unique_id=2"
    assert codes(alone) == ["outliers"]


def test_order_of_rows_changes_nothing():
    values = healthy(3)
    values[1, 60] *= 15
    times = pd.date_range("1990-01-01", periods=96, freq="MS")
    frame = pd.concat([pd.DataFrame({"id": str(i), "ds": times, "y": v}) for i, v in enumerate(values)])
    schema = Schema(target="y", time="ds", series=("id",))
    sorted_, shuffled = (diagnose(read(f, schema)[0], 6) for f in (frame, frame.sample(frac=1, random_state=0)))
    assert sorted_ == shuffled
    assert the_one(sorted_, "outliers").series == "id=1"


# --- covariates ---


def test_missing_covariates_are_counted_by_column_but_not_in_periods_without_a_row():
    values, x = healthy(3), [np.random.default_rng(k).normal(size=100) for k in range(3)]
    kind = [np.arange(100.0) % 3 for _ in range(3)]
    values[0, 10] = x[0][10] = np.nan
    kind[0][10] = -1
    x[1][20:23] = np.nan
    x[2][98] = np.nan
    kind[2][5] = -1
    odd = panel(values, {"x": x, "kind": kind}, categories={"kind": ("a", "b", "c")})
    first, second = diagnose(odd, 6)
    assert (first.code, first.column, first.count) == ("covariate_missing", "x", 4)
    assert "unique_id=1 (3), unique_id=2 (1)" in first.message
    assert (second.code, second.column, second.count) == ("covariate_missing", "kind", 1)
    past = replace(odd, schema=replace(odd.schema, known=(), past=("visits",)), past=np.ones((288, 1)))
    past.past[::2, 0], past.past[7, 0] = 2.0, np.nan
    finding = the_one(diagnose(past, 6), "covariate_missing")
    assert (finding.column, finding.count, finding.series) == ("visits", 1, "unique_id=0")


def test_covariates_that_never_change():
    values = healthy(3)
    x = [np.random.default_rng(k).normal(size=96) for k in range(3)]
    odd = panel(
        values,
        {"x": x, "flat": [np.ones(96)] * 3, "kind": [np.ones(96)] * 3},
        names=("area",),
        static=np.full((3, 1), 4.0),
        categories={"kind": ("a", "b")},
    )
    found = diagnose(odd, 6)
    assert codes(found) == ["covariate_constant"] * 3
    assert [f.column for f in found] == ["flat", "kind", "area"]
    assert "'kind' is b in all rows" in found[1].message
    # A panel of one series has but one value of a static column, and that says nothing.
    assert [f.column for f in diagnose(odd.select(np.array([0])), 6)] == ["flat", "kind"]


# --- leaks ---

LEAKS = {
    "copy": lambda y: y,
    "logarithm": np.log,
    "negative": lambda y: -3 * y + 2,
    "rounded": lambda y: np.round(y, 1),
    "power": lambda y: y**3,
    "next value": lambda y: np.append(y[1:], y[-1]),
    "value before": lambda y: np.append(y[0], y[:-1]),
    "five before": lambda y: np.append(y[:5], y[:-5]),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_covariate_that_gives_the_target_away(name):
    values = healthy(5)
    honest = [0.5 * v + np.random.default_rng(k).normal(0, 5, 96) for k, v in enumerate(values)]
    odd = panel(values, {"honest": honest, "odd": [LEAKS[name](v) for v in values]})
    finding = the_one(diagnose(odd, 6), "leak")
    assert (finding.column, finding.count) == ("odd", 5)
    assert "past" in finding.remedy
    lateness = {"next value": "(1 step early)", "value before": "(1 step late)", "five before": "(5 steps late)"}
    assert lateness.get(name, "") in finding.message
    assert ("step" in finding.message) == (name in lateness)


def test_a_leak_in_one_of_many_series_is_found():
    values = healthy(30)
    x = [np.random.default_rng(k).normal(size=96) for k in range(30)]
    x[17] = values[17] * 2
    assert the_one(diagnose(panel(values, {"x": x}), 6), "leak").series == "unique_id=17"


def test_covariates_that_make_up_the_target_together():
    values, random = healthy(3), np.random.default_rng(0)
    share = random.uniform(0.2, 0.8, values.shape)
    noise = random.normal(size=values.shape)
    parts = {"noise": noise, "casual": values * share, "registered": values * (1 - share)}
    finding = the_one(diagnose(panel(values, parts), 6), "leak")
    assert (finding.column, finding.count) == ("", 3)
    assert "'casual' and 'registered' together" in finding.message
    factors = {"price": values**share, "units": values ** (1 - share), "noise": noise}
    assert "'price' and 'units' together" in the_one(diagnose(panel(values, factors), 6), "leak").message


def test_what_may_be_known_is_no_leak():
    random = np.random.default_rng(0)
    values, time = healthy(3), np.arange(96)
    dummies = {f"month{k}": [time % 12 == k] * 3 for k in range(1, 12)}
    old = [np.append(v[:12], v[:-12]) for v in values]
    wave = np.sin(2 * np.pi * time / 12)
    for y, known in (
        (values, dummies),
        (values, {"index": [time] * 3}),
        (values, {"same month last year": old}),
        (values, {"close": [v * random.normal(1, 0.02, 96) for v in values]}),
        ([3.0 * time + 5] * 3, {"index": [time] * 3}),
        ([50 + 9 * wave] * 3, {"wave": [wave] * 3}),
        ([50 + 5.0 * (time % 12)] * 3, dummies),
        (values[:, :20], {"copy": values[:, :20]}),
    ):
        assert diagnose(panel(y, known), 6) == ()


# --- clocks ---


def hourly(zone: str | None, start: str, end: str, freq: str = "h") -> Panel:
    """Hourly values whose stamps are the local clock of a zone, written without it (None: UTC)."""
    times = pd.date_range(start, end, freq=freq, tz=zone or "UTC").tz_localize(None)
    random = np.random.default_rng(0)
    values = 100 + 10 * np.sin(2 * np.pi * times.hour / 24) + random.normal(size=len(times))
    frame = pd.DataFrame({"ds": times, "y": values}).drop_duplicates("ds")
    return read(frame, Schema(target="y", time="ds"))[0]


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Australia/Sydney", "Europe/London"])
@pytest.mark.parametrize("freq", ["h", "30min"])
def test_local_stamps_name_their_zone(zone, freq):
    odd = hourly(zone, "2021-01-01", "2022-12-31", freq)
    finding = the_one(diagnose(odd, 24), "clock_change")
    assert zone in finding.message
    assert f"--timezone {zone}" in finding.remedy
    assert diagnose(replace(odd, tz="UTC"), 24) == ()


def test_other_stamps_are_no_local_clock():
    utc = hourly(None, "2021-01-01", "2022-12-31")
    assert diagnose(utc, 24) == ()
    target = utc.target.copy()
    target[np.random.default_rng(0).choice(len(target), 40, replace=False)] = np.nan
    assert diagnose(replace(utc, target=target), 24) == ()
    # A night lost to maintenance at one of the changes.
    target = utc.target.copy()
    at = int((to_ordinals(np.array(["2021-03-28T02"], "datetime64[us]"), utc.frequency)[0][0] - utc.start[0]) // HOUR)
    target[at - 3 : at + 3] = np.nan
    assert diagnose(replace(utc, target=target), 24) == ()


def test_one_spring_is_enough_when_nothing_else_is_missing():
    assert (
        "Europe/Paris"
        in the_one(diagnose(hourly("Europe/Paris", "2021-01-01", "2021-08-31"), 24), "clock_change").message
    )
    assert diagnose(hourly("Europe/Paris", "2021-05-01", "2021-08-31"), 24) == ()


# --- real data ---

EXPECTED = {
    "orange_juice": [],
    "bike_share": ["outliers"],
    "bike_share with parts": ["outliers", "leak"],
    "victoria_electricity": [],
    "alcohol_sales": [],
    "australian_tourism": [],
    "nyc_energy": ["covariate_missing", "covariate_missing", "clock_change"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_data_show_what_is_in_them(name):
    if not SHARED.exists():
        pytest.skip("the real data sets are not here")
    data, parts = name.split()[0], "parts" in name
    about = json.loads((SHARED / "datasets.json").read_text())[data]
    frame = pd.read_parquet(SHARED / f"{data}.parquet").query("split == 'train'")
    known = [*about["covariates"].get("known", ()), *(about["covariates"]["leaky"] if parts else ())]
    schema = Schema(
        target="y",
        time="ds",
        series=tuple(about["group_keys"]),
        known=tuple(known),
        static=tuple(about["covariates"].get("static", ())),
    )
    found = diagnose(read(frame, schema, freq=about["freq"])[0], about["horizon"])
    assert codes(found) == EXPECTED[name]
    if data == "bike_share":
        assert "22 at 2012-10-29" in found[0].message
    if parts:
        assert "'casual' and 'registered' together" in found[1].message
    if data == "nyc_energy":
        assert "America/New_York" in found[2].message
