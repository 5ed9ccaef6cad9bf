"""The ledger: one writer, whole snapshots for readers, typed errors for every damage and every version."""

import contextlib
import errno
import json
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from many_models import lease, ledger, schema
from many_models.errors import CorruptStoreError, NewerStoreError, StoreError, StoreFull, StoreInUse
from many_models.ledger import on_network, translated
from many_models.store import Store
from tests.many_models.stores import batches, digest, finished, fitted, receipt, script, served

HOLD = (
    "import sys\nfrom many_models.store import Store\nstore = Store.open(sys.argv[1], write=True)\n"
    "print('held', flush=True)\nsys.stdin.readline()\nstore.put('name', b'x')\nprint('put')"
)


@pytest.fixture
def path(tmp_path):
    with Store.create(tmp_path / "store") as store:
        fitted(store, batches(6))
    return tmp_path / "store"


def test_a_second_writer_is_told_who_the_first_is(path):
    with Store.open(path, write=True):
        began = time.monotonic()
        with pytest.raises(StoreInUse, match=rf"in use by process {os.getpid()} on .+ since 20\d\d-"):
            Store.open(path, write=True)
        assert time.monotonic() - began < 5
        assert lease.holder(path).pid == os.getpid()
        Store.open(path).close()
    assert lease.holder(path) is None
    Store.open(path, write=True).close()


def test_a_second_writer_may_wait(path):
    first = Store.open(path, write=True)
    timer = threading.Timer(0.6, first.close)
    timer.start()
    with Store.open(path, write=True, wait=30) as second:
        assert not timer.is_alive()
        second.put("name", b"x")


def test_two_processes_never_write_at_once_and_a_killed_one_frees_the_store(path):
    holder = script(HOLD, path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreInUse, match=f"process {holder.pid} "):
        Store.open(path, write=True)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    Store.open(path, write=True).close()


def test_a_stopped_holder_keeps_the_store_and_goes_on(path):
    holder = script(HOLD, path)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreInUse, match=f"process {holder.pid} "):
        Store.open(path, write=True, wait=0.5)
    with Store.open(path) as reader:
        assert len(served(reader)) == 6
    holder.send_signal(signal.SIGCONT)
    assert "put" in finished(holder, "\n")


def test_a_driver_that_was_taken_over_cannot_commit(path):
    holder = script(HOLD, path)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    with Store.open(path, write=True, take_over=True) as second:
        second.put("name", b"of the second")
        holder.send_signal(signal.SIGCONT)
        out, error = holder.communicate("\n", timeout=60)
        assert holder.returncode == 1
        assert f"taken over by process {os.getpid()}" in error
        assert "put" not in out
        assert second.get("name") == b"of the second"
        with pytest.raises(StoreInUse):
            Store.open(path, write=True)


def test_a_stale_token_cannot_commit_a_receipt(path):
    first = Store.open(path, write=True)
    run = first.runs.begin("fit", "f", "{}")
    first.plan.add(run, batches(4))
    (batch,) = first.plan.pending(run)
    late = receipt(first.root, batch, "late")
    with Store.open(path, write=True, take_over=True) as second:
        assert second.runs.get(run).state == "interrupted"
        with pytest.raises(StoreInUse, match="taken over"):
            first.versions.commit(run, late)
        with pytest.raises(StoreInUse, match="taken over"):
            first.runs.end(run, "paused")
        first.close()  # its end does not free the lock of the other
        with pytest.raises(StoreInUse):
            Store.open(path, write=True)
        assert second.versions.commit(run, receipt(second.root, batch, "in time"))
        assert served(second)["store 0"] == "in time"


def test_the_loser_of_two_take_overs_does_not_write(path, monkeypatch):
    real = lease.Lease.acquire.__func__

    def overtaken(cls, root, wait=0.0, take_over=False):
        taken = real(cls, root, wait, take_over)
        if take_over:
            lease._put_new_lock(root)
        return taken

    monkeypatch.setattr(lease.Lease, "acquire", classmethod(overtaken))
    with pytest.raises(StoreInUse, match="taken it over"):
        Store.open(path, write=True, take_over=True)


def test_a_lock_that_was_replaced_while_it_was_taken_is_taken_again(path, monkeypatch):
    real, calls = lease._lock, []

    def late(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            lease._put_new_lock(path)
        real(descriptor)

    monkeypatch.setattr(lease, "_lock", late)
    with Store.open(path, write=True) as store:
        store.put("name", b"x")
        assert len(calls) == 2


def test_a_link_in_place_of_the_lock_is_refused(path, tmp_path):
    (path / "lock").unlink()
    (path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptStoreError, match="lock is a link"):
        Store.open(path, write=True)
    assert not (tmp_path / "elsewhere").exists()


def test_readers_see_whole_receipts_while_a_driver_commits(tmp_path):
    code = (
        "import sys, collections\nfrom many_models.store import Store\nfrom tests.many_models.stores import served\n"
        "print('ready', flush=True)\nseen = set()\n"
        "while True:\n"
        "    with Store.open(sys.argv[1]) as store:\n"
        "        runs = collections.Counter(row['run'] for row in store.versions.results())\n"
        "        assert all(number % 4 == 0 for number in runs.values()), runs\n"
        "        models = collections.Counter(served(store).values())\n"
        "        assert all(number % 4 == 0 for number in models.values()) and sum(models.values()) == 40, models\n"
        "        seen.add(tuple(sorted(models.items())))\n"
        "        if models == {'last': 40}:\n"
        "            break\n"
        "print(len(seen))"
    )
    with Store.create(tmp_path / "store") as store:
        fitted(store, batches(40), "first")
        readers = [script(code, store.root) for _ in range(8)]
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        for salt in ("second", "third", "last"):
            run = store.runs.begin("retrain", "f", "{}")
            store.plan.add(run, batches(40))
            for batch in store.plan.pending(run):
                store.versions.commit(run, receipt(store.root, batch, salt))
                time.sleep(0.02)
        assert all(int(finished(reader)) > 1 for reader in readers)


def test_a_long_read_sees_one_moment(path):
    with Store.open(path, write=True) as store:
        reading = store.versions.champions()
        first = next(reading)
        fitted(store, batches(6), "newer")
        assert {c.version for c in [first, *reading]} == {1}
        assert {c.version for c in store.versions.champions()} == {2}


@pytest.fixture
def network(monkeypatch):
    """As if the store were on a file system without shared memory."""
    monkeypatch.setattr(ledger, "_shared_by_network", lambda _: True)


def test_a_store_on_a_network_keeps_a_rollback_journal(path, network):
    with Store.open(path, write=True) as store:
        reading = store.versions.champions()
        first = next(reading)
        fitted(store, batches(6), "newer")  # would wait for the reader in vain
        assert {c.version for c in [first, *reading]} == {1}
        assert set(served(store).values()) == {"newer"}
        assert not (path / "ledger.db-wal").exists()
        assert [row["version"] for row in store.versions.history(digest("store 0"))] == [1, 2]


MOUNTS = (
    "/dev/vda / ext4 rw 0 0\nserver:/x /mnt/nfs nfs4 rw 0 0\n//pc/y /mnt/with\\040blank cifs rw 0 0\n"
    "s3 /mnt/s3 fuse.s3fs rw 0 0\ntmpfs /mnt/nfs/local tmpfs rw 0 0\n"
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/store", False),
        ("/mnt/nfs/store", True),
        ("/mnt/nfs", True),
        ("/mnt/nfsx", False),
        ("/mnt/nfs/local/store", False),
        ("/mnt/with blank/store", True),
        ("/mnt/s3/store", True),
    ],
)
def test_file_systems_of_a_network_are_known(path, expected):
    assert on_network(Path(path), MOUNTS) is expected


def test_a_newer_schema_is_refused(path):
    _change(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    for write in (True, False):
        with pytest.raises(NewerStoreError, match=f"schema {schema.VERSION + 1}.*upgrade"):
            Store.open(path, write=write)


@pytest.mark.parametrize("write", [True, False])
def test_an_older_schema_is_upgraded_and_keeps_everything(path, monkeypatch, write):
    newer = (*schema.SCRIPTS, "ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'green'")
    monkeypatch.setattr(ledger, "SCRIPTS", newer)
    monkeypatch.setattr(ledger, "VERSION", len(newer))
    with Store.open(path, write=write) as store:
        assert list(store.ledger.stream("SELECT colour FROM runs")) == [("green",)]
        assert len(served(store)) == 6
    monkeypatch.undo()
    with pytest.raises(NewerStoreError):
        Store.open(path)


def test_an_upgrade_that_fails_changes_nothing(path, monkeypatch):
    broken = (*schema.SCRIPTS, "ALTER TABLE runs ADD COLUMN colour TEXT; ALTER TABLE nothing ADD COLUMN x TEXT")
    monkeypatch.setattr(ledger, "SCRIPTS", broken)
    monkeypatch.setattr(ledger, "VERSION", len(broken))
    with pytest.raises(CorruptStoreError):
        Store.open(path, write=True)
    monkeypatch.undo()
    with Store.open(path, write=True) as store:
        assert len(served(store)) == 6
        assert "colour" not in str(list(store.ledger.stream("SELECT sql FROM sqlite_master")))


def test_an_upgrade_does_not_disturb_a_driver_of_the_older_version(path, monkeypatch):
    with Store.open(path, write=True):
        monkeypatch.setattr(ledger, "VERSION", schema.VERSION + 1)
        with pytest.raises(StoreInUse):
            Store.open(path)


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("damage", ["nothing", "short", "text", "other", "gone", "link"])
def test_a_damaged_ledger_is_told(path, damage, write, tmp_path):
    target = path / "ledger.db"
    content = target.read_bytes()
    if damage in ("gone", "link"):
        target.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        target.symlink_to(tmp_path / "elsewhere")
    if damage == "other":
        _change(path, "PRAGMA application_id = 1")
    if damage in ("nothing", "short", "text"):
        target.write_bytes({"nothing": b"", "short": content[:1000], "text": b"no ledger " * 1000}[damage])
    with pytest.raises(CorruptStoreError, match="backup"), Store.open(path, write=write) as store:
        served(store)


def test_every_page_of_a_damaged_ledger_gives_a_typed_error(path):
    from many_models.fsck import fsck

    target = path / "ledger.db"
    content = target.read_bytes()
    found = 0
    for begin in range(0, len(content), 4096):
        target.write_bytes(content[:begin] + os.urandom(4096) + content[begin + 4096 :])
        try:
            with Store.open(path) as store:
                fsck(store)
        except CorruptStoreError as error:
            found += "backup" in str(error)
    assert found == len(content) // 4096


def test_a_full_disk_in_the_ledger_pauses_and_goes_on(tmp_path):
    # In a process of its own: the limit on file sizes stands for a quota.
    code = (
        "import resource, sys\nfrom many_models.store import Store\nfrom many_models.errors import StoreFull\n"
        "from tests.many_models.stores import batches, receipt, served\n"
        "store = Store.create(sys.argv[1])\nrun = store.runs.begin('fit', 'f', '{}')\n"
        "store.plan.add(run, batches(400, 40))\nsize = (store.root / 'ledger.db-wal').stat().st_size\n"
        "receipts = [receipt(store.root, batch, label='x' * 4000) for batch in store.plan.pending(run)]\n"
        "done = 0\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300_000, resource.RLIM_INFINITY))\n"
        "try:\n    for item in receipts:\n        store.versions.commit(run, item)\n        done += 1\n"
        "except StoreFull as error:\n    assert 'resume' in str(error), error\n    print('full')\n"
        "assert 0 < done < 10 and len(served(store)) == 40 * done, done\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "print([store.versions.commit(run, item) for item in receipts].count(True) + done)\n"
        "print(len(served(store)), store.ledger.defects())"
    )
    assert finished(script(code, tmp_path / "store")).split("\n")[:3] == ["full", "10", "400 []"]


def test_sqlite_out_of_space_is_a_full_store(tmp_path):
    with Store.create(tmp_path / "store") as store:
        (pages,) = store.ledger._writer.execute("PRAGMA page_count").fetchone()
        store.ledger._writer.execute(f"PRAGMA max_page_count = {pages}")
        run = store.runs.begin("fit", "f", "{}")
        with pytest.raises(StoreFull, match="no room to write the ledger"):
            store.plan.add(run, batches(4000))
        store.ledger._writer.execute("PRAGMA max_page_count = 1000000")
        assert store.plan.add(run, batches(40)).groups == 40
        assert store.ledger.defects() == []


def test_a_lock_that_stays_is_never_called_a_locked_database(path, monkeypatch):
    monkeypatch.setattr(ledger, "BUSY", 0.2)
    with Store.open(path, write=True) as store, contextlib.closing(_raw(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreInUse) as caught:
            store.put("name", b"x")
        assert "locked" not in str(caught.value)
        other.execute("ROLLBACK")
        store.put("name", b"x")


def test_an_exception_in_a_transaction_undoes_it(path):
    with Store.open(path, write=True) as store:
        with pytest.raises(KeyError), store.ledger.transaction() as connection:
            connection.execute("DELETE FROM tallies")
            raise KeyError("x")
        assert store.runs.counts(1)["ok"] == 6


def test_what_was_opened_for_reading_or_closed_does_not_write(path):
    with Store.open(path) as store, pytest.raises(StoreError, match="write=True"):
        store.put("name", b"x")
    writer = Store.open(path, write=True)
    writer.close()
    writer.close()
    for call in (lambda: writer.put("name", b"x"), lambda: served(writer)):
        with pytest.raises(StoreError):
            call()


def test_a_store_in_a_folder_without_write_access_can_be_read(path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Store.open(path) as store:
        assert len(served(store)) == 6


@pytest.mark.parametrize("code", [errno.EIO])
def test_other_errors_of_sqlite_are_typed_too(tmp_path, code):
    with pytest.raises(CorruptStoreError, match="not as it should be"), translated(tmp_path):
        raise sqlite3.OperationalError(os.strerror(code))


def test_transactions_of_two_threads_take_turns(path):
    with Store.open(path, write=True) as store:
        threads = [threading.Thread(target=store.put, args=(f"name {i}", b"x" * i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(store.get(f"name {i}")) for i in range(8)] == list(range(8))


def _raw(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path / "ledger.db", isolation_level=None)


def _change(path: Path, statement: str) -> None:
    with contextlib.closing(_raw(path)) as connection:
        connection.execute(statement)


def test_the_lock_names_its_holder_in_json(path):
    with Store.open(path, write=True):
        assert json.loads((path / "lock").read_text())["pid"] == os.getpid()
