"""MSTL as a learner: seasons, their lengths and smoothers, gaps, logarithms, a moving origin, and the model inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError
from forecastml.kernels.stl import Loess
from forecastml.learners.chunks import Chunk
from forecastml.learners.mstl import CYCLES, Mstl, MstlSettings
from forecastml.learners.registry import get_learner, register, unregister
from forecastml.learners.seasonal_adjustment import (
    ALL_CYCLES,
    SMOOTHERS,
    Adjustment,
    chosen_smoothers,
    growing,
    last_cycle,
    seasons_ahead,
    whole_cycles,
)
from forecastml.learners.stand_in import normal_quantiles
from forecastml.learners.vectorised import VectorisedLearner
from forecastml.protocols import Capabilities, Facts, FitContext

DATA = Path(__file__).parents[3] / "shared" / "data"
CONTEXT = FitContext(horizon=8, seasons=(4, 12))


class Level(VectorisedLearner):
    """The mean of the last known values, one of each of the last four steps, with a spread of 1 (scaled)."""

    name = "level"
    capabilities = Capabilities(missing=True, quantiles=True)

    def fit_chunk(self, chunk, settings, context, previous):
        begun = {"last": np.repeat(chunk.values[:1].T, 4, axis=1)}
        return self.advance(begun, settings, chunk.values, chunk.lengths)

    def project(self, memory, settings, steps, levels):
        last = memory["last"]
        mean = np.repeat(((last[:, 0] + last[:, 1] + last[:, 2] + last[:, 3]) / 4)[None], steps, axis=0)
        return mean, normal_quantiles(mean, np.ones_like(mean), levels)

    def advance(self, memory, settings, values, lengths):
        last = memory["last"].copy()
        for value in values:
            known = ~np.isnan(value)
            last[known] = np.column_stack([last[known, 1:], value[known]])
        return {"last": last}


@pytest.fixture(autouse=True)
def level():
    yield register(Level())
    unregister("level")


def waves(time: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Level 10, a season of 4 and one of 12 that is no multiple of it."""
    t = np.arange(time)
    short, long = np.array([2.0, -1.0, 0.5, -1.5])[t % 4], 3.0 * np.sin(2 * np.pi * t / 12 + 0.3)
    return 10.0 + short + long + noise * np.random.default_rng(seed).normal(size=time)


def forecast(series, horizon=8, context=CONTEXT, frequency=None, outputs=("mean",), **params) -> np.ndarray:
    """(series, horizon) or (series, horizon, outputs) from a fresh fit with the simple model."""
    panel = Panel.of(series, frequency)
    fitted = Mstl().fit(panel, {"model": "level", **params}, context)
    values = fitted.predict(panel, horizon, outputs).values
    return values.reshape(len(panel), horizon, *([len(outputs)] if len(outputs) > 1 else []))


def test_two_seasons_go_on():
    truth = waves(130)
    got = forecast([truth[:120], truth[3:113]], 8)
    np.testing.assert_allclose(got[0], truth[120:128], atol=0.05)
    np.testing.assert_allclose(got[1], truth[113:121], atol=0.05)
    only = forecast([truth[:120]], 8, seasons=[4])
    assert np.abs(only[0] - truth[120:128]).max() > 1.0


def test_only_seasons_held_twice_are_taken_out():
    flat = forecast([waves(7)])
    assert np.ptp(flat) == 0.0
    quarter, year = forecast([waves(23), waves(24)])
    np.testing.assert_array_equal(quarter[:4], quarter[4:])
    assert (year[:4] != year[4:]).any()
    alone = Level().fit(Panel.of([waves(7)]), {}, CONTEXT)
    np.testing.assert_array_equal(alone.predict(Panel.of([waves(7)]), 8, ("mean",)).mean, flat[0])


def test_without_seasons_it_is_the_model_alone():
    panel = Panel.of([waves(60, 1.0), waves(9, 1.0)])
    context = FitContext(horizon=8)
    mine = Mstl().fit(panel, {}, context).predict(panel, 8, ("mean", "0.1")).values
    model = get_learner(MstlSettings.model).fit(panel, {}, context).predict(panel, 8, ("mean", "0.1")).values
    np.testing.assert_array_equal(mine, model)


def test_gaps_hardly_matter_and_long_ones_neither():
    truth = waves(152)
    holes = truth[:144].copy()
    holes[np.random.default_rng(1).choice(140, 20, replace=False)] = np.nan
    desert = truth[:144].copy()
    desert[60:85] = np.nan
    for got in forecast([holes, desert], 8):
        np.testing.assert_allclose(got, truth[144:152], atol=0.3)
    sparse = np.full(40, np.nan)
    sparse[::9] = 5.0
    np.testing.assert_array_equal(forecast([sparse]), 5.0)


def test_quantiles_lie_around_the_seasons():
    values = forecast([waves(120)], outputs=("mean", "0.1", "0.9"))[0]
    spread = values[:, 2] - values[:, 0]
    np.testing.assert_allclose(spread, spread[0], rtol=1e-12)
    np.testing.assert_allclose(values[:, 0] - values[:, 1], spread, rtol=1e-9)
    assert np.ptp(values[:, 0]) > 3.0


def test_append_turns_the_seasons_and_moves_the_model():
    truth = waves(150)
    whole = Panel.of([truth[:137], truth[:100]])
    early = whole.before(np.array([120, 97]))
    fitted = Mstl().fit(early, {"model": "level"}, CONTEXT)
    moved = fitted.append(whole)
    got = moved.predict(whole, 8, ("mean",)).mean.reshape(2, 8)
    np.testing.assert_allclose(got, [truth[137:145], truth[100:108]], atol=0.1)
    np.testing.assert_array_equal(moved.memory["season.1"], fitted.memory["season.1"])
    raised = Panel.of([np.append(truth[:120], truth[120:137] + 5.0), truth[:100]])
    higher = fitted.append(raised).predict(raised, 8, ("mean",)).mean.reshape(2, 8)
    np.testing.assert_allclose(higher[0], got[0] + 5.0, atol=1e-9)
    np.testing.assert_array_equal(higher[1], got[1])


def test_growing_seasons_are_seen_and_followed():
    t = np.arange(128)
    trend = 100.0 * 1.02**t
    product = trend * (1 + 0.3 * np.sin(2 * np.pi * t / 4))
    panel = Panel.of([product[:120], trend[:120] + 30 * np.sin(2 * np.pi * t[:120] / 4), -product[:120], [3.0] * 120])
    values = panel.target.reshape(4, 120).T
    chunk = Chunk.of(values, panel.lengths, panel.lengths)
    assert growing(chunk, 4).tolist() == [True, False, False, False]
    context = FitContext(horizon=8, seasons=(4,))
    errors = []
    for log in ("never", "auto", "always"):
        fitted = Mstl().fit(panel, {"log": log}, context)
        got = fitted.predict(panel, 8, ("mean", "0.5")).values.reshape(4, 8, 2)
        errors.append(np.abs(got[0, :, 0] / product[120:] - 1).max())
        assert np.isfinite(got).all()
    assert errors[1] == errors[2] < 0.6 * errors[0]


def test_a_logarithm_that_is_not_there_counts_as_unknown():
    values = np.exp(waves(60) / 5)
    panel = Panel.of([values, values])
    fitted = Mstl().fit(panel, {"model": "level", "log": "always"}, CONTEXT)
    longer = Panel.of([np.append(values, [0.0, -3.0]), np.append(values, [np.nan, np.nan])])
    zero, gap = fitted.append(longer).predict(longer, 4, ("mean",)).mean.reshape(2, 4)
    np.testing.assert_array_equal(zero, gap)
    np.testing.assert_allclose(zero, np.exp((waves(66) / 5)[62:]), rtol=0.1)


def test_a_year_of_days_has_its_true_length():
    settings = Mstl().fit(Panel.of([waves(60)], Frequency("day")), {"model": "level"}, FitContext(seasons=(7, 365)))
    assert settings.settings.seasons == (7.0, 365.25)
    weeks = Mstl().fit(Panel.of([waves(60)], Frequency("day", 7)), {"model": "level"}, FitContext(seasons=(52,)))
    assert weeks.settings.seasons == (365.25 / 7,)
    t = np.arange(365 * 9)
    truth = 10 + 3 * np.sin(2 * np.pi * t / 365.25) + (t % 7 == 0)
    n = 365 * 8 + 100
    context = FitContext(horizon=30, seasons=(7, 365))
    (exact,) = forecast([truth[:n]], 30, context, Frequency("day"))
    (whole,) = forecast([truth[:n]], 30, context)
    errors = [np.abs(got - truth[n : n + 30]).max() for got in (exact, whole)]
    assert errors[0] < 0.15 and errors[0] < errors[1]


def test_seasons_ahead_begin_where_the_series_ends():
    season = np.sin(np.arange(31))[:, None]
    table = last_cycle(season, 12.0).T
    np.testing.assert_array_equal(table[0], season[19:, 0])
    got = seasons_ahead(table, 12.0, np.arange(5, 30)[:, None])
    np.testing.assert_array_equal(got[:, 0], table[0, np.arange(5, 30) % 12])
    broken = last_cycle(np.arange(30.0)[:, None], 7.5).T
    assert broken.shape == (1, 8)
    ahead = seasons_ahead(broken, 7.5, np.arange(15)[:, None])
    assert set(np.unique(ahead)) <= set(np.arange(22.0, 30.0))
    np.testing.assert_array_equal(ahead[:7, 0], np.arange(22.0, 29.0) + (ahead[0, 0] - 22.0))


def test_each_series_chooses_its_smoother():
    random = np.random.default_rng(0)
    fixed = np.repeat(random.normal(size=(1, 24)), 40, axis=0) + 0.5 * random.normal(size=(40, 24))
    walk = np.cumsum(random.normal(size=(40, 24)), axis=0)
    line = np.arange(40)[:, None] * random.normal(size=(1, 24)) + 0.1 * random.normal(size=(40, 24))
    cycles = np.stack([fixed, walk, line], axis=2)
    chosen = [SMOOTHERS[place] for place in chosen_smoothers(cycles, 1)]
    assert [smoother.degree for smoother in chosen] == [0, 0, 1]
    assert chosen[0].window >= 11 and chosen[1].window == 3
    for i, smoother in enumerate(chosen):
        (alone,) = chosen_smoothers(np.ascontiguousarray(cycles[..., [i]]), 1)
        assert SMOOTHERS[alone] == smoother


def test_plans_smooth_long_seasons_from_slot_to_slot_only():
    plans = Adjustment((24.0, 168.0, 8766.0), None, 48).plans(3, Loess(7, 0))
    assert [plan.seasonal for plan in plans] == [Loess(7, 0), ALL_CYCLES, ALL_CYCLES]
    assert [plan.polish is None for plan in plans] == [True, True, False]
    assert [Adjustment((24.0,), None, h).lead for h in (1, 24, 48, 72, 168)] == [1, 1, 1, 2, 4]


def test_history_is_so_many_cycles():
    learner = Mstl()
    for seasons, expected in [((), 500), ((24, 168), CYCLES * 168), ((24, 168, 8766), 40_000), ((30_000,), 60_000)]:
        assert learner.history(MstlSettings.of("mstl", {}, FitContext(seasons=seasons))) == expected
    assert learner.space(Facts("forecasting", 8, 3, 1, 60, (4,))) == [{}]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"season_length": 3}, "no parameter 'season_length'"),
        ({"seasons": [24, 0]}, "2 steps or more"),
        ({"window": 4}, "window is 4"),
        ({"window": 2.5}, "window is 2.5"),
        ({"log": True}, "log is True"),
        ({"model": "naive"}, "'naive'"),
        ({"model": "mstl"}, "'mstl'"),
        ({"model": "nothing"}, "nothing"),
    ],
)
def test_a_wrong_parameter_is_told(params, told):
    with pytest.raises(ConfigError, match=told):
        Mstl().fit(Panel.of([[1.0]]), params, CONTEXT)


def test_a_refit_keeps_the_smoothers_and_nothing_else():
    whole = Panel.of([waves(100, 0.3), waves(61, 0.3)])
    early = whole.before(whole.lengths - 8)
    params = {"model": "level", "window": 7}
    again = Mstl().refit(Mstl().fit(early, params, CONTEXT), whole, CONTEXT)
    for name, array in Mstl().fit(whole, params, CONTEXT).memory.arrays.items():
        np.testing.assert_array_equal(again.memory[name], array, err_msg=name)
    chosen = Mstl().fit(early, {"model": "level"}, CONTEXT)
    assert (chosen.memory["choice"] >= 0).tolist() == [True, False]
    kept = Mstl().refit(chosen, whole, CONTEXT).memory["choice"]
    assert kept[0] == chosen.memory["choice"][0]


def test_the_oldest_values_of_long_series_make_up_whole_cycles():
    values = np.append(waves(203), np.nan)
    values[3:5] = np.nan
    short = np.append(waves(40), np.full(164, np.nan))
    lengths = np.array([204, 40])
    chunk = Chunk.of(np.stack([values, short], axis=1), lengths, np.array([201, 40]))
    whole = whole_cycles(chunk, 12)
    assert whole.lengths.tolist() == [204, 40] and whole is chunk
    whole = whole_cycles(chunk, 10)
    assert whole.lengths.tolist() == [200, 40] and whole.known.tolist() == [199, 40]
    np.testing.assert_array_equal(whole.values[1:, 0], chunk.values[5:, 0])
    np.testing.assert_array_equal(whole.values[:, 1], chunk.values[:200, 1])
    assert whole.values[0, 0] == chunk.filled[4, 0]
    np.testing.assert_array_equal(whole.scale, chunk.scale)


def test_series_of_different_seasons_stack():
    short, long = Panel.of([waves(9)]), Panel.of([waves(90)])
    fits = [Mstl().fit(panel, {"model": "level"}, CONTEXT) for panel in (short, long)]
    both = fits[0].stack(fits[1:])
    panel = Panel.of([waves(9), waves(90)])
    alone = [f.predict(p, 5, ("mean",)).mean for f, p in zip(fits, (short, long), strict=True)]
    np.testing.assert_array_equal(both.predict(panel, 5, ("mean",)).mean, np.concatenate(alone))


@pytest.mark.skipif(not (DATA / "m4_hourly.parquet").exists(), reason="the public data sets are not beside the project")
def test_hourly_series_of_the_m4_competition_beat_the_seasonal_naive_by_far():
    import pandas as pd

    rows = pd.read_parquet(DATA / "m4_hourly.parquet").sort_values(["unique_id", "ds"])
    train = [y.to_numpy(float) for _, y in rows[rows["split"] == "train"].groupby("unique_id")["y"]][::10]
    context = replace(CONTEXT, horizon=48, seasons=(24, 168))
    panel = Panel.of([y[:-48] for y in train], Frequency("microsecond", 3_600_000_000))
    got = Mstl().fit(panel, {}, context).predict(panel, 48, ("mean",)).mean.reshape(-1, 48)
    naive = np.stack([np.resize(y[-72:-48], 48) for y in train])
    scale = np.array([np.abs(y[24:-48] - y[:-72]).mean() for y in train])
    mine, theirs = (
        np.mean([np.abs(f - y[-48:]).mean() / s for f, y, s in zip(values, train, scale, strict=True)])
        for values in (got, naive)
    )
    assert mine < 0.85 * theirs
