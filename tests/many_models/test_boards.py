"""What a store tells of its runs: results, leaderboard, status."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

import many_models as mm
from forecastml.errors import ConfigError
from many_models.boards import members
from many_models.errors import StoreError
from many_models.exporting import Export
from many_models.protocols import Batch, File, Group, GroupResult, Receipt
from many_models.results_table import FIELDS
from many_models.store import Store
from tests.many_models import shops


def store_of(root, results: list[tuple[Group, GroupResult]], by=("shop",), end: str | None = "done") -> int:
    """A store with one run of these groups, without models."""
    groups = tuple(group for group, _ in results)
    with Store.create(root) as store:
        request = shops.request(shops.task(), ("naive",))
        job = request.to_json().replace('"by": ["shop"]', f'"by": {list(by)}'.replace("'", '"'))
        run = store.runs.begin("run", request.fingerprint, job, allowed=0.5)
        store.plan.add(run, [Batch(groups, ())])
        store.versions.commit(run, Receipt("b", tuple(result for _, result in results), began=1e9, ended=1e9 + 60))
        if end:
            store.runs.end(run, end)
    return run


def ended(key: tuple[str, ...], state: str, **more) -> tuple[Group, GroupResult]:
    group = Group(key, 10, "")
    return group, GroupResult(group.digest, state, rows=10, **more)


def test_results_have_a_row_per_group_with_what_became_of_it(shop_store):
    frame = mm.results(shop_store).set_index("shop")
    assert list(frame.columns) == list(FIELDS)
    assert set(frame.index) == {*shops.NAMES, "bad"}
    good, bad = frame.drop("bad"), frame.loc["bad"]
    assert (good["state"] == "ok").all() and good["serves"].all() and (good["series"] == 2).all()
    assert (good["rows"] == 96).all() and (good["until"] == "2024-12-01").all()
    assert good["model_used"].str.contains("naive|drift").all()
    beats = [bool(loss <= baseline) for loss, baseline in zip(good["loss"], good["baseline"], strict=True)]
    assert good["beats_baseline"].tolist() == beats
    assert (bad["state"], bad["error_type"], bad["error_code"]) == ("failed", "DataError", "exception")
    assert "repeat a time" in bad["error"] and "shop=bad" in bad["error"]
    assert bad["beats_baseline"] is None and not bad["serves"] and np.isnan(bad["loss"])
    assert (frame["started"] <= frame["ended"]).all() and str(frame["ended"].dt.tz) == "UTC"
    assert (frame["seconds"] > 0).all() and (frame["attempts"] == 1).all() and (frame["worker"] != "").all()


def test_results_of_a_run_and_of_some_states(shop_store, copied):
    root = copied(shop_store)
    with Store.open(root, write=True) as store:
        shops.add_run(store, shops.table(["001"], bad=()), allow=("naive",))
    first, second = mm.results(root, run=1), mm.results(root, run=2)
    assert (len(first), second["shop"].tolist(), second["version"].tolist()) == (7, ["001"], [2])
    assert not first.set_index("shop").loc["001", "serves"]
    assert mm.results(root, states=["failed"])["shop"].tolist() == ["bad"]
    assert mm.results(root, states=["quarantined"]).empty
    latest = mm.results(root).set_index("shop")["run"]
    assert latest["001"] == 2 and (latest.drop("001") == 1).all()
    with pytest.raises(ConfigError, match="state 'broken' is unknown; use ok, fallback"):
        mm.results(root, states=["broken"])
    with pytest.raises(StoreError, match="no run 9"):
        mm.results(root, run=9)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_results_in_a_file(shop_store, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("many_models.results_table.PIECE", 2)
    sizes, write = [], Export.write
    monkeypatch.setattr(Export, "write", lambda export, table: (sizes.append(len(table)), write(export, table)))
    out = tmp_path / f"results{suffix}"
    assert mm.results(shop_store, out=out) is None
    assert sizes == [2, 2, 2, 1]
    frame = mm.results(shop_store)
    if suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(out), frame)
        return
    found = pd.read_csv(out, dtype={"shop": str})
    assert found["shop"].tolist() == frame["shop"].replace({"=1+1": "'=1+1", "-x": "'-x"}).tolist()
    assert found["loss"].round(9).equals(frame["loss"].round(9))


def test_texts_that_a_spreadsheet_would_run_are_escaped_in_csv(tmp_path):
    texts = ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\tx", "\rx", "-5", "+4.5e3", "plain", "a=b", ""]
    results = [ended((text,), "failed", error=text, reason="exception") for text in texts]
    store_of(tmp_path / "store", results)
    mm.results(tmp_path / "store", out=tmp_path / "results.csv")
    found = pd.read_csv(tmp_path / "results.csv", dtype=str, keep_default_na=False).set_index("shop")
    harmless = ["-5", "+4.5e3", "plain", "a=b", ""]
    assert set(found.index) == {*(f"'{text}" for text in texts if text not in harmless), *harmless}
    assert set(found["error"]) == set(found.index)


def test_a_partition_column_keeps_its_name_where_ours_is_the_same(tmp_path):
    store_of(tmp_path / "store", [ended(("NY", "1"), "failed"), ended(("CA", "2"), "skipped")], by=("state", "run"))
    frame = mm.results(tmp_path / "store")
    assert list(frame.columns[:5]) == ["state", "run", "run_", "version", "serves"]
    assert frame.sort_values("state")["state_"].tolist() == ["skipped", "failed"]
    assert mm.leaderboard(tmp_path / "store").worst.empty


def test_members_of_what_serves_a_group():
    text = "0.52 theta + 0.30 median(of=['ces', 'a + b']) + 0.18 theta(season_length=12)"
    assert members(text) == pytest.approx({"theta": 0.70, "median": 0.30})
    assert members("1.00 naive") == {"naive": 1.0}
    assert members("fallback") == {"fallback": 1.0}


def test_leaderboard_over_groups(shop_store):
    board = mm.leaderboard(shop_store)
    frame = mm.results(shop_store, states=["ok"])
    assert {state: count for state, count in board.states.items() if count} == {"ok": 6, "failed": 1}
    assert (board.serving, board.judged) == (6, 6)
    assert board.better == (frame["loss"] <= frame["baseline"]).mean()
    quantiles = board.losses.set_index("quantile")
    assert quantiles.loc[0.5, "loss"] == pytest.approx(frame["loss"].median())
    assert quantiles.loc[0.9, "ratio"] == pytest.approx((frame["loss"] / frame["baseline"]).quantile(0.9))
    assert (board.learners["share"] * 6 == board.learners["groups"]).all()
    weighed = (board.learners["groups"] * board.learners["weight"]).sum()
    assert weighed == pytest.approx(6, abs=0.1)
    ratio = (frame["loss"] / frame["baseline"]).set_axis(frame["shop"]).sort_values(ascending=False)
    assert board.worst["shop"].tolist() == ratio.index.tolist()
    assert set(board.worst["label"]) == set(frame["label"])
    tried = board.tried.set_index("learner")
    assert {"ensemble", "naive", "drift"} <= set(tried.index)
    assert tried["loss"].is_monotonic_increasing


def test_leaderboard_without_anything_to_judge(tmp_path):
    store_of(tmp_path / "store", [ended(("a",), "failed")])
    board = mm.leaderboard(tmp_path / "store")
    assert (board.serving, board.judged) == (0, 0) and np.isnan(board.better)
    assert board.learners.empty and board.worst.empty and board.tried.empty


def test_status_of_a_run_that_is_done(shop_store):
    found = mm.status(shop_store)
    assert (found.run, found.kind, found.state, found.holder, found.phase) == (1, "run", "done", "", "")
    assert (found.done, found.total, found.counts["ok"], found.counts["failed"]) == (7, 7, 6, 1)
    assert found.rate == pytest.approx(7 / found.seconds) and np.isnan(found.left)
    assert found.runs[["run", "state", "done", "groups"]].values.tolist() == [[1, "done", 7, 7]]


def test_status_while_a_run_goes_on_and_after_its_driver_died(tmp_path):
    root = tmp_path / "store"
    with Store.create(root) as store:
        assert (mm.status(root).run, mm.status(root).state) == (0, "")
        request = shops.request(shops.task(), ("naive",))
        store.runs.begin("run", request.fingerprint, request.to_json())
        assert mm.status(root).phase == "laying out the rows"
        store.runs.end(1, "failed")
        shops.add_run(store, shops.table(bad=()), allow=("naive",), most=2)
        found = mm.status(root)
        assert (found.state, found.phase, found.done, found.total) == ("running", "training", 4, 6)
        assert f"process {__import__('os').getpid()} on " in found.holder
        # Two of the four came after the first shard; nobody knows when that was begun.
        assert found.rate > 0 and found.left == pytest.approx(2 / found.rate)
    found = mm.status(root)
    assert (found.state, found.holder, found.done) == ("interrupted", "", 4)
    assert found.runs["state"].tolist() == ["failed", "interrupted"]


def test_the_pace_is_that_of_late_not_of_all_the_time_since_the_run_began(tmp_path):
    now = time.time()
    with Store.create(tmp_path / "store") as store:
        request = shops.request(shops.task(), ("naive",))
        run = store.runs.begin("run", request.fingerprint, request.to_json())
        batches = [Batch(tuple(Group((f"{k}-{i}",), 10, "") for i in range(5)), ()) for k in range(60)]
        store.plan.add(run, batches)
        with store.ledger.transaction() as connection:
            connection.execute("UPDATE runs SET began = ?", (now - 86_400,))
        for k, batch in enumerate(batches[:40]):
            results = tuple(GroupResult(g.digest, "ok", place=i) for i, g in enumerate(batch.groups))
            shard = written(store, k)
            store.versions.commit(run, Receipt(batch.name, results, shard, ended=now - 40 + k))
        found = mm.status(tmp_path / "store")
    assert found.rate == pytest.approx(5, rel=0.2)
    assert found.left == pytest.approx(20, rel=0.3)


def written(store: Store, k: int) -> File:
    from many_models import files

    return files.write(store.root, "shards", f"shard {k}".encode(), ".zip")
