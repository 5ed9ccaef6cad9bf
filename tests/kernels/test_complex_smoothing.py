"""Complex exponential smoothing against its formula in complex numbers, finite differences and a general minimiser."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from forecastml.kernels import complex_estimation as estimation
from forecastml.kernels import complex_smoothing as smoothing
from forecastml.kernels.complex_estimation import Fit, Sample
from forecastml.kernels.complex_smoothing import FORMS, State

M = 4
PARAMETERS = {"none": (1.3, 0.9), "simple": (1.2, 1.02), "partial": (1.3, 1.05, 0.3), "full": (1.2, 0.95, 1.4, 0.98)}


def sample(n: int = 4, longest: int = 40, gap: bool = True) -> Sample:
    random = np.random.default_rng(0)
    lengths = np.sort(random.integers(24, longest + 1, n))[::-1].copy()
    values = np.full((longest, n), np.nan)
    for i, length in enumerate(lengths):
        t = np.arange(length)
        walk = np.cumsum(random.normal(size=length)) + random.normal(size=length)
        values[:length, i] = 0.6 + 0.002 * t + 0.05 * np.sin(np.pi * t / 2) + 0.02 * walk
    if gap:
        values[7, 0] = np.nan
    return Sample(values, lengths, np.full(n, 0.6), np.array([[0.0], [0.05], [0.0], [-0.05]]) + np.zeros(n))


def fit_at(form: str, n: int) -> Fit:
    parameters = np.array(PARAMETERS[form])[:, None] + np.zeros(n)
    trend = np.array([[0.6], [0.5]]) if FORMS[form].trend is not None else np.zeros((2, 1))
    return Fit(parameters, trend + np.zeros(n), np.full(n, 0.9))


def by_complex_numbers(form: str, values: np.ndarray, trend: complex, season: list[complex], steps: int):
    """The recursion as the paper writes it: z' = a (y + i e) + (1 - a + i) z for each block, its own share of y."""
    parameters = list(PARAMETERS[form])
    has_trend, real = form != "simple", form == "partial"
    alpha = complex(*parameters[:2])
    beta = complex(*parameters[-2:]) if form in ("simple", "full") else parameters[-1]
    squares, mean = 0.0, []
    for t in range(len(values) + steps):
        slot = season[t % M]
        level = trend.real * has_trend + slot.real * (form != "none")
        error = values[t] - level if t < len(values) and not np.isnan(values[t]) else 0.0
        squares += error**2
        if t >= len(values):
            mean.append(level)
        if has_trend:
            trend = alpha * (trend.real + error + 1j * error) + (1 - alpha + 1j) * trend
        if real:
            season[t % M] = slot.real + beta * error
        elif form != "none":
            season[t % M] = beta * (slot.real + error + 1j * error) + (1 - beta + 1j) * slot
    return squares, mean


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_formula_in_complex_numbers(form):
    some = sample()
    fit = fit_at(form, 4)
    now = estimation.state(FORMS[form], some, fit)
    coefficients = FORMS[form].coefficients(fit.parameters)
    starts = [(complex(*now.trend[:, i]), [complex(*z) for z in now.season[:, :, i].T] * M) for i in range(4)]
    squares = smoothing.roll(some.values, some.lengths, coefficients, now)
    mean, _ = smoothing.project(coefficients, now, 6)
    for i, (trend, season) in enumerate(starts):
        values = some.values[: some.lengths[i], i]
        expected, ahead = by_complex_numbers(form, values, trend, season[:M], 6)
        np.testing.assert_allclose(squares[i], expected, rtol=1e-12)
        np.testing.assert_allclose(mean[:, i], ahead, rtol=1e-12)


def test_a_parameter_of_imaginary_part_1_is_simple_smoothing():
    values = sample().values[:, 1:2]
    lengths = np.array([int((~np.isnan(values)).sum())])
    coefficients = FORMS["none"].coefficients(np.array([[1.3], [1.0]]))
    now = State(np.array([[0.6], [5.0]]), np.zeros((2, 1, 1)))
    smoothing.roll(values, lengths, coefficients, now)
    level = 0.6
    for value in values[: lengths[0], 0]:
        level += 0.3 * (value - level)
    np.testing.assert_allclose(smoothing.project(coefficients, now, 3)[0][:, 0], level, rtol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_variance_is_that_of_simulated_paths(form):
    paths, steps = 8000, 6
    fit = fit_at(form, paths)
    now = estimation.state(FORMS[form], sample(paths, 24, gap=False), fit)
    coefficients = FORMS[form].coefficients(fit.parameters)
    mean, variance = smoothing.project(coefficients, now, steps)
    reached = np.empty((steps, paths))
    errors = np.random.default_rng(3).normal(size=(steps, paths))
    for step in range(steps):
        reached[step] = smoothing.project(coefficients, now, 1)[0][0] + errors[step]
        smoothing.roll(reached[step : step + 1], np.ones(paths, int), coefficients, now)
    np.testing.assert_allclose((reached - mean).var(axis=1), variance[:, 0], rtol=0.08)


@pytest.mark.parametrize("form", FORMS)
def test_derivatives_are_those_of_finite_differences(form):
    some, fit, chosen = sample(), fit_at(form, 4), FORMS[form]
    squares, gram, slope = estimation.linearised(chosen, some, fit)
    rolled = smoothing.roll(
        some.values, some.lengths, chosen.coefficients(fit.parameters), estimation.state(chosen, some, fit)
    )
    np.testing.assert_allclose(squares, rolled, rtol=1e-12)
    np.testing.assert_array_equal(gram, gram.transpose(1, 0, 2))
    for k in range(len(slope)):
        step = np.zeros_like(slope)
        step[k] = 1e-6
        up, down = (estimation.linearised(chosen, some, estimation._moved(chosen, fit, s))[0] for s in (step, -step))
        np.testing.assert_allclose((up - down) / 4e-6, slope[k], rtol=1e-5, atol=1e-7)


def test_stability_is_that_of_the_eigenvalues():
    random = np.random.default_rng(2)
    real, imaginary = random.uniform(-0.5, 3.0, (2, 500))
    stable = FORMS["none"].stable(np.stack([real, imaginary]))
    for a, b, expected in zip(real, imaginary, stable, strict=True):
        moves = np.array([[1 - a + b, b - 1], [1 - a - b, 1 - a]])
        assert (np.abs(np.linalg.eigvals(moves)) < 1).all() == expected
    assert 20 < stable.sum() < 480


@pytest.mark.parametrize("form", FORMS)
def test_many_rounds_come_near_a_general_search(form):
    some, chosen = sample(2), FORMS[form]
    fit, squares = estimation.estimate(chosen, some, np.full((chosen.parameters, 2), np.nan), 60)
    assert chosen.stable(fit.parameters).all()
    begun = estimation.begun(chosen, some)
    for i in range(2):
        one = some.take(np.array([i]))

        def loss(x, one=one):
            trial = estimation._moved(chosen, begun_one, (x - packed)[:, None])
            if not chosen.stable(trial.parameters)[0]:
                return 1e3
            state = estimation.state(chosen, one, trial)
            return smoothing.roll(one.values, one.lengths, chosen.coefficients(trial.parameters), state)[0]

        begun_one = begun.take(np.array([i]))
        parts = [begun_one.parameters[:, 0]]
        parts += [begun_one.trend[:, 0]] if chosen.trend is not None else []
        parts += [begun_one.ratio] if form in ("simple", "full") else []
        packed = np.concatenate(parts)
        found = minimize(loss, packed, method="Nelder-Mead", options={"maxfev": 400})
        assert squares[i] <= 1.1 * found.fun and squares[i] < loss(packed)
