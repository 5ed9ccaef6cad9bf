"""Conformal intervals: coverage, order, shape, and what happens with few residuals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.search.intervals import (
    Conformal,
    empirical_quantiles,
    fit_pool,
    item_scale,
    out_of_fold_quantiles,
)

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def conformal(cube, in_sample=None):
    in_sample = np.ones(cube.shape[:2]) if in_sample is None else in_sample
    pool = fit_pool(cube, in_sample, 1)
    return Conformal(pool, item_scale(cube, in_sample[:, -1], pool.profile, pool.ratio), cube)


def test_coverage_of_new_draws_is_nominal_for_items_of_any_scale():
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(size=400))
    spread = scale[:, None, None] * np.sqrt(np.arange(1, 7))
    cube = (rng.normal(size=(400, 3, 6)) * spread).astype(np.float32)
    fresh = rng.normal(size=(400, 6)) * spread[:, 0]
    quantiles = conformal(cube, np.tile(scale[:, None], (1, 3))).quantiles(np.zeros((400, 6)), LEVELS)
    inside = (fresh >= quantiles[:, :, 0]) & (fresh <= quantiles[:, :, -1])
    assert inside.mean() == pytest.approx(0.8, abs=0.03)
    assert inside.mean(axis=0) == pytest.approx(np.full(6, 0.8), abs=0.08)


def test_items_that_are_always_foretold_exactly_narrow_nobody_elses_intervals():
    rng = np.random.default_rng(0)
    cube = rng.normal(size=(60, 3, 4)).astype(np.float32)
    constants = np.zeros((60, 3, 4), dtype=np.float32)
    alone = fit_pool(cube, np.ones((60, 3)), 1)
    among = fit_pool(np.concatenate([constants, cube]), np.ones((120, 3)), 1)
    assert among.equals(alone)


def test_skewed_residuals_give_asymmetric_intervals():
    rng = np.random.default_rng(1)
    cube = rng.exponential(size=(200, 3, 4)).astype(np.float32)
    quantiles = conformal(cube).quantiles(np.zeros((200, 4)), LEVELS)
    below, above = -quantiles[:, :, 0].mean(), quantiles[:, :, -1].mean()
    assert above > 3 * abs(below)


def test_out_of_fold_quantiles_cover_what_they_were_not_learned_from():
    rng = np.random.default_rng(2)
    cube = rng.standard_t(4, size=(300, 3, 5)).astype(np.float32)
    quantiles = out_of_fold_quantiles(np.zeros(cube.shape), cube, np.ones((300, 3)), 1, LEVELS)
    inside = (cube >= quantiles[..., 0]) & (cube <= quantiles[..., -1])
    assert inside.mean() == pytest.approx(0.8, abs=0.03)


def test_an_item_with_enough_residuals_uses_its_own():
    rng = np.random.default_rng(3)
    cube = np.full((2, 40, 2), np.nan, dtype=np.float32)
    cube[0] = rng.uniform(5, 6, size=(40, 2))
    cube[1, -3:] = rng.normal(size=(3, 2))
    quantiles = conformal(cube).quantiles(np.zeros((2, 2)), LEVELS)
    assert (quantiles[0] > 4.9).all()
    assert (quantiles[0] < 6.1).all()


def test_beyond_the_trained_steps_the_spread_keeps_growing():
    cube = np.random.default_rng(4).normal(size=(50, 3, 4)).astype(np.float32)
    quantiles = conformal(cube).quantiles(np.zeros((50, 12)), (0.1, 0.9))
    width = (quantiles[..., 1] - quantiles[..., 0]).mean(axis=0)
    assert (np.diff(width[3:]) > 0).all()


def test_an_item_alone_has_the_bits_it_has_among_others():
    rng = np.random.default_rng(5)
    cube = rng.normal(size=(30, 3, 5)).astype(np.float32)
    pool = fit_pool(cube, np.ones((30, 3)), 1)
    together = item_scale(cube, np.ones(30), pool.profile, pool.ratio)
    alone = [item_scale(cube[i : i + 1], np.ones(1), pool.profile, pool.ratio)[0] for i in range(30)]
    assert np.array_equal(together, alone)


@given(
    items=st.integers(1, 4),
    folds=st.integers(0, 3),
    steps=st.integers(1, 5),
    seed=st.integers(0, 999),
    levels=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_quantiles_are_finite_and_sorted_whatever_the_residuals(items, folds, steps, seed, levels):
    rng = np.random.default_rng(seed)
    cube = rng.normal(size=(items, folds, steps)).astype(np.float32)
    cube[rng.random(cube.shape) < 0.3] = np.nan
    in_sample = np.ones((items, max(folds, 1)))
    pool = fit_pool(cube if folds else np.full((items, 1, steps), np.nan), in_sample, 1)
    quantiles = Conformal(pool, item_scale(cube, in_sample[:, 0], pool.profile, pool.ratio), cube).quantiles(
        np.zeros((items, steps + 2)), sorted(levels)
    )
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_few_residuals_still_give_ordered_tails(n):
    values = np.sort(np.random.default_rng(n).normal(size=n))
    quantiles = empirical_quantiles(values, np.array([0.001, 0.1, 0.5, 0.9, 0.999]))
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles) >= 0).all()


def test_residuals_of_zero_give_intervals_of_no_width():
    quantiles = conformal(np.zeros((3, 3, 2), dtype=np.float32)).quantiles(np.full((3, 2), 5.0), LEVELS)
    assert quantiles == pytest.approx(np.full((3, 2, 5), 5.0), abs=1e-6)
