"""What every splitter of rows must do: each row is judged by what was learned from others, and groups are cut alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.schema import Schema
from forecastml.data.table import Table
from forecastml.errors import ConfigError
from forecastml.splits import Holdout, KFold

SPLITTERS = {
    "auto": KFold(),
    "five": KFold(5, seed=3),
    "stratified": KFold(4, stratified=True),
    "holdout": Holdout(),
    "stratified holdout": Holdout(0.25, stratified=True, seed=1),
}
every_splitter = pytest.mark.parametrize("splitter", SPLITTERS.values(), ids=SPLITTERS)


def table_of(rows: int, groups: int = 1, classes: int = 3, seed: int = 0) -> Table:
    random = np.random.default_rng(seed)
    return Table(
        x=random.normal(size=(rows, 2)),
        y=random.integers(0, classes, rows).astype(float),
        group=np.sort(random.integers(0, groups, rows)),
        group_keys=np.array([[str(g)] for g in range(groups)], dtype=object),
        schema=Schema("y", group=("g",), known=("a", "b"), weight="w"),
        weight=random.integers(1, 4, rows).astype(float),
        classes=tuple("abcdef"[:classes]),
        kind="text",
    )


@every_splitter
@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 80), groups=st.integers(1, 4), seed=st.integers(0, 50))
def test_a_row_is_never_among_those_it_is_judged_by(splitter, rows, groups, seed):
    table = table_of(rows, groups, seed=seed)
    judged = np.zeros(rows, int)
    for fold in splitter.folds(table):
        judged[fold.items] += 1
        assert len(fold.train) + len(fold.inputs) == rows
        learned, held = {tuple(row) for row in fold.train.x}, {tuple(row) for row in fold.inputs.x}
        assert held and learned and not learned & held
        np.testing.assert_array_equal(fold.inputs.x, table.x[fold.items])
        np.testing.assert_array_equal(fold.truth.y, table.y[fold.items])
        np.testing.assert_array_equal(fold.truth.weight, table.weight[fold.items])
        np.testing.assert_array_equal(fold.truth.group, table.group[fold.items])
    assert judged.max() <= 1
    if isinstance(splitter, KFold) and groups == 1:
        assert judged.all()


@every_splitter
def test_a_group_alone_is_cut_as_among_others(splitter):
    table = table_of(300, groups=3, seed=4)
    plan = splitter.resolve(table)
    together = plan.folds(table)
    for g in range(3):
        own = np.flatnonzero(table.group == g)
        for fold, alone in zip(together, plan.folds(table.take(np.array([g]))), strict=True):
            np.testing.assert_array_equal(own[alone.items], fold.items[np.isin(fold.items, own)])


def test_parts_are_of_equal_size_and_strata_in_their_share():
    table = table_of(97, classes=2, seed=2)
    rare = replace(table, y=(np.arange(97) < 9).astype(float))
    sizes = [len(fold.items) for fold in KFold(4).folds(rare)]
    assert max(sizes) - min(sizes) <= 1
    found = [int(fold.truth.y.sum()) for fold in KFold(4, stratified=True).folds(rare)]
    assert max(found) - min(found) <= 1


def test_the_number_of_folds_follows_the_rows_and_the_rarest_class():
    assert KFold().resolve(table_of(999)).n_folds == 10
    assert KFold().resolve(table_of(1000)).n_folds == 3
    two = replace(table_of(50), y=(np.arange(50) < 2).astype(float))
    assert KFold(stratified=True).resolve(two).n_folds == 2
    assert len(Holdout(0.1).folds(table_of(50))[0].items) == 5


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_a_share_lies_between_0_and_a_half(share):
    with pytest.raises(ConfigError, match="share is"):
        Holdout(share)
