"""Which features a panel gets, and what a user can ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency, Schema
from forecastml.errors import ConfigError
from forecastml.features.automatic import FeatureOptions, automatic
from forecastml.features.panel import FeatureSet
from forecastml.features.points import Points
from forecastml.protocols import FitContext


@pytest.fixture
def panel():
    found = Panel.of([np.arange(60.0)], Frequency("month_start"), [0])
    return replace(
        found,
        schema=Schema("y", series=("unique_id",), known=("price", "promo"), past=("visits", "mood"), static=("size",)),
        known=np.column_stack([np.arange(100.0, 165.0), np.arange(65) % 2]),
        known_end=np.array([65]),
        past=np.column_stack([np.arange(60.0) * 2, np.arange(60.0) % 3 - 1]),
        static=np.array([[7.0]]),
        categories={"mood": ("bad", "good")},
    )


def declared(panel, direct=False, seasons=(12,), horizon=3, **options):
    return automatic(panel, FitContext(horizon=horizon, seasons=seasons), direct, FeatureOptions(**options))


def points(position, step=1):
    position = np.array(position)
    return Points(np.zeros(len(position), np.int64), position, np.full(len(position), step))


def columns(features, panel, where):
    found = {}
    for _, feature in features.of_role("point"):
        found |= dict(zip(feature.names, feature.columns(panel, where), strict=True))
    return found


@pytest.mark.parametrize("direct", [False, True])
def test_features_are_named_and_valued_as_declared(panel, direct):
    features = declared(panel, direct)
    lags = range(1, 13) if direct else (*range(1, 14), 23, 24)
    assert features.names[: len(lags)] == tuple(f"lag{lag}" for lag in lags)
    assert features.names[len(lags) : len(lags) + 3] == ("mean_window4", "min_window4", "max_window4")
    assert {"quarter", "month", "price", "promo", "price_change8", "price_season12_change", "size"} <= set(
        features.names
    )
    assert ("step" in features.names) == ("season12_lag1" in features.names) == direct
    mood = "mood_lag1" if direct else "mood_lag3"
    assert [features.names[i] for i in features.categorical_columns] == [mood]
    assert len(set(features.names)) == len(features.names) == len(features.units)
    assert FeatureSet.from_json(features.to_json()) == features
    told = columns(features, panel, points([0, 30, 62, 64], 3 if direct else 1))
    np.testing.assert_array_equal(told["price"], [100, 130, 162, 164])
    np.testing.assert_array_equal(told["month"], [1, 7, 3, 5])
    # Three rows back in either way: below -1 the code is of a category that was not seen.
    np.testing.assert_array_equal(told[mood], [np.nan, 27 % 3 - 1 if 27 % 3 else np.nan, 59 % 3 - 1, np.nan])
    np.testing.assert_array_equal(told["price_season12_change"][1:], [12, 12, 12])
    np.testing.assert_array_equal(told["price_change8"][1:], [4.5] * 3)


def test_integer_time_has_places_in_the_season_instead_of_dates():
    panel = Panel.of([np.arange(40.0)], start=[5])
    features = declared(panel, seasons=(7,), horizon=2)
    assert features.names[-1] == "season7"
    np.testing.assert_array_equal(columns(features, panel, points([0, 1, 2]))["season7"], [5, 6, 0])


def test_a_user_says_which_lags_and_windows(panel):
    names = declared(panel, lags=[2, 1, 2], windows=[7, 3], aggregates=("mean",)).names
    assert names[:4] == ("lag1", "lag2", "mean_window3", "mean_window7")
    assert declared(panel, lags=5, windows=()).names[:2] == ("lag5", "quarter")
    for wrong in ({"lags": [0]}, {"windows": "many"}, {"aggregates": ("mode",)}):
        with pytest.raises(ConfigError):
            declared(panel, **wrong)


def test_keys_become_categories_when_asked_for():
    panel = Panel.of([np.arange(9.0), np.arange(9.0)])
    features = declared(panel, seasons=(), horizon=1, ids=True)
    assert "key_unique_id" not in declared(panel, seasons=(), horizon=1).names
    where = Points(np.array([1, 0]), np.array([3, 3]), np.array([1, 1]))
    np.testing.assert_array_equal(columns(features, panel, where)["key_unique_id"], [1, 0])
    assert features.names[features.categorical_columns[0]] == "key_unique_id"
    stranger = replace(panel, keys=np.array([["9"], ["0"]], dtype=object))
    np.testing.assert_array_equal(columns(features, stranger, where)["key_unique_id"], [0, np.nan])
