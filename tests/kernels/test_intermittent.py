"""What intermittent demand is made of: classes, packed columns, intervals, buckets, and smoothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.tsa.holtwinters import SimpleExpSmoothing

from forecastml.data.panel import Panel
from forecastml.kernels.intermittent import (
    best_smoothed,
    buckets,
    demand_classes,
    demand_shares,
    intervals,
    mean_interval,
    packed,
    smoothed,
)

#: Class -> a series that is in the middle of it.
EXAMPLES = {
    "smooth": [5, 6, 4, 5, 5, 6, 7, 5],
    "erratic": [1, 30, 2, 1, 45, 1, 2, 1],
    "intermittent": [0, 3, 0, 0, 4, 0, 3, 0],
    "lumpy": [0, 1, 0, 0, 45, 0, 2, 0],
    "": [0, 0, 0, 0, 0, 0, 0, 0],
}


def classes(values) -> list[str]:
    panel = Panel.of(values)
    return demand_classes(panel.target, panel.begin, panel.end).tolist()


def test_classes_of_known_series():
    assert classes(list(EXAMPLES.values())) == list(EXAMPLES)


def test_the_limits_lie_where_the_paper_has_them():
    # 33 periods with 25 demands: an interval of exactly 1.32; sizes 3 and 17: a variation of 0.49.
    often, seldom = [1.0] * 25 + [0.0] * 7, [1.0] * 25 + [0.0] * 8
    assert classes([often, seldom]) == ["smooth", "intermittent"]
    assert classes([[2.99, 17.01], [3.01, 16.99]]) == ["erratic", "smooth"]


@pytest.mark.parametrize("odd", [[], [np.nan] * 3, [-1.0, 2.0, 3.0], [0.0], [1e200, -1e200], [-5.0] * 4])
def test_what_is_no_demand_has_no_class(odd):
    assert classes([odd, EXAMPLES["lumpy"]]) == ["", "lumpy"]


def test_unknown_values_scale_and_neighbours_change_no_class():
    pauses = [np.nan, 0, 1, np.nan, 0, 0, np.nan, 45, 0, 2, np.nan, 0]
    assert classes([pauses, np.array(EXAMPLES["lumpy"]) * 1e-9, EXAMPLES["lumpy"]]) == ["lumpy"] * 3


def test_rows_between_series_belong_to_none():
    panel = Panel.of([[9.0] * 5, EXAMPLES["lumpy"], [9.0] * 5])
    assert demand_classes(panel.target, panel.begin[1:2], panel.end[1:2]).tolist() == ["lumpy"]


def test_shares_count_what_has_a_class():
    panel = Panel.of([EXAMPLES["lumpy"], EXAMPLES["smooth"], EXAMPLES["smooth"], EXAMPLES[""], EXAMPLES["smooth"]])
    assert demand_shares(panel.target, panel.begin, panel.end) == {"lumpy": 0.25, "smooth": 0.75}
    assert demand_shares(panel.target, panel.begin[3:4], panel.end[3:4]) == {}


COLUMN = np.array([[np.nan, 2.0], [0.0, 0.0], [3.0, 5.0], [0.0, np.nan], [4.0, np.nan]])


def test_packed_keeps_the_order_of_time():
    values, counts = packed(COLUMN, ~np.isnan(COLUMN))
    np.testing.assert_array_equal(values, [[0.0, 2.0], [3.0, 0.0], [0.0, 5.0], [4.0, np.nan]])
    assert counts.tolist() == [4, 3]


def test_intervals_count_from_before_the_first_period():
    waits, counts = intervals(np.array([[0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=bool))
    np.testing.assert_array_equal(waits, [[3, 1, np.nan], [2, 2, np.nan], [np.nan, 1, np.nan]])
    assert counts.tolist() == [2, 3, 0]


def test_mean_interval_is_the_mean_of_the_intervals():
    demand = np.random.default_rng(0).random((50, 30)) < np.linspace(0.0, 1.0, 30)
    waits, counts = intervals(demand)
    found = mean_interval(demand)
    assert found[0] == found[-1] == 1.0
    for i in range(1, 30):
        assert found[i] == pytest.approx(waits[: counts[i], i].mean() if counts[i] else 1.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.lists(st.integers(1, 9), min_size=5, max_size=5))
def test_buckets_end_with_the_series(lengths, sizes):
    lengths, size = np.array(lengths), np.minimum(sizes[: len(lengths)], lengths)
    values = np.where(np.arange(lengths.max())[:, None] < lengths, np.arange(30.0)[: lengths.max(), None] + 0.1, np.nan)
    sums, counts = buckets(values, lengths, size)
    for i, (length, k) in enumerate(zip(lengths, size, strict=True)):
        own = values[length % k : length, i].reshape(-1, k).sum(axis=1)
        assert counts[i] == len(own)
        np.testing.assert_allclose(sums[: counts[i], i], own, rtol=1e-13)


def test_smoothing_equals_statsmodels():
    random = np.random.default_rng(1)
    values, counts, weight = random.gamma(2.0, size=(40, 6)), np.array([7, 40, 1, 25, 0, 40]), np.full((1, 6), 0.2)
    weight = np.vstack([weight, random.random(6)])
    level, squares = smoothed(values, counts, weight)
    for i, k in np.ndindex(6, 2):
        if counts[i] < 2:
            assert squares[k, i] == 0.0 and level[k, i] == (values[0, i] if counts[i] else 0.0)
            continue
        own = SimpleExpSmoothing(values[: counts[i], i], initialization_method="known", initial_level=values[0, i])
        fitted = own.fit(smoothing_level=weight[k, i], optimized=False)
        np.testing.assert_allclose([level[k, i], squares[k, i]], [fitted.forecast(1)[0], fitted.sse], rtol=1e-12)


def test_the_weight_is_as_good_as_that_of_a_dense_table():
    random = np.random.default_rng(2)
    values = np.cumsum(random.normal(0, 0.2, (60, 40)), axis=0) + random.normal(size=(60, 40))
    counts = np.full(40, 60)
    bounds = (np.full(40, 0.05), np.full(40, 0.3))
    dense = np.linspace(0.05, 0.3, 200)[:, None] + np.zeros(40)
    least = smoothed(values, counts, dense)[1].min(axis=0)
    level, weight = best_smoothed(values, counts, bounds)
    again, found = smoothed(values, counts, weight[None])
    np.testing.assert_array_equal(level, again[0])
    assert (found[0] <= least * 1.001).all() and (weight >= 0.05).all() and (weight <= 0.3).all()
    assert len(np.unique(weight)) > 5
    refitted = smoothed(values, counts, best_smoothed(values, counts, bounds, weight)[1][None])[1][0]
    assert (refitted <= found[0]).all()
