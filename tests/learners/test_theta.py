"""The theta learners: seasonal adjustment, quantiles, and what is better than without theta."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.tsa.seasonal import seasonal_decompose

from forecastml.data.panel import Panel
from forecastml.learners.chunks import Chunk
from forecastml.learners.classical_season import adjusted, seasonal_factors
from forecastml.learners.registry import get_learner
from forecastml.protocols import FitContext

NAMES = ("theta", "optimized_theta", "dynamic_optimized_theta")
CONTEXT = FitContext(horizon=8, seasons=(4,))
SLOTS = np.array([0.7, 1.2, 1.4, 0.7])


def seasonal(length: int, seed: int, trend: float = 0.5, noise: float = 2.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    t = np.arange(length)
    return (100.0 + trend * t + noise * random.normal(size=length)) * SLOTS[t % 4]


def chunk_of(*series: np.ndarray) -> Chunk:
    lengths = np.array([len(y) for y in series])
    values = np.full((lengths.max(), len(series)), np.nan)
    for i, y in enumerate(series):
        values[: len(y), i] = y
    return Chunk.of(values, lengths, (~np.isnan(values)).sum(axis=0))


def forecast(name: str, *series: np.ndarray, outputs=("mean",)) -> np.ndarray:
    panel = Panel.of(series)
    fitted = get_learner(name).fit(panel, {}, CONTEXT)
    return fitted.predict(panel, 8, outputs).values.reshape(len(series), 8, -1)


def test_the_season_is_that_of_statsmodels_decomposition():
    one, other = seasonal(43, 1), seasonal(30, 2) - 90.0
    chunk = chunk_of(one, other)
    factors, terms = seasonal_factors(chunk, 4)
    classical = seasonal_decompose(one, model="multiplicative", period=4).seasonal
    np.testing.assert_allclose(factors[:, 0], [classical[(43 + s) % 4] for s in range(4)], rtol=1e-10)
    assert (terms[:, 0] == 0.0).all()
    assert other.min() < 0.0 and (factors[:, 1] == 1.0).all()
    classical = seasonal_decompose(other / chunk.scale[1], model="additive", period=4).seasonal
    np.testing.assert_allclose(terms[:, 1], [classical[(30 + s) % 4] for s in range(4)], rtol=1e-9, atol=1e-12)
    values = adjusted(chunk.values, factors, terms, -chunk.lengths)
    np.testing.assert_allclose(values[:, 0] * factors[(np.arange(43) - 43) % 4, 0], chunk.values[:, 0], rtol=1e-12)


def test_no_season_is_seen_in_noise_or_too_few_values():
    random = np.random.default_rng(0)
    factors, terms = seasonal_factors(chunk_of(10.0 + random.normal(size=48), seasonal(7, 1)), 4)
    assert (factors == 1.0).all() and (terms == 0.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_forecasts_trend_and_season(name):
    values = forecast(name, seasonal(60, 3), seasonal(61, 4))[:, :, 0]
    for i, length in enumerate((60, 61)):
        t = np.arange(length, length + 8)
        np.testing.assert_allclose(values[i], (100.0 + 0.5 * t) * SLOTS[t % 4], rtol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_cover_what_they_say(name):
    random = np.random.default_rng(7)
    series = [50.0 + np.cumsum(random.normal(size=88)) * 0.5 + random.normal(size=88) for _ in range(150)]
    values = forecast(name, *[y[:80] for y in series], outputs=("mean", "0.1", "0.5", "0.9"))
    assert (np.diff(values[:, :, 1:], axis=2) > 0).all()
    np.testing.assert_array_equal(values[:, :, 0], values[:, :, 2])
    actual = np.stack([y[80:] for y in series])
    inside = (values[:, :, 1] <= actual) & (actual <= values[:, :, 3])
    assert 0.7 < inside.mean() < 0.88


@pytest.mark.parametrize("name", NAMES)
def test_append_turns_the_season(name):
    whole = Panel.of([seasonal(63, 5), seasonal(52, 6) - 90.0])
    early = whole.before(np.array([60, 47]))
    learner = get_learner(name)
    moved = learner.fit(early, {}, CONTEXT).append(whole)
    values = moved.predict(whole, 8, ("mean",)).mean.reshape(2, 8)
    fresh = learner.fit(whole, {}, CONTEXT).predict(whole, 8, ("mean",)).mean.reshape(2, 8)
    np.testing.assert_allclose(values, fresh, rtol=0.1, atol=3.0)


def test_a_refit_forecasts_as_a_fit_does():
    series = [seasonal(64, seed) for seed in range(20)]
    whole = Panel.of(series)
    for name in NAMES:
        learner = get_learner(name)
        previous = learner.fit(whole.before(np.full(20, 60)), {}, CONTEXT)
        one, other = learner.refit(previous, whole, CONTEXT), learner.fit(whole, {}, CONTEXT)
        np.testing.assert_allclose(
            one.predict(whole, 8, ("mean",)).mean, other.predict(whole, 8, ("mean",)).mean, rtol=0.02
        )
