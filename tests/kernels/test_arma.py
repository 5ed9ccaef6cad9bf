"""The exact likelihood of ARMA processes, its maximum, and ARIMA forecasts, against statsmodels and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.kernels.arima import Process, followed, projected, variances
from forecastml.kernels.arma import (
    Filter,
    autocovariances,
    coefficients,
    continued,
    innovations,
    multiplied,
    psi_weights,
    reflections,
    stable,
)
from forecastml.kernels.arma_fit import CONSTANT, Fits, Sample, Stop, maximised, partial, polynomials, well_inside

SEASON = 4


def drawn(n: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, columns))


def parameters(columns: int, seed: int = 1) -> np.ndarray:
    """Of (2, 2) (1, 1) models with a constant."""
    found = np.zeros((CONSTANT + 1, columns))
    rows = [0, 1, 5, 6, 10, 12, CONSTANT]
    found[rows] = np.random.default_rng(seed).uniform(-1.0, 1.0, (len(rows), columns))
    return found


def statsmodels_of(values: np.ndarray, column: np.ndarray):
    """Its model of (2, 0, 2) (1, 0, 1) with a mean, and the parameters in its order, the variance left out."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    model = SARIMAX(
        values - column[CONSTANT], order=(2, 0, 2), seasonal_order=(1, 0, 1, SEASON), concentrate_scale=True
    )
    ar, ma = (coefficients(partial(column[rows, None]))[:, 0] for rows in ([0, 1], [5, 6]))
    far_ar, far_ma = partial(column[10]), partial(column[12])
    return model, np.array([*ar, *-ma, far_ar, -far_ma])


def test_the_likelihood_is_that_of_statsmodels():
    lengths = np.array([60, 60, 41, 12])
    values, columns = drawn(60, 4), parameters(4)
    found = Sample.of(values, lengths, SEASON).innovations(np.arange(4), columns, (1, 1))
    for i, n in enumerate(lengths):
        squares = (found.errors[:n, i] ** 2).sum()
        ours = -0.5 * (n * np.log(2 * np.pi * squares / n) + found.log_variance[i] + n)
        model, theirs = statsmodels_of(values[:n, i], columns[:, i])
        assert ours == pytest.approx(model.loglike(theirs), abs=1e-6)
        assert not found.errors[n:, i].any()


def test_the_settled_filter_goes_on_as_the_exact_one():
    """A short memory settles long before the end."""
    phi, theta = np.full((1, 1), 0.5), np.full((1, 1), 0.3)
    values = drawn(400, 1)
    found = innovations(values, np.array([400]), phi, theta)
    assert not found.after.change.any()
    from statsmodels.tsa.arima.model import ARIMA

    model = ARIMA(values[:, 0], order=(1, 0, 1), trend="n", concentrate_scale=True)
    squares = (found.errors**2).sum()
    ours = -0.5 * (400 * np.log(2 * np.pi * squares / 400) + found.log_variance[0] + 400)
    assert ours == pytest.approx(model.loglike([0.5, 0.3]), abs=1e-6)


def test_a_column_has_the_same_bits_alone_and_in_two_parts():
    lengths = np.array([60, 47, 33, 9])
    values, columns = drawn(60, 4), parameters(4)
    values[20, 1] = np.nan
    phi, theta = polynomials(columns, SEASON, (1, 1))
    among = innovations(values, lengths, phi, theta)
    for i, n in enumerate(lengths):
        one = slice(i, i + 1)
        alone = innovations(values[:n, one], lengths[one], phi[:, one].copy(), theta[:, one].copy())
        np.testing.assert_array_equal(alone.errors[:, 0], among.errors[:n, i])
        assert alone.log_variance[0] == among.log_variance[i]
        np.testing.assert_array_equal(alone.after.state[:, 0], among.after.state[:, i])
    half = innovations(values[:30], np.minimum(lengths, 30), phi, theta)
    rest = continued(half.after, values[30:], np.maximum(lengths - 30, 0), phi)
    np.testing.assert_allclose(rest.errors, among.errors[30:], rtol=1e-12, atol=1e-14)


def test_wider_polynomials_change_no_bit():
    columns = parameters(3)
    columns[[10, 12]] = 0.0
    values, lengths = drawn(50, 3), np.full(3, 50)
    narrow, wide = (innovations(values, lengths, *polynomials(columns, SEASON, far)) for far in ((0, 0), (2, 2)))
    np.testing.assert_array_equal(narrow.errors, wide.errors)
    np.testing.assert_array_equal(narrow.log_variance, wide.log_variance)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-95, 95), min_size=1, max_size=5))
def test_partial_autocorrelations_come_back(values):
    wanted = np.array(values)[:, None] / 100
    phi = coefficients(wanted)
    np.testing.assert_allclose(reflections(phi), wanted, atol=1e-6)
    roots = np.roots(np.append(-phi[::-1, 0], 1.0))
    distance = np.abs(roots).min() if len(roots) else np.inf
    assert distance > 1.0
    if abs(distance - 1.05) > 1e-3:
        assert stable(phi, 0.05)[0] == (distance > 1.05)


def test_seasonal_roots_count_by_their_distance_in_steps():
    column = np.zeros((CONSTANT + 1, 2))
    column[10] = [2.0, 5.0]
    distance = (1.0 / partial(column[10])) ** (1.0 / SEASON)
    assert well_inside(column, SEASON, 0.01).tolist() == (distance > 1.01).tolist() == [True, False]


def test_polynomials_are_multiplied_out():
    phi = multiplied(np.array([[0.5], [0.2]]), np.array([[0.3], [0.1]]), 4, 10)[:, 0]
    expected = np.convolve([1, -0.5, -0.2], [1, 0, 0, 0, -0.3, 0, 0, 0, -0.1])
    np.testing.assert_allclose(phi, -expected[1:], atol=1e-15)


def test_autocovariances_and_weights_are_those_of_statsmodels():
    from statsmodels.tsa.arima_process import ArmaProcess

    phi, theta = polynomials(parameters(3), SEASON, (1, 1))
    found, psi = autocovariances(phi, theta, 12), psi_weights(phi, theta, 30)
    for i in range(3):
        process = ArmaProcess(np.r_[1, -phi[:, i]], np.r_[1, theta[:, i]])
        np.testing.assert_allclose(found[:, i], process.acovf(13), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(psi[:, i], process.arma2ma(30), rtol=1e-9, atol=1e-12)


def test_statsmodels_finds_nothing_higher_near_the_maximum():
    truth = parameters(6, seed=4)
    values = np.empty((150, 6))
    for i in range(6):
        psi = psi_weights(*polynomials(truth[:, i : i + 1], SEASON, (1, 1)), 150)[:, 0]
        values[:, i] = truth[CONSTANT, i] + np.convolve(drawn(300, 1, seed=i)[:, 0], psi)[150:300]
    sample = Sample.of(values, np.full(6, 150), SEASON)
    active = truth != 0
    fits = Fits(np.arange(6), active, np.where(active, 0.1, 0.0), np.full(6, np.inf))
    found, deviance, variance = maximised(sample, fits, Stop(60, 1e-7))
    for i in range(6):
        model, at = statsmodels_of(values[:, i], found[:, i])
        assert -0.5 * deviance[i] == pytest.approx(model.loglike(at), abs=1e-5)
        assert variance[i] == pytest.approx(model.smooth(at).scale, rel=1e-6)
        again = model.fit(start_params=at, disp=0, maxiter=50)
        assert -0.5 * deviance[i] > again.llf - 0.05


def test_a_fit_that_cannot_be_good_enough_is_given_up():
    sample = Sample.of(drawn(80, 1), np.array([80]), 1)
    active, start = np.zeros((CONSTANT + 1, 1), dtype=bool), np.zeros((CONSTANT + 1, 1))
    active[:2] = True
    start[:2] = 0.1
    free = maximised(sample, Fits(np.array([0]), active, start, np.array([np.inf])), Stop(30, 1e-6))
    given_up = maximised(sample, Fits(np.array([0]), active, start, np.array([0.0])), Stop(30, 1e-6))
    assert given_up[1][0] > free[1][0]
    np.testing.assert_array_equal(given_up[0], start)


def process_of(d: int, seasonal_d: int, columns: np.ndarray, constant: float = 0.0) -> Process:
    n = columns.shape[1]
    ones = np.ones(n)
    return Process.of(polynomials(columns, SEASON), constant * ones, d * ones, (seasonal_d * ones, SEASON))


def test_forecasts_and_spreads_are_those_of_statsmodels():
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    columns = parameters(1, seed=3)
    values = 10 + np.cumsum(drawn(260, 1), axis=0)
    process = process_of(1, 1, columns)
    start = Filter.stationary(process.phi, process.theta)
    lost = 1 + SEASON
    tail = np.concatenate([np.zeros((1, 1)), values[:lost]])
    after, tail = followed(process, start, tail, values[lost:], np.array([260 - lost]))
    ours = projected(process, after.state, tail, 12)[:, 0]
    model = SARIMAX(values[:, 0], order=(2, 1, 2), seasonal_order=(1, 1, 1, SEASON))
    theirs = model.filter([*statsmodels_of(values[:, 0], columns[:, 0])[1], 1.0]).get_forecast(12)
    np.testing.assert_allclose(ours, theirs.predicted_mean, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(variances(process, 12)[:, 0] * after.variance), theirs.se_mean, rtol=1e-6)


def test_an_unknown_value_is_as_expected():
    columns = parameters(1)
    process = process_of(1, 0, columns, constant=0.2)
    values = np.cumsum(drawn(30, 1), axis=0)
    start, tail = Filter.stationary(process.phi, process.theta), np.zeros((SEASON + 2, 1))
    after, tail = followed(process, start, tail, values, np.array([30]))
    ahead = projected(process, after.state, tail, 5)
    moved, later = followed(process, after, tail, np.full((2, 1), np.nan), np.array([2]))
    np.testing.assert_allclose(projected(process, moved.state, later, 3), ahead[2:], rtol=1e-12)


def test_a_straight_line_goes_on():
    process = process_of(1, 0, np.zeros((CONSTANT + 1, 1)), constant=2.0)
    tail = np.arange(0.0, 12.0, 2.0)[:, None]
    ahead = projected(process, np.zeros((len(process.phi), 1)), tail, 3)
    np.testing.assert_allclose(ahead[:, 0], [12.0, 14.0, 16.0])
    np.testing.assert_allclose(variances(process, 3)[:, 0], [1.0, 2.0, 3.0])
