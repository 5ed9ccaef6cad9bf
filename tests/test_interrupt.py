"""Ctrl-C during `fit`: a true signal, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import os, signal, sys, time
import numpy as np
import pandas as pd
import forecastml as fm
from tests.search.toys import Shift
from tests.tables import monthly

# What a shell starts in the background ignores the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
stage, allowed, interrupts = "search", sys.argv[1].split(","), sys.argv[2].split(",")

class Slow(Shift):
    def fit(self, train, params, context):
        if f"{self.name}:{stage}" in interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        return super().fit(train, params, context)

def listen(event):
    global stage
    stage = "refit" if event["event"] == "refit" else stage

fm.register(Slow("early"))
fm.register(Slow("late"))
table = monthly(6)
steps = np.random.default_rng(0).normal(size=len(table))
table["y"] = 100 + pd.Series(steps).groupby(table["unique_id"]).cumsum()
try:
    task, config = fm.Forecasting(horizon=6, series="unique_id"), fm.Config.preset("fast", allow=allowed)
    model = fm.fit(table, task, config, listener=listen)
except KeyboardInterrupt:
    sys.exit(f"ended in {stage}")
forecast = model.forecast()["mean"]
print(len(forecast), forecast.notna().all())
for name, row in model.leaderboard().set_index("learner").iterrows():
    print(name, row["state"], row["error"], row["weight"] > 0)
"""


def run(allowed: str, interrupts: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", SCRIPT, allowed, interrupts]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.mark.parametrize("stage", ["search", "refit"])
def test_what_was_finished_is_a_model(stage):
    done = run("drift,late", f"late:{stage}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "36 True"
    rows = set(done.stdout.splitlines()[1:])
    assert rows == {"ensemble ok  True", "drift ok  True", "late(by=0.0) skipped interrupted False"}


def test_without_the_interrupt_it_would_have_been_a_member():
    assert "late(by=0.0) ok  True" in run("drift,late", "").stdout.splitlines()


@pytest.mark.parametrize(
    ("allowed", "interrupts", "stage"),
    [
        ("late", "late:search", "search"),
        ("late", "late:refit", "refit"),
        ("drift,early,late", "late:search,early:refit", "refit"),
    ],
    ids=["nothing evaluated", "nothing fitted", "a second one"],
)
def test_where_nothing_is_finished_or_it_comes_twice_the_run_ends(allowed, interrupts, stage):
    done = run(allowed, interrupts)
    assert done.returncode == 1
    assert done.stderr.strip() == f"ended in {stage}"
