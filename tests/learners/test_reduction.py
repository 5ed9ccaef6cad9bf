"""Reduction: features, target transforms, and what a pooled forecaster makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from forecastml.budget import Deadline
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError, DeadlineExceeded
from forecastml.features.holidays import holiday_codes
from forecastml.features.panel import FeatureSet
from forecastml.features.standing import CHOICES
from forecastml.features.target import TargetTransform
from forecastml.kernels.lags import filled_forward, lagged, trailing
from forecastml.learners import boosting, reduced, reduction
from forecastml.learners.boosting import LightGBM
from forecastml.learners.linear import Ridge
from forecastml.learners.reduction import ReducedModel, Reduction
from forecastml.protocols import Facts, FitContext

NAN = np.nan


def means(fitted, panel, horizon):
    return fitted.predict(panel, horizon, ("mean",)).mean.reshape(len(panel), horizon)


@dataclass(frozen=True, eq=False)
class Least:
    """Least squares on the lags alone: the smallest table model there is."""

    weights: np.ndarray

    def predict(self, x):
        return np.nan_to_num(x[:, : len(self.weights)]).astype(float) @ self.weights

    def state(self):
        return {"weights": self.weights}, {}


class LeastSquares(Reduction):
    name = "least_squares"

    def fit_table(self, rows, params, context) -> Least:
        lags = sum(name.startswith("lag") for name in rows.names)
        whole = ~np.isnan(rows.x[:, :lags]).any(axis=1)
        return Least(np.linalg.lstsq(rows.x[whole, :lags].astype(float), rows.y[whole], rcond=None)[0])

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Least:
        return Least(arrays["weights"])


class Recorder(LeastSquares):
    """Keeps the tables that it was given."""

    def __init__(self):
        self.tables = []

    def fit_table(self, rows, params, context):
        self.tables.append(rows)
        return super().fit_table(rows, params, context)


def test_lags_and_windows_stop_at_the_border():
    values = np.array([1.0, 2, 3, 10, 20, 30, 40])
    rows, first = np.arange(7), np.array([0, 0, 0, 3, 3, 3, 3])
    np.testing.assert_array_equal(lagged(values, rows, first, 1), [NAN, 1, 2, NAN, 10, 20, 30])
    np.testing.assert_array_equal(lagged(values, rows, first, 3), [NAN] * 6 + [10])
    mean, low, high = trailing(values, rows, first, (2, 3))[2]
    np.testing.assert_array_equal(mean, [NAN, 1, 1.5, NAN, 10, 15, 25])
    np.testing.assert_array_equal(low, [NAN, 1, 1, NAN, 10, 10, 20])
    np.testing.assert_array_equal(high, [NAN, 1, 2, NAN, 10, 20, 30])


def test_missing_values_are_filled_forward_within_a_series():
    values = np.array([1, NAN, 3, NAN, NAN, 6, NAN])
    filled = filled_forward(values, np.array([0, 3]), np.array([3, 7]))
    np.testing.assert_array_equal(filled, [1, 1, 3, NAN, NAN, 6, 6])


@pytest.mark.parametrize("seasons", [(), (7,)])
def test_a_ramp_goes_on(seasons):
    panel = Panel.of([np.arange(100.0), 500 - 3 * np.arange(60.0)])
    expected = np.stack([100 + np.arange(12.0), 500 - 3 * (60 + np.arange(12.0))])
    facts = Facts("forecasting", 12, 2, 60, 100, seasons)
    for params in LightGBM().space(facts):
        if params["transform"] == "mean":
            continue  # nothing takes it beyond what was seen
        alone = panel.select(np.array([0]))
        context = FitContext(horizon=12, seasons=seasons)
        found = means(LightGBM().fit(alone, params, context), alone, 12)
        np.testing.assert_allclose(found, expected[:1], rtol=1e-2)
        found = means(LightGBM().fit(panel, params, context), panel, 12)
        np.testing.assert_allclose(found, expected, rtol=0.02)


def test_a_linear_recursion_is_learned_exactly():
    values = [1.0, 2.0]
    for _ in range(60):
        values.append(1.6 * values[-1] - 0.9 * values[-2])
    panel = Panel.of([np.array(values) + 3])
    fitted = LeastSquares().fit(panel.before(np.array([50])), {"transform": "difference"}, FitContext(horizon=10))
    np.testing.assert_allclose(means(fitted, panel.before(np.array([50])), 10)[0], panel.target[50:60], rtol=2e-3)


def test_forecasts_need_no_more_than_the_lookback():
    random = np.random.default_rng(0)
    panel = Panel.of([random.normal(size=n).cumsum() for n in (200, 90, 10)])
    fitted = LightGBM().fit(panel, {}, FitContext(horizon=6, seasons=(12,)))
    assert fitted.lookback < 90
    np.testing.assert_array_equal(means(fitted, panel.last(fitted.lookback).compact(), 6), means(fitted, panel, 6))


def test_one_model_serves_series_that_it_never_saw():
    random = np.random.default_rng(0)
    seen = Panel.of([random.normal(size=60).cumsum() for _ in range(20)])
    fitted = LightGBM().fit(seen, {}, FitContext(horizon=6, seasons=(4,)))
    others = Panel.of([random.normal(size=n).cumsum() for n in (1, 5, 50)] + [[]])
    found = means(fitted, others, 6)
    assert np.isfinite(found[:3]).all()
    assert np.isnan(found[3]).all()
    assert fitted.append(others).status == ("ok", "ok", "ok", "no recent values")
    np.testing.assert_array_equal(means(fitted.append(others), others, 6), found)


def test_what_does_not_suit_the_data_is_not_tried():
    facts, learner = Facts("forecasting", 6, 1, 50, 50, (12,), nonnegative=True), LeastSquares()
    everything = learner.space(facts)
    assert len({tuple(params.items()) for params in everything}) == len(everything) == 8
    assert all("seasonal" not in params["transform"] for params in learner.space(replace(facts, seasons=())))
    assert all(params["steps"] == "recursive" for params in learner.space(replace(facts, horizon=1)))
    assert learner.suits({"transform": "log"}, facts)
    assert not learner.suits({"transform": "log"}, replace(facts, nonnegative=False))


@pytest.mark.parametrize("wanted", [{"steps": "both"}, {"lags": [0]}, {"windows": "all"}, {"transform": "x"}])
def test_what_features_cannot_be_is_refused(wanted):
    with pytest.raises(ConfigError):
        LeastSquares().fit(Panel.of([np.arange(30.0)]), wanted, FitContext(horizon=3))


@pytest.mark.parametrize("kind", ["scale", "difference", "mean", "log"])
def test_a_direct_model_says_what_it_says_for_each_horizon(kind):
    random = np.random.default_rng(0)
    panel = Panel.of([random.exponential(size=n).cumsum() for n in (80, 60)])
    fitted = LightGBM().fit(panel, {"steps": "direct", "transform": kind}, FitContext(horizon=8, seasons=(4,)))
    whole = means(fitted, panel, 8)
    np.testing.assert_array_equal(means(fitted, panel, 3), whole[:, :3])
    assert (np.diff(whole) != 0).any()
    restored = LightGBM().restore(*fitted.state())
    np.testing.assert_array_equal(means(restored, panel, 8), whole)


def test_each_row_is_told_from_as_many_origins_as_there_is_room_for(monkeypatch):
    panel = Panel.of([np.random.default_rng(0).normal(size=40)])
    for room, rows in ((40, 40), (120, 120), (9999, 40 * 5)):
        monkeypatch.setattr(reduction, "MAX_ROWS", room)
        learner = Recorder()
        learner.fit(panel, {"steps": "direct"}, FitContext(horizon=5))
        (table,) = learner.tables
        step = table.x[:, table.names.index("step")]
        assert set(step.tolist()) == {1, 2, 3, 4, 5}
        # The first rows have no origin so early.
        assert rows - 15 <= len(table.y) < rows


def test_equal_models_are_kept_once():
    random = np.random.default_rng(0)
    panel = Panel.of([random.normal(size=40).cumsum() for _ in range(6)])
    learner = LeastSquares()
    fitted = learner.fit(panel, {}, FitContext(horizon=2))
    restored = learner.restore(*fitted.take(np.array([1])).state())
    assert len(fitted.stack([restored]).models) == 1
    other = learner.fit(panel.select(np.array([2, 3])), {}, FitContext(horizon=2))
    both = fitted.stack([other])
    assert len(both.models) == 2
    assert len(both.take(np.array([6, 7])).models) == 1


def test_training_keeps_the_most_recent_rows(monkeypatch):
    monkeypatch.setattr(reduction, "MAX_ROWS", 80)
    random = np.random.default_rng(0)
    learner = Recorder()
    learner.fit(Panel.of([random.normal(size=n) for n in (100, 100, 9)]), {}, FitContext())
    # Every series gives its last 35 values (9 for the short one); the first of the short one has no base.
    assert len(learner.tables[0].y) == 35 + 35 + 8


def test_a_few_rows_of_many_series_see_whole_seasons_and_as_far_back_as_a_forecast(monkeypatch):
    monkeypatch.setattr(reduction, "MAX_ROWS", 120)
    monkeypatch.setattr(reduced, "HISTORY", 1)
    random = np.random.default_rng(0)
    place = np.arange(120) % 12
    lines = [100.0 * (k + 1) + place + 1e-6 * random.normal(size=120) for k in range(40)]

    def told(order):
        learner = Recorder()
        fitted = learner.fit(Panel.of([lines[k] for k in order]), {"transform": "none"}, FitContext(seasons=(12,)))
        return learner.tables[0], fitted.models[0]

    table, model = told(range(40))
    assert len(table.y) == 3 * 40
    assert set(np.rint(table.y).astype(int) % 100) == set(range(12))
    assert not np.isnan(table.x).any()
    np.testing.assert_array_equal(told(range(39, -1, -1))[0].x, table.x)
    assert model.lookback > 120 // 40


def test_rows_without_target_or_weight_are_left_out():
    random = np.random.default_rng(0)
    panel = Panel.of([random.normal(size=30), [4.0] * 10])
    target, weight = panel.target.copy(), np.ones(40)
    target[[5, 6]], weight[[10, 11, 12]], weight[20] = NAN, 0.0, 3.0
    learner = Recorder()
    learner.fit(replace(panel, target=target, weight=weight), {}, FitContext())
    table = learner.tables[0]
    assert len(table.y) == 29 - 2 - 3
    assert sorted(table.weight)[-2:] == [1, 3]
    assert table.x.shape == (24, len(table.names))
    assert np.isfinite(table.y).all()


def test_a_deadline_stops_the_growing_of_trees():
    ticks = iter(range(10_000))
    panel = Panel.of([np.random.default_rng(0).normal(size=300)])
    late = Deadline(at=20, clock=lambda: next(ticks))
    with pytest.raises(DeadlineExceeded):
        LightGBM().fit(panel, {"rounds": 50}, FitContext(deadline=late))
    assert 20 <= next(ticks) < 30


def test_threads_at_work_change_nothing(monkeypatch):
    monkeypatch.setattr(boosting, "ROWS_PER_THREAD", 100)
    panel = Panel.of(np.random.default_rng(0).normal(size=(20, 50)).cumsum(axis=1))
    one, two = (means(LightGBM().fit(panel, {}, FitContext(threads=n)), panel, 3) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_the_metric_decides_the_objective():
    panel = Panel.of([np.random.default_rng(0).exponential(size=300)])
    absolute, squared = (
        means(LightGBM().fit(panel, {}, FitContext(metric=metric, horizon=9)), panel, 9) for metric in ("mase", "rmse")
    )
    assert absolute.mean() < squared.mean()


def test_a_model_without_trees_says_the_base():
    model = ReducedModel(FeatureSet(), TargetTransform("difference"), None)
    np.testing.assert_array_equal(model.predict(Panel.of([[1.0, 4.0], [2.0]]), 3), [[4] * 3, [2] * 3])


def test_without_a_season_none_is_made_up_for_the_level():
    panel = Panel.of([np.tile(np.arange(8.0), 30)])
    transform = LightGBM().fit(panel, {"transform": "auto_difference"}, FitContext(horizon=3)).models[0].transform
    assert (transform.season, transform.window) == (1, 8)
    standing = transform.standing(panel)
    assert CHOICES[standing.choice[0]] != "slot"
    seasonal = replace(transform, season=8).standing(panel)
    assert CHOICES[seasonal.choice[0]] == "slot"


def test_a_jump_on_holidays_is_learned():
    begin = 19_358
    panel = Panel.of([np.zeros(1100)], Frequency("day"), [begin])
    holiday = ~np.isnan(holiday_codes(("US",), begin + np.arange(1100)))
    y = 10.0 + np.arange(1100) % 7 + 30.0 * holiday
    panel = replace(panel, target=y)
    cut = int(np.flatnonzero(holiday)[-1]) - 2
    train = panel.before(np.array([cut]))
    for learner, params in ((LightGBM(), {"objective": "l2"}), (Ridge(), {})):
        context = FitContext(horizon=5, seasons=(7,), holidays=("US",))
        ahead = means(learner.fit(train, params, context), train, 5)[0]
        blind = means(learner.fit(train, params, replace(context, holidays=())), train, 5)[0]
        assert abs(ahead - y[cut : cut + 5]).max() < 12 < abs(blind - y[cut : cut + 5]).max()
