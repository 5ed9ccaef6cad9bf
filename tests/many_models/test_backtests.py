"""Backtests of a store against those of the mathematics on the same rows; and models of rows, which have none."""

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.backtesting import shared_origins
from forecastml.errors import ConfigError
from forecastml.task import grouped
from many_models.backtesting import FAILURES, FORECASTS, MEAN, SCORES, backtest
from many_models.forecasts import forecast
from many_models.runner import retrain, run, update
from many_models.settings import Settings
from many_models.shard import Shard
from many_models.store import Store
from tests.many_models.lives import GOOD, ODD, bits, config, life, results, table, task

pytestmark = pytest.mark.filterwarnings("ignore::forecastml.errors.ForecastWarning")
SETTINGS = Settings(workers=1, batch_groups=3, max_failed=1.0)
ALLOWED = ("naive", "average", "theta", "seasonal_naive")
LIVES = GOOD | {"short": {"rows": 4}, "ended": ODD["ended"], "double": ODD["double"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("backtests") / "store"
    run(table(LIVES), "id", task(), config(ALLOWED), path, SETTINGS)
    return path


def of_group(frame, name):
    return frame[frame["id"] == name].reset_index(drop=True)


def test_a_backtest_trains_each_group_as_the_mathematics_does(store, tmp_path):
    found = backtest(store, tmp_path / "out", folds=2, step=2, settings=SETTINGS)

    told = pd.read_csv(tmp_path / "out" / FAILURES).set_index("group")
    assert told["state"].to_dict() == {"double": "failed", "ended": "skipped"}
    assert "id=double" in told["error"]["double"]
    assert (found.groups, found.failed) == (8, 1)
    forecasts = pd.read_parquet(tmp_path / "out" / FORECASTS)
    assert set(forecasts["id"]) == {*GOOD, "short"}

    what, chosen = grouped(task(), ("id",)), config(ALLOWED, workers=1, threads=1)
    good = what.check(table(LIVES)).data
    origins = shared_origins(good, what, chosen, 2, 2, of=8)
    for name in ("store 1", "short"):
        alone = fm.backtest(life(name, **LIVES[name]), what, chosen, origins)
        mine, theirs = of_group(forecasts, name), alone.forecasts
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True, check_dtype=False)
        scores = pd.read_csv(tmp_path / "out" / SCORES, dtype={"id": str})
        theirs = alone.scores[alone.scores["set"] == "series"]
        mine = scores[(scores["set"] == "series") & (scores["id"] == name)]
        np.testing.assert_array_equal(mine["score"].to_numpy(), theirs["score"].to_numpy())
    assert forecasts.groupby("id")["cutoff"].nunique()["store 1"] == 2
    means = scores[(scores["set"] == MEAN) & (scores["metric"] == "mae") & (scores["model"] == "ensemble")]
    each = forecasts.assign(error=(forecasts["y"] - forecasts["mean"]).abs())
    assert (
        means["score"].item() == pytest.approx(each["error"].mean()) == pytest.approx(found.scores["ensemble"]["mae"])
    )


def test_with_context_the_stored_models_roll_and_nothing_is_fitted(store, tmp_path):
    end = pd.Timestamp("2024-12-01")
    newer = [life(name, rows=46, end=end).tail(6) for name in ("store 1", "store 4")]
    rows = pd.concat([*newer, life("store 2"), life("stranger"), newer[0].assign(id="double")], ignore_index=True)

    found = backtest(store, tmp_path / "out", folds=3, step=2, context=rows, settings=SETTINGS)

    told = pd.read_csv(tmp_path / "out" / FAILURES).set_index("group")
    assert told["state"].to_dict() == dict.fromkeys(("store 2", "stranger", "double"), "skipped")
    assert (found.groups, found.failed) == (5, 0)
    forecasts = pd.read_parquet(tmp_path / "out" / FORECASTS)
    with Store.open(store) as opened:
        for champion in opened.versions.champions():
            if champion.key[0] in ("store 1", "store 4"):
                model = next(Shard.unpack(opened.read(champion.shard), "").models([champion.place]))
                expected = model.roll(rows[rows["id"] == champion.key[0]], 2, folds=3, overlap=True)
                mine = of_group(forecasts, champion.key[0])
                pd.testing.assert_frame_equal(mine, expected, check_exact=True, check_dtype=False)
    assert forecasts.groupby("id")["cutoff"].nunique().to_dict() == {"store 1": 3, "store 4": 3}


def test_a_folder_that_is_in_use_is_refused(store, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="name a new or an empty folder"):
        backtest(store, tmp_path, settings=SETTINGS)
    with pytest.raises(ConfigError, match="folds is 0"):
        backtest(store, tmp_path / "out", folds=0, settings=SETTINGS)


def visits(shop, number=80):
    rng = np.random.default_rng(list(shop.encode()))
    x = rng.normal(size=(number, 2))
    return pd.DataFrame({"shop": shop, "x1": x[:, 0], "x2": x[:, 1], "sum": 2 * x[:, 0] - x[:, 1] + 0.1 * x[:, 0] ** 2})


SHOPS = ("001", "a,b", "../x")
KINDS = {
    "regression": (fm.Regression(target="sum"), ("dummy", "ridge")),
    "classification": (fm.Classification(target="sum"), ("dummy", "logistic")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_rows_go_through_the_same_lines(kind, tmp_path):
    what, allow = KINDS[kind]
    rows = pd.concat([*map(visits, SHOPS), visits("one", 1), visits("bare", 5).assign(sum=np.nan)], ignore_index=True)
    if what.labels:
        rows["sum"] = rows["sum"].gt(0.0).map({True: "much", False: "little"}).where(rows["sum"].notna())
    stores = {}
    for name, source, groups in (("all", rows, 400), ("some", rows[rows["shop"].isin(["001", "one"])], 1)):
        path = tmp_path / name
        with Store.create(path) as made:
            if stores:
                made.put("prior-1", stores["prior"])
        settings = Settings(workers=1, batch_groups=groups)
        assert run(source, "shop", what, config(allow), path, settings).failed == 0
        with Store.open(path) as opened:
            stores["prior"] = opened.get("prior-1")
            stores[name] = {
                champion.key[0]: next(Shard.unpack(opened.read(champion.shard), "").models([champion.place]))
                for champion in opened.versions.champions()
            }
            assert all(champion.forecast is None for champion in opened.versions.champions())
    found = results(tmp_path / "all")
    assert {row["state"] for row in found.values()} == {"ok"}
    for shop in SHOPS:
        assert found[shop]["loss"] < 0.5 * found[shop]["baseline"]
    assert np.isnan([found[shop]["loss"] for shop in ("one", "bare")]).all()
    for shop, model in stores["some"].items():
        assert bits(model) == bits(stores["all"][shop])
    mine = rows[rows["shop"] == "001"]
    predicted = stores["all"]["001"].predict(mine)["prediction"]
    right = (predicted == mine["sum"]).mean() if what.labels else 1 - (predicted - mine["sum"]).abs().mean()
    assert right > 0.85

    for refused in (lambda: forecast(tmp_path / "all"), lambda: update(tmp_path / "all", rows)):
        with pytest.raises(ConfigError, match="models of rows"):
            refused()
    with pytest.raises(ConfigError, match="models of rows, which have no cutoffs"):
        backtest(tmp_path / "all", tmp_path / "out")
    assert retrain(tmp_path / "some", "all").counts["ok"] == 2
