"""Backtests of groups apart: each is what it is among others, and knows nothing of what came after a cutoff."""

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml import backtesting
from forecastml.backtesting import backtest, shared_origins
from forecastml.errors import ConfigError, DataError
from tests.tables import daily_with_price, monthly

TASK = fm.Forecasting(horizon=6, series="unique_id", group="unique_id")
QUICK = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "theta", "ridge"))


def ragged() -> pd.DataFrame:
    """Six series; one is short, one ended early, one has a hole, one has no value in its last
    months."""
    table = monthly(6)
    name, back = table["unique_id"], table.groupby("unique_id").cumcount(ascending=False)
    table = table[~((name == "001") & (back >= 20)) & ~((name == "002") & (back < 8))].copy()
    table.loc[(name == "003") & back.between(13, 19), "y"] = np.nan
    table.loc[(name == "004") & (back < 5), "y"] = np.nan
    return table.reset_index(drop=True)


TABLE = ragged()


@pytest.fixture(scope="module")
def origins():
    return shared_origins(TABLE, TASK, QUICK, folds=3)


@pytest.fixture(scope="module")
def among(origins):
    return backtest(TABLE, TASK, QUICK, origins)


@pytest.mark.parametrize("name", ["000", "001", "002", "003", "005"])
def test_a_group_alone_is_what_it_is_among_the_others(origins, among, name):
    alone = backtest(TABLE[TABLE["unique_id"] == name], TASK, QUICK, origins)
    expected = among.forecasts[among.forecasts["unique_id"] == name].reset_index(drop=True)
    assert len(expected) > 0
    pd.testing.assert_frame_equal(alone.forecasts, expected, check_exact=True)


def test_a_group_without_a_row_to_compare_says_so(origins):
    short = TABLE[TABLE["unique_id"] == "000"].head(3)
    with pytest.raises(DataError, match="nothing to backtest"):
        backtest(short, TASK, QUICK, origins)


def test_the_cutoffs_are_those_of_a_backtest_together(origins, among):
    together = backtest(TABLE, TASK, QUICK, folds=3)
    keys = ["unique_id", "cutoff", "ds"]
    assert among.forecasts[[*keys, "y"]].equals(together.forecasts[[*keys, "y"]])
    assert origins.splitter.origins == "common", "else a date is no cutoff"
    assert origins.splitter.is_resolved and len(origins.priors) == origins.splitter.n_folds == 3
    assert len(origins.like) == 0


def test_at_each_cutoff_stands_what_fit_under_the_prior_of_that_cutoff_would_forecast():
    """The prior is prepared, and the group fitted, on rows that are cut by hand."""
    whole = monthly(4)
    origins = shared_origins(whole, TASK, QUICK, folds=2)
    table = whole[whole["unique_id"].isin(["000", "003"])]
    among = backtest(table, TASK, QUICK, origins)
    for place, cutoff in enumerate(sorted(among.forecasts["cutoff"].unique())):
        found = among.forecasts[among.forecasts["cutoff"] == cutoff]
        prior = fm.prepare(whole[whole["ds"] <= cutoff], TASK, QUICK)
        assert prior.fingerprint == origins.priors[place].fingerprint
        expected = fm.fit(table[table["ds"] <= cutoff], TASK, QUICK, prior).forecast()
        for name in ("000", "003"):
            ours = found[found["unique_id"] == name].drop(columns=["cutoff", "y"]).reset_index(drop=True)
            assert ours.equals(expected[expected["unique_id"] == name].reset_index(drop=True))


@pytest.mark.parametrize("change", [lambda y: -1e3 * y, lambda y: y * 0 + 7.0], ids=["large", "flat"])
def test_no_target_after_a_cutoff_changes_a_forecast_made_there(origins, among, change):
    cutoffs = sorted(among.forecasts["cutoff"].unique())
    for place, cutoff in enumerate(cutoffs[:2]):
        poisoned = TABLE.assign(y=TABLE["y"].where(TABLE["ds"] <= cutoff, change(TABLE["y"])))
        other = shared_origins(poisoned, TASK, QUICK, folds=3)
        assert other.splitter == origins.splitter
        prints = [[prior.fingerprint for prior in each.priors] for each in (origins, other)]
        assert prints[0][: place + 1] == prints[1][: place + 1]
        assert prints[0][place + 1 :] != prints[1][place + 1 :]
        one = TABLE["unique_id"].isin(["000", "003"])
        found = backtest(poisoned[one], TASK, QUICK, other).forecasts.drop(columns="y")
        clean = among.forecasts[among.forecasts["unique_id"].isin(["000", "003"])].drop(columns="y")
        before, clean = (frame[frame["cutoff"] <= cutoff].reset_index(drop=True) for frame in (found, clean))
        assert len(before) and before.equals(clean)


def test_nothing_else_after_a_cutoff_changes_a_forecast_made_there():
    """Covariates: those of the horizon are known, those of the past and their categories are not."""
    history, _ = daily_with_price(series=3, days=100)
    history["mood"] = np.where(history.index % 3, "glad", "sad")
    task = fm.Forecasting(horizon=7, series="store", group="store", known="price", past="mood", n_folds=2)
    config = fm.Config.preset("fast", allow=("seasonal_naive", "light_gbm"))
    origins = shared_origins(history, task, config, folds=2)
    assert all(prior.shared for prior in origins.priors)
    clean = backtest(history, task, config, origins).forecasts
    first = clean["cutoff"].min()
    late = history["ds"] > first
    poisoned = history.assign(y=history["y"].mask(late, -1e3 * history["y"]), mood=history["mood"].mask(late, "angry"))
    poisoned["price"] = poisoned["price"].mask(history["ds"] > first + pd.Timedelta("7D"), 9.0)
    other = backtest(poisoned, task, config, shared_origins(poisoned, task, config, folds=2)).forecasts
    before, after = (
        [frame.loc[keep(frame["cutoff"])].drop(columns="y") for frame in (clean, other)]
        for keep in (lambda cutoff: cutoff == first, lambda cutoff: cutoff > first)
    )
    assert len(before[0]) == 3 * 7 and before[0].equals(before[1])
    assert not np.isclose(after[0]["mean"], after[1]["mean"]).any()


def test_a_cutoff_before_which_nothing_can_be_judged_has_no_prior():
    table = monthly(2, lengths=(12,))
    origins = shared_origins(table, TASK, QUICK, folds=1)
    assert origins.priors == (None,)
    among = backtest(table, TASK, QUICK, origins)
    alone = backtest(table[table["unique_id"] == "001"], TASK, QUICK, origins)
    expected = among.forecasts[among.forecasts["unique_id"] == "001"].reset_index(drop=True)
    assert alone.forecasts.equals(expected) and np.isfinite(expected["mean"]).all()


def test_the_number_of_groups_reaches_each_preparation(monkeypatch):
    asked = []

    def prepare(data, task, config, of):
        asked.append(of)
        return fm.prepare(data, task, config)

    monkeypatch.setattr(backtesting, "prepare", prepare)
    shared_origins(TABLE, TASK, fm.Config.preset("fast", allow=("drift",)), folds=2, of=500)
    assert asked == [500, 500]


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(DataError, match="horizon of 6"):
        shared_origins(TABLE.groupby("unique_id").head(5), TASK, QUICK)
    with pytest.raises(ConfigError, match="folds"):
        shared_origins(TABLE, TASK, QUICK, folds=0)
