"""What the policies make of duplicates, gaps and stale series, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.frames import read_panel
from forecastml.data.policies import Policies
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError
from tests.data.samples import FULL, SCHEMA, sales, same, series

RICH = Schema(target="y", time="ds", series=("id",), known=("x", "event"), weight="w", mask="closed")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"duplicates": "first"}, "duplicates is 'first'; give one of error, sum, mean, last"),
        ({"gaps": "bfill"}, "gaps is 'bfill'; give one of nan, ffill, zero, interpolate"),
        ({"stale": None}, "stale is None; give one of own, common, skip"),
        ({"aggregate": "median"}, "give one of None, sum, mean, min, max"),
        ({"stale_after": -1}, "stale_after is -1"),
        ({"stale_after": 2.5}, "stale_after is 2.5"),
        ({"stale_after": True}, "stale_after is True"),
    ],
)
def test_unknown_policies_are_refused_with_the_choices(options, says):
    with pytest.raises(ConfigError, match=says):
        Policies(**options)


# --- duplicates ---


def repeated() -> pd.DataFrame:
    """Ten days of "a" and "b"; of "a" day 2 comes three times, day 5 twice (never known), day 7 twice (one masked)."""
    frame = pd.concat([series("a", 10), series("b", 10)], ignore_index=True)
    frame = frame.assign(x=1.0, event="none", w=1.0, closed=False)
    extra = frame.loc[[2, 2, 5, 7]].reset_index(drop=True)
    frame.loc[5, "y"] = np.nan
    extra["y"] = [10.0, 30.0, np.nan, 100.0]
    extra["x"] = [4.0, np.nan, 3.0, 1.0]
    extra["event"] = ["fair", "rain", "fair", "none"]
    extra["w"] = [3.0, 5.0, 1.0, 1.0]
    extra["closed"] = [False, False, False, True]
    return pd.concat([frame, extra], ignore_index=True)


@pytest.mark.parametrize(
    ("policy", "y", "x", "event", "w"),
    [
        ("sum", [42.0, np.nan, np.nan], [2.5, 2.0, 1.0], ["rain", "none", "none"], [9.0, 0.0, 0.0]),
        ("mean", [14.0, np.nan, np.nan], [2.5, 2.0, 1.0], ["rain", "none", "none"], [3.0, 0.0, 0.0]),
        ("last", [30.0, np.nan, np.nan], [np.nan, 3.0, 1.0], ["rain", "fair", "none"], [5.0, 0.0, 0.0]),
    ],
)
def test_rows_with_one_time_become_one(policy, y, x, event, w):
    reading = read_panel(repeated(), RICH, policies=Policies(duplicates=policy))
    panel = reading.data
    assert panel.lengths.tolist() == [10, 10]
    at = [2, 5, 7]
    np.testing.assert_array_equal(panel.target[at], y)
    np.testing.assert_array_equal(panel.known[at, 0], x)
    assert [panel.categories["event"][int(code)] for code in panel.known[at, 1]] == event
    assert panel.weight[at].tolist() == w
    others = np.setdiff1d(np.arange(20), at)
    assert panel.target[others].tolist() == [*(i for i in range(10) if i not in at), *range(10)]
    codes = [(finding.code, finding.severity, finding.count) for finding in reading.findings]
    assert ("duplicates", "fixed", 4) in codes
    assert {code for code, _, _ in codes} == {"duplicates", "masked", "unsorted"}


@settings(max_examples=30, deadline=None)
@given(
    st.randoms(use_true_random=False),
    st.sampled_from(["sum", "mean"]),
    st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=9),
)
def test_sums_and_means_do_not_depend_on_the_order_of_rows(random, policy, values):
    """To the last bit, also among numbers that differ by orders of magnitude."""
    same_day = pd.concat([repeated().iloc[[3]]] * len(values), ignore_index=True).assign(y=values, x=values[::-1])
    frame = pd.concat([repeated(), same_day], ignore_index=True)
    order = list(range(len(frame)))
    random.shuffle(order)
    policies = Policies(duplicates=policy)
    straight, mixed = (read_panel(f, RICH, policies=policies).data for f in (frame, frame.iloc[order]))
    same(straight, mixed)
    alone = read_panel(frame[frame["id"] == "a"], RICH, policies=policies).data
    np.testing.assert_array_equal(alone.target, straight.target[:10])


def test_a_table_without_duplicates_is_left_alone():
    for policy in ("sum", "mean", "last"):
        reading = read_panel(sales(), FULL, policies=Policies(duplicates=policy))
        same(reading.data, read_panel(sales(), FULL).data)
        assert reading.findings == ()


# --- gaps ---


def holed() -> pd.DataFrame:
    """Ten times the day of "a": no rows of days 3, 4, 12, no value at 0, 1, 7 and from 15, 9 masked; "b" whole."""
    frame = pd.concat([series("a"), series("b")], ignore_index=True).assign(w=1.0, x=0.0, event="no", closed=False)
    frame["y"] *= 10
    frame["w"] = 1.0 + np.arange(40) % 20
    frame.loc[[0, 1, 7, 15, 16, 17, 18, 19], "y"] = np.nan
    frame.loc[9, "closed"] = True
    return frame.drop(index=[3, 4, 12])


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ("nan", [20, np.nan, np.nan, 50, 60, np.nan, 80, np.nan, 100, 110, np.nan, 130, 140]),
        ("ffill", [20, 20, 20, 50, 60, 60, 80, np.nan, 100, 110, 110, 130, 140]),
        ("zero", [20, 0, 0, 50, 60, 0, 80, np.nan, 100, 110, 0, 130, 140]),
        ("interpolate", [20, 30, 40, 50, 60, 70, 80, np.nan, 100, 110, 120, 130, 140]),
    ],
)
def test_holes_inside_a_series(gaps, expected):
    reading = read_panel(holed(), RICH, policies=Policies(gaps=gaps))
    panel = reading.data
    np.testing.assert_allclose(panel.values(0), expected, rtol=1e-15)
    assert panel.values(1).tolist() == [10.0 * i for i in range(20)]
    assert panel.start.tolist() == [19725, 19723]
    finding = next(finding for finding in reading.findings if finding.code == "gaps")
    assert (finding.count, finding.series) == (3 if gaps == "nan" else 4, "id=a")
    # The one that looks ahead is never silent about it.
    assert finding.severity == ("alert" if gaps == "interpolate" else "fixed")
    # A value put in counts as much as the one before it.
    weights = [3, 3, 3, 6, 7, 7, 9, 0, 11, 12, 12, 14, 15]
    if gaps == "nan":
        weights = [3, 0, 0, 6, 7, 0, 9, 0, 11, 12, 0, 14, 15]
    assert panel.weight[:13].tolist() == weights


@pytest.mark.parametrize("gaps", ["ffill", "zero", "nan"])
@pytest.mark.parametrize("cut", [4, 8, 13])
def test_filling_holes_does_not_look_ahead(gaps, cut):
    """What is filled before a cutoff is the same when everything after it changes."""
    frame = holed()
    poisoned = frame.copy()
    late = poisoned["ds"] > pd.Timestamp("2024-01-01") + pd.Timedelta(days=cut)
    poisoned.loc[late, "y"] = 1e9
    clean, dirty = (read_panel(f, RICH, policies=Policies(gaps=gaps)).data for f in (frame, poisoned))
    until = cut - 2 + 1
    np.testing.assert_array_equal(clean.values(0)[:until], dirty.values(0)[:until])


def test_a_series_whose_holes_are_filled_does_not_depend_on_its_neighbours():
    for gaps in ("ffill", "zero", "interpolate"):
        both = read_panel(holed(), RICH, policies=Policies(gaps=gaps)).data
        alone = read_panel(holed().query("id == 'a'"), RICH, policies=Policies(gaps=gaps)).data
        np.testing.assert_array_equal(both.values(0), alone.values(0))


# --- stale ---


def ended() -> pd.DataFrame:
    """Days: "a" 20, "b" 17, "c" 10 and rows without value after it, "d" never a value; grouped, with a known column."""
    frame = pd.concat([series(k, n).assign(g=g) for k, n, g in zip("abcd", (20, 17, 20, 20), "zzyx", strict=True)])
    frame = frame.reset_index(drop=True).assign(x=lambda t: t.index * 1.0)
    frame.loc[frame["id"].eq("c") & (frame["y"] >= 10) | frame["id"].eq("d"), "y"] = np.nan
    return frame


ENDS = Schema(target="y", time="ds", series=("id",), group=("g",), known=("x",))


@pytest.mark.parametrize(("after", "named"), [(2, "id=b, id=c"), (3, "id=c"), (9, "id=c"), (10, None)])
def test_a_stale_series_is_told_and_keeps_its_own_end(after, named):
    reading = read_panel(ended(), ENDS, policies=Policies(stale_after=after))
    assert reading.data.lengths.tolist() == [20, 17, 10, 0]
    stale = [finding for finding in reading.findings if finding.code == "stale"]
    assert [finding.severity for finding in stale] == (["alert"] if named else [])
    if named:
        assert stale[0].message.endswith(f"before 2024-01-20, each is forecast from its own end: {named}")
    assert reading.skipped.shape == (0, 1)


def test_a_stale_series_is_brought_to_the_common_end():
    plain = read_panel(ended(), ENDS).data
    reading = read_panel(ended(), ENDS, policies=Policies(stale="common", stale_after=2))
    panel = reading.data
    assert panel.lengths.tolist() == [20, 20, 20, 0]
    assert (panel.known_end - panel.known_begin).tolist() == [20, 20, 20, 0]
    assert panel.last_ordinal[:3].tolist() == [plain.last_ordinal[0]] * 3
    for i, own in ((1, 17), (2, 10)):
        assert panel.values(i)[:own].tolist() == plain.values(i).tolist()
        assert np.isnan(panel.values(i)[own:]).all()
    assert np.isnan(panel.known[panel.known_begin[1] + 17 : panel.known_end[1], 0]).all()
    assert not np.isnan(panel.known[panel.known_begin[2] : panel.known_end[2], 0]).any()
    assert [(f.code, f.severity) for f in reading.findings] == [("no_values", "alert"), ("stale", "fixed")]
    # Gaps are filled up to the last value only.
    filled = read_panel(ended(), ENDS, policies=Policies(stale="common", stale_after=2, gaps="zero")).data
    np.testing.assert_array_equal(filled.target, panel.target)


def test_a_stale_series_is_left_out():
    reading = read_panel(ended(), ENDS, policies=Policies(stale="skip", stale_after=3))
    panel = reading.data
    assert reading.skipped.tolist() == [["c"]]
    assert panel.keys[:, 0].tolist() == ["a", "b", "d"]
    assert sorted(set(panel.group.tolist())) == [0, 1]
    assert panel.group[0] == panel.group[1]
    assert len(panel.target) == 37
    expected = read_panel(ended().query("id != 'c'"), ENDS).data
    for i in range(2):
        assert panel.values(i).tolist() == expected.values(i).tolist()
    finding = next(finding for finding in reading.findings if finding.code == "stale")
    assert (finding.severity, finding.series, finding.count) == ("fixed", "id=c", 1)


def test_rows_that_continue_a_panel_are_not_stale():
    history = read_panel(ended(), ENDS).data
    later = ended().assign(ds=lambda t: t.ds + pd.Timedelta("20D"))
    reading = read_panel(later, ENDS, like=history, policies=Policies(stale="skip", stale_after=0))
    assert len(reading.data) == 4
    assert reading.findings == ()


def test_stale_counts_periods_of_the_frequency():
    frame = pd.concat([series("a", 20, "W-MON"), series("b", 17, "W-MON")])
    assert read_panel(frame, SCHEMA, policies=Policies(stale_after=3)).findings == ()
    (finding,) = read_panel(frame, SCHEMA, policies=Policies(stale_after=2)).findings
    assert finding.series == "id=b"
