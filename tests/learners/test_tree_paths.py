"""Contributions by the ways through trees: they add up, and agree with Shapley's values where these are plain."""

import lightgbm
import numpy as np
import pytest

from forecastml.learners.registry import get_learner
from forecastml.learners.rows import TrainingTable
from forecastml.learners.tree_paths import path_sums, path_tables
from forecastml.protocols import FitContext


def rows(seed=0, n=600):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 5)).astype(np.float32)
    x[:, 3] = random.integers(0, 6, n)
    x[random.random(x.shape) < 0.05] = np.nan
    y = np.nan_to_num(3 * x[:, 0] + np.sin(3 * x[:, 1])) + 2 * np.isin(x[:, 3], (1, 4)) + 10
    return TrainingTable(x, np.abs(y), None, tuple("abcde"), (3,), (3,))


@pytest.mark.parametrize(
    ("name", "params"),
    [("light_gbm", {}), ("light_gbm", {"objective": "poisson"}), ("random_forest", {}), ("extreme_random_trees", {})],
)
def test_they_add_up_to_the_answer_and_are_like_the_exact_ones(name, params):
    table = rows()
    model = get_learner(name).fit_table(table, {**params, "rounds": 20}, FitContext())
    quick, exact = model.quick_contributions(table.x), model.contributions(table.x)
    np.testing.assert_allclose(quick.sum(axis=1), model.predict(table.x), rtol=1e-9)
    np.testing.assert_allclose(quick[:, -1], exact[:, -1], rtol=1e-6)
    for strong in (0, 1, 3):
        assert np.corrcoef(quick[:, strong], exact[:, strong])[0, 1] > 0.9
    assert np.array_equal(quick[:7], model.quick_contributions(table.x[:7]))


def test_one_split_is_the_exact_value():
    x = np.arange(100.0)[:, None]
    booster = lightgbm.train(
        {"num_leaves": 2, "min_data_in_leaf": 1, "verbose": -1}, lightgbm.Dataset(x, (x[:, 0] > 60) * 1.0), 5
    )
    quick = path_sums(path_tables(booster.dump_model()["tree_info"], 1), booster.predict(x, pred_leaf=True), 1)
    np.testing.assert_allclose(quick, booster.predict(x, pred_contrib=True), atol=1e-12)


def test_a_tree_without_a_split_is_the_base():
    x = np.zeros((50, 2))
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, np.ones(50)), 3)
    quick = path_sums(path_tables(booster.dump_model()["tree_info"], 2), booster.predict(x, pred_leaf=True), 2)
    np.testing.assert_allclose(quick.sum(axis=1), booster.predict(x))
    assert not quick[:, :2].any()
