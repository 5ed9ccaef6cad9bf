"""A batch whose child dies is halved until the guilty group stands alone; the others have their fit."""

import errno
import os
import sys
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from many_models import supervision
from many_models.child import CANCELLED, Answer
from many_models.child_main import Failure
from many_models.errors import StoreFull
from many_models.protocols import OK, QUARANTINED, Death, Limits
from many_models.supervision import OVERHEAD, Supervised, supervise
from tests.many_models import poison
from tests.many_models.workloads import batch_of, lost
from tests.many_models.workloads import fit as work

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are forked as Linux does it")


def results(receipts):
    return {result.digest: result for receipt in receipts for result in receipt.results}


def same(found, expected):
    """Equal field by field; a NaN is as good as another."""
    return {key: repr(result) for key, result in found.items()} == {k: repr(r) for k, r in expected.items()}


def test_a_batch_without_harm_is_one_receipt():
    batch = batch_of("a", "b", "c")
    (receipt,) = supervise(work, batch, Limits(), lost)
    assert [result.digest for result in receipt.results] == [group.digest for group in batch.groups]
    assert {result.attempts for result in receipt.results} == {1}
    assert receipt.peak > 2**20


@pytest.mark.parametrize("kind", [kind for kind in poison.REASONS if kind not in ("hangs", "breeds")])
def test_the_guilty_group_alone_is_lost(kind):
    names = ["a", "b", "c", kind, "d"]
    batch = batch_of(*names)
    found = results(supervise(work, batch, Limits(memory=700 * 2**20), lost))
    clean = results(supervise(work, batch_of("a", "b", "c", "d"), Limits(), lost))
    assert set(found) == {group.digest for group in batch.groups}
    guilty = found.pop(batch.groups[3].digest)
    assert (guilty.state, guilty.reason) == (QUARANTINED, poison.REASONS[kind])
    assert same({key: replace(result, attempts=1) for key, result in found.items()}, clean)


def test_two_that_hang_are_found_within_their_budgets(monkeypatch):
    monkeypatch.setattr(supervision, "OVERHEAD", 0.3)
    batch = batch_of("a", "hangs", "b", "breeds")
    began = time.monotonic()
    found = results(supervise(work, batch, Limits(seconds=0.1, attempts=1), lost))
    assert [found[group.digest].reason for group in batch.groups] == ["", "timeout", "", "timeout"]
    # One piece of four, two of two, two alone.
    assert time.monotonic() - began < 10


def test_attempts_count_how_often_a_group_was_begun(tmp_path):
    def counting(batch):
        for group in batch.groups:
            with open(tmp_path / group.key[0], "a") as stream:
                stream.write("x")
        return work(batch)

    batch = batch_of("a", "b", "exits", "c")
    found = results(supervise(counting, batch, Limits(attempts=3), lost))
    begun = [len((tmp_path / group.key[0]).read_text()) for group in batch.groups]
    assert begun == [2, 2, 5, 3]
    assert [found[group.digest].attempts for group in batch.groups] == begun


def test_a_group_that_dies_once_is_fitted_at_the_second_attempt(tmp_path):
    def moody(batch):
        mark = tmp_path / "seen"
        if not mark.exists():
            mark.touch()
            os._exit(3)
        return work(batch)

    (receipt,) = supervise(moody, batch_of("a"), Limits(attempts=2), lost)
    assert [(result.state, result.attempts) for result in receipt.results] == [(OK, 2)]


def test_an_exception_says_what_and_where():
    (receipt,) = supervise(work, batch_of("raises"), Limits(attempts=1), lost)
    (result,) = receipt.results
    assert result.error.startswith("ValueError: poison; File ")
    assert "poison.py" in result.error


@pytest.mark.parametrize("error", [StoreFull("no room"), OSError(errno.ENOSPC, "no room")])
def test_a_full_disk_is_nobodys_fault(error):
    begun = []

    def full(batch):
        raise error

    with pytest.raises(StoreFull, match="no room"):
        supervise(full, batch_of("a", "b"), Limits(), lambda *arguments: begun.append(arguments))
    assert begun == []


def test_a_full_scratch_disk_pauses_too(monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "no room for a folder")

    monkeypatch.setattr(supervision, "call", full)
    with pytest.raises(StoreFull, match="no room"):
        supervise(work, batch_of("a"), Limits(), lost)


def hanging(spent, guilty, function, batch, seconds, *rest):
    """A stand-in for a call: good groups take nothing, the guilty hang."""
    if guilty & {group.key[0] for group in batch.groups}:
        spent.append((len(batch), seconds - OVERHEAD))
        return Death("timeout", "")
    return Answer(work(batch), None, 0, 0.0)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_the_pieces_of_a_batch_that_hangs_cost_little_more_than_the_batch(count, monkeypatch):
    names = [str(i) for i in range(count)]
    for guilty, most in (({"0"}, 4 / 3), (set(names), 3)):
        spent = []
        monkeypatch.setattr(supervision, "call", partial(hanging, spent, guilty))
        found = results(supervise(work, batch_of(*names), Limits(seconds=2.0, attempts=1), lost))
        assert sum(result.reason == "timeout" for result in found.values()) == len(guilty)
        pieces = sum(seconds for groups, seconds in spent if groups > 1)
        budget = 2.0 * count
        # Beside what follows from the floor, the limit of one group, on the way to a single guilty one.
        assert pieces <= most * budget + 2.0 * count.bit_length()
        assert {seconds for groups, seconds in spent if groups == 1} == {2.0}


def test_a_slow_batch_without_guilty_groups_is_blamed_on_nobody(monkeypatch):
    def slow(function, batch, seconds, *rest):
        return Death("timeout", "") if 1.0 * len(batch) > seconds else Answer(work(batch), None, 0, 0.0)

    monkeypatch.setattr(supervision, "call", slow)
    found = results(supervise(work, batch_of(*map(str, range(50))), Limits(seconds=0.9, attempts=1), lost))
    assert {result.state for result in found.values()} == {OK}


def test_one_at_a_time_runs_again_after_running_out_of_memory(monkeypatch):
    running, most = [], []

    def hungry(function, batch, *rest):
        running.append(batch)
        most.append(len(running))
        time.sleep(0.05)
        running.remove(batch)
        return Death("oom", "")

    monkeypatch.setattr(supervision, "call", hungry)
    monkeypatch.setattr(supervision, "BACK_OFF", 0.2)
    threads = [
        threading.Thread(target=supervise, args=(work, batch_of(str(i)), Limits(attempts=2), lost)) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.15)
    most.clear()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_waiting_for_another_attempt_is_cancelled(monkeypatch):
    event = threading.Event()
    event.set()
    monkeypatch.setattr(supervision, "call", lambda *arguments: Death("exit 3", ""))
    token = CANCELLED.set(event)
    try:
        with pytest.raises(CancelledError):
            supervise(work, batch_of("a"), Limits(attempts=2), lost)
    finally:
        CANCELLED.reset(token)


def test_receipts_come_in_the_order_of_the_groups():
    batch = batch_of("a", "exits", "b", "c", "leaves", "d")
    found = results(supervise(work, batch, Limits(attempts=1), lost))
    assert list(found) == [group.digest for group in batch.groups]


def test_it_can_be_sent_to_another_machine(tmp_path):
    import pickle

    mapped = pickle.loads(pickle.dumps(Supervised(work, Limits(), lost, str(tmp_path))))
    assert same(results(mapped(batch_of("a"))), results(supervise(work, batch_of("a"), Limits(), lost)))
    assert list(Path(tmp_path).iterdir()) == []


def test_a_failure_tells_its_place():
    failure = Failure(
        "KeyError", "'x'", 'Traceback\n  File "a.py", line 1, in f\n    g()\n  File "b.py", line 2, in g\n'
    )
    assert supervision._told(failure) == "KeyError: 'x'; File \"b.py\", line 2, in g"
