"""What the frame of vectorised learners promises of each of them, and what quantiles are where they are declared.

The learners come from the registry; the toy of the frame's own tests is with them, so that a promise that no
registered learner makes yet is tested too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.learners import vectorised
from forecastml.learners.registry import get_learner, learner_names
from forecastml.learners.stand_in import room
from forecastml.learners.vectorised import VectorisedForecaster, VectorisedLearner
from forecastml.protocols import Learner
from tests.contracts.test_learner import CONTEXT, HORIZON, SEASON, fit, forecast, ragged, ready, same
from tests.learners.test_vectorised import Multiple

LEARNERS = {name: get_learner(name) for name in learner_names()} | {Multiple.name: Multiple()}
VECTORISED = [name for name, learner in LEARNERS.items() if isinstance(learner, VectorisedLearner)]
QUANTILES = [name for name, learner in LEARNERS.items() if learner.capabilities.quantiles]
LEVELS = ("0.05", "0.1", "0.5", "0.9", "0.95")


@pytest.fixture(params=VECTORISED)
def learner(request) -> VectorisedLearner:
    return LEARNERS[request.param]


@pytest.fixture(params=QUANTILES)
def levelled(request) -> Learner:
    """A learner with quantiles of its own."""
    return LEARNERS[request.param]


def outputs(learner: Learner) -> tuple[str, ...]:
    return ("mean", *LEVELS) if learner.capabilities.quantiles else ("mean",)


def everything(fitted: VectorisedForecaster, panel: Panel, horizon: int = HORIZON) -> np.ndarray:
    """Mean and quantiles: float64 (series, horizon, outputs)."""
    names = outputs(fitted.learner)
    return fitted.predict(panel, horizon, names).values.reshape(len(panel), horizon, len(names))


def test_borders_of_chunks_change_no_bit(learner, monkeypatch):
    whole = ragged(7, 30, seed=11)
    early = whole.before(np.maximum(whole.lengths - HORIZON, 1))

    def found() -> list[np.ndarray]:
        fitted = fit(learner, early)
        refitted = learner.refit(fitted, whole, CONTEXT)
        return [everything(fitted, early), everything(refitted, whole), everything(fitted.append(whole), whole)]

    monkeypatch.setattr(type(learner), "chunk", 1000)
    at_once = found()
    monkeypatch.setattr(type(learner), "chunk", 3)
    monkeypatch.setattr(vectorised, "PROJECTED", 4)
    for one, other in zip(at_once, found(), strict=True):
        same(one, other)


def test_a_scale_of_a_power_of_two_scales_the_forecasts(learner):
    drawn = ragged(8, 40, seed=12)
    panel = Panel.of([drawn.values(i) for i in range(8)])
    power = np.array([-40, -3, 0, 1, 2, 7, 30, 60])
    scaled = replace(panel, target=np.ldexp(panel.target, np.repeat(power, panel.lengths)))
    values = everything(fit(learner, panel), panel)
    same(everything(fit(learner, scaled), scaled), np.ldexp(values, power[:, None, None]))


def test_what_is_unknown_before_the_first_value_changes_nothing(learner):
    panel = Panel.of([[3.0, 5.0, 4.0, 6.0, np.nan, 4.0, 7.0] * 3, [2.0]])
    late = Panel.of([[np.nan] * (SEASON + 1) + panel.values(i).tolist() for i in range(len(panel))])
    same(everything(fit(learner, late), late), everything(fit(learner, panel), panel))


STEEP = {
    "line": np.arange(40.0),
    "growth": 1.3 ** np.arange(40.0),
    "decay": 1.3 ** -np.arange(40.0),
    "outlier at the end": np.append(np.arange(39.0) % SEASON, 1e6),
    "outlier below": np.append(10.0 + np.arange(39.0) % SEASON, -1e6),
    "jump": np.repeat([1.0, 1000.0], [37, 3]),
    "swings of growing size": (-1.2) ** np.arange(40.0),
    "short growth": 10.0 ** np.arange(5.0),
}


def test_forecasts_stay_within_reach_of_the_history(learner):
    panel = Panel.of(list(STEEP.values()))
    low, high = (np.array([edge(values) for values in STEEP.values()]) for edge in (np.min, np.max))
    fitted = fit(learner, panel)
    for horizon in (HORIZON, 12 * HORIZON):
        # The bounds are those of scaled values; back in units of the data they may differ in the last bits.
        around = (room(low, high, panel.lengths, horizon) * (1 + 1e-9)).T
        values = everything(fitted, panel, horizon)
        assert (values >= (low[:, None] - around)[:, :, None]).all()
        assert (values <= (high[:, None] + around)[:, :, None]).all()


def test_what_explodes_is_replaced_and_no_neighbour_notices(learner):
    family = type(learner)

    class Exploding(family):
        def project(self, memory, settings, steps, levels):
            mean, quantiles = super().project(memory, settings, steps, levels)
            return np.where(memory["rows"] > 30, np.exp(20.0 * np.arange(1, steps + 1))[:, None], mean), quantiles

    panel = ready(learner, ragged(6, 40, seed=13))
    sound, fitted = fit(learner, panel), fit(Exploding(), panel)
    gone = fitted.replaced
    assert gone.tolist() == ((fitted.memory["rows"] > 30) | sound.replaced).tolist()
    assert sound.replaced.sum() < gone.sum() < len(panel)
    values = everything(fitted, panel)
    same(values[~gone], everything(sound, panel)[~gone])
    level = (fitted.memory["level"] * fitted.memory["scale"])[gone]
    same(values[gone, :, 0], np.repeat(level[:, None], HORIZON, axis=1))
    if learner.capabilities.quantiles:
        assert (np.diff(values[gone][:, :, 1:], axis=2) >= 0).all()
        long = fitted.memory["rows"] > 30
        assert (values[long][:, :, 1] < values[long][:, :, 0]).all()


def quantiles_of(fitted, panel: Panel, horizon: int = HORIZON, levels: tuple[str, ...] = LEVELS) -> np.ndarray:
    """Quantiles alone: float64 (series, horizon, levels)."""
    return fitted.predict(panel, horizon, levels).values.reshape(len(panel), horizon, len(levels))


def test_quantiles_rise_with_the_level_and_surround_the_mean(levelled):
    panel = ready(levelled, ragged(12, 60, seed=14))
    fitted = fit(levelled, panel)
    values, mean = quantiles_of(fitted, panel, 2 * HORIZON), forecast(fitted, panel, 2 * HORIZON)
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=2) >= 0).all()
    long = panel.lengths >= 4 * SEASON
    assert (values[long, :, 1] < values[long, :, 3]).all()
    # The noise of these series is normal, so that mean and median are near each other.
    width = values[long, :, 3] - values[long, :, 1]
    assert (np.abs(values[long, :, 2] - mean[long]) <= 0.35 * width).all()


def test_a_quantile_depends_on_nothing_but_its_level_and_step(levelled):
    panel = ready(levelled, ragged(7, 40, seed=15))
    fitted = fit(levelled, panel)
    values = quantiles_of(fitted, panel)
    same(quantiles_of(fitted, panel, 3 * HORIZON)[:, :HORIZON], values)
    same(quantiles_of(fitted, panel, 1), values[:, :1])
    same(quantiles_of(fitted, panel, levels=("0.9", "0.05")), values[:, :, [3, 0]])
    same(forecast(fitted, panel), fitted.predict(panel, HORIZON, ("0.9", "mean")).values[:, 1].reshape(7, HORIZON))
    for i in (0, 3):
        alone = panel.select(np.array([i]))
        same(quantiles_of(fitted.take(np.array([i])), alone), values[i : i + 1])
        if levelled.capabilities.scope == "series":
            same(quantiles_of(fit(levelled, alone), alone), values[i : i + 1])


def test_quantiles_cover_what_they_say(levelled):
    if levelled.name == Multiple.name:
        pytest.skip("the toy's spread is made up")
    n = 40
    series = np.random.default_rng(16).normal(size=(n, 40 + HORIZON)) + 2.0 * np.sin(
        np.arange(40 + HORIZON) * 2 * np.pi / SEASON
    )
    panel = Panel.of(series[:, :40])
    values = quantiles_of(fit(levelled, panel), panel)
    inside = (values[:, :, 1] <= series[:, 40:]) & (series[:, 40:] <= values[:, :, 3])
    # An interval of 80 %; parameters estimated from 40 values make it somewhat too narrow.
    assert 0.6 <= inside.mean() <= 0.95
