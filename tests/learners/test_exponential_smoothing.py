"""Exponential smoothing as a learner: forms, weights, odd series, a moving origin, no influence between series."""

from __future__ import annotations

import json

import numpy as np
import pytest

from forecastml.budget import Deadline
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, DeadlineExceeded
from forecastml.kernels import smoothing, smoothing_fit
from forecastml.kernels.smoothing import ADDITIVE, STABLE
from forecastml.kernels.smoothing_fit import Flags
from forecastml.learners import exponential_smoothing, smoothing_search
from forecastml.learners.exponential_smoothing import (
    AutoETS,
    CombinationSettings,
    ExponentialSmoothing,
    degrees,
    form_weights,
    shares_of,
)
from forecastml.learners.registry import get_learner
from forecastml.protocols import Facts, FitContext, Refittable

H, M = 6, 4
CONTEXT = FitContext(horizon=H, seasons=(M,))
LEARNER, AUTO = ExponentialSmoothing(), AutoETS()


def random_series(seed: int, length: int) -> np.ndarray:
    """Trend, season and noise; every third series has gaps, every fifth negative values."""
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    values = 10 + rng.normal() * 0.1 * t + 3 * np.sin(2 * np.pi * t / M + seed) + rng.normal(size=length)
    if seed % 3 == 0 and length > 3:
        values[rng.integers(0, length, length // 8)] = np.nan
    return (values - 10 if seed % 5 == 0 else np.abs(values) + 0.1) * 10.0 ** (seed % 7 - 3)


def forecast(series, params=None, horizon=H) -> np.ndarray:
    """(series, horizon) from a fresh fit."""
    panel = Panel.of(series)
    return mean(LEARNER.fit(panel, params or {}, CONTEXT), panel, horizon)


def mean(fitted, panel, horizon=H) -> np.ndarray:
    return fitted.predict(panel, horizon, ("mean",)).values.reshape(-1, horizon)


def arrays_of(fitted) -> dict[str, np.ndarray]:
    return fitted.state()[0]


def assert_same(one, other):
    """Equal to the bit."""
    assert one.settings == other.settings
    assert one.status == other.status
    first, second = arrays_of(one), arrays_of(other)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


SERIES = [random_series(seed, length) for seed, length in enumerate([60, 17, 33, 45, 9, 60, 5, 1, 28, 40, 60, 3, 13])]


@pytest.fixture(scope="module")
def panel():
    return Panel.of(SERIES)


@pytest.fixture(scope="module")
def fitted(panel):
    return LEARNER.fit(panel, {}, CONTEXT)


def test_it_is_registered_and_can_be_refitted():
    assert isinstance(get_learner("exponential_smoothing"), ExponentialSmoothing)
    assert isinstance(LEARNER, Refittable)


@pytest.mark.parametrize(("chunk", "cells"), [(256, 8192), (3, 500), (1, 64)])
def test_a_series_alone_equals_itself_among_others(monkeypatch, fitted, chunk, cells):
    monkeypatch.setattr(ExponentialSmoothing, "chunk", chunk)
    monkeypatch.setattr(smoothing_search, "CELLS", cells)
    monkeypatch.setattr(smoothing_search, "WIDE_CELLS", cells)
    order = np.array([3, 0, 4, 9, 7])
    some = LEARNER.fit(Panel.of([SERIES[i] for i in order]), {}, CONTEXT)
    assert_same(some, fitted.take(order))
    for i in (3, 12):
        assert_same(LEARNER.fit(Panel.of([SERIES[i]]), {}, CONTEXT), fitted.take(np.array([i])))


def test_a_series_alone_equals_itself_among_a_thousand():
    rng = np.random.default_rng(1)
    series = [random_series(seed, int(n)) for seed, n in enumerate(rng.integers(1, 25, 1000))]
    many = Panel.of(series)
    fitted = LEARNER.fit(many, {}, CONTEXT)
    values = mean(fitted, many)
    for i in (0, 15, 501, 999):
        alone = LEARNER.fit(Panel.of([series[i]]), {}, CONTEXT)
        assert_same(alone, fitted.take(np.array([i])))
        np.testing.assert_array_equal(mean(alone, Panel.of([series[i]]))[0], values[i])


@pytest.mark.parametrize("combine", ["weight", "select"])
@pytest.mark.parametrize("season", [1, 4])
@pytest.mark.parametrize("length", range(1, 11))
def test_every_length_gets_a_forecast(length, season, combine):
    series = [random_series(seed, length) for seed in range(1, 6)]
    values = forecast(series, {"season_length": season, "combine": combine})
    assert np.isfinite(values).all()
    reach = np.array([np.nanmax(np.abs(s)) for s in series])[:, None]
    assert (np.abs(values) <= 10 * reach).all()


def test_a_single_value_is_repeated():
    np.testing.assert_array_equal(forecast([[7.5], [0.1]]), np.array([[7.5], [0.1]]) * np.ones(H))


@pytest.mark.parametrize("value", [0.0, 3.7, -2.1e-12, 1e15, 1e-300, 1e300])
@pytest.mark.parametrize("length", [1, 2, 7, 12, 50])
def test_a_constant_stays(value, length):
    np.testing.assert_allclose(forecast([np.full(length, value)])[0], value, rtol=1e-12)


@pytest.mark.parametrize("power", [-40, 50, 300])
def test_scale_changes_no_bit(power):
    series = [random_series(seed, 40) for seed in (1, 2, 5)]
    expected = np.ldexp(forecast(series), power)
    np.testing.assert_array_equal(forecast([np.ldexp(s, power) for s in series]), expected)


def test_trend_and_season_are_carried_on():
    t = np.arange(48 + H)
    line, wave = 2.0 + 0.5 * t, np.array([1.0, -2.0, 0.5, 0.5])[t % M]
    values = forecast([line[:48], 20 + wave[:48]])
    np.testing.assert_allclose(values, [line[48:], 20 + wave[48:]], atol=1e-3)


def test_multiplicative_seasons_need_positive_values():
    t = np.arange(60)
    growing = (5 + t) * np.array([1.5, 0.5, 0.8, 1.2])[t % M]
    multiplicative = [i for i, form in enumerate(ADDITIVE) if smoothing.is_multiplicative(form)]
    above, below = growing.copy(), growing.copy()
    below[17] = 0.0
    weight = arrays_of(LEARNER.fit(Panel.of([above, below]), {}, CONTEXT))["weight"]
    assert weight[0, multiplicative].sum() > 0.9
    assert weight[1, multiplicative].sum() == 0.0


def test_gaps_are_bridged_and_ends_do_not_matter():
    t = np.arange(60)
    full = 20 + np.array([3.0, -1.0, -4.0, 2.0])[t % M]
    holes, late = full.copy(), full.copy()
    holes[[5, 6, 23, 40, 57, 58, 59]] = np.nan
    late[:10] = np.nan
    values = forecast([full, holes, late, full[10:]])
    np.testing.assert_allclose(values[1], values[0], atol=1e-3)
    np.testing.assert_array_equal(values[2], values[3])


def test_the_order_of_the_flat_buffer_does_not_matter(panel, fitted):
    backwards = np.arange(len(panel))[::-1]
    assert_same(LEARNER.fit(panel.select(backwards), {}, CONTEXT), fitted.take(backwards))


def test_a_series_without_values_is_marked_and_the_rest_is_not_disturbed(fitted):
    panel = Panel.of([SERIES[0], np.full(20, np.nan), [], SERIES[2]])
    some = LEARNER.fit(panel, {}, CONTEXT)
    assert some.status == ("ok", "no values", "no values", "ok")
    assert np.isnan(mean(some, panel)[1:3]).all()
    assert_same(some.take(np.array([0, 3])), fitted.take(np.array([0, 2])))
    empty = Panel.of([])
    nothing = LEARNER.fit(empty, {}, CONTEXT)
    assert nothing.append(empty).predict(empty, H, ("mean",)).values.shape == (0, 1)
    assert_same(LEARNER.refit(nothing, empty, CONTEXT), nothing)


def test_weights(fitted):
    weight = arrays_of(fitted)["weight"]
    np.testing.assert_allclose(weight.sum(axis=1), 1.0, rtol=1e-12)
    assert ((weight == 0) | (weight >= exponential_smoothing.LEAST_WEIGHT)).all()
    assert ((weight > 0).sum(axis=1) > 1).any()
    chosen = arrays_of(LEARNER.fit(Panel.of(SERIES), {"combine": "select"}, CONTEXT))["weight"]
    assert set(np.unique(chosen)) == {0.0, 1.0}
    np.testing.assert_array_equal(np.argmax(chosen, axis=1), np.argmax(weight, axis=1))


def test_an_undamped_trend_must_make_up_for_its_penalty():
    handicaps = [LEARNER.handicap(form) for form in ADDITIVE]
    assert handicaps == [0, exponential_smoothing.UNDAMPED_PENALTY, 0] * 3
    assert {AUTO.handicap(form) for form in STABLE} == {0.0}
    criterion = np.full((3, len(ADDITIVE)), np.inf)
    criterion[:2, 0], criterion[:2, 1] = 100.0, (100.5, 99.5)
    np.testing.assert_array_equal(form_weights(criterion, ADDITIVE, "select")[:, :2], [[1, 0], [0, 1], [0, 0]])
    assert (form_weights(criterion, ADDITIVE, "weight")[2] == 0).all()


def test_the_criterion_counts_parameters():
    counts = {form: degrees(form, 12) for form in ADDITIVE}
    assert counts == dict(zip(ADDITIVE, (3, 5, 6, 15, 17, 18, 15, 17, 18), strict=True))


def test_an_explosion_is_excluded():
    t = np.arange(40)
    series = np.where(t < 36, 1.0, 10.0 ** (3 * (t - 35.0)))
    for learner in (LEARNER, AUTO):
        fitted = learner.fit(Panel.of([series]), {}, FitContext(horizon=2000, seasons=(M,)))
        far = mean(fitted, Panel.of([series]), 2000)
        assert np.isfinite(far).all() and np.abs(far).max() <= 10.0 * 2000 / 40 * 2 * series.max()


def test_append_is_the_filter_with_parameters_kept(panel, fitted):
    longer = [np.append(s, random_series(100 + i, i)) for i, s in enumerate(SERIES)]
    whole = Panel.of(longer)
    moved = fitted.append(whole)
    before, after = arrays_of(fitted), arrays_of(moved)
    for name in ("weight", "odds", "scale"):
        np.testing.assert_array_equal(before[name], after[name])
    np.testing.assert_array_equal(after["origin"], whole.last_ordinal)
    n, shares = len(SERIES), shares_of(before, ADDITIVE)
    for i in (1, 2, 8, 12):
        for at, form in enumerate(ADDITIVE):
            if before["weight"][i, at] == 0:
                continue
            width = 2 + M * smoothing.is_seasonal(form)
            state = before["state"].reshape(n, len(ADDITIVE), -1)[i, at, :width, None, None].copy()
            parameters = Flags.of([form]).parameters(shares[:, i : i + 1, at])
            rows = longer[i][len(SERIES[i]) :] / before["scale"][i]
            smoothing.roll(form, rows[:, None], np.array([len(rows)]), parameters[:, None], state)
            np.testing.assert_array_equal(
                after["state"].reshape(n, len(ADDITIVE), -1)[i, at, :width], state[:, 0, 0], err_msg=form
            )
    assert np.isfinite(mean(moved, whole)).all()
    assert_same(fitted.append(panel), fitted)


def test_append_in_two_steps_or_from_a_cut_history_is_append_in_one(fitted):
    longer = [np.append(s, random_series(50 + i, 9)) for i, s in enumerate(SERIES)]
    whole = Panel.of(longer)
    once = fitted.append(whole)
    assert_same(fitted.append(whole.before(whole.lengths - 4)).append(whole), once)
    assert_same(fitted.append(whole.last(10)), once)
    missing = Panel.of([np.append(s, np.r_[np.full(4, np.nan), random_series(9, 5)]) for s in SERIES])
    assert_same(fitted.append(missing.last(5)), fitted.append(missing))


def test_append_wants_the_same_series(fitted):
    with pytest.raises(ConfigError, match="13 series, given 1"):
        fitted.append(Panel.of([SERIES[0]]))


def test_take_stack_state_and_restore(panel, fitted):
    parts = [fitted.take(np.arange(a, b)) for a, b in ((0, 4), (4, 5), (5, 13))]
    assert_same(parts[0].stack(parts[1:]), fitted)
    arrays, values = fitted.state()
    again = LEARNER.restore(arrays, json.loads(json.dumps(values)))
    assert_same(again, fitted)
    np.testing.assert_array_equal(mean(again, panel, 30), mean(fitted, panel, 30))
    assert sum(array.nbytes for array in arrays.values()) < 1100 * len(SERIES)
    with pytest.raises(ConfigError, match="same parameters"):
        fitted.stack([LEARNER.fit(panel, {"season_length": 3}, CONTEXT)])


def test_refit_starts_from_before_and_finds_a_fit_as_good(monkeypatch):
    series = [random_series(seed, 60) for seed in range(1, 20)]
    whole = Panel.of(series)
    earlier = LEARNER.fit(whole.before(whole.lengths - 6), {"combine": "select"}, CONTEXT)
    kept = {name: array.copy() for name, array in arrays_of(earlier).items()}
    work = {"trials": 0}
    expand = smoothing_fit.expand

    def counted(columns, point):
        work["trials"] += len(columns)
        return expand(columns, point)

    monkeypatch.setattr(smoothing_fit, "expand", counted)
    full = LEARNER.fit(whole, {"combine": "select"}, CONTEXT)
    from_scratch = work.pop("trials")
    work["trials"] = 0
    again = LEARNER.refit(earlier, whole, CONTEXT)
    assert work["trials"] < 0.6 * from_scratch
    assert again.settings == earlier.settings
    for name, array in arrays_of(earlier).items():
        np.testing.assert_array_equal(array, kept[name])
    spread = np.array([np.nanstd(s) for s in series])[:, None]
    assert np.median(np.abs(mean(again, whole) - mean(full, whole)) / spread) < 0.1
    assert_same(LEARNER.refit(earlier.take(np.array([4])), whole.select(np.array([4])), CONTEXT), again.take([4]))
    with pytest.raises(ConfigError, match="19 series, given 2"):
        LEARNER.refit(earlier, whole.select(np.array([0, 1])), CONTEXT)


def test_quantiles_lie_around_the_mean_and_widen(panel, fitted):
    outputs = ("mean", "0.1", "0.5", "0.9")
    for some in (fitted, AUTO.fit(panel, {}, CONTEXT)):
        values = some.predict(panel, H, outputs).values.reshape(len(panel), H, 4)
        assert (values[..., 1] <= values[..., 2]).all() and (values[..., 2] <= values[..., 3]).all()
        long = np.array([len(s) >= 13 for s in SERIES])
        assert (values[long, :, 1] < values[long, :, 0]).all() and (values[long, :, 0] < values[long, :, 3]).all()
        widths = values[long, :, 3] - values[long, :, 1]
        assert (widths[:, -1] >= 0.99 * widths[:, 0]).mean() > 0.7
        shorter = some.predict(panel, 3, outputs).values.reshape(len(panel), 3, 4)
        np.testing.assert_array_equal(shorter, values[:, :3])


def test_only_the_recent_history_counts():
    recent = random_series(1, 500)
    older = np.append(random_series(2, 30) * 50, recent)
    np.testing.assert_array_equal(*forecast([older, recent]))


@pytest.mark.parametrize(("season", "forms"), [(1, ADDITIVE[:3]), (4, ADDITIVE), (168, ("ANN", "AAdN", "ANA", "AAdA"))])
def test_the_forms_depend_on_the_season(season, forms):
    assert LEARNER.forms(CombinationSettings(season)) == forms
    assert set(forms) & set(STABLE) <= set(AUTO.forms(CombinationSettings(season)))


def test_a_long_season_is_fitted_without_start_estimation():
    t = np.arange(200)
    values = forecast([10 + np.sin(2 * np.pi * t / 60)], {"season_length": 60})
    np.testing.assert_allclose(values[0], 10 + np.sin(2 * np.pi * np.arange(200, 200 + H) / 60), atol=0.05)


def test_parameters_are_checked_and_the_space_names_further_seasons():
    panel = Panel.of([SERIES[0]])
    for params in ({"combine": "mean"}, {"season_length": 0}, {"season_length": 2.5}, {"seasons": 4}):
        with pytest.raises(ConfigError, match="exponential_smoothing"):
            LEARNER.fit(panel, params, CONTEXT)
    facts = Facts("forecasting", horizon=24, items=3, shortest=300, longest=400, seasons=(24, 168, 336))
    assert LEARNER.space(facts) == [{}, {"season_length": 168}]


def test_the_deadline_is_kept(panel):
    late = FitContext(horizon=H, seasons=(M,), deadline=Deadline.after(-1.0))
    with pytest.raises(DeadlineExceeded):
        LEARNER.fit(panel, {}, late)


def chosen(fitted) -> list[str]:
    """The form that auto_ets selected for each series."""
    return [STABLE[at] for at in arrays_of(fitted)["weight"].argmax(axis=1)]


def test_auto_ets_finds_the_form_that_made_the_series():
    rng, t, n = np.random.default_rng(4), np.arange(120), 120
    season = np.array([1.4, 0.7, 0.8, 1.1])[t % M]
    growing = (10 + 0.5 * t) * season * (1 + 0.03 * rng.normal(size=n))
    steady = 50 + 20 * season + rng.normal(size=n)
    walk = 100 + np.cumsum(rng.normal(size=n))
    forms = chosen(AUTO.fit(Panel.of([growing, steady, walk]), {}, CONTEXT))
    assert forms[0][0] == "M" and forms[0].endswith("M") and smoothing.has_trend(forms[0])
    assert forms[1][-1] in "AM" and not smoothing.has_trend(forms[1])
    assert forms[2][-1] == "N"


def test_auto_ets_gives_multiplicative_forms_to_positive_series_alone():
    fitted = AUTO.fit(Panel.of([random_series(seed, 60) - 5.0 for seed in range(1, 12)]), {}, CONTEXT)
    assert {form[0] for form in chosen(fitted)} == {"A"}


def test_the_criterion_of_auto_ets_is_no_higher_than_that_of_statsmodels():
    """Its own optimiser, over the same forms and region, on series of three kinds."""
    ets = pytest.importorskip("statsmodels.tsa.exponential_smoothing.ets")
    series = [random_series(seed, 48) for seed in (1, 2, 4)]
    fitted = AUTO.fit(Panel.of(series), {}, CONTEXT)
    ours = arrays_of(fitted)["criterion"] + 96 * np.log(arrays_of(fitted)["scale"])
    for i, y in enumerate(series):
        for error, season in (("add", "add"), ("mul", "add"), ("add", None)):
            model = ets.ETSModel(y, error=error, seasonal=season, seasonal_periods=M if season else None)
            found = model.fit(disp=False, maxiter=200)
            n, k = 48, 3 + M * (season is not None)
            theirs = -2 * found.llf - n * (np.log(2 * np.pi) + 1) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
            assert ours[i] < theirs + 0.1, (i, error, season)


def test_auto_ets_keeps_the_state_of_one_form(panel):
    fitted = AUTO.fit(panel, {}, CONTEXT)
    assert arrays_of(fitted)["state"].shape == (len(panel), 2 + M)
    longer = Panel.of([np.append(s, random_series(100 + i, 7)) for i, s in enumerate(SERIES)])
    moved = fitted.append(longer)
    again = AUTO.restore(*moved.state())
    np.testing.assert_array_equal(mean(again, longer), mean(moved, longer))
    assert (mean(moved, longer) != mean(fitted, panel)).any(axis=1).all()


def test_a_refit_of_auto_ets_is_nearly_as_good_as_a_fit():
    whole = Panel.of([random_series(seed, 60) for seed in range(1, 30)])
    earlier = AUTO.fit(whole.before(whole.lengths - 6), {}, CONTEXT)
    worse = (
        arrays_of(AUTO.refit(earlier, whole, CONTEXT))["criterion"]
        - arrays_of(AUTO.fit(whole, {}, CONTEXT))["criterion"]
    )
    assert np.median(worse) < 0.5 and np.mean(worse < 2.0) > 0.85


@pytest.mark.parametrize(("learner", "limit"), [(LEARNER, 0.95), (AUTO, 0.97)], ids=["weighted", "auto_ets"])
def test_monthly_series_of_the_m3_competition(shared_data, learner, limit):
    """Well below the seasonal naive (1.146 over all of them)."""
    import pyarrow.parquet as pq

    path, entry = shared_data("m3_monthly")
    table = pq.read_table(path).to_pydict()
    names = sorted(set(table["unique_id"]))[::24]
    rows = {name: ([], []) for name in names}
    for name, y, split in zip(table["unique_id"], table["y"], table["split"], strict=True):
        if name in rows:
            rows[name][split != "train"].append(y)
    h, m = entry["horizon"], entry["season_length"]
    train = [np.array(known) for known, _ in rows.values()]
    panel = Panel.of(train)
    values = mean(learner.fit(panel, {}, FitContext(horizon=h, seasons=(m,))), panel, h)
    truth = np.array([future for _, future in rows.values()])
    scale = np.array([np.abs(y[m:] - y[:-m]).mean() for y in train])
    assert (np.abs(values - truth).mean(axis=1) / scale).mean() < limit
