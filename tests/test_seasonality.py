"""Season detection on known and unknown data, classical decomposition and Naive2 against their formulas."""

from __future__ import annotations

import numpy as np
import pyarrow.compute
import pyarrow.parquet
import pytest

from forecastml.data.panel import Panel
from forecastml.kernels import seasonality
from forecastml.kernels.seasonality import (
    autocorrelation,
    batches,
    detect_seasons,
    moving_average,
    naive2,
    padded,
    propose_seasons,
    seasonal_indices,
)


def ragged(lengths, seed: int = 0) -> Panel:
    rng = np.random.default_rng(seed)
    return Panel.of([np.exp(0.1 * np.sin(np.arange(n)) + 0.05 * rng.normal(size=n).cumsum()) for n in lengths])


def test_padded_is_end_aligned():
    matrix = padded(Panel.of([[1.0, 2.0, 3.0], [4.0], []]))
    np.testing.assert_array_equal(matrix, [[1, np.nan, np.nan], [2, np.nan, np.nan], [3, 4, np.nan]])
    assert matrix.flags.c_contiguous
    assert padded(Panel.of([])).shape == (0, 0)


def test_batches_bound_the_matrix_and_hold_every_series_once(monkeypatch):
    monkeypatch.setattr(seasonality, "BATCH_VALUES", 50)
    panel = ragged([30, 3, 0, 70, 8, 9, 10, 1])
    parts = list(batches(panel))
    assert sorted(np.concatenate(parts).tolist()) == list(range(8))
    assert all(len(items) == 1 or panel.lengths[items].max() * len(items) <= 50 for items in parts)
    assert len(parts) > 3


def test_autocorrelation_equals_its_formula_in_both_loops(monkeypatch):
    matrix = padded(ragged([30, 21, 30]))
    got = autocorrelation(matrix, 5)
    monkeypatch.setattr(seasonality, "NARROW", 1)
    np.testing.assert_array_equal(autocorrelation(matrix, 5), got)
    for i, column in enumerate(matrix.T):
        x = column[~np.isnan(column)] - np.nanmean(column)
        expected = [(x[k:] * x[: len(x) - k]).sum() / (x**2).sum() for k in range(6)]
        np.testing.assert_allclose(got[:, i], expected, rtol=1e-12)


def test_autocorrelation_of_a_constant_and_of_a_short_series():
    np.testing.assert_array_equal(autocorrelation(np.full((4, 1), 3.0), 2), np.zeros((3, 1)))
    assert autocorrelation(np.array([[1.0], [2.0]]), 5).shape == (6, 1)


@pytest.mark.parametrize("m", [2, 3, 4, 7, 12])
@pytest.mark.parametrize("multiplicative", [False, True])
def test_decomposition_equals_statsmodels(m, multiplicative):
    seasonal = pytest.importorskip("statsmodels.tsa.seasonal")
    panel = ragged([40, 61, 37])
    matrix = padded(panel)
    trend, indices = moving_average(matrix, m), seasonal_indices(matrix, m, multiplicative)
    for i in range(len(panel)):
        values = panel.values(i)
        model = "multiplicative" if multiplicative else "additive"
        expected = seasonal.seasonal_decompose(values, model, period=m)
        np.testing.assert_allclose(trend[-len(values) :, i], expected.trend, rtol=1e-10)
        np.testing.assert_allclose(indices[:, i], np.resize(expected.seasonal[-m:], m), rtol=1e-10, atol=1e-12)


def test_decomposition_leaves_missing_values_out():
    t = np.arange(48)
    values = 10.0 + np.array([2.0, -1.0, -3.0, 2.0])[t % 4]
    values[[13, 22]] = np.nan
    indices = seasonal_indices(values[:, None], 4, multiplicative=False)[:, 0]
    np.testing.assert_allclose(indices, [2.0, -1.0, -3.0, 2.0], atol=0.2)
    np.testing.assert_array_equal(seasonal_indices(np.full((3, 1), np.nan), 4, True), np.ones((4, 1)))


def reference_naive2(y: np.ndarray, m: int, horizon: int) -> np.ndarray:
    """The published procedure, step by step for one complete series."""
    plain = np.full(horizon, y[-1])
    if len(y) < 3 * m or y.min() <= 0:
        return plain
    x = y - y.mean()
    r = np.array([(x[k:] * x[: len(x) - k]).sum() for k in range(1, m + 1)]) / (x**2).sum()
    if abs(r[-1]) <= 1.645 * np.sqrt((1 + 2 * (r[:-1] ** 2).sum()) / len(y)):
        return plain
    kernel = np.full(m, 1 / m) if m % 2 else np.r_[0.5, np.ones(m - 1), 0.5] / m
    trend = np.convolve(y, kernel, mode="valid")
    half = (len(y) - len(trend)) // 2
    ratio = np.full(len(y), np.nan)
    ratio[half : len(y) - half] = y[half : len(y) - half] / trend
    figure = np.array([np.nanmean(ratio[s::m]) for s in range(m)])
    figure /= figure.mean()
    ahead = (len(y) + np.arange(horizon)) % m
    return y[-1] / figure[(len(y) - 1) % m] * figure[ahead]


@pytest.mark.parametrize("m", [1, 4, 7, 12])
def test_naive2_equals_the_published_procedure(m):
    rng = np.random.default_rng(1)
    series = []
    for n in (11, 24, 36, 47, 90, 120):
        wave = np.exp(0.3 * np.sin(2 * np.pi * np.arange(n) / max(m, 2)))
        series += [wave * np.exp(0.1 * rng.normal(size=n)), rng.normal(size=n), 50 + rng.normal(size=n).cumsum()]
    got = naive2(Panel.of(series), m, 9).reshape(-1, 9)
    expected = np.array([reference_naive2(y, m, 9) for y in series])
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    if m > 1:
        assert (expected.std(axis=1) > 0).any()


def test_naive2_without_values_or_with_gaps():
    wave = 10.0 + np.resize([4.0, -1.0, -3.0], 30)
    wave[[4, 28, 29]] = np.nan
    got = naive2(Panel.of([[], [np.nan, np.nan], [5.0, np.nan], wave]), 3, 3).reshape(-1, 3)
    assert np.isnan(got[:2]).all()
    assert got[2].tolist() == [5.0] * 3
    np.testing.assert_allclose(got[3], [14.0, 9.0, 7.0], rtol=0.02)


@pytest.mark.parametrize("others", [1, 6, 999])
def test_a_series_has_the_same_bits_alone_as_among_others(others, monkeypatch):
    monkeypatch.setattr(seasonality, "BATCH_VALUES", 3000)
    rng = np.random.default_rng(5)
    panel = ragged([53, *rng.integers(1, 120, others)])
    alone, together = panel.select(np.array([0])), naive2(panel, 4, 7)
    np.testing.assert_array_equal(naive2(alone, 4, 7), together[:7])
    matrix, lone = padded(panel), padded(alone)
    for kernel in (
        lambda x: seasonal_indices(x, 4, False),
        lambda x: seasonality.season_evidence(x, 4)[None],
        lambda x: autocorrelation(x, 9),
    ):
        np.testing.assert_array_equal(kernel(lone)[:, 0], kernel(matrix)[:, 0])


#: Data set -> (candidates by frequency, what the training rows support).
KNOWN = {
    "m3_monthly": ((12,), (12,)),
    "m4_weekly": ((52,), (52,)),
    "m4_hourly": ((24, 168), (24, 168)),
    "nyc_energy": ((24, 168), (24, 168)),
    "australian_tourism": ((4,), (4,)),
    "bike_share": ((7, 365), (7,)),
    "victoria_electricity": ((48, 336), (48, 336)),
    "alcohol_sales": ((12,), ()),  # published seasonally adjusted
    "orange_juice": ((52,), ()),  # two years, driven by promotions
}


def training_rows(path, keys) -> Panel:
    table = pyarrow.parquet.read_table(path)
    table = table.filter(pyarrow.compute.equal(table["split"], "train"))
    table = table.sort_by([(name, "ascending") for name in (*keys, "ds")])
    codes = [table[name].dictionary_encode().combine_chunks().indices.to_numpy() for name in keys]
    border = np.flatnonzero(np.any([np.diff(code) != 0 for code in codes], axis=0)) + 1
    return Panel.of(np.split(table["y"].to_numpy().astype(np.float64), border))


@pytest.mark.parametrize("name", KNOWN)
def test_seasons_of_public_data(shared_data, name):
    path, facts = shared_data(name)
    panel = training_rows(path, facts["group_keys"])
    assert len(panel) == facts["series"]
    candidates, expected = KNOWN[name]
    assert detect_seasons(panel, candidates) == expected
    # The earliest of three windows one horizon apart, where two seasons and a value are left there.
    earlier = panel.before(np.maximum(panel.lengths - 3 * facts["horizon"], 0))
    assert detect_seasons(earlier, candidates) == expected


def noise(kind: str, length: int, n: int) -> np.ndarray:
    shocks = np.random.default_rng(11).normal(size=(length, n))
    if kind == "random walk":
        return shocks.cumsum(axis=0)
    if kind == "autoregression":
        for t in range(1, length):
            shocks[t] += 0.9 * shocks[t - 1]
    return shocks


@pytest.mark.parametrize("kind", ["white noise", "random walk", "autoregression"])
@pytest.mark.parametrize("length", [60, 400])
def test_no_season_in_noise(kind, length):
    values = noise(kind, length, 100)
    panel = Panel.of(list(values.T))
    assert detect_seasons(panel, (4, 7, 12, 24)) == ()
    assert propose_seasons(panel) == ()
    scores = seasonality.season_evidence(values, 12)
    assert (scores > seasonality.VOTE_BOUND).mean() <= 0.06


def test_seasons_are_proposed_without_a_frequency():
    t = np.arange(900)
    rng = np.random.default_rng(3)
    week = np.array([0, 1, 2, 1, 0, 6, 7.0])
    daily = [20 + 3 * np.sin(2 * np.pi * t / 12) + 0.01 * t + rng.normal(size=900) for _ in range(3)]
    nested = [9 * np.sin(2 * np.pi * t / 24) + week[t // 24 % 7] + 0.3 * rng.normal(size=900) for _ in range(3)]
    assert propose_seasons(Panel.of(daily)) == (12,)
    assert propose_seasons(Panel.of(nested)) == (24, 168)


def test_a_day_is_not_taken_for_a_week():
    t = np.arange(24 * 60)
    values = [10 * np.sin(2 * np.pi * t / 24) + np.random.default_rng(i).normal(size=len(t)) for i in range(5)]
    assert detect_seasons(Panel.of(values), (168, 24)) == (24,)


def test_degenerate_series_have_no_season():
    series = [np.zeros(50), np.full(50, 0.1), np.arange(50.0), np.full(50, np.nan), [1.0], []]
    assert detect_seasons(Panel.of(series), (2, 7, 12)) == ()
    assert propose_seasons(Panel.of(series)) == ()
    assert detect_seasons(Panel.of([]), (7,)) == ()
    assert propose_seasons(Panel.of([])) == ()


def test_an_exact_season_is_found_with_little_history():
    assert detect_seasons(Panel.of([np.resize([1.0, 5.0, 2.0, 9.0], 20)]), (4,)) == (4,)


def test_an_expected_season_needs_less_evidence_but_not_none():
    rng = np.random.default_rng(0)
    faint = [rng.normal(size=30) + 0.6 * np.sin(np.arange(30) * np.pi / 2) for _ in range(200)]
    noise = [rng.normal(size=60) for _ in range(200)]
    assert detect_seasons(Panel.of(faint), (4,), expected=4) == (4,)
    assert detect_seasons(Panel.of(noise), (4,), expected=4) == ()
