"""`Panel`: cutting and joining by integer arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.panel import Panel, extent
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError

ragged = st.lists(st.lists(st.floats(-1e6, 1e6), max_size=6), min_size=1, max_size=6)


@given(series=ragged, data=st.data())
@settings(max_examples=60, deadline=None)
def test_select_keeps_the_values_of_each_series(series, data):
    index = data.draw(st.lists(st.integers(0, len(series) - 1), max_size=8))
    panel = Panel.of(series).select(np.array(index, dtype=np.int64))
    assert [panel.values(k).tolist() for k in range(len(panel))] == [series[i] for i in index]


@given(series=ragged)
@settings(max_examples=60, deadline=None)
def test_stack_of_parts_is_the_whole(series):
    panel = Panel.of(series)
    parts = [panel.take([g]) for g in range(len(series))]
    whole = Panel.stack(parts)
    assert [whole.values(i).tolist() for i in range(len(whole))] == series
    assert whole.group.tolist() == list(range(len(series)))
    assert whole.keys.tolist() == panel.keys.tolist()


def test_before_and_last_are_views():
    panel = Panel.of([[1.0, 2.0, 3.0], [4.0, 5.0]])
    head, tail = panel.before(np.array([2, 9])), panel.last(1)
    assert [head.values(i).tolist() for i in range(2)] == [[1.0, 2.0], [4.0, 5.0]]
    assert [tail.values(i).tolist() for i in range(2)] == [[3.0], [5.0]]
    assert tail.start.tolist() == [2, 1]
    assert head.target is panel.target


def test_filled_bridges_gaps_in_any_order_of_the_series():
    panel = Panel.of([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0], [np.nan, 5.0, np.nan]])
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        filled = panel.select(np.array(order)).filled()
        found = {i: filled.values(k).tolist() for k, i in enumerate(order)}
        assert found == {0: [1.0, 2.0, 3.0], 1: [1.0, 2.0, 3.0], 2: [5.0, 5.0, 5.0]}
    assert np.isnan(panel.values(1)[1])


def test_extent_ignores_what_is_missing():
    low, high = extent(Panel.of([[3.0, np.nan, -1.0], [], [np.nan]]).select(np.array([2, 0, 1])))
    assert np.array_equal(low, [np.nan, -1.0, np.nan], equal_nan=True)
    assert np.array_equal(high, [np.nan, 3.0, np.nan], equal_nan=True)


def test_panels_of_different_grids_do_not_stack():
    with pytest.raises(ConfigError, match="frequency"):
        Panel.stack([Panel.of([[1.0]]), Panel.of([[1.0]], Frequency("day"))])
