"""The frame of vectorised learners, with a family so simple that its results are known."""

from __future__ import annotations

import io

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.learners.stand_in import normal_quantiles
from forecastml.learners.vectorised import Settings, VectorisedLearner
from forecastml.protocols import Capabilities, FitContext

CONTEXT = FitContext(horizon=3)


class Multiple(VectorisedLearner):
    """Forecasts the last known value times a factor per step, with a spread of 1 (scaled)."""

    name = "multiple"
    capabilities = Capabilities(missing=True, quantiles=True)
    chunk = 2

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def fit_chunk(self, chunk, settings, context, previous):
        return self.advance({"last": np.zeros(len(chunk))}, settings, chunk.values, chunk.lengths)

    def project(self, memory, settings, steps, levels):
        mean = memory["last"] * self.factor ** np.arange(1, steps + 1)[:, None]
        return mean, normal_quantiles(mean, np.ones_like(mean), levels)

    def advance(self, memory, settings, values, lengths):
        last = memory["last"].copy()
        for value in values:
            last = np.where(np.isnan(value), last, value)
        return {"last": last}


def forecast(learner: Multiple, panel: Panel, horizon: int = 3) -> np.ndarray:
    fitted = learner.fit(panel, {}, CONTEXT)
    return fitted.predict(panel, horizon, ("mean",)).mean.reshape(len(panel), horizon)


def test_every_series_gets_its_own_row_whatever_the_lengths():
    panel = Panel.of([[1.0, 2.0], [], [5.0, 7.0, np.nan, 9.0], [np.nan, 3.0, np.nan], [1e9], [np.nan] * 2])
    fitted = Multiple().fit(panel, {}, CONTEXT)
    np.testing.assert_array_equal(forecast(Multiple(), panel)[:, 0], [2.0, np.nan, 9.0, 3.0, 1e9, np.nan])
    assert fitted.status == ("ok", "no values", "ok", "ok", "ok", "no values")


def test_what_explodes_is_replaced_by_simple_smoothing_and_labelled():
    panel = Panel.of([[1.0, 2.0, 1.0], [5.0, 5.0]])
    fitted = Multiple(100.0).fit(panel, {}, CONTEXT)
    assert fitted.replaced.tolist() == [True, True]
    level = 1.0 + 0.2 * 1.0
    level += 0.2 * (1.0 - level)
    values = fitted.predict(panel, 2, ("mean", "0.1", "0.9")).values.reshape(2, 2, 3)
    np.testing.assert_allclose(values[:, :, 0], [[level] * 2, [5.0] * 2], rtol=1e-14)
    spread = np.sqrt((0.0 + 1.0 + 0.2**2) / 3)
    np.testing.assert_allclose(values[0, 0, 2] - level, 1.2815515655 * spread, rtol=1e-9)
    assert (values[1] == 5.0).all()


def test_a_forecast_beyond_the_fitted_horizon_stays_within_reach_of_the_history():
    panel = Panel.of([[1.0, 2.0, 1.5, 2.0]])
    values = forecast(Multiple(1.5), panel, 40)[0]
    assert not Multiple(1.5).fit(panel, {}, CONTEXT).replaced.any()
    assert (np.diff(values) >= 0).all() and values[-1] == pytest.approx(2.0 + 10.0 * 40 / 4, rel=1e-5)
    np.testing.assert_array_equal(values[:3], 2.0 * 1.5 ** np.arange(1, 4))


def test_append_reads_on_and_remembers_the_range():
    whole = Panel.of([[1.0, 2.0, 8.0, np.nan, 4.0], [3.0, 3.0]])
    early = whole.before(np.array([2, 2]))
    fitted = Multiple().fit(early, {}, CONTEXT)
    moved = fitted.append(whole)
    assert moved.predict(whole, 1, ("mean",)).mean.tolist() == [4.0, 3.0]
    assert fitted.predict(early, 1, ("mean",)).mean.tolist() == [2.0, 3.0]
    memory, fresh = moved.memory, Multiple().fit(whole, {}, CONTEXT).memory
    for name in ("low", "high", "rows", "level", "error", "errors"):
        power = 2 if name == "error" else 0 if name in ("rows", "errors") else 1
        ratio = memory["scale"] ** power / fresh["scale"] ** power
        np.testing.assert_allclose(memory[name] * ratio, fresh[name], rtol=1e-12)


def test_the_state_goes_through_a_file():
    panel = Panel.of([[1.0, 2.0], [5.0]])
    fitted = Multiple().fit(panel, {"season_length": 3}, CONTEXT)
    arrays, values = fitted.state()
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    again = Multiple().restore(dict(np.load(file)), values)
    assert again.settings == Settings(3) == fitted.settings
    assert again.predict(panel, 2, ("mean",)).mean.tolist() == [2.0, 2.0, 5.0, 5.0]


def test_nothing_at_all_can_be_fitted():
    nothing = Panel.of([])
    fitted = Multiple().fit(nothing, {}, CONTEXT)
    assert fitted.predict(nothing, 3, ("mean",)).values.shape == (0, 1)
    assert len(fitted.stack([Multiple().fit(Panel.of([[1.0]]), {}, CONTEXT)]).status) == 1


@pytest.mark.parametrize("params", [{"season_length": 0}, {"season_length": 2.5}, {"colour": "red"}])
def test_a_wrong_parameter_is_told(params):
    with pytest.raises(ConfigError, match=f"multiple.*{next(iter(params))}"):
        Multiple().fit(Panel.of([[1.0]]), params, CONTEXT)
