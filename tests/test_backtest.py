"""A backtest is the whole fit at each cutoff, and no look ahead."""

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml import backtesting
from forecastml.backtesting import Backtest, backtest
from forecastml.errors import ConfigError, DataError, ForecastWarning, LearnerError
from forecastml.learners.registry import unregister
from tests.search.toys import Impatient
from tests.tables import daily_with_price, monthly

TASK = fm.Forecasting(horizon=6, series="unique_id")
QUICK = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "average"))
TABLE = monthly(4)


@pytest.fixture(scope="module")
def found() -> Backtest:
    return backtest(TABLE, TASK, QUICK)


def score(found: Backtest, metric: str, model: str = "ensemble", kind: str = "all") -> pd.DataFrame:
    rows = found.scores
    return rows[(rows["metric"] == metric) & (rows["set"] == kind) & rows["model"].str.startswith(model)]


def at(found: Backtest, cutoff: str) -> pd.DataFrame:
    return found.forecasts[found.forecasts["cutoff"] == cutoff].reset_index(drop=True)


def test_at_each_cutoff_stands_what_fit_would_have_forecast():
    found = backtest(TABLE, TASK, "fast", folds=2, step=3)
    assert found.forecasts["cutoff"].unique().tolist() == [pd.Timestamp("2020-03-01"), pd.Timestamp("2020-06-01")]
    for cutoff, rows in found.forecasts.groupby("cutoff"):
        forecast = fm.fit(TABLE[TABLE["ds"] <= cutoff], TASK, "fast").forecast()
        assert rows.drop(columns=["cutoff", "y"]).reset_index(drop=True).equals(forecast)
        truth = rows.merge(TABLE, on=["unique_id", "ds"], validate="one_to_one")
        assert truth["y_x"].equals(truth["y_y"])
        assert len(truth) == 4 * 6


def test_the_columns_are_those_of_a_rolling_forecast(found):
    levels = [f"0.{k}" for k in range(1, 10)]
    assert list(found.forecasts.columns) == ["unique_id", "cutoff", "ds", "y", "mean", *levels]
    assert list(found.scores.columns) == ["model", "set", "cutoff", "unique_id", "metric", "score", "rows"]
    assert len(found.forecasts) == 3 * 4 * 6
    assert found.forecasts.equals(found.forecasts.sort_values(["unique_id", "cutoff", "ds"], ignore_index=True))


def test_nothing_after_a_cutoff_changes_a_forecast_made_there():
    history, _ = daily_with_price()
    history["mood"] = np.where(history.index % 3, "glad", "sad")
    task = fm.Forecasting(horizon=7, series="store", known="price", past="mood")
    config = fm.Config.preset("balanced", allow=("seasonal_naive", "light_gbm(transform=scale)"))
    clean = backtest(history, task, config, folds=2)
    first = clean.forecasts["cutoff"].min()
    late = history["ds"] > first
    poisoned = history.assign(y=history["y"].mask(late, -1e3 * history["y"]), mood=history["mood"].mask(late, "angry"))
    poisoned["price"] = poisoned["price"].mask(history["ds"] > first + pd.Timedelta("7D"), 9.0)
    other = backtest(poisoned, task, config, folds=2)
    before, after = (
        [frame.loc[keep(frame["cutoff"])].drop(columns="y") for frame in (clean.forecasts, other.forecasts)]
        for keep in (lambda cutoff: cutoff == first, lambda cutoff: cutoff > first)
    )
    assert len(before[0]) == 3 * 7
    assert before[0].equals(before[1])
    assert not before[0]["mean"].isna().any()
    assert not np.isclose(after[0]["mean"], after[1]["mean"]).any()


def test_known_covariates_of_the_horizon_are_used():
    history, _ = daily_with_price()
    task = fm.Forecasting(horizon=7, series="store", known="price")
    config = fm.Config.preset("balanced", allow=("seasonal_naive", "light_gbm(transform=scale)"))
    found = backtest(history, task, config, folds=1)
    cutoff = found.forecasts["cutoff"].iloc[0]
    model = fm.fit(history[history["ds"] <= cutoff], task, config)
    expected = model.forecast(history.loc[history["ds"] > cutoff, ["store", "ds", "price"]])
    assert found.forecasts.drop(columns=["cutoff", "y"]).equals(expected)
    joined = found.forecasts.merge(history, on=["store", "ds"])
    assert joined.groupby("price")["mean"].mean().diff().iloc[-1] < -5


def test_scores_by_hand(found):
    rows = found.forecasts
    error = rows["y"] - rows["mean"]
    assert score(found, "mae")["score"].item() == pytest.approx(error.abs().mean())
    assert score(found, "mae")["rows"].item() == len(rows)
    by_cutoff = score(found, "mae", kind="cutoff").set_index("cutoff")["score"]
    expected = error.abs().groupby(rows["cutoff"].astype(str)).mean()
    assert by_cutoff.to_dict() == pytest.approx(expected.to_dict())
    by_series = score(found, "wape", kind="series").set_index("unique_id")["score"]
    expected = error.abs().groupby(rows["unique_id"]).sum() / rows["y"].abs().groupby(rows["unique_id"]).sum()
    assert by_series.to_dict() == pytest.approx(expected.to_dict())


def test_each_fold_has_its_own_scale(found):
    expected = []
    for (key, cutoff), rows in found.forecasts.groupby(["unique_id", "cutoff"]):
        y = TABLE.loc[(TABLE["unique_id"] == key) & (TABLE["ds"] <= cutoff), "y"].to_numpy()
        scale = np.abs(y[12:] - y[:-12]).mean()
        expected.append((key, cutoff, (rows["y"] - rows["mean"]).abs().mean() / scale))
    expected = pd.DataFrame(expected, columns=["unique_id", "cutoff", "mase"])
    assert score(found, "mase")["score"].item() == pytest.approx(expected["mase"].mean())
    by_series = score(found, "mase", kind="series").set_index("unique_id")["score"].to_dict()
    assert by_series == pytest.approx(expected.groupby("unique_id")["mase"].mean().to_dict())


def test_the_seasonal_naive_stands_beside_the_ensemble(found):
    assert found.scores["model"].unique().tolist() == ["ensemble", "seasonal_naive(season_length=12)"]
    last_year = TABLE.assign(ds=TABLE["ds"] + pd.DateOffset(years=1))
    rows = found.forecasts.merge(last_year, on=["unique_id", "ds"], suffixes=("", "_before"))
    naive = score(found, "mae", "seasonal_naive")
    assert naive["score"].item() == pytest.approx((rows["y"] - rows["y_before"]).abs().mean())
    assert naive["score"].item() > score(found, "mae")["score"].item()
    assert np.isfinite(score(found, "owa", "seasonal_naive")["score"].item())
    quantile = {"pinball", "sql", "wql", "coverage"}
    of_naive = found.scores.loc[found.scores["model"] != "ensemble", "metric"]
    assert set(found.scores["metric"]) - set(of_naive) == quantile


def test_the_best_of_the_natural_seasons_is_taken():
    rng = np.random.default_rng(0)
    ds = pd.date_range("2024-01-01", periods=24 * 30, freq="h")
    weekly = np.sin(2 * np.pi * np.arange(len(ds)) / 168) * 20
    table = pd.DataFrame({"ds": ds, "y": 100 + weekly + rng.normal(size=len(ds))})
    found = backtest(table, fm.Forecasting(horizon=24), fm.Config.preset("fast", allow=("naive",)), folds=2)
    assert "seasonal_naive(season_length=168)" in found.scores["model"].unique()


def test_series_that_end_earlier_are_compared_as_far_as_they_go():
    table = TABLE[(TABLE["unique_id"] != "003") | (TABLE["ds"] <= "2020-09-01")]
    found = backtest(table, TASK, QUICK, folds=2)
    assert len(at(found, "2020-06-01")) == 3 * 6 + 3
    assert found.forecasts["y"].notna().all()
    assert score(found, "mae")["rows"].item() == 4 * 6 + 3 * 6 + 3


def test_a_gap_is_kept():
    task = fm.Forecasting(horizon=4, series="unique_id", gap=2)
    rows = backtest(TABLE, task, QUICK, folds=1).forecasts
    assert rows["cutoff"].unique().tolist() == [pd.Timestamp("2020-06-01")]
    assert rows["ds"].min() == pd.Timestamp("2020-09-01")
    assert rows["ds"].max() == pd.Timestamp("2020-12-01")


def test_what_is_saved_can_be_read_again(found, tmp_path):
    folder = found.save(tmp_path / "deep" / "folder")
    assert sorted(path.name for path in folder.iterdir()) == ["forecasts.parquet", "scores.csv"]
    forecasts = pd.read_parquet(folder / "forecasts.parquet")
    pd.testing.assert_frame_equal(forecasts, found.forecasts, check_dtype=False)
    scores = pd.read_csv(folder / "scores.csv", dtype={"unique_id": str}, keep_default_na=False)
    assert scores["score"].astype(float).to_numpy() == pytest.approx(found.scores["score"].to_numpy())
    assert scores["unique_id"].tolist() == found.scores["unique_id"].tolist()
    found.save(folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        found.save(tmp_path / "file")


def test_events_say_which_fold(found):
    events = []
    again = backtest(TABLE, TASK, QUICK, listener=events.append)
    assert again.forecasts.equals(found.forecasts), "a backtest can be repeated"
    done = [event for event in events if event["event"] == "done"]
    assert [event["fold"] for event in done] == [0, 1, 2]
    assert [event["cutoff"] for event in done] == ["2019-06-01", "2019-12-01", "2020-06-01"]


def test_findings_of_the_reading_are_handed_back():
    table = TABLE.drop(index=TABLE.index[[30, 31]])
    assert any(finding.code == "gaps" for finding in backtest(table, TASK, QUICK, folds=1).findings)


def test_fewer_folds_than_asked_are_told():
    with pytest.warns(ForecastWarning, match=r"only \d of 40 folds"):
        found = backtest(monthly(2), TASK, QUICK, folds=40)
    assert 1 < found.forecasts["cutoff"].nunique() < 40


def test_too_short_series_are_refused():
    with pytest.raises(DataError, match="horizon of 6"):
        backtest(TABLE.groupby("unique_id").head(5), TASK, QUICK)


@pytest.mark.parametrize("choice", [{"folds": 0}, {"folds": "auto"}, {"folds": True}, {"step": 0}, {"step": 1.5}])
def test_folds_and_step_are_whole_numbers(choice):
    with pytest.raises(ConfigError, match=next(iter(choice))):
        backtest(TABLE, TASK, QUICK, **choice)


def test_rows_have_no_cutoff():
    with pytest.raises(ConfigError, match="forecasting"):
        backtest(TABLE, fm.Regression(target="y"), QUICK)


def test_a_fit_that_fails_names_its_cutoff(monkeypatch):
    def fit(data, task, config, prior, listener):
        if data.lengths.max() > 70:
            raise LearnerError("out of luck")
        return fm.fit(data, task, config, listener=listener)

    monkeypatch.setattr(backtesting, "fit", fit)
    with pytest.raises(DataError, match=r"fold 2, cutoff 2020-06-01.*out of luck"):
        backtest(TABLE, TASK, QUICK)


def test_an_interrupt_ends_a_backtest():
    fm.register(Impatient("impatient"))
    try:
        with pytest.raises(KeyboardInterrupt):
            backtest(TABLE, TASK, fm.Config.preset("fast", allow=("naive", "drift", "impatient")))
    finally:
        unregister("impatient")
