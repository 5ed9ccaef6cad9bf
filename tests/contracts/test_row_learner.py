"""What every registered learner of rows must do; a new one is picked up by its name and needs no code here."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecastml.budget import Deadline
from forecastml.data.schema import Schema
from forecastml.data.table import Table
from forecastml.errors import DeadlineExceeded
from forecastml.learners.registry import get_learner, learner_names
from forecastml.protocols import Facts, FitContext, Fitted, Learner

KINDS = {"regression": (), "classification": ("a", "b", "c"), "binary": ("no", "yes")}
CASES = [
    (name, kind)
    for name in learner_names()
    for kind in KINDS
    if kind.replace("binary", "classification") in get_learner(name).capabilities.tasks
]


@pytest.fixture(params=CASES, ids="-".join)
def case(request) -> tuple[Learner, tuple[str, ...]]:
    name, kind = request.param
    return get_learner(name), KINDS[kind]


def rows(classes: tuple[str, ...], n: int = 200, seed: int = 0, groups: int = 1) -> Table:
    """Four features (one with holes, one without meaning) and a target that follows two of them."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 4))
    signal = 2 * x[:, 0] - x[:, 1] + 0.3 * random.normal(size=n)
    y = np.digitize(signal, np.linspace(-1, 1, len(classes) - 1)).astype(float) if classes else 100 + 10 * signal
    x[random.random(n) < 0.1, 2] = np.nan
    return Table(
        x=x,
        y=y,
        group=random.integers(0, groups, n),
        group_keys=np.array([[str(g)] for g in range(groups)], dtype=object),
        schema=Schema(target="y", group=("store",), known=("a", "b", "c", "d")),
        classes=classes,
        kind="text" if classes else "",
    )


def context(classes: tuple[str, ...], **choices) -> FitContext:
    return FitContext(outputs=classes or ("mean",), metric="log_loss" if classes else "rmse", **choices)


def fit(learner: Learner, table: Table, **choices) -> Fitted:
    return learner.fit(table, {}, context(table.classes, **choices))


def predict(fitted: Fitted, table: Table) -> np.ndarray:
    return fitted.predict(table, 1, table.classes or ("mean",)).values


def same(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_array_equal(one, other)


def test_every_set_of_its_space_predicts_a_row_per_row(case):
    learner, classes = case
    table = rows(classes)
    task = "classification" if classes else "regression"
    space = learner.space(Facts(task, 1, 200, 200, 200, covariates=frozenset({"known"}), separable=False))
    assert space
    for params in space:
        assert json.loads(json.dumps(dict(params))) == dict(params)
        values = predict(learner.fit(table, params, context(classes)), table)
        assert values.shape == (200, len(classes) or 1)
        assert np.isfinite(values).all()


def test_probabilities_are_probabilities(case):
    learner, classes = case
    values = predict(fit(learner, rows(classes)), rows(classes, seed=1))
    if classes:
        assert (values >= 0).all()
        np.testing.assert_allclose(values.sum(axis=1), 1.0, rtol=1e-9)


def test_all_but_the_baseline_learn(case):
    learner, classes = case
    if learner.name == "dummy":
        pytest.skip("looks at no feature")
    new = rows(classes, seed=1)
    values, guess = (predict(fit(get_learner(name), rows(classes)), new) for name in (learner.name, "dummy"))
    if classes:
        assert (values.argmax(axis=1) == new.y).mean() > 0.75 > (guess.argmax(axis=1) == new.y).mean()
    else:
        assert np.abs(values[:, 0] - new.y).mean() < 0.5 * np.abs(guess[:, 0] - new.y).mean()


def test_a_class_that_a_part_lacks_keeps_its_column(case):
    learner, classes = case
    if not classes:
        pytest.skip("has no classes")
    table = rows(classes)
    part = table.select(table.y > 0)
    values = predict(fit(learner, part), table)
    assert np.isfinite(values).all()
    assert (values[:, 0] < 0.2).all()


def test_a_row_alone_equals_itself_among_others(case):
    learner, classes = case
    table = rows(classes)
    fitted = fit(learner, table)
    among = predict(fitted, table)
    for i in (0, 7, 199):
        same(predict(fitted, table.select(np.array([i]))), among[i : i + 1])
    order = np.random.default_rng(3).permutation(200)
    same(predict(fitted, table.select(order)), among[order])


def test_rows_without_target_teach_nothing(case):
    learner, classes = case
    table = rows(classes)
    more = replace(rows(classes, seed=2), y=np.full(200, np.nan))
    both = Table.stack([table, more])
    both = replace(both, group=np.zeros(400, np.int64), group_keys=table.group_keys)
    same(predict(fit(learner, both), table), predict(fit(learner, table), table))


def test_a_repeat_and_more_threads_change_nothing(case):
    learner, classes = case
    table = rows(classes)
    values = predict(fit(learner, table), table)
    same(predict(fit(learner, table), table), values)
    same(predict(fit(learner, table, threads=2), table), values)


def test_inputs_stay_as_they_are(case):
    learner, classes = case
    table = rows(classes)
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    predict(fit(learner, table), table)


def test_state_restores_an_equal_object(case):
    learner, classes = case
    table = rows(classes)
    fitted = fit(learner, table)
    arrays, values = fitted.state()
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        again = learner.restore(dict(loaded), json.loads(json.dumps(values, allow_nan=False)))
    same(predict(again, table), predict(fitted, table))


def test_take_and_stack_close_the_algebra_over_groups(case):
    learner, classes = case
    one, other = rows(classes, groups=2), rows(classes, seed=4, groups=3)
    left, right = fit(learner, one), fit(learner, other)
    both = left.stack([right])
    table = Table.stack([one, other])
    expected = np.concatenate([predict(left, one), predict(right, other)])
    same(predict(both, table), expected)
    groups = np.array([4, 0])
    kept = np.isin(table.group, groups)
    same(predict(both.take(groups), table.take(groups)), expected[kept])


def test_weights_are_honoured_where_declared(case):
    learner, classes = case
    table = rows(classes)
    heavy = replace(table, weight=np.where(table.x[:, 3] > 0, 1.0, 1e-3))
    changed = not np.array_equal(predict(fit(learner, table), table), predict(fit(learner, heavy), table))
    assert changed == learner.capabilities.weights


def test_a_passed_deadline_stops_the_fit(case):
    learner, classes = case
    with pytest.raises(DeadlineExceeded):
        fit(learner, rows(classes), deadline=Deadline(at=0.0))


def test_it_is_quiet(case, capfd):
    learner, classes = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(fit(learner, rows(classes)), rows(classes, seed=1))
        predict(fit(learner, rows(classes, n=5)), rows(classes, seed=1))
    assert capfd.readouterr() == ("", "")


CELLS = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from([0.0, 1e-12, 1e12]))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=40), seed=st.integers(0, 99))
def test_any_table_gets_finite_answers(case, cells, seed):
    learner, classes = case
    n = len(cells)
    random = np.random.default_rng(seed)
    y = random.integers(0, len(classes), n).astype(float) if classes else random.normal(size=n)
    table = replace(rows(classes, n=n), x=np.array(cells, dtype=float), y=y)
    table = replace(table, schema=replace(table.schema, known=("a", "b")))
    assert np.isfinite(predict(fit(learner, table), table)).all()
