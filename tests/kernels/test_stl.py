"""Decomposition by loess against statsmodels, by hand, and by what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.tsa.seasonal import MSTL, STL

from forecastml.kernels import stl as kernel
from forecastml.kernels.stl import Loess, SeasonPlan, loess_filter, mstl, slot_numbers, smooth, stl, stretch


def waves(time: int, periods: tuple[float, ...], series: int = 3, seed: int = 0) -> np.ndarray:
    """Trends, waves and noise: (time, series)."""
    random = np.random.default_rng(seed)
    t = np.arange(time)[:, None]
    values = 0.01 * t * random.normal(size=series) + 0.3 * random.normal(size=(time, series))
    for period in periods:
        values += np.sin(2 * np.pi * t / period + random.uniform(0, 6, series))
    return values


@pytest.mark.parametrize(
    ("time", "period", "window", "degree", "inner", "outer"),
    [
        (131, 12, 7, 1, 5, 0),
        (130, 12, 11, 0, 2, 0),
        (25, 12, 35, 1, 2, 0),
        (24, 12, 7, 0, 1, 0),
        (100, 7, 7, 1, 2, 15),
        (97, 4, 7, 0, 2, 2),
        (60, 7, 101, 1, 1, 1),
    ],
)
def test_stl_equals_statsmodels(time, period, window, degree, inner, outer):
    values = waves(time, (period,))
    values[time // 2, 1] += 20.0
    found = stl(values, SeasonPlan.of(period, Loess(window, degree), thinned=False), inner, outer)
    for i in range(values.shape[1]):
        peer = STL(values[:, i], period=period, seasonal=window, seasonal_deg=degree, robust=outer > 0)
        peer = peer.fit(inner_iter=inner, outer_iter=outer)
        np.testing.assert_allclose(found.seasonal[0][:, i], peer.seasonal, atol=1e-10)
        np.testing.assert_allclose(found.trend[:, i], peer.trend, atol=1e-10)
        if outer:
            np.testing.assert_allclose(found.weights[:, i], peer.weights, atol=1e-8)


def test_thinned_stl_equals_statsmodels_with_jumps():
    plan = SeasonPlan.of(12, Loess(11, 0))
    assert (plan.trend, plan.low_pass) == (Loess(21, 1, 3), Loess(13, 1, 2))
    # The last value is computed with its own neighbours here, with those of the last jump there: it lies on a jump.
    values = waves(1 + 3 * 2 * 20, (12,))
    found = stl(values, plan)
    peer = STL(values[:, 0], period=12, seasonal=11, seasonal_deg=0, trend_jump=3, low_pass_jump=2)
    peer = peer.fit(inner_iter=2, outer_iter=0)
    np.testing.assert_allclose(found.seasonal[0][:, 0], peer.seasonal, atol=1e-10)
    np.testing.assert_allclose(found.trend[:, 0], peer.trend, atol=1e-10)


@pytest.mark.parametrize("outer", [0, 2])
def test_mstl_equals_statsmodels(outer):
    values = waves(6 * 28 + 5, (7, 28))
    plans = [SeasonPlan.of(7, Loess(11), thinned=False), SeasonPlan.of(28, Loess(15), thinned=False)]
    found = mstl(values, plans, rounds=3, inner=2, outer=outer)
    for i in range(values.shape[1]):
        options = {"inner_iter": 2, "outer_iter": outer, "robust": outer > 0, "seasonal_deg": 1}
        peer = MSTL(values[:, i], periods=(7, 28), iterate=3, stl_kwargs=options).fit()
        for season, expected in zip(found.seasonal, peer.seasonal.T, strict=True):
            np.testing.assert_allclose(season[:, i], expected, atol=1e-10)
        np.testing.assert_allclose(found.trend[:, i], peer.trend, atol=1e-10)


def test_loess_by_hand():
    values = np.array([0.0, 1.0, 5.0, 2.0, 2.0])[:, None]
    # Window 3 about the middle: bandwidth 1, its neighbours weigh nothing.
    np.testing.assert_array_equal(smooth(values, Loess(3, 0))[2], values[2])
    near = (1 - 0.5**3) ** 3
    assert smooth(values, Loess(3, 0))[0, 0] == pytest.approx(near / (1 + near))
    assert smooth(values, Loess(5, 0))[2, 0] == pytest.approx((5 + 3 * near) / (1 + 2 * near))


def test_a_line_stays_a_line_also_beyond_the_ends():
    line = 3.0 + 0.5 * np.arange(40)[:, None]
    for window, jump in [(7, 1), (101, 1), (15, 4), (9, 100)]:
        np.testing.assert_allclose(smooth(line, Loess(window, 1, jump), beyond=1)[1:-1], line, rtol=1e-12)
        weights = np.random.default_rng(0).uniform(0.1, 1, line.shape)
        got = smooth(line, Loess(window, 1, jump), weights, beyond=1)
        np.testing.assert_allclose(got[:, 0], 3.0 + 0.5 * np.arange(-1, 41), rtol=1e-10)


def test_weights_of_one_change_nothing_and_weights_of_zero_take_out():
    values = waves(50, (5,))
    for loess in (Loess(9, 0), Loess(9, 1), Loess(15, 1, 4)):
        np.testing.assert_allclose(smooth(values, loess, np.ones_like(values)), smooth(values, loess), atol=1e-12)
    weights = np.ones_like(values)
    weights[20] = 0.0
    spoilt = values.copy()
    spoilt[20] = 1e6
    np.testing.assert_array_equal(
        smooth(spoilt, Loess(9, 1), weights), smooth(np.where(weights > 0, values, 0.0), Loess(9, 1), weights)
    )
    nothing = smooth(values, Loess(9, 1), np.zeros_like(values), beyond=1)
    np.testing.assert_array_equal(nothing, values[np.clip(np.arange(-1, 51), 0, 49)])


def test_the_filter_sums_to_one_and_cannot_be_changed():
    found = loess_filter(30, Loess(11, 1, 2), 1)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0, rtol=1e-12)
    assert found.grid.tolist() == [-1, *range(0, 30, 2), 29, 30]
    with pytest.raises(ValueError, match="read-only"):
        found.weights[0] = 0.0


def test_neighbours_change_no_bit(monkeypatch):
    values = waves(120, (4, 24), series=40)
    plans = [SeasonPlan.of(4, Loess(7, 0)), SeasonPlan.of(23.7, Loess(11, 0))]
    for outer in (0, 1):
        whole = mstl(values, plans, outer=outer)
        for items in ([3], [3, 17], list(range(0, 40, 2))):
            part = mstl(np.ascontiguousarray(values[:, items]), plans, outer=outer)
            np.testing.assert_array_equal(part.trend, whole.trend[:, items])
            for one, other in zip(part.seasonal, whole.seasonal, strict=True):
                np.testing.assert_array_equal(one, other[:, items])
    # Few series are added up in another way, to the same bits.
    few = smooth(values[:, :2], Loess(51))
    monkeypatch.setattr(kernel, "NARROW", 0)
    np.testing.assert_array_equal(smooth(values[:, :2], Loess(51)), few)


def test_parts_add_up_and_seasons_are_found():
    t = np.arange(24 * 7 * 6)[:, None]
    day, week = np.sin(2 * np.pi * t / 24), 0.5 * np.sign(np.sin(2 * np.pi * t / 168 + 0.1))
    values = day + week + 0.002 * t + 0.02 * np.random.default_rng(0).normal(size=(len(t), 2))
    found = mstl(values, [SeasonPlan.of(24, Loess(11, 0)), SeasonPlan.of(168, Loess(15, 0))], inner=5)
    remainder = values - found.trend - found.seasonal[0] - found.seasonal[1]
    assert np.abs(remainder).max() < 0.2
    assert np.abs(found.seasonal[0] - day).max() < 0.2
    assert np.abs(found.trend - 0.002 * t)[168:-168].max() < 0.05


@pytest.mark.parametrize("length", [365.25, 52.178, 7.5])
def test_a_season_of_broken_length_is_stretched_to_whole_slots(length):
    n = int(5.3 * length)
    source, back = stretch(n, length)
    np.testing.assert_array_equal(source[back], np.arange(n))
    assert (np.diff(source) >= 0).all() and source[-1] == n - 1 and source[0] <= 1
    slots = slot_numbers(np.arange(-n, n), length)
    assert np.diff(slots).min() >= 1 and np.diff(slots).max() <= 2
    years = slot_numbers(np.array([0, round(4 * length)]), length)
    assert abs(np.diff(years)[0] - 4 * np.ceil(length)) <= 1


def test_a_broken_length_is_followed_where_a_whole_one_drifts():
    length, time = 52.5, 52 * 30
    values = np.sin(2 * np.pi * np.arange(time)[:, None] / length) ** 3
    left = [np.abs(values - sum(stl(values, SeasonPlan.of(m, Loess(1001, 0)), 5).seasonal)).max() for m in (length, 52)]
    assert left[0] < 0.1 < 10 * left[0] < left[1] * 2
