"""The learner of complex exponential smoothing: choice of the form, quantiles, append."""

from __future__ import annotations

import numpy as np

from forecastml.data.panel import Panel
from forecastml.kernels.complex_smoothing import FORMS
from forecastml.learners.complex_smoothing import ComplexSmoothing
from forecastml.protocols import FitContext

CONTEXT = FitContext(horizon=8, seasons=(4,))
SLOTS = np.array([-30.0, 20.0, 40.0, -30.0])


def walk(length: int, seed: int, season: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    level = 200.0 + np.cumsum(random.normal(size=length))
    return level + random.normal(size=length) + season * SLOTS[np.arange(length) % 4]


def forms_of(*series: np.ndarray) -> list[str]:
    fitted = ComplexSmoothing().fit(Panel.of(series), {}, CONTEXT)
    return [tuple(FORMS)[int(at)] for at in fitted.memory["form"]]


def test_a_season_is_chosen_where_there_is_one():
    without = forms_of(*[walk(80, seed) for seed in range(20)])
    assert without.count("none") >= 18
    with_season = forms_of(*[walk(80, seed, 1.0) for seed in range(20)])
    assert "none" not in with_season


def test_forecasts_a_season():
    series = [walk(80, seed, 1.0) for seed in range(10)]
    fitted = ComplexSmoothing().fit(Panel.of(series), {}, CONTEXT)
    values = fitted.predict(Panel.of(series), 8, ("mean",)).mean.reshape(10, 8)
    level = np.array([np.mean(y[-4:]) for y in series])[:, None]
    assert np.abs(values - level - SLOTS[np.arange(8) % 4]).mean() < 5.0


def test_quantiles_cover_what_they_say():
    series = [walk(88, seed, seed % 2) for seed in range(150)]
    panel = Panel.of([y[:80] for y in series])
    fitted = ComplexSmoothing().fit(panel, {}, CONTEXT)
    values = fitted.predict(panel, 8, ("mean", "0.1", "0.5", "0.9")).values.reshape(150, 8, 4)
    actual = np.stack([y[80:] for y in series])
    assert (np.diff(values[:, :, 1:], axis=2) > 0).all()
    assert 0.68 < ((values[:, :, 1] <= actual) & (actual <= values[:, :, 3])).mean() < 0.9


def test_append_is_the_filter_run_on():
    whole = Panel.of([walk(63, 5, 1.0), walk(52, 6)])
    fitted = ComplexSmoothing().fit(whole.before(np.array([60, 47])), {}, CONTEXT)
    moved = fitted.append(whole)
    fresh = ComplexSmoothing().fit(whole, {}, CONTEXT)
    one, other = (f.predict(whole, 8, ("mean",)).mean for f in (moved, fresh))
    np.testing.assert_allclose(one, other, rtol=0.03)
    assert (moved.memory["season"] != fitted.memory["season"])[0].any()


def test_a_refit_keeps_forms_open_and_is_no_worse():
    series = [walk(70, seed, seed % 2) for seed in range(30)]
    whole = Panel.of(series)
    previous = ComplexSmoothing().fit(whole.before(np.full(30, 62)), {}, CONTEXT)
    refitted, fresh = ComplexSmoothing().refit(previous, whole, CONTEXT), ComplexSmoothing().fit(whole, {}, CONTEXT)
    assert refitted.memory["variance"].mean() < 1.05 * fresh.memory["variance"].mean()
    assert (refitted.memory["form"] == fresh.memory["form"]).mean() > 0.7


def test_without_a_context_of_seasons_only_the_plain_form_is_there():
    series = Panel.of([walk(80, 1, 1.0)])
    fitted = ComplexSmoothing().fit(series, {}, FitContext(horizon=3))
    assert fitted.memory["form"].tolist() == [0.0] and fitted.memory["season"].shape == (1, 2)
