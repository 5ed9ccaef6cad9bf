"""ARIMA by its own engine: forecasts and spreads equal statsmodels', orders make sense, covariates count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError
from forecastml.kernels.arma_fit import polynomials
from forecastml.learners.registry import get_learner
from forecastml.learners.regressors import LONGEST_EXACT, KnownColumns, Wave, calendar_period, divided
from forecastml.learners.state import OK
from forecastml.protocols import Facts, FitContext

MONTHS = Frequency("month_start")
HOUR = Frequency("microsecond", 3_600_000_000)
YEARLY = FitContext(horizon=12, seasons=(12,))
LEVELS = ("mean", "0.1", "0.9")


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


def auto(panel: Panel, context: FitContext = YEARLY, learner: str = "auto_arima"):
    return get_learner(learner).fit(panel, {}, context)


def by_statsmodels(panel: Panel, fitted, i: int, table: np.ndarray | None = None):
    """The state-space model of statsmodels with the parameters of series i, filtered, and its free fit's likelihood.

    table: columns of the regression of rows and horizon.
    """
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    memory, season = fitted.memory, fitted.settings.season_length
    p, q, seasonal_p, seasonal_q, constant, d, seasonal_d = memory["order"][i].astype(int)
    scale, y = memory["scale"][i], panel.values(i)
    columns = [] if not constant else [np.arange(len(y)) ** min(d + seasonal_d, 1) / (season if seasonal_d else 1.0)]
    phi, theta = (a[:, 0] for a in polynomials(memory["parameters"][i][:, None], season, (0, 0)))
    far = polynomials(memory["parameters"][i][:, None], season)
    beta = [memory["constant"][i] * scale] if constant else []
    if table is not None:
        columns += list(table[: len(y)].T)
        beta += list(memory["beta"][i] * scale)
    model = SARIMAX(
        y,
        exog=np.column_stack(columns) if columns else None,
        order=(p, d, q),
        seasonal_order=(seasonal_p, seasonal_d, seasonal_q, season if season > 1 else 0),
    )
    seasonal_phi = [far[0][season - 1, 0] - (phi[season - 1] if season <= 5 else 0.0)] if seasonal_p == 1 else []
    seasonal_theta = [far[1][season - 1, 0] - (theta[season - 1] if season <= 5 else 0.0)] if seasonal_q == 1 else []
    arma = [*phi[:p], *theta[:q], *seasonal_phi, *seasonal_theta]
    return model, np.array([*beta, *arma, memory["innovation"][i] * scale**2])


@pytest.fixture(scope="module")
def airlines():
    """Airline-like series, the second one short, and a random walk."""
    walk = 50 + np.cumsum(np.random.default_rng(5).normal(size=90))
    series = [airline_like(), airline_like(80, seed=1), walk, airline_like(seed=7), airline_like(100, seed=8)]
    panel = Panel.of(series, MONTHS, [240] * len(series))
    return panel, auto(panel)


def test_forecasts_and_spreads_equal_those_of_statsmodels(airlines):
    panel, fitted = airlines
    checked = 0
    values = fitted.predict(panel, 24, LEVELS).values.reshape(len(panel), 24, 3)
    for i, order in enumerate(fitted.memory["order"].astype(int)):
        if order[2] > 1 or order[3] > 1 or (order[4] and order[6]):
            continue
        model, parameters = by_statsmodels(panel, fitted, i)
        exog = None if not order[4] else (panel.lengths[i] + np.arange(24.0)) ** min(order[5] + order[6], 1)
        ahead = model.filter(parameters).get_forecast(24, exog=exog)
        np.testing.assert_allclose(values[i, :, 0], ahead.predicted_mean, rtol=1e-5)
        # Ours are spreads of an infinite past; a seasonal moving average is not known to the end after a few seasons.
        ours = (values[i, :, 2] - values[i, :, 0]) / 1.2815515655
        np.testing.assert_allclose(ours, ahead.se_mean, rtol=0.03)
        checked += 1
    assert checked >= 3


def test_the_likelihood_is_as_high_as_a_free_fit_of_statsmodels(airlines):
    panel, fitted = airlines
    for i in (0, 3):
        model, parameters = by_statsmodels(panel, fitted, i)
        free = model.fit(disp=0, maxiter=200)
        assert model.loglike(parameters) > free.llf - 0.5


def test_an_airline_like_series_gets_an_airline_like_order(airlines):
    orders = airlines[1].memory["order"].astype(int)
    for p, q, seasonal_p, seasonal_q, _, d, seasonal_d in orders[[0, 1, 3, 4]]:
        assert d + seasonal_d >= 1
        assert p + q >= 1
        assert seasonal_p + seasonal_q + seasonal_d >= 1
        assert p + q + seasonal_p + seasonal_q <= 6
    assert orders[2][[5, 6]].tolist() == [1, 0]


def test_orders_that_made_a_series_are_often_found_again():
    """Differences nearly always; the number of parameters mostly."""
    random = np.random.default_rng(11)
    e = random.normal(size=(150, 40))
    ar, ma = np.zeros((150, 20)), e[1:, 20:] + 0.6 * e[:-1, 20:]
    for t in range(1, 150):
        ar[t] = 0.5 * ar[t - 1] + e[t, :20]
    panel = Panel.of([*ar.T, *np.cumsum(ma, axis=0).T])
    orders = auto(panel, FitContext(horizon=3)).memory["order"].astype(int)
    assert (orders[:20, 5] == 0).mean() >= 0.75
    assert (orders[20:, 5] == 1).mean() >= 0.8
    assert (orders[:20, [0, 1]] == [1, 0]).all(axis=1).mean() >= 0.5
    assert (orders[20:, [0, 1]] == [0, 1]).all(axis=1).mean() >= 0.4


def test_intervals_hold_as_often_as_they_say():
    random = np.random.default_rng(2)
    y = np.zeros((140, 150))
    for t in range(1, 140):
        y[t] = 0.6 * y[t - 1] + random.normal(size=150)
    panel = Panel.of(list(10 + y[:130].T))
    values = auto(panel, FitContext(horizon=10)).predict(panel, 10, LEVELS).values.reshape(150, 10, 3)
    inside = (values[:, :, 1] <= 10 + y[130:].T) & (values[:, :, 2] >= 10 + y[130:].T)
    assert 0.72 < inside.mean() < 0.86


def test_a_refit_keeps_the_order_and_is_as_good(airlines):
    panel, _ = airlines
    learner = get_learner("auto_arima")
    early = panel.before(panel.lengths - 12)
    previous = auto(early)
    again, same = learner.refit(previous, panel, YEARLY), learner.refit(previous, early, YEARLY)
    np.testing.assert_array_equal(again.memory["order"], previous.memory["order"])
    np.testing.assert_allclose(same.memory["innovation"], previous.memory["innovation"], rtol=2e-3)
    assert not np.array_equal(again.memory["parameters"], previous.memory["parameters"])


def test_the_scale_of_a_series_changes_nothing_but_the_scale(airlines):
    panel, fitted = airlines
    large = replace(panel, target=panel.target * 1024.0)
    expected = fitted.predict(panel, 12, LEVELS).values * 1024.0
    np.testing.assert_array_equal(auto(large).predict(large, 12, LEVELS).values, expected)
    learner = get_learner("auto_arima")
    refitted = learner.refit(fitted, large, YEARLY).predict(large, 12, ("mean",)).mean
    np.testing.assert_allclose(refitted, expected[:, 0], rtol=0.01)


def test_among_many_of_all_lengths_every_series_keeps_its_bits():
    random = np.random.default_rng(9)
    series = [10 + np.cumsum(random.normal(size=n)) for n in random.integers(3, 70, 60)]
    series[7][5:8] = np.nan
    panel = Panel.of(series)
    context = FitContext(horizon=4, seasons=(4,))
    among = auto(panel, context).predict(panel, 4, LEVELS).values.reshape(60, 4, 3)
    for i in (0, 7, 31):
        alone = panel.select(np.array([i]))
        np.testing.assert_array_equal(auto(alone, context).predict(alone, 4, LEVELS).values, among[i])


def test_missing_values_are_taken_as_expected(airlines):
    panel, fitted = airlines
    early, whole = panel.select(np.array([0])), panel.values(0)
    known = fitted.take(np.array([0]))
    gap = Panel.of([np.append(whole, [np.nan] * 3)], MONTHS, [240])
    moved = known.append(gap).predict(gap, 9, ("mean",)).mean
    np.testing.assert_allclose(moved, known.predict(early, 12, ("mean",)).mean[3:], rtol=1e-9)
    holed = whole.copy()
    holed[[5, 30, 31, 32, 100]] = np.nan
    holes = Panel.of([holed], MONTHS, [240])
    complete, gappy = (auto(p).predict(p, 12, ("mean",)).mean for p in (early, holes))
    assert np.abs(complete - gappy).max() < np.std(np.diff(whole))


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
    fitted = auto(panel, FitContext(horizon=48, seasons=(24, 168)))
    assert fitted.settings.season_length == 1
    assert [wave.period for wave in fitted.settings.wave_columns] == [24.0, 168.0]
    mean = fitted.predict(panel, 48, ("mean",)).mean
    assert np.abs(mean - y[-48:]).mean() < 1.2
    np.testing.assert_array_equal(fitted.predict(panel, 5, ("mean",)).mean, mean[:5])
    again = get_learner("auto_arima").restore(*fitted.state())
    assert again.settings == fitted.settings
    moved = fitted.append(Panel.of([y[:-24]], HOUR, [0]))
    late = moved.predict(Panel.of([y[:-24]], HOUR, [0]), 24, ("mean",)).mean
    assert np.abs(late - y[-24:]).mean() < 1.2


def test_waves_do_not_tell_the_same_harmonic_twice():
    _, waves = divided((24, 168), HOUR)
    told = [k / wave.period for wave in waves for k in wave.harmonics]
    assert len({round(frequency, 9) for frequency in told}) == len(told)
    season, waves = divided((7, 365), Frequency("day"))
    assert season == 7 <= LONGEST_EXACT
    assert [wave.period for wave in waves] == [365.25]
    assert calendar_period(52, Frequency("day", 7)) == pytest.approx(52.18, abs=0.01)


def test_a_wave_that_history_does_not_hold_twice_is_not_used():
    panel = Panel.of([np.random.default_rng(0).normal(size=300)], Frequency("day"), [0])
    fitted = auto(panel, FitContext(horizon=5, seasons=(365,)))
    assert fitted.settings.columns > 0
    assert (fitted.memory["beta"] == 0).all()


def test_known_covariates_explain_what_they_drive():
    random = np.random.default_rng(1)
    price, event = random.normal(size=(1, 130, 1)), random.integers(0, 2, (1, 130, 1)).astype(float)
    y = 100 + 8 * price[0, :, 0] - 20 * event[0, :, 0] + np.cumsum(random.normal(size=130) * 0.3)
    panel = with_known(Panel.of([y[:120]]), np.concatenate([price, event], axis=2), 10, x1=("no", "yes"))
    context = FitContext(horizon=10)
    ours = auto(panel, context, "arimax").predict(panel, 10, ("mean",)).mean
    blind = auto(panel, context).predict(panel, 10, ("mean",)).mean
    assert np.abs(ours - y[120:]).mean() < 2.0 < np.abs(blind - y[120:]).mean()


def test_arimax_equals_statsmodels_with_the_covariates_as_exog():
    random = np.random.default_rng(2)
    table = random.normal(size=(1, 90, 2))
    y = 30 + table[0, :80, 0] * 4 + np.cumsum(random.normal(size=80))
    panel = with_known(Panel.of([y]), table, 10)
    fitted = auto(panel, FitContext(horizon=10), "arimax")
    assert fitted.memory["order"][0, 4:].tolist() == [1.0, 0.0, 0.0]
    centred = table[0] - fitted.memory["centre"][0]
    model, parameters = by_statsmodels(panel, fitted, 0, centred)
    expected = model.filter(parameters).forecast(10, exog=np.column_stack([np.ones(10), centred[80:]]))
    np.testing.assert_allclose(fitted.predict(panel, 10, ("mean",)).mean, expected, rtol=1e-6)
    assert model.loglike(parameters) > model.fit(disp=0, maxiter=200).llf - 0.5
    np.testing.assert_allclose(fitted.memory["beta"][0] * fitted.memory["scale"][0], [4.0, 0.0], atol=0.5)


def test_covariates_go_on_when_rows_are_appended():
    random = np.random.default_rng(6)
    table = random.normal(size=(1, 130, 1))
    y = 5 + 3 * table[0, :, 0] + random.normal(size=130) * 0.1
    early, whole = (with_known(Panel.of([y[:n]]), table, 130 - n) for n in (100, 120))
    moved = auto(early, FitContext(horizon=10), "arimax").append(whole)
    np.testing.assert_allclose(moved.predict(whole, 10, ("mean",)).mean, y[120:], atol=0.5)


def test_holes_in_covariates_and_useless_columns_do_no_harm():
    random = np.random.default_rng(4)
    useful = random.normal(size=75)
    table = np.column_stack([useful, np.full(75, 7.0), 2 * useful + 1, np.arange(75.0)])[None].copy()
    table[0, [0, 20, 70, 71, 72, 73, 74], 0] = np.nan
    table[0, [0, 20], 2] = np.nan
    panel = with_known(Panel.of([5 + 3 * useful[:70] + random.normal(size=70) * 0.1]), table, 5)
    fitted = auto(panel, FitContext(horizon=5), "arimax")
    assert fitted.status == (OK,)
    assert fitted.memory["beta"][0, [1, 3]].tolist() == [0.0, 0.0]
    assert np.isfinite(fitted.predict(panel, 5, LEVELS).values).all()


def test_arimax_stands_aside_without_known_covariates():
    facts = Facts("forecasting", 5, 1, 50, 50)
    assert get_learner("arimax").space(facts) == []
    assert get_learner("arimax").space(replace(facts, covariates=frozenset({"known"}))) == [{}]
    assert get_learner("auto_arima").space(facts) == [{}]


def test_unknown_parameters_and_unlike_models_are_refused(airlines):
    panel, fitted = airlines
    with pytest.raises(ConfigError, match="no parameter 'p'"):
        get_learner("auto_arima").fit(panel, {"p": 2}, YEARLY)
    with pytest.raises(ConfigError, match="one of own, pmdarima"):
        get_learner("auto_arima").fit(panel, {"engine": "fast"}, YEARLY)
    with pytest.raises(ConfigError, match="cannot stack"):
        fitted.stack([auto(Panel.of([[1.0, 2.0]]), FitContext())])
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


def test_waves_are_what_they_say():
    columns = Wave(12.0, (1, 3)).columns(np.array([0.0, 3.0]))
    np.testing.assert_allclose(columns, [[0, 1, 0, 1], [1, 0, -1, 0]], atol=1e-12)


def test_a_refit_after_a_long_gap_searches_again():
    """What is known since may be too short for the differences that were chosen before."""
    random = np.random.default_rng(0)
    weekly = 20 + 5 * np.sin(2 * np.pi * np.arange(400) / 7) + np.cumsum(random.normal(size=400))
    whole = np.concatenate([weekly, np.full(497, np.nan), 20 + random.normal(size=6)])
    context, learner = FitContext(horizon=7, seasons=(7,)), get_learner("auto_arima")
    early = learner.fit(Panel.of([weekly, weekly]), {}, context)
    late = Panel.of([whole, np.concatenate([weekly, weekly[:7]])])
    values = learner.refit(early, late, context).predict(late, 7, ("mean",)).mean
    assert np.isfinite(values).all() and (np.abs(values) < 200).all()


def test_a_series_of_one_value_goes_on_as_it_is():
    fitted = get_learner("auto_arima").fit(Panel.of([[5.0], [3.0, 4.0, 5.0]]), {}, FitContext(horizon=2))
    assert not fitted.replaced.any()
    assert fitted.predict(Panel.of([[5.0], [3.0, 4.0, 5.0]]), 2, ("mean",)).mean[:2].tolist() == [5.0, 5.0]
