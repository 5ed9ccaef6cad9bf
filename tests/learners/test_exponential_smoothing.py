"""Exponential smoothing as a learner: forms, weights, odd series, a moving origin, no influence between series."""

from __future__ import annotations

import json

import numpy as np
import pytest

from forecastml.budget import Deadline
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, DeadlineExceeded
from forecastml.kernels import smoothing
from forecastml.learners import exponential_smoothing, smoothing_search
from forecastml.learners.exponential_smoothing import FORMS, ExponentialSmoothing, Settings, form_weights
from forecastml.learners.registry import get_learner
from forecastml.protocols import Facts, FitContext, Refittable

H, M = 6, 4
CONTEXT = FitContext(horizon=H, seasons=(M,))
LEARNER = ExponentialSmoothing()


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
    monkeypatch.setattr(exponential_smoothing, "CHUNK", chunk)
    monkeypatch.setattr(smoothing_search, "CELLS", cells)
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
    multiplicative = [i for i, form in enumerate(FORMS) if smoothing.is_multiplicative(form)]
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
    settings = Settings("select", M)
    criterion = np.full((2, len(FORMS)), np.inf)
    criterion[:, 0] = 100.0
    criterion[:, 1] = 100.0 - exponential_smoothing.UNDAMPED_PENALTY + np.array([0.5, -0.5])
    np.testing.assert_array_equal(np.argmax(form_weights(criterion, settings), axis=1), [0, 1])


def test_the_criterion_counts_parameters():
    counts = {form: Settings("weight", 12).degrees(form) for form in FORMS}
    assert counts == dict(zip(FORMS, (3, 5, 6, 15, 17, 18, 15, 17, 18), strict=True))


def test_an_explosion_is_excluded():
    t = np.arange(40)
    series = np.where(t < 36, 1.0, 10.0 ** (3 * (t - 35.0)))
    assert np.isfinite(forecast([series], horizon=400)).all()
    fitted = LEARNER.fit(Panel.of([series]), {}, FitContext(horizon=2000, seasons=(M,)))
    far = mean(fitted, Panel.of([series]), 2000)
    assert np.abs(far).max() <= exponential_smoothing.EXPLOSION * 2 * series.max()


def test_append_is_the_filter_with_parameters_kept(panel, fitted):
    longer = [np.append(s, random_series(100 + i, i)) for i, s in enumerate(SERIES)]
    whole = Panel.of(longer)
    moved = fitted.append(whole)
    before, after = arrays_of(fitted), arrays_of(moved)
    for name in ("weight", "odds", "scale"):
        np.testing.assert_array_equal(before[name], after[name])
    np.testing.assert_array_equal(after["origin"], whole.last_ordinal)
    n = len(SERIES)
    for i in (1, 2, 8, 12):
        for at, form in enumerate(FORMS):
            if before["weight"][i, at] == 0:
                continue
            width = moved.settings.width(form)
            state = before["state"].reshape(n, len(FORMS), -1)[i, at, :width, None, None].copy()
            parameters = smoothing_search.parameters_of(form, before["odds"].reshape(n, len(FORMS), 4)[i, at])
            rows = longer[i][len(SERIES[i]) :] / before["scale"][i]
            smoothing.roll(form, rows[:, None], np.array([len(rows)]), parameters[:, None, None], state)
            np.testing.assert_array_equal(
                after["state"].reshape(n, len(FORMS), -1)[i, at, :width], state[:, 0, 0], err_msg=form
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
    assert sum(array.nbytes for array in arrays.values()) < 1000 * len(SERIES)
    with pytest.raises(ConfigError, match="same parameters"):
        fitted.stack([LEARNER.fit(panel, {"season_length": 3}, CONTEXT)])


def test_refit_starts_from_before_and_finds_a_fit_as_good(monkeypatch):
    series = [random_series(seed, 60) for seed in range(1, 20)]
    whole = Panel.of(series)
    earlier = LEARNER.fit(whole.before(whole.lengths - 6), {"combine": "select"}, CONTEXT)
    kept = {name: array.copy() for name, array in arrays_of(earlier).items()}
    work = {"trials": 0}
    squares = smoothing_search.Search.squares

    def counted(self, odds):
        work["trials"] += odds.shape[1] * odds.shape[2]
        return squares(self, odds)

    monkeypatch.setattr(smoothing_search.Search, "squares", counted)
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


def test_outputs_other_than_the_mean_are_left_to_the_caller(panel, fitted):
    prediction = fitted.predict(panel, H, ("mean", "0.1"))
    assert prediction.outputs == ("mean", "0.1")
    assert np.isfinite(prediction.values[:, 0]).all()
    assert np.isnan(prediction.values[:, 1]).all()
    np.testing.assert_array_equal(prediction.values[:, 0].reshape(-1, H)[:, :3], mean(fitted, panel, 3))


def test_only_the_recent_history_counts(monkeypatch):
    monkeypatch.setattr(exponential_smoothing, "HISTORY", 40)
    recent = random_series(1, 40)
    older = np.append(random_series(2, 30) * 50, recent)
    np.testing.assert_array_equal(*forecast([older, recent]))


@pytest.mark.parametrize(("season", "forms"), [(1, FORMS[:3]), (4, FORMS), (168, exponential_smoothing.LEAN)])
def test_the_forms_depend_on_the_season(season, forms):
    assert Settings("weight", season).forms == forms


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


def test_monthly_series_of_the_m3_competition(shared_data):
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
    values = mean(LEARNER.fit(panel, {}, FitContext(horizon=h, seasons=(m,))), panel, h)
    truth = np.array([future for _, future in rows.values()])
    scale = np.array([np.abs(y[m:] - y[:-m]).mean() for y in train])
    assert (np.abs(values - truth).mean(axis=1) / scale).mean() < 0.95
