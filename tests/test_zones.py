"""Models over changes of clocks, end to end: what a user sees on days of 23 and 25 hours."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.errors import ForecastWarning

PARIS = "Europe/Paris"
SPRING, AUTUMN = "2024-03-31", "2024-10-27"


def hours(start: str, end: str, freq: str = "h", name: str = "a", tz: str = PARIS) -> pd.DataFrame:
    """A sine of local time; x is the local hour, kind whether it is night."""
    ds = pd.date_range(start, end, freq=freq, tz=tz, inclusive="left")
    hour = (ds.hour + ds.minute / 60).to_numpy()
    kind = np.where(hour < 6, "night", "day")
    return pd.DataFrame({"id": name, "ds": ds, "y": 10 + np.sin(2 * np.pi * hour / 24), "x": hour, "kind": kind})


def trained(frame: pd.DataFrame, learners=("seasonal_naive",), **task) -> fm.FittedModel:
    config = fm.Config.preset("fast", allow=learners)
    return fm.fit(frame, fm.Forecasting(**{"horizon": 24, "series": "id", "season": 24} | task), config)


def quiet(model: fm.FittedModel, **arguments) -> pd.DataFrame:
    """The forecast, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return model.forecast(**arguments)


def compared(forecast: pd.DataFrame, wanted: pd.DataFrame) -> float:
    """Largest error of a forecast of the same rows."""
    both = forecast.merge(wanted, on=["id", "ds"], how="outer")
    assert len(both) == len(forecast) == len(wanted)
    return float((both["mean"] - both["y"]).abs().max())


@pytest.mark.parametrize("origin", [SPRING, AUTUMN, "2024-04-01", "2024-10-28"])
@pytest.mark.parametrize("freq", ["h", "30min"])
def test_a_season_keeps_its_hour_over_a_change_of_clocks(origin, freq):
    steps = 48 if freq == "30min" else 24
    end = pd.Timestamp(origin, tz=PARIS)
    frame = hours(str(end.date() - pd.Timedelta("25D")), str(end.date() + pd.Timedelta("3D")), freq)
    model = trained(frame[frame.ds < end], horizon=steps, season=steps)
    ahead = frame[frame.ds >= end].head(steps)
    forecast = quiet(model)
    assert compared(forecast, ahead[["id", "ds", "y"]]) < 1e-12
    assert str(forecast.ds.dt.tz) == PARIS
    passed = forecast.ds.dt.tz_convert("UTC").diff().dropna().unique()
    assert list(passed) == [pd.Timedelta("1D") / steps]


@pytest.mark.parametrize(("day", "rows"), [(SPRING, 23), (AUTUMN, 25)])
def test_days_of_23_and_25_hours(day, rows):
    model = trained(hours("2024-03-01" if rows == 23 else "2024-10-01", day))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ForecastWarning)
        longer = model.forecast(horizon=49)
    of_day = longer[longer.ds.dt.strftime("%Y-%m-%d") == day]
    clock = of_day.ds.dt.hour.tolist()
    assert (len(longer), len(of_day)) == (49, rows)
    assert clock.count(2) == rows - 23
    if rows == 25:
        twice = of_day[of_day.ds.dt.hour == 2]
        assert twice["mean"].nunique() == twice["0.9"].nunique() == 1
        assert [str(ds)[-6:] for ds in twice.ds] == ["+02:00", "+01:00"]
    assert longer["mean"].notna().all()


@pytest.mark.parametrize(("day", "start"), [(SPRING, "2024-03-01"), (AUTUMN, "2024-10-01")])
def test_future_covariates_over_a_change(day, start):
    whole = pd.concat([hours(start, str(pd.Timestamp(day) + pd.Timedelta("2D")), name=name) for name in "ab"])
    ends = whole.id.map({"a": pd.Timestamp(day, tz=PARIS), "b": pd.Timestamp(day, tz=PARIS) - pd.Timedelta("2D")})
    ahead = whole[whole.ds >= ends].groupby("id").head(24)
    model = trained(whole[whole.ds < ends], ("light_gbm",), known=("x", "kind"))
    for future in (ahead.drop(columns="y"), ahead.drop(columns="y").assign(ds=lambda t: t.ds.dt.tz_convert("UTC"))):
        assert compared(quiet(model, future=future), ahead[["id", "ds", "y"]]) < 0.5
    one_day = whole[(whole.ds.dt.strftime("%Y-%m-%d") == day) & (whole.id == "a")]
    of_day = quiet(model.take([0]), future=one_day.drop(columns="y"))
    assert list(of_day.ds) == list(one_day.ds)


def test_a_future_that_begins_after_the_skipped_hour_continues_the_history():
    whole = hours("2024-03-01", "2024-04-03")
    cut = pd.Timestamp("2024-03-31 03:00", tz=PARIS)
    model = trained(whole[whole.ds < cut], ("light_gbm",), known="x")
    forecast = quiet(model, future=whole[whole.ds >= cut].head(24).drop(columns="y"))
    assert (forecast.ds.iloc[0], len(forecast)) == (cut, 24)


def test_a_model_saved_before_a_change_goes_on_after_it(tmp_path):
    whole = hours("2024-10-01", "2024-11-03")
    model = trained(whole[whole.ds < pd.Timestamp(AUTUMN, tz=PARIS)], ("seasonal_naive", "seasonal_average"))
    again = fm.load(model.save(tmp_path / "m"))
    assert again.panel.frequency.unit == "wall_clock"
    pd.testing.assert_frame_equal(again.forecast(), model.forecast())
    cut = pd.Timestamp("2024-10-28 09:00", tz=PARIS)
    context = whole[(whole.ds >= pd.Timestamp(AUTUMN, tz=PARIS)) & (whole.ds < cut)]
    ahead = whole[whole.ds >= cut].head(24)
    assert compared(quiet(again, context=context), ahead[["id", "ds", "y"]]) < 1e-9


def test_hour_by_hour_through_a_repeated_hour():
    whole = hours("2024-10-01", "2024-10-29")
    first = int((whole.ds < pd.Timestamp(AUTUMN, tz=PARIS)).sum())
    model = trained(whole.iloc[:first])
    for end in range(first, first + 6):
        model = model.append(whole.iloc[[end]])
        forecast = quiet(model, horizon=3)
        assert forecast.ds.min() > whole.ds.iloc[end]
        assert compared(forecast, whole[whole.ds >= forecast.ds.min()].head(3)[["id", "ds", "y"]]) < 1e-12


@pytest.mark.parametrize("tz", [PARIS, "UTC"])
def test_six_hours_go_by_the_clock_they_keep(tz):
    """Every 6 hours of local time, or of UTC told in the zone."""
    start, change = pd.Timestamp("2023-09-01"), pd.Timestamp("2024-04-05", tz=PARIS)
    ds = pd.date_range(start, periods=4 * 240, freq="6h").tz_localize(tz).tz_convert(PARIS)
    y = np.tile([1.0, 2.0, 3.0, 4.0], 240)
    frame = pd.DataFrame({"id": "a", "ds": ds, "y": y})
    model = trained(frame[frame.ds < change], horizon=8, season=4)
    assert model.panel.frequency.unit == ("wall_clock" if tz == PARIS else "microsecond")
    assert compared(quiet(model), frame[frame.ds >= change].head(8)) == 0
