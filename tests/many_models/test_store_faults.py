"""What must not break: kill -9 around a commit, damaged and strange files, clearing that is cut short."""

import json
import os
import shutil
import signal
import socket
import time

import pytest

from many_models import compaction, files
from many_models.compaction import gc
from many_models.errors import CorruptStoreError, StoreError
from many_models.fsck import fsck
from many_models.store import Store
from tests.many_models.stores import batches, cut, digest, finished, fitted, receipt, script, served

DRIVE = (
    "import sys\nfrom many_models.store import Store\nfrom tests.many_models.stores import batches, receipt\n"
    "with Store.open(sys.argv[1], write=True) as store:\n"
    "    if store.runs.get(1).state == 'done':\n        sys.exit()\n"
    "    store.runs.resume(1)\n"
    "    for batch in store.plan.pending(1):\n"
    "        store.versions.commit(1, receipt(store.root, batch, 'same'))\n"
    "    store.runs.end(1, 'done')"
)
CLEAR = (
    "import sys\nfrom many_models.store import Store\nfrom many_models.compaction import gc\n"
    "from tests.many_models.stores import cut\n"
    "with Store.open(sys.argv[1], write=True) as store:\n    gc(store, 1, cut)"
)


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "store") as made:
        yield made


def outcome(store):
    """All that must not depend on what went wrong on the way."""
    rows = [{k: v for k, v in row.items() if k != "run"} for row in store.versions.results()]
    return repr(rows), served(store)


@pytest.mark.parametrize("point", ["after_write", "before_commit", "after_commit"])
def test_a_driver_that_is_killed_loses_nothing_and_repeats_nothing(tmp_path, point):
    with Store.create(tmp_path / "whole") as store:
        run = store.runs.begin("fit", "f", "{}")
        store.plan.add(run, batches(12))
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    finished(script(DRIVE, tmp_path / "whole"))
    for time_ in (1, 2):
        process = script(DRIVE, tmp_path / "killed", MM_CRASH_AT=f"{point}:{time_}")
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        with Store.open(tmp_path / "killed") as reader:
            assert {p.kind for p in fsck(reader)} <= {"orphan", "unfinished"}
            assert reader.runs.get(1).state == "running"
            done = reader.plan.progress(1).groups_done
            assert done == len(served(reader)) and done % 4 == 0
            if point == "after_commit":
                assert done == (4, 12)[time_ - 1]
    finished(script(DRIVE, tmp_path / "killed"))
    with Store.open(tmp_path / "whole") as whole, Store.open(tmp_path / "killed") as killed:
        assert outcome(killed) == outcome(whole)
        assert all(row["version"] == 1 for row in killed.versions.results())
        assert fsck(killed) == []


def test_drivers_killed_at_any_moment_reach_the_same_end(tmp_path):
    with Store.create(tmp_path / "whole") as store:
        run = store.runs.begin("fit", "f", "{}")
        store.plan.add(run, batches(400))
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    finished(script(DRIVE, tmp_path / "whole"))
    seen = [0]
    for wait in (0.3, 0.35, 0.4, 0.5):
        process = script(DRIVE, tmp_path / "killed")
        time.sleep(wait)
        process.kill()
        process.communicate()
        with Store.open(tmp_path / "killed") as reader:
            assert {p.kind for p in fsck(reader)} <= {"orphan", "unfinished"}
            seen.append(len(served(reader)))
    assert seen == sorted(seen)
    finished(script(DRIVE, tmp_path / "killed"))
    with Store.open(tmp_path / "whole") as whole, Store.open(tmp_path / "killed", write=True) as killed:
        assert outcome(killed) == outcome(whole)
        fsck(killed, repair=True)
        assert fsck(killed) == []


def test_fsck_names_everything_that_is_wrong(store):
    fitted(store, batches(12), "one")
    store.put("prior", b"prior")
    shards = sorted({c.shard.name for c in store.versions.champions()})
    (store.root / shards[0]).unlink()
    (store.root / shards[1]).write_bytes(b"[]")
    os.replace(store.root / shards[2], store.root / "data" / "aside")
    (store.root / shards[2]).symlink_to(store.root / "data" / "aside")
    prior = next(name for name, _ in files.listing(store.root) if name.startswith("documents"))
    (store.root / prior).write_bytes(b"prioR")
    files.write(store.root, "shards", b"of nobody")
    (store.root / "forecasts" / "ff").mkdir(exist_ok=True)
    (store.root / "forecasts" / "ff" / "link").symlink_to("/etc/passwd")
    (store.root / "tmp" / "x.part").write_bytes(b"half")
    found = fsck(store)
    kinds = sorted(problem.kind for problem in found)
    assert kinds == sorted(
        ["missing", "changed", "changed", "link", "link", "orphan", "unfinished", "document", *["champion"] * 12]
    )
    assert {p.name for p in found if p.kind == "champion"} == {digest(f"store {i}") for i in range(12)}
    assert next(p.text for p in found if p.kind == "document") == f"document 'prior' is lost: it was in {prior}"
    assert fsck(store) == found  # looking changes nothing
    assert fsck(store, repair=True) == found
    assert fsck(store) == []
    assert served(store) == {}
    assert {row["state"] for row in store.versions.results()} == {"failed"}
    assert {row["reason"] for row in store.versions.results()} == {"corrupt"}
    with pytest.raises(StoreError, match="no document"):
        store.get("prior")
    # What is queued again is fitted again, and then all is well.
    fitted(store, batches(12), "again")
    assert set(served(store).values()) == {"again"}


def test_a_reader_cannot_repair(store):
    fitted(store, batches(4))
    with Store.open(store.root) as reader:
        (store.root / next(reader.versions.champions()).shard.name).unlink()
        with pytest.raises(StoreError, match="write=True"):
            fsck(reader, repair=True)


def test_a_damaged_shard_goes_back_to_the_version_before(store):
    for salt in ("one", "two", "three"):
        fitted(store, batches(8), salt)
    three = next(c.shard.name for c in store.versions.champions() if c.key == ("store 0",))
    two = store.versions.history(digest("store 0"))[1]["shard"]
    (store.root / three).write_bytes(b"")
    with pytest.raises(CorruptStoreError, match="fsck --repair"):
        served(store)
    fsck(store, repair=True)
    assert [served(store)[f"store {i}"] for i in (0, 3, 4, 7)] == ["two", "two", "three", "three"]
    assert store.versions.history(digest("store 0"))[2]["reason"] == "corrupt"
    (store.root / two).unlink()
    fsck(store, repair=True)
    assert served(store)["store 0"] == "one"
    assert store.versions.rollback() == 4  # of the other batch; this one has nothing before
    assert fsck(store) == []


def test_a_version_that_was_rolled_back_does_not_come_again(store):
    for salt in ("one", "two", "three"):
        fitted(store, batches(4), salt)
    shards = [row["shard"] for row in store.versions.history(digest("store 0"))]
    store.versions.rollback(to=1)
    fitted(store, batches(4), "four", accepted=False)
    (store.root / store.versions.history(digest("store 0"))[3]["shard"]).unlink()
    fsck(store, repair=True)
    assert set(served(store).values()) == {"one"}  # what does not serve may be lost
    store.versions.rollback(to=2)
    (store.root / shards[1]).unlink()
    fsck(store, repair=True)
    assert set(served(store).values()) == {"one"}


def test_a_later_version_serves_where_none_before_is_whole(store):
    fitted(store, batches(4), "one")
    fitted(store, batches(4), "two")
    store.versions.rollback()
    (store.root / next(store.versions.champions()).shard.name).unlink()
    fsck(store, repair=True)
    assert set(served(store).values()) == {"two"}


def test_what_is_lost_in_a_run_that_goes_on_is_pending_again(store):
    run = store.runs.begin("fit", "f", "{}")
    store.plan.add(run, batches(8))
    first, second = store.plan.pending(run)
    store.versions.commit(run, receipt(store.root, first, "lost"))
    store.versions.commit(run, receipt(store.root, second, "kept"))
    (store.root / next(store.versions.champions()).shard.name).unlink()
    fsck(store, repair=True)
    assert list(store.plan.pending(run)) == [first]
    assert store.runs.counts(run)["ok"] == 4
    with pytest.raises(StoreError, match="4 groups"):
        store.runs.end(run, "done")
    assert store.versions.commit(run, receipt(store.root, first, "again"))
    store.runs.end(run, "done")
    assert set(served(store).values()) == {"again", "kept"}


def test_a_damaged_forecast_part_costs_no_model(store):
    fitted(store, batches(4), "one")
    part = next(store.versions.champions()).forecast
    (store.root / part.name).write_bytes(b"damaged")
    assert [p.kind for p in fsck(store, repair=True)] == ["changed"]
    assert {c.forecast for c in store.versions.champions()} == {None}
    assert set(served(store).values()) == {"one"}
    assert fsck(store) == []


def test_swapped_shards_of_two_groups_are_found(store):
    fitted(store, batches(2, 1), "one")
    one, two = (store.root / c.shard.name for c in store.versions.champions())
    one.rename(store.root / "aside")
    two.rename(one)
    (store.root / "aside").rename(two)
    with pytest.raises(CorruptStoreError, match="not what was written"):
        served(store)
    assert sorted(p.kind for p in fsck(store)) == ["champion", "champion", "changed", "changed"]


def test_folders_that_are_links_are_found_and_removed(store, tmp_path):
    fitted(store, batches(4), "one")
    shard = next(store.versions.champions()).shard
    folder = (store.root / shard.name).parent
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptStoreError, match="is a link"):
        served(store)
    assert {p.kind for p in fsck(store, repair=True)} == {"link", "champion"}
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == [shard.name.split("/")[-1]]
    assert not folder.is_symlink()
    assert fsck(store) == []


def test_a_name_written_into_the_ledger_by_hand_harms_nothing_outside(store, tmp_path):
    fitted(store, batches(4), "one")
    (tmp_path / "outside").write_bytes(b"precious")
    for name in ("../outside", str(tmp_path / "outside"), "shards/../../outside"):
        with store.ledger.transaction() as connection:
            connection.execute("UPDATE files SET name = ? WHERE kind = 'shards'", (name,))
        with pytest.raises(CorruptStoreError, match="no name of a file"):
            served(store)
        assert {p.kind for p in fsck(store)} == {"changed", "champion", "orphan"}
        with pytest.raises(StoreError, match="not removed"):
            files.remove(store.root, name)
    assert {p.kind for p in fsck(store, repair=True)} == {"changed", "champion", "orphan"}
    assert (tmp_path / "outside").read_bytes() == b"precious"
    assert served(store) == {}


def test_a_socket_in_the_store_is_no_file_of_ours(store, monkeypatch):
    monkeypatch.chdir(store.root / "shards")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind("s")
        assert [(p.kind, p.name) for p in fsck(store, repair=True)] == [("link", "shards/s")]
    assert fsck(store) == []


def test_rows_that_refer_to_nothing_are_a_damaged_ledger(store):
    fitted(store, batches(4))
    store.ledger._writer.execute("PRAGMA foreign_keys = OFF")
    store.ledger._writer.execute("DELETE FROM files")
    with pytest.raises(CorruptStoreError, match=r"ledger is damaged.*versions refers to nothing"):
        fsck(store)


def test_files_of_a_run_that_is_going_are_no_orphans(store):
    run = store.runs.begin("fit", "f", "{}")
    store.plan.add(run, batches(4))
    (batch,) = store.plan.pending(run)
    done = receipt(store.root, batch, "not committed yet")
    older = files.write(store.root, "shards", b"of an earlier run")
    os.utime(store.root / older.name, (1e9, 1e9))
    assert [p.name for p in fsck(store)] == [older.name]
    assert gc(store).files == 1
    assert store.versions.commit(run, done)
    store.runs.end(run, "done")
    assert gc(store).files == 0
    assert len(served(store)) == 4


def test_gc_drops_what_no_kept_version_needs(store):
    for salt in ("one", "two", "three"):
        fitted(store, batches(8), salt)
    before = len(list(files.listing(store.root)))
    assert (before, gc(store, 3).files) == (12, 0)
    freed = gc(store, 2)
    assert (freed.files, freed.compacted, freed.damaged) == (4, 0, 0)
    assert freed.bytes > 100
    assert store.versions.rollback() == 8
    assert set(served(store).values()) == {"two"}
    assert gc(store, 1).files == 4
    assert set(served(store).values()) == {"two"}
    assert [row["shard"] is None for row in store.versions.history(digest("store 0"))] == [True, False, True]
    assert store.plan.progress(1).batches == 0
    assert fsck(store) == []
    with pytest.raises(StoreError, match="1 at least"):
        gc(store, 0)


def test_gc_keeps_documents_and_drops_those_that_were_replaced(store):
    store.put("prior", b"old")
    store.put("prior", b"new")
    assert gc(store).files == 1
    assert store.get("prior") == b"new"


def test_a_file_stays_for_readers_that_still_know_its_name(store):
    fitted(store, batches(4), "one")
    with Store.open(store.root) as reader:
        reading = list(reader.versions.champions())
        fitted(store, batches(4), "two")
        assert gc(store, 1, grace=60).files == 0
        assert json.loads(reader.read(reading[0].shard))[0].endswith("one")
        assert gc(store, 1).files == 2


def test_shards_less_than_half_live_are_cut(store):
    fitted(store, batches(10, 10), "one")
    fitted(store, [batches(10, 10)[0].halves()[0]], "two")
    assert gc(store, 1, cut).compacted == 0  # one half lives
    odd = batches(10, 10)[0].groups[6]
    fitted(store, [type(batches(1)[0])((odd,), ())], "three")
    expected = served(store)
    size = sum(state.st_size for _, state in files.listing(store.root))
    assert gc(store, 1).compacted == 0
    freed = gc(store, 1, cut)
    assert freed.compacted == 1
    assert served(store) == expected
    assert [c.place for c in store.versions.champions() if expected[c.key[0]] == "one"] == [0, 1, 2, 3]
    assert sum(state.st_size for _, state in files.listing(store.root)) < size
    assert gc(store, 1, cut) == compaction.Freed(0, 0, 0, 0)
    assert fsck(store) == []


def test_a_damaged_shard_is_left_to_fsck(store):
    fitted(store, batches(10, 10), "one")
    fitted(store, [type(batches(1)[0])(batches(10, 10)[0].groups[:8], ())], "two")
    shard = next(c.shard for c in store.versions.champions() if c.version == 1)
    (store.root / shard.name).write_bytes(b"damaged")
    assert gc(store, 1, cut).damaged == 1
    assert "champion" in {p.kind for p in fsck(store, repair=True)}


def _scattered(root):
    """A store with three shards of which little lives, and its expected content."""
    with Store.create(root) as store:
        fitted(store, batches(30, 10), "one")
        part = [type(batch)(batch.groups[2:], batch.parts) for batch in batches(30, 10)]
        fitted(store, part, "two")
        return served(store)


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("point", ["after_write", "before_commit", "after_commit"])
def test_clearing_that_is_killed_leaves_only_orphans(tmp_path, point, nth):
    expected = _scattered(tmp_path / "store")
    process = script(CLEAR, tmp_path / "store", MM_CRASH_AT=f"{point}:{nth}")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    with Store.open(tmp_path / "store", write=True) as store:
        assert served(store) == expected
        assert {p.kind for p in fsck(store)} <= {"orphan"}
        gc(store, 1, cut)
        assert served(store) == expected
        assert fsck(store) == []
        assert len([name for name, _ in files.listing(store.root) if name.startswith("shards")]) == 6


def test_clearing_that_fails_anywhere_leaves_only_orphans(tmp_path, monkeypatch):
    """Three old shards are removed at the end: gc is cut short before each of them."""
    expected = _scattered(tmp_path / "whole")
    real = files.remove
    for allowed in range(3):
        shutil.copytree(tmp_path / "whole", tmp_path / f"{allowed}")
        left = iter(range(allowed))

        def remove(root, name, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(root, name)

        with Store.open(tmp_path / f"{allowed}", write=True) as store:
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(files, "remove", remove)
                gc(store, 1, cut)
            assert served(store) == expected
            assert {p.kind for p in fsck(store)} == {"orphan"}
            gc(store, 1, cut)
            assert fsck(store) == []
