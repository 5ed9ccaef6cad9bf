"""Whole runs on disks that fill up or go bad, and under two drivers at once."""

import subprocess
import sys

import pytest

import forecastml as fm
from forecastml.errors import ForecastWarning
from forecastml.learners.registry import unregister
from many_models.errors import StoreError, StoreFull, StoreInUse
from many_models.forecasts import forecast
from many_models.fsck import fsck
from many_models.runner import resume, retrain, run
from many_models.settings import Settings
from many_models.store import Store
from tests.many_models import stores
from tests.many_models.lives import GOOD, config, results, served, table, task
from tests.many_models.thirsty import Thirsty

FEW = {name: GOOD[name] for name in ("store 0", "store 1", "store 2")}
SETTINGS = Settings(workers=1, batch_groups=1, max_failed=1.0)


@pytest.fixture
def whole(tmp_path):
    """A store of three groups, each in a shard of its own, and the file of its rows."""
    rows = tmp_path / "rows.parquet"
    table(FEW).to_parquet(rows)
    run(rows, "id", task(), config(), tmp_path / "store", SETTINGS)
    return tmp_path / "store"


def champion(path, name):
    with Store.open(path) as store:
        return next(c for c in store.versions.champions() if c.key == (name,))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
def test_a_run_that_finds_the_disk_full_pauses_and_goes_on_when_there_is_room(tmp_path, monkeypatch):
    rows, flag = tmp_path / "rows.parquet", tmp_path / "full"
    table(FEW).to_parquet(rows)
    monkeypatch.setenv("MANY_MODELS_FULL", str(flag))
    fm.register(Thirsty())
    try:
        run(rows, "id", task(), fm.Config.preset("fast", allow=["thirsty"]), tmp_path / "whole", SETTINGS)
        flag.touch()
        with pytest.raises(StoreFull, match=r"no room .*make room and `many-models resume`"):
            run(rows, "id", task(), fm.Config.preset("fast", allow=["thirsty"]), tmp_path / "store", SETTINGS)
        with Store.open(tmp_path / "store") as store:
            last = store.runs.last()
            assert (last.state, last.planned) == ("paused", True)
            assert "no room" in last.note
            assert not store.ledger.defects()
            assert not [row for row in store.versions.results()]
        assert not list((tmp_path / "store" / "tmp").iterdir())
        assert not list((tmp_path / "store" / "shards").rglob("*.zip"))
        flag.unlink()
        assert resume(tmp_path / "store").counts["ok"] == 3
        assert served(tmp_path / "store") == served(tmp_path / "whole")
    finally:
        unregister("thirsty")
    with Store.open(tmp_path / "store") as store:
        assert not fsck(store)


def test_a_damaged_shard_costs_its_group_alone_until_it_is_trained_again(whole):
    before, shard = served(whole), whole / champion(whole, "store 1").shard.name
    flip(shard)
    # What was kept is served, what has to be made anew is not, and the rest is.
    assert set(forecast(whole)["id"]) == set(FEW)
    with pytest.warns(ForecastWarning, match=r"1 of 3 groups have no forecast: store 1 \(its model is damaged"):
        assert set(forecast(whole, horizon=2)["id"]) == {"store 0", "store 2"}
    with Store.open(whole, write=True) as store:
        kinds = {problem.kind for problem in fsck(store, repair=True)}
        assert kinds == {"changed", "champion"}
        assert not fsck(store)
    row = results(whole)["store 1"]
    assert (row["state"], row["reason"], row["version"]) == ("failed", "corrupt", 2)
    assert retrain(whole, "failed").counts["ok"] == 1
    after = served(whole)
    assert after["store 1"]["version"] == 3
    assert {name: after[name]["model"] for name in FEW} == {name: before[name]["model"] for name in FEW}


def test_a_damaged_shard_of_a_run_that_goes_on_is_fitted_again_by_resume(whole, tmp_path, monkeypatch):
    expected, path = served(whole), tmp_path / "paused"
    commits = []

    def twice(event):
        commits.append(event["event"])
        if commits.count("group") == 2:
            raise KeyboardInterrupt

    listened = Settings(workers=1, batch_groups=1, max_failed=1.0, listener=twice)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "rows.parquet", "id", task(), config(), path, listened)
    first = sorted(results(path))
    assert len(first) == 2
    flip(path / champion(path, first[0]).shard.name)
    with Store.open(path, write=True) as store:
        fsck(store, repair=True)
        assert store.plan.progress(1).groups_done == 1
    assert resume(path, SETTINGS).groups == 3
    now = served(path)
    assert {name: now[name]["model"] for name in FEW} == {name: expected[name]["model"] for name in FEW}
    assert now[first[1]]["version"] == 1


def test_a_damaged_forecast_is_made_again_from_its_model(whole):
    before = forecast(whole)
    flip(whole / champion(whole, "store 2").forecast.name)
    assert forecast(whole).equals(before)
    with Store.open(whole, write=True) as store:
        assert {problem.kind for problem in fsck(store, repair=True)} == {"changed"}
    assert champion(whole, "store 2").forecast is None
    assert forecast(whole).equals(before)


def test_a_damaged_prior_is_learned_again_the_same(whole, tmp_path, monkeypatch):
    from many_models import runner

    expected, path = served(whole), tmp_path / "second"
    with monkeypatch.context() as patch:
        patch.setattr(runner, "execute", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "rows.parquet", "id", task(), config(), path, SETTINGS)
    with Store.open(path) as store:
        prior = store.find("prior-1")
    flip(path / prior.name)
    with Store.open(path) as store:
        assert {problem.kind for problem in fsck(store)} == {"changed", "document"}
    assert resume(path, SETTINGS).counts["ok"] == 3
    assert served(path) == expected
    with Store.open(path) as store:
        assert {problem.kind for problem in fsck(store)} <= {"changed"}


def test_a_store_has_one_driver_and_any_number_of_readers(whole, tmp_path):
    code = """
import sys
from many_models.store import Store
with Store.open(sys.argv[1], write=True):
    print("mine", flush=True)
    sys.stdin.readline()
"""
    other = stores.script(code, whole)
    try:
        assert other.stdout.readline() == "mine\n"
        for attempt in (lambda: retrain(whole), lambda: run(table(FEW), "id", task(), config(), whole, SETTINGS)):
            with pytest.raises(StoreInUse, match=str(other.pid)):
                attempt()
        assert set(forecast(whole)["id"]) == set(FEW)
        waiting = stores.script(
            "import sys; from many_models.runner import retrain; from many_models.settings import Settings\n"
            "print(retrain(sys.argv[1], settings=Settings(workers=1, wait=60.0)).groups)",
            whole,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=1.5)
        stores.finished(other, "\n")
        assert stores.finished(waiting) == "0\n"
    finally:
        other.kill()
    with Store.open(whole) as store, pytest.raises(StoreError, match="has no run 9"):
        store.runs.get(9)
