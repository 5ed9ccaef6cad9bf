"""Series that a model has never seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.errors import ConfigError, ForecastWarning, FutureError

TASK = {"series": "id", "horizon": 4, "known": "price", "static": "size", "season": 7}


def rows(names, days=90, begin="2024-01-01"):
    """Sales that fall with the price and follow the week, of stores whose level differs."""
    tables = []
    for k, name in enumerate(names):
        random = np.random.default_rng(k)
        at = np.arange(days)
        price = 2.0 + random.integers(0, 2, days)
        y = (k + 1) * 10.0 * (1.5 + np.sin(2 * np.pi * at / 7)) * np.where(price > 2, 0.5, 1.0)
        ds = pd.date_range(begin, periods=days)
        tables.append(pd.DataFrame({"id": name, "ds": ds, "y": y, "price": price, "size": float(k)}))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def model():
    config = fm.Config.preset("fast", allow=["light_gbm(transform=mean)", "seasonal_naive"])
    return fm.fit(rows("abcdef"), fm.Forecasting(**TASK), config)


def ahead(names, price=2.0):
    days = pd.date_range("2024-03-31", periods=4)
    return pd.concat([pd.DataFrame({"id": n, "ds": days, "price": price, "size": 2.0}) for n in names])


def test_a_new_series_with_history_gets_the_pooled_forecast_by_name(model):
    whole = rows([*"abcdefg"])
    context = whole[whole.id == "g"]
    with pytest.warns(ForecastWarning, match="1 series were not in the training data .id=g.; .* light_gbm"):
        found = model.forecast(ahead("abcdefg"), context, quantiles=[0.1, 0.9])
    assert found.id.unique().tolist() == [*"abcdefg"]
    new = found[found.id == "g"]
    expected = 70.0 * (1.5 + np.sin(2 * np.pi * np.arange(90, 94) / 7))
    np.testing.assert_allclose(new["mean"], expected, rtol=0.3)
    assert (new["0.1"] <= new["mean"]).all() and (new["mean"] <= new["0.9"]).all()
    # The others are served as they were.
    pd.testing.assert_frame_equal(found[found.id != "g"], model.forecast(ahead("abcdef"), quantiles=[0.1, 0.9]))
    with pytest.warns(ForecastWarning, match="id=g"):
        alone = model.forecast(ahead("g"), context, series="g", quantiles=[0.1, 0.9])
    assert alone["mean"].tolist() == new["mean"].tolist()


def test_a_new_series_without_history_takes_that_of_the_others(model):
    with pytest.warns(ForecastWarning, match="not in the training data"):
        cheap = model.forecast(ahead([*"abcdef", "new"]))
    with pytest.warns(ForecastWarning):
        dear = model.forecast(ahead([*"abcdef", "new"], price=3.0))
    of_new = [found[found.id == "new"]["mean"].to_numpy() for found in (cheap, dear)]
    others = cheap[cheap.id != "new"].groupby("ds")["mean"].mean().to_numpy()
    np.testing.assert_allclose(of_new[0], others, rtol=0.35)
    assert (of_new[1] < 0.8 * of_new[0]).all(), "it follows its own price"


def test_less_known_is_less_certain(model):
    with pytest.warns(ForecastWarning):
        found = model.forecast(ahead([*"abcdef", "new"]), quantiles=[0.1, 0.9])
    width = (found["0.9"] - found["0.1"]).groupby(found["id"]).mean()
    # Levels of the stores are 10 to 60 times the same week.
    assert width["new"] > 2 * width.drop("new").max()
    assert found[found["id"] == "new"]["0.1"].mean() < 30 and found[found["id"] == "new"]["0.9"].mean() > 60


def test_a_new_series_joins_where_the_context_of_the_others_ends(model):
    newer = rows([*"abcdef"], days=92)
    newer = newer[newer["ds"] >= "2024-03-31"]
    future = ahead([*"abcdef", "new"]).assign(ds=lambda table: table["ds"] + pd.Timedelta("2D"))
    with pytest.warns(ForecastWarning, match="id=new"):
        found = model.forecast(future, newer)
    assert found.groupby("id")["ds"].min().nunique() == 1
    assert found.groupby("id").size().eq(4).all()


def test_what_is_not_to_be_served_is_refused():
    config = fm.Config.preset("fast", allow="seasonal_naive")
    strict = fm.fit(rows("abc"), fm.Forecasting(**TASK, unseen="error"), config)
    with pytest.raises(FutureError, match="1 series were not in the training data: id=new"):
        strict.forecast(ahead(["a", "b", "c", "new"]))
    with pytest.raises(ConfigError, match="unseen"):
        fm.Forecasting(**TASK, unseen="perhaps")


def test_without_a_pooled_member_the_fallback_serves():
    config = fm.Config.preset("fast", allow="seasonal_naive")
    plain = fm.fit(rows("abc"), fm.Forecasting(**TASK), config)
    whole = rows([*"abcd"])
    with pytest.warns(ForecastWarning, match="no member is pooled"):
        found = plain.forecast(ahead("abcd"), whole[whole.id == "d"])
    last = whole[whole.id == "d"].y.to_numpy()[-7:-3]
    assert found[found.id == "d"]["mean"].tolist() == last.tolist()
