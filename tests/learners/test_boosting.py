"""LightGBM's objectives and its forests, by answers that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.errors import ConfigError, LearnerError
from forecastml.learners.boosting import Trees
from forecastml.protocols import Facts

from .tabled import again, fitted, table


def blind(y):
    """Rows whose features say nothing."""
    rows = table(n=len(y))
    return replace(rows, y=np.asarray(y, dtype=float), categorical=(), nominal=())


SKEWED = np.random.default_rng(3).exponential(size=2000) ** 2
FLAT = {"num_leaves": 2, "rounds": 40, "min_data_in_leaf": 400}


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_a_quantile_has_its_share_below(level):
    rows = table(n=3000)
    found = fitted("light_gbm", rows, objective="quantile", alpha=level).predict(rows.x)
    assert abs((rows.y <= found).mean() - level) < 0.05


def test_objectives_settle_at_what_they_minimise():
    rows = blind(SKEWED)
    mean, median = SKEWED.mean(), np.median(SKEWED)
    for objective, expected in {"l2": mean, "l1": median, "poisson": mean, "tweedie": mean}.items():
        found = fitted("light_gbm", rows, objective=objective, **FLAT).predict(rows.x).mean()
        assert abs(found - expected) < 0.12 * expected
    by_metric = [fitted("light_gbm", rows, metric=metric, **FLAT).predict(rows.x).mean() for metric in ("mae", "rmse")]
    assert by_metric[0] < 0.6 * by_metric[1]


def test_logarithmic_objectives_are_never_negative_and_refuse_what_is():
    rows = table()
    low = replace(rows, y=np.maximum(rows.y - 6, 0.0))
    assert (fitted("light_gbm", low, objective="tweedie", tweedie_variance_power=1.2).predict(rows.x) > 0).all()
    for objective in ("tweedie", "poisson"):
        with pytest.raises(LearnerError, match="nowhere below 0"):
            fitted("light_gbm", rows, objective=objective)
        with pytest.raises(ConfigError, match="boosting=gbdt"):
            fitted("random_forest", low, objective=objective)
        zero = fitted("light_gbm", replace(low, y=np.zeros(600)), objective=objective)
        np.testing.assert_array_equal(zero.predict(rows.x), 0.0)


@pytest.mark.parametrize("name", ["random_forest", "extreme_random_trees"])
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_forests_learn_and_come_back_from_their_state(name, classes):
    rows, new = table(n=1500, classes=classes), table(n=1500, seed=1, classes=classes)
    model = fitted(name, rows, "rmse")
    found = model.predict(new.x)
    np.testing.assert_array_equal(again(name, model).predict(new.x), found)
    if classes:
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
        assert (found.argmax(axis=1) == new.y).mean() > 0.75
        # What they say is likely comes true as often as they say.
        sure = found.max(axis=1) > 0.8
        assert sure.sum() > 100 and (found.argmax(axis=1) == new.y)[sure].mean() > 0.85
    else:
        assert np.mean((found - new.y) ** 2) < 0.35 * new.y.var()


def test_a_forest_is_a_way_of_boosting():
    rows = table()
    one, other = fitted("light_gbm", rows, boosting="rf"), fitted("random_forest", rows)
    np.testing.assert_array_equal(one.predict(rows.x), other.predict(rows.x))
    assert not np.array_equal(other.predict(rows.x), fitted("extreme_random_trees", rows).predict(rows.x))


@pytest.mark.parametrize("name", ["random_forest", "extreme_random_trees"])
def test_a_forest_that_cannot_split_answers_the_mean(name):
    rows = table(n=50)
    same = replace(rows, x=np.ones((50, 2), dtype=np.float32), names=("a", "b"), categorical=(), nominal=())
    model = fitted(name, same)
    np.testing.assert_allclose(model.predict(same.x), rows.y.mean(), rtol=0.1)
    np.testing.assert_allclose(model.contributions(same.x).sum(axis=1), model.predict(same.x), rtol=1e-9)


@pytest.mark.parametrize("name", ["light_gbm", "random_forest", "extreme_random_trees"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_rows_is_enough(name, n):
    rows = table(n=n)
    found = fitted(name, rows).predict(rows.x)
    assert (found >= rows.y.min() - 1e-5).all() and (found <= rows.y.max() + 1e-5).all()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"num_leafs": 4}, "did you mean 'num_leaves'"),
        ({"num_leaves": 1}, "an integer from 2"),
        ({"objective": "mape"}, "one of l1, l2"),
        ({"learning_rate": "fast"}, "a number from"),
        ({"bagging_freq": True}, "an integer from 0"),
    ],
)
def test_wrong_parameters_are_named(params, words):
    with pytest.raises(ConfigError, match=words):
        fitted("light_gbm", table(n=3), **params)


def test_classes_have_their_own_objective():
    with pytest.raises(ConfigError, match="classes have one of their own"):
        fitted("light_gbm", table(classes=2), objective="l1")


def test_codes_are_split_natively():
    rows = table(n=2000)
    only = replace(rows, x=rows.x[:, 3:4], names=("code",), categorical=(0,), nominal=(0,))
    answers = fitted("light_gbm", only, "rmse", rounds=200).predict(np.arange(9, dtype=np.float32)[:, None])
    means = np.array([rows.y[rows.x[:, 3] == code].mean() for code in range(9)])
    np.testing.assert_allclose(answers, means, atol=0.3)


def test_the_first_form_of_a_state_is_read():
    rows = table(classes=2)
    model = fitted("light_gbm", rows)
    old = Trees.restore({"text": model.texts[0], "binary": True})
    np.testing.assert_array_equal(old.predict(rows.x), model.predict(rows.x))


@pytest.mark.parametrize("name", ["light_gbm", "random_forest", "gradient_boosting", "sgd", "knn", "elastic_net"])
def test_rows_have_several_sets_to_try(name):
    from forecastml.learners.registry import get_learner

    learner = get_learner(name)
    space = learner.space(Facts("regression", 1, 500, 500, 500, separable=False))
    assert len(space) > 1 and space[0] == {}
    assert set(learner.search_space) <= set(learner.parameters)
    for parameter, span in learner.search_space.items():
        for value in (span.low, span.start, span.high):
            assert not learner.parameters[parameter].fault(int(value) if span.whole else value)
