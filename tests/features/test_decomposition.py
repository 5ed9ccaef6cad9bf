"""Season and trend of a decomposition as features: known before a block, carried on, the same in a forecast."""

from __future__ import annotations

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.features.decomposition import BLOCKS, StlFeatures
from forecastml.features.panel import FeatureSet
from forecastml.features.points import Points
from forecastml.kernels.stl import Loess, SeasonPlan, stl

SEASON = 4
DECLARED = StlFeatures(SEASON, cycles=3)


def points_of(panel: Panel, step: int = 1) -> Points:
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    return Points(series, np.arange(len(series)) - panel.begin[series], np.full(len(series), step))


def told(panel: Panel, points: Points, declared: StlFeatures = DECLARED) -> np.ndarray:
    return np.array(declared.columns(panel, points))


def loop(values: np.ndarray, row: int, step: int, block: int) -> tuple[float, float]:
    """Season and trend of one point, by a decomposition of its own."""
    end = (row - step + 1) // block * block
    first = int(np.isnan(values).sum())
    cycles = min((end - first) // SEASON, DECLARED.cycles)
    if cycles < 2:
        return 0.0, np.nan
    found = stl(values[end - cycles * SEASON : end, None].repeat(2, axis=1), SeasonPlan.of(SEASON, Loess(7)))
    return found.seasonal[0][-SEASON + (row - end) % SEASON, 0], found.trend[-1, 0]


@pytest.mark.parametrize("step", [1, 3])
def test_each_point_is_told_from_the_values_before_its_block(step):
    random = np.random.default_rng(0)
    series = [random.normal(size=n).cumsum() for n in (30, 7, 11, 2 * SEASON * BLOCKS + 5)]
    series[2][:3] = np.nan
    panel = Panel.of(series)
    points = points_of(panel, step)
    inside = points.position >= step
    found = told(panel, points)[:, inside]
    expected = [
        loop(series[i], row, step, 12 if len(series[i]) > 160 else SEASON)
        for i, row in zip(points.series[inside], points.position[inside], strict=True)
    ]
    np.testing.assert_array_equal(found.T, expected)


def test_neighbours_and_what_comes_later_change_no_bit():
    random = np.random.default_rng(1)
    series = [random.normal(size=n).cumsum() for n in (40, 25, 40)]
    panel = Panel.of(series)
    whole = told(panel, points_of(panel))
    for i, part in enumerate(series):
        alone = Panel.of([part])
        assert told(alone, points_of(alone)).tobytes() == whole[:, panel.begin[i] : panel.end[i]].tobytes()
    row = 21
    changed = Panel.of([[*series[0][:row], *random.normal(size=40 - row)]])
    assert told(changed, points_of(changed))[:, : row + 1].tobytes() == whole[:, : row + 1].tobytes()


def test_at_the_end_all_of_the_history_counts_and_the_depth_is_enough():
    values = np.tile([0.0, 5, 1, -6], 8) + np.arange(32) / 10
    whole, short = Panel.of([values[:30]]), Panel.of([values[30 - DECLARED.depth : 30]])
    ahead = np.arange(9)

    def points(panel: Panel) -> Points:
        return Points(np.zeros(9, np.int64), panel.lengths[0] + ahead, ahead + 1)

    season, trend = told(whole, points(whole))
    assert told(short, points(short)).tobytes() == np.array([season, trend]).tobytes()
    np.testing.assert_allclose(season, np.tile([0.0, 5, 1, -6], 8)[(30 + ahead) % SEASON], atol=0.3)
    assert (trend == trend[0]).all() and abs(trend[0] - 3) < 0.5


def test_two_cycles_are_needed():
    panel = Panel.of([np.arange(7.0)])
    season, trend = told(panel, Points(np.zeros(2, np.int64), np.array([6, 7]), np.ones(2, np.int64)))
    assert (season == 0).all() and np.isnan(trend).all()


def test_it_is_data():
    declared = FeatureSet((StlFeatures(7, ("season",)), StlFeatures(12)))
    assert declared.names == ("stl_season7", "stl_season12", "stl_trend12")
    assert declared.units == ("spread", "spread", "level")
    assert FeatureSet.from_json(declared.to_json()) == declared
    with pytest.raises(ConfigError, match="no part 'rest'; use season, trend"):
        StlFeatures(7, ("rest",))
    with pytest.raises(ConfigError, match="give 2 or more"):
        StlFeatures(1)
