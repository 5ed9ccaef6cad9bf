"""The recursions against statsmodels, the start against its definition, and no influence between series."""

from __future__ import annotations

import numpy as np
import pytest

from forecastml.kernels.smoothing import (
    ADDITIVE,
    STABLE,
    has_trend,
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


@pytest.mark.parametrize("form", ADDITIVE)
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


@pytest.mark.parametrize("form", ADDITIVE)
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


def innovations(form: str, values: np.ndarray, parameters: np.ndarray, state: np.ndarray):
    """The model of statsmodels with known start, and its parameter vector."""
    ets = pytest.importorskip("statsmodels.tsa.exponential_smoothing.ets")
    model = ets.ETSModel(
        values,
        error={"A": "add", "M": "mul"}[form[0]],
        trend="add" if has_trend(form) else None,
        damped_trend=is_damped(form),
        seasonal={"N": None, "A": "add", "M": "mul"}[form[-1]],
        seasonal_periods=M if is_seasonal(form) else None,
        initialization_method="known",
        initial_level=state[0],
        initial_trend=state[1] if has_trend(form) else None,
        initial_seasonal=state[2:] if is_seasonal(form) else None,
    )
    has = (True, has_trend(form), is_seasonal(form), is_damped(form))
    start = [state[0], *([state[1]] if has_trend(form) else []), *(state[2:][::-1] if is_seasonal(form) else [])]
    return model, np.array([*parameters[list(has)], *start])


@pytest.mark.parametrize("form", [form for form in STABLE if not is_multiplicative(form)])
def test_likelihood_and_forecasts_equal_those_of_the_innovations_model(form):
    values, parameters, state = example(form)
    squares, final = rolled(form, values, parameters, state)
    model, vector = innovations(form, values, parameters, state)
    fixed = model.smooth(vector)
    n = len(values)
    np.testing.assert_allclose(-n / 2 * (np.log(2 * np.pi * squares / n) + 1), fixed.llf, rtol=1e-9)
    mean = project(form, parameters[:, None], final[:, None], HORIZON)[:, 0]
    np.testing.assert_allclose(mean, fixed.forecast(HORIZON), rtol=1e-9)


@pytest.mark.parametrize("form", [form for form in STABLE if form[0] == "M"])
def test_multiplicative_errors_follow_the_textbook(form):
    """Table 2.3 of Hyndman et al. (2008), in relative errors; the ETSModel of statsmodels differs for season M."""
    values, (alpha, beta, gamma, phi), (level, trend, *seasons) = example(form)
    errors, means = [], []
    for t, value in enumerate(values):
        base = level + phi * trend
        season = seasons[t % M] if is_seasonal(form) else 0.0
        mu = base * season if is_multiplicative(form) else base + season
        eps = (value - mu) / mu
        weight = base if is_multiplicative(form) else mu
        level, trend = base + alpha * weight * eps, phi * trend + beta * weight * eps
        if is_seasonal(form):
            seasons[t % M] = season * (1 + gamma * eps) if is_multiplicative(form) else season + gamma * mu * eps
        errors.append(eps)
        means.append(mu)
    n = len(values)
    deviance = n * np.log(np.sum(np.square(errors))) + 2 * np.sum(np.log(means))
    squares, final = rolled(form, values, *example(form)[1:])
    assert n * np.log(squares) == pytest.approx(deviance, rel=1e-12)
    np.testing.assert_allclose(final[:2], [level, trend], rtol=1e-12)


#: What AutoETS of statsforecast 2.1.1 found for `example`, rounded to three digits: form, parameters with 1 or 0 for
#: what it lacks, level, trend, seasons, then its AICc and its forecasts.
FOUND = [
    (
        ("MNM", [0.680977717054, 0, 0.0001, 1], [19.2251437627, 0]),
        [1.10420201975, 0.963549141732, 0.791907568235, 1.14034127028],
        (172.70081933442503, [34.2919334, 29.92379875, 24.59334199, 35.41422466]),
    ),
    (
        ("MAM", [0.000100373871919, 0.000105508732951, 0.00026246685596, 1], [19.6858821586, 0.285008198001]),
        [1.10376162686, 0.964645697692, 0.791726169588, 1.13986650586],
        (155.1918759909953, [34.62717272, 30.53764531, 25.28930174, 36.73450076]),
    ),
    (
        ("MAdM", [0.0001, 0.000106102506191, 0.0001, 0.98], [18.9604945388, 0.417588981244]),
        [1.1042078172, 0.963541334133, 0.791672373171, 1.14057847549],
        (159.61761627221838, [33.65828601, 29.54630608, 24.41764692, 35.37887249]),
    ),
]


@pytest.mark.parametrize(("model", "seasons", "result"), FOUND, ids=["MNM", "MAM", "MAdM"])
def test_multiplicative_seasons_equal_statsforecast(model, seasons, result):
    (form, parameters, start), (aicc, mean) = model, result
    values, parameters = np.round(example(form)[0], 3), np.array(parameters)
    squares, final = rolled(form, values, parameters, np.array([*start, *seasons]))
    k = 3 + 2 * has_trend(form) + is_damped(form) + M
    n = len(values)
    assert n * np.log(squares) + 2 * k + 2 * k * (k + 1) / (n - k - 1) == pytest.approx(aicc, abs=1e-6)
    np.testing.assert_allclose(project(form, parameters[:, None], final[:, None], 4)[:, 0], mean, rtol=1e-8)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_mean_that_is_not_positive_has_no_likelihood_with_multiplicative_errors():
    values, parameters, state = example("MAN")
    state[:2] = (-1.0, 0.0)
    assert np.isinf(rolled("MAN", values, parameters, state)[0])
    assert np.isfinite(rolled("AAN", values, parameters, state)[0])


def test_gaps_do_not_count_with_multiplicative_errors():
    values, parameters, state = example("MNN", 24)
    known, _ = rolled("MNN", values, parameters, state)
    gap = np.append(values, np.full(9, np.nan))
    assert rolled("MNN", gap, parameters, state)[0] == pytest.approx(known, rel=1e-12)
