"""What the explanation of every registered learner of series promises; a new one is picked up by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from forecastml.attribution import KINDS, Explained, Explanation, explanation
from forecastml.data.panel import Panel
from forecastml.learners.registry import get_learner, learner_names
from forecastml.protocols import FitContext, Fitted, Prediction
from tests.contracts.test_learner import HORIZON, forecast, ragged, ready, same, sized

SERIES = [name for name in learner_names() if "forecasting" in get_learner(name).capabilities.tasks]
#: Not every learner takes more than one set of parameters; these lead to code of their own.
PARAMS = [
    *((name, {}) for name in SERIES),
    ("arimax", {"engine": "pmdarima"}),
    ("prophet", {"seasonality": "multiplicative"}),
    ("mstl", {"log": "always", "model": "auto_ets"}),
    ("mstl", {"log": "always"}),
    ("seasonal_average", {"slots": True}),
    ("exponential_smoothing", {"combine": "select"}),
    ("light_gbm", {"steps": "direct", "transform": "seasonal_difference"}),
    ("light_gbm", {"steps": "direct", "transform": "log"}),
    ("ridge", {"transform": "log_difference"}),
]
LONG = FitContext(horizon=HORIZON, seasons=(4, 13))


@pytest.fixture(params=PARAMS, ids=lambda param: "-".join([param[0], *map(str, param[1].values())]))
def case(request) -> tuple[str, str]:
    name, params = request.param
    return name, json.dumps(params)


@cache
def fitted_of(name: str, params: str) -> tuple[Fitted, Panel, Panel]:
    """A fitted learner, the panel that it was fitted to, and the same with newer rows; all values above zero, so that
    nothing stands in the way of logarithms."""
    learner = get_learner(name)
    panel = ragged(sized(learner, 6, 4), sized(learner, 45, 30), seed=3)
    whole = ready(learner, replace(panel, target=np.abs(panel.target) + 0.1))
    early = whole.before(np.maximum(whole.lengths - HORIZON, 1))
    return learner.fit(early, json.loads(params), LONG), early, whole


def adds_up(fitted: Fitted, panel: Panel, horizon: int = HORIZON) -> Explanation:
    """The explanation, once it sums to the forecast."""
    told, values = explanation(fitted, panel, horizon), forecast(fitted, panel, horizon)
    assert told.values.shape == (len(panel), horizon, len(told.names))
    assert len(told.terms) == len(told.names)
    size = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
    assert (
        np.abs(told.total - values)[~np.isnan(values)] <= np.repeat(1e-9 * size, horizon, 1)[~np.isnan(values)]
    ).all()
    assert (np.isnan(told.values) == np.isnan(values)[:, :, None]).all()
    return told


def test_sums_to_the_forecast(case):
    fitted, panel, _ = fitted_of(*case)
    told = adds_up(fitted, panel)
    adds_up(fitted, panel, 2 * HORIZON + 1)
    for kind in KINDS:
        by = told.told(kind, "y")
        assert len(set(by.names)) == len(by.names)
        np.testing.assert_allclose(by.total, told.total, rtol=1e-9)


def test_after_the_origin_moved_too(case):
    fitted, _, whole = fitted_of(*case)
    if not get_learner(case[0]).capabilities.append:
        pytest.skip("it cannot move")
    adds_up(fitted.append(whole), whole)


def test_a_series_alone_has_the_same_bits(case):
    fitted, panel, _ = fitted_of(*case)
    among = explanation(fitted, panel, HORIZON)
    for items in (np.array([0]), np.array([3, 0])):
        alone = explanation(fitted.take(items), panel.select(items), HORIZON)
        assert alone.names == among.names
        same(alone.values, among.values[items])


def test_of_no_series_and_of_series_without_values(case):
    fitted, panel, _ = fitted_of(*case)
    nothing = np.empty(0, np.int64)
    told = explanation(fitted.take(nothing), panel.select(nothing), HORIZON)
    assert told.values.shape[:2] == (0, HORIZON)
    blank = Panel.of([[np.nan, np.nan], [1.0, 2.0, 3.0, 2.0, 5.0, 3.0]])
    adds_up(get_learner(case[0]).fit(blank, json.loads(case[1]), FitContext(horizon=HORIZON)), blank)


def test_every_learner_of_ours_has_more_to_say_than_the_default(case):
    assert isinstance(fitted_of(*case)[0], Explained)


def test_a_learner_that_cannot_tell_has_a_level_alone():
    class Mute:
        status = ("ok",)

        def predict(self, inputs, horizon, outputs):
            return Prediction(np.arange(1.0, horizon + 1)[:, None], outputs)

    told = explanation(Mute(), Panel.of([[1.0]]), 3)
    assert told.names == ("level",)
    assert told.values[0, :, 0].tolist() == [1.0, 2.0, 3.0]
