"""What the explanation of every registered learner of series promises; a new one is picked up by its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.attribution import KINDS, Explained, Explanation, explanation
from forecastml.data.panel import Panel
from forecastml.learners.registry import get_learner, learner_names
from forecastml.protocols import FitContext, Fitted, Learner, Prediction
from tests.contracts.test_learner import CONTEXT, HORIZON, fit, forecast, ragged, ready, same, sized

SERIES = [name for name in learner_names() if "forecasting" in get_learner(name).capabilities.tasks]
#: Not every learner takes more than one set of parameters; these lead to code of their own.
PARAMS = [
    *((name, {}) for name in SERIES),
    ("auto_arima", {"engine": "pmdarima"}),
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
def case(request) -> tuple[Learner, dict]:
    name, params = request.param
    return get_learner(name), params


def positive(panel: Panel) -> Panel:
    """The panel with all values above zero, so that nothing stands in the way of logarithms."""
    return replace(panel, target=np.abs(panel.target) + 0.1)


def adds_up(fitted: Fitted, panel: Panel, horizon: int = HORIZON) -> Explanation:
    """The explanation, once it sums to the forecast."""
    told, values = explanation(fitted, panel, horizon), forecast(fitted, panel, horizon)
    assert told.values.shape == (len(panel), horizon, len(told.names))
    assert len(told.terms) == len(told.names)
    np.testing.assert_allclose(told.total, values, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(values), initial=0.0))
    assert (np.isnan(told.values) == np.isnan(values)[:, :, None]).all()
    return told


def test_sums_to_the_forecast(case):
    learner, params = case
    panel = ready(learner, positive(ragged(sized(learner, 12, 4), sized(learner, 60, 30))))
    fitted = learner.fit(panel, params, LONG)
    told = adds_up(fitted, panel)
    adds_up(fitted, panel, 2 * HORIZON + 1)
    for kind in KINDS:
        by = told.told(kind, "y")
        assert len(set(by.names)) == len(by.names)
        np.testing.assert_allclose(by.total, told.total, rtol=1e-9)


def test_after_the_origin_moved_too(case):
    learner, params = case
    if not learner.capabilities.append:
        pytest.skip("it cannot move")
    whole = ready(learner, positive(ragged(4, 30, seed=3)))
    early = whole.before(np.maximum(whole.lengths - HORIZON, 1))
    adds_up(learner.fit(early, params, CONTEXT).append(whole), whole)


def test_a_series_alone_has_the_same_bits(case):
    learner, params = case
    panel = ready(learner, positive(ragged(sized(learner, 9, 4), 30)))
    fitted = learner.fit(panel, params, CONTEXT)
    among = explanation(fitted, panel, HORIZON)
    for items in (np.array([0]), np.array([3, 0])):
        alone = explanation(fitted.take(items), panel.select(items), HORIZON)
        assert alone.names == among.names
        same(alone.values, among.values[items])


def test_of_no_series_and_of_series_without_values(case):
    learner, params = case
    panel = ready(learner, positive(ragged(4, 30)))
    fitted = learner.fit(panel, params, CONTEXT)
    nothing = np.empty(0, np.int64)
    told = explanation(fitted.take(nothing), panel.select(nothing), HORIZON)
    assert told.values.shape[:2] == (0, HORIZON)
    blank = Panel.of([[np.nan, np.nan], [1.0, 2.0, 3.0, 2.0, 5.0, 3.0]])
    adds_up(learner.fit(blank, params, FitContext(horizon=HORIZON)), blank)


@pytest.mark.parametrize("name", SERIES)
def test_every_learner_of_ours_has_more_to_say_than_the_default(name):
    learner = get_learner(name)
    assert isinstance(fit(learner, ragged(4, 30)), Explained)


def test_a_learner_that_cannot_tell_has_a_level_alone():
    class Mute:
        status = ("ok",)

        def predict(self, inputs, horizon, outputs):
            return Prediction(np.arange(1.0, horizon + 1)[:, None], outputs)

    told = explanation(Mute(), Panel.of([[1.0]]), 3)
    assert told.names == ("level",)
    assert told.values[0, :, 0].tolist() == [1.0, 2.0, 3.0]
