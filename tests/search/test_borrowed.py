"""Under a prior large groups have fits of their own by learners that learn across series; the others borrow."""

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.search import evaluate
from forecastml.task import grouped

CONFIG = fm.Config.preset("fast", allow=["seasonal_naive", "ridge", "light_gbm"])
TASK = grouped(fm.Forecasting(horizon=7, series="item", time="day", target="y"), ["shop"])


def shop(name, days, items):
    rng = np.random.default_rng(list(name.encode()))
    day = pd.date_range("2022-01-01", periods=days, freq="D")
    parts = []
    for k in range(items):
        y = 20 + 5 * np.sin(2 * np.pi * np.arange(days) / 7 + k) + rng.normal(size=days)
        parts.append(pd.DataFrame({"shop": name, "item": f"i{k}", "day": day, "y": y}))
    return pd.concat(parts)


@pytest.fixture(scope="module")
def prior():
    return fm.prepare(pd.concat([shop(f"small {k}", 120, 3) for k in range(8)]), TASK, CONFIG)


@pytest.fixture(autouse=True)
def enough(monkeypatch):
    monkeypatch.setattr(evaluate, "ENOUGH_VALUES", 900)


def of(frame, name):
    return frame[frame["shop"] == name].reset_index(drop=True)


def test_a_large_group_has_a_fit_of_its_own_and_a_small_one_borrows(prior, tmp_path):
    model = fm.fit(pd.concat([shop("large", 300, 4), shop("small", 120, 3)]), TASK, CONFIG, prior)
    pooled = [member for member in model.members if member.candidate.name in prior.shared]
    assert pooled and all(len(member.fitted.models) == 2 for member in pooled)
    shared = {name: final.models[0] for name, (_, final) in prior.shared.items()}
    for member in pooled:
        which = dict(zip(model.panel.keys[:, 0], member.fitted.items["model"], strict=True))
        assert member.fitted.models[which["small"]].state()[1] == shared[member.candidate.name].state()[1]
        assert which["large"] != which["small"]
    forecast = model.forecast()
    model.save(tmp_path / "model")
    assert fm.load(tmp_path / "model").forecast().equals(forecast)


@pytest.mark.parametrize("name", ["large", "small"])
def test_a_group_alone_equals_itself_among_others(prior, name):
    shops = {"large": shop("large", 300, 4), "small": shop("small", 120, 3), "other": shop("other", 320, 3)}
    together = fm.fit(pd.concat(shops.values()), TASK, CONFIG, prior).forecast()
    alone = fm.fit(shops[name], TASK, CONFIG, prior).forecast()
    assert of(together, name).equals(of(alone, name))


def test_a_large_group_that_cannot_be_fitted_borrows(prior, monkeypatch):
    rows = shop("large", 300, 4)
    monkeypatch.setattr(evaluate, "ENOUGH_VALUES", 10**9)
    borrowed = fm.fit(rows, TASK, CONFIG, prior).forecast()
    monkeypatch.setattr(evaluate, "ENOUGH_VALUES", 900)
    own = fm.fit(rows, TASK, CONFIG, prior).forecast()

    def refuse(*_):
        raise ValueError("no")

    for learner in ("linear.Ridge", "boosting.LightGBM"):
        monkeypatch.setattr(f"forecastml.learners.{learner}.fit", refuse)
    assert not own.equals(borrowed)
    assert fm.fit(rows, TASK, CONFIG, prior).forecast().equals(borrowed)
