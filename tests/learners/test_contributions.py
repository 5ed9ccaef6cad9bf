"""What each feature adds to an answer, and gains: the same promises of every learner of numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.errors import LearnerError
from forecastml.learners.contributions import of_exponential
from forecastml.learners.registry import get_learner

from .tabled import again, fitted, table

NUMBERS = ("ridge", "lasso_lars", "elastic_net", "sgd", "knn", "decision_tree", "gradient_boosting", "light_gbm")
LINEAR = ("ridge", "lasso_lars", "elastic_net", "sgd")
FORESTS = ("random_forest", "extreme_random_trees")
CASES = [(name, {}) for name in (*NUMBERS, "dummy")] + [(name, {"rounds": 12}) for name in FORESTS]
CASES += [("light_gbm", {"objective": "tweedie"}), ("light_gbm", {"objective": "poisson"})]
CASES += [("gradient_boosting", {"loss": "poisson"}), ("decision_tree", {"loss": "squared"})]
CASES += [("ridge", {"scaler": kind}) for kind in ("min_max", "pca", "normalizer", "none")]


@pytest.mark.parametrize(("name", "params"), CASES)
def test_they_sum_to_the_answer(name, params):
    rows = table()
    rows = replace(rows, y=np.maximum(rows.y, 0.0)) if params.keys() & {"objective", "loss"} else rows
    for model in (fitted(name, rows, **params), again(name, fitted(name, rows, **params))):
        parts = model.contributions(rows.x)
        assert parts.shape == (600, 6) and parts.dtype == np.float64
        np.testing.assert_allclose(parts.sum(axis=1), model.predict(rows.x), rtol=1e-9, atol=1e-9)
        assert model.gains().shape == (5,)
        assert (model.gains() >= 0).all()


@pytest.mark.parametrize("name", [name for name in (*NUMBERS, *FORESTS) if name != "knn"])
def test_the_features_that_count_have_the_largest_ones(name):
    rows = table()
    model = fitted(name, rows, **({"rounds": 30, "num_leaves": 24} if name in FORESTS else {}))
    parts, gains = np.abs(model.contributions(rows.x)).mean(axis=0)[:5], model.gains()
    for told in (parts, gains):
        assert set(np.argsort(-told)[:2]) <= {0, 1, 3}
        assert told[4] < 0.3 * told[0]


@pytest.mark.parametrize("name", LINEAR)
def test_a_row_of_means_is_the_base(name):
    rows = replace(table(), nominal=(), categorical=())
    mean = np.nanmean(rows.x.astype(float), axis=0).astype(np.float32)[None]
    parts = fitted(name, rows).contributions(mean)
    np.testing.assert_allclose(parts[0, :2], 0.0, atol=1e-5)


def test_of_classes_they_are_refused():
    rows = table(classes=3)
    for name in ("sgd", "knn", "decision_tree", "gradient_boosting", "light_gbm", "random_forest", "dummy"):
        with pytest.raises(LearnerError, match="not of classes"):
            fitted(name, rows).contributions(rows.x)


def test_shares_of_an_exponential_are_in_proportion():
    parts = np.array([[1.0, 2.0, -0.5], [0.0, 0.0, 0.7], [-1.0, 1.0, 0.0]])
    found = of_exponential(parts)
    np.testing.assert_allclose(found.sum(axis=1), np.exp(parts.sum(axis=1)))
    np.testing.assert_allclose(found[0, 1], 2 * found[0, 0])
    np.testing.assert_allclose(found[2, :2], [-1.0, 1.0])


def test_a_tree_tells_the_changes_of_means_on_the_way():
    rows = replace(table(), x=table().x[:, :1], y=(table().x[:, 0] > 0) * 4.0, names=("a",), categorical=(), nominal=())
    model = fitted("decision_tree", rows, loss="squared")
    share = (rows.x[:, 0] > 0).mean()
    expected = np.where(rows.x[:, 0] > 0, 4 - 4 * share, -4 * share)
    np.testing.assert_allclose(model.contributions(rows.x), np.column_stack([expected, np.full(600, 4 * share)]))
    assert get_learner("decision_tree").search_space["num_leaves"].whole
