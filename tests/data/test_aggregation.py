"""Rows brought to a coarser frequency: against pandas, and the ends by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.aggregation import Periods
from forecastml.data.calendar import alias, to_times
from forecastml.data.extension import extend
from forecastml.data.frames import check_panel, forecast_frame, read_panel
from forecastml.data.policies import Policies
from forecastml.data.schema import Frequency, Schema
from forecastml.errors import ConfigError, DataError
from tests.data.samples import SCHEMA, same, series

RICH = Schema(
    target="y",
    time="ds",
    series=("id",),
    known=("x", "event"),
    past=("visits",),
    static=("region",),
    weight="w",
    mask="closed",
)
PAIRS = [("D", f"W-{day}") for day in ("MON", "WED", "SUN")]
PAIRS += [("D", "W"), ("D", "MS"), ("D", "ME"), ("h", "D"), ("MS", "QS"), ("ME", "QE"), ("MS", "YS"), ("15min", "h")]
PAIRS += [("h", "W"), ("QS", "YS"), ("D", "QS-FEB"), ("D", "B"), ("h", "6h")]


def fine(freq: str, n: int, seed: int, tz: str | None = None) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    parts = []
    for k in range(3):
        start = pd.Timestamp("2023-01-01") + pd.Timedelta(days=int(random.integers(0, 60)))
        part = series(f"{k}", n, freq, start.strftime("%Y-%m-%d"), tz)
        part["y"] = np.where(random.random(n) < 0.2, np.nan, random.normal(size=n))
        part["x"] = np.where(random.random(n) < 0.1, np.nan, random.normal(size=n))
        part["event"] = random.choice(["fair", "rain", None], n)
        part["visits"], part["w"], part["region"] = random.normal(size=n), random.integers(1, 5, n) * 1.0, f"r{k}"
        part["closed"] = random.random(n) < 0.05
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(PAIRS),
    st.sampled_from(["sum", "mean", "min", "max"]),
    st.sampled_from([None, "Europe/Paris"]),
    st.integers(0, 2**32 - 1),
)
def test_periods_are_those_of_pandas(pair, how, tz, seed):
    freq, coarse = pair
    zoned = tz if (freq, coarse) != ("h", "6h") else None
    frame = fine(freq, 150, seed, zoned)
    panel = read_panel(frame, RICH, freq=coarse, policies=Policies(aggregate=how)).data
    assert panel.schema.known == ("x_sum", "x_mean", "x_min", "x_max", "event")
    assert panel.schema.past == tuple(f"visits_{s}" for s in ("sum", "mean", "min", "max"))
    assert panel.tz == zoned
    for i in range(3):
        own = frame[frame["id"] == f"{i}"].set_index("ds")
        own.loc[own["closed"], "y"] = np.nan
        options = {"min_count": 1} if how == "sum" else {}
        expected = getattr(own["y"].resample(coarse), how)(**options)
        ordinals = panel.start[i] + panel.frequency.step * np.arange(panel.lengths[i])
        out = forecast_frame(panel.select(np.array([i])), ordinals, panel.values(i)[:, None], ("mean",))
        got = out.set_index("ds")["mean"]
        # The first and last periods are subject to whole periods only, which pandas does not look at.
        assert set(got.index) <= set(expected.index)
        inner = got.index
        np.testing.assert_allclose(got[inner], expected[inner], rtol=1e-12)
        assert len(expected.dropna().index.difference(got.index)) <= 2
        known = panel.known[panel.known_begin[i] : panel.known_end[i]][: len(got)]
        for j, name in enumerate(("sum", "mean", "min", "max")):
            options = {"min_count": 1} if name == "sum" else {}
            column = getattr(own["x"].resample(coarse), name)(**options)[inner]
            np.testing.assert_allclose(known[:, j], column, rtol=1e-9, atol=1e-12)
        events = own["event"].resample(coarse).agg(lambda v: min(v.mode(), default=None))[inner] if i == 0 else ()
        codes = [-1 if pd.isna(event) else panel.categories["event"].index(event) for event in events]
        assert known[: len(codes), 4].tolist() == codes
        weight = own["w"].where(own["y"].notna()).resample(coarse)
        weight = weight.sum() if how == "sum" else weight.mean().fillna(0)
        np.testing.assert_allclose(panel.weight[panel.begin[i] : panel.end[i]], weight[inner], rtol=1e-12)
        assert [panel.categories["region"][int(code)] for code in panel.static[i]] == [f"r{i}"]


def test_the_finding_and_the_grid():
    # 2024-01-01 is a Monday.
    reading = read_panel(series(n=70), SCHEMA, freq="W-SUN", policies=Policies(aggregate="sum"))
    (finding,) = reading.findings
    assert (finding.code, finding.severity, finding.count) == ("aggregated", "fixed", 70)
    assert finding.message == "70 rows became 10 of W-SUN by sum"
    assert reading.data.target.tolist() == [21.0 + 49 * i for i in range(10)]
    assert reading.data.frequency == Frequency("day", 7)
    assert str(to_times(reading.data.start, reading.data.frequency)[0])[:10] == "2024-01-07"


def test_periods_that_the_rows_do_not_fill_are_left_out():
    frame = pd.concat([series("a", 70), series("b", 72), series("c", 69, start="2024-01-02"), series("d", 3)])
    reading = read_panel(frame, SCHEMA, freq="W", policies=Policies(aggregate="mean"))
    panel, finding = reading.data, reading.findings[0]
    assert panel.lengths.tolist() == [10, 10, 9, 0]
    assert panel.values(2)[0] == 9.0
    assert "the last period of 2 series is not whole, left out: id=b, id=d" in finding.message
    assert "the first period of 1 series is not whole, left out: id=c" in finding.message
    assert finding.remedy == "give the rows of whole periods to keep these"
    # A series of three days is not forgotten: it has no whole week yet.
    assert [(f.code, f.series) for f in reading.findings[1:]] == [("no_values", "id=d")]


def test_a_target_that_ends_inside_a_period_that_known_rows_fill():
    frame = series(n=28).assign(x=1.0)
    frame.loc[17:, "y"] = np.nan
    schema = Schema(target="y", time="ds", series=("id",), known=("x",))
    panel = read_panel(frame, schema, freq="W", policies=Policies(aggregate="sum")).data
    assert panel.target.tolist() == [21, 70]
    assert panel.known[:, 0].tolist() == [7, 7, 7, 7]
    # Sundays on which the shop is closed do not make a week incomplete.
    masked = series(n=28).assign(closed=lambda t: t.ds.dt.day_of_week == 6)
    panel = read_panel(
        masked,
        Schema(target="y", time="ds", series=("id",), mask="closed"),
        freq="W",
        policies=Policies(aggregate="sum"),
    ).data
    assert panel.target.tolist() == [15 + 42 * i for i in range(4)]


def test_a_period_all_of_whose_rows_are_masked_stays_missing():
    frame = series(n=28).assign(closed=lambda t: t.index // 7 == 1)
    frame.loc[14:20, "y"] = np.nan
    schema = Schema(target="y", time="ds", series=("id",), mask="closed")
    for gaps, third in (("nan", np.nan), ("zero", 0.0)):
        policies = Policies(aggregate="sum", gaps=gaps)
        np.testing.assert_array_equal(
            read_panel(frame, schema, freq="W", policies=policies).data.target, [21, np.nan, third, 168]
        )


def test_the_end_of_irregular_rows_is_never_whole():
    random = np.random.default_rng(0)
    seconds = np.sort(random.choice(60 * 86_400, 500, replace=False))
    frame = pd.DataFrame({"id": "a", "ds": pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, "s"), "y": 1.0})
    panel = read_panel(frame, SCHEMA, freq="W", policies=Policies(aggregate="sum")).data
    expected = frame.set_index("ds")["y"].resample("W").sum()
    assert panel.target.tolist() == expected.tolist()[:-1]


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["sum", "mean"]), st.integers(0, 2**32 - 1))
def test_neither_the_order_of_rows_nor_neighbours_change_a_bit(random, how, seed):
    frame = fine("D", 100, seed)
    order = list(range(len(frame)))
    random.shuffle(order)
    policies = Policies(aggregate=how)
    panel = read_panel(frame, RICH, freq="W", policies=policies).data
    same(read_panel(frame.iloc[order], RICH, freq="W", policies=policies).data, panel)
    alone = read_panel(frame[frame["id"] == "1"], RICH, freq="W", policies=policies).data
    np.testing.assert_array_equal(alone.target, panel.values(1))
    np.testing.assert_array_equal(alone.past, panel.past[panel.begin[1] : panel.end[1]])


@pytest.mark.parametrize("coarse", ["W", "W-TUE", "MS", "QS-FEB", "QE", "2MS", "6D"])
@pytest.mark.parametrize("tz", [None, "America/New_York"])
def test_rows_that_continue_an_aggregated_panel_are_aggregated_alike(coarse, tz):
    frame = fine("D", 800, 5, tz)
    policies = Policies(aggregate="sum")
    whole = read_panel(frame, RICH, freq=coarse, policies=policies).data
    early = frame[frame.groupby("id").cumcount() < 400]
    first = read_panel(early, RICH, freq=coarse, policies=policies).data
    _, ends = Periods.of(coarse, None).bounds(first.last_ordinal)
    local = frame["ds"].dt.tz_localize(None) if tz else frame["ds"]
    newer = frame[local >= frame["id"].astype(int).map(dict(enumerate(ends.astype("datetime64[us]"))))]
    for freq in (None, coarse):
        later = read_panel(newer, RICH, like=first, freq=freq, policies=policies).data
        assert (later.schema, later.frequency, later.tz) == (whole.schema, whole.frequency, tz)
        joint = extend(first, later)
        np.testing.assert_array_equal(joint.target, whole.target)
        np.testing.assert_array_equal(joint.past, whole.past)
        np.testing.assert_array_equal(joint.weight, whole.weight)
    # Of the future only the known columns are there.
    future = newer.drop(columns=["y", "visits", "w", "closed", "region"])
    ahead = extend(first, read_panel(future, RICH, like=first, policies=policies).data)
    np.testing.assert_array_equal(ahead.known, whole.known)


def test_rows_of_the_same_frequency_only_change_their_columns():
    frame = series(n=20, freq="MS").assign(x=np.arange(20.0))
    schema = Schema(target="y", time="ds", series=("id",), known=("x",))
    panel = read_panel(frame, schema, freq="MS", policies=Policies(aggregate="mean")).data
    assert panel.target.tolist() == list(range(20))
    assert (panel.known == np.arange(20.0)[:, None]).all()


def test_integer_time():
    frame = pd.DataFrame({"id": "a", "ds": np.arange(20), "y": 1.0})
    panel = read_panel(frame, SCHEMA, freq=6, policies=Policies(aggregate="sum")).data
    assert (panel.target.tolist(), panel.start.tolist(), alias(panel.frequency)) == ([6, 6, 6], [0], "6")


def test_duplicates_are_combined_before():
    frame = pd.concat([series(n=70)] * 2)
    policies = Policies(duplicates="mean", aggregate="sum")
    assert read_panel(frame, SCHEMA, freq="W", policies=policies).data.target[0] == 21
    with pytest.raises(DataError, match="70 rows repeat a time"):
        read_panel(frame, SCHEMA, freq="W", policies=Policies(aggregate="sum"))


def test_what_cannot_be_aggregated():
    with pytest.raises(ConfigError, match="needs a frequency to bring the rows to: give freq"):
        read_panel(series(), SCHEMA, policies=Policies(aggregate="sum"))
    with pytest.raises(ConfigError, match="give freq"):
        check_panel(series(), SCHEMA, policies=Policies(aggregate="sum"))
    reading = check_panel(series(n=20, freq="MS"), SCHEMA, freq="D", policies=Policies(aggregate="sum"))
    finding = next(finding for finding in reading.findings if finding.severity == "error")
    assert (finding.code, finding.message) == (
        "frequency",
        "the rows are of frequency MS, coarser than the D wanted",
    )
    clash = Schema(target="y", time="ds", series=("id",), known=("x",), static=("x_sum",))
    with pytest.raises(ConfigError, match="'x_sum' is given as known and as static"):
        read_panel(series().assign(x=1.0, x_sum=2.0), clash, freq="W", policies=Policies(aggregate="sum"))


def test_a_period_with_far_fewer_rows_is_told():
    frame = pd.DataFrame({"id": "a", "ds": pd.date_range("2024-01-01", periods=70), "y": 10.0})
    found = read_panel(frame.drop(index=range(15, 21)), SCHEMA, freq="W", policies=Policies(aggregate="sum"))
    (sparse,) = [finding for finding in found.findings if finding.code == "sparse_periods"]
    assert (sparse.severity, sparse.count) == ("alert", 1) and "2024-01-21" in sparse.message
    whole = read_panel(frame, SCHEMA, freq="W", policies=Policies(aggregate="sum"))
    mean = read_panel(frame.drop(index=range(15, 21)), SCHEMA, freq="W", policies=Policies(aggregate="mean"))
    assert not [f for r in (whole, mean) for f in r.findings if f.code == "sparse_periods"]
