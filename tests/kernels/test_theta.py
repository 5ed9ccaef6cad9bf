"""The theta method against statsforecast's numbers, statsmodels, closed forms and a general minimiser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from statsmodels.tsa.forecasting.theta import ThetaModel

from forecastml.kernels import theta
from forecastml.kernels.theta import FORMS, LEVEL, SKIPPED

AIR = np.array(
    [112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115, 126, 141, 135, 125, 149, 170, 170], dtype=float
)
#: statsforecast 2.1.1, auto_theta at a set model, first level, alpha and theta: forecasts, squared errors after three.
GOLDEN = {
    ("DOTM", 60.0, 0.4, 3.0): (
        [160.60122625362612, 161.87209130895482, 163.17494330889727, 164.49971453095924, 165.83862520853722],
        4745.998203590445,
    ),
    ("OTM", 60.0, 0.4, 3.0): (
        [160.60122625362612, 161.60824379748576, 162.61526134134542, 163.62227888520505, 164.62929642906468],
        3986.182584596192,
    ),
    ("STM", 60.0, 0.4, 2.0): (
        [159.9711430368492, 160.72640619474396, 161.48166935263868, 162.23693251053342, 162.99219566842817],
        4071.093837009381,
    ),
    ("DOTM", 100.0, 0.15, 1.5): (
        [145.35525925660554, 145.77625764705817, 146.17791581871518, 146.5625743495283, 146.93209282964233],
        5645.379173691777,
    ),
}


def at(form: str, values: np.ndarray, level: float, alpha: float, weight: float):
    """Parameters, state after the values and squared errors of one series."""
    column, lengths = values[:, None], np.array([len(values)])
    state = theta.start(column, lengths, FORMS[form])
    state[LEVEL] = level
    parameters = np.array([[alpha], [weight]])
    squares, _ = theta.roll(FORMS[form], column, lengths, parameters, state)
    return parameters, state, squares[0]


def panel(n: int = 12, longest: int = 50, gaps: bool = True) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    lengths = np.sort(random.integers(12, longest + 1, n))[::-1].copy()
    values = np.full((longest, n), np.nan)
    for i, length in enumerate(lengths):
        drift = random.normal() * 0.01 * np.arange(length)
        values[:length, i] = (
            0.6 + drift + 0.05 * np.cumsum(random.normal(size=length)) + 0.05 * random.normal(size=length)
        )
        if gaps and i % 3 == 0:
            values[[4, 5, length - 4], i] = np.nan
    return values, lengths


@pytest.mark.parametrize("case", GOLDEN)
def test_equals_statsforecast_at_given_parameters(case):
    form, level, alpha, parameter = case
    parameters, state, squares = at(form, AIR, level, alpha, 1.0 - 1.0 / parameter)
    mean, squared = GOLDEN[case]
    np.testing.assert_allclose(theta.project(FORMS[form], parameters, state, 5)[0][:, 0], mean, rtol=1e-12)
    np.testing.assert_allclose(squares, squared, rtol=1e-12)


def test_equals_statsmodels_for_theta_2():
    random = np.random.default_rng(1)
    values = 50.0 + 0.3 * np.arange(90) + np.cumsum(random.normal(size=90)) + 2.0 * random.normal(size=90)
    result = ThetaModel(values, deseasonalize=False, use_test=False).fit()
    alpha = float(result.params["alpha"])
    parameters, state, _ = at("STM", values, values[0], alpha, 0.5)
    mean = theta.project(FORMS["STM"], parameters, state, 6)[0][:, 0]
    np.testing.assert_allclose(mean, result.forecast(6, theta=2), rtol=1e-6)


@pytest.mark.parametrize("form", ["OTM", "DOTM"])
def test_theta_1_is_simple_smoothing(form):
    parameters, state, squares = at(form, AIR, 100.0, 0.3, 0.0)
    level, expected = 100.0, 0.0
    for t, value in enumerate(AIR):
        expected += (value - level) ** 2 if t >= SKIPPED else 0.0
        level += 0.3 * (value - level)
    np.testing.assert_allclose(squares, expected, rtol=1e-13)
    mean, variance = theta.project(FORMS[form], parameters, state, 4)
    np.testing.assert_allclose(mean[:, 0], level, rtol=1e-13)
    np.testing.assert_allclose(variance[:, 0], 1.0 + 0.09 * np.arange(4), rtol=1e-13)


def test_the_line_is_least_squares_whatever_the_gaps():
    values, lengths = panel()
    state = theta.start(values, lengths, FORMS["STM"])
    intercept, slope = theta.line(state)
    for i, length in enumerate(lengths):
        known = np.flatnonzero(~np.isnan(values[:length, i]))
        np.testing.assert_allclose([slope[i], intercept[i]], np.polyfit(known + 1, values[known, i], 1), rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_variance_is_that_of_simulated_paths(form):
    parameters, state, _ = at(form, AIR / 128, 0.5, 0.4, 0.5 if form == "STM" else 0.7)
    paths, steps = 8000, 4
    errors = np.random.default_rng(3).normal(size=(steps, paths))
    now, chosen = np.repeat(state, paths, axis=1), np.repeat(parameters, paths, axis=1)
    reached = np.empty((steps, paths))
    for step in range(steps):
        reached[step] = theta.project(FORMS[form], chosen, now, 1)[0][0] + errors[step]
        theta.roll(FORMS[form], reached[step : step + 1], np.ones(paths, int), chosen, now)
    mean, variance = theta.project(FORMS[form], parameters, state, steps)
    np.testing.assert_allclose(reached.mean(axis=1), mean[:, 0], atol=0.08)
    np.testing.assert_allclose(reached.var(axis=1), variance[:, 0], rtol=0.08)


@pytest.mark.parametrize("form", FORMS)
def test_the_closed_form_is_as_good_as_a_general_search(form):
    values, lengths = panel(4, 25)
    free = replace(FORMS[form], prior=0.0)
    parameters, start = theta.estimate(free, values, lengths)
    squares, _ = theta.roll(free, values, lengths, parameters, start.copy())
    low, high = FORMS[form].weight or 0.0, FORMS[form].weight or 1.0
    bounds = [(theta.ALPHAS[0], theta.ALPHAS[-1]), (low, high), (None, None)]
    for i, length in enumerate(lengths):

        def loss(x, column=values[:length, i]):
            return at(form, column, x[2], x[0], x[1])[2]

        best = min(minimize(loss, [alpha, 0.5, values[0, i]], bounds=bounds).fun for alpha in (0.2, 0.8))
        assert squares[i] <= best * 1.01 + 1e-9


def test_the_prior_draws_theta_to_2():
    values, lengths = panel(gaps=False)
    free = theta.estimate(FORMS["OTM"], values, lengths)[0][1]
    assert (np.abs(free - 0.5) > 0.05).any() and ((free >= 0.0) & (free <= 1.0)).all()
    noise = np.random.default_rng(0).normal(size=values.shape)
    noise[np.isnan(values)] = np.nan
    weak = theta.estimate(FORMS["OTM"], 0.5 + 1e-3 * noise, lengths)[0][1]
    assert np.abs(weak - 0.5).mean() < np.abs(free - 0.5).mean()


@pytest.mark.parametrize("form", FORMS)
def test_a_search_near_earlier_parameters_is_as_good(form):
    values, lengths = panel()
    parameters, start = theta.estimate(FORMS[form], values, lengths)
    again, near = theta.estimate(FORMS[form], values, lengths, np.clip(parameters[0] + 0.02, 0.1, 0.99))
    one, _ = theta.roll(FORMS[form], values, lengths, parameters, start)
    other, _ = theta.roll(FORMS[form], values, lengths, again, near)
    assert (other <= one * 1.01).all()


def test_a_few_values_get_simple_smoothing():
    values = np.array([[3.0, 1.0, 2.0], [5.0, np.nan, np.nan], [4.0, 2.0, np.nan]])
    lengths = np.array([3, 3, 1])
    parameters, start = theta.estimate(FORMS["DOTM"], values, lengths)
    theta.roll(FORMS["DOTM"], values, lengths, parameters, start)
    mean, _ = theta.project(FORMS["DOTM"], parameters, start, 2)
    np.testing.assert_allclose(mean, [[4.0, 1.5, 2.0]] * 2)


@pytest.mark.parametrize("name", FORMS)
def test_the_squares_that_the_estimate_promises_come_true_with_gaps(name):
    """The closed form follows errors, and their changes by weight and level, through unknown steps."""
    random, form = np.random.default_rng(0), FORMS[name]
    values = (10 + np.cumsum(random.normal(size=(120, 6)), axis=0)) / 32
    values[40:80] = np.nan
    values[90:][random.random((30, 6)) < 0.3] = np.nan
    lengths = np.full(6, 120)
    found, _ = theta.estimate(form, values, lengths)
    before = theta.start(values, lengths, form)
    lines = theta._lines(form, values, lengths, before)
    moments = theta._moments(values, lengths, lines, found[:1])
    weight, level, promised = theta._least_squares(form, moments, values[0], 0 * values[0])
    state = before.copy()
    state[theta.LEVEL] = level[0]
    reached, _ = theta.roll(form, values, lengths, np.stack([found[0], weight[0]]), state)
    np.testing.assert_allclose(promised[0], reached, rtol=0.02)
