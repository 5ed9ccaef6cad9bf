"""Trees of scikit-learn as arrays: they answer as scikit-learn does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from forecastml.budget import Deadline
from forecastml.errors import ConfigError, DeadlineExceeded, LearnerError
from forecastml.learners import trees
from forecastml.learners.forest import CategoryOrder
from forecastml.learners.registry import get_learner
from forecastml.protocols import FitContext

from .tabled import again, fitted, table


def plain(**choices):
    """Without codes, so that scikit-learn sees the same columns."""
    return replace(table(**choices), categorical=(), nominal=())


NEW = table(seed=9).x.copy()
NEW[::7, 0] = np.nan
NEW[1, :2] = (np.inf, -np.inf)
BOOSTING = {
    "rounds": 30,
    "num_leaves": 12,
    "min_data_in_leaf": 7,
    "feature_fraction": 0.6,
    "lambda_l2": 0.5,
    "max_bin": 127,
}
THEIRS = {
    "max_iter": 30,
    "max_leaf_nodes": 12,
    "min_samples_leaf": 7,
    "max_features": 0.6,
    "l2_regularization": 0.5,
    "max_bins": 127,
    "early_stopping": False,
    "random_state": 0,
}


@pytest.mark.parametrize("loss", ["absolute_error", "squared_error", "poisson", "quantile"])
@pytest.mark.parametrize("weighted", [False, True])
def test_boosting_answers_as_scikit_learn(loss, weighted):
    rows = plain(weighted=weighted)
    # Of weighted rows scikit-learn takes other quantiles; of fewer values than bins there are none to take.
    rows = replace(rows, y=np.maximum(rows.y, 0.0), x=np.round(rows.x, 1) if weighted else rows.x)
    use = slice(None) if rows.weight is None else rows.weight > 0
    weight = None if rows.weight is None else rows.weight[use] / rows.weight[use].mean()
    given = {"quantile": 0.8} if loss == "quantile" else {}
    theirs = HistGradientBoostingRegressor(loss=loss, **given, **THEIRS).fit(rows.x[use], rows.y[use], weight)
    alpha = {"alpha": 0.8} if loss == "quantile" else {}
    ours = fitted("gradient_boosting", rows, loss=loss.removesuffix("_error"), **alpha, **BOOSTING)
    for model in (ours, again("gradient_boosting", ours)):
        np.testing.assert_allclose(model.predict(NEW[2:]), theirs.predict(NEW[2:]), rtol=1e-10)
    assert np.isfinite(ours.predict(NEW)).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_boosting_tells_classes_as_scikit_learn(classes):
    rows = plain(classes=classes)
    theirs = HistGradientBoostingClassifier(**THEIRS).fit(rows.x, rows.y)
    ours = fitted("gradient_boosting", rows, **BOOSTING)
    for model in (ours, again("gradient_boosting", ours)):
        np.testing.assert_allclose(model.predict(NEW), theirs.predict_proba(NEW), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_tree_answers_as_scikit_learn(classes, weighted):
    rows = plain(classes=classes, weighted=weighted)
    kind = DecisionTreeClassifier if classes else DecisionTreeRegressor
    theirs = kind(max_depth=6, max_leaf_nodes=20, min_samples_leaf=4, random_state=0)
    use = slice(None) if rows.weight is None else rows.weight > 0
    theirs.fit(rows.x[use], rows.y[use], sample_weight=None if rows.weight is None else rows.weight[use])
    ours = fitted("decision_tree", rows, metric="rmse", max_depth=6, num_leaves=20, min_data_in_leaf=4)
    new = np.nan_to_num(NEW, posinf=1.0, neginf=1.0)
    new[:, 2] = NEW[:, 2]
    expected = theirs.predict_proba(new) if classes else theirs.predict(new)
    for model in (ours, again("decision_tree", ours)):
        np.testing.assert_allclose(model.predict(new), expected, rtol=1e-10, atol=1e-14)


def test_leaves_answer_with_medians_for_absolute_errors():
    rows = plain()
    theirs = DecisionTreeRegressor(max_leaf_nodes=9, min_samples_leaf=4, random_state=0).fit(rows.x, rows.y)
    leaf = theirs.apply(rows.x)
    expected = np.array([np.median(rows.y[leaf == one]) for one in leaf])
    found = fitted("decision_tree", rows, metric="mae", num_leaves=9, min_data_in_leaf=4).predict(rows.x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["decision_tree", "gradient_boosting"])
def test_codes_are_split_by_their_effects(name):
    rows = table()
    one_split = {"num_leaves": 2, "rounds": 1, "learning_rate": 1.0, "feature_fraction": 1.0}
    given = one_split if name == "gradient_boosting" else {"num_leaves": 2, "loss": "squared"}
    only = replace(rows, x=rows.x[:, 3:4], names=("code",), categorical=(0,), nominal=(0,))
    model = fitted(name, only, **given)
    answers = model.predict(np.arange(9, dtype=np.float32)[:, None])
    high = {1, 3, 6, 7}  # effects 3, 1, 2, 5: the best cut lies somewhere between neighbours in this order
    above = set(np.flatnonzero(answers > answers.mean()).tolist())
    assert above and (above <= high or high <= above)
    unseen = model.predict(np.array([[55.0], [np.nan]], dtype=np.float32))
    assert np.isfinite(unseen).all() and unseen[0] == unseen[1]


def test_codes_get_ranks_and_few_rows_stay_near_the_mean():
    rows = table(n=60)
    x = np.repeat(np.float32([[4], [7], [2]]), (30, 29, 1), axis=0)
    y = np.repeat([1.0, 3.0, 100.0], (30, 29, 1))
    order = CategoryOrder.of(replace(rows, x=x, y=y, categorical=(0,), names=("code",)))
    assert dict(zip(order.code.tolist(), order.rank.tolist(), strict=True)) == {4.0: 0.0, 7.0: 1.0, 2.0: 2.0}
    np.testing.assert_array_equal(order.ranked(np.float32([[7], [5], [np.nan]])), np.float32([[1], [np.nan], [np.nan]]))


def test_what_cannot_work_says_so():
    rows = table()
    with pytest.raises(LearnerError, match="nowhere below 0"):
        fitted("gradient_boosting", rows, loss="poisson")
    with pytest.raises(ConfigError, match="classes have a loss"):
        fitted("gradient_boosting", table(classes=2), loss="squared")
    with pytest.raises(ConfigError, match=r"'max_dept' is unknown; did you mean 'max_depth'"):
        fitted("decision_tree", rows, max_dept=3)
    with pytest.raises(ConfigError, match="an integer from 1"):
        fitted("gradient_boosting", rows, rounds=2.5)


def test_looks_at_the_clock_change_nothing(monkeypatch):
    rows = table()
    whole = fitted("gradient_boosting", rows, rounds=40).predict(rows.x)
    monkeypatch.setattr(trees, "ROUNDS_AT_ONCE", 15)
    np.testing.assert_array_equal(fitted("gradient_boosting", rows, rounds=40).predict(rows.x), whole)


def test_boosting_looks_at_the_clock_between_trees():
    looks = iter([1.0, 2.0])
    with pytest.raises(DeadlineExceeded):
        get_learner("gradient_boosting").fit_table(
            table(), {"rounds": 300}, FitContext(deadline=Deadline(1.5, clock=lambda: next(looks)))
        )
    assert next(looks, None) is None
