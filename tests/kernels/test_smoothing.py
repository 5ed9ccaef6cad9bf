"""The recursions against statsmodels, the start against its definition, and no influence between series."""

from __future__ import annotations

import numpy as np
import pytest

from forecastml.kernels.smoothing import (
    FORMS,
    has_trend,
    improved_start,
    is_damped,
    is_multiplicative,
    is_seasonal,
    project,
    roll,
    start,
)

M, HORIZON = 4, 10


def example(form: str, length: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (T,), parameters (4,) and a state (2 + m,) before the first value."""
    rng = np.random.default_rng(5)
    season = np.array([1.1, 0.95, 0.8, 1.15])
    t = np.arange(length)
    values = (20 + 0.3 * t) * season[t % M] + rng.normal(size=length)
    parameters = np.array(
        [
            0.35,
            0.12 if has_trend(form) else 0.0,
            0.2 if is_seasonal(form) else 0.0,
            0.9 if is_damped(form) else 1.0,
        ]
    )
    seasons = season if is_multiplicative(form) else (season - 1) * 20
    state = np.array([19.0, 0.4 if has_trend(form) else 0.0, *(seasons if is_seasonal(form) else ())])
    return values, parameters, state


def columns(series: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Values (T, N) and lengths (N,) of series given longest first."""
    lengths = np.array([len(s) for s in series])
    values = np.full((lengths.max(), len(series)), np.nan)
    for i, s in enumerate(series):
        values[: len(s), i] = s
    return values, lengths


def rolled(form, values, parameters, state):
    """Squares and final state of one series."""
    moved = state[:, None, None].copy()
    squares = roll(form, values[:, None], np.array([len(values)]), parameters[:, None, None], moved)
    return squares[0, 0], moved[:, 0, 0]


@pytest.mark.parametrize("form", FORMS)
def test_equals_statsmodels(form):
    """Forecasts are read as fitted values: where a forecast comes true, the error is zero and the forecast goes on.

    Its ETSModel divides by the new level in multiplicative seasons, its ExponentialSmoothing follows table 2.2; but
    the forecast method of that one repeats a season that lacks the last update.
    """
    holtwinters = pytest.importorskip("statsmodels.tsa.holtwinters")
    values, parameters, state = example(form)
    squares, final = rolled(form, values, parameters, state)
    mean = project(form, parameters[:, None], final[:, None], HORIZON)[:, 0]
    known = {"initial_level": state[0]}
    chosen = {"smoothing_level": parameters[0]}
    if has_trend(form):
        known["initial_trend"], chosen["smoothing_trend"] = state[1], parameters[1] / parameters[0]
    if is_seasonal(form):
        known["initial_seasonal"], chosen["smoothing_seasonal"] = state[2:], parameters[2]
    if is_damped(form):
        chosen["damping_trend"] = parameters[3]
    model = holtwinters.ExponentialSmoothing(
        np.append(values, mean),
        trend="add" if has_trend(form) else None,
        damped_trend=is_damped(form),
        seasonal={"N": None, "A": "add", "M": "mul"}[form[-1]],
        seasonal_periods=M if is_seasonal(form) else None,
        initialization_method="known",
        **known,
    )
    fixed = model.fit(optimized=False, **chosen)
    n = len(values)
    np.testing.assert_allclose(squares, (fixed.resid[:n] ** 2).sum(), rtol=1e-9)
    np.testing.assert_allclose(mean, fixed.fittedvalues[n:], rtol=1e-9)
    np.testing.assert_allclose(final[0], fixed.level[n - 1], rtol=1e-9)
    if has_trend(form):
        np.testing.assert_allclose(final[1], fixed.trend[n - 1], rtol=1e-9)
    if is_seasonal(form):
        np.testing.assert_allclose(final[2:], fixed.season[n - M : n], rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_neighbours_and_trials_change_no_bit(form):
    lengths = [41, 41, 40, 33, 33, 12, 9]
    series = [example(form, n)[0] * (1 + i) for i, n in enumerate(lengths)]
    parameters, state = example(form)[1:]
    values, lengths = columns(series)
    trials = np.stack([parameters * 0.9, parameters, parameters * 0.7], axis=1)[:, :, None]
    moved = np.tile(state[:, None, None], (1, 3, len(series)))
    squares = roll(form, values, lengths, np.repeat(trials, len(series), axis=2), moved)
    for i, alone in enumerate(series):
        expected, final = rolled(form, alone, parameters, state)
        assert squares[1, i] == expected
        np.testing.assert_array_equal(moved[:, 1, i], final)


def test_a_gap_is_a_step_with_error_zero():
    form = "AAdA"
    values, parameters, state = example(form)
    before, middle = rolled(form, values[:17], parameters, state)
    gap = np.append(values[:17], np.full(3, np.nan))
    squares, final = rolled(form, gap, parameters, state)
    assert squares == before
    expected = project(form, parameters[:, None], middle[:, None], 9)[3:]
    np.testing.assert_allclose(project(form, parameters[:, None], final[:, None], 6), expected, rtol=1e-12)


def test_the_start_of_a_series_without_noise_is_its_own():
    t, ratios, offsets = np.arange(12), np.array([1.1, 0.95, 0.8, 1.15]), np.array([3.0, -1.0, -4.0, 2.0])
    line, level = 5 + 0.5 * (t + 1) + offsets[t % M], 8 * ratios[t % M]
    np.testing.assert_allclose(start("AAA", line[:, None], np.array([12]), M)[:, 0], [5, 0.5, *offsets], atol=1e-12)
    np.testing.assert_allclose(start("AAM", level[:, None], np.array([12]), M)[:, 0], [8, 0, *ratios], atol=1e-12)


def test_the_start_without_seasons_is_a_line_or_a_mean():
    values = (3 + 2.0 * np.arange(1, 13))[:, None]
    np.testing.assert_allclose(start("AAN", values, np.array([12]), 1)[:, 0], [3, 2], atol=1e-12)
    np.testing.assert_allclose(start("ANN", values, np.array([12]), 1)[:, 0], [14, 0], atol=1e-12)


@pytest.mark.parametrize("form", [form for form in FORMS if not is_multiplicative(form)])
def test_the_improved_start_solves_the_ridge_problem(form):
    """Errors are linear in the start, so the exact solution follows from one roll per start value."""
    values, parameters, state = example(form)

    def errors(at: np.ndarray) -> np.ndarray:
        out, now = [], at
        for value in values:
            mean = project(form, parameters[:, None], now[:, None], 1)[0, 0]
            out.append(value - mean)
            now = rolled(form, np.array([value]), parameters, now)[1]
        return np.array(out)

    residual = errors(state)
    jacobian = np.stack([errors(state + unit) - residual for unit in np.eye(len(state))], axis=1)
    step = np.linalg.solve(jacobian.T @ jacobian + np.eye(len(state)), -jacobian.T @ residual)
    found = improved_start(form, values[:, None], np.array([len(values)]), parameters[:, None], state[:, None])
    np.testing.assert_allclose(found[:, 0], state + step, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("form", ["ANM", "AAM", "AAdM"])
def test_the_improved_start_of_multiplicative_seasons_fits_better(form):
    values, parameters, state = example(form)
    state = state * 1.1
    found = improved_start(form, values[:, None], np.array([len(values)]), parameters[:, None], state[:, None])[:, 0]
    assert rolled(form, values, parameters, found)[0] < 0.9 * rolled(form, values, parameters, state)[0]


@pytest.mark.parametrize("form", FORMS)
def test_the_improved_start_knows_no_neighbours_and_survives_an_explosion(form):
    parameters, state = example(form)[1:]
    series = [example(form, n)[0] for n in (40, 31, 31, 20)]
    values, lengths = columns([*series, np.full(20, 1e200)])
    n = len(lengths)
    with np.errstate(all="ignore"):
        found = improved_start(
            form, values, lengths, np.tile(parameters[:, None], (1, n)), np.tile(state[:, None], (1, n))
        )
    for i, alone in enumerate(series):
        expected = improved_start(form, alone[:, None], lengths[i : i + 1], parameters[:, None], state[:, None])
        np.testing.assert_array_equal(found[:, i], expected[:, 0])
