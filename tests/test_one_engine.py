"""Series and rows go through the very same search, ensemble, leaderboard and model."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

import forecastml as fm
from forecastml import automl
from forecastml.errors import ConfigError, DataError
from tests.tables import monthly

SEARCH = Path(fm.__file__).parent / "search"
#: One of each kind of what a balanced run tries on rows.
KINDS = fm.Config.preset("balanced", allow=("dummy", "ridge", "logistic", "light_gbm", "decision_tree"))


def test_the_search_knows_no_task():
    """No module of `search` imports a dataset, a task or a learner, or spells the name of a task."""
    for path in SEARCH.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        below = {"forecastml.data", "forecastml.learners", "forecastml.features", "forecastml.task"}
        assert not {m for m in imported if any(m.startswith(name) for name in below)}, path.name
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not texts & {"forecasting", "regression", "classification"}, path.name


def tables() -> dict[str, tuple[pd.DataFrame, fm.Forecasting | fm.Classification | fm.Regression]]:
    series = fm.Forecasting(horizon=6, series="unique_id")
    return {
        "forecasting": (monthly(), series),
        "classification": (load_wine(as_frame=True).frame, fm.Classification(target="target")),
        "regression": (load_diabetes(as_frame=True).frame, fm.Regression(target="target")),
    }


@pytest.mark.parametrize("name", ["forecasting", "classification", "regression"])
def test_every_task_takes_the_same_way(name, monkeypatch):
    """The same functions are called for every task, once each, and hand on what they got."""
    called = []
    for step in ("search", "group_weights", "cross_fitted"):
        function = getattr(automl, step)

        def recorded(*args, _function=function, _step=step, **choices):
            called.append((_step, _function.__module__))
            return _function(*args, **choices)

        monkeypatch.setattr(automl, step, recorded)
    table, task = tables()[name]
    model = fm.fit(table, task, fm.Config.preset("fast"))
    assert called == [
        ("search", "forecastml.search.loop"),
        ("group_weights", "forecastml.search.ensemble"),
        ("cross_fitted", "forecastml.search.ensemble"),
    ]
    assert isinstance(model, fm.FittedModel)
    board = model.leaderboard()
    assert board["learner"].tolist().count("ensemble") == 1
    assert np.isclose(board["weight"][board["learner"] != "ensemble"].sum(), 1.0)


@pytest.mark.parametrize(
    ("load", "task"),
    [
        (load_breast_cancer, fm.Classification(target="target")),
        (load_breast_cancer, fm.Classification(target="target", metric="accuracy")),
        (load_breast_cancer, fm.Classification(target="target", metric="auc_weighted")),
        (load_diabetes, fm.Regression(target="target")),
        (load_diabetes, fm.Regression(target="target", metric="r2")),
    ],
    ids=lambda value: getattr(value, "metric", None) or value.__name__,
)
def test_the_ensemble_is_never_worse_than_its_best_member(load, task):
    model = fm.fit(load(as_frame=True).frame, task, KINDS)
    board = model.leaderboard().set_index("learner")
    members = board[(board.index != "ensemble") & (board["state"] == "ok")]
    assert len(members) >= 3
    assert board.loc["ensemble", "loss"] <= members["loss"].min() + 1e-12
    assert members["loss"].min() < members.loc["dummy", "loss"]


def test_labels_come_back_as_they_were(tmp_path):
    table = load_wine(as_frame=True).frame
    for convert in (int, lambda k: f"wine {k}", lambda k: k > 0):
        labelled = table.assign(target=[convert(k) for k in table["target"]])
        model = fm.fit(labelled, fm.Classification(target="target"), "fast")
        found = model.predict(labelled.drop(columns="target"))
        assert set(found["prediction"]) == set(labelled["target"])
        assert (found["prediction"] == labelled["target"]).mean() > 0.95
        probabilities = found.drop(columns="prediction")
        assert list(probabilities) == [str(label) for label in sorted(set(labelled["target"]))]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
        model.save(tmp_path / "model")
        pd.testing.assert_frame_equal(fm.load(tmp_path / "model").predict(labelled), found)


def test_the_order_of_rows_and_workers_change_nothing():
    table = load_wine(as_frame=True).frame
    one = fm.fit(table, fm.Classification(target="target"), KINDS).predict(table)
    shuffled = table.sample(frac=1, random_state=1)
    config = replace(KINDS, workers=2)
    other = fm.fit(shuffled, fm.Classification(target="target"), config).predict(table)
    pd.testing.assert_frame_equal(one, other)


def test_a_group_under_a_prior_depends_on_its_own_rows_alone():
    table = load_diabetes(as_frame=True).frame
    table["clinic"] = np.where(np.arange(len(table)) % 3 == 0, "north", "south")
    task = fm.Regression(target="target", group="clinic")
    prior = fm.prepare(table, task, KINDS)
    both = fm.fit(table, task, KINDS, prior)
    north = table[table["clinic"] == "north"]
    alone = fm.fit(north, task, KINDS, prior)
    pd.testing.assert_frame_equal(alone.predict(north), both.predict(north))
    pd.testing.assert_frame_equal(both.take([0]).predict(north), both.predict(north))
    joined = alone.stack([fm.fit(table[table["clinic"] == "south"], task, KINDS, prior)])
    pd.testing.assert_frame_equal(joined.predict(table), both.predict(table))
    with pytest.raises(ConfigError, match="group north is in more than one"):
        alone.stack([both])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": ["red"] * 178}, "'color' hold"),
        ({"target": [None] * 178}, "holds no value"),
        ({"target": ["one"] * 178}, "one class only"),
    ],
)
def test_bad_tables_are_refused_with_the_remedy(change, message):
    table = load_wine(as_frame=True).frame.assign(**change)
    with pytest.raises(DataError, match=message):
        fm.fit(table, fm.Classification(target="target"), "fast")


def test_metrics_belong_to_tasks():
    with pytest.raises(ConfigError, match="cannot judge regression"):
        fm.Regression(metric="mase")
    with pytest.raises(ConfigError, match="cannot judge forecasting"):
        fm.Forecasting(horizon=1, metric="log_loss")


def test_labels_of_a_file_are_read_as_they_are_written(tmp_path):
    table = load_wine(as_frame=True).frame
    for texts, expected in ((["01", "1", "2"], ["01", "1", "2"]), (["7", "10", "9"], [7, 9, 10])):
        table.assign(target=[texts[k] for k in table["target"]]).to_csv(tmp_path / "t.csv", index=False)
        model = fm.fit(tmp_path / "t.csv", fm.Classification(target="target"), "fast")
        assert sorted(model.predict(tmp_path / "t.csv")["prediction"].unique()) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": lambda t: np.where(t["target"] > 0, "prediction", "no")}, "named 'prediction'"),
        ({"clinic": lambda t: [None, *["a"] * (len(t) - 1)]}, "'clinic' is empty in 1 rows"),
        ({"w": 0.0}, "0 in every row"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(change, message):
    table = load_wine(as_frame=True).frame.assign(clinic="a", w=1.0).assign(**change)
    with pytest.raises(DataError, match=message):
        fm.fit(table, fm.Classification(target="target", group="clinic", weight="w"), "fast")


def test_prediction_needs_the_features_alone():
    table = load_wine(as_frame=True).frame.assign(w=1.0)
    model = fm.fit(table, fm.Classification(target="target", weight="w"), "fast")
    bare = model.predict(table.drop(columns=["target", "w"]))
    odd = table.assign(w=np.nan, target="unknown")
    pd.testing.assert_frame_equal(model.predict(odd), bare)
    huge = table.assign(target=table["target"] + 2**60)
    assert set(fm.fit(huge, fm.Classification(target="target"), "fast").predict(huge)["prediction"]) == {
        2**60 + k for k in range(3)
    }
