"""The lockstep simplex search against functions with known minima, and scipy's."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from forecastml.kernels.simplex import Stop, minimise


def rosenbrock(x: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (1.0 - x[0] + shift) ** 2 + 100.0 * (x[1] - (x[0] - shift) ** 2) ** 2


def test_finds_the_minimum_of_each_series():
    shift = np.linspace(-1.0, 1.0, 7)
    start = np.array([[-1.2], [1.0]]) + np.zeros(7)
    found, value = minimise(
        lambda x, active: rosenbrock(x, shift[active]), start, np.array([[0.5], [0.5]]), Stop(500, 1e-14, 1e-16)
    )
    np.testing.assert_allclose(found, [1.0 + shift, np.ones(7)], atol=1e-5)
    assert (value < 1e-9).all()


def test_is_as_good_as_a_search_of_its_own():
    random = np.random.default_rng(0)
    curve, centre = random.uniform(0.5, 4.0, (3, 5)), random.normal(size=(3, 5))

    def function(x, active):
        terms = np.log1p(curve[:, None, active] * (x - centre[:, None, active]) ** 2)
        return terms[0] + terms[1] + terms[2]

    _, value = minimise(function, np.zeros((3, 5)), np.full((3, 1), 0.3), Stop(400))
    for i in range(5):
        own = minimize(
            lambda x, i=i: function(x[:, None, None], np.array([i]))[0, 0], np.zeros(3), method="Nelder-Mead"
        )
        assert value[i] <= own.fun + 1e-3


def test_neighbours_change_no_bit_and_infinities_are_avoided():
    shift = np.linspace(-1.0, 1.0, 9)

    def function(x, active):
        return np.where(x[0] > 1.0 + shift[active], np.nan, rosenbrock(x, shift[active]))

    start = np.array([[-1.2], [1.0]]) + np.zeros(9)
    found, value = minimise(function, start, np.full((2, 1), 0.5), Stop(300))
    for i in range(9):
        part, low = minimise(
            lambda x, active, i=i: function(x, active + i), start[:, [i]], np.full((2, 1), 0.5), Stop(300)
        )
        np.testing.assert_array_equal(part[:, 0], found[:, i])
        np.testing.assert_array_equal(low, value[[i]])
    assert np.isfinite(value).all()
    nowhere, value = minimise(lambda x, active: np.full(x.shape[1:], np.inf), start, np.full((2, 1), 0.5), Stop())
    np.testing.assert_array_equal(nowhere, start)
    assert np.isinf(value).all()
