"""Rolling-origin folds: where the cuts lie, what "auto" chooses, and who takes part."""

from __future__ import annotations

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError
from forecastml.splits import RollingOrigin
from forecastml.task import Forecasting

WEEKLY = Frequency("day", 7)


def panel(*lengths: int, start=None, frequency=None) -> Panel:
    """Series whose values are 100 * series + position."""
    return Panel.of([100.0 * i + np.arange(n) for i, n in enumerate(lengths)], frequency, start)


def cuts(folds) -> list[list[tuple[int, int]]]:
    """Per fold: (series, cutoff) of those that take part."""
    return [list(zip(fold.items.tolist(), fold.cutoff.tolist(), strict=True)) for fold in folds]


def test_the_picture_in_the_docstring():
    folds = RollingOrigin(horizon=3, n_folds=3, step=2, gap=1).folds(panel(13))
    assert cuts(folds) == [[(0, 5)], [(0, 7)], [(0, 9)]]
    assert [fold.truth.y.tolist() for fold in folds] == [[6, 7, 8], [8, 9, 10], [10, 11, 12]]
    assert [fold.index for fold in folds] == [0, 1, 2]


def test_truth_rows_are_series_major_and_refer_to_the_whole_panel():
    fold = RollingOrigin(horizon=2, n_folds=1, origins="own").folds(panel(1, 9, 6))[0]
    truth = fold.truth
    assert truth.y.tolist() == [107, 108, 204, 205]
    assert truth.series.tolist() == truth.group.tolist() == [1, 1, 2, 2]
    assert truth.step.tolist() == [0, 1, 0, 1]
    assert truth.fold.tolist() == [0] * 4
    assert truth.weight.tolist() == [1.0] * 4
    assert {"seasonal_error", "seasonal_squared_error", "range", "log_range", "naive2"} == set(truth.scales)
    assert truth.scales["range"].tolist() == [8.0, 8.0, 5.0, 5.0]


def test_common_origin_when_most_series_end_together():
    # The third series ends two weeks earlier, the last one long ago.
    ends = panel(20, 20, 18, 20, 20, 5, frequency=WEEKLY)
    plan = RollingOrigin(horizon=3, n_folds=1).resolve(ends)
    assert (plan.origins, plan.last) == ("common", 19 * 7)
    fold = plan.folds(ends)[0]
    assert cuts([fold]) == [[(0, 17), (1, 17), (2, 17), (3, 17), (4, 17)]]
    late = fold.truth.rows(fold.truth.series == 2)
    assert late.y[:1].tolist() == [217.0]
    assert np.isnan(late.y[1:]).all()
    assert late.weight.tolist() == [1.0, 0.0, 0.0]


def test_own_origins_when_ends_differ():
    plan = RollingOrigin(horizon=2, n_folds=1).resolve(panel(20, 12, 7))
    assert (plan.origins, plan.last) == ("own", None)
    assert cuts(plan.folds(panel(20, 12, 7))) == [[(0, 18), (1, 10), (2, 5)]]


def test_common_origin_before_1970():
    starts = [-700, -700 + 7 * 4, -700 + 7 * 8]
    plan = RollingOrigin(horizon=2, n_folds=2).resolve(panel(20, 16, 12, start=starts, frequency=WEEKLY))
    assert (plan.origins, plan.last) == ("common", -700 + 19 * 7)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (100, {"n_folds": 3, "step": 6, "min_train": 9}),  # history allows
        (23, {"n_folds": 3, "step": 4, "min_train": 9}),  # the step shrinks
        (17, {"n_folds": 3, "step": 1, "min_train": 8}),
        (14, {"n_folds": 2, "step": 1, "min_train": 7}),  # then the number of folds
        (12, {"n_folds": 1, "step": 1, "min_train": 6}),
        (7, {"n_folds": 1, "step": 1, "min_train": 3}),  # the newest fold with less than it would like
    ],
)
def test_auto_follows_the_length_of_history(length, expected):
    plan = RollingOrigin(horizon=6, season_length=4).resolve(panel(length))
    assert {name: getattr(plan, name) for name in expected} == expected
    assert [fold.index for fold in plan.folds(panel(length))] == list(range(expected["n_folds"]))


def test_no_more_folds_than_asked_for_can_be_made():
    assert RollingOrigin(horizon=6, n_folds=9, step=6, min_train=6).resolve(panel(24)).n_folds == 3


def test_short_series_take_part_in_the_newest_fold_or_in_none():
    mixed = panel(60, 60, 60, 10, 5, 4, 0)
    folds = RollingOrigin(horizon=4, n_folds=3, step=4, origins="own", season_length=4).folds(mixed)
    assert [fold.items.tolist() for fold in folds] == [[0, 1, 2], [0, 1, 2], [0, 1, 2, 3, 4]]


def test_too_short_for_any_fold():
    splitter = RollingOrigin(horizon=4)
    assert splitter.folds(panel(4, 2)) == []
    assert splitter.folds(panel(0, 0)) == []
    assert splitter.folds(panel()) == []


def test_a_resolved_splitter_stays_as_it_is():
    plan = RollingOrigin(horizon=4).resolve(panel(60, 60, 50))
    assert plan.is_resolved
    assert plan.resolve(panel(5)) == plan


def test_scales_use_the_season_length_and_the_train_rows():
    series = np.array([1.0, 5.0, 2.0, 8.0, 3.0, 11.0, 900.0, 900.0])
    fold = RollingOrigin(horizon=2, n_folds=1, season_length=2).folds(Panel.of([series]))[0]
    assert fold.truth.scales["seasonal_error"].tolist() == [2.0, 2.0]
    assert fold.truth.scales["range"].tolist() == [899.0, 899.0]
    assert fold.truth.scales["naive2"].tolist() == [11.0, 11.0]


@pytest.mark.parametrize(
    "options",
    [{"horizon": 0}, {"horizon": "auto"}, {"n_folds": 0}, {"step": -1}, {"gap": -1}, {"origins": "end"}, {"step": 1.5}],
)
def test_options_that_cannot_work(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        RollingOrigin(**{"horizon": 3, **options})


def test_folds_span_the_near_seasons():
    """Two windows of two days, all from Tuesday to Friday, would never see a weekend."""
    hours = Panel.of(np.random.default_rng(0).normal(size=(40, 24 * 7 * 6)), Frequency("microsecond", 3_600_000_000))
    months = Panel.of(np.random.default_rng(0).normal(size=(40, 90)), Frequency("month_start"))
    assert len(Forecasting(horizon=48).cut(hours, lambda series: 2).folds) == 4
    assert len(Forecasting(horizon=48, n_folds=2).cut(hours, lambda series: 2).folds) == 2
    assert len(Forecasting(horizon=3).cut(months, lambda series: 3).folds) == 4
    assert len(Forecasting(horizon=18).cut(months, lambda series: 2).folds) == 2
    assert len(Forecasting(horizon=1).cut(months, lambda series: 3).folds) == 3
