"""Croston, SBA, TSB, ADIDA and IMAPA: golden numbers of statsforecast, and what each of them promises."""

from __future__ import annotations

import numpy as np
import pytest

import forecastml as fm
from forecastml.config import Config
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.learners import intermittent
from forecastml.learners.registry import get_learner
from forecastml.protocols import Facts, FitContext
from forecastml.task import Forecasting

NAMES = ("croston", "sba", "tsb", "adida", "imapa")
SLOW = [0, 0, 2, 0, 0, 0, 1, 0, 0, 3, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0]
LUMPY = [0, 12, 0, 0, 0, 0, 1, *[0] * 5, 45, 0, 0, 3, *[0] * 6, 9, 0, 0, 0, 2, 0, 0, 0, 0, 60, 0, 0, 0, 5, 0, 0]
DYING = [3, 0, 2, 5, 0, 4, 0, 3, 2, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, *[0] * 8]
FREQUENT = [4, 6, 0, 5, 7, 3, 0, 4, 6, 8, 5, 0, 6, 7, 4, 5, 9, 0, 6, 5, 7, 8, 4, 6, 0, 5]
PANEL = Panel.of([SLOW, LUMPY, DYING, FREQUENT])

#: statsforecast 2.1.1: CrostonClassic (weight 0.1), CrostonSBA (0.1), TSB(alpha_d=0.2, alpha_p=0.05).
FIXED = {
    "croston": [0.5961130668824445, 4.443610408572563, 1.1273969109135826, 4.616357232661499],
    "sba": [0.5663074135383223, 4.221429888143935, 1.0710270653679035, 4.385539371028424],
    "tsb": [0.3912551330519021, 3.185791233692042, 0.7919645834115221, 4.975222984155164],
}
#: statsforecast 2.1.1: CrostonOptimized, ADIDA, IMAPA, whose weights lie within 0.1 and 0.3.
OPTIMISED = {
    "croston": [0.5897378748656963, 3.477705010671941, 0.6430908610537482, 4.741383283657724],
    "adida": [0.5012512250000047, 3.0180091547307266, 0.2195229256271359, 4.675888184096277],
    "imapa": [0.48327315410405913, 3.5601039010711335, 0.12827965406075506, 4.675888184096277],
}


def forecast(name: str, panel: Panel, horizon: int = 1) -> np.ndarray:
    fitted = get_learner(name).fit(panel, {}, FitContext(horizon=horizon))
    return fitted.predict(panel, horizon, ("mean",)).mean.reshape(len(panel), horizon)


def demand(n: int, length: int, seed: int = 0, most: float = 0.6) -> np.ndarray:
    random = np.random.default_rng(seed)
    chance = random.uniform(0.05, most, (n, 1))
    return np.where(random.random((n, length)) < chance, 1.0 + random.poisson(3.0, (n, length)), 0.0)


@pytest.mark.parametrize("name", FIXED)
def test_equals_statsforecast_at_given_weights(name, monkeypatch):
    size, probability = (0.2, 0.05) if name == "tsb" else (0.1, None)
    monkeypatch.setattr(intermittent, "WEIGHTS", (size, size))
    monkeypatch.setattr(intermittent, "PROBABILITY_WEIGHTS", (probability, probability))
    np.testing.assert_allclose(forecast(name, PANEL)[:, 0], FIXED[name], rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMISED)
def test_chosen_weights_come_near_to_those_of_statsforecast(name, monkeypatch):
    monkeypatch.setattr(intermittent, "WEIGHTS", (0.1, 0.3))
    # The tables of weights are about 0.01 apart.
    np.testing.assert_allclose(forecast(name, PANEL)[:, 0], OPTIMISED[name], rtol=5e-3)


def test_by_hand():
    panel = Panel.of([[0, 0, 6, 0, 2]])
    memory = get_learner("croston").fit(panel, {}, FitContext()).memory
    size, wait = memory["weight"][0]
    found = (6 + size * (2 - 6)) / (3 + wait * (2 - 3))
    assert forecast("croston", panel)[0, 0] == pytest.approx(found, rel=1e-14)
    assert forecast("sba", panel)[0, 0] == pytest.approx(found * (1 - wait / 2), rel=1e-14)
    # Intervals 3 and 2: buckets of 2, the first period is left out.
    assert forecast("adida", panel)[0, 0] == pytest.approx((6 + 0.05 * (2 - 6)) / 2, rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_demand_is_never_forecast_below_zero_or_above_the_largest(name):
    panel = Panel.of([*demand(60, 90), [0.0] * 12, [0.0, 1e-300, 0.0], [1e9, *[0.0] * 50]])
    values = forecast(name, panel, 4)
    largest = np.array([panel.values(i).max() for i in range(len(panel))])
    assert (values >= 0).all() and (values <= largest[:, None]).all()
    assert (values[:60] > 0).all() and (values[60] == 0).all()
    assert (values == values[:, :1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_without_zeros_it_is_simple_smoothing(name):
    random = np.random.default_rng(3)
    above, below = random.gamma(3.0, size=50), random.normal(size=50).round(1)
    assert (below == 0).any() and (below < 0).any()
    for values in (above, below):
        value = forecast(name, Panel.of([values]))[0, 0]
        levels = []
        for weight in np.linspace(0.05, 0.3, 400):
            level = values[0]
            for y in values[1:]:
                level += weight * (y - level)
            levels.append(level)
        assert min(levels) - 1e-9 <= value <= max(levels) + 1e-9


def test_only_tsb_and_aggregates_forget_what_is_no_longer_sold():
    alive = demand(40, 60, seed=1)
    gone = np.hstack([alive, np.zeros((40, 60))])
    for name, most in {"tsb": 0.5, "adida": 0.5, "imapa": 0.5}.items():
        ratio = forecast(name, Panel.of(gone)) / forecast(name, Panel.of(alive))
        assert np.median(ratio) < most
    np.testing.assert_array_equal(forecast("croston", Panel.of(gone)), forecast("croston", Panel.of(alive)))


def test_the_correction_takes_the_bias_away():
    # The correction is meant for long intervals; with short ones it is too much.
    sales = demand(400, 300, seed=2, most=0.3)
    mean = sales.mean()
    croston, sba = (forecast(name, Panel.of(sales)).mean() for name in ("croston", "sba"))
    assert croston > mean * 1.02
    assert abs(sba - mean) < abs(croston - mean)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_periods_are_no_periods(name):
    sales = demand(8, 70, seed=4)
    holes = np.repeat(sales, 2, axis=1)
    holes[:, 1::2] = np.nan
    np.testing.assert_array_equal(forecast(name, Panel.of(holes)), forecast(name, Panel.of(sales)))


@pytest.mark.parametrize("name", NAMES)
def test_appending_is_smoothing_on(name):
    sales = demand(30, 80, seed=5)
    sales[0, :60], sales[1, 62:], sales[2, 65] = 0.0, 0.0, np.nan
    early, whole = Panel.of(sales[:, :60]), Panel.of(sales)
    fitted = get_learner(name).fit(early, {}, FitContext())
    moved = fitted.append(whole)
    values = moved.predict(whole, 1, ("mean",)).mean
    assert (values[1:] != fitted.predict(early, 1, ("mean",)).mean[1:]).any()
    weight = fitted.memory["weight"]
    if name in ("croston", "sba"):
        for i in range(3, 30):
            at = np.flatnonzero(sales[i]) + 1.0
            levels = []
            for k, series in enumerate((sales[i][sales[i] != 0], np.diff(at, prepend=0.0))):
                level = series[0]
                for y in series[1:]:
                    level += weight[i, k] * (y - level)
                levels.append(level)
            factor = 1 - weight[i, 1] / 2 if name == "sba" else 1.0
            assert values[i] == pytest.approx(factor * levels[0] / levels[1], rel=1e-12)
    # The first demand ever: Croston's size and interval begin with it.
    assert np.isfinite(values).all() and (values[0] > 0) == (sales[0, 60:].max() > 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_refit_is_nearly_a_fit(name):
    sales = demand(200, 120, seed=6)
    early, whole = Panel.of(sales[:, :110]), Panel.of(sales)
    learner, context = get_learner(name), FitContext()
    refitted = learner.refit(learner.fit(early, {}, context), whole, context)
    np.testing.assert_allclose(
        refitted.predict(whole, 1, ("mean",)).mean.mean(), forecast(name, whole).mean(), rtol=0.02
    )


def test_aggregation_over_a_very_long_interval_is_capped():
    panel = Panel.of([[*[0.0] * 99, 7.0] * 3])
    memory = get_learner("imapa").fit(panel, {}, FitContext()).memory
    assert memory["bucket"].tolist() == [list(range(1, intermittent.MOST_LEVELS + 1))]
    assert get_learner("adida").fit(panel, {}, FitContext()).memory["bucket"].tolist() == [[100.0]]
    assert forecast("adida", panel)[0, 0] == pytest.approx(0.07, rel=1e-14)


@pytest.mark.parametrize("params", [{"season_length": 7}, {"alpha": 0.1}])
def test_a_wrong_parameter_is_told(params):
    with pytest.raises(ConfigError, match=f"tsb.*{next(iter(params))}"):
        get_learner("tsb").fit(PANEL, params, FitContext())


@pytest.mark.parametrize(("share", "space"), [(0.09, []), (0.1, [{}]), (1.0, [{}])])
def test_they_are_tried_where_a_tenth_of_the_series_ask_for_them(share, space):
    for name in NAMES:
        facts = Facts("forecasting", 5, 10, 50, 50, demand={"smooth": 1 - share, "lumpy": share})
        assert get_learner(name).space(facts) == space
        assert get_learner(name).space(Facts("forecasting", 5, 10, 50, 50)) == []


def test_the_facts_come_from_the_earliest_window():
    # Demand becomes intermittent only after the earliest cutoff.
    sales = np.hstack([np.full((20, 60), 5.0), demand(20, 12, seed=7)])
    task = Forecasting(horizon=4, n_folds=3)
    panel = Panel.of(sales)
    assert task.facts(panel, task.cut(panel, lambda n: 3)).demand == {"smooth": 1.0}
    panel = Panel.of(demand(20, 72, seed=7))
    shares = task.facts(panel, task.cut(panel, lambda n: 3)).demand
    assert shares.get("intermittent", 0) + shares.get("lumpy", 0) > 0.8
    names = [c.learner for c in Config.preset("fast", allow=NAMES).candidates(task.facts(panel, task.cut(panel, int)))]
    assert names == list(NAMES)


def test_a_whole_run_of_intermittent_sales():
    import pandas as pd

    days = pd.date_range("2024-01-01", periods=70, freq="D")
    table = pd.concat(
        pd.DataFrame({"unique_id": f"{i:02}", "ds": days, "y": sales}) for i, sales in enumerate(demand(12, 70, seed=8))
    )
    model = fm.fit(table, fm.Forecasting(horizon=7, series="unique_id"), fm.Config.preset("fast", allow=NAMES))
    board = model.leaderboard()
    assert set(NAMES) <= set(board["learner"])
    assert np.isfinite(model.forecast()["mean"]).all()
