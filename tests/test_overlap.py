"""Newer rows that come with older ones, some origins alone, and an older model judged where a newer one was."""

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.challenge import newest_losses
from forecastml.errors import ConfigError, FutureError
from tests.tables import daily_with_price, monthly

TASK = fm.Forecasting(horizon=6, series="unique_id", n_folds=3, step=6)
QUICK = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "theta"))
TABLE = monthly(4, horizon_rows=12)
CUT = pd.Timestamp("2019-12-01")
OLD, NEW = TABLE[TABLE["ds"] <= CUT], TABLE[TABLE["ds"] > CUT]


@pytest.fixture(scope="module")
def model():
    return fm.fit(OLD, TASK, QUICK)


@pytest.fixture(scope="module")
def prior():
    return fm.prepare(TABLE, TASK, QUICK)


def test_older_rows_are_left_out_when_asked(model):
    with pytest.raises(FutureError, match="after the model's last"):
        model.append(TABLE)
    assert model.append(TABLE, overlap=True).forecast().equals(model.append(NEW).forecast())
    changed = TABLE.assign(y=TABLE["y"].where(TABLE["ds"] > CUT, -1e6))
    assert model.append(changed, overlap=True).forecast().equals(model.append(NEW).forecast())
    assert model.append(OLD, overlap=True).forecast().equals(model.forecast())
    assert model.roll(TABLE, overlap=True).equals(model.roll(NEW))
    assert model.score(TABLE, ["mae"], overlap=True).equals(model.score(NEW, ["mae"]))


def test_series_that_end_at_different_times_are_each_cut_at_their_own():
    early = TABLE["unique_id"] == "001"
    old = TABLE[(TABLE["ds"] <= CUT) & (~early | (TABLE["ds"] <= "2019-06-01"))]
    model = fm.fit(old, TASK, QUICK)
    new = TABLE[(TABLE["ds"] > CUT) | (early & (TABLE["ds"] > "2019-06-01"))]
    assert model.append(TABLE, overlap=True).forecast().equals(model.append(new).forecast())
    assert model.roll(TABLE, step=6, overlap=True).equals(model.roll(new, step=6))


def test_covariates_of_the_future_come_with_older_rows_too():
    history, future = daily_with_price(series=2, days=100)
    late = history["ds"] > history["ds"].min() + pd.Timedelta("89D")
    task = fm.Forecasting(horizon=7, series="store", known="price", n_folds=2)
    model = fm.fit(history[~late], task, fm.Config.preset("fast", allow=("ridge", "seasonal_naive")))
    assert any("known" in member.capabilities.covariates for member in model.members), "else the price is not read"
    rows = pd.concat([history[late], future])
    every = pd.concat([history, future])
    expected = model.append(rows).forecast(horizon=7)
    assert model.append(every, overlap=True).forecast(horizon=7).equals(expected)
    dearer = every.assign(price=every["price"].where(every["ds"] <= history["ds"].max(), 2.0))
    assert not model.append(dearer, overlap=True).forecast(horizon=7).equals(expected)


@pytest.mark.parametrize("folds", [1, 2, 3])
def test_some_origins_are_the_first_ones(model, folds):
    whole = model.roll(NEW, step=3)
    cutoffs = sorted(whole["cutoff"].unique())
    assert len(cutoffs) == 4
    part = model.roll(NEW, step=3, folds=folds)
    assert part.equals(whole[whole["cutoff"].isin(cutoffs[:folds])].reset_index(drop=True))
    assert model.roll(NEW, step=3, folds=99).equals(whole)
    scores = model.score(NEW, ["mae"], step=3, folds=folds)
    assert (scores["set"] == "cutoff").sum() == folds
    error = (part["y"] - part["mean"]).abs().mean()
    assert scores.loc[scores["set"] == "all", "score"].item() == pytest.approx(error)


@pytest.mark.parametrize("folds", [0, -1])
def test_no_origin_at_all_is_refused(model, folds):
    with pytest.raises(ConfigError, match="folds is"):
        model.roll(NEW, folds=folds)


def test_an_older_model_is_judged_by_its_forecast_from_the_newest_cutoff(model, prior):
    """By hand: the forecast of the model, moved up to the cutoff, against the last half year, scaled as MASE is."""
    losses = newest_losses(model, TABLE, prior)
    cutoff = TABLE["ds"].max() - pd.DateOffset(months=6)
    moved = model.append(NEW[NEW["ds"] <= cutoff]).forecast()
    assert set(losses) == {("000",), ("001",), ("002",), ("003",)}
    rolled = model.roll(NEW, step=6)
    for (key,), loss in losses.items():
        rows = moved[moved["unique_id"] == key].merge(TABLE, on=["unique_id", "ds"])
        own = rolled[(rolled["unique_id"] == key) & (rolled["cutoff"] == cutoff)]
        assert np.array_equal(own["mean"], rows["mean"])
        y = TABLE.loc[(TABLE["unique_id"] == key) & (TABLE["ds"] <= cutoff), "y"].to_numpy()
        assert loss == pytest.approx((rows["y"] - rows["mean"]).abs().mean() / np.abs(y[12:] - y[:-12]).mean())


def test_a_newer_model_is_judged_on_the_same_rows(prior):
    """A model of one member that learned before the fold has the loss that the newer one had there itself."""
    config = fm.Config.preset("fast", allow=("seasonal_naive",))
    lone = fm.prepare(TABLE, TASK, config)
    newer = fm.fit(TABLE, TASK, config, lone)
    older = fm.fit(OLD, TASK, config)
    found, expected = newest_losses(older, TABLE, lone), newer.groups().set_index("unique_id")["newest"]
    assert {key: found[(key,)] for key in expected.index} == pytest.approx(expected.to_dict(), rel=1e-12)


def test_what_comes_after_the_cutoff_does_not_move_the_older_model(model, prior):
    """The forecasts keep every bit: the loss changes as the truth alone would change it."""
    cutoff = TABLE["ds"].max() - pd.DateOffset(months=6)
    late = TABLE["ds"] > cutoff
    scales, means = {}, model.append(NEW[NEW["ds"] <= cutoff]).forecast()
    for key, rows in TABLE[~late].groupby("unique_id"):
        y = rows["y"].to_numpy()
        scales[key] = np.abs(y[12:] - y[:-12]).mean()
    for change in (lambda y: y * 3 - 7, lambda y: y * 0 + 1e5):
        other = TABLE.assign(y=TABLE["y"].where(~late, change(TABLE["y"])))
        for (key,), loss in newest_losses(model, other, prior).items():
            truth = other.loc[late & (other["unique_id"] == key), "y"].to_numpy()
            forecast = means.loc[means["unique_id"] == key, "mean"].to_numpy()
            assert loss == pytest.approx(np.abs(truth - forecast).mean() / scales[key])


def test_who_has_seen_the_fold_or_is_unknown_is_left_out(model, prior):
    assert newest_losses(fm.fit(TABLE, TASK, QUICK), TABLE, prior) == {}, "it learned from these rows"
    some = fm.fit(OLD[OLD["unique_id"] < "002"], TASK, QUICK)
    assert set(newest_losses(some, TABLE, prior)) == {("000",), ("001",)}
    half = pd.concat([OLD, NEW[NEW["unique_id"] == "003"]])
    assert set(newest_losses(fm.fit(half, TASK, QUICK), TABLE, prior)) == {("000",), ("001",), ("002",)}
    short = TABLE.groupby("unique_id").tail(4)
    assert newest_losses(model, short, prior) == {}, "there is no fold"
    strangers = fm.fit(OLD.assign(unique_id="x" + OLD["unique_id"]), TASK, QUICK)
    assert newest_losses(strangers, TABLE, prior) == {}


def test_a_model_of_rows_has_no_newest_fold(prior):
    rows = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0) * 2})
    assert newest_losses(fm.fit(rows, fm.Regression(), "fast"), rows, prior) == {}


def test_losses_do_not_depend_on_the_order_of_series(model, prior):
    expected = newest_losses(model, TABLE, prior)
    assert newest_losses(model.take([2, 0, 3, 1]), TABLE.sample(frac=1, random_state=1), prior) == expected


def test_categories_are_those_that_each_model_learned():
    """The older model saw them in another order, so that equal texts have other codes than under the newer prior."""
    rng = np.random.default_rng(0)
    ds = pd.date_range("2020-01-01", periods=240)
    mood = np.where(rng.random(240) < 0.5, "glad", "sad")
    mood[0], first = "sad", 60
    mood[first] = "glad"
    y = 100 + 50 * (mood == "glad") + rng.normal(size=240)
    table = pd.DataFrame({"unique_id": "a", "ds": ds, "y": y, "mood": mood})
    task = fm.Forecasting(horizon=7, series="unique_id", known="mood", n_folds=2, step=7)
    config = fm.Config.preset("fast", allow=("light_gbm",))
    older = fm.fit(table[:200], task, config)
    window = table[first:]
    prior = fm.prepare(window, task, config)
    assert dict(older.panel.categories) != dict(prior.like.categories), "else the test tells nothing"
    loss = newest_losses(older, window, prior)[("a",)]
    rolled = older.append(table[200:233]).forecast(table[233:].drop(columns="y"))
    truth = table["y"].to_numpy()[233:]
    expected = np.abs(rolled["mean"].to_numpy() - truth).mean()
    y = window["y"].to_numpy()[:-7]
    season = (*prior.seasons, 1)[0]
    assert loss == pytest.approx(expected / np.abs(y[season:] - y[:-season]).mean())
