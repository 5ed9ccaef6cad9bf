"""Whole runs under the faults of the house: poison groups, and a driver that is killed again and again."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.learners.registry import unregister
from many_models.errors import StoreError
from many_models.runner import run
from many_models.settings import Settings
from many_models.store import Store
from tests.many_models import poison
from tests.many_models.poisoned import Poisoned
from tests.many_models.processes import gone, with_words

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes through /proc")
ROOT = Path(__file__).parents[2]
TASK = fm.Forecasting(horizon=3, time="ds", target="y")
GOOD = [f"store {i:02d}" for i in range(14)]
#: What becomes of a group whose key is a kind of harm: state, reason, words of its error.
ENDS = {
    **{kind: ("quarantined", reason, "") for kind, reason in poison.REASONS.items()},
    "raises": ("fallback", "exception", "ValueError: poison"),
    "has no memory": ("fallback", "exception", "MemoryError: poison"),
    "is not a number": ("fallback", "exception", ""),
    "has a wrong shape": ("fallback", "exception", "predicted shape"),
}


def table(names, rows=30):
    """Monthly rows of each name, the same for a name whatever the others are."""
    parts = []
    for name in names:
        rng = np.random.default_rng(list(name.encode()))
        times = pd.date_range("2021-01-01", periods=rows, freq="MS")
        parts.append(pd.DataFrame({"id": name, "ds": times, "y": np.round(rng.normal(20, 3, rows), 3)}))
    return pd.concat(parts, ignore_index=True)


def results(path):
    with Store.open(path) as store:
        return {row["key"][0]: row for row in store.versions.results()}


def forecasts(path):
    """Bytes of the stored forecasts of every group, by key."""
    import io

    import pyarrow.parquet as pq

    with Store.open(path) as store:
        found = {}
        for champion in store.versions.champions():
            part = pq.read_table(io.BytesIO(store.read(champion.forecast)))
            mine = [digest == champion.digest for digest in part["_group"].to_pylist()]
            rows = part.filter(mine).drop_columns(["_group"])
            found[champion.key[0]] = [repr(row) for row in rows.to_pylist()]
        return found


@pytest.fixture
def poisoned():
    fm.register(Poisoned())
    yield fm.Config.preset("fast", allow=["poisoned"])
    unregister("poisoned")


def test_poison_groups_end_with_their_reason_and_cost_the_others_nothing(tmp_path, poisoned, monkeypatch):
    word = f"many-models-test-{os.getpid()}-{time.monotonic_ns()}"
    settings = Settings(workers=2, group_seconds=0.5, memory=1000 << 20, attempts=1, max_failed=1.0)
    run(table(GOOD), "id", TASK, poisoned, tmp_path / "clean", settings)
    with Store.open(tmp_path / "clean") as clean, Store.create(tmp_path / "poison") as store:
        store.put("prior-1", clean.get("prior-1"))
    # The server that children are forked from runs already: only what they begin has the word.
    monkeypatch.setenv("MANY_MODELS_TEST", word)
    summary = run(table([*GOOD, *ENDS]), "id", TASK, poisoned, tmp_path / "poison", settings)

    found = results(tmp_path / "poison")
    for kind, (state, reason, words) in ENDS.items():
        assert (found[kind]["state"], found[kind]["reason"]) == (state, reason), kind
        assert words in found[kind]["error"]
    assert all(found[name]["state"] == "ok" for name in GOOD)
    assert summary.counts["quarantined"] == sum(state == "quarantined" for state, *_ in ENDS.values())
    clean, among = forecasts(tmp_path / "clean"), forecasts(tmp_path / "poison")
    assert {name: among[name] for name in GOOD} == clean
    assert all("nan" not in row for rows in among.values() for row in rows)
    assert not gone(with_words(word))


DRIVER = """
    import sys
    import forecastml as fm
    from many_models import fork_server
    from many_models.errors import StoreError
    from many_models.runner import resume, run
    from many_models.settings import Settings
    from many_models.store import Store, is_store
    from tests.many_models.test_faults import GOOD, TASK, table

    # What these learners need, so that a server is there soon: it is begun again and again.
    fork_server.PRELOAD = ("many_models.job", "forecastml.preparation", "forecastml.learners.theta")
    path = sys.argv[1]
    settings = Settings(workers=2, batch_groups=3)
    names = [f"{name} of {k}" for name in GOOD for k in range(2)]
    begun = is_store(path)
    if begun:
        with Store.open(path) as store:
            begun = store.runs.last() is not None
    try:
        if begun:
            resume(path, settings)
        else:
            run(table(names), "id", TASK, fm.Config.preset("fast", allow=["naive", "average", "theta"]), path, settings)
    except StoreError as error:
        # Killed after the last group, or before the rows were laid out: then there is nothing to go on with.
        print(error)
        sys.exit(5 if "call `run` again" in str(error) else 0 if "no unfinished run" in str(error) else 6)
"""


def driver(path, word, crash=None):
    """A run, or its resumption, in a session of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MANY_MODELS_TEST": word}
    env.pop("MM_CRASH_AT", None)
    if crash:
        env["MM_CRASH_AT"] = crash
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(DRIVER), str(path)]
    return subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)


def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_been(tmp_path):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    killed_again_and_again(tmp_path, random.Random(seed), kills=20)


@pytest.mark.slow
def test_a_long_run_of_killed_drivers(tmp_path):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    killed_again_and_again(tmp_path, random.Random(seed), kills=150)


def killed_again_and_again(folder, dice, kills):
    """Runs are killed with their process group at random moments and resumed, until so many were."""
    word = f"many-models-test-{os.getpid()}-{time.monotonic_ns()}"
    began = time.monotonic()
    assert driver(folder / "whole", word).wait() == 0
    usual = time.monotonic() - began
    whole, count, turn = forecasts(folder / "whole"), 0, 0
    while count < kills:
        turn += 1
        path = folder / f"killed-{turn}"
        committed = {}
        while True:
            process = driver(path, word, dice.choice([None, None, "before_commit", "after_commit"]))
            try:
                code = process.wait(timeout=dice.uniform(0.2, 1.1) * usual)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            assert not gone(with_words(word)), "a child outlived its driver"
            count += code == -signal.SIGKILL
            if path.is_dir():
                committed = still_there(path, committed)
            if code == 5:
                break
            if count >= kills or (code == 0):
                code = driver(path, word).wait() if code else code
                break
        if code == 0:
            assert forecasts(path) == whole
            assert {row["version"] for row in results(path).values()} == {1}
            # Who opens a store for writing next sweeps what a child was writing that died with its driver.
            Store.open(path, write=True).close()
            assert not list((path / "tmp").iterdir())


def still_there(path, before):
    """What is committed in the store, all of that which was before among it."""
    try:
        now = {name: (row["version"], row["shard"]) for name, row in results(path).items()}
    except StoreError:
        return before
    assert before.items() <= now.items()
    return now
