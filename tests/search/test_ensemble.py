"""Greedy selection, shrinkage and the combination of predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.metrics import get_metric
from forecastml.protocols import Truth
from forecastml.search.ensemble import Greedy, OutOfFold, Weights, combine, cross_fitted, group_weights, shrunk


def make_truth(y, series, folds=1):
    y = np.asarray(y, float)
    n = len(y)
    return Truth(
        y=y,
        weight=np.ones(n),
        series=np.asarray(series),
        group=np.asarray(series),
        fold=np.repeat(np.arange(folds), n // folds),
        step=np.tile(np.arange(n // folds), folds) % (n // folds),
        scales={
            name: np.ones(n) for name in ("seasonal_error", "seasonal_squared_error", "range", "log_range", "naive2")
        },
    )


def random_oof(seed, models=4, series=6, steps=3, folds=3, missing=0.0):
    rng = np.random.default_rng(seed)
    n = series * steps
    y = rng.normal(size=n * folds)
    truth = make_truth(y, np.tile(np.repeat(np.arange(series), steps), folds), folds)
    values = y + rng.normal(size=(models, n * folds)) * rng.uniform(0.5, 2, size=(models, 1))
    values[rng.random(values.shape) < missing] = np.nan
    return OutOfFold(values[:, :, None], np.zeros((n * folds, 1)), ("mean",), truth, get_metric("mae")), series


def test_the_best_of_one_model_is_that_model():
    oof, n = random_oof(0, models=1)
    weights = group_weights(oof, n, Greedy())
    assert np.array_equal(weights.groups, np.ones((n, 1)))


def test_two_models_with_opposite_errors_share_the_weight():
    truth = make_truth([0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0])
    oof = np.array([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]])[:, :, None]
    weights = Greedy().select(oof, ("mean",), truth, get_metric("rmse"))
    assert weights == pytest.approx([0.5, 0.5])


def test_golden_sequence_of_the_greedy_walk():
    """Two thirds of one and a third of the other is the best mixture within three rounds."""
    y = np.zeros(3)
    oof = np.array([[1.0, 1.0, 1.0], [-2.0, -2.0, -2.0]])[:, :, None]
    weights = Greedy(rounds=3, start=1).select(oof, ("mean",), make_truth(y, [0, 0, 0]), get_metric("mae"))
    assert weights == pytest.approx([2 / 3, 1 / 3])


@given(seed=st.integers(0, 10_000), models=st.integers(1, 6), missing=st.sampled_from([0.0, 0.2]))
@settings(max_examples=40, deadline=None)
def test_never_worse_than_the_best_member(seed, models, missing):
    oof, n = random_oof(seed, models=models, missing=missing)
    weights = group_weights(oof, n, Greedy())
    filled = np.where(np.isnan(oof.values), oof.fallback, oof.values)
    mixture = combine(oof.values, weights.groups[oof.truth.group].T, oof.fallback)
    assert oof.loss(mixture) <= oof.loss(filled).min() + 1e-12
    assert weights.groups.sum(axis=1) == pytest.approx(np.ones(n))
    assert (weights.groups >= 0).all()


def test_a_group_alone_has_the_weights_it_has_among_others():
    oof, n = random_oof(3, series=20)
    among = Greedy().select_groups(oof, oof.truth.group, n)
    for g in (0, 7, 19):
        rows = oof.truth.group == g
        alone = Greedy().select_groups(oof.rows(rows), np.zeros(rows.sum(), np.int64), 1)
        assert np.array_equal(alone[0], among[g])


def test_a_group_without_rows_takes_the_pooled_weights():
    oof, n = random_oof(4)
    own = Greedy().select_groups(oof, oof.truth.group, n + 1)
    assert np.isnan(own[n]).all()
    assert np.array_equal(shrunk(own, np.array([0.1, 0.2, 0.3, 0.4]), 0.5)[n], [0.1, 0.2, 0.3, 0.4])


def test_a_prior_fixes_pooled_weights_and_shrinkage():
    oof, n = random_oof(5, models=3)
    given_weights = Weights(np.array([1.0, 0.0, 0.0]), np.ones((1, 3)), 0.25)
    weights = group_weights(oof, n, Greedy(), given_weights)
    own = Greedy().select_groups(oof, oof.truth.group, n)
    assert weights.groups == pytest.approx(0.75 * given_weights.pooled + 0.25 * own)


def test_groups_that_differ_get_weights_of_their_own():
    """Model 0 is right for half of the series, model 1 for the other half: shrinkage must go all the way."""
    series, steps, folds = 10, 4, 3
    ids = np.tile(np.repeat(np.arange(series), steps), folds)
    y = np.random.default_rng(0).normal(size=len(ids))
    right = np.stack([np.where(ids % 2 == 0, y, y + 5), np.where(ids % 2 == 0, y + 5, y)])
    oof = OutOfFold(right[:, :, None], np.zeros((len(y), 1)), ("mean",), make_truth(y, ids, folds), get_metric("mae"))
    weights = group_weights(oof, series, Greedy())
    assert weights.shrinkage == 1.0
    assert np.array_equal(weights.groups[::2], np.tile([1.0, 0.0], (5, 1)))


def test_cross_fitted_values_of_a_fold_do_not_depend_on_its_truth():
    oof, n = random_oof(6, folds=3)
    weights = group_weights(oof, n, Greedy())
    before = cross_fitted(oof, weights, n, Greedy(), None)
    held = oof.truth.fold == 1
    y = np.where(held, 1e9, oof.truth.y)
    poisoned = OutOfFold(
        oof.values, oof.fallback, oof.outputs, type(oof.truth)(**{**oof.truth.__dict__, "y": y}), oof.metric
    )
    after = cross_fitted(poisoned, weights, n, Greedy(), None)
    assert np.array_equal(before[held], after[held])


def test_combine_renormalises_over_the_models_that_have_a_value():
    values = np.array([[[1.0], [np.nan], [np.nan]], [[3.0], [3.0], [np.nan]]])
    weights = np.array([[0.25] * 3, [0.75] * 3])
    assert combine(values, weights, np.full((3, 1), 9.0)).ravel() == pytest.approx([2.5, 3.0, 9.0])
