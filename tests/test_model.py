"""The main job: table -> model -> leaderboard -> forecast, and what can be done with a model."""

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.errors import ConfigError, ForecastWarning, FutureError
from forecastml.learners.registry import unregister
from tests.search.toys import Impatient, Shift
from tests.tables import daily_with_price, monthly

TASK = fm.Forecasting(horizon=6, series="unique_id")


@pytest.fixture(scope="module")
def model():
    return fm.fit(monthly(), TASK, "fast")


@pytest.fixture(scope="module")
def priced():
    history, future = daily_with_price()
    task = fm.Forecasting(horizon=14, series="store", known="price")
    return fm.fit(history, task, fm.Config.preset("balanced", allow=("seasonal_naive", "light_gbm"))), future


def test_forecast_has_h_rows_per_series_on_the_grid(model):
    forecast = model.forecast()
    assert list(forecast.columns) == ["unique_id", "ds", "mean", *(f"0.{k}" for k in range(1, 10))]
    assert forecast.groupby("unique_id").size().tolist() == [6] * 6
    for _, rows in forecast.groupby("unique_id"):
        assert list(rows["ds"]) == list(pd.date_range("2021-01-01", periods=6, freq="MS"))


def test_no_value_is_missing_and_quantiles_are_sorted(model):
    values = model.forecast(quantiles=[0.01, 0.2, 0.5, 0.8, 0.995]).iloc[:, 3:].to_numpy()
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()


def test_a_shorter_horizon_is_the_beginning_of_the_longer(model):
    short, full = model.forecast(horizon=2), model.forecast()
    assert np.array_equal(short["mean"], full.groupby("unique_id").head(2)["mean"])


def test_beyond_the_trained_horizon_in_blocks_that_widen(model):
    with pytest.warns(ForecastWarning, match="steps 7 to 18"):
        longer = model.forecast(horizon=18)
    width = (longer["0.9"] - longer["0.1"]).to_numpy().reshape(6, 18)
    assert np.isfinite(longer["mean"]).all()
    assert (np.diff(width[:, 6:], axis=1) > 0).all()
    assert np.array_equal(longer.groupby("unique_id").head(6)["mean"], model.forecast()["mean"])


def test_the_leaderboard_names_everything_that_was_tried(model):
    board = model.leaderboard()
    assert board["learner"].iloc[0] == "ensemble"
    assert {"naive", "drift", "seasonal_naive(season_length=12)"} <= set(board["learner"])
    assert board["loss"].iloc[0] <= board["loss"].min() + 1e-12
    assert board.loc[board["learner"] == "ensemble", "nominal"].item() == pytest.approx(0.8)
    assert 0 <= board.loc[board["learner"] == "ensemble", "coverage"].item() <= 1


@pytest.mark.parametrize("metric", ["smape", "rmse", "sql", "coverage", "normalized_root_mean_squared_error"])
def test_the_leaderboard_by_another_metric(model, metric):
    assert np.isfinite(model.leaderboard(metric)["loss"].iloc[0])


def test_an_unknown_metric_is_refused(model):
    with pytest.raises(ConfigError, match="smape"):
        model.leaderboard("smap")


def test_context_moves_the_origin(model):
    newer = monthly(horizon_rows=0)
    newer = newer[newer["ds"] == newer["ds"].max()].assign(ds=pd.Timestamp("2021-01-01"))
    forecast = model.forecast(context=newer)
    assert forecast["ds"].min() == pd.Timestamp("2021-02-01")
    assert forecast.groupby("unique_id").size().tolist() == [6] * 6
    assert model.forecast()["ds"].min() == pd.Timestamp("2021-01-01")


def test_older_context_is_refused(model):
    with pytest.raises(FutureError, match=r"after the model's last"):
        model.forecast(context=monthly())


def test_an_unknown_series_is_told_of_by_name(model):
    stranger = pd.DataFrame({"unique_id": ["zzz"], "ds": [pd.Timestamp("2021-01-01")], "y": [1.0]})
    with pytest.warns(ForecastWarning, match="zzz"):
        model.forecast(context=stranger)
    with pytest.raises(FutureError, match="zzz"):
        model.roll(stranger)


def test_known_covariates_shape_the_forecast(priced):
    model, future = priced
    dear, cheap = model.forecast(future.assign(price=2.0)), model.forecast(future.assign(price=1.0))
    assert (cheap["mean"] > dear["mean"]).mean() > 0.9


def test_future_rows_set_the_horizon(priced):
    model, future = priced
    forecast = model.forecast(future.groupby("store").head(5))
    assert forecast.groupby("store").size().tolist() == [5, 5, 5]


def test_a_target_among_the_future_rows_is_not_looked_at(priced):
    model, future = priced
    assert model.forecast(future.assign(y=1e9)).equals(model.forecast(future))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="price"), "price"),
        (lambda f: f[f["store"] != "s1"], "s1"),
        (lambda f: f.groupby("store").tail(10), "context"),
        (lambda f: None, "price"),
    ],
)
def test_a_future_that_lacks_something_is_refused(priced, change, says):
    model, future = priced
    with pytest.raises(FutureError, match=says):
        model.forecast(change(future), horizon=14)


def test_take_and_stack_keep_every_bit(model):
    whole = model.forecast()
    first, second = model.take([0, 1]), model.take([2, 3, 4, 5])
    assert first.forecast().equals(whole[whole["unique_id"] < "002"].reset_index(drop=True))
    assert first.stack([second]).forecast().equals(whole)
    swapped = model.take([5, 0]).forecast()
    assert swapped["unique_id"].unique().tolist() == ["005", "000"]


def test_forecasts_stay_non_negative_when_history_is():
    table = monthly()
    table["y"] = np.maximum(table["y"] - table["y"].mean(), 0)
    forecast = fm.fit(table, TASK, "fast").forecast(quantiles=[0.01, 0.99])
    assert (forecast[["mean", "0.01", "0.99"]] >= 0).all().all()


def test_negative_history_gives_negative_forecasts():
    table = monthly()
    table["y"] = -table["y"]
    assert (fm.fit(table, TASK, "fast").forecast()["mean"] < 0).all()


def test_the_integer_option_rounds():
    forecast = fm.fit(monthly(), fm.Forecasting(horizon=6, series="unique_id", integer=True), "fast").forecast()
    assert np.array_equal(forecast["mean"], np.rint(forecast["mean"]))


def test_a_gap_moves_the_forecast():
    model = fm.fit(monthly(), fm.Forecasting(horizon=6, series="unique_id", gap=2), "fast")
    forecast = model.forecast()
    assert forecast["ds"].min() == pd.Timestamp("2021-03-01")
    assert forecast.groupby("unique_id").size().tolist() == [6] * 6


@pytest.mark.parametrize("metric", ["sql", "rmse", "r2", "wape", "spearman"])
def test_any_metric_can_select(metric):
    model = fm.fit(monthly(3), fm.Forecasting(horizon=6, series="unique_id", metric=metric), "fast")
    board = model.leaderboard()
    assert board["learner"].iloc[0] == "ensemble" or board["loss"].iloc[0] == pytest.approx(
        board.loc[board["learner"] == "ensemble", "loss"].item()
    )


def test_a_single_series_without_key_columns():
    table = monthly(1).drop(columns="unique_id")
    forecast = fm.fit(table, fm.Forecasting(horizon=6), "fast").forecast()
    assert list(forecast.columns[:2]) == ["ds", "mean"]
    assert len(forecast) == 6


def test_short_series_always_get_a_labelled_answer():
    table = monthly(4)
    short = [("one", 1), ("two", 2), ("five", 5)]
    rows = [
        pd.DataFrame(
            {"unique_id": name, "ds": pd.date_range(end="2020-12-01", periods=n, freq="MS"), "y": 7.0 + np.arange(n)}
        )
        for name, n in short
    ]
    nothing = pd.DataFrame(
        {"unique_id": "none", "ds": pd.date_range(end="2020-12-01", periods=5, freq="MS"), "y": np.nan}
    )
    model = fm.fit(pd.concat([table, *rows, nothing]), TASK, "fast")
    forecast, status = model.forecast(), model.status().set_index("unique_id")
    assert np.isfinite(forecast["mean"]).all()
    assert forecast.groupby("unique_id").size().eq(6).all()
    assert set(forecast["unique_id"]) == {"000", "001", "002", "003", "one", "two", "five", "none"}
    assert status.loc["none", "state"] == "fallback"
    assert status.loc["one", "state"] in ("pooled", "fallback")
    assert status.loc["000", "state"] == "ok"


def test_a_horizon_longer_than_every_history_gives_the_fallback():
    model = fm.fit(monthly(2, lengths=(20,)), fm.Forecasting(horizon=40, series="unique_id"), "fast")
    assert len(model.forecast()) == 80
    assert np.isfinite(model.forecast()["mean"]).all()


def test_a_time_limit_leaves_out_by_name_and_still_answers():
    model = fm.fit(monthly(40), TASK, fm.Config.preset("balanced", seconds=0.01))
    assert (model.leaderboard()["state"] == "skipped").any()
    assert np.isfinite(model.forecast()["mean"]).all()


def test_events_tell_the_story():
    events = []
    fm.fit(monthly(2), TASK, "fast", listener=events.append)
    names = [event["event"] for event in events]
    assert names[0] == "data"
    assert names[-1] == "done"
    trials = [event for event in events if event["event"] == "trial"]
    assert trials[-1]["done"] == trials[-1]["total"] == len(trials)


def test_a_members_failure_on_all_data_is_recorded_and_survived():
    class Once(Shift):
        """Works on the folds, fails on the whole."""

        def fit(self, train, params, context):
            if (train.lengths == train.lengths.max()).any() and train.lengths.max() >= 80:
                raise RuntimeError("not on everything")
            return super().fit(train, params, context)

    fm.register(Once("once"))
    try:
        model = fm.fit(monthly(4), TASK, fm.Config.preset("fast", allow=("once",)))
        forecast = model.forecast()
    finally:
        unregister("once")
    board = model.leaderboard().set_index("learner")
    assert "not on everything" in board["error"].str.cat() or (model.status()["state"] != "ok").any()
    assert np.isfinite(forecast["mean"]).all()


def test_an_interrupt_keeps_what_was_finished():
    fm.register(Impatient("impatient"))
    try:
        config = fm.Config.preset("fast", allow=("naive", "drift", "impatient", "average"))
        model = fm.fit(monthly(3), TASK, config)
    finally:
        unregister("impatient")
    board = model.leaderboard().set_index("learner")
    assert board.loc["naive", "state"] == "ok"
    assert (board.loc[["impatient(by=0.0)", "average"], "error"] == "interrupted").all()
    assert np.isfinite(model.forecast()["mean"]).all()


def test_a_hole_in_the_known_covariates_is_told(priced):
    model, future = priced
    with pytest.warns(ForecastWarning, match="'price' of store=s0"):
        model.forecast(future.assign(price=future["price"].where(future.index != 3)))


def test_context_without_the_target_is_refused(model):
    rows = pd.DataFrame({"unique_id": ["000"], "ds": [pd.Timestamp("2021-01-01")], "Y": [1.0]})
    with pytest.raises(FutureError, match="'y'"):
        model.forecast(context=rows)


def test_future_rows_may_begin_after_the_gap():
    table = monthly(2)
    model = fm.fit(table, fm.Forecasting(horizon=3, series="unique_id", gap=2), "fast")
    expected = model.forecast()
    assert model.forecast(expected[["unique_id", "ds"]]).equals(expected)


def test_models_that_differ_are_not_stacked(model):
    other = fm.fit(monthly(6, seed=9), TASK, "fast")
    with pytest.raises(ConfigError, match="prior"):
        model.stack([other])
    with pytest.raises(ConfigError, match="more than one"):
        model.stack([model])


@pytest.mark.parametrize("groups", [[99], [-1], [1, 1]])
def test_groups_to_take_must_be_there(model, groups):
    with pytest.raises(ConfigError, match="positions"):
        model.take(groups)


@pytest.mark.parametrize("horizon", [0, -1, 2.0, True])
def test_a_horizon_must_be_a_whole_number(model, horizon):
    with pytest.raises(ConfigError, match="horizon"):
        model.forecast(horizon=horizon)


def test_a_series_without_values_is_forecast_alike_alone():
    table = monthly(3)
    table.loc[table["unique_id"] == "001", "y"] = np.nan
    model = fm.fit(table, TASK, "fast")
    whole = model.forecast()
    assert model.take([1]).forecast().equals(whole[whole["unique_id"] == "001"].reset_index(drop=True))
    assert whole["ds"].min() == pd.Timestamp("2021-01-01")


@pytest.mark.parametrize(("name", "alias"), [("rmse", "root_mean_squared_error")])
def test_a_metric_by_its_long_name_trains_alike(name, alias):
    table = monthly(3)
    config = fm.Config.preset("balanced", allow="light_gbm")
    one, two = (fm.fit(table, fm.Forecasting(horizon=6, series="unique_id", metric=m), config) for m in (name, alias))
    assert one.forecast().equals(two.forecast())


def test_a_prior_for_another_task_is_refused():
    table = monthly(4)
    prior = fm.prepare(table, TASK, "fast")
    for other in (fm.Forecasting(horizon=3, series="unique_id"), fm.Forecasting(horizon=6, series="unique_id", gap=1)):
        with pytest.raises(ConfigError, match="prepare it again"):
            fm.fit(table, other, "fast", prior)


def test_rows_of_skipped_series_are_ignored_later():
    table = monthly(6)
    ended = (table["unique_id"] == "003") & (table["ds"] > "2018-01-01")
    now, later = table["ds"] <= "2020-06-01", table["ds"] > "2020-06-01"
    task = fm.Forecasting(horizon=6, series="unique_id", stale="skip")
    model = fm.fit(table[now & ~ended], task, "fast")
    assert model.status().set_index("unique_id").loc["003", "state"] == "skipped"
    moved = model.append(table[later])
    assert "003" not in set(moved.forecast()["unique_id"])
    assert moved.status().set_index("unique_id").loc["003", "state"] == "skipped"


def test_what_is_mended_in_newer_rows_is_warned_of():
    table = monthly(3)
    now, later = table["ds"] <= "2020-06-01", table["ds"] > "2020-06-01"
    task = fm.Forecasting(horizon=6, series="unique_id", duplicates="last")
    model = fm.fit(table[now], task, "fast")
    twice = pd.concat([table[later], table[later].iloc[[0]]])
    with pytest.warns(ForecastWarning, match="repeat a time"):
        model.append(twice)


def test_a_future_that_reaches_differently_far_is_forecast_as_far_as_all_reach():
    history, future = daily_with_price(series=3, days=90, future=7)
    first = (history["store"] == "s0") & (history["ds"] > history["ds"].max() - pd.Timedelta(days=2))
    future = pd.concat([history[first].drop(columns="y"), future])
    task = fm.Forecasting(horizon=7, series="store", known="price")
    model = fm.fit(history[~first], task, fm.Config.preset("fast", allow="ridge"))
    assert model.forecast(future).groupby("store").size().tolist() == [7, 7, 7]


def test_a_model_says_what_it_is_in_a_line(model):
    text = repr(model)
    assert "\n" not in text and len(text) < 500 and model.members[0].candidate.name in text


def test_a_metric_of_another_task_is_refused(model):
    with pytest.raises(ConfigError, match="cannot judge forecasting"):
        model.leaderboard("accuracy")
