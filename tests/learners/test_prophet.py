"""Prophet: our arithmetic equals its own forecast, it is silent, and it leaves nothing behind."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecastml.data.calendar import DAY, HOUR
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError
from forecastml.features.holidays import holiday_days, holiday_names
from forecastml.learners import prophet as adapter
from forecastml.learners.prophet_curve import clock_of, waves
from forecastml.learners.registry import get_learner
from forecastml.learners.state import OK
from forecastml.protocols import Facts, FitContext
from tests.learners.test_arima import with_known

DAYS = Frequency("day")
START = int(np.datetime64("2019-03-01").astype("datetime64[D]").astype(int))


def daily(n: int = 400, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    t = np.arange(n)
    return 50 + 0.05 * t + 5 * np.sin(2 * np.pi * t / 7) + random.normal(size=n)


def holiday_table(first: int, last: int, seen: np.ndarray) -> pd.DataFrame:
    """Holidays of the US that lie on some day that was seen, named so that they sort like their columns."""
    days = holiday_days(("US",), first, last)
    rows = [
        (f"h{place:04d}", np.datetime64(int(day), "D"))
        for place, name in enumerate(holiday_names(("US",)))
        if np.isin(days.get(name, []), seen).any()
        for day in days[name]
    ]
    return pd.DataFrame(rows, columns=["holiday", "ds"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_forecasts_equal_those_of_the_library(kind, monkeypatch):
    monkeypatch.setattr(logging.getLogger("cmdstanpy"), "disabled", True)
    from prophet import Prophet

    y, x = daily(), np.random.default_rng(1).normal(size=(430, 2))
    y += 2 * x[:400, 0]
    y[[10, 50, 51]] = np.nan
    panel = with_known(Panel.of([y], DAYS, [START]), x[None], 30)
    context = FitContext(horizon=30, holidays=("US",))
    fitted = get_learner("prophet").fit(panel, {"seasonality": kind}, context)
    there = np.flatnonzero(~np.isnan(y))
    z = (x - x[there].mean(axis=0)) / x[there].std(axis=0)
    dates = (START + np.arange(430)).astype("datetime64[D]").astype("datetime64[us]")
    table = pd.DataFrame({"ds": dates, "y": np.append(y, np.full(30, np.nan)), "a": z[:, 0], "b": z[:, 1]})
    model = Prophet(
        yearly_seasonality=False,
        weekly_seasonality=3,
        daily_seasonality=False,
        seasonality_mode=kind,
        uncertainty_samples=0,
        holidays=holiday_table(START, START + 430, START + there),
    )
    for name in "ab":
        model.add_regressor(name, standardize=False)
    model.fit(table[:400], algorithm="LBFGS", seed=1)
    ours = fitted.predict(panel, 30, ("mean",)).mean
    # The last digits of a mode depend on the optimiser's path; with the same parameters there is no such excuse.
    np.testing.assert_allclose(ours, model.predict(table[400:])["yhat"], rtol=1e-3)
    curve = fitted.curve(0)
    numbers = {"k": curve.slope, "m": curve.offset, "delta": curve.bends, "beta": curve.beta[~np.isnan(curve.beta)]}
    model.params = {**model.params, **{name: np.reshape(value, (1, -1)) for name, value in numbers.items()}}
    np.testing.assert_allclose(ours, model.predict(table[400:])["yhat"], rtol=1e-8)


def test_a_holiday_in_the_future_shows_in_the_forecast():
    n = 1000
    start = int(np.datetime64("2018-01-01").astype(int))
    at = start + np.arange(n + 80)
    closed = np.isin(at, holiday_days(("US",), start, start + n + 80)["Independence Day"])
    y = daily(n) - 40 * closed[:n]
    panel = Panel.of([y[:880]], DAYS, [start])
    context = FitContext(horizon=60, holidays=("US",))
    told = get_learner("prophet").fit(panel, {}, context).predict(panel, 60, ("mean",)).mean
    blind = get_learner("prophet").fit(panel, {}, replace(context, holidays=())).predict(panel, 60, ("mean",)).mean
    fourth = np.flatnonzero(closed[880:940])
    assert len(fourth) == 1
    assert (told - blind)[fourth[0]] < -30
    assert np.abs(np.delete(told - blind, fourth)).max() < 5


def test_holidays_by_place_name_and_day():
    first, last = (int(np.datetime64(text).astype(int)) for text in ("2020-05-01", "2021-05-01"))
    found = holiday_days(("US", "DE-BY"), first, last)
    assert np.datetime64("2020-07-04").astype(int) in found["Independence Day"]
    assert np.datetime64("2021-01-06").astype(int) in found["Epiphany"]
    assert len(found["New Year's Day"]) == 2
    assert "Epiphany" not in holiday_days(("DE",), first, last)
    assert set(found) <= set(holiday_names(("US", "DE-BY")))
    for place in ("XX", "DE-ZZ"):
        with pytest.raises(ConfigError, match=place):
            holiday_names((place,))


def test_local_dates_count_in_time_zones():
    hours = Frequency("microsecond", HOUR)
    panel = replace(Panel.of([np.zeros(72)], hours, [START * DAY]), tz="America/New_York")
    assert clock_of(panel, 0, 0, 1)[0] == START * DAY - 5 * HOUR
    jump = np.diff(clock_of(panel, 0, 24 * 8, 72)) // HOUR
    assert sorted(set(jump.tolist())) == [1, 2]


def test_waves_are_those_that_the_frequency_can_show():
    def periods(frequency, seasons=()):
        return {wave.period: len(wave.harmonics) for wave in waves(frequency, seasons)}

    assert periods(Frequency("microsecond", HOUR), (24, 168)) == {1.0: 6, 7.0: 3, 365.25: 10}
    assert periods(DAYS, (7, 365)) == {7.0: 3, 365.25: 10}
    assert periods(DAYS, (10,)) == {7.0: 3, 10.0: 5, 365.25: 10}
    assert periods(Frequency("day", 7), (52,)) == {365.25: 10}
    assert periods(Frequency("month_start"), (12,)) == {365.25: 6}
    assert periods(Frequency("month_end", 3), (4,)) == {365.25: 2}
    assert periods(Frequency("integer"), (4,)) == {4.0: 2}
    assert periods(Frequency("month_start", 12)) == {}


def test_a_year_is_used_from_two_years_of_history_on():
    values = daily(800)
    panel = Panel.of([values[:600], values], DAYS, [START, START])
    fitted = get_learner("prophet").fit(panel, {}, FitContext(horizon=5, seasons=(7,)))
    assert np.isnan(fitted.memory["beta"][0, 6:]).all()
    assert np.isfinite(fitted.memory["beta"][1]).all()


def test_of_long_hourly_series_every_hour_of_the_week_is_used():
    hours = Frequency("microsecond", HOUR)
    panel = Panel.of([np.arange(40_000.0)], hours, [START * DAY])
    design = adapter.Design.of(panel, (24, 168), (), False)
    rows = adapter._rows_of(panel, design, 0, None)
    assert len(rows.y) <= adapter.MOST_VALUES
    assert rows.y[-1] == 39_999
    assert rows.clock[-1] - rows.clock[0] > 2 * 365.25 * DAY
    assert len(np.unique(rows.clock // HOUR % 168)) == 168


def test_a_refit_starts_from_the_earlier_parameters_and_is_as_good():
    panel = Panel.of([daily(800)], DAYS, [START])
    learner, context = get_learner("prophet"), FitContext(horizon=14, seasons=(7,))
    previous = learner.fit(panel.before(panel.lengths - 14), {}, context)
    refitted, fitted = learner.refit(previous, panel, context), learner.fit(panel, {}, context)
    one, other = (f.predict(panel, 14, ("mean",)).mean for f in (refitted, fitted))
    assert np.abs(one - other).max() < 0.5
    assert not np.array_equal(one, previous.predict(panel, 14, ("mean",)).mean)


def test_the_origin_lies_in_the_inputs():
    panel = Panel.of([daily(200)], DAYS, [START])
    fitted = get_learner("prophet").fit(panel.before(np.array([190])), {}, FitContext(horizon=20))
    long = fitted.predict(panel.before(np.array([190])), 20, ("mean",)).mean
    np.testing.assert_array_equal(fitted.append(panel).predict(panel, 10, ("mean",)).mean, long[10:])


def test_its_space_and_its_parameters():
    learner, facts = get_learner("prophet"), Facts("forecasting", 5, 1, 50, 50)
    assert learner.space(facts) == [{"seasonality": "additive"}]
    assert len(learner.space(replace(facts, positive=True))) == 2
    panel = Panel.of([[1.0, 2.0]])
    for params, message in (({"growth": "flat"}, "no parameter 'growth'"), ({"seasonality": "x"}, "one of additive")):
        with pytest.raises(ConfigError, match=message):
            learner.fit(panel, params, FitContext())
    one, other = (learner.fit(panel, {"seasonality": kind}, FitContext()) for kind in adapter.SEASONALITIES)
    with pytest.raises(ConfigError, match="cannot stack"):
        one.stack([other])
    with pytest.raises(ConfigError, match="same series"):
        one.append(panel.select(np.array([0, 0])))


def test_processes_change_nothing():
    panel = Panel.of([daily(120, seed) for seed in range(3)], DAYS, [START] * 3)
    fits = [get_learner("prophet").fit(panel, {}, FitContext(horizon=5, threads=threads)) for threads in (1, 2)]
    assert fits[0].status == (OK,) * 3
    np.testing.assert_array_equal(*(fit.predict(panel, 5, ("mean",)).values for fit in fits))


SCRIPT = """
import logging, os
import numpy as np
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.learners.registry import get_learner
from forecastml.protocols import FitContext
y = 50 + np.random.default_rng(0).normal(size=(2, 150))
y[1, :148] = np.nan
panel = Panel.of(y, Frequency("day"), [18000, 18000])
before = os.environ.get("CMDSTAN")
fitted = get_learner("prophet").fit(panel, {}, FitContext(horizon=5, holidays=("US",)))
fitted.predict(panel, 5, ("mean",))
names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("prophet", "cmdstanpy", "holidays")]
loggers = [logging.getLogger(name) for name in names]
if logging.root.handlers or any(logger.handlers or logger.disabled for logger in loggers):
    raise SystemExit(6)
if os.environ.get("CMDSTAN") != before:
    raise SystemExit(7)
raise SystemExit(0 if fitted.status == ("ok", "ok") else 8)
"""


def test_not_a_line_is_printed_and_no_file_is_left(tmp_path):
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": root}
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        code = subprocess.run([sys.executable, "-c", SCRIPT], stdout=out, stderr=err, env=environment, check=False)
    assert (tmp_path / "err").read_text() == ""
    assert (tmp_path / "out").read_text() == ""
    assert code.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["err", "out"]
