"""What every splitter must do: nothing after an origin reaches a learner, and a series is cut alone as among others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.panel import Panel
from forecastml.splits import RollingOrigin
from tests.contracts.test_row_splitter import SPLITTERS as ROW_SPLITTERS

SPLITTERS = {
    "auto": RollingOrigin(horizon=5),
    "auto, seasonal": RollingOrigin(horizon=4, season_length=6),
    "own ends": RollingOrigin(horizon=4, n_folds=3, step=2, origins="own", season_length=3),
    "common dates": RollingOrigin(horizon=4, n_folds=3, step=3, origins="common"),
    "gap": RollingOrigin(horizon=3, n_folds=2, step=1, gap=2),
    "one step": RollingOrigin(horizon=1, n_folds=5, step=1, min_train=1),
}
every_splitter = pytest.mark.parametrize("splitter", SPLITTERS.values(), ids=SPLITTERS)


def panel_of(lengths, starts, seed: int = 0) -> Panel:
    """Positive series with some missing values, weights and known covariates beyond the end."""
    rng = np.random.default_rng(seed)
    values = [np.where(rng.random(n) < 0.1, np.nan, 20 + rng.normal(size=n).cumsum()) for n in lengths]
    for series in values:
        series[:1] = 20.0
    panel = Panel.of(values, start=starts)
    known_end = np.cumsum(panel.lengths + 3)
    return replace(
        panel,
        weight=rng.uniform(0.5, 2.0, len(panel.target)),
        known=rng.normal(size=(int(known_end[-1]), 1)),
        known_begin=known_end - panel.lengths - 3,
        known_end=known_end,
    )


@pytest.fixture
def panel() -> Panel:
    return panel_of([40, 40, 35, 38, 12, 7, 3, 0, 40, 40], [0, 0, 5, 2, 28, 33, 0, 0, -1, 0])


def same(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_array_equal(a, b)


def same_truth(a, b, but=()) -> None:
    for name in ("y", "weight", "fold", "step"):
        same(getattr(a, name), getattr(b, name))
    for name in set(a.scales) - set(but):
        same(a.scales[name], b.scales[name])


def same_panel(a: Panel, b: Panel) -> None:
    assert len(a) == len(b)
    for i in range(len(a)):
        same(a.values(i), b.values(i))
        same(a.weight[a.begin[i] : a.end[i]], b.weight[b.begin[i] : b.end[i]])
        same(a.known[a.known_begin[i] : a.known_end[i]], b.known[b.known_begin[i] : b.known_end[i]])
    same(a.start, b.start)


@every_splitter
def test_folds_have_the_documented_shape(splitter, panel):
    folds = splitter.folds(panel)
    assert folds
    assert all(a.index < b.index for a, b in pairwise(folds))
    for fold in folds:
        h = splitter.horizon
        assert len(fold.truth) == len(fold.items) * h
        same(fold.truth.series, np.repeat(fold.items, h))
        same(fold.truth.group, panel.group[fold.truth.series])
        same(fold.truth.step, np.tile(np.arange(h), len(fold.items)))
        same(fold.truth.fold, np.full(len(fold.truth), fold.index))
        same(fold.train.lengths, fold.cutoff)
        same(fold.inputs.lengths, fold.cutoff)
        assert (fold.cutoff >= 1).all()
        assert all(np.isfinite(scale).all() for scale in fold.truth.scales.values())


@every_splitter
def test_train_is_a_view_of_what_lies_before_truth(splitter, panel):
    for fold in splitter.folds(panel):
        assert np.shares_memory(fold.train.target, panel.target)
        for k, (item, cutoff) in enumerate(zip(fold.items, fold.cutoff, strict=True)):
            same(fold.train.values(k), panel.values(item)[:cutoff])
            after = panel.values(item)[cutoff + splitter.gap :][: splitter.horizon]
            assert len(after)
            truth = fold.truth.rows(fold.truth.series == item)
            same(truth.y[: len(after)], after)
            assert np.isnan(truth.y[len(after) :]).all()
            assert (truth.weight[len(after) :] == 0).all()
            assert fold.inputs.known_end[k] - fold.inputs.known_begin[k] == panel.lengths[item] + 3


@every_splitter
@pytest.mark.parametrize("poison", [1e9, -1.0, np.nan])
def test_values_after_the_cutoff_change_nothing_before_it(splitter, panel, poison):
    for fold in splitter.folds(panel):
        target = panel.target.copy()
        for item, cutoff in zip(fold.items, fold.cutoff, strict=True):
            target[panel.begin[item] + cutoff : panel.end[item]] = poison
        again = next(f for f in splitter.folds(replace(panel, target=target)) if f.index == fold.index)
        same(again.items, fold.items)
        same(again.cutoff, fold.cutoff)
        same_panel(again.train, fold.train)
        same_panel(again.inputs, fold.inputs)
        same_truth(replace(again.truth, y=fold.truth.y), fold.truth, but=("range", "log_range"))


@every_splitter
def test_order_of_series_does_not_matter(splitter, panel):
    order = np.random.default_rng(3).permutation(len(panel))
    for fold, again in zip(splitter.folds(panel), splitter.folds(panel.select(order)), strict=True):
        back = np.argsort(order[again.items])
        same(order[again.items][back], fold.items)
        same(again.cutoff[back], fold.cutoff)
        rows = (back[:, None] * splitter.horizon + np.arange(splitter.horizon)).ravel()
        same_truth(again.truth.rows(rows), fold.truth)


@every_splitter
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_series_alone_is_cut_as_among_others(splitter, data):
    size = data.draw(st.integers(1, 8))
    lengths = data.draw(st.lists(st.integers(0, 60), min_size=size, max_size=size))
    starts = data.draw(st.lists(st.integers(-30, 30), min_size=size, max_size=size))
    panel = panel_of(lengths, starts)
    plan = splitter.resolve(panel)
    together = {fold.index: fold for fold in plan.folds(panel)}
    for i in range(size):
        alone = {fold.index: fold for fold in plan.folds(panel.select(np.array([i])))}
        assert list(alone) == [index for index, fold in together.items() if i in fold.items]
        for index, fold in alone.items():
            k = int(np.flatnonzero(together[index].items == i)[0])
            assert fold.cutoff[0] == together[index].cutoff[k]
            same_panel(fold.train, together[index].train.select(np.array([k])))
            same_truth(fold.truth, together[index].truth.rows(together[index].truth.series == i))


@every_splitter
def test_nothing_to_cut(splitter):
    assert splitter.folds(panel_of([1, 0], [0, 0])) == []
    assert splitter.folds(Panel.of([])) == []


def test_every_splitter_is_here():
    from forecastml import splits

    found = {v for v in vars(splits).values() if isinstance(v, type) and hasattr(v, "folds")}
    assert found == {type(splitter) for splitter in (*SPLITTERS.values(), *ROW_SPLITTERS.values())}
