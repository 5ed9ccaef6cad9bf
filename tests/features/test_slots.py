"""The same place of earlier seasons: lags and aggregates against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.errors import ConfigError
from forecastml.features.panel import FeatureSet
from forecastml.features.points import Points
from forecastml.features.slots import SLOT_AGGREGATES, SeasonLags, SeasonWindow, newest_known

values_ = st.lists(st.one_of(st.just(np.nan), st.floats(-100, 100).map(lambda v: round(v, 2))), min_size=1, max_size=40)


def same_places(values: list[float], position: int, step: int, season: int, count: int) -> list[float]:
    """The newest values at the place that were known `step` rows before, NaN before the start."""
    known = [r for r in range(position - season, -200, -season) if r <= position - step][:count]
    return [values[r] if r >= 0 else np.nan for r in known]


@settings(max_examples=30, deadline=None)
@given(values_, st.integers(1, 6), st.integers(1, 4), st.integers(1, 15))
def test_slots_are_told_as_loops_would(values, season, count, step):
    position = np.arange(len(values))
    points = Points(np.zeros(len(values), np.int64), position, np.full(len(values), step))

    def before(back):
        source = position - back
        return np.where(source >= 0, np.array(values)[np.maximum(source, 0)], np.nan)

    lags = np.array(SeasonLags(season, count).columns(before, points))
    window = SeasonWindow(season, count, tuple(SLOT_AGGREGATES))
    told = dict(zip(SLOT_AGGREGATES, window.columns(before, points), strict=True))
    for r in range(len(values)):
        places = same_places(values, r, step, season, count)
        np.testing.assert_array_equal(lags[:, r], places)
        known = np.array([v for v in places if not np.isnan(v)])
        for name in ("mean", "min", "max", "median"):
            expected = getattr(np, name)(known) if len(known) else np.nan
            np.testing.assert_allclose(told[name][r], expected, atol=1e-9, err_msg=name)
        expected = np.std(known, ddof=1) if len(known) > 1 else np.nan
        np.testing.assert_allclose(told["std"][r], expected, atol=1e-7)


def test_the_newest_known_place_lies_at_or_before_the_origin():
    step = np.arange(1, 9)
    assert newest_known(step, 4).tolist() == [4, 4, 4, 4, 8, 8, 8, 8]


def test_windows_of_seasons_are_data():
    declared = FeatureSet((SeasonLags(7, 2), SeasonWindow(7, 4, ("mean", "std"))))
    assert declared.names == ("season7_lag1", "season7_lag2", "mean_season7_window4", "std_season7_window4")
    assert declared.units == ("level", "level", "level", "spread")
    assert FeatureSet.from_json(declared.to_json()) == declared
    with pytest.raises(ConfigError, match="aggregate 'sum' of a season is unknown; use mean"):
        SeasonWindow(7, 4, ("sum",))
