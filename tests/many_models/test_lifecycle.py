"""The life of a store: run, resume, retrain, update, and what serves at each moment."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

import forecastml as fm
from forecastml.errors import ConfigError, DataError
from many_models import kinds, preparation, runner
from many_models.errors import StoreError
from many_models.forecasts import forecast
from many_models.runner import resume, retrain, run, update
from many_models.serving import rollback
from many_models.settings import Settings
from many_models.shard import Shard
from many_models.store import Store
from tests.many_models.lives import END, GOOD, Workshop, config, forecast_rows, life, results, served, table, task

pytestmark = pytest.mark.filterwarnings("ignore::forecastml.errors.ForecastWarning")
SETTINGS = Settings(workers=1, max_failed=1.0)
FEW = {name: GOOD[name] for name in ("store 0", "store 1", "store 2")}
LATER = pd.Timestamp("2024-09-01")


def trained(path, rows, by="id", what=None, chosen=None, settings=SETTINGS):
    return run(rows, by, what or task(), chosen or config(), path, settings)


def longer(name, rows=43, end=LATER):
    """The rows of a group with three newer ones."""
    return pd.concat([life(name), life(name, rows=rows, end=end).tail(3)], ignore_index=True)


def test_a_run_that_is_killed_between_its_phases_goes_on_to_the_same_end(tmp_path, monkeypatch):
    rows = tmp_path / "rows.parquet"
    table(FEW).to_parquet(rows)
    trained(tmp_path / "whole", rows)
    whole = served(tmp_path / "whole")

    def killed(*_):
        raise KeyboardInterrupt

    for module, name in ((preparation, "lay_out"), (preparation, "call"), (runner, "execute")):
        path = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(KeyboardInterrupt):
                trained(path, rows)
        with Store.open(path) as store:
            last = store.runs.last()
            assert (last.state, last.note) == ("paused", "interrupted by the user")
        summary = resume(path)
        assert (summary.run, summary.state, summary.groups) == (1, "done", 3)
        assert served(path) == whole
        with pytest.raises(StoreError, match="no unfinished run"):
            resume(path)


def test_a_run_that_never_began_blocks_nobody(tmp_path):
    with pytest.raises(DataError, match="'y' not found"):
        trained(tmp_path, table(FEW).drop(columns="y"))
    with pytest.raises(StoreError, match="call `run` again with the table"):
        resume(tmp_path)
    assert trained(tmp_path, table(FEW)).counts["ok"] == 3


def test_an_unfinished_run_is_resumed_by_the_same_code_or_given_up_for_all(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(runner, "execute", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, table(FEW))
    for refused in (lambda: trained(tmp_path, table(FEW)), lambda: retrain(tmp_path), lambda: update(tmp_path, None)):
        with pytest.raises(StoreError, match=r"not finished .*resume"):
            refused()
    with monkeypatch.context() as patch:
        patch.setattr(runner, "code_in_use", lambda: {"forecastml": "9"})
        with pytest.raises(StoreError, match=r"other code .*forecastml was .*, is 9"):
            resume(tmp_path)
    # The rows came as a table in memory: they are those that were laid out.
    assert retrain(tmp_path, "all").counts["ok"] == 3
    assert {row["run"] for row in results(tmp_path).values()} == {2}


def test_however_the_rows_come_the_forecasts_are_equal(tmp_path):
    keys = ("001", "é, ß", "../x")
    rows = pd.concat([life(f"store {k}").assign(id=key) for k, key in enumerate(keys)], ignore_index=True)
    rows = rows[["id", "ds", "y"]]
    rows.to_parquet(tmp_path / "rows.parquet")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    for k, key in enumerate(("001", "%C3%A9%2C%20%C3%9F", "..%2Fx")):
        (tmp_path / "hive" / f"id={key}").mkdir(parents=True)
        part = rows[rows["id"] == keys[k]].drop(columns="id")
        part.to_parquet(tmp_path / "hive" / f"id={key}" / "part.parquet")
    stores = {}
    for name, source in {
        "memory": rows.sample(frac=1, random_state=0),
        "parquet": tmp_path / "rows.parquet",
        "csv": tmp_path / "rows.csv",
        "hive": tmp_path / "hive",
    }.items():
        trained(tmp_path / f"store-{name}", source)
        stores[name] = served(tmp_path / f"store-{name}")
    assert set(stores["memory"]) == set(keys)
    assert all(store == stores["memory"] for store in stores.values())
    assert forecast(tmp_path / "store-csv", "001")["id"].tolist() == ["001"] * 3


def test_groups_of_two_columns_that_are_named_like_columns_of_ours(tmp_path):
    rows = table(FEW).rename(columns={"id": "state"}).assign(loss="a,b")
    summary = trained(tmp_path, rows, by=("state", "loss"))
    assert summary.counts["ok"] == 3
    assert set(results(tmp_path)) == {f"{name} / a,b" for name in FEW}
    assert len(forecast(tmp_path, [("store 1", "a,b")])) == 3


def test_retraining_failed_and_stale_groups_touches_no_others(tmp_path):
    bad = table(FEW | {"double": {"kind": "double"}})
    assert trained(tmp_path, bad).failed == 1
    before = served(tmp_path)

    assert retrain(tmp_path, "failed", table(FEW | {"double": {}})).counts["ok"] == 1
    assert {name: row["version"] for name, row in results(tmp_path).items()} == dict.fromkeys(FEW, 1) | {"double": 2}

    newer = pd.concat([longer("store 1"), table({"store 0": {}, "store 2": {}, "double": {}, "new": {}})])
    assert retrain(tmp_path, "stale", newer).groups == 2
    now, after = results(tmp_path), served(tmp_path)
    assert {name for name, row in now.items() if row["run"] == 3} == {"store 1", "new"}
    assert now["store 1"]["until"].startswith("2024-09-01")
    assert after["store 0"] == before["store 0"]
    assert retrain(tmp_path, "stale", newer).groups == 0

    # A group whose rows have become bad keeps what served it.
    worse = newer[newer["id"] != "new"]
    worse = pd.concat([worse, worse[worse["id"] == "store 2"].head(1)])
    summary = retrain(tmp_path, "stale", worse)
    assert (summary.groups, summary.failed) == (1, 1)
    assert served(tmp_path)["store 2"] == before["store 2"]
    assert results(tmp_path)["store 2"]["version"] == 2
    assert retrain(tmp_path, "all").groups == 4
    assert not [path for path in (tmp_path / "data").iterdir() if path.name != "run-6"]


def jump(name, level, rows, end):
    """A line with a small wave, so that what fits is clear."""
    times = pd.date_range(end=end, periods=rows, freq="MS")
    y = level + 0.01 * (pd.Series(range(rows)) % 5)
    return pd.DataFrame({"id": name, "ds": times, "y": y.to_numpy()})


def test_the_better_of_the_older_and_the_newer_version_serves(tmp_path):
    """The older models are averages of a level that comes back; the newer ones are naive and see one strange month."""
    before = pd.concat([jump("back", 10.0, 40, END), jump("gone", 10.0, 40, END)])
    averages = config(("average",))
    trained(tmp_path, before, chosen=averages, what=task(n_folds=1))
    old = served(tmp_path)
    with Store.open(tmp_path) as store:
        request = runner.Request.from_json(store.runs.last().job)

    # "back" had one strange month before the newest fold, which naive takes for the new level; "gone" has a new level.
    back, gone = jump("back", 10.0, 46, pd.Timestamp("2024-12-01")), jump("gone", 10.0, 46, pd.Timestamp("2024-12-01"))
    back.loc[42, "y"] = 50.0
    gone.loc[40:, "y"] += 30.0
    after = pd.concat([back, gone])
    with Store.open(tmp_path, write=True) as store:
        again = runner.replace(request, config=runner.replace(config(("naive",)), workers=1, threads=1), source=None)
        summary = runner._begun(store, kinds.RETRAIN["all"], again, after)
    assert summary.counts["ok"] == 2

    now = results(tmp_path)
    assert "the older version is better on the newest fold" in now["back"]["label"]
    assert "moved over the newer rows" in now["back"]["label"]
    assert (now["back"]["model"], now["gone"]["model"]) == ("1.00 average", "1.00 naive")
    assert now["gone"]["newest"] < now["back"]["newest"] < 40
    found = forecast(tmp_path)
    assert set(found["ds"]) == set(pd.date_range("2025-01-01", periods=3, freq="MS"))
    with Store.open(tmp_path) as store:
        champion = next(c for c in store.versions.champions() if c.key == ("back",))
        stored = forecast_rows(store.read(champion.forecast))[champion.digest]
        model = next(Shard.unpack(store.read(champion.shard), "").models([champion.place]))
    expected = model.forecast()
    assert [f"{row.mean!r}" in text for row, text in zip(expected.itertuples(), stored, strict=True)] == [True] * 3
    assert found[found["id"] == "back"]["mean"].tolist() == expected["mean"].tolist()

    assert rollback(tmp_path, ["back", "gone"]) == 2
    assert served(tmp_path) == old
    assert rollback(tmp_path, "back", to=2) == 1
    with pytest.raises(StoreError, match="no version"):
        rollback(tmp_path, "gone")


def test_of_two_versions_of_the_same_rows_the_older_stays_unless_the_newer_is_better(tmp_path):
    trained(tmp_path, table(FEW), chosen=config(("theta", "seasonal_naive")), what=task(n_folds=2))
    old = results(tmp_path)
    retrain(tmp_path, "all")
    assert {row["version"] for row in served(tmp_path).values()} == {2}, "an equal one replaces it"
    with Store.open(tmp_path, write=True) as store:
        request = runner.Request.from_json(store.runs.last().job)
        again = runner.replace(request, config=runner.replace(config(("naive",)), workers=1, threads=1))
        runner._begun(store, kinds.RETRAIN["all"], again, None)
    new, champions = results(tmp_path), served(tmp_path)
    assert any(row["newest"] > old[name]["newest"] for name, row in new.items())
    for name, row in new.items():
        worse = row["newest"] > old[name]["newest"]
        assert champions[name]["version"] == (2 if worse else 3)
        assert row["accepted"] is not worse
        assert ("and stays" in row["label"]) is worse


def test_a_group_with_a_new_series_is_served_by_a_model_that_knows_it(tmp_path):
    what = task(series="item", n_folds=1)
    one = pd.concat([jump(name, 10.0, 40, END).assign(item="a") for name in ("store", "back")])
    trained(tmp_path, one, what=what, chosen=config(("average",)))
    both = [jump("store", 10.0, 46, pd.Timestamp("2024-12-01")).assign(item=item) for item in ("a", "b")]
    both[0].loc[42, "y"] = 50.0
    both.append(both[0].assign(id="back"))
    with Store.open(tmp_path, write=True) as store:
        request = runner.Request.from_json(store.runs.last().job)
        again = runner.replace(request, config=runner.replace(config(("naive",)), workers=1, threads=1), source=None)
        runner._begun(store, kinds.RETRAIN["stale"], again, pd.concat(both))
    assert forecast(tmp_path).groupby("id")["item"].unique().map(sorted).to_dict() == {
        "store": ["a", "b"],
        "back": ["a"],
    }
    found = results(tmp_path)
    assert {name: row["model"] for name, row in found.items()} == {"store": "1.00 naive", "back": "1.00 average"}
    assert found["store"]["label"] != found["back"]["label"]


def test_an_update_is_the_models_own_append(tmp_path):
    chosen = config(("theta", "average", "seasonal_naive"))
    trained(tmp_path, table(FEW), chosen=chosen)
    old, contents = served(tmp_path), {name: row["content"] for name, row in results(tmp_path).items()}
    with Store.open(tmp_path) as store:
        champion = next(c for c in store.versions.champions() if c.key == ("store 1",))
        model = next(Shard.unpack(store.read(champion.shard), "").models([champion.place]))
    newer = pd.concat([longer("store 1"), life("store 0"), life("stranger")], ignore_index=True)

    summary = update(tmp_path, newer)

    assert (summary.counts["ok"], summary.counts["skipped"]) == (2, 1)
    now, after = results(tmp_path), served(tmp_path)
    assert now["stranger"]["error"] == "not in the store yet: retrain stale"
    assert {name: after[name] for name in ("store 0", "store 2")} == {n: old[n] for n in ("store 0", "store 2")}
    assert now["store 0"]["label"] == "no newer rows: it stays as it is"
    expected = model.append(longer("store 1").tail(3)).forecast()
    found = forecast(tmp_path, "store 1")
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)
    assert found["ds"].iloc[0] == pd.Timestamp("2024-10-01")

    # A moved model has learned from no new row, so that its group is stale; one that stood still is not.
    assert now["store 1"]["content"] == contents["store 1"]
    assert retrain(tmp_path, "stale", newer).groups == 2
    assert {name for name, row in results(tmp_path).items() if row["run"] == 3} == {"store 1", "stranger"}


def test_a_scope_of_its_own_and_a_global_one(tmp_path):
    rows = table(FEW | {"double": {"kind": "double"}})
    own = trained(tmp_path / "own", rows, settings=Settings(workers=1, scope="own", max_failed=1.0))
    assert (own.counts["ok"], own.failed) == (3, 1)
    alone = fm.fit(life("store 1"), task(series="id", group="id"), config(workers=1, threads=1))
    found = forecast(tmp_path / "own", "store 1")
    pd.testing.assert_frame_equal(found, alone.forecast(), check_exact=True, check_dtype=False)

    assert retrain(tmp_path / "own", "all").counts["ok"] == 3
    assert {row["version"] for row in served(tmp_path / "own").values()} == {2}

    chosen = config(("naive", "theta", "seasonal_naive"))
    trained(tmp_path / "all", rows, chosen=chosen, settings=Settings(workers=1, scope="global", max_failed=1.0))
    assert len({row["model"] for row in results(tmp_path / "all").values() if row["state"] == "ok"}) == 1


def test_a_source_without_one_good_group_is_refused_before_anything_is_trained(tmp_path):
    bad = table({f"bad {k}": {"kind": "double"} for k in range(3)})
    with pytest.raises(DataError, match=r"id=bad 0 at 2021-03-01.*sum or drop them"):
        trained(tmp_path, bad)
    assert not results(tmp_path)
    assert not list((tmp_path / "shards").rglob("*.zip"))
    with pytest.raises(ConfigError, match="by is empty"):
        trained(tmp_path, bad, by=())


def test_no_group_is_worse_than_its_baseline_without_a_label(tmp_path):
    workshop = Workshop(tmp_path, task(), config(("naive", "average", "theta", "seasonal_naive")), table(GOOD))
    outcomes = workshop.done(table({f"noise {k}": {"rows": 20 + k} for k in range(30)}), [7])
    labelled = 0
    for outcome in outcomes.values():
        result = outcome["result"]
        assert result["state"] == "'ok'"
        worse = float(result["loss"]) > float(result["baseline"])
        labelled += worse
        assert ("its baseline was better out of fold" in result["label"]) is worse
    assert 0 < labelled < 30


def test_a_group_too_short_for_a_fold_is_served_by_the_weights_of_all(tmp_path):
    chosen = config(("naive", "average", "theta", "seasonal_naive"))
    workshop = Workshop(tmp_path, task(), chosen, table(GOOD))
    found = workshop.done(table({"one": {"rows": 1}, "empty": {"kind": "empty"}} | FEW))
    weights = {name: weight for name, weight in workshop.prior.weights.items() if weight > 0}
    shares = dict(reversed(part.split(" ")) for part in found["one"]["result"]["model"].strip("'").split(" + "))
    assert {name: f"{weight:.2f}" for name, weight in weights.items()} == shares
    assert found["one"]["result"]["loss"] == "nan"
    assert found["empty"]["result"]["state"] == "'fallback'"
    assert found["empty"]["result"]["label"] == "'no member could serve it'"
    assert all(f"'mean': {workshop.prior.cold!r}" in row for row in found["empty"]["forecast"])


def test_stored_forecasts_hold_each_group_once(tmp_path):
    trained(tmp_path, table(FEW))
    with Store.open(tmp_path) as store:
        parts = {champion.forecast.name for champion in store.versions.champions()}
    assert sum(pq.read_table(tmp_path / name).num_rows for name in parts) == 3 * len(FEW)
