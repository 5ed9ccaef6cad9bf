"""Windows of values and of seasons: known results, chosen sizes, gaps, and what is told."""

from __future__ import annotations

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.learners import windowed
from forecastml.learners.registry import get_learner
from forecastml.protocols import Facts, FitContext

SEASONAL = ("seasonal_window_average", "seasonal_median")
NAN = np.nan


def forecast(name: str, values, horizon: int = 1, seasons: tuple[int, ...] = (), **params) -> np.ndarray:
    panel = Panel.of(values)
    fitted = get_learner(name).fit(panel, params, FitContext(horizon=horizon, seasons=seasons))
    return fitted.predict(panel, horizon, ("mean",)).mean.reshape(len(panel), horizon)


def test_the_mean_of_the_last_known_values():
    series = [[9, 9, 1, 2, 6], [1, NAN, 2, NAN, 6, NAN], [4, 6], [5]]
    np.testing.assert_allclose(forecast("window_average", series, 2, window=3), [[3, 3], [3, 3], [5, 5], [5, 5]])


def test_the_window_follows_the_noise():
    random = np.random.default_rng(0)
    noise = random.normal(100.0, 1.0, (50, 200))
    walk = 100.0 + np.cumsum(random.normal(size=(50, 200)), axis=1)
    fitted = get_learner("window_average").fit(Panel.of([*noise, *walk]), {}, FitContext())
    window = fitted.memory["window"]
    assert set(window) <= set(windowed.VALUES)
    assert np.median(window[:50]) >= 26 and np.median(window[50:]) == 2


def test_the_chosen_window_has_the_least_one_step_errors():
    random = np.random.default_rng(1)
    series = [np.cumsum(random.normal(0, 0.4, n)) + random.normal(size=n) for n in (3, 10, 47, 120)]
    memory = get_learner("window_average").fit(Panel.of(series), {}, FitContext()).memory
    for i, y in enumerate(series):
        squares = [sum((y[t] - np.mean(y[max(t - k, 0) : t])) ** 2 for t in range(1, len(y))) for k in windowed.VALUES]
        assert memory["window"][i] == windowed.VALUES[int(np.argmin(np.round(squares, 9)))]


def test_the_mean_of_the_last_seasons():
    series = [[100, 200, 1, 2, 3, 6, 5, 4], [1, 2, 3, NAN, NAN, 9]]
    expected = [[3.0, 4.0, 3.0], [2.0, np.mean([9]), 2.0]]
    found = forecast("seasonal_window_average", series, 3, (2,), window=3)
    np.testing.assert_allclose(found[0], [np.mean([1, 3, 5]), np.mean([2, 6, 4]), 3.0])
    np.testing.assert_allclose(found[1], [2.0, np.mean([2, 9]), 2.0])
    assert expected[0] == found[0].tolist()


def test_the_median_of_the_last_seasons():
    series = [[1, 7, 90, 8, 2, 9, 3, 900], [1, 7, 2, NAN], [4, 7, 6, NAN, NAN, NAN]]
    found = forecast("seasonal_median", series, 3, (2,), window=3)
    np.testing.assert_allclose(found, [[3, 9, 3], [1.5, 7, 1.5], [5, 7, 5]])


@pytest.mark.parametrize("name", SEASONAL)
def test_a_place_without_a_value_has_the_last_known_one(name):
    series = [[3.0, 8.0], [NAN, 2.0, NAN, 4.0, NAN, NAN]]
    np.testing.assert_array_equal(forecast(name, series, 4, (4,), window=1), [[8, 8, 3, 8], [4, 4, 4, 4]])


def test_the_number_of_seasons_has_the_least_errors_a_season_ahead():
    random = np.random.default_rng(2)
    m, n = 4, 60
    drifting = np.repeat(np.cumsum(random.normal(0, 3.0, (n // m, m)), axis=0)[None], 3, axis=0).reshape(3, n)
    series = np.vstack([random.normal(size=(3, n)), drifting + random.normal(0, 0.1, (3, n))])
    memory = get_learner("seasonal_window_average").fit(Panel.of(series), {}, FitContext(seasons=(m,))).memory
    for i, y in enumerate(series):
        squares = []
        for k in windowed.SEASONS:
            errors = [y[t] - np.mean(y[t % m : t : m][-k:]) for t in range(m, n)]
            squares.append(np.square(errors).sum())
        assert memory["window"][i] == windowed.SEASONS[int(np.argmin(squares))]
    assert memory["window"][:3].min() > memory["window"][3:].max() == 2


@pytest.mark.parametrize(
    ("name", "seasons"), [("window_average", ()), ("seasonal_window_average", (4,)), ("seasonal_median", (4,))]
)
def test_reading_on_is_reading_at_once(name, seasons):
    random = np.random.default_rng(3)
    values = np.where(random.random((9, 40)) < 0.2, NAN, random.normal(size=(9, 40)))
    values[:, 20] = 1.0
    whole, early = Panel.of(values), Panel.of(values[:, :27])
    learner, context = get_learner(name), FitContext(horizon=6, seasons=seasons)
    moved = learner.fit(early, {"window": 5}, context).append(whole)
    at_once = learner.fit(whole, {"window": 5}, context)
    # The scales of the two are different powers of two, which changes no bit.
    np.testing.assert_array_equal(moved.predict(whole, 6, ("mean",)).mean, at_once.predict(whole, 6, ("mean",)).mean)


@pytest.mark.parametrize("name", ["window_average", *SEASONAL])
@pytest.mark.parametrize("window", [0, 2.5, True])
def test_a_wrong_window_is_told(name, window):
    with pytest.raises(ConfigError, match=f"{name}.*window"):
        forecast(name, [[1.0, 2.0]], window=window)


def test_seasonal_ones_are_tried_where_there_are_two_seasons():
    for name in SEASONAL:
        space = get_learner(name).space
        assert space(Facts("forecasting", 5, 1, 50, 50)) == []
        assert space(Facts("forecasting", 5, 1, 50, 50, natural=12)) == [{"season_length": 12}]
        assert space(Facts("forecasting", 5, 1, 50, 50, (12, 25), natural=7)) == [{"season_length": 12}]
    assert get_learner("window_average").space(Facts("forecasting", 5, 1, 50, 50, (12,))) == [{}]
