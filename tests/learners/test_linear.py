"""Linear learners, scalers and neighbours against scikit-learn's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import linear_model, neighbors, preprocessing
from sklearn.decomposition import PCA

from forecastml.errors import ConfigError
from forecastml.learners.design import Design
from forecastml.learners.linear import PENALTIES, LinearModel
from forecastml.learners.ranges import Range
from forecastml.learners.scaling import KINDS, Scaling

from .tabled import again, fitted, table


def numbers(weighted=False):
    """Rows without holes and codes."""
    rows = table(weighted=weighted)
    use = [0, 1, 4]
    return replace(rows, x=rows.x[:, use], names=("a", "b", "noise"), categorical=(), nominal=())


def standardised(rows):
    return preprocessing.StandardScaler().fit_transform(rows.x.astype(float))


@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_chooses_and_answers_as_scikit_learn(weighted):
    rows = numbers(weighted)
    use = slice(None) if rows.weight is None else rows.weight > 0
    part = replace(rows, x=rows.x[use], y=rows.y[use])
    weight = None if rows.weight is None else rows.weight[use] / rows.weight[use].mean()
    x = standardised(part)
    theirs = linear_model.RidgeCV([len(x) * penalty for penalty in PENALTIES]).fit(x, part.y, weight)
    np.testing.assert_allclose(fitted("ridge", rows).predict(part.x), theirs.predict(x), rtol=1e-9)
    fixed = linear_model.Ridge(0.3 * len(x)).fit(x, part.y, weight)
    np.testing.assert_allclose(fitted("ridge", rows, alpha=0.3).predict(part.x), fixed.predict(x), rtol=1e-9)


def test_least_angles_answer_as_scikit_learn():
    rows = numbers()
    x, y = standardised(rows), (rows.y - rows.y.mean()) / rows.y.std()
    theirs = linear_model.LassoLars(alpha=0.1).fit(x, y).predict(x) * rows.y.std() + rows.y.mean()
    np.testing.assert_allclose(fitted("lasso_lars", rows, alpha=0.1).predict(rows.x), theirs, rtol=1e-9)
    chosen = linear_model.LassoLarsIC(criterion="bic").fit(x, y).predict(x) * rows.y.std() + rows.y.mean()
    ours = fitted("lasso_lars", rows, criterion="bic").predict(rows.x)
    assert np.abs(ours - chosen).max() < 0.05 * rows.y.std()


def test_elastic_net_answers_as_scikit_learn():
    rows = numbers()
    x, y = standardised(rows), (rows.y - rows.y.mean()) / rows.y.std()
    theirs = linear_model.ElasticNet(alpha=0.05, l1_ratio=0.7).fit(x, y).predict(x) * rows.y.std() + rows.y.mean()
    ours = fitted("elastic_net", rows, alpha=0.05, l1_ratio=0.7).predict(rows.x)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_sgd_finds_means_or_medians():
    rows = numbers()
    noise = np.random.default_rng(1).exponential(size=600) * 5
    rows = replace(rows, y=3.0 * rows.x[:, 0] + noise)
    centre = np.zeros((1, 3), dtype=np.float32)
    assert abs(fitted("sgd", rows, "mae").predict(centre)[0] - 5 * np.log(2)) < 0.6
    assert abs(fitted("sgd", rows, "rmse").predict(centre)[0] - 5.0) < 0.6
    with pytest.raises(ConfigError, match="classes have a loss"):
        fitted("sgd", table(classes=2), loss="squared")


def test_one_wild_row_does_not_throw_sgd_off():
    rows = numbers()
    x = rows.x.copy()
    x[5] = 1e4
    for metric in ("mae", "rmse"):
        found = fitted("sgd", replace(rows, x=x), metric, scaler="robust").predict(rows.x)
        assert np.corrcoef(found, rows.x[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize("classes", [2, 4])
def test_sgd_tells_classes(classes):
    rows = table(classes=classes, n=1500)
    model = fitted("sgd", rows)
    found = model.predict(rows.x)
    assert (found.argmax(axis=1) == rows.y).mean() > (0.9 if classes == 2 else 0.6)
    np.testing.assert_array_equal(again("sgd", model).predict(rows.x), found)


THEIRS = {
    "standard": preprocessing.StandardScaler(),
    "min_max": preprocessing.MinMaxScaler(),
    "max_abs": preprocessing.MaxAbsScaler(),
    "robust": preprocessing.RobustScaler(),
    "normalizer": preprocessing.Normalizer(),
}


@pytest.mark.parametrize("kind", THEIRS)
def test_scalers_scale_as_scikit_learn(kind):
    x = np.random.default_rng(0).normal(2, 3, size=(50, 4))
    ours = Scaling.of(kind, x)
    np.testing.assert_allclose(ours.transform(x), THEIRS[kind].fit_transform(x), rtol=1e-12)


def test_components_are_those_of_scikit_learn():
    x = np.random.default_rng(0).normal(size=(80, 2)) @ np.random.default_rng(1).normal(size=(2, 5))
    found = Scaling.of("pca", x)
    assert found.width == 2
    theirs = PCA(2).fit_transform(preprocessing.StandardScaler().fit_transform(x))
    np.testing.assert_allclose(np.abs(found.transform(x)), np.abs(theirs), rtol=1e-8)
    assert Scaling.of("truncated_svd", x + 100).width == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_scaler_serves_every_learner_and_comes_back(kind):
    rows, new = table(n=400), table(seed=5, n=300).x
    for name in ("ridge", "lasso_lars", "elastic_net", "sgd", "knn"):
        model = fitted(name, rows, scaler=kind)
        found = model.predict(new)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(again(name, model).predict(new), found)
        np.testing.assert_array_equal(model.predict(new[7:8]), found[7:8])


def test_what_is_missing_is_marked_once():
    rows = table()
    x = rows.x.copy()
    x[:50, :2] = np.nan
    design = Design.of(replace(rows, x=x))
    names = design.names(rows.names)
    assert names[:3] == ("a", "a_WASNULL", "b") and "b_WASNULL" not in names and "c_WASNULL" in names
    assert sum(name.startswith("code=") for name in names) == 9
    matrix = design.matrix(x)
    assert np.isfinite(matrix).all()
    np.testing.assert_allclose(matrix[:50, 0], np.nanmean(x[:, 0].astype(float)))
    np.testing.assert_array_equal(matrix[:, 1], np.isnan(x[:, 0]))


def test_marks_are_used():
    rows = table()
    x = np.where(np.random.default_rng(0).random((600, 1)) < 0.5, np.nan, rows.x[:, :1]).astype(np.float32)
    rows = replace(rows, x=x, y=10.0 * np.isnan(x[:, 0]), names=("a",), categorical=(), nominal=())
    for name in ("ridge", "lasso_lars", "elastic_net", "sgd", "knn"):
        assert np.abs(fitted(name, rows).predict(rows.x) - rows.y).mean() < 1.0


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_neighbours_answer_as_scikit_learn(weights):
    rows, new = numbers(), numbers()
    new = new.x + np.float32(0.01)
    scaler = preprocessing.StandardScaler().fit(rows.x.astype(float))
    theirs = neighbors.KNeighborsRegressor(6, weights=weights).fit(scaler.transform(rows.x.astype(float)), rows.y)
    ours = fitted("knn", rows, "rmse", neighbours=6, weights=weights)
    np.testing.assert_allclose(ours.predict(new), theirs.predict(scaler.transform(new.astype(float))), rtol=1e-6)
    median = fitted("knn", rows, "mae", neighbours=6, weights="uniform").predict(new)
    near = theirs.kneighbors(scaler.transform(new.astype(float)), return_distance=False)
    np.testing.assert_allclose(median, np.median(rows.y[near], axis=1), rtol=1e-9)


def test_the_first_form_of_a_state_is_read():
    design = {"source": [0, 1], "level": [None, 2.0], "mean": [1.0, 0.5], "spread": [2.0, 0.5]}
    arrays = {"coefficients": np.array([[3.0], [1.0]]), "intercepts": np.array([10.0])}
    model = LinearModel.restore(arrays, {"design": design, "share": False})
    x = np.float32([[3, 2], [np.nan, 1], [np.inf, np.nan]])
    np.testing.assert_array_equal(model.predict(x), [10 + 3 + 1, 10 - 1, 10 - 1])


def test_wrong_values_are_named():
    with pytest.raises(ConfigError, match="one of standard, min_max"):
        fitted("ridge", numbers(), scaler="minmax")
    with pytest.raises(ConfigError, match="low <= start <= high"):
        Range(1, 2, 3)
