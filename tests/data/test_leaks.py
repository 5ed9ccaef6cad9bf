"""Leaks are found through noise, corruption and transforms; what may be known is left alone; the policy is applied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.data.calendar import parse_frequency
from forecastml.data.doctor import diagnose
from forecastml.data.leak_guard import LeakGuard
from forecastml.data.leaks import leaks
from forecastml.errors import ConfigError
from tests.data.test_doctor import healthy, panel

SHARED = Path(__file__).parents[3] / "shared" / "data"
HOURS, DAYS, WEEKS = (parse_frequency(name) for name in ("h", "D", "W"))


def condemned(*arguments, horizon: int = 6, **parts) -> tuple[str, ...]:
    return LeakGuard(leaks(panel(*arguments, **parts), horizon)).condemned


def corrupted(x: np.ndarray, rows: int, size: float, seed: int = 0) -> np.ndarray:
    """Some rows of each series replaced by noise of this size."""
    rng, x = np.random.default_rng(seed), x.copy()
    for i in range(len(x)):
        x[i, rng.choice(x.shape[1], rows, replace=False)] = size * rng.normal(size=rows)
    return x


# --- what is found ---

Y = healthy(20)
NOISE = np.random.default_rng(1).normal(size=Y.shape)
SHARE = np.random.default_rng(2).uniform(0.2, 0.8, Y.shape)
GIVE_AWAY = {
    "noise of a thousandth": Y * (1 + 1e-3 * NOISE),
    "a noisy logarithm": np.log(Y) + 1e-3 * NOISE,
    "corrupted rows": corrupted(Y, 4, 1e4),
    "rows that are zero": corrupted(Y, 4, 0.0),
    "a noisy logarithm with corrupted rows": corrupted(np.log(Y) + 1e-3 * NOISE, 4, 1.0),
    "a late copy with corrupted rows": corrupted(np.roll(Y, 3, axis=1), 4, 1e4),
    "another transform in each series": [(np.log(v), -(v**3), np.sqrt(v), 1 / v)[i % 4] for i, v in enumerate(Y)],
}


@pytest.mark.parametrize("name", GIVE_AWAY)
def test_a_covariate_that_gives_the_target_away_is_condemned(name):
    assert condemned(Y, {"honest": 0.5 * Y + 0.1 * Y * NOISE, "odd": GIVE_AWAY[name]}) == ("odd",)


def test_corrupted_targets_hide_nothing():
    assert condemned(corrupted(Y, 4, 1e4), {"odd": Y}) == ("odd",)


@pytest.mark.parametrize("rows", [0, 2])
def test_parts_are_condemned_together_beside_a_copy(rows):
    casual, registered = corrupted(Y * SHARE, rows, 1e4), Y * (1 - SHARE) * (1 + 1e-3 * NOISE)
    columns = {"casual": casual, "noise": NOISE, "registered": registered, "log": np.log(Y)}
    assert condemned(Y, columns) == ("log", "casual", "registered")


def test_a_leak_in_one_series_of_a_hundred_condemns_no_column():
    values = healthy(300)
    x = np.random.default_rng(0).normal(size=values.shape)
    x[:3] = values[:3]
    odd = panel(values, {"x": x})
    guard = LeakGuard(leaks(odd, 6), "exclude")
    assert guard.condemned == ()
    assert guard.guarded(odd) is odd
    (finding,) = guard.findings(odd)
    assert (finding.severity, finding.count) == ("alert", 3)
    assert "unique_id=0, unique_id=1, unique_id=2" in finding.message


def past(values: np.ndarray, **columns: np.ndarray):
    bare = panel(values)
    block = np.stack([np.ravel(column) for column in columns.values()], axis=1)
    return replace(bare, schema=replace(bare.schema, past=tuple(columns)), past=block)


def test_a_past_covariate_may_hold_the_target_but_not_its_future():
    early = np.roll(Y, -2, axis=1)
    odd = past(Y, same=Y, late=np.roll(Y, 2, axis=1), early=early, log=np.log(Y))
    (finding,) = (f for f in diagnose(odd, 6) if f.code == "leak")
    assert (finding.column, finding.count) == ("early", 20)
    assert "past covariate 'early' gives 'y' away in 20 series: unique_id=0 (2 steps early)" in finding.message
    assert "shift it so that a row holds what was known at its time" in finding.remedy
    kept = LeakGuard.of(odd, 6, "exclude").guarded(odd)
    assert kept.schema.past == ("same", "late", "log")
    assert np.array_equal(kept.past, odd.past[:, [0, 1, 3]])


# --- what may be known ---


def lookalikes() -> dict[str, tuple]:
    """Targets with known covariates that explain much of them: (values, covariates, frequency, horizon)."""
    rng, n = np.random.default_rng(7), 12
    hours, days = np.arange(700), np.arange(700)
    temperature = 15 + 8 * np.sin(2 * np.pi * hours / 24) + 0.2 * np.cumsum(rng.normal(size=(n, 700)), axis=1)
    temperature = temperature + rng.normal(0, 0.3, (n, 700))
    price = np.repeat(rng.choice(np.arange(1.59, 3.6, 0.1), (n, 30)), 4, axis=1)
    flag = (rng.random((n, 400)) < 0.1).astype(float)
    spikes = (rng.random((n, 400)) < 0.03).astype(float)
    depth = spikes * rng.uniform(0.1, 0.5, spikes.shape)
    holiday = (days % 365 == 100) | (days % 365 == 200)
    plan = np.where(holiday, 5.0, np.array([10, 11, 12, 13, 14, 20, 22.0])[days % 7])
    sales = np.exp(9 - 2.5 * np.log(price) + rng.normal(0, 0.05, price.shape))
    return {
        "load by temperature": (
            100 + 3 * np.abs(temperature - 18) + rng.normal(0, 2, (n, 700)),
            {"temp": temperature},
            HOURS,
            48,
        ),
        "load that is all temperature": (
            100 + 3 * temperature + rng.normal(0, 1, (n, 700)),
            {"temp": temperature},
            HOURS,
            48,
        ),
        "sales by price": (sales, {"price": price, "log_price": np.log(price)}, WEEKS, 8),
        "closed on holidays": (100 * (1 - flag) + rng.normal(0, 0.5, flag.shape), {"holiday": flag}, DAYS, 14),
        "nothing but promotions": (
            1000 * spikes + rng.normal(0, 0.01, spikes.shape),
            {"promotion": spikes, "depth": depth},
            DAYS,
            14,
        ),
        "the calendar": (
            10 * plan + rng.normal(0, 0.3, (n, 700)),
            {"holiday": np.tile(holiday, (n, 1)), "wday": np.tile(days % 7, (n, 1)), "plan": np.tile(plan, (n, 1))},
            DAYS,
            14,
        ),
        "sparse demand": (
            rng.poisson(0.3, (n, 300)).astype(float),
            {"promotion": (rng.random((n, 300)) < 0.1) * rng.random((n, 300))},
            DAYS,
            14,
        ),
    }


LOOKALIKES = lookalikes()


@pytest.mark.parametrize("name", LOOKALIKES)
def test_an_honest_covariate_is_never_condemned(name):
    values, columns, frequency, horizon = LOOKALIKES[name]
    assert leaks(panel(values, columns, frequency), horizon) == ()


# --- what is done about it ---


def sales(n: int = 2, days: int = 90) -> pd.DataFrame:
    """Daily rows whose target is the sum of two columns, and a price that is honest."""
    rng = np.random.default_rng(4)
    parts = []
    for i in range(n):
        ds = pd.date_range("2024-01-01", periods=days, freq="D")
        y = 60 + 20 * (ds.day_of_week >= 5) + rng.normal(0, 6, days)
        casual = y * rng.uniform(0.2, 0.8, days)
        price = rng.choice([1.0, 2.0], days)
        columns = {"y": y, "price": price, "casual": casual, "registered": y - casual, "log": np.log(y)}
        parts.append(pd.DataFrame({"store": f"s{i}", "ds": ds, **columns}))
    return pd.concat(parts, ignore_index=True)


TABLE = sales()
TASK = fm.Forecasting(horizon=7, series="store", known=("price", "casual", "registered", "log"))
CONFIG = fm.Config.preset("fast", allow=("seasonal_naive", "ridge"))


def test_leaks_are_told_left_out_or_refused():
    told = [f for f in TASK.read(TABLE).findings if f.code == "leak"]
    assert [(f.severity, f.column) for f in told] == [("alert", "log"), ("alert", "")]
    assert "'casual' and 'registered' together" in told[1].message
    reading = replace(TASK, leaks="exclude").read(TABLE)
    found = [f for f in reading.findings if f.code == "leak"]
    assert [f.severity for f in found] == ["fixed", "fixed"]
    assert found[0].message.endswith("; it is left out")
    assert reading.data.schema.known == ("price",)
    assert np.array_equal(reading.data.known, replace(TASK, known="price").read(TABLE).data.known)
    with pytest.raises(
        ConfigError, match=r"'log' gives 'y' away in 2 series.*leaks exclude.*\n.*'casual' and 'registered'"
    ):
        replace(TASK, leaks="error").read(TABLE)
    assert len(replace(TASK, leaks="error").check(TABLE).errors) == 2
    with pytest.raises(ConfigError, match="leaks is 'ignore'; give one of warn, exclude, error"):
        replace(TASK, leaks="ignore")


def test_a_model_without_the_leaks_is_the_model_of_the_honest_columns(tmp_path):
    task = replace(TASK, leaks="exclude")
    model, honest = fm.fit(TABLE, task, CONFIG), fm.fit(TABLE, replace(TASK, known="price"), CONFIG)
    newer = TABLE.assign(ds=TABLE["ds"] + pd.Timedelta("90D"))
    future = newer.groupby("store").head(7).drop(columns="y")
    expected = honest.forecast(future)
    assert model.forecast(future).equals(expected), "columns that were left out may be there"
    assert model.forecast(future.drop(columns=["casual", "log"])).equals(expected), "or not"
    model.save(tmp_path / "model")
    again = fm.load(tmp_path / "model")
    assert again.forecast(future).equals(expected)
    assert again.forecast(future, context=None, horizon=3).equals(honest.forecast(future, horizon=3))
    first, rest = newer.groupby("store").head(20), newer.groupby("store").tail(-20).groupby("store").head(7)
    assert again.append(first).forecast(rest).equals(honest.append(first).forecast(rest))
    assert again.roll(first, step=7).equals(honest.roll(first, step=7))


def test_groups_under_a_prior_leave_out_what_the_prior_did():
    task = replace(TASK, leaks="exclude")
    prior = fm.prepare(TABLE, task, CONFIG)
    assert prior.like.schema.known == ("price",)
    # In a group of its own a column may look honest, or not.
    rng = np.random.default_rng(0)
    one = TABLE[TABLE["store"] == "s0"].assign(casual=rng.normal(size=90), registered=1.0, log=0.5)
    two = TABLE[TABLE["store"] == "s1"].assign(price=lambda t: t["y"])
    models = [fm.fit(part, task, CONFIG, prior) for part in (one, two)]
    assert [model.panel.schema.known for model in models] == [("price",)] * 2
    assert len(models[0].stack(models[1:]).panel) == 2


def test_aggregated_columns_are_left_out_too():
    task = replace(TASK, leaks="exclude", freq="W", aggregate="sum", horizon=2)
    table = sales(3, 700)
    model = fm.fit(table, task, fm.Config.preset("fast", allow=("seasonal_naive", "ridge")))
    kept = model.panel.schema.known
    gone = {f"{part}_{way}" for part in ("casual", "registered") for way in ("sum", "mean")}
    assert not gone & {*kept}
    assert {"price_sum", "price_mean"} <= {*kept}
    newer = table.assign(ds=table["ds"] + pd.Timedelta("700D")).groupby("store").head(14).drop(columns="y")
    assert len(model.forecast(newer)) == 6


def test_the_leak_of_bike_share_is_found_and_left_out():
    if not SHARED.exists():
        pytest.skip("the real data sets are not here")
    frame = pd.read_parquet(SHARED / "bike_share.parquet").query("split == 'train'")
    frame["log"] = np.log(frame["y"])
    weather = ("weathersit", "temp", "atemp", "hum", "windspeed")
    task = fm.Forecasting(horizon=14, known=(*weather, "casual", "registered", "log"), leaks="exclude")
    assert task.read(frame).data.schema.known == weather


# --- rows ---


def rows(**columns) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    y = rng.gamma(3.0, 2.0, 200)
    label = np.where(y > 6, "high", np.where(y > 3, "mid", "low"))
    good = y + rng.normal(0, 1, 200)
    table = pd.DataFrame({"y": y, "label": label, "good": good, "flag": (y > 6).astype(float)})
    return table.assign(log=np.log(y), kilo=-y * 1000, code=pd.Categorical(label).codes * 10.0 + 1, **columns)


def test_a_feature_that_is_the_target_is_told_left_out_or_refused():
    features = ("good", "flag", "log", "kilo", "code")
    task = fm.Regression(target="y", features=features)
    assert [f.column for f in task.read(rows()).findings if f.code == "leak"] == ["log", "kilo"]
    assert replace(task, leaks="exclude").read(rows()).data.schema.known == ("good", "flag", "code")
    with pytest.raises(ConfigError, match="feature 'log' is 'y' in other words"):
        replace(task, leaks="error").read(rows())
    with pytest.raises(ConfigError, match="feature 'log' is 'y' in other words"):
        fm.Regression(target="y", features=("log", "kilo"), leaks="exclude").read(rows())
    classes = fm.Classification(target="label", features=features, leaks="exclude")
    reading = classes.read(rows())
    assert reading.data.schema.known == ("good", "flag", "log", "kilo"), "to separate classes is what features are for"
    assert [(f.severity, f.column) for f in reading.findings if f.code == "leak"] == [("fixed", "code")]


def test_a_model_of_rows_ignores_the_features_that_were_left_out(tmp_path):
    task = fm.Regression(target="y", features=("good", "log"), leaks="exclude")
    config = fm.Config.preset("fast", allow=("dummy", "ridge"))
    model = fm.fit(rows(), task, config)
    honest = fm.fit(rows(), fm.Regression(target="y", features="good"), config)
    model.save(tmp_path / "model")
    again = fm.load(tmp_path / "model")
    assert again.task == task
    assert again.predict(rows().drop(columns="log")).equals(honest.predict(rows()))
    assert again.predict(rows()).equals(honest.predict(rows()))
