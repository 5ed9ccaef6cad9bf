"""What every registered learner of series must do; a new one is picked up by its name and needs no code here."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecastml.budget import Deadline
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import DeadlineExceeded
from forecastml.learners.registry import get_learner, learner_names
from forecastml.learners.state import OK
from forecastml.protocols import Capabilities, Combination, Facts, FitContext, Fitted, Learner, Refittable

SEASON, HORIZON = 4, 5
#: Learners that declare more seconds per item than this are tried on smaller panels.
QUICK_ITEM = 0.02
CONTEXT = FitContext(horizon=HORIZON, seasons=(SEASON,))


@pytest.fixture(params=[name for name in learner_names() if "forecasting" in get_learner(name).capabilities.tasks])
def learner(request) -> Learner:
    return get_learner(request.param)


def sized(learner: Learner, many: int, few: int) -> int:
    """How many series or examples a test affords: `few` of a learner that takes long for each series."""
    slow = learner.capabilities.item_cost > QUICK_ITEM or isinstance(learner, Combination)
    return few if slow else many


def with_covariates(panel: Panel, seed: int = 0) -> Panel:
    """The panel with known, past and static covariates (a number and a code each) and weights."""
    random = np.random.default_rng(seed)
    reach = panel.lengths + 3 * HORIZON

    def table(rows: int) -> np.ndarray:
        return np.column_stack([random.normal(size=rows), random.integers(-1, 3, rows).astype(float)])

    return replace(
        panel,
        schema=replace(
            panel.schema, known=("price", "event"), past=("visits", "mood"), static=("size", "kind"), weight="w"
        ),
        known=table(int(reach.sum())),
        known_end=np.cumsum(reach),
        known_begin=np.cumsum(reach) - reach,
        past=table(len(panel.target)),
        static=table(len(panel)),
        weight=random.integers(0, 3, len(panel.target)).astype(float),
        categories={name: ("a", "b", "c") for name in ("event", "mood", "kind")},
    )


def panel_of(values, **covariates) -> Panel:
    return with_covariates(Panel.of(values, Frequency("month_start", 3), np.arange(len(values))), **covariates)


def ragged(n: int, longest: int = 60, seed: int = 1) -> Panel:
    """Seasonal series with trends, noise and gaps, of lengths from 1 to `longest`."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, longest + 1, n)
    lengths[: min(n, 4)] = (longest, 1, 17, 5)[: min(n, 4)]
    series = []
    for length in lengths:
        t = np.arange(length)
        y = 10 + random.normal() * t + 3 * np.sin(2 * np.pi * t / SEASON) + random.normal(size=length)
        gaps = random.random(length) < 0.1
        gaps[-1] = False
        series.append(np.where(gaps, np.nan, y) * 10.0 ** random.integers(-3, 4))
    return panel_of(series)


def ready(learner: Learner, panel: Panel) -> Panel:
    """As the search hands it over."""
    return panel if learner.capabilities.missing else panel.filled()


def fit(learner: Learner, panel: Panel, context: FitContext = CONTEXT) -> Fitted:
    return learner.fit(ready(learner, panel), {}, context)


def forecast(fitted: Fitted, panel: Panel, horizon: int = HORIZON) -> np.ndarray:
    """Means (series, horizon)."""
    return fitted.predict(panel, horizon, ("mean",)).mean.reshape(len(panel), horizon)


def check_rows(fitted: Fitted, panel: Panel, horizon: int = HORIZON) -> np.ndarray:
    """A finite forecast for each series whose status is ok, NaN for each other: means (series, horizon)."""
    values = forecast(fitted, panel, horizon)
    assert len(fitted.status) == len(panel)
    ok = np.array([status == OK for status in fitted.status], dtype=bool)
    assert all(fitted.status)
    assert np.isfinite(values[ok]).all()
    assert np.isnan(values[~ok]).all()
    return values


def same(one: np.ndarray, other: np.ndarray) -> None:
    """Equal in every bit, NaN equal to NaN."""
    np.testing.assert_array_equal(one, other)


def test_says_what_it_is(learner):
    assert get_learner(learner.name) is not None
    assert learner.name in learner_names()
    assert isinstance(learner.capabilities, Capabilities)
    assert learner.capabilities.scope in ("series", "pooled")
    assert learner.capabilities.covariates <= {"known", "past", "static"}
    assert learner.capabilities.cost > 0


@pytest.mark.parametrize("seasons", [(), (4,), (4, 12)])
def test_every_set_of_its_space_can_be_fitted_and_written_down(learner, seasons):
    panel = ragged(sized(learner, 6, 4), sized(learner, 60, 20))
    facts = Facts("forecasting", HORIZON, len(panel), 1, 60, seasons, demand={"intermittent": 1.0})
    space = learner.space(facts)
    assert len({json.dumps(dict(params), sort_keys=True) for params in space}) == len(space)
    for params in space:
        assert json.loads(json.dumps(dict(params))) == dict(params)
        context = replace(CONTEXT, seasons=seasons)
        check_rows(learner.fit(ready(learner, panel), params, context), ready(learner, panel))


@pytest.mark.parametrize("horizon", [1, HORIZON, 3 * HORIZON])
def test_predicts_horizon_rows_per_series_and_a_column_per_output(learner, horizon):
    panel = ready(learner, ragged(sized(learner, 5, 3), sized(learner, 60, 20)))
    fitted = fit(learner, panel)
    prediction = fitted.predict(panel, horizon, ("mean", "0.1", "0.9"))
    assert prediction.values.shape == (len(panel) * horizon, 3)
    assert prediction.values.dtype == np.float64
    assert prediction.outputs == ("mean", "0.1", "0.9")
    same(prediction.mean, fitted.predict(panel, horizon, ("mean",)).mean)
    assert np.isfinite(prediction.mean).all()
    assert np.isnan(prediction.values[:, 1:]).all() != learner.capabilities.quantiles
    same(forecast(fitted, panel, horizon)[:, :1], forecast(fitted, panel, 1))


def test_the_future_changes_no_bit(learner):
    whole = ragged(sized(learner, 8, 3), sized(learner, 60, 20), seed=3)
    cutoff = np.maximum(whole.lengths - HORIZON, 1)
    before = whole.before(cutoff)
    after = np.ones(len(whole.target), dtype=bool)
    for i in range(len(whole)):
        after[whole.begin[i] : whole.begin[i] + cutoff[i]] = False
    poisoned = replace(
        whole,
        target=np.where(after, 1e9, whole.target),
        past=np.where(after[:, None], 1e9, whole.past),
        weight=np.where(after, 1e9, whole.weight),
    ).before(cutoff)
    assert after.any()
    clean, dirty = ready(learner, before), ready(learner, poisoned)
    same(forecast(fit(learner, clean), clean), forecast(fit(learner, dirty), dirty))


def test_a_series_alone_equals_itself_among_others(learner):
    n = sized(learner, 1001, 6)
    panel = ready(learner, ragged(n, sized(learner, 60, 20)))
    fitted = fit(learner, panel)
    among = forecast(fitted, panel)
    random = np.random.default_rng(5)
    for size in (1, 2, 7)[: sized(learner, 3, 2)]:
        for first in range(sized(learner, 4, 2)):
            items = np.append(first, random.choice(np.arange(4, n), size - 1, replace=False))
            part = panel.select(items)
            same(forecast(fitted.take(items), part), among[items])
            if learner.capabilities.scope == "series":
                same(forecast(fit(learner, part), part), among[items])


def test_order_and_names_of_series_change_nothing(learner):
    n = sized(learner, 9, 4)
    panel = ready(learner, ragged(n, sized(learner, 60, 20)))
    values = forecast(fit(learner, panel), panel)
    order = np.random.default_rng(2).permutation(len(panel))
    shuffled = panel.select(order)
    same(forecast(fit(learner, shuffled), shuffled), values[order])
    renamed = replace(panel, keys=np.array([[f"ü{i * 7 % 9}"] for i in range(n)], dtype=object))
    same(forecast(fit(learner, renamed), renamed), values)
    relaid = shuffled.compact()
    same(forecast(fit(learner, relaid), relaid), values[order])


def test_threads_change_nothing(learner):
    panel = ready(learner, ragged(sized(learner, 30, 2), sized(learner, 60, 20)))
    one, two = (fit(learner, panel, replace(CONTEXT, threads=threads)) for threads in (1, 2))
    same(forecast(one, panel), forecast(two, panel))


def test_a_repeat_is_equal(learner):
    panel = ready(learner, ragged(sized(learner, 6, 3), sized(learner, 60, 20)))
    fitted = fit(learner, panel)
    same(forecast(fitted, panel), forecast(fitted, panel))
    same(forecast(fit(learner, panel), panel), forecast(fitted, panel))


def test_inputs_stay_as_they_are(learner):
    panel = ready(learner, ragged(sized(learner, 6, 3), sized(learner, 60, 20)))
    for field in fields(panel):
        value = getattr(panel, field.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    fitted = fit(learner, panel)
    values = forecast(fitted, panel)
    if learner.capabilities.append:
        fitted.append(panel)
    same(forecast(fitted, panel), values)


def stored(fitted: Fitted) -> tuple[dict, dict]:
    """The state after a way through an npz file without pickle and a JSON text."""
    arrays, values = fitted.state()
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return dict(loaded), json.loads(json.dumps(values, allow_nan=False))


def test_state_restores_an_equal_object(learner):
    panel = ready(learner, ragged(7, sized(learner, 60, 20)))
    fitted = fit(learner, panel)
    if not learner.capabilities.native_state:
        pytest.skip("declares no native state")
    again = learner.restore(*stored(fitted))
    assert again.status == fitted.status
    assert getattr(again, "lookback", 1) == getattr(fitted, "lookback", 1)
    same(forecast(again, panel), forecast(fitted, panel))
    same(forecast(pickle.loads(pickle.dumps(fitted)), panel), forecast(fitted, panel))


def test_take_and_stack_close_the_algebra(learner):
    panel = ready(learner, ragged(7, sized(learner, 60, 20)))
    fitted = fit(learner, panel)
    items = np.array([5, 0, 3])
    rest = np.array([6, 1, 2, 4])
    part = fitted.take(items)
    assert part.status == tuple(fitted.status[i] for i in items)
    whole = part.stack([fitted.take(rest)])
    order = np.concatenate([items, rest])
    same(forecast(whole, panel.select(order)), forecast(fitted, panel)[order])
    if learner.capabilities.native_state:
        again = learner.restore(*stored(whole))
        same(forecast(again, panel.select(order)), forecast(fitted, panel)[order])


def test_objects_fitted_on_different_panels_stack(learner):
    panel = ready(learner, ragged(7, sized(learner, 60, 20)))
    left, right = panel.select(np.arange(3)), panel.select(np.arange(3, 7))
    one, other = fit(learner, left), fit(learner, right)
    both = one.stack([other])
    values = np.concatenate([forecast(one, left), forecast(other, right)])
    same(forecast(both, panel), values)
    order = np.array([6, 2, 0])
    same(forecast(both.take(order), panel.select(order)), values[order])
    if learner.capabilities.append:
        same(forecast(both.append(panel), panel), values)


def test_append_moves_the_origin(learner):
    if not learner.capabilities.append:
        pytest.skip("declares no append")
    whole = ready(learner, ragged(sized(learner, 8, 4), sized(learner, 60, 20), seed=7)).compact()
    early = whole.before(whole.lengths - 2 * HORIZON)
    middle = whole.before(whole.lengths - HORIZON)
    fitted = fit(learner, early)
    same(forecast(fitted.append(early), early), forecast(fitted, early))
    there = [status == OK for status in fitted.status]
    moved = fitted.append(middle)
    values = check_rows(moved, middle)
    assert (values[there] != forecast(fitted, early)[there]).any()
    once, twice = fitted.append(whole), moved.append(whole)
    same(forecast(twice, whole), forecast(once, whole))
    kept = whole.last(max(getattr(fitted, "lookback", 1), 2 * HORIZON)).compact()
    same(forecast(fitted.append(kept), kept), forecast(once, whole))


def test_a_refit_is_as_good_as_a_fit(learner):
    if not isinstance(learner, Refittable):
        pytest.skip("cannot be refitted")
    whole = ready(learner, ragged(sized(learner, 8, 4), sized(learner, 60, 20), seed=7))
    previous = fit(learner, whole.before(np.maximum(whole.lengths - HORIZON, 1)))
    refitted = learner.refit(previous, whole, CONTEXT)
    values = check_rows(refitted, whole)
    same(forecast(learner.refit(previous, whole, CONTEXT), whole), values)
    assert refitted.status == fit(learner, whole).status


ODD = {
    "constant": [[3.0] * 20, [3.0] * 3, [-1e-9] * 9],
    "zeros": [[0.0] * 30, [0.0], [0.0] * 5],
    "negatives": [list(-np.arange(1.0, 25.0)), [-5.0, -4.0]],
    "intermittent": [[0, 0, 0, 5, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0], [0] * 30 + [1] + [0] * 9],
    "gaps": [[1, np.nan, np.nan, 4, 2, np.nan] * 4 + [np.nan] * 2, [np.nan, np.nan, 3.0], [np.nan, 2.0, np.nan]],
    "short": [list(np.arange(1.0, n + 1) % 4) for n in range(1, 11)],
    "huge": [list(1e15 * (2 + np.sin(np.arange(30.0)))), [1e15, 3e15]],
    "tiny": [list(1e-12 * (2 + np.sin(np.arange(30.0)))), [1e-12, 3e-12]],
    "mixed": [list(1e12 * (2 + np.sin(np.arange(30.0)))), list(1e-9 * np.arange(9.0)), [7.0], [0.0] * 12],
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_series_get_finite_forecasts(learner, kind):
    for panel in (panel_of(ODD[kind]), Panel.of(ODD[kind]))[: sized(learner, 2, 1)]:
        panel = ready(learner, panel)
        values = check_rows(fit(learner, panel), panel, 2 * HORIZON)
        long_enough = panel.lengths >= learner.capabilities.minimum_length
        assert np.isfinite(values[long_enough]).all()
        largest = np.nanmax(np.abs(panel.target))
        assert np.nanmax(np.abs(values), initial=0) <= 100 * max(largest, 1e-300)


def test_a_constant_stays_constant(learner):
    panel = panel_of([[3.0] * 20, [3.0] * 3, [1e7] * 9, [0.0] * 12])
    values = forecast(fit(learner, panel), panel)
    np.testing.assert_allclose(values, np.repeat([[3.0], [3.0], [1e7], [0.0]], HORIZON, axis=1), rtol=1e-9, atol=1e-12)


def test_series_without_values_say_so(learner):
    panel = ready(learner, panel_of([[], [np.nan] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0, 2.0]]))
    fitted = fit(learner, panel)
    check_rows(fitted, panel)
    assert [status == OK for status in fitted.status] == [False, False, True]
    if learner.capabilities.append:
        longer = ready(learner, panel_of([[2.0, 3.0], [np.nan] * 6 + [1.0], [1.0, 2.0, 3, 4, 5, 4, 3, 2]]))
        check_rows(fitted.append(longer), longer)
    empty = panel.select(np.empty(0, dtype=np.int64))
    assert forecast(fitted.take(np.empty(0, dtype=np.int64)), empty).shape == (0, HORIZON)
    nothing = fit(learner, panel.select(np.array([0, 1])))
    check_rows(nothing, panel.select(np.array([0, 1])))


def test_weights_are_honoured_where_declared(learner):
    if not learner.capabilities.weights:
        pytest.skip("declares no weights")
    panel = ragged(20)
    heavy = replace(panel, weight=np.where(np.arange(len(panel.target)) % 2, 1.0, 1e-6))
    assert not np.array_equal(forecast(fit(learner, panel), panel), forecast(fit(learner, heavy), heavy))


#: Learners that leave out columns which tell little alone: with hardly a penalty they look at all.
CHOOSY = {"elastic_net": {"alpha": 1e-6}, "lasso_lars": {"alpha": 1e-6}}


@pytest.mark.parametrize("kind", ["known", "past", "static"])
def test_covariates_are_used_where_declared(learner, kind):
    random = np.random.default_rng(0)
    n = sized(learner, 12, 2)
    length = sized(learner, 80, 30)
    panel = Panel.of(np.zeros((n, length)))
    panel = with_covariates(replace(panel, target=random.normal(size=panel.target.shape)))
    steps = np.arange(length)
    driver = {"static": np.repeat(panel.static[:, :1], length, axis=1)}
    driver["known"] = panel.known[:, 0].reshape(n, -1)[:, :length]
    driver["past"] = np.roll(panel.past[:, 0].reshape(n, length), HORIZON, axis=1)
    # Noise, so that lags do not tell all of it to a learner that looks at few features.
    signal = (np.where(steps % 2, 1, -1) * 10 * driver[kind]).ravel()
    panel = replace(panel, target=signal + 3 * panel.target, weight=None)
    blind = replace(panel, **{kind: np.zeros_like(getattr(panel, kind))})
    params = CHOOSY.get(learner.name, {})
    found = [forecast(learner.fit(ready(learner, data), params, CONTEXT), data) for data in (panel, blind)]
    used = not np.array_equal(*found)
    assert used == (kind in learner.capabilities.covariates)


def test_a_passed_deadline_stops_the_fit(learner):
    if not learner.capabilities.interruptible:
        pytest.skip("runs in a child that can be killed")
    with pytest.raises(DeadlineExceeded):
        fit(learner, ragged(5), replace(CONTEXT, deadline=Deadline(at=0.0)))


def test_it_is_quiet(learner, capfd):
    panel = ready(learner, ragged(sized(learner, 12, 3), sized(learner, 60, 20)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for part in (panel, panel.select(np.array([1]))):
            fitted = fit(learner, part)
            forecast(fitted, part)
            if learner.capabilities.native_state:
                forecast(learner.restore(*fitted.state()), part)
    assert capfd.readouterr() == ("", "")


VALUES = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from([0.0, 1.0, 1e-9]))
PANELS = st.lists(st.lists(VALUES, min_size=1, max_size=60), min_size=1, max_size=6)


def test_any_panel_gets_an_answer_or_a_reason(learner):
    @settings(max_examples=sized(learner, 15, 3), deadline=None)
    @example(values=[[0.0, 2.225073858507e-311]], seasons=(), horizon=1)
    @given(values=PANELS, seasons=st.sampled_from([(), (2,), (7,), (12,), (4, 12)]), horizon=st.integers(1, 9))
    def check(values, seasons, horizon):
        panel = ready(learner, panel_of(values[: sized(learner, 6, 2)]))
        context = replace(CONTEXT, horizon=horizon, seasons=seasons)
        fitted = fit(learner, panel, context)
        found = check_rows(fitted, panel, horizon)
        if learner.capabilities.scope == "series":
            last = panel.select(np.array([len(panel) - 1]))
            same(forecast(fit(learner, last, context), last, horizon), found[-1:])

    check()
