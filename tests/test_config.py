"""Configurations: presets as data, and what a user allows by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.cli_options import names
from forecastml.config import PRESETS
from forecastml.errors import ConfigError
from forecastml.learners.registry import check_names, named
from forecastml.protocols import Candidate, Facts

FACTS = Facts("forecasting", 4, 5, 40, 60, seasons=(12,))


def tried(**choices) -> list[str]:
    return [candidate.name for candidate in fm.Config.preset("balanced", **choices).candidates(FACTS)]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_name_learners_that_exist_each_once(preset):
    learners = PRESETS[preset]["learners"]
    assert check_names(learners) == learners and len(set(learners)) == len(learners)
    combined = learners.index("median")
    assert all(learners.index(part) < combined for part in ("exponential_smoothing", "mstl", "ces"))


def test_a_slower_preset_tries_all_that_a_faster_one_does():
    fast, balanced, best = (set(PRESETS[name]["learners"]) for name in ("fast", "balanced", "best"))
    assert fast < balanced < best


@pytest.mark.parametrize(
    "text",
    [
        "naive",
        "seasonal_naive(season_length=12)",
        "exponential_smoothing(season_length=12, combine=select)",
        "median(of=['naive', 'drift', 'average'])",
        "mstl(seasons=[24, 168], model=theta)",
    ],
)
def test_a_candidate_is_read_as_the_leaderboard_writes_it(text):
    assert named(text).name == text


@pytest.mark.parametrize("text", ["", "naive(", "naive)", "naive(12)", "naive(=1)", "naive(a=)", "nave", "a b"])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match="learner"):
        named(text)


def test_allowed_learners_come_with_their_parameters_or_those_of_their_space():
    assert tried(allow=("drift", "auto_arima(engine=pmdarima)")) == ["drift", "auto_arima(engine=pmdarima)"]
    assert tried(allow="seasonal_naive") == ["seasonal_naive(season_length=12)"]
    assert tried(allow=("theta(season_length=1)", "theta(season_length=4)")) == [
        "theta(season_length=1)",
        "theta(season_length=4)",
    ]
    assert names("theta(season_length=1, x=2),naive, drift") == ("theta(season_length=1, x=2)", "naive", "drift")


def test_a_learner_for_intermittent_demand_is_tried_where_there_is_some_or_by_name():
    assert "sba" not in tried()
    lumpy = Facts("forecasting", 4, 5, 40, 60, demand={"lumpy": 0.5, "smooth": 0.5})
    assert Candidate("sba") in fm.Config.preset("balanced").candidates(lumpy)
    assert tried(allow="sba") == ["sba"]


@pytest.mark.parametrize(
    "text",
    [
        "theta(season=12)",
        "theta(season_length=twelve)",
        "window_average(window=two)",
        "auto_arima(engine=pmdarma)",
        "mstl(model=exponential)",
    ],
)
def test_a_wrong_parameter_is_refused_at_once(text):
    with pytest.raises(ConfigError, match=text.partition("(")[0]):
        fm.Config.preset("fast", allow=text)


def test_lists_need_no_quotes():
    assert named("median(of=[theta, ces, mstl])").params == {"of": ["theta", "ces", "mstl"]}


def test_a_median_is_of_what_is_in_use():
    assert "median" in tried()
    assert "median(of=['exponential_smoothing', 'ces', 'mstl'])" in tried(
        block=("auto_arima", "dynamic_optimized_theta")
    )
    assert not [name for name in tried(block=("auto_arima", "ces", "mstl")) if name.startswith("median")]


def test_parameters_given_by_name_are_used():
    table = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=60), "y": [float(i % 7) for i in range(60)]})
    config = fm.Config.preset("fast", allow="seasonal_naive(season_length=3)")
    model = fm.fit(table, fm.Forecasting(horizon=3), config)
    assert model.forecast()["mean"].tolist() == table["y"].tolist()[-3:]


def test_at_most_twelve_pooled_candidates_of_which_those_are_tried_that_suit_the_data():
    assert all(len(PRESETS[preset]["pooled"]) <= 12 for preset in ("fast", "balanced"))
    pooled = [name for name in tried() if name.startswith(("ridge", "light_gbm"))]
    assert pooled and not any("log" in name for name in pooled)
    facts = replace(FACTS, nonnegative=True)
    more = [candidate.name for candidate in fm.Config.preset("balanced").candidates(facts)]
    assert any("log" in name for name in more)
    assert not any("seasonal_difference" in c.name for c in fm.Config.preset().candidates(replace(FACTS, seasons=())))


def test_features_are_asked_for_once_for_all_of_them():
    asked = {"lags": [1, 2], "windows": [4]}
    names = [name for name in tried(features=asked, allow=("ridge", "naive")) if name != "naive"]
    assert names and all(name.startswith("ridge(lags=[1, 2], windows=[4], ") for name in names)
    assert fm.Config.preset(features="lags=[1, 2], windows=[4]").features == asked
    own = tried(features=asked, allow="ridge(lags=7)")
    assert own == ["ridge(lags=7, windows=[4])"]
    for lags in (range(1, 3), np.array([1, 2]), (np.int64(1), 2)):
        assert fm.Config.preset(features={"lags": lags}).features == {"lags": [1, 2]}
    with pytest.raises(ConfigError, match="lags"):
        fm.Config.preset(features={"lags": [0]})
    with pytest.raises(ConfigError, match=r"features: 'lag' is unknown; known are lags, .*; did you mean 'lags'"):
        fm.Config.preset(features="lag=[1]")
    with pytest.raises(ConfigError, match="'alpha' is unknown"):
        fm.Config.preset(features={"alpha": 1.0})
    with pytest.raises(ConfigError, match=r"'lags=1,4' cannot be read; write such as lags=\[1,7\]"):
        fm.Config.preset(features="lags=1,4")


def test_features_that_nobody_would_use_are_refused():
    with pytest.raises(ConfigError, match=r"none of the learners uses them \(theta\)"):
        tried(features={"lags": [1]}, allow="theta")
    with pytest.raises(ConfigError, match="rows have columns alone"):
        fm.Config.preset(features={"lags": [1]}).candidates(
            replace(FACTS, task="regression", horizon=1, separable=False)
        )
