"""Differences, the KPSS test and the strength of a season against statsmodels and by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from forecastml.kernels.differencing import decomposed, differenced, differences, flat, kpss, seasonal_strength


def ragged(season: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random walks with seasons of all strengths, sorted by length, garbage after the end."""
    random = np.random.default_rng(seed)
    lengths = np.sort(random.integers(2 * season + 1, 110, 12))[::-1]
    values = random.normal(size=(lengths[0], 12)) * 100
    for i, n in enumerate(lengths):
        wave = np.sin(2 * np.pi * np.arange(n) / season)
        values[:n, i] = np.cumsum(random.normal(size=n)) + random.uniform(0, 4) * wave
    return values, lengths


@pytest.mark.parametrize("season", [4, 7, 12])
def test_the_decomposition_is_that_of_statsmodels(season):
    from statsmodels.tsa.seasonal import STL

    values, lengths = ragged(season)
    strength = seasonal_strength(values, lengths, season)
    for i, n in enumerate(lengths):
        theirs = STL(values[:n, i], period=season, seasonal=11, seasonal_deg=0).fit()
        seasonal, trend = decomposed(values[:n, i : i + 1], season)
        np.testing.assert_allclose(seasonal[:, 0], theirs.seasonal, atol=1e-9)
        np.testing.assert_allclose(trend[:, 0], theirs.trend, atol=1e-9)
        expected = max(0.0, 1 - np.var(theirs.resid) / np.var(theirs.resid + theirs.seasonal))
        assert strength[i] == pytest.approx(expected, abs=1e-9)
    assert (strength < 0.64).any() and (strength > 0.64).any()


def test_the_statistic_is_that_of_statsmodels():
    from statsmodels.tsa.stattools import kpss as reference

    values, lengths = ragged(4, seed=1)
    found = kpss(values, lengths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, n in enumerate(lengths):
            expected = reference(values[:n, i], "c", nlags=int(3 * np.sqrt(n) / 13))[0]
            assert found[i] == pytest.approx(expected, rel=1e-10)


def test_what_comes_after_the_end_and_beside_changes_no_bit():
    values, lengths = ragged(4)
    for i, n in enumerate(lengths):
        alone = np.ascontiguousarray(values[:n, i : i + 1])
        assert kpss(alone, lengths[i : i + 1])[0] == kpss(values, lengths)[i]
        assert seasonal_strength(alone, lengths[i : i + 1], 4)[0] == seasonal_strength(values, lengths, 4)[i]


def test_differences_are_counted():
    random = np.random.default_rng(3)
    noise = random.normal(size=(200, 3))
    noise[:, 1], noise[:, 2] = np.cumsum(noise[:, 1]), np.cumsum(np.cumsum(noise[:, 2]))
    assert differences(noise, np.full(3, 200), 2).tolist() == [0, 1, 2]
    assert differences(noise, np.full(3, 200), 1).tolist() == [0, 1, 1]
    line = np.stack([np.arange(20.0), np.full(20, 3.0)], axis=1) / 32
    assert differences(line, np.full(2, 20), 2).tolist() == [1, 0]
    assert flat(np.diff(line, axis=0), np.full(2, 19)).all()


def test_differences_are_what_they_say():
    values = np.array([1.0, 5.0, 2.0, 9.0, 0.0])[:, None]
    np.testing.assert_array_equal(differenced(values, 1, 1, 2)[:, 0], [3.0, -6.0])
    np.testing.assert_array_equal(differenced(values, 0, 1, 4)[:, 0], [-1.0])


def test_a_season_that_is_all_there_is_has_full_strength():
    pattern = np.tile([1.0, 4.0, 2.0, 9.0], 10)[:, None] / 16
    noise = np.random.default_rng(0).normal(size=(40, 1))
    assert seasonal_strength(pattern, np.array([40]), 4)[0] > 0.999
    assert seasonal_strength(noise, np.array([40]), 4)[0] < 0.64
    assert seasonal_strength(pattern[:8], np.array([8]), 4)[0] == 0.0
