"""Forecasts of chosen series, rolling forecasts over newer rows, and their scores."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, ForecastWarning, FutureError
from forecastml.learners.registry import unregister
from forecastml.rolling import with_known
from tests.search.toys import Constant, Shift
from tests.tables import daily_with_price, monthly

TASK = fm.Forecasting(horizon=6, series="unique_id")
NEWER = 15
KEYS = ["unique_id", "ds"]
GOLDEN = Path(__file__).parent / "golden" / "model_1"
QUICK = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "average"))


def cut(table, series="unique_id", rows=NEWER):
    """History and the last rows of each series."""
    late = table.groupby(series).cumcount(ascending=False) < rows
    return table[~late].reset_index(drop=True), table[late].reset_index(drop=True)


HISTORY, NEW = cut(monthly(4, horizon_rows=NEWER))


@pytest.fixture(scope="module")
def model():
    return fm.fit(HISTORY, TASK, fm.Config.preset("fast"))


@pytest.fixture(scope="module")
def quick():
    return fm.fit(HISTORY, TASK, QUICK)


@pytest.fixture(scope="module")
def priced():
    history, future = daily_with_price(future=10)
    history, new = cut(history, "store", 20)
    task = fm.Forecasting(horizon=7, series="store", known="price")
    model = fm.fit(history, task, fm.Config.preset("balanced", allow=("seasonal_naive", "light_gbm")))
    return model, new, future


def same(rolled, forecast, keys=("unique_id", "ds")):
    """Whether the rows of a rolling forecast have the bits of the rows of a forecast."""
    joined = rolled.merge(forecast, on=list(keys), suffixes=("", "_f"), validate="one_to_one")
    outputs = [name for name in forecast.columns if name not in keys]
    return len(joined) == len(rolled) and all((joined[name] == joined[f"{name}_f"]).all() for name in outputs)


@pytest.mark.parametrize("keys", ["002", ["003", "000"], ("001",), [("002",), "001"], np.array(["000", "002"])])
def test_chosen_series_have_the_rows_of_the_full_forecast(model, keys):
    chosen = [keys] if isinstance(keys, str) else [key if isinstance(key, str) else key[0] for key in keys]
    whole = model.forecast()
    expected = pd.concat([whole[whole["unique_id"] == key] for key in chosen], ignore_index=True)
    assert model.forecast(series=keys).equals(expected)


def test_chosen_series_of_shared_groups_keep_their_weights():
    table = HISTORY.assign(kind=HISTORY["unique_id"].map({"000": "b", "001": "a", "002": "b", "003": "a"}))
    model = fm.fit(table, fm.Forecasting(horizon=6, series="unique_id", group="kind"), "fast")
    assert len(np.unique(model.weights, axis=0)) == 2, "else weights of the wrong group would go unseen"
    whole = model.forecast()
    for key in ("000", "001", "002", "003"):
        assert model.forecast(series=key).equals(whole[whole["unique_id"] == key].reset_index(drop=True))


def test_chosen_series_with_context_and_future(priced):
    model, new, future = priced
    whole = model.forecast(future, new, horizon=7)
    alone = model.forecast(future, new, horizon=7, series=["s2"])
    assert alone.equals(whole[whole["store"] == "s2"].reset_index(drop=True))
    some = new[new["store"] != "s1"]
    ahead = pd.concat([new[new["store"] == "s1"], future])
    expected = model.forecast(ahead, some, horizon=5)
    alone = model.forecast(ahead, some, 5, series="s1")
    assert alone.equals(expected[expected["store"] == "s1"].reset_index(drop=True))


def test_only_the_chosen_series_are_computed():
    seen = []

    class Counting(Constant):
        def predict(self, inputs, horizon, outputs):
            seen.append(len(inputs))
            return super().predict(inputs, horizon, outputs)

        def append(self, data):
            seen.append(len(data))
            return self

        def take(self, items):
            return Counting(self.level[items], tuple(self.status[i] for i in items))

    class Counted(Shift):
        def fit(self, train, params, context):
            return Counting(train.target[train.end - 1], ("ok",) * len(train))

    fm.register(Counted("counted"))
    try:
        model = fm.fit(HISTORY, TASK, fm.Config.preset("fast", allow=("counted",)))
        seen.clear()
        model.forecast(context=NEW[NEW["ds"] <= "2020-01-01"], series=["003", "001"])
    finally:
        unregister("counted")
    assert seen == [2, 2]


def test_keys_of_several_columns_are_tuples():
    table = HISTORY.assign(shop=HISTORY["unique_id"].str[:2], item=HISTORY["unique_id"].str[2])
    model = fm.fit(table, fm.Forecasting(horizon=3, series=("shop", "item")), QUICK)
    whole = model.forecast()
    assert model.forecast(series=("00", "2")).equals(whole[whole["item"] == "2"].reset_index(drop=True))
    assert model.forecast(series=[("00", "2"), ("00", "1")])["item"].unique().tolist() == ["2", "1"]
    with pytest.raises(ConfigError, match=r"shop, item\), such as \('00', '0'\)"):
        model.forecast(series="00")
    with pytest.raises(ConfigError, match="did you mean shop=00, item=2"):
        model.forecast(series=("00", "22"))


@pytest.mark.parametrize(
    ("keys", "says"),
    [("00l", "did you mean unique_id=00"), ("x", "not in the model"), ([], "empty"), (["001", "001"], "001.*once")],
)
def test_keys_that_cannot_be_chosen(quick, keys, says):
    with pytest.raises(ConfigError, match=says):
        quick.forecast(series=keys)


def test_a_model_of_one_series_without_key_has_none_to_choose():
    one = HISTORY[HISTORY["unique_id"] == "000"].drop(columns="unique_id")
    with pytest.raises(ConfigError, match="no key column"):
        fm.fit(one, fm.Forecasting(horizon=3), QUICK).forecast(series="000")


def test_strangers_in_the_context_are_told_of_for_chosen_series_too(quick):
    with pytest.warns(ForecastWarning, match="zzz"):
        quick.forecast(context=NEW.replace({"unique_id": {"003": "zzz"}}), series="000")


@pytest.mark.parametrize("step", [1, 4, 6])
def test_every_origin_forecasts_as_the_model_with_the_rows_up_to_it(model, step):
    rolled = model.roll(NEW, step=step)
    cutoffs = sorted(rolled["cutoff"].unique())
    assert list(rolled.columns) == ["unique_id", "cutoff", "ds", "y", "mean", *(f"0.{k}" for k in range(1, 10))]
    assert cutoffs == list(pd.date_range("2019-09-01", periods=-(-NEWER // step), freq=f"{step}MS"))
    for cutoff in cutoffs:
        context = NEW[NEW["ds"] <= cutoff]
        forecast = model.forecast(context=context if len(context) else None)
        assert same(rolled[rolled["cutoff"] == cutoff], forecast)


def test_windows_end_with_the_data_of_each_series_and_hold_its_truth(quick):
    new = NEW[(NEW["unique_id"] != "002") & ((NEW["unique_id"] != "001") | (NEW["ds"] < "2020-05-01"))].copy()
    new.loc[(new["unique_id"] == "000") & (new["ds"] == "2020-02-01"), "y"] = np.nan
    rolled = quick.roll(new, step=4)
    sizes = rolled.groupby(["unique_id", "cutoff"]).size()
    assert sizes["000"].tolist() == [6, 6, 6, 3]
    assert sizes["001"].tolist() == [6, 3]
    assert "002" not in sizes
    truth = rolled.merge(new, on=KEYS, suffixes=("", "_given"), how="left", validate="many_to_one")
    assert truth["y"].equals(truth["y_given"])
    assert truth["y"].isna().sum() == 2, "a missing value lies in two of the windows"


def test_rows_are_ordered_by_series_cutoff_and_time_whatever_the_order_given(quick):
    rolled = quick.roll(NEW, step=3)
    assert rolled.equals(rolled.sort_values(["unique_id", "cutoff", "ds"], ignore_index=True))
    assert quick.roll(NEW.sample(frac=1, random_state=1), step=3).equals(rolled)


def test_what_comes_after_a_cutoff_changes_no_forecast_made_there(model):
    last = pd.Timestamp("2020-04-01")
    poisoned = NEW.assign(y=NEW["y"].where(NEW["ds"] <= last, NEW["y"] * -1e3))
    clean, other = model.roll(NEW).drop(columns="y"), model.roll(poisoned).drop(columns="y")
    before = clean["cutoff"] <= last
    assert before.sum() == 4 * 8 * 6
    assert clean[before].equals(other[before])
    assert not np.isclose(clean.loc[~before, "mean"], other.loc[~before, "mean"]).all(axis=None)


def test_a_series_rolls_alone_as_among_others(model, priced):
    whole = model.roll(NEW, step=2)
    alone = model.take([1]).roll(NEW[NEW["unique_id"] == "001"], step=2)
    assert alone.equals(whole[whole["unique_id"] == "001"].reset_index(drop=True))
    model, new, _ = priced
    whole = model.roll(new[(new["store"] != "s1") | (new["ds"] < new["ds"].max() - pd.Timedelta("5D"))], step=2)
    alone = model.take([0]).roll(new[new["store"] == "s0"], step=2)
    assert alone.equals(whole[whole["store"] == "s0"].reset_index(drop=True))


def test_known_covariates_come_from_the_rows(priced):
    model, new, future = priced
    rolled = model.roll(new, step=4)
    for cutoff in rolled["cutoff"].unique():
        context, ahead = new[new["ds"] <= cutoff], pd.concat([new[new["ds"] > cutoff], future])
        forecast = model.forecast(ahead, context if len(context) else None, horizon=7)
        assert same(rolled[rolled["cutoff"] == cutoff], forecast, ("store", "ds"))
    assert (rolled.groupby(["store", "cutoff"]).size() < 7).any(), "some windows end with the known covariates"
    dear = model.roll(new.assign(price=2.0), step=4)["mean"]
    assert (dear < model.roll(new.assign(price=1.0), step=4)["mean"]).mean() > 0.9


def test_missing_known_covariates_are_told_or_refused(priced):
    model, new, _ = priced
    third = (new["store"] == "s1") & (new["ds"] == new["ds"].min() + pd.Timedelta("3D"))
    with pytest.warns(ForecastWarning, match=f"in 1 newer rows, first 'price' of store=s1 at {new['ds'][3].date()}"):
        model.roll(new.assign(price=new["price"].mask(third)), step=7)
    with pytest.raises(FutureError, match="price"):
        model.roll(new.drop(columns="price"))


def test_known_covariates_are_filled_up_to_whole_windows():
    panel = Panel.of([[1.0, 2.0], [3.0], []])
    panel = replace(
        panel,
        known=np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]),
        known_begin=np.array([0, 4, 5]),
        known_end=np.array([4, 5, 5]),
        schema=fm.Forecasting(horizon=1, series="unique_id", known="price").schema,
    )
    filled = with_known(panel, 3)
    assert (filled.known_end - filled.known_begin).tolist() == [5, 4, 3]
    assert filled.known[:9, 0].tolist() == [1, 2, 3, 4, 4, 5, 5, 5, 5]
    assert np.isnan(filled.known[9:]).all()
    assert with_known(panel, 1).known[:3, 0].tolist() == [1, 2, 3], "what lies beyond is cut off"


def test_a_gap_lies_between_cutoff_and_forecast():
    model = fm.fit(HISTORY, fm.Forecasting(horizon=4, series="unique_id", gap=2), QUICK)
    rolled = model.roll(NEW, step=4)
    months = (rolled["ds"].dt.year - rolled["cutoff"].dt.year) * 12 + rolled["ds"].dt.month - rolled["cutoff"].dt.month
    assert sorted(months.unique()) == [3, 4, 5, 6]
    assert rolled["cutoff"].max() == pd.Timestamp("2020-09-01")
    assert rolled.groupby(["unique_id", "cutoff"]).size()["000"].tolist() == [4, 4, 4, 1]
    with pytest.raises(FutureError, match=r"more than 2 periods \(the gap\)"):
        model.roll(NEW[NEW["ds"] <= "2019-11-01"])


def test_beyond_the_trained_horizon_in_blocks(model):
    with pytest.warns(ForecastWarning, match="steps 7 to 9"):
        rolled = model.roll(NEW, step=9, horizon=9, quantiles=[0.9])
    with pytest.warns(ForecastWarning, match="steps 7 to 9"):
        forecast = model.forecast(horizon=9, quantiles=[0.9])
    assert same(rolled[rolled["cutoff"] == "2019-09-01"], forecast)
    assert list(rolled.columns) == ["unique_id", "cutoff", "ds", "y", "mean", "0.9"]


def test_members_that_cannot_move_are_left_out_after_the_first_origin():
    fm.register(Shift("stuck", append=False))
    try:
        rising = HISTORY.assign(y=HISTORY["y"].round(-1))
        model = fm.fit(rising, TASK, fm.Config.preset("fast", allow=("stuck", "seasonal_naive")))
        assert model.weights[:, [m.candidate.learner for m in model.members].index("stuck")].max() > 0
        rolled = model.roll(NEW, step=6)
        assert same(rolled[rolled["cutoff"] == "2019-09-01"], model.forecast())
        context = NEW[NEW["ds"] <= "2020-03-01"]
        assert same(rolled[rolled["cutoff"] == "2020-03-01"], model.forecast(context=context))
    finally:
        unregister("stuck")


@pytest.mark.parametrize("step", [0, -1, 1.0, True, 7])
def test_a_step_is_from_one_to_the_horizon(quick, step):
    with pytest.raises(ConfigError, match="step"):
        quick.roll(NEW, step=step)


def test_rows_that_cannot_be_rolled_over(quick):
    with pytest.raises(FutureError, match=r"after the model's last"):
        quick.roll(pd.concat([HISTORY, NEW]))
    with pytest.raises(FutureError, match="zzz"):
        quick.roll(NEW.replace({"unique_id": {"003": "zzz"}}))
    with pytest.raises(FutureError, match="'y'"):
        quick.roll(NEW.drop(columns="y"))
    with pytest.raises(ConfigError, match="horizon"):
        quick.roll(NEW, horizon=0)


@pytest.mark.parametrize(("role", "name"), [("series", "cutoff"), ("target", "mean"), ("target", "0.5")])
def test_columns_named_like_those_of_the_result_are_refused(role, name):
    old = {"series": "unique_id", "target": "y"}[role]
    task = fm.Forecasting(**{"horizon": 6, "series": "unique_id", "target": "y", role: name})
    model = fm.fit(HISTORY.rename(columns={old: name}), task, QUICK)
    with pytest.raises(ConfigError, match=f"{name!r} is named like"):
        model.roll(NEW.rename(columns={old: name}))


def test_cutoffs_are_in_the_zone_of_the_table():
    rng = np.random.default_rng(0)
    ds = pd.date_range("2024-03-01", periods=24 * 35, freq="h", tz="Europe/Paris")
    table = pd.DataFrame({"ds": ds, "y": 10 + ds.hour + rng.normal(size=len(ds))})
    model = fm.fit(table[:-40], fm.Forecasting(horizon=12), QUICK)
    rolled = model.roll(table[-40:], step=12)
    assert str(rolled["cutoff"].dt.tz) == "Europe/Paris"
    assert rolled["cutoff"].iloc[0] == ds[-41]
    assert ((rolled["ds"] - rolled["cutoff"]) / pd.Timedelta("1h")).between(1, 12).all()
    scores = model.score(table[-40:], metrics="mae")
    assert scores.loc[scores["set"] == "cutoff", "cutoff"].iloc[0].startswith(str(ds[-41])[:19])


def test_scores_are_those_of_the_rolling_forecast(quick):
    rolled, scores = quick.roll(NEW, step=6), quick.score(NEW)
    assert list(scores.columns) == ["set", "cutoff", "unique_id", "metric", "score", "rows"]
    error = rolled["y"] - rolled["mean"]
    whole = scores[scores["set"] == "all"].set_index("metric")
    assert set(fm.metrics.metric_names()) - set(whole.index) == {"owa"}
    assert (whole["rows"] == 4 * NEWER).all()
    assert (whole["cutoff"] == "").all() and (whole["unique_id"] == "").all()
    assert whole.loc["mae", "score"] == pytest.approx(error.abs().mean())
    assert whole.loc["rmse", "score"] == pytest.approx(np.sqrt((error**2).mean()))
    assert whole.loc["bias", "score"] == pytest.approx(-error.sum() / rolled["y"].abs().sum())
    inside = (rolled["y"] >= rolled["0.1"]) & (rolled["y"] <= rolled["0.9"])
    assert whole.loc["coverage", "score"] == pytest.approx(inside.mean())
    of_series = scores[(scores["set"] == "series") & (scores["metric"] == "mae")].set_index("unique_id")["score"]
    assert of_series.to_dict() == pytest.approx(error.abs().groupby(rolled["unique_id"]).mean().to_dict())
    at = scores[(scores["set"] == "cutoff") & (scores["metric"] == "r2")].set_index("cutoff")
    assert at["rows"].to_dict() == {"2019-09-01": 24, "2020-03-01": 24, "2020-09-01": 12}
    window = rolled["cutoff"] == "2020-03-01"
    spread = ((rolled["y"] - rolled.loc[window, "y"].mean()) ** 2)[window].sum()
    assert at.loc["2020-03-01", "score"] == pytest.approx(1 - (error[window] ** 2).sum() / spread)


def test_the_scale_of_mase_is_that_of_the_training_history(quick):
    scores, rolled = quick.score(NEW, ["mase"]), quick.roll(NEW, step=6)
    expected = {}
    for key, rows in HISTORY.groupby("unique_id"):
        y = rows["y"].to_numpy()
        own = rolled[rolled["unique_id"] == key]
        expected[key] = (own["y"] - own["mean"]).abs().mean() / np.abs(y[12:] - y[:-12]).mean()
    by_series = scores[scores["set"] == "series"].set_index("unique_id")["score"].to_dict()
    assert by_series == pytest.approx(expected)
    assert scores.loc[scores["set"] == "all", "score"].item() == pytest.approx(np.mean(list(expected.values())))


def test_scales_survive_the_algebra_and_the_disk(quick, tmp_path):
    whole = quick.score(NEW, ["mase", "nrmse"])
    halves = quick.take([0, 1]).stack([quick.take([2, 3])])
    moved = halves.append(NEW[NEW["ds"] <= "2020-01-01"])
    loaded = fm.load(quick.save(tmp_path / "model"))
    for other in (halves, loaded):
        assert other.score(NEW, ["mase", "nrmse"]).equals(whole)
    assert all(np.array_equal(moved.scales[name], quick.scales[name]) for name in quick.scales)
    alone = quick.take([2]).score(NEW[NEW["unique_id"] == "002"], ["mase", "nrmse"])
    expected = whole[whole["unique_id"] == "002"]
    assert alone[alone["set"] == "series"].reset_index(drop=True).equals(expected.reset_index(drop=True))


def test_a_model_without_scales_leaves_those_metrics_out_and_says_so():
    old = fm.load(GOLDEN / "model")
    assert old.scales == {}
    days = old.forecast(horizon=3, future=pd.read_csv(GOLDEN / "future.csv"))
    rows = days[KEYS].assign(y=days["mean"], price=1.0)
    with pytest.warns(ForecastWarning, match=r"mase.*train again"):
        scores = old.score(rows)
    assert {"mae", "coverage"} <= set(scores["metric"])
    assert not {"mase", "nrmse", "owa"} & set(scores["metric"])
    with pytest.raises(ConfigError, match=r"'mase'.*train again"):
        old.score(rows, "mase")


def test_metrics_that_cannot_be_computed_are_refused_by_name(quick):
    with pytest.raises(ConfigError, match="backtest"):
        quick.score(NEW, ["mae", "owa"])
    with pytest.raises(ConfigError, match="accuracy"):
        quick.score(NEW, ["accuracy"])
    with pytest.raises(ConfigError, match="mase"):
        quick.score(NEW, "mas")


def test_a_metric_of_ones_own_is_scored(quick):
    class Largest:
        name, needs_quantiles, mergeable, tasks = "largest", False, False, frozenset({"forecasting"})

        def loss(self, values, outputs, truth, groups=None):
            error = np.abs(truth.y - values[:, 0])
            return np.array([-error[truth.group == g].max() for g in range(groups)])

        by_fold = bind = None

        def report(self, loss):
            return -loss

    fm.register_metric(Largest())
    try:
        scores, rolled = quick.score(NEW, "largest"), quick.roll(NEW, step=6)
    finally:
        fm.metrics._registered.pop("largest")
    assert scores["score"].iloc[0] == pytest.approx((rolled["y"] - rolled["mean"]).abs().max())


def test_values_without_truth_or_weight_are_not_scored():
    table = pd.concat([HISTORY, NEW]).assign(w=1.0)
    late = table["ds"] >= "2020-10-01"
    table.loc[late, "w"] = 0.0
    table.loc[late, "y"] *= 100
    table.loc[table["ds"] == "2020-02-01", "y"] = np.nan
    task = fm.Forecasting(horizon=6, series="unique_id", weight="w")
    model = fm.fit(table[table["ds"] < "2019-10-01"], task, QUICK)
    scores = model.score(table[table["ds"] >= "2019-10-01"], "mae")
    assert scores["rows"].iloc[0] == 4 * (NEWER - 3 - 1)
    assert scores["score"].iloc[0] < 100


def test_the_scikit_learn_door_scores_rolling_forecasts():
    door = fm.AutoForecaster(horizon=6, series="unique_id", preset="fast", allow=("seasonal_naive",)).fit(HISTORY)
    rolled = door.model_.roll(NEW, step=6, quantiles=())
    wape = (rolled["y"] - rolled["mean"]).abs().sum() / rolled["y"].abs().sum()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert door.score(NEW) == pytest.approx(1 - wape, abs=1e-12)
