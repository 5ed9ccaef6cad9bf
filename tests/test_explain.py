"""Models explain themselves: contributions that add up, importance, and what became of the columns."""

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.errors import ConfigError, ForecastWarning
from forecastml.learners.registry import unregister
from tests.search.toys import Shift
from tests.tables import daily_with_price

KEYS = ["store", "ds"]
TASK = fm.Forecasting(horizon=7, series="store", known=("price", "noise"), static="size")
MIX = ("theta", "ridge(steps=direct)", "light_gbm(rounds=30)")


def with_noise(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return table.assign(
        noise=random.normal(size=len(table)), size=table["store"].map({"s0": 1.0, "s1": 2.0, "s2": 3.0})
    )


@pytest.fixture(scope="module")
def tables():
    history, future = daily_with_price(days=100)
    return with_noise(history, 1), with_noise(future, 2).drop(columns="size")


@pytest.fixture(scope="module")
def model(tables):
    return fm.fit(tables[0], TASK, _config(MIX))


def _config(allow):
    return fm.Config.preset("fast", allow=allow)


def sums(told: pd.DataFrame, keys: list[str]) -> np.ndarray:
    return told.groupby(keys, sort=False)["contribution"].sum().to_numpy()


def adds_up(model, told: pd.DataFrame, forecast: pd.DataFrame) -> None:
    assert told[KEYS].drop_duplicates().reset_index(drop=True).equals(forecast[KEYS])
    np.testing.assert_allclose(sums(told, KEYS), forecast["mean"], rtol=1e-6, atol=1e-9)
    assert (told["contribution"] != 0)[told.duplicated(KEYS, keep=False)].all()
    assert set(told["member"]) <= {m.candidate.name for m in model.members} | {"fallback", "model"}


@pytest.mark.parametrize("by", ["raw", "engineered", "component"])
def test_contributions_add_up_to_the_forecast(model, tables, by):
    told = model.explain(tables[1], by=by)
    adds_up(model, told, model.forecast(tables[1]))
    features = set(told["feature"])
    if by == "raw":
        assert {"y", "price"} <= features <= {"y", "ds", "price", "noise", "size", "horizon", "store"}
    elif by == "component":
        assert {"level", "covariates"} <= features <= {
            "level", "trend", "season", "history", "covariates", "horizon", "remainder", "bounds",
        }  # fmt: skip
    else:
        assert "lag1" in features or "season7_lag1" in features


def test_of_some_series_and_beyond_the_trained_horizon(model, tables):
    part = model.explain(tables[1], series=["s2", "s0"], horizon=3)
    adds_up(model, part, model.forecast(tables[1], series=["s2", "s0"], horizon=3))
    with pytest.warns(ForecastWarning, match="beyond"):
        adds_up(model, model.explain(tables[1], horizon=14), model.forecast(tables[1], horizon=14))


def test_from_a_moved_origin_the_same_as_forecast(model, tables):
    future = tables[1]
    newer = future.groupby("store").head(2).assign(y=20.0, size=1.0)
    later = future.groupby("store").tail(12)
    context = {"context": newer, "horizon": 5}
    adds_up(model, model.explain(later, **context), model.forecast(later, **context))


@pytest.mark.parametrize("name", ["member", "feature", "contribution", "row"])
def test_keys_named_like_ours_stay(tables, name):
    table = tables[0].rename(columns={"store": name})
    task = fm.Forecasting(horizon=7, series=name)
    found = fm.fit(table, task, _config("drift")).explain()
    assert set(found[name]) == {"s0", "s1", "s2"}
    ours = {f"{column}_" if column == name else column for column in ("member", "feature", "contribution")}
    assert set(found) == {name, "ds", *ours}


def test_a_stored_model_says_the_same(model, tables, tmp_path):
    model.save(tmp_path / "model")
    stored = fm.load(tmp_path / "model")
    pd.testing.assert_frame_equal(stored.explain(tables[1]), model.explain(tables[1]))
    pd.testing.assert_frame_equal(stored.importance("permutation"), model.importance("permutation"))
    pd.testing.assert_frame_equal(stored.featurization(), model.featurization())


def test_a_price_cut_is_told_of_the_price(model, tables):
    future = tables[1]
    dear, cheap = (
        model.explain(future.assign(price=price)).query("feature == 'price'")["contribution"].sum() for price in (2, 1)
    )
    assert cheap > dear + 100


def test_bounds_rounding_and_the_fallback_have_rows_of_their_own():
    t = np.arange(60)
    falling = pd.DataFrame({"store": "a", "ds": t, "y": np.where(t > 57, 0.0, np.maximum(57.0 - t, 0.0))})
    rising = pd.DataFrame({"store": "c", "ds": t, "y": 10.0 + 1.01 * t})
    blank = pd.DataFrame({"store": "b", "ds": t, "y": np.nan})
    task = fm.Forecasting(horizon=6, series="store", integer=True)
    model = fm.fit(pd.concat([falling, blank, rising]), task, _config(("drift",)))
    told, forecast = model.explain(by="engineered"), model.forecast()
    adds_up(model, told, forecast)
    assert (forecast.query("store == 'a'")["mean"] == 0).all()
    at = told.query("store == 'a'").groupby("feature")["contribution"].sum()
    assert at["trend"] < 0 < at["bounds"]
    assert set(told.query("store == 'b'")["member"]) <= {"fallback", "model"}
    assert "mean of the other series" in set(told["feature"])
    assert "rounding" in set(told["feature"])


def test_a_learner_that_cannot_tell_is_a_level():
    fm.register(Shift())
    try:
        table = pd.DataFrame({"ds": np.arange(40), "y": np.arange(40.0)})
        model = fm.fit(table, fm.Forecasting(horizon=3), _config(("shift",)))
        told = model.explain(by="component")
        assert set(told["feature"]) == {"level"}
        assert told["contribution"].tolist() == [39.0, 39.0, 39.0]
        with pytest.raises(ConfigError, match="contribution"):
            model.importance("gain")
        with pytest.raises(ConfigError, match="contribution"):
            model.importance("permutation")
        assert model.importance("contribution")["share"].tolist() == [1.0]
        assert model.engineered_names == ()
    finally:
        unregister("shift")


def rows_with(target) -> pd.DataFrame:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 3))
    return pd.DataFrame(x, columns=["strong", "weak", "noise"]).assign(y=target(x, random))


@pytest.mark.parametrize("allow", [("light_gbm",), ("ridge", "light_gbm", "dummy")])
def test_rows_of_a_regression(allow):
    table = rows_with(lambda x, random: 5 * x[:, 0] + x[:, 1] + 0.1 * random.normal(size=len(x)))
    model = fm.fit(table, fm.Regression(target="y"), _config(allow))
    told = model.explain(table)
    assert list(told.columns) == ["row", "member", "feature", "contribution"]
    np.testing.assert_allclose(sums(told, ["row"]), model.predict(table)["prediction"], rtol=1e-6, atol=1e-9)
    for kind in ("gain", "contribution", "permutation"):
        found = model.importance(kind, data=table).query("feature != 'y'")
        assert found["feature"].iloc[0] == "strong"
        assert found.set_index("feature")["share"]["noise"] < 0.1


def test_rows_of_a_classification_by_the_probability_of_their_class():
    table = rows_with(lambda x, random: np.where(x[:, 0] + 0.2 * x[:, 1] > 0, "yes", np.where(x[:, 1] > 1, "so", "no")))
    model = fm.fit(table, fm.Classification(target="y"), _config(("light_gbm", "logistic")))
    told, predicted = model.explain(table.head(50)), model.predict(table.head(50))
    assert told.groupby("row")["class"].first().tolist() == predicted["prediction"].tolist()
    best = predicted[["no", "so", "yes"]].max(axis=1)
    np.testing.assert_allclose(sums(told, ["row"]), best, rtol=1e-6)
    assert model.importance("permutation", data=table)["feature"].iloc[0] == "strong"
    with pytest.raises(ConfigError, match="data"):
        model.importance("permutation")


@pytest.mark.parametrize("kind", ["gain", "contribution", "permutation"])
def test_importance_of_series_finds_the_price_and_not_the_noise(model, tables, kind):
    data = tables[1] if kind == "contribution" else None
    found = model.importance(kind, data=data)
    assert list(found.columns) == ["feature", "importance", "share"]
    assert found["share"].sum() == pytest.approx(1.0)
    shares = found.set_index("feature")["share"]
    assert shares["price"] > 3 * shares["noise"]
    assert found["importance"].is_monotonic_decreasing
    engineered = model.importance(kind, by="engineered", data=data)
    assert len(engineered) > len(found)
    if kind != "contribution":
        assert set(engineered["feature"]) == set(model.engineered_names)


def test_dates_matter_to_recursive_learners_too(tables):
    task = fm.Forecasting(horizon=7, series="store", known="price")
    history = tables[0].assign(y=lambda t: 10.0 * t["ds"].dt.day_of_week)
    config = _config(("light_gbm(steps=recursive, rounds=30, lags=[1], windows=[], transform=mean)",))
    shares = fm.fit(history, task, config).importance("permutation").set_index("feature")["share"]
    assert shares["ds"] > 0.1


def test_permutation_importance_on_rows_that_came(model, tables):
    future = tables[1]
    came = model.forecast(future)[[*KEYS, "mean"]].rename(columns={"mean": "y"})
    rows = future.merge(came, on=KEYS).assign(size=1.0)
    found = model.importance("permutation", data=rows)
    assert found["feature"].iloc[0] == "price"
    assert found["importance"].iloc[0] > 0.05
    pd.testing.assert_frame_equal(found, model.importance("permutation", data=rows))
    assert not found.equals(model.importance("permutation", data=rows, seed=5))


def test_featurization_says_what_became_of_each_column(model):
    found = model.featurization().set_index("column")
    assert found.loc["price", ["role", "type"]].tolist() == ["known", "numeric"]
    assert found.loc["ds", "type"] == "datetime"
    assert found.loc["size", "role"] == "static"
    assert not found["dropped"].any()
    assert "known" in found.loc["price", "transformations"]
    assert "lags" in found.loc["y", "transformations"]
    assert found["features"].sum() == len(model.engineered_names)


def test_a_leak_that_was_left_out_is_told(tables):
    history = tables[0].assign(leak=np.log(tables[0]["y"] + 100))
    task = fm.Forecasting(horizon=7, series="store", known=("price", "leak"), leaks="exclude")
    found = fm.fit(history, task, _config(("naive",))).featurization().set_index("column")
    assert found["dropped"].to_dict()["leak"]
    assert "gives the target away" in found.loc["leak", "reason"]
    assert not found.loc["price", "dropped"]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda m: m.explain(by="columns"), "raw"),
        (lambda m: m.importance("shap"), "permutation"),
        (lambda m: m.importance(by="columns"), "raw"),
        (lambda m: m.explain(series="s9"), "s9"),
    ],
)
def test_wrong_questions_are_refused(model, ask, says):
    with pytest.raises(ConfigError, match=says):
        ask(model)


def test_rows_have_no_horizon():
    table = rows_with(lambda x, random: x[:, 0])
    model = fm.fit(table, fm.Regression(target="y"), _config(("dummy",)))
    with pytest.raises(ConfigError, match="table to predict"):
        model.explain(table, horizon=3)
    with pytest.raises(ConfigError, match="table to predict"):
        model.explain()


def test_the_command_prints_and_writes(run, model, tables, tmp_path):
    model.save(tmp_path / "model")
    tables[1].to_csv(tmp_path / "future.csv", index=False)
    out = tmp_path / "told.csv"
    code, printed, _ = run(
        "explain", tmp_path / "model", "--future", tmp_path / "future.csv", "--only", "s1", "--out", out
    )
    assert code == 0
    heading, *lines = printed.splitlines()
    assert heading.startswith("feature") and "s1" in heading
    assert any(line.startswith("price") for line in lines)
    assert "importance by gain:" in lines
    told = pd.read_csv(out)
    mean = model.forecast(tables[1], series="s1")["mean"]
    np.testing.assert_allclose(sums(told, KEYS), mean, rtol=1e-6)
    total = next(line for line in lines if line.startswith("sum")).split()[1:]
    np.testing.assert_allclose([float(value) for value in total], mean[:3], rtol=1e-3)


def test_the_command_measures_importance_by_permutation(run, model, tables, tmp_path):
    model.save(tmp_path / "model")
    tables[1].to_csv(tmp_path / "future.csv", index=False)
    asked = ("explain", tmp_path / "model", "--future", tmp_path / "future.csv")
    code, printed, _ = run(*asked, "--importance", "permutation", "--by", "engineered")
    assert code == 0
    assert "importance by permutation:" in printed
    assert run(*asked, "--actual", tmp_path / "future.csv")[0] == 64
