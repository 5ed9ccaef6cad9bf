"""Bad input: an error that names series, column and remedy, or a labelled fallback; never a bare traceback."""

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.errors import ConfigError, DataError
from tests.tables import monthly

TASK = fm.Forecasting(horizon=6, series="unique_id")


def broken(change):
    return change(monthly(3))


CASES = {
    "a missing column": (lambda t: t.rename(columns={"y": "sales"}), "'y'"),
    "an unparsable date": (lambda t: t.assign(ds=t["ds"].astype(str).where(t.index != 70, "31.31.2020")), "31.31.2020"),
    "an empty table": (lambda t: t.iloc[:0], "empty|no rows"),
    "one row": (lambda t: t.iloc[:1], "freq"),
    "a duplicate": (lambda t: pd.concat([t, t.iloc[65:66]]), "001"),
    "text among numbers": (lambda t: t.assign(y=t["y"].astype(object).where(t.index != 70, "many")), "many"),
    "a null key": (lambda t: t.assign(unique_id=t["unique_id"].where(t.index != 3)), "unique_id"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_tables_are_refused_with_the_place_and_the_remedy(case):
    change, says = CASES[case]
    with pytest.raises(DataError, match=says):
        fm.fit(broken(change), TASK, "fast")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"horizon": 0}, "horizon"),
        ({"horizon": 2.5}, "horizon"),
        ({"metric": "mase2"}, "mase"),
        ({"quantiles": (0.1, 90)}, "between 0 and 1"),
        ({"season": "weekly"}, "season"),
        ({"gap": -1}, "gap"),
        ({"known": "y"}, "one role"),
        ({"lower": "zero"}, "lower"),
    ],
)
def test_bad_tasks_are_refused_at_once(options, says):
    with pytest.raises(ConfigError, match=says):
        fm.Forecasting(**{"horizon": 6, **options})


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"name": "quick"}, "balanced"),
        ({"allow": "light_gbn"}, "light_gbm"),
        ({"block": ("naive", "nonsense")}, "nonsense"),
        ({"allow": "naive", "block": "naive"}, "no learner is left"),
        ({"seconds": -1}, "seconds"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_configs_are_refused_at_once(choices, says):
    with pytest.raises(ConfigError, match=says):
        fm.Config.preset(choices.pop("name", "fast"), **choices)


def test_an_all_nan_series_is_labelled_and_served():
    table = monthly(3)
    table.loc[table["unique_id"] == "001", "y"] = np.nan
    model = fm.fit(table, TASK, "fast")
    assert any("001" in f"{finding.series} {finding.message}" for finding in model.findings)
    assert model.status().set_index("unique_id").loc["001", "state"] == "fallback"
    assert np.isfinite(model.forecast()["mean"]).all()


def test_only_nan_is_refused():
    with pytest.raises(DataError, match="y"):
        fm.fit(monthly(2).assign(y=np.nan), TASK, "fast")


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_constant_series_forecast_their_constant(value):
    forecast = fm.fit(monthly(2).assign(y=value), TASK, "balanced").forecast()
    assert np.allclose(forecast[["mean", "0.1", "0.9"]], value)
