"""ARIMA: forecasts equal statsmodels' own, orders make sense, covariates and long seasons count, refits are as good."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError
from forecastml.learners.arima import LONGEST_EXACT, Layout
from forecastml.learners.arima_estimation import Order
from forecastml.learners.registry import get_learner
from forecastml.learners.regressors import KnownColumns, Wave, calendar_period
from forecastml.learners.state import OK
from forecastml.protocols import Facts, FitContext

MONTHS = Frequency("month_start")
HOUR = Frequency("microsecond", 3_600_000_000)
YEARLY = FitContext(horizon=12, seasons=(12,))


def airline_like(n: int = 120, seed: int = 0) -> np.ndarray:
    """A (0, 1, 1) (0, 1, 1) 12 process, the model of the airline passengers (Box & Jenkins 1970)."""
    random = np.random.default_rng(seed)
    e = random.normal(size=n + 26)
    w = e[13:] - 0.4 * e[12:-1] - 0.6 * e[1:-12] + 0.24 * e[:-13]
    y = np.concatenate([np.zeros(13), w])
    for t in range(13, len(y)):
        y[t] += y[t - 1] + y[t - 12] - y[t - 13]
    return 200 + 10 * np.sin(np.arange(n) * np.pi / 6) + y[-n:]


def with_known(panel: Panel, table: np.ndarray, reach: int, **categories) -> Panel:
    """The panel with known covariates: table (series, rows + reach, columns)."""
    n = len(panel)
    rows = panel.lengths + reach
    names = tuple(f"x{i}" for i in range(table.shape[2]))
    return replace(
        panel,
        schema=replace(panel.schema, known=names),
        known=table.reshape(-1, table.shape[2]),
        known_begin=np.arange(n) * rows,
        known_end=(np.arange(n) + 1) * rows,
        categories=categories,
    )


@pytest.fixture(scope="module")
def airline():
    panel = Panel.of([airline_like()], MONTHS, [240])
    return panel, get_learner("auto_arima").fit(panel, {}, YEARLY)


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


def test_pmdarima_forecasts_about_the_same_with_the_order_that_was_found(airline):
    from pmdarima.arima import ARIMA

    panel, fitted = airline
    order = fitted.estimate(0).order
    seasonal = (order.seasonal_p, order.seasonal_d, order.seasonal_q, order.season)
    drift = not np.isnan(fitted.estimate(0).beta[0])
    theirs = ARIMA((order.p, order.d, order.q), seasonal, with_intercept=drift).fit(panel.values(0)).predict(12)
    ours = fitted.predict(panel, 12, ("mean",)).mean
    assert np.abs(ours - theirs).max() < 0.2 * np.std(np.diff(panel.values(0)))


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
    previous = learner.fit(early, {}, YEARLY)
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


def test_a_line_goes_on_and_a_pattern_repeats():
    t = np.arange(48.0)
    panel = Panel.of([100 + 3 * t, 5 + np.tile([1.0, 4.0, 2.0, 9.0], 12)])
    fitted = get_learner("auto_arima").fit(panel, {}, FitContext(horizon=8, seasons=(4,)))
    mean = fitted.predict(panel, 8, ("mean",)).mean.reshape(2, 8)
    np.testing.assert_allclose(mean[0], 100 + 3 * np.arange(48, 56), rtol=1e-6)
    np.testing.assert_allclose(mean[1], 5 + np.tile([1.0, 4.0, 2.0, 9.0], 2), rtol=1e-6)


def test_seasons_that_are_too_long_for_the_state_become_waves():
    random = np.random.default_rng(3)
    t = np.arange(24 * 28)
    y = 50 + 10 * np.sin(2 * np.pi * t / 24) + 5 * np.cos(2 * np.pi * t / 168) + random.normal(size=len(t))
    panel = Panel.of([y[:-48]], HOUR, [0])
    fitted = get_learner("auto_arima").fit(panel, {}, FitContext(horizon=48, seasons=(24, 168)))
    assert fitted.layout.season == 1
    assert [wave.period for wave in fitted.layout.waves] == [24.0, 168.0]
    mean = fitted.predict(panel, 48, ("mean",)).mean
    assert np.abs(mean - y[-48:]).mean() < 1.2
    same = fitted.predict(panel, 5, ("mean",)).mean
    np.testing.assert_array_equal(same, mean[:5])


def test_waves_do_not_tell_the_same_harmonic_twice():
    layout = Layout.of(Panel.of([[1.0]], HOUR), (24, 168), KnownColumns())
    told = [k / wave.period for wave in layout.waves for k in wave.harmonics]
    assert len({round(frequency, 9) for frequency in told}) == len(told)
    daily = Layout.of(Panel.of([[1.0]], Frequency("day")), (7, 365), KnownColumns())
    assert daily.season == 7 <= LONGEST_EXACT
    assert [wave.period for wave in daily.waves] == [365.25]
    assert calendar_period(52, Frequency("day", 7)) == pytest.approx(52.18, abs=0.01)
    assert Layout.from_json(layout.to_json()) == layout


def test_a_wave_that_history_does_not_hold_twice_is_not_used():
    panel = Panel.of([np.random.default_rng(0).normal(size=300)], Frequency("day"), [0])
    fitted = get_learner("auto_arima").fit(panel, {}, FitContext(horizon=5, seasons=(365,)))
    assert np.isnan(fitted.estimate(0).beta[1:]).all()


def test_known_covariates_explain_what_they_drive():
    random = np.random.default_rng(1)
    price, event = random.normal(size=(1, 130, 1)), random.integers(0, 2, (1, 130, 1)).astype(float)
    y = 100 + 8 * price[0, :, 0] - 20 * event[0, :, 0] + np.cumsum(random.normal(size=130) * 0.3)
    panel = with_known(Panel.of([y[:120]]), np.concatenate([price, event], axis=2), 10, x1=("no", "yes"))
    context = FitContext(horizon=10)
    ours = get_learner("arimax").fit(panel, {}, context).predict(panel, 10, ("mean",)).mean
    blind = get_learner("auto_arima").fit(panel, {}, context).predict(panel, 10, ("mean",)).mean
    assert np.abs(ours - y[120:]).mean() < 2.0 < np.abs(blind - y[120:]).mean()


def test_arimax_equals_statsmodels_with_the_covariates_as_exog():
    random = np.random.default_rng(2)
    table = random.normal(size=(1, 90, 2))
    y = 30 + table[0, :80, 0] * 4 + np.cumsum(random.normal(size=80))
    panel = with_known(Panel.of([y]), table, 10)
    fitted = get_learner("arimax").fit(panel, {}, FitContext(horizon=10))
    expected, ours, model = by_statsmodels(panel, fitted, 10)
    np.testing.assert_allclose(fitted.predict(panel, 10, ("mean",)).mean, expected, rtol=1e-6)
    assert ours > model.fit(disp=0, maxiter=200).llf - 0.5


def test_holes_in_covariates_and_useless_columns_do_no_harm():
    random = np.random.default_rng(4)
    useful = random.normal(size=75)
    table = np.column_stack([useful, np.full(75, 7.0), 2 * useful + 1, np.arange(75.0)])[None].copy()
    table[0, [0, 20, 70, 71, 72, 73, 74], 0] = np.nan
    table[0, [0, 20], 2] = np.nan
    panel = with_known(Panel.of([5 + 3 * useful[:70] + random.normal(size=70) * 0.1]), table, 5)
    fitted = get_learner("arimax").fit(panel, {}, FitContext(horizon=5))
    assert fitted.status == (OK,)
    beta = fitted.estimate(0).beta
    assert np.isnan(beta[2])
    assert np.isnan(beta[4])
    assert np.isfinite(fitted.predict(panel, 5, ("mean",)).mean).all()


def test_arimax_stands_aside_without_known_covariates():
    facts = Facts("forecasting", 5, 1, 50, 50)
    assert get_learner("arimax").space(facts) == []
    assert get_learner("arimax").space(replace(facts, covariates=frozenset({"known"}))) == [{}]
    assert get_learner("auto_arima").space(facts) == [{}]


def test_forecasts_that_explode_are_not_given_out(airline, monkeypatch):
    panel, _ = airline
    monkeypatch.setattr("forecastml.learners.per_series.EXPLOSION", -0.49)
    monkeypatch.setattr("forecastml.learners.per_series.ROUNDING", 0.0)
    short = panel.before(np.array([9]))
    fitted = get_learner("auto_arima").fit(short, {}, FitContext(horizon=3))
    assert fitted.status == ("its forecasts explode",)
    assert np.isnan(fitted.predict(short, 3, ("mean",)).values).all()


def test_unknown_parameters_and_unlike_models_are_refused(airline):
    panel, fitted = airline
    with pytest.raises(ConfigError, match="no parameter 'p'"):
        get_learner("auto_arima").fit(panel, {"p": 2}, YEARLY)
    other = get_learner("auto_arima").fit(Panel.of([[1.0, 2.0]]), {}, FitContext())
    with pytest.raises(ConfigError, match="cannot stack"):
        fitted.stack([other])
    with pytest.raises(ConfigError, match="same series"):
        fitted.append(panel.select(np.array([0, 0])))
    with pytest.raises(ConfigError, match="fit instead"):
        get_learner("auto_arima").refit(fitted, panel.select(np.array([0, 0])), YEARLY)


def test_known_columns_are_numbers_and_indicators():
    table = np.array([[1.0, 0.0], [np.nan, -1.0], [3.0, 1.0], [np.nan, 1.0]])[None]
    panel = with_known(Panel.of([[1.0, 2.0]]), table, 2, x1=("a", "b"))
    columns = KnownColumns.of(panel)
    assert columns.columns == ((0, -1), (1, 0), (1, 1))
    expected = [[1, 1, 0], [1, 0, 0], [3, 0, 1], [3, 0, 1], [3, 0, 0]]
    np.testing.assert_array_equal(columns.table(panel, 0, 5), expected)
    many = replace(panel, categories={"x1": tuple("abcdefghijklmn")})
    assert KnownColumns.of(many).columns == ((0, -1),)


def test_waves_and_differences_are_what_they_say():
    columns = Wave(12.0, (1, 3)).columns(np.array([0.0, 3.0]))
    np.testing.assert_allclose(columns, [[0, 1, 0, 1], [1, 0, -1, 0]], atol=1e-12)
    order = Order(d=1, seasonal_d=1, season=2)
    np.testing.assert_array_equal(order.difference(np.array([1.0, 5.0, 2.0, 9.0])), [3.0])
