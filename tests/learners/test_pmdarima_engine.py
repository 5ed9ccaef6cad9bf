"""The engine "pmdarima" of ARIMA: forecasts equal statsmodels' own, missing values stay missing, refits are as good."""

from __future__ import annotations

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.learners.pmdarima_engine import ArimaForecaster, Layout
from forecastml.learners.pmdarima_estimation import Order
from forecastml.learners.registry import get_learner
from forecastml.learners.regressors import KnownColumns, divided
from forecastml.protocols import FitContext
from tests.learners.test_arima import HOUR, MONTHS, YEARLY, airline_like, with_known

PMDARIMA = {"engine": "pmdarima"}


@pytest.fixture(scope="module")
def airline():
    panel = Panel.of([airline_like()], MONTHS, [240])
    return panel, get_learner("auto_arima").fit(panel, PMDARIMA, YEARLY)


def by_statsmodels(panel: Panel, fitted, horizon: int):
    """Forecast and log likelihood of statsmodels with the same parameters, the regression in its `exog`."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    found, memory = fitted.estimate(0), fitted.memory
    order = found.order
    y = (panel.values(0) - memory["location"][0]) / memory["scale"][0]
    time = panel.start[0] // panel.frequency.step + np.arange(len(y) + horizon) - memory["anchor"][0]
    x = fitted.layout.table(panel, 0, len(y) + horizon) - memory["centre"][0]
    x[:, 0] = time if order.differences else 1.0
    used = ~np.isnan(found.beta)
    x, beta = np.nan_to_num(x[:, used]), found.beta[used]
    model = SARIMAX(
        y,
        exog=x[: len(y)] if used.any() else None,
        order=(order.p, order.d, order.q),
        seasonal_order=(order.seasonal_p, order.seasonal_d, order.seasonal_q, order.season if order.season > 1 else 0),
        concentrate_scale=True,
    )
    result = model.filter(np.concatenate([beta, found.arma]))
    ahead = result.forecast(horizon, exog=x[len(y) :]) if used.any() else result.forecast(horizon)
    return memory["location"][0] + memory["scale"][0] * ahead, result.llf, model


def test_forecasts_equal_those_of_statsmodels_with_the_same_parameters(airline):
    panel, fitted = airline
    mean = fitted.predict(panel, 24, ("mean",)).mean
    np.testing.assert_allclose(mean, by_statsmodels(panel, fitted, 24)[0], rtol=1e-6)


def test_the_likelihood_is_as_high_as_a_free_fit_of_statsmodels(airline):
    panel, fitted = airline
    _, ours, model = by_statsmodels(panel, fitted, 1)
    theirs = model.fit(disp=0, maxiter=200).llf
    assert ours > theirs - 0.5


def test_an_airline_like_series_gets_an_airline_like_order(airline):
    order = airline[1].estimate(0).order
    assert order.season == 12
    assert order.differences >= 1
    assert order.q + order.p >= 1
    assert order.seasonal_d + order.seasonal_p >= 1
    assert 2 <= order.terms <= 5


def test_a_refit_keeps_the_order_and_comes_near_a_free_fit(airline):
    panel, _ = airline
    learner = get_learner("auto_arima")
    early = panel.before(panel.lengths - 12)
    previous = learner.fit(early, PMDARIMA, YEARLY)
    again = learner.refit(previous, panel, YEARLY)
    assert again.estimate(0).order == previous.estimate(0).order
    same = learner.refit(previous, early, YEARLY)
    _, first, _ = by_statsmodels(early, previous, 1)
    _, second, _ = by_statsmodels(early, same, 1)
    assert second > first - 0.5
    assert not np.array_equal(again.estimate(0).arma, previous.estimate(0).arma)


def test_missing_values_stay_missing_in_the_filter(airline):
    panel, fitted = airline
    values = panel.values(0).copy()
    values[[5, 30, 31, 32, 100]] = np.nan
    holed = Panel.of([values], MONTHS, [240])
    mean = fitted.predict(holed, 12, ("mean",)).mean
    np.testing.assert_allclose(mean, by_statsmodels(holed, fitted, 12)[0], rtol=1e-6)
    bridged = fitted.predict(holed.filled(), 12, ("mean",)).mean
    assert not np.allclose(mean, bridged, rtol=1e-9)


def test_arimax_equals_statsmodels_with_the_covariates_as_exog():
    random = np.random.default_rng(2)
    table = random.normal(size=(1, 90, 2))
    y = 30 + table[0, :80, 0] * 4 + np.cumsum(random.normal(size=80))
    panel = with_known(Panel.of([y]), table, 10)
    fitted = get_learner("arimax").fit(panel, PMDARIMA, FitContext(horizon=10))
    expected, ours, model = by_statsmodels(panel, fitted, 10)
    np.testing.assert_allclose(fitted.predict(panel, 10, ("mean",)).mean, expected, rtol=1e-6)
    assert ours > model.fit(disp=0, maxiter=200).llf - 0.5


def test_forecasts_that_explode_are_not_given_out(airline, monkeypatch):
    panel, _ = airline
    monkeypatch.setattr("forecastml.learners.stand_in.EXPLOSION", -0.49)
    monkeypatch.setattr("forecastml.learners.stand_in.ROUNDING", 0.0)
    short = panel.before(np.array([9]))
    fitted = get_learner("auto_arima").fit(short, PMDARIMA, FitContext(horizon=3))
    assert fitted.status == ("its forecasts explode",)
    assert np.isnan(fitted.predict(short, 3, ("mean",)).values).all()


def test_the_state_goes_through_arrays_and_values(airline):
    panel, fitted = airline
    assert isinstance(fitted, ArimaForecaster)
    again = get_learner("auto_arima").restore(*fitted.state())
    np.testing.assert_array_equal(again.predict(panel, 6, ("mean",)).values, fitted.predict(panel, 6, ("mean",)).values)
    season, waves = divided((24, 168), HOUR)
    layout = Layout(season, waves, KnownColumns(((0, -1),)), 1000)
    assert Layout.from_json(layout.to_json()) == layout


def test_unlike_models_are_refused(airline):
    panel, fitted = airline
    other = get_learner("auto_arima").fit(Panel.of([[1.0, 2.0]]), PMDARIMA, FitContext())
    with pytest.raises(ConfigError, match="cannot stack"):
        fitted.stack([other])
    with pytest.raises(ConfigError, match="same series"):
        fitted.append(panel.select(np.array([0, 0])))
    with pytest.raises(ConfigError, match="fit instead"):
        get_learner("auto_arima").refit(fitted, panel.select(np.array([0, 0])), YEARLY)


def test_differences_are_what_they_say():
    order = Order(d=1, seasonal_d=1, season=2)
    np.testing.assert_array_equal(order.difference(np.array([1.0, 5.0, 2.0, 9.0])), [3.0])
