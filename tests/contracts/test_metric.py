"""What every registered metric must do; a new one is picked up by its name."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.metrics import get_metric, metric_names
from forecastml.protocols import Truth
from forecastml.splits import RollingOrigin

OUTPUTS = ("mean", "0.1", "0.5", "0.9")
GROUPS = 4
#: The best value is not reached by hitting every truth: an interval that always covers is too wide.
CALIBRATION = {"coverage"}
#: A mean of two ratios, of which each merges, but which is not bounded by the values of its parts.
MEAN_OF_RATIOS = {"owa"}

every_metric = pytest.mark.parametrize("metric", [get_metric(name) for name in metric_names()], ids=metric_names())


@pytest.fixture(scope="module")
def truth() -> Truth:
    """Three folds of nine series in three of four groups, with missing values, weights and a series that ends early."""
    rng = np.random.default_rng(7)
    series = [
        50 + 10 * np.sin(np.arange(n) / 2) + rng.normal(size=n).cumsum() for n in (40, 40, 40, 40, 40, 39, 31, 12)
    ]
    panel = Panel.of([*series, [3.0] * 40])
    panel.target[rng.integers(0, len(panel.target), 12)] = np.nan
    panel = replace(panel, group=np.array([0, 1, 3, 0, 0, 1, 1, 3, 3]), weight=rng.uniform(0.1, 2.0, len(panel.target)))
    folds = RollingOrigin(horizon=6, n_folds=3, step=4, season_length=4).folds(panel)
    truth = Truth.stack([fold.truth for fold in folds])
    return replace(truth, weight=np.where(rng.random(len(truth)) < 0.1, 0.0, truth.weight))


def forecast(truth: Truth, error: float, seed: int = 0) -> np.ndarray:
    """Values (rows, outputs) whose mean is `error` standard normal errors off, quantiles sorted around it."""
    rng = np.random.default_rng(seed)
    mean = np.nan_to_num(truth.y) + error * rng.normal(size=len(truth))
    return mean[:, None] + error * np.array([0.0, -1.0, 0.1, 1.2])


@every_metric
def test_shapes(metric, truth):
    one = forecast(truth, 1.0)
    many = np.stack([one, forecast(truth, 2.0), forecast(truth, 3.0)])
    assert np.shape(metric.loss(one, OUTPUTS, truth)) == ()
    assert metric.loss(many, OUTPUTS, truth).shape == (3,)
    assert metric.loss(many[None], OUTPUTS, truth, GROUPS).shape == (1, 3, GROUPS)
    assert metric.by_fold(one, OUTPUTS, truth).shape == (3,)
    assert metric.bind(truth, OUTPUTS, GROUPS)(one).shape == (GROUPS,)


@every_metric
def test_stacked_predictions_are_judged_one_by_one(metric, truth):
    many = np.stack([forecast(truth, error) for error in (0.5, 1.0, 4.0)])
    together = metric.loss(many, OUTPUTS, truth, GROUPS)
    alone = np.stack([metric.loss(values, OUTPUTS, truth, GROUPS) for values in many])
    np.testing.assert_array_equal(together, alone)


@every_metric
def test_loss_is_the_mean_over_folds(metric, truth):
    values = forecast(truth, 1.0)
    by_fold = metric.by_fold(values, OUTPUTS, truth)
    assert metric.loss(values, OUTPUTS, truth) == pytest.approx(by_fold.mean(), rel=1e-12)
    for fold, loss in enumerate(by_fold):
        rows = truth.fold == fold
        assert metric.loss(values[rows], OUTPUTS, truth.rows(rows)) == pytest.approx(loss, rel=1e-9)


@every_metric
def test_order_of_rows_does_not_matter(metric, truth):
    values, order = forecast(truth, 1.0), np.random.default_rng(1).permutation(len(truth))
    shuffled = metric.loss(values[order], OUTPUTS, truth.rows(order))
    assert shuffled == pytest.approx(metric.loss(values, OUTPUTS, truth), rel=1e-12)


@every_metric
def test_rows_that_are_not_scored_do_not_matter(metric, truth):
    values = forecast(truth, 1.0)
    left_out = np.isnan(truth.y) | (truth.weight == 0)
    assert left_out.any()
    changed = np.where(left_out[:, None], np.nan, values)
    assert metric.loss(changed, OUTPUTS, truth) == metric.loss(values, OUTPUTS, truth)


@every_metric
def test_one_group_equals_no_groups(metric, truth):
    values, one = forecast(truth, 1.0), replace(truth, group=np.zeros(len(truth), np.int64))
    assert metric.loss(values, OUTPUTS, one, 1).tolist() == [metric.loss(values, OUTPUTS, one)]


@every_metric
def test_a_group_has_the_same_bits_alone_and_no_loss_without_rows(metric, truth):
    values = forecast(truth, 1.0)
    losses = metric.loss(values, OUTPUTS, truth, GROUPS)
    assert np.isnan(losses[2])
    for group in (0, 1, 3):
        rows = truth.group == group
        assert metric.loss(values[rows], OUTPUTS, truth.rows(rows)) == losses[group]


@pytest.mark.parametrize("name", [name for name in metric_names() if name not in CALIBRATION])
def test_a_perfect_forecast_is_best_and_worse_is_worse(name, truth):
    losses = [get_metric(name).loss(forecast(truth, error), OUTPUTS, truth) for error in (0.0, 0.3, 30.0)]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("name", sorted(CALIBRATION))
def test_the_best_interval_covers_as_often_as_it_says(name, truth):
    metric, rng = get_metric(name), np.random.default_rng(2)
    inside = rng.random(len(truth)) < 0.8
    values = np.where(inside[:, None], np.nan_to_num(truth.y)[:, None] + [0.0, -1.0, 0.0, 1.0], 1e6)
    always, never = forecast(truth, 0.0), np.full((len(truth), 4), 1e6)
    losses = [metric.loss(v, OUTPUTS, truth) for v in (values, always, never)]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("name", [n for n in metric_names() if get_metric(n).mergeable and n not in MEAN_OF_RATIOS])
def test_a_mergeable_score_lies_between_those_of_the_parts(name, truth):
    metric = get_metric(name)
    for fold, seed in [(0, 1), (1, 2), (2, 3)]:
        rows = (truth.fold == fold) & ~np.isnan(truth.y)
        part, values = truth.rows(rows), forecast(truth, 1.0, seed)[rows]
        left = part.series % 2 == 0
        low, high = sorted(metric.score(values[half], OUTPUTS, part.rows(half)) for half in (left, ~left))
        assert low * (1 - 1e-12) <= metric.score(values, OUTPUTS, part) <= high * (1 + 1e-12) or low < 0 <= high


@every_metric
def test_report_undoes_the_sign_and_nothing_else(metric):
    assert abs(metric.report(0.25)) == 0.25
    assert metric.report(metric.report(0.25)) == 0.25


@every_metric
def test_nothing_to_score_has_no_loss(metric, truth):
    rows = np.isnan(truth.y)
    assert np.isnan(metric.loss(forecast(truth, 1.0)[rows], OUTPUTS, truth.rows(rows)))
    assert np.isnan(metric.loss(np.empty((0, 4)), OUTPUTS, truth.rows(np.empty(0, np.int64))))


@every_metric
def test_travels_to_another_process(metric):
    assert pickle.loads(pickle.dumps(metric)) == metric


@every_metric
def test_warns_of_nothing(metric, truth, recwarn):
    metric.loss(forecast(truth, 1.0), OUTPUTS, truth, GROUPS)
    assert [str(warning.message) for warning in recwarn] == []
