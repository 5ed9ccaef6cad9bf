"""Target transforms: told and told back, what they know at an origin, and what forecasts make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, LearnerError
from forecastml.features.history import History
from forecastml.features.panel import FeatureSet
from forecastml.features.points import Points
from forecastml.features.standing import CHOICES, choices
from forecastml.features.target import KINDS, TRANSFORMS, TargetTransform
from forecastml.kernels.lags import lagged
from forecastml.kernels.powers import EXPONENTS, box_cox, guerrero, inverse_box_cox
from forecastml.learners.boosting import LightGBM
from forecastml.learners.linear import Ridge
from forecastml.learners.reduced import ReducedModel
from forecastml.protocols import FitContext

NAN = np.nan
STEPS = ("recursive", "direct")
#: Transforms that follow a straight line.
STRAIGHT = ("difference", "seasonal_difference", "auto_difference", "detrend")
#: Transforms of which a forecast grows with the unit of its series.
EQUIVARIANT = [kind for kind, (power, _, scale) in TRANSFORMS.items() if power == "none" and scale != "none"]


def means(fitted, panel, horizon):
    return fitted.predict(panel, horizon, ("mean",)).mean.reshape(len(panel), horizon)


def forecast(learner, panel, kind, steps, horizon, seasons=()):
    context = FitContext(horizon=horizon, seasons=seasons)
    return means(learner.fit(panel, {"transform": kind, "steps": steps}, context), panel, horizon)


def parts(transform, panel, step=1):
    """Base and scale of every row of a compact panel, told `step` rows before."""
    panel = replace(panel, target=transform.forward(panel.target))
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    rows, first = np.arange(len(series)), panel.begin[series]
    anchor, position = np.maximum(rows - step + 1, first), rows - first
    points = Points(series, position, np.full(len(rows), step))
    levels = [level[anchor] for level in transform.levels(History(panel.target, position), step)]
    standing = transform.standing(panel)
    base = transform.base(levels, lambda back: lagged(panel.target, rows, first, back), points, standing)
    return np.where(position >= step, base, NAN), standing


def walks(lengths=(90, 70, 41, 30), seed=0):
    random = np.random.default_rng(seed)
    return [100 + random.normal(size=n).cumsum() + 5 * np.sin(np.pi * np.arange(n) / 2) for n in lengths]


@pytest.mark.parametrize(
    ("kind", "base", "scale", "other"),
    [
        ("difference", 81, 16 + 8 * 9 - 8, 5),
        ("seasonal_difference", 36, None, 5),
        ("scale", np.mean([36, 49, 64, 81]), None, 5),
        ("mean", 0, np.mean(np.arange(20) ** 2), 0),
        ("standard", np.mean(np.arange(20) ** 2), np.std(np.arange(20) ** 2), 5),
        ("min_max", 0, 361, 5),
        ("robust", (81 + 100) / 2, np.subtract(*np.quantile(np.arange(20) ** 2, [0.75, 0.25])), 5),
        ("none", 0, 1, 0),
        ("detrend", np.polyval(np.polyfit(np.arange(10), np.arange(10) ** 2, 1), 10), None, 5),
        ("auto_difference", 81, None, 5),
    ],
)
def test_parts_are_what_their_names_say(kind, base, scale, other):
    panel = Panel.of([np.arange(20.0) ** 2, [5.0] * 9])
    found, standing = parts(TargetTransform(kind, 4), panel)
    assert np.isnan(found[[0, 20]]).all()
    assert found[10] == pytest.approx(base)
    np.testing.assert_allclose(found[21:], other)
    error = np.mean(np.arange(4, 20) ** 2 - np.arange(16) ** 2)
    assert standing.scale[0] == pytest.approx(error if TRANSFORMS[kind][2] == "error" else scale)
    assert standing.scale[1] == {"mean": 5, "none": 1}.get(kind, 0)


def test_an_unknown_transform_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="transform 'logarithm' is unknown; use scale, difference"):
        TargetTransform("logarithm")


positive = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=40)


@settings(max_examples=15, deadline=None)
@given(st.lists(positive, min_size=1, max_size=3), st.sampled_from([1, 4]), st.integers(1, 5))
def test_what_is_told_is_told_back(series, season, step):
    panel = Panel.of(series)
    for kind in KINDS:
        transform = TargetTransform(kind, season).fitted(panel)
        base, standing = parts(transform, panel, step)
        scale = np.repeat(standing.scale, panel.lengths)
        use = np.flatnonzero(~np.isnan(base) & (scale > 0))
        told = (transform.forward(panel.target)[use] - base[use]) / scale[use]
        back = transform.backward(base[use] + scale[use] * told)
        np.testing.assert_allclose(back, panel.target[use], rtol=1e-9, atol=1e-6)
        assert (transform.forward(panel.target) <= np.repeat(standing.ceiling, panel.lengths) + 1e-9).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if TRANSFORMS[kind][1] not in ("mean", "min", "median")])
def test_a_base_is_read_from_what_was_known_at_the_origin(kind):
    panel = Panel.of(walks())
    transform = TargetTransform(kind, 4).fitted(panel)
    changed = panel.target.copy()
    changed[60:90] = np.random.default_rng(1).exponential(size=30)
    for step in (1, 6):
        before, _ = parts(transform, panel, step)
        after, _ = parts(transform, replace(panel, target=changed), step)
        # Which base "auto" takes is the series' own, whenever it is asked.
        if TRANSFORMS[kind][1] != "auto":
            np.testing.assert_array_equal(before[: 60 + step], after[: 60 + step])
        np.testing.assert_array_equal(before[90:], after[90:])


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_knows_nothing_after_its_origin_and_nothing_of_neighbours(kind, steps):
    panel = Panel.of(walks())
    cut = np.array([80, 61, 35, 30])
    spoilt = panel.target.copy()
    spoilt[80:90], spoilt[90 + 61 : 160] = 1e6, 3.0
    context = FitContext(horizon=6, seasons=(4,))
    fitted = Ridge().fit(panel.before(cut), {"transform": kind, "steps": steps}, context)
    found = means(fitted, panel.before(cut), 6)
    later = replace(panel, target=spoilt).before(cut)
    np.testing.assert_array_equal(
        found, means(Ridge().fit(later, {"transform": kind, "steps": steps}, context), later, 6)
    )
    alone = panel.before(cut).select(np.array([1]))
    np.testing.assert_array_equal(means(fitted, alone, 6)[0], found[1])
    mixed = panel.before(cut).select(np.array([2, 0, 3]))
    np.testing.assert_array_equal(means(fitted, mixed, 6), found[[2, 0, 3]])
    np.testing.assert_array_equal(means(fitted, panel.before(cut).last(fitted.lookback).compact(), 6), found)


@pytest.mark.parametrize("kind", [*EQUIVARIANT, "box_cox"])
def test_a_forecast_has_the_unit_of_its_series(kind):
    small = Panel.of(walks())
    large = replace(small, target=small.target * 1000)
    for steps in STEPS:
        one, other = (forecast(Ridge(), panel, kind, steps, 6, (4,)) for panel in (small, large))
        np.testing.assert_allclose(other, one * 1000, rtol=1e-4)


@pytest.mark.parametrize("kind", STRAIGHT)
@pytest.mark.parametrize("steps", STEPS)
def test_trees_follow_a_line(steps, kind):
    line = 3 * np.arange(224.0) + 50
    for seasons in ((), (12,)):
        found = forecast(LightGBM(), Panel.of([line[:200]]), kind, steps, 24, seasons)[0]
        np.testing.assert_allclose(found, line[200:], rtol=0.01)


@pytest.mark.parametrize("kind", STRAIGHT)
@pytest.mark.parametrize("steps", STEPS)
def test_trees_follow_a_line_among_others(steps, kind):
    random = np.random.default_rng(0)
    others = [1000 + 5 * random.normal(size=80).cumsum(), 5e4 - 7.0 * np.arange(90.0)]
    line = 3 * np.arange(224.0) + 50
    found = forecast(LightGBM(), Panel.of([line[:200], *others]), kind, steps, 24, (12,))[0]
    np.testing.assert_allclose(found, line[200:], rtol=0.01)


@pytest.mark.parametrize("kind", ["log_difference", "box_cox"])
@pytest.mark.parametrize("steps", STEPS)
def test_trees_follow_exponential_growth(kind, steps):
    curve = 1000 * 1.03 ** np.arange(144.0)
    found = forecast(LightGBM(), Panel.of([curve[:120]]), kind, steps, 24, (12,))[0]
    np.testing.assert_allclose(found, curve[120:], rtol=0.01 if steps == "recursive" else 0.03)


@pytest.mark.parametrize("kind", STRAIGHT)
@pytest.mark.parametrize("steps", STEPS)
def test_trends_are_followed_better_than_by_the_last_season(kind, steps):
    random = np.random.default_rng(0)
    time = np.arange(92.0)
    wave = np.array([2.0, 9, -6, -5] * 23)
    series = [100 + 0.6 * time + random.normal(size=92).cumsum() for _ in range(3)]
    series += [200 + 0.8 * time + wave * k + random.normal(size=92) for k in range(1, 4)]
    panel = Panel.of(series)
    found = forecast(LightGBM(), panel.before(np.full(6, 80)), kind, steps, 12, (4,))
    truth, naive = (np.stack([s[a:b] for s in series]) for a, b in ((80, 92), (76, 80)))
    ours, theirs = np.abs(found - truth), np.abs(np.tile(naive, 3) - truth)
    assert ours[:3].mean() < theirs[:3].mean()
    assert ours[3:].mean() < 0.6 * theirs[3:].mean()


def test_a_season_further_back_is_moved_by_the_change_over_the_last_one():
    squares = np.arange(20.0) ** 2
    panel = Panel.of([squares, [5.0, 6.0, 7.0]])
    for step, seasons in ((1, 1), (4, 1), (5, 2), (9, 3)):
        base, _ = parts(TargetTransform("seasonal_difference", 4), panel, step)
        known = squares[: 18 - step + 1]
        change = np.mean(known[-4:] - known[-8:-4])
        assert base[18] == squares[18 - 4 * seasons] + (seasons - 1) * change
        assert np.isnan(base[20])
        assert base[22] == 6 if step == 1 else np.isnan(base[22])
    line = 3 * np.arange(60.0) + 50
    base, _ = parts(TargetTransform("seasonal_difference", 4), Panel.of([line]), 11)
    np.testing.assert_array_equal(line[19:] - base[19:], 12)


@pytest.mark.parametrize("season", [1, 4, 7])
def test_a_trend_is_the_least_squares_line(season):
    panel = Panel.of(walks((60, 5, 1)))
    transform = TargetTransform("detrend", season)
    for step in (1, 3):
        base, _ = parts(transform, panel, step)
        for row, position, begin in [(30, 30, 0), (7, 7, 0), (59, 59, 0), (64, 4, 60)]:
            known = panel.target[begin + max(0, position - step + 1 - transform.depth) : row - step + 1]
            line = np.polyfit(np.arange(len(known)), known, 1)
            assert base[row] == pytest.approx(np.polyval(line, len(known) - 1 + step), rel=1e-9)
    flat, _ = parts(transform, Panel.of([[0.1] * 30]))
    assert set(flat[1:]) == {0.1}


def test_tests_choose_the_base_of_each_series():
    random = np.random.default_rng(0)
    noise, season = random.normal(size=97), np.tile([0.0, 8, 3, -5], 25)[:97]
    series = [noise, noise.cumsum() * 3, season + noise, 3 * np.arange(97.0) + 50, np.full(97, 0.1), noise[:1], []]
    expected = ["level", "last", "slot", "last", "level", "level", "level"]
    panel = Panel.of(series)
    assert [CHOICES[k] for k in choices(panel, 4)] == expected
    moved = replace(panel, target=panel.target * 1e-9 + 7.0)
    assert [CHOICES[k] for k in choices(moved, 4)] == expected
    late = Panel.of([np.append([NAN] * 9, s) for s in series])
    assert [CHOICES[k] for k in choices(late, 4)] == expected
    assert [CHOICES[k] for k in choices(panel, 1)] == ["level", "last", "level", "last", "level", "level", "level"]


@pytest.mark.parametrize(
    ("kind", "bound", "bad"), [("log", -1, -1.0), ("log_difference", -1, -3.0), ("box_cox", 0, 0.0)]
)
def test_a_power_refuses_values_that_it_has_no_answer_for(kind, bound, bad):
    panel = Panel.of([np.arange(1.0, 30), [5.0, bad, 4.0, 2.0]])
    message = f"'{kind}' needs values above {bound}, .*'y' of unique_id=1 has .*'scale'"
    with pytest.raises(LearnerError, match=message):
        Ridge().fit(panel, {"transform": kind}, FitContext(horizon=2))
    fitted = Ridge().fit(panel.select(np.array([0])), {"transform": kind}, FitContext(horizon=2))
    never = Panel.of([np.arange(1.0, 30), [bad] * 20])
    assert fitted.append(never).status == ("ok", f"no recent values above {bound}")
    assert np.isnan(means(fitted, never, 2)[1]).all()


@pytest.mark.parametrize("kind", ["log_difference", "box_cox"])
def test_a_power_does_not_explode(kind):
    class Rocket:
        def predict(self, x):
            return np.full(len(x), 1e4)

    panel = Panel.of([np.arange(1.0, 40), np.exp(np.arange(30.0) / 9)])
    transform = TargetTransform(kind, 1).fitted(panel)
    for steps in (0, 5):
        model = ReducedModel(FeatureSet(), transform, Rocket(), steps)
        found = model.predict(panel, 5)
        largest = np.array([[39.0], [np.exp(29 / 9)]])
        np.testing.assert_allclose(found[:, -1:], 10 * largest)
        assert (found <= 10 * largest * (1 + 1e-9)).all()


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
def test_powers_are_undone(exponent):
    values = np.array([1e-3, 0.5, 1.0, 7.0, 1e5])
    np.testing.assert_allclose(inverse_box_cox(box_cox(values, exponent), exponent), values, rtol=1e-9)
    assert np.isnan(box_cox(np.array([0.0, -1.0, NAN]), exponent)).all()


def test_the_exponent_is_that_of_guerrero():
    random = np.random.default_rng(0)
    level, wave = np.repeat(np.linspace(10, 100, 24), 4), np.tile([-1.0, 2.0, 0.0, -1.0], 24)
    series = [level + wave, level * (1 + wave / 9), level + random.normal(size=96), level[:11], [3.0] * 20, []]
    panel = Panel.of(series)
    found = guerrero(panel.target, panel.begin, panel.end, 4)
    assert found[:2].tolist() == [1, 0]
    assert np.isnan(found[3:]).all()
    for i in range(3):
        blocks = series[i].reshape(-1, 4)
        ratios = [blocks.std(axis=1) / blocks.mean(axis=1) ** (1 - k) for k in EXPONENTS]
        assert found[i] == EXPONENTS[int(np.argmin([r.std() / r.mean() for r in ratios]))]
    some = Panel.of(series[:3])
    assert TargetTransform("box_cox", 4).fitted(some).exponent == pytest.approx(np.median(found[:3]))
    assert TargetTransform("box_cox", 4).fitted(Panel.of([[3.0]])).exponent == 1.0


@pytest.mark.filterwarnings("error")
def test_units_of_series_may_be_of_any_size():
    shape = np.array([3.0, 9, 7, 6, 4, 8, 2, 5, 9, 4, 6, 1])
    panel = Panel.of([shape, shape * 2.0**900, shape * 2.0**-900, [], [NAN] * 4, [NAN, 5.0, 5.0]])
    for kind in EQUIVARIANT:
        base, standing = parts(TargetTransform(kind, 4), panel)
        np.testing.assert_array_equal(standing.scale[1:3], standing.scale[0] * 2.0 ** np.array([900.0, -900]))
        np.testing.assert_array_equal(base[12:24], base[:12] * 2.0**900)
        assert standing.scale[3:5].tolist() == [0, 0]
        assert standing.scale[5] == (5 if kind == "mean" else 0)
        assert base[-1] == (0 if kind == "mean" else 5)
    box_cox_of = TargetTransform("box_cox", 4).fitted
    assert box_cox_of(panel) == box_cox_of(panel.select(np.array([0])))


def test_what_was_fitted_is_kept_on_disk():
    panel = Panel.of(walks())
    fitted = Ridge().fit(panel, {"transform": "box_cox"}, FitContext(horizon=3, seasons=(4,)))
    restored = Ridge().restore(*fitted.state())
    assert restored.models[0].transform == fitted.models[0].transform != TargetTransform("box_cox", 4)
    np.testing.assert_array_equal(means(restored, panel, 3), means(fitted, panel, 3))
