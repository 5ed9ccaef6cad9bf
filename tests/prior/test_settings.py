"""Settings that go to another process, and tasks for groups."""

import json

import pytest

import forecastml as fm
from forecastml.budget import Budget
from forecastml.config import PRESETS, config_from_json, config_to_json
from forecastml.task import grouped, task_from_json, task_to_json

CHOICES = {
    **{name: {"name": name} for name in PRESETS},
    "limits": {"seconds": 7.5, "trials": 3, "trial_seconds": 2, "exit_score": 0.1, "seed": 9},
    "allowed": {"allow": ("naive", "theta")},
    "parameters": {"allow": ("auto_arima(engine=pmdarima)", "seasonal_naive(season_length=7)", "naive")},
    "lists": {"allow": ("median(of=[theta, ces, mstl])", "theta", "ces", "mstl")},
    "blocked": {"name": "best", "block": ("prophet", "light_gbm")},
    "fields": {"scope": "global", "workers": 2, "threads": 2, "folds": 7, "patience": None, "prune": None, "share": 1},
}


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_a_config_comes_back_from_json(choices):
    config = fm.Config.preset(choices.get("name", "fast"), **{k: v for k, v in choices.items() if k != "name"})
    text = json.dumps(config_to_json(config))
    again = config_from_json(json.loads(text))
    assert again == config
    assert [candidate.name for candidate in again.insisted] == [candidate.name for candidate in config.insisted]
    assert isinstance(again.budget, Budget) and isinstance(again.learners, tuple)
    assert json.dumps(config_to_json(again)) == text


def test_tasks_for_groups_tell_series_apart_by_them():
    task = fm.Forecasting(horizon=6, series=("item", "shop"), known="price", season=12)
    by = grouped(task, ("region", "shop"))
    assert by.group == ("region", "shop") and by.series == ("region", "shop", "item")
    assert (by.horizon, by.known, by.season) == (task.horizon, task.known, task.season)
    assert grouped(by, ("region", "shop")) == by
    assert grouped(fm.Forecasting(horizon=1), ("shop",)).series == ("shop",)
    rows = fm.Classification(target="kind", features=("a", "b"))
    assert grouped(rows, ["shop"]) == fm.Classification(target="kind", features=("a", "b"), group="shop")
    for each in (by, grouped(rows, ("shop",))):
        assert task_from_json(json.loads(json.dumps(task_to_json(each)))) == each
