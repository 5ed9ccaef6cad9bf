"""Variances against statsmodels and against simulation; simulated quantiles against exact ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from forecastml.kernels import smoothing_ahead
from forecastml.kernels.smoothing import STABLE, has_relative_errors, is_multiplicative, is_seasonal, project, roll
from forecastml.kernels.smoothing_ahead import simulated, variances
from tests.kernels.test_smoothing import M, example, innovations, rolled

HORIZON = 11
LINEAR = [form for form in STABLE if form[0] == "A"]


def ahead(form: str, variance: float) -> np.ndarray:
    values, parameters, state = example(form)
    _, final = rolled(form, values, parameters, state)
    mean = project(form, parameters[:, None], final[:, None], HORIZON)
    relative = np.array([has_relative_errors(form)])
    return variances(mean, relative, parameters[:, None], np.array([variance]), M if is_seasonal(form) else 0)[:, 0]


@pytest.mark.parametrize("form", LINEAR)
def test_additive_forms_have_the_intervals_of_statsmodels(form):
    values, parameters, state = example(form)
    model, vector = innovations(form, pd.Series(values), parameters, state)
    fixed = model.smooth(vector)
    table = fixed.get_prediction(len(values), len(values) + HORIZON - 1).summary_frame(alpha=0.2)
    spread = np.sqrt(ahead(form, fixed.mse))
    np.testing.assert_allclose(table["pi_upper"] - table["mean"], ndtri(0.9) * spread, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("form", ["MNN", "MAN", "MAdN", "MNA", "MAA", "MAdA"])
def test_the_variance_with_multiplicative_errors_is_that_of_many_paths(form):
    """Each step of many series with random errors is one roll over a value that the error makes."""
    values, parameters, state = example(form)
    _, final = rolled(form, values, parameters, state)
    paths, rng = 200_000, np.random.default_rng(3)
    states, table = np.repeat(final[:, None, None], paths, axis=2), parameters[:, None, None]
    seen = np.empty((HORIZON, paths))
    for h in range(HORIZON):
        mu = project(form, np.repeat(parameters[:, None], paths, axis=1), states[:, 0], 1)[0]
        seen[h] = mu * (1.0 + 0.08 * rng.normal(size=paths))
        roll(form, seen[h][None], np.ones(paths, np.int64), table, states)
    np.testing.assert_allclose(ahead(form, 0.08**2), seen.var(axis=1), rtol=0.03)


@pytest.mark.parametrize("relative", [False, True])
def test_simulated_quantiles(relative):
    """A level that hardly moves, so that each step is nearly normal around its mean."""
    parameters = np.array([[1e-4], [0.0], [1e-4], [1.0]])
    state = np.array([10.0, 0.0, 1.1, 0.9, 1.2, 0.8])[:, None]
    spread = np.array([0.05 if relative else 0.4])
    levels = (0.05, 0.5, 0.9)
    found = simulated(np.array([relative]), parameters, state, spread, 8, levels)[:, :, 0]
    mean = project("AAdM", parameters, state, 8)[:, 0]
    expected = mean + ndtri(np.array(levels))[:, None] * spread * (mean if relative else 1.0)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_a_longer_horizon_and_neighbours_change_nothing():
    values, parameters, state = example("MAdM")
    rng = np.random.default_rng(1)
    n = 70
    states = np.repeat(state[:, None], n, axis=1) * rng.uniform(0.9, 1.1, n)
    table, spread = np.repeat(parameters[:, None], n, axis=1), rng.uniform(0.01, 0.1, n)
    relative = np.arange(n) % 2 == 0
    long = simulated(relative, table, states, spread, 70, (0.1, 0.9))
    np.testing.assert_array_equal(simulated(relative, table, states, spread, 5, (0.1, 0.9)), long[:, :5])
    at = np.array([69, 3])
    alone = simulated(relative[at], table[:, at], states[:, at], spread[at], 70, (0.1, 0.9))
    np.testing.assert_array_equal(alone, long[:, :, at])
    assert (long[1] > long[0]).all()
    assert is_multiplicative("MAdM") and smoothing_ahead.PATHS >= 200 and len(values) == 40
