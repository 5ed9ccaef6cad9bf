from __future__ import annotations

import inspect

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import forecastml
from forecastml.datasets import store_sales
from forecastml.errors import ConfigError, DataError, FutureError

TABLE = store_sales(stores=1, items=3, days=100)
LAST = TABLE["date"].max()
NEXT = store_sales(stores=1, items=3, days=107).query("date > @LAST")


def forecaster(**changes) -> forecastml.AutoForecaster:
    settings = {"horizon": 7, "target": "sales", "time": "date", "series": ["store", "item"], "preset": "fast"}
    return forecastml.AutoForecaster(**settings | changes)


@pytest.fixture(scope="module")
def fitted() -> forecastml.AutoForecaster:
    return forecaster().fit(TABLE)


def test_parameters_are_those_of_the_task_with_the_same_defaults():
    of_task = inspect.signature(forecastml.Forecasting).parameters
    of_door = inspect.signature(forecastml.AutoForecaster).parameters
    assert set(of_task) < set(of_door)
    defaults = {name: parameter.default for name, parameter in of_task.items() if name != "horizon"}
    assert {name: of_door[name].default for name in defaults} == defaults


def test_every_parameter_of_the_run_reaches_the_config(monkeypatch):
    seen = {}

    def fit(data, task, config):
        seen.update(task=task, config=config)
        raise InterruptedError

    monkeypatch.setattr("forecastml.estimators.fit", fit)
    with pytest.raises(InterruptedError):
        forecaster(seconds=9, seed=4, allow=["naive", "drift"], block="drift", workers=2, gap=1).fit(TABLE)
    expected = {"seconds": 9, "seed": 4, "allow": ["naive", "drift"], "block": "drift", "workers": 2}
    assert seen["config"] == forecastml.Config.preset("fast", **expected)
    assert (seen["task"].gap, seen["task"].series) == (1, ("store", "item"))


def test_it_keeps_the_conventions_of_scikit_learn():
    one = forecaster(metric="rmse", series=["item"])
    assert clone(one).get_params() == one.get_params()
    assert one.set_params(horizon=3).get_params()["horizon"] == 3
    assert one.series == ["item"], "what is given is stored as it is"
    wrong = forecaster(horizon=-1, metric="luck")
    with pytest.raises(ConfigError):
        wrong.fit(TABLE)


@pytest.mark.parametrize("method", ["predict", "predict_quantiles", "score"])
def test_before_fit_there_is_nothing(method):
    arguments = [NEXT] if method == "score" else []
    with pytest.raises(NotFittedError):
        getattr(forecaster(), method)(*arguments)


def test_fit_returns_itself_and_leaves_the_table_alone(fitted):
    table = TABLE.copy()
    one = forecaster(allow=["naive"])
    assert one.fit(table) is one
    assert table.equals(TABLE)
    assert isinstance(fitted.model_, forecastml.FittedModel)
    assert fitted.leaderboard_.equals(fitted.model_.leaderboard())


def test_predictions_are_those_of_the_model(fitted):
    whole = fitted.model_.forecast()
    assert fitted.predict_quantiles().equals(whole)
    assert fitted.predict().equals(whole[["store", "item", "date", "mean"]])
    assert len(fitted.predict(horizon=2)) == 3 * 2
    assert fitted.predict_quantiles(quantiles=[0.25]).columns.tolist() == ["store", "item", "date", "mean", "0.25"]


def test_score_is_one_minus_wape(fitted):
    joined = fitted.predict().merge(NEXT, on=["store", "item", "date"])
    wape = (joined["mean"] - joined["sales"]).abs().sum() / joined["sales"].abs().sum()
    assert fitted.score(NEXT) == pytest.approx(1 - wape, abs=1e-12)
    some = NEXT[(NEXT["item"] == "item_02") & (NEXT["date"] <= LAST + np.timedelta64(3, "D"))]
    joined = fitted.predict().merge(some, on=["store", "item", "date"])
    wape = (joined["mean"] - joined["sales"]).abs().sum() / joined["sales"].abs().sum()
    assert len(joined) == 3
    assert fitted.score(some) == pytest.approx(1 - wape, abs=1e-12)


def test_score_after_a_gap_leaves_the_gap_out():
    one = forecaster(gap=2, horizon=5, allow=["naive", "seasonal_naive"]).fit(TABLE)
    joined = one.predict().merge(NEXT, on=["store", "item", "date"])
    assert len(joined) == 3 * 5
    wape = (joined["mean"] - joined["sales"]).abs().sum() / joined["sales"].abs().sum()
    assert one.score(NEXT) == pytest.approx(1 - wape, abs=1e-12)


def test_score_needs_a_target_to_compare_with(fitted):
    with pytest.raises(DataError, match="sales"):
        fitted.score(NEXT.drop(columns="sales"))
    with pytest.raises(FutureError, match="item_09"):
        fitted.score(NEXT[NEXT["item"] == "item_01"].assign(item="item_09"))


def test_y_is_refused_because_the_target_is_a_column(fitted):
    with pytest.raises(ConfigError, match="sales"):
        forecaster().fit(TABLE, TABLE["sales"])
    with pytest.raises(ConfigError, match="sales"):
        fitted.score(NEXT, NEXT["sales"])


#: Weights also decide which rows fall into which fold, so that weighing a row twice is not the same as having it twice.
NOT_EXPECTED = ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data")


@parametrize_with_checks(
    [forecastml.AutoClassifier(preset="fast", n_folds=2), forecastml.AutoRegressor(preset="fast", n_folds=2)],
    expected_failed_checks=lambda estimator: dict.fromkeys(NOT_EXPECTED, "folds are drawn by rows"),
)
def test_estimators_of_rows_pass_scikit_learns_checks(estimator, check):
    check(estimator)


def test_rows_behind_the_doors_of_scikit_learn():
    X, y = load_wine(return_X_y=True)
    names = np.array(["barolo", "grignolino", "barbera"])[y]
    classifier = forecastml.AutoClassifier(preset="fast").fit(X, names)
    assert classifier.score(X, names) > 0.95
    assert classifier.predict_proba(X).shape == (178, 3)
    assert "ensemble" in set(classifier.leaderboard_["learner"])
    X, y = load_diabetes(return_X_y=True)
    regressor = forecastml.AutoRegressor(preset="fast").fit(X, y, sample_weight=np.ones(len(y)))
    assert 0.4 < regressor.score(X, y) < 1
