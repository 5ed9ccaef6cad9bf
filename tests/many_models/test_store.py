"""The run store: what a receipt changes, what serves, what is left to do; and any sequence of these."""

import itertools
import math
import os
import re
import shutil
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from many_models.compaction import gc
from many_models.errors import CorruptStoreError, StoreError
from many_models.fsck import fsck
from many_models.protocols import Batch, File, Group, GroupResult, Receipt, digest_of
from many_models.store import Store, is_store
from tests.many_models.stores import batches, cut, digest, fitted, group, receipt, served


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "store") as made:
        yield made


@pytest.fixture
def run(store):
    """A run of ten groups in three batches, nothing done yet."""
    number = store.runs.begin("fit", "f", '{"job": 1}', "a note", 0.1)
    store.plan.add(number, batches(10))
    return number


def test_a_new_store_is_empty_and_whole(store):
    assert is_store(store.root)
    assert list(store.versions.results()) == list(store.versions.champions()) == list(store.runs.all()) == []
    assert store.runs.last() is None
    assert fsck(store) == []
    assert {"data", "documents", "forecasts", "ledger.db", "lock", "shards", "tmp"} <= set(os.listdir(store.root))


def test_a_store_is_made_in_a_new_or_empty_folder_alone(tmp_path):
    Store.create(tmp_path / "a" / "b").close()
    with pytest.raises(StoreError, match=r"there is a store in .* already"):
        Store.create(tmp_path / "a" / "b")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError, match="not empty"):
        Store.create(tmp_path / "mine")
    with pytest.raises(StoreError, match="choose another folder"):
        Store.create(tmp_path / "mine" / "thesis.txt")
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


@pytest.mark.parametrize("write", [True, False])
def test_where_no_store_is_none_is_opened(tmp_path, write):
    with pytest.raises(StoreError, match=r"no store in .*many-models run"):
        Store.open(tmp_path / "nowhere", write=write)
    assert not (tmp_path / "nowhere").exists()


def test_a_making_that_was_cut_short_is_begun_again(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("many_models.ledger.os.replace", lambda *_: (_ for _ in ()).throw(OSError(5, "cut")))
        with pytest.raises(StoreError, match="cut"):
            Store.create(tmp_path / "store")
    with Store.create(tmp_path / "store") as store:
        assert [problem.kind for problem in fsck(store, repair=True)] == ["unfinished"]
        assert fsck(store) == []


def test_a_store_keeps_its_place_when_the_driver_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store.create("store") as store:
        monkeypatch.chdir("/")
        store.put("job", b"{}")
    assert Store.open(tmp_path / "store").get("job") == b"{}"


def test_who_opens_a_store_for_writing_sweeps_what_a_killed_driver_was_writing(store):
    store.close()
    part = store.root / "tmp" / "ab.part"
    part.write_bytes(b"half of it")
    Store.open(store.root).close()
    assert part.exists(), "a reader changes nothing"
    Store.open(store.root, write=True).close()
    assert not part.exists()


def test_documents_are_kept_and_replaced(store):
    store.put("../job", b"one")
    store.put("../job", b"two")
    store.put("prior", b"two")
    assert store.get("../job") == store.get("prior") == b"two"
    with pytest.raises(StoreError, match="no document 'else'"):
        store.get("else")


def test_a_run_knows_what_it_was_asked(store, run):
    found = store.runs.get(run)
    assert (found.kind, found.state, found.fingerprint, found.job) == ("fit", "running", "f", '{"job": 1}')
    assert (found.note, found.allowed, found.planned, found.ended) == ("a note", 0.1, True, None)
    other = store.runs.begin("retrain", "g", "{}")
    assert store.runs.last().id == other > run
    assert store.runs.last("fit") == found
    assert [r.id for r in store.runs.all()] == [run, other]
    store.runs.end(run, "paused", "no room")
    assert (store.runs.get(run).state, store.runs.get(run).note) == ("paused", "no room")
    assert store.runs.get(run).ended >= found.began
    assert store.runs.resume(run).state == "running"
    with pytest.raises(StoreError, match="no run 99"):
        store.runs.get(99)
    with pytest.raises(StoreError, match="not as 'well'"):
        store.runs.end(run, "well")


def test_a_run_with_groups_left_is_not_done(store, run):
    with pytest.raises(StoreError, match="10 groups"):
        store.runs.end(run, "done")
    for batch in list(store.plan.pending(run)):
        store.versions.commit(run, receipt(store.root, batch))
    store.runs.end(run, "done")
    with pytest.raises(StoreError, match="is done"):
        store.runs.resume(run)


def test_a_plan_gives_back_its_batches_in_order(store, run):
    assert list(store.plan.pending(run)) == batches(10)
    assert store.plan.progress(run).batches == 3
    assert store.plan.progress(run).groups == 10


def test_a_complete_plan_stays_and_nothing_is_drawn(store, run):
    def never():
        raise AssertionError("drawn")
        yield

    assert store.plan.add(run, never()).groups == 10


def test_a_plan_that_was_cut_short_is_planned_anew(store, monkeypatch):
    monkeypatch.setattr("many_models.plan.BATCHES", 2)
    number = store.runs.begin("fit", "f", "{}")

    def breaks():
        yield from batches(40)[:7]
        raise OSError("the source is gone")

    with pytest.raises(OSError):
        store.plan.add(number, breaks())
    assert store.plan.progress(number).batches == 6
    with pytest.raises(StoreError, match="cut short"):
        next(store.plan.pending(number))
    assert store.plan.add(number, batches(12)).groups == 12
    assert list(store.plan.pending(number)) == batches(12)


def test_what_a_cut_plan_already_led_to_is_not_planned_again(store, run):
    number = store.runs.begin("fit", "f", "{}")
    store.versions.commit(number, receipt(store.root, batches(10)[0].halves()[0], "early"))
    assert store.plan.add(number, batches(10)).groups_done == 2
    assert next(store.plan.pending(number)) == batches(10)[0].halves()[1]


def test_a_group_is_planned_once(store):
    number = store.runs.begin("fit", "f", "{}")
    with pytest.raises(StoreError, match="store 1 is in the plan of run 1 twice"):
        store.plan.add(number, [*batches(4), Batch((group("store 1"),), ())])


def test_a_plan_is_drawn_lazily(store):
    drawn = []

    def source():
        for batch in batches(4000):
            drawn.append(batch)
            if len(drawn) == 500:
                assert store.plan.progress(1).batches >= 200
            yield batch

    number = store.runs.begin("fit", "f", "{}")
    assert store.plan.add(number, source()).batches == 1000


def test_a_receipt_gives_every_group_a_version(store, run):
    batch = batches(10)[0]
    done = receipt(
        store.root, batch, states={"store 1": "failed"}, error="ValueError: too short: 3", reason="exception"
    )
    assert store.versions.commit(run, done)
    assert store.runs.counts(run) == {"ok": 3, "fallback": 0, "failed": 1, "quarantined": 0, "skipped": 0}
    assert store.plan.progress(run).groups_done == 4
    assert list(store.plan.pending(run)) == batches(10)[1:]
    rows = {row["key"][0]: row for row in store.versions.results()}
    assert list(rows) == ["store 0", "store 1", "store 2", "store 3"]
    assert rows["store 0"]["champion"] and not rows["store 1"]["champion"]
    assert (rows["store 1"]["shard"], rows["store 1"]["place"]) == (None, -1)
    assert rows["store 1"]["error_type"] == "ValueError"
    assert rows["store 2"]["shard"] == done.shard.name
    assert (rows["store 2"]["began"], rows["store 2"]["ended"], rows["store 2"]["worker"]) == (1.0, 2.0, "here:1")
    assert set(served(store)) == {"store 0", "store 2", "store 3"}


def test_every_field_of_a_result_comes_back(store, run):
    batch = Batch((group("store 0"), group("store 1"), group("store 2")), ())
    full = GroupResult(
        batch.groups[0].digest, "fallback", "naive", 0, 3, 40, "c1", "2024-01-01", 1.5, 2.5, math.inf, True, "timeout",
        "took too long", 3, 0.25, "its baseline was better",
    )  # fmt: skip
    bare = GroupResult(batch.groups[1].digest, "skipped")
    odd = GroupResult(batch.groups[2].digest, "failed", error="nul \0, half \ud800, " + "x" * 9000, label="é")
    shard = receipt(store.root, batch).shard
    store.versions.commit(run, Receipt(batch.name, (full, bare, odd), shard))
    rows = list(store.versions.results(run))
    for expected, row in zip((full, bare), rows[:2], strict=True):
        for name, value in expected.__dict__.items():
            assert row[name] == value or (math.isnan(value) and math.isnan(row[name])), name
    assert rows[0]["is_fallback"] and not rows[1]["is_fallback"]
    assert rows[0]["error_type"] == "timeout"
    assert rows[2]["error"].startswith("nul \0, half \\ud800, xxx")
    assert len(rows[2]["error"]) <= 4020
    champion = next(store.versions.champions([full.digest]))
    assert (champion.state, champion.until, champion.label) == ("fallback", "2024-01-01", full.label)
    assert champion.shard == shard
    assert (champion.forecast, champion.newest, champion.run) == (None, math.inf, run)


def test_doing_a_batch_twice_changes_nothing(store, run):
    batch = batches(10)[0]
    assert store.versions.commit(run, receipt(store.root, batch, "first"))
    before = list(store.versions.results())
    assert not store.versions.commit(run, receipt(store.root, batch, "second"))
    assert not store.versions.commit(run, receipt(store.root, batch, "first"))
    assert list(store.versions.results()) == before
    assert list(store.ledger.stream("SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM receipts)")) == [(2, 1)]
    assert set(served(store).values()) == {"first"}
    assert store.runs.counts(run)["ok"] == 4
    assert store.plan.progress(run).groups_done == 4


def test_halves_make_a_whole_batch(store, run):
    batch = batches(10)[0]
    left, right = batch.halves()
    assert store.versions.commit(run, receipt(store.root, right, "right"))
    assert next(store.plan.pending(run)) == left
    assert store.plan.progress(run).batches_done == 0
    # The whole batch comes late: of it only the missing groups count.
    assert store.versions.commit(run, receipt(store.root, batch, "whole"))
    assert served(store) == {"store 0": "whole", "store 1": "whole", "store 2": "right", "store 3": "right"}
    assert store.plan.progress(run).batches_done == 1


def test_a_receipt_of_an_unknown_group_or_state_changes_nothing(store, run):
    batch = batches(10)[0]
    stranger = Batch((*batch.groups, group("stranger")), ())
    with pytest.raises(StoreError, match="never planned"):
        store.versions.commit(run, receipt(store.root, stranger))
    done = receipt(store.root, batch)
    for wrong, match in (({"state": "fine"}, "'fine'"), ({"digest": "xyz"}, "no digest")):
        with pytest.raises(StoreError, match=match):
            store.versions.commit(run, replace(done, results=(done.results[0], replace(done.results[1], **wrong))))
    with pytest.raises(StoreError, match="no run 7"):
        store.versions.commit(7, done)
    assert list(store.versions.results()) == []


def test_a_receipt_whose_file_is_not_there_is_refused(store, run):
    done = receipt(store.root, batches(10)[0])
    (store.root / done.shard.name).unlink()
    with pytest.raises(CorruptStoreError, match="is missing"):
        store.versions.commit(run, done)
    with pytest.raises(CorruptStoreError, match="no name"):
        store.versions.commit(run, replace(done, shard=File("../x", "0" * 64, 1)))
    assert list(store.versions.results()) == []


@pytest.mark.parametrize(
    "changes", [{"state": "failed"}, {"state": "quarantined"}, {"state": "skipped"}, {"accepted": False}, {"place": -1}]
)
def test_the_older_champion_stays_where_the_new_version_is_not_good(store, changes):
    fitted(store, batches(4), "old")
    run = store.runs.begin("retrain", "f", "{}")
    store.plan.add(run, batches(4))
    done = receipt(store.root, batches(4)[0], "new")
    store.versions.commit(run, replace(done, results=(replace(done.results[0], **changes), *done.results[1:])))
    assert served(store) == {"store 0": "old", "store 1": "new", "store 2": "new", "store 3": "new"}
    assert [row["champion"] for row in store.versions.history(digest("store 0"))] == [True, False]
    standing = store.versions.standing([digest("store 0"), digest("store 1"), digest("unknown")])
    assert (standing[digest("store 0")].version, standing[digest("store 0")].champion) == (2, 1)
    assert standing[digest("store 0")].state == changes.get("state", "ok")
    assert (standing[digest("store 1")].champion, standing[digest("store 1")].content) == (2, "c0")
    assert len(standing) == 2


def test_results_are_asked_by_run_and_state(store):
    first = fitted(store, batches(4), states={"store 1": "failed"}, newest=0.5)
    second = fitted(store, batches(4)[:1], states={"store 2": "quarantined"})
    assert [row["state"] for row in store.versions.results(first)] == ["ok", "failed", "ok", "ok"]
    assert [row["state"] for row in store.versions.results()] == ["ok", "ok", "quarantined", "ok"]
    assert {row["run"] for row in store.versions.results()} == {second}
    assert [row["key"] for row in store.versions.results(states=("quarantined", "failed"))] == [("store 2",)]
    assert list(store.versions.results(99)) == []
    assert store.versions.standing([digest("store 2")])[digest("store 2")].newest == 0.5


def test_champions_come_shard_by_shard(store):
    fitted(store, batches(40), "one")
    fitted(store, batches(40)[3:5], "two")
    found = list(store.versions.champions())
    names = [champion.shard.name for champion in found]
    assert len(found) == 40
    assert sum(a != b for a, b in itertools.pairwise(names)) == len(set(names)) - 1
    assert all(a.place < b.place for a, b in itertools.pairwise(found) if a.shard == b.shard)
    few = list(store.versions.champions(digest(f"store {i}") for i in (30, 2, 2, 77)))
    assert [champion.key for champion in few] == [("store 2",), ("store 30",)]
    assert list(store.versions.champions([])) == []
    with pytest.raises(StoreError, match="no digest"):
        list(store.versions.champions(["store 2"]))


def test_rolling_back_lets_the_version_before_serve(store):
    for salt in ("one", "two", "three"):
        fitted(store, batches(4), salt, accepted=salt != "two")
    assert store.versions.rollback() == 4
    assert set(served(store).values()) == {"one"}  # "two" was never good enough to serve
    assert store.versions.rollback() == 0
    assert store.versions.rollback([digest("store 1")], to=2) == 1
    assert served(store)["store 1"] == "two"
    assert store.versions.rollback(to=3) == 4
    assert store.versions.rollback(to=3) == 0
    with pytest.raises(StoreError, match="no version 9"):
        store.versions.rollback([digest("store 0")], to=9)
    with pytest.raises(StoreError, match="has no version before"):
        store.versions.rollback([digest("store 0"), digest("stranger")])
    assert set(served(store).values()) == {"three"}
    fitted(store, batches(4), "four")
    assert set(served(store).values()) == {"four"}
    assert [row["version"] for row in store.versions.history(digest("store 0"))] == [1, 2, 3, 4]


KEYS = ["..", "/etc/passwd", "a/b", "\\\\host\\x", "%2e%2e", "nul\0", "", "CON", "con", "é", "e\u0301", "\ud800"]
KEYS += ["x" * 10_000, "=cmd()", "<script>", "'; DROP TABLE groups; --", "\n", "日本"]


def test_hostile_keys_are_kept_and_never_become_names(store):
    keys = [(text,) for text in KEYS] + [("a", "b"), ("ab", ""), ("", "ab")]
    groups = tuple(Group(key, 1, "c") for key in keys)
    assert len({item.digest for item in groups}) == len(keys)
    run = store.runs.begin("fit", "f", "{}")
    store.plan.add(run, [Batch(groups, ("data/0.parquet",))])
    (batch,) = store.plan.pending(run)
    assert batch.groups == groups
    store.versions.commit(run, receipt(store.root, batch))
    assert [row["key"] for row in store.versions.results()] == keys
    assert [champion.key for champion in store.versions.champions()] == keys
    for key in keys:
        assert store.versions.history(digest_of(key))[0]["key"] == key
    inside = {path.name for path in store.root.rglob("*") if path.is_file() and path.parent != store.root}
    assert len(inside) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}\.(json|parquet)", name) for name in inside)
    assert fsck(store) == []


def test_a_long_read_holds_a_piece_at_a_time(store):
    fitted(store, batches(3000, 100))
    few = _peak(store, "SELECT g.* FROM groups g", 3_000)
    assert _peak(store, "SELECT g.* FROM groups g, (SELECT 1 FROM groups LIMIT 10)", 30_000) < few + 100_000


def _peak(store, query, expected):
    """Bytes of memory at most while the rows of a query are counted."""
    tracemalloc.start()
    number = sum(1 for _ in store.ledger.stream(query))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == expected
    return peak


class Histories(RuleBasedStateMachine):
    """Any order of runs, crashes, repairs and clearings; `model` is what the store should serve."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store.create(self.folder / "store")
        self.run, self.model, self.salt, self.versions = 0, {}, 0, {}

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    @precondition(lambda self: not self.run)
    @rule(number=st.integers(1, 9), size=st.integers(1, 4))
    def start(self, number, size):
        self.run = self.store.runs.begin("fit", "f", "{}")
        self.store.plan.add(self.run, batches(number, size))

    @precondition(lambda self: self.run)
    @rule(data=st.data())
    def commit(self, data):
        left = list(self.store.plan.pending(self.run))
        if not left:
            self.store.runs.end(self.run, "done")
            self.run = 0
            return
        batch = data.draw(st.sampled_from(left))
        if len(batch) > 1 and data.draw(st.booleans()):
            batch = batch.halves()[data.draw(st.integers(0, 1))]
        bad = data.draw(st.sets(st.sampled_from([g.key[0] for g in batch.groups])))
        accepted = data.draw(st.booleans())
        self.salt += 1
        done = receipt(self.store.root, batch, str(self.salt), dict.fromkeys(bad, "failed"), accepted=accepted)
        if data.draw(st.booleans()):
            self.crash()  # after the worker wrote, before the driver committed
            self.store.runs.resume(self.run)
        assert self.store.versions.commit(self.run, done)
        assert not self.store.versions.commit(self.run, done)
        for item in batch.groups:
            self.versions[item.key[0]] = self.versions.get(item.key[0], 0) + 1
            if accepted and item.key[0] not in bad:
                self.model[item.key[0]] = str(self.salt)

    @rule()
    def crash(self):
        """A driver that is gone without a word: nothing is closed in order."""
        self.store._lease.close()
        self.store = Store.open(self.folder / "store", write=True)
        if self.run:
            assert self.store.runs.get(self.run).state == "interrupted"

    @precondition(lambda self: self.run)
    @rule(state=st.sampled_from(["paused", "failed", "interrupted"]))
    def stop_and_resume(self, state):
        self.store.runs.end(self.run, state)
        self.store.runs.resume(self.run)

    @rule()
    def rollback(self):
        before = served(self.store)
        moved = self.store.versions.rollback()
        self.model = served(self.store)
        assert sum(before[key] != text for key, text in self.model.items()) == moved

    @rule(keep=st.integers(1, 3))
    def collect(self, keep):
        gc(self.store, keep, cut)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def damage_and_repair(self, data):
        champions = list(self.store.versions.champions())
        name = data.draw(st.sampled_from(sorted({c.shard.name for c in champions})))
        hit = {c.key[0] for c in champions if c.shard.name == name}
        (self.store.root / name).write_bytes(b"damaged")
        assert {p.name for p in fsck(self.store, repair=True) if p.kind == "champion"} == {digest(key) for key in hit}
        after = served(self.store)
        assert {key: text for key, text in after.items() if key not in hit} == {
            key: text for key, text in self.model.items() if key not in hit
        }
        queued = {g.key[0] for b in self.store.plan.pending(self.run) for g in b.groups} if self.run else set()
        for key in hit - set(after) - queued:
            last = self.store.versions.history(digest(key))[-1]
            assert last["state"] == "failed"
        self.model = after
        self.versions = {key: len(self.store.versions.history(digest(key))) for key in self.versions}

    @invariant()
    def what_was_committed_serves(self):
        if hasattr(self, "store"):
            assert served(self.store) == self.model

    @invariant()
    def no_version_is_lost(self):
        if hasattr(self, "store"):
            rows = {row["key"][0]: row["version"] for row in self.store.versions.results()}
            assert rows == self.versions

    @invariant()
    def each_group_has_one_champion_at_most_and_no_file_is_missing(self):
        if hasattr(self, "store"):
            for key in self.versions:
                assert sum(row["champion"] for row in self.store.versions.history(digest(key))) <= 1
            assert {p.kind for p in fsck(self.store)} <= {"orphan"}

    @invariant()
    def counts_are_those_of_the_versions(self):
        if hasattr(self, "store") and self.run:
            states = [row["state"] for row in self.store.versions.results(self.run)]
            counts = self.store.runs.counts(self.run)
            assert {state: states.count(state) for state in counts} == counts
            progress = self.store.plan.progress(self.run)
            left = [g for b in self.store.plan.pending(self.run) for g in b.groups]
            assert progress.groups - progress.groups_done == len(left)
            assert progress.groups_done == len(states)


Histories.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
TestHistories = Histories.TestCase


@pytest.mark.slow
def test_many_histories():
    from hypothesis.stateful import run_state_machine_as_test

    long = settings(max_examples=100, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(Histories, settings=long)
