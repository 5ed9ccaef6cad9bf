"""Baselines: what each of them says, and the golden scores of the public reference runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.learners import baseline
from forecastml.learners.registry import get_learner
from forecastml.protocols import Facts, FitContext

NAN = np.nan


def forecast(name, values, horizon=5, **params):
    panel = Panel.of([values])
    return get_learner(name).fit(panel, params, FitContext()).predict(panel, horizon, ("mean",)).mean


@pytest.mark.parametrize(
    ("name", "params", "values", "expected"),
    [
        ("naive", {}, [1, 2, 7], [7, 7, 7, 7, 7]),
        ("naive", {}, [1, 2, NAN], [2, 2, 2, 2, 2]),
        ("seasonal_naive", {"season_length": 3}, [9, 9, 1, 2, 3], [1, 2, 3, 1, 2]),
        ("seasonal_naive", {"season_length": 3}, [8, 9, 1, NAN, 3], [1, 8, 3, 1, 8]),
        ("seasonal_naive", {"season_length": 3}, [NAN, NAN, 1, NAN, 3], [1, 3, 3, 1, 3]),
        ("seasonal_naive", {"season_length": 3}, [5, 6], [6, 6, 6, 6, 6]),
        ("seasonal_naive", {}, [5, 6], [6, 6, 6, 6, 6]),
        ("average", {}, [1, 2, NAN, 6], [3, 3, 3, 3, 3]),
        ("seasonal_average", {"season_length": 2}, [100, 1, 3], [2, 2, 2, 2, 2]),
        ("seasonal_average", {"season_length": 2}, [100, 1, NAN], [1, 1, 1, 1, 1]),
        ("seasonal_average", {"season_length": 2}, [100, NAN, NAN], [100, 100, 100, 100, 100]),
        ("seasonal_average", {"season_length": 4}, [100, 1, 3], [3, 3, 3, 3, 3]),
        ("seasonal_average", {"season_length": 2, "slots": True}, [1, 10, 3, 20, NAN], [15, 2, 15, 2, 15]),
        ("drift", {}, [1, 2, 5], [7, 9, 11, 13, 15]),
        ("drift", {}, [NAN, 1, 3, 5, NAN], [9, 11, 13, 15, 17]),
        ("drift", {}, [4], [4, 4, 4, 4, 4]),
    ],
)
def test_says(name, params, values, expected):
    np.testing.assert_allclose(forecast(name, values, **params), expected, rtol=1e-14)


@pytest.mark.parametrize("name", ["seasonal_naive", "seasonal_average"])
def test_seasonal_ones_have_an_entry_per_season(name):
    facts = Facts("forecasting", 5, 1, 50, 50, seasons=(24, 168))
    assert get_learner(name).space(facts) == [{"season_length": 24}, {"season_length": 168}]
    assert get_learner(name).space(replace(facts, seasons=())) == []
    with pytest.raises(ConfigError, match=f"{name}: season_length is 0"):
        forecast(name, [1, 2, 3], season_length=0)


@pytest.mark.parametrize("start", [-7, 0, 3])
@pytest.mark.parametrize("step", [1, 3])
def test_the_place_in_the_season_follows_the_grid(start, step):
    series = np.tile([1.0, 2, 3, 4], 6)
    panel = Panel.of([series], start=[start * step])
    panel = replace(panel, frequency=replace(panel.frequency, step=step))
    for slots in (False, True):
        learner, params = get_learner("seasonal_average"), {"season_length": 4, "slots": slots}
        fitted = learner.fit(panel.before(np.array([9])), params, FitContext()).append(panel.before(np.array([14])))
        expected = [3, 4, 1] if slots else [2.5] * 3
        np.testing.assert_allclose(fitted.predict(panel, 3, ("mean",)).mean, expected)


@pytest.mark.parametrize("name", ["naive", "seasonal_naive", "average", "seasonal_average", "drift"])
def test_reading_on_equals_reading_all(name):
    random = np.random.default_rng(0)
    values = [np.where(random.random(n) < 0.2, NAN, random.normal(size=n)) for n in (40, 3, 23, 1)]
    panel = Panel.of(values)
    context = FitContext(seasons=(7,))
    whole = get_learner(name).fit(panel, {}, context)
    part = get_learner(name).fit(panel.before(np.array([17, 3, 0, 1])), {}, context).append(panel)
    np.testing.assert_array_equal(part.predict(panel, 9, ("mean",)).mean, whole.predict(panel, 9, ("mean",)).mean)
    assert part.status == whole.status


@pytest.mark.parametrize("name", ["naive", "seasonal_naive", "average", "seasonal_average", "drift"])
def test_series_read_in_blocks_are_the_same(name, monkeypatch):
    random = np.random.default_rng(0)
    whole = Panel.of([np.where(random.random(n) < 0.1, NAN, random.normal(size=n)) for n in (50, 1, 0, 33, 7, 90)])
    early = whole.before(whole.lengths - 6)

    def found():
        fitted = get_learner(name).fit(early, {"season_length": 4}, FitContext())
        parts = fitted, fitted.append(whole)
        return parts[1].status, [part.predict(whole, 5, ("mean",)).values for part in parts]

    at_once = found()
    monkeypatch.setattr(baseline, "READ", 1)
    status, values = found()
    assert status == at_once[0] and status.count("ok") == 5
    np.testing.assert_array_equal(values, at_once[1])


#: Printed by the reference system; normalised RMSE, mean over three folds.
GOLDEN = {
    "bike_share": {
        "naive": 0.13636973162301635,
        "seasonal_naive": 0.11669651439395544,
        "average": 0.36056973908167533,
        "seasonal_average": 0.12192637204203947,
    },
    "nyc_energy": {
        "naive": 0.16797185597779538,
        "seasonal_naive": 0.08277217488043159,
        "average": 0.16449304070952278,
        "seasonal_average": 0.1286777052676534,
    },
}
CONVENTIONS = {"bike_share": ("D", 609, 14, 1, 7), "nyc_energy": ("h", None, 48, 48, 24)}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_scores(name, shared_data):
    import pandas as pd

    path, _ = shared_data(name)
    frequency, rows, horizon, step, season = CONVENTIONS[name]
    table = pd.read_parquet(path).sort_values("ds")
    table = table.iloc[:rows] if rows else table[table["split"] == "train"]
    series = table.set_index("ds")["y"].asfreq(frequency).ffill().to_numpy(dtype=float)
    panel = Panel.of([series])
    for learner, expected in GOLDEN[name].items():
        losses = []
        for fold in range(3):
            cutoff = len(series) - horizon - fold * step
            train = panel.before(np.array([cutoff]))
            fitted = get_learner(learner).fit(train, {}, FitContext(horizon=horizon, seasons=(season,)))
            error = fitted.predict(train, horizon, ("mean",)).mean - series[cutoff : cutoff + horizon]
            losses.append(np.sqrt(np.mean(error**2)) / np.ptp(series))
        assert np.mean(losses) == pytest.approx(expected, rel=0, abs=1e-9)
