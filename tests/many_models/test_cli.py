"""The command line of many_models: every command, its exit code, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import many_models as mm
from forecastml.errors import LearnerError
from many_models.cli import main
from many_models.cli_options import size
from many_models.errors import StoreFull
from many_models.execution import Summary
from many_models.progress import GroupBar, duration, listening
from many_models.settings import Settings
from many_models.store import Store
from tests.many_models import shops

ROOT = Path(__file__).parents[2]
COLUMNS = ["--partition", "shop", "--series", "shop,item", "--target", "sales", "--time", "month", "--horizon", "6"]
TASK = [*COLUMNS, "--preset", "fast", "--allow", "naive,drift", "--workers", "2"]


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line: `run("status", ...)` -> exit code, stdout, stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["many-models", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code or 0, *capsys.readouterr()

    return command


@pytest.fixture
def sales(tmp_path) -> Path:
    path = tmp_path / "sales.csv"
    shops.table(bad=()).to_csv(path, index=False)
    return path


def done(state: str = "done", **counts: int) -> Summary:
    return Summary(3, state, counts or {"ok": 5}, 10.0, 0.8, 0)


def seen_by(monkeypatch, name: str, summary: Summary | None = None) -> list:
    """The calls of a function of the package, which does nothing then."""
    calls = []
    monkeypatch.setattr(mm, name, lambda *given: (calls.append(given), summary or done())[1], raising=False)
    return calls


def test_a_run_trains_every_group_and_says_what_to_do_next(run, sales, tmp_path):
    root = tmp_path / "store"
    code, printed, complaints = run("run", sales, *TASK, "--store", root)
    assert (code, complaints) == (0, "")
    first, counts, better, *rest = printed.splitlines()
    assert first.startswith("run 1 done: 6 groups in 0:0") and first.endswith("a second")
    assert counts == "6 ok"
    assert better.endswith("of the judged groups are at or below their baseline out of fold")
    assert f"  many-models forecast --store {root} --out forecast.csv" in rest
    assert set(mm.results(root)["shop"]) == set(shops.NAMES)
    newer = shops.ahead(shops.table(bad=()), months=1).assign(sales=100.0)
    newer.to_csv(tmp_path / "newer.csv", index=False)
    code, printed, _ = run("update", "--store", root, "--data", tmp_path / "newer.csv")
    assert code == 0 and printed.startswith("run 2 done: 6 groups")
    assert mm.forecast(root)["month"].min() == shops.END + pd.DateOffset(months=2)


def test_some_groups_may_fail_and_others_are_served(run, tmp_path):
    path = tmp_path / "sales.parquet"
    shops.table().to_parquet(path)
    root = tmp_path / "store"
    code, printed, _ = run("run", path, *TASK, "--store", root, "--max-failed", "0.5", "--log-json")
    assert code == 2 and "6 ok, 1 failed" in printed
    assert f"many-models retrain --failed --store {root}" in printed
    code, printed, complaints = run("retrain", "--failed", "--store", root, "--max-failed", 0)
    assert code == 1 and printed.startswith("run 2 failed: 1 groups")
    assert "1 of 1 groups failed, more than --max-failed allows" in complaints


def test_events_are_lines_of_json(run, sales, tmp_path):
    _, _, complaints = run("run", sales, *TASK, "--store", tmp_path / "store", "--log-json")
    events = [json.loads(line) for line in complaints.splitlines()]
    names = [event["event"] for event in events]
    assert names[:4] == ["phase", "phase", "phase", "groups"] and names[-1] == "end"
    assert [event["name"] for event in events[:3]] == ["laying out", "learning", "training"]
    assert names.count("group") == 6 and {e["state"] for e in events if e["event"] == "group"} == {"ok"}


def test_options_reach_the_task_the_config_and_the_settings(run, tmp_path, monkeypatch):
    calls = seen_by(monkeypatch, "run")
    given = ["--workers", 3, "--engine", "dask", "--address", "tcp://a:1", "--scope", "own", "--memory", "1.5G"]
    given += [
        "--group-seconds",
        5,
        "--max-failed",
        0.25,
        "--wait",
        7,
        "--seed",
        4,
        "--known",
        "price",
        "--metric",
        "rmse",
    ]
    code, _, _ = run("run", "s3://bucket/x", *COLUMNS, "--partition", "shop,item", "--store", tmp_path, *given)
    assert code == 0
    ((data, by, task, config, store, settings),) = calls
    assert (data, by, store) == ("s3://bucket/x", ("shop", "item"), tmp_path)
    assert (task.known, task.metric, task.horizon, task.series) == (("price",), "rmse", 6, ("shop", "item"))
    assert config.budget.seed == 4
    expected = Settings(3, "dask", "tcp://a:1", "own", 5.0, 3 << 29, max_failed=0.25, wait=7.0)
    assert settings == expected


def test_what_is_not_given_stays_as_it_was(run, shop_store, monkeypatch):
    calls = seen_by(monkeypatch, "resume") + seen_by(monkeypatch, "retrain")
    before = shops.request(shops.task(), ("naive",)).settings
    calls = seen_by(monkeypatch, "resume")
    assert run("resume", "--store", shop_store, "--group-seconds", 0)[0] == 0
    ((_, settings),) = calls
    assert settings.group_seconds is None
    assert (settings.batch_groups, settings.max_failed) == (before.batch_groups, before.max_failed)
    assert run("resume", "--store", shop_store)[0] == 0
    assert calls[1][1] == before


@pytest.mark.parametrize(
    ("flags", "which"), [([], "stale"), *(([f"--{w}"], w) for w in ("failed", "quarantined", "all"))]
)
def test_retrain_takes_one_way(run, shop_store, monkeypatch, flags, which):
    calls = seen_by(monkeypatch, "retrain")
    assert run("retrain", "--store", shop_store, "--data", "new.csv", *flags)[0] == 0
    assert calls[0][:3] == (shop_store, which, "new.csv")


def test_two_ways_to_retrain_are_refused(run, shop_store):
    code, _, complaints = run("retrain", "--store", shop_store, "--all", "--failed")
    assert (code, complaints) == (64, "error: --failed and --all cannot go together; give one of them\n")


@pytest.mark.parametrize(
    ("summary", "code"),
    [(done(), 0), (done(ok=9, failed=1), 2), (done(ok=9, quarantined=1), 2), (done("failed", ok=1, failed=9), 1)],
)
def test_exit_codes_of_runs(run, shop_store, monkeypatch, summary, code):
    seen_by(monkeypatch, "resume", summary)
    assert run("resume", "--store", shop_store)[0] == code


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "interrupted; finished groups are kept, go on with: many-models resume --store "),
        (StoreFull("no room; make room and `many-models resume`"), 1, "error: no room; make room and"),
        (LearnerError("no learner"), 1, "error: no learner"),
        (RuntimeError("odd"), 1, "internal error: RuntimeError: odd\nthe traceback is in "),
    ],
)
def test_exit_codes_of_what_goes_wrong(run, shop_store, monkeypatch, error, code, text):
    def fail(*given):
        raise error

    monkeypatch.setattr(mm, "resume", fail, raising=False)
    found, _, complaints = run("resume", "--store", shop_store)
    assert found == code and complaints.startswith(text)


def test_a_store_in_use_has_an_exit_code_of_its_own(run, shop_store, copied):
    root = copied(shop_store)
    with Store.open(root, write=True):
        code, _, complaints = run("rollback", "--store", root)
        assert run("status", "--store", root)[0] == 0
    assert code == 3 and f"is in use by process {os.getpid()}" in complaints


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("forecast", "--out", "x.csv", "--group", "999"), "did you mean|the first of its groups"),
        (("forecast", "--out", "x.doc"), "must end in .csv or .parquet"),
        (("forecast", "--out", "x.csv", "--quantiles", "a"), "--quantiles 'a' is not"),
        (("results", "--state", "odd"), "state 'odd' is unknown"),
        (("resume", "--memory", "much"), "--memory 'much' is no size"),
        (("resume", "--engine", "abacus"), "engine 'abacus' is unknown"),
        (("resume",), "there is no unfinished run to resume"),
        (("rollback", "--group", "001"), "has no version before the one that serves"),
        (("gc", "--keep", "0"), "greater than or equal to 1"),
        (("status", "--nothing"), "No such option"),
    ],
)
def test_wrong_usage_has_exit_code_64(run, shop_store, copied, monkeypatch, tmp_path, arguments, text):
    monkeypatch.chdir(tmp_path)
    code, _, complaints = run(*arguments, "--store", copied(shop_store))
    assert code == 64
    assert any(part in complaints for part in text.split("|")), complaints


@pytest.mark.parametrize("command", ["status", "resume", "results", "leaderboard", "fsck", "gc", "rollback"])
def test_a_folder_without_a_store_is_told(run, tmp_path, command):
    code, _, complaints = run(command, "--store", tmp_path / "none")
    assert code == 64 and "there is no store in" in complaints


def test_forecasts_of_some_groups(run, shop_store, tmp_path):
    out = tmp_path / "forecast.parquet"
    options = ["--group", '"a,b"', "--group", "001", "--horizon", 8, "--quantiles", "0.5", "--labels"]
    code, printed, complaints = run("forecast", "--store", shop_store, "--out", out, *options)
    assert code == 0 and "beyond the trained horizon" in complaints
    assert printed == f"32 rows of 2 groups written to {out}\n"
    frame = pd.read_parquet(out)
    assert set(frame["shop"]) == {"a,b", "001"}
    assert list(frame.columns)[3:] == ["mean", "0.5", "model_used", "is_fallback"]


def test_groups_that_cannot_be_forecast_are_told_by_the_exit_code(run, shop_store, priced_store, tmp_path):
    out = tmp_path / "forecast.csv"
    code, printed, complaints = run("forecast", "--store", shop_store, "--out", out)
    assert code == 2 and printed.startswith("72 rows of 6 groups")
    assert complaints.startswith("note: 1 of 7 groups have no forecast: bad (failed: DataError")
    assert run("forecast", "--store", shop_store, "--out", out, "--group", "bad")[0] == 1
    assert run("forecast", "--store", priced_store, "--out", out)[0] == 64
    future = tmp_path / "future.csv"
    shops.ahead(shops.table(bad=())).to_csv(future, index=False)
    assert run("forecast", "--store", priced_store, "--out", out, "--future", future)[0] == 0
    assert run("forecast", "--store", priced_store, "--out", out, "--future", tmp_path / "none.csv")[0] == 64


def test_results_are_shown_or_written(run, shop_store, tmp_path):
    code, printed, _ = run("results", "--store", shop_store)
    heading, *rows, last = printed.splitlines()
    assert code == 0 and heading.split()[:4] == ["shop", "run", "version", "state"]
    assert len(rows) == 7 and last == "7 groups"
    out = tmp_path / "results.csv"
    assert run("results", "--store", shop_store, "--state", "failed", "--out", out)[:2] == (
        0,
        f"results written to {out}\n",
    )
    assert pd.read_csv(out)["error_type"].tolist() == ["DataError"]


def test_status_and_leaderboard_are_shown(run, shop_store):
    code, printed, _ = run("status", "--store", shop_store)
    assert code == 0
    assert printed.splitlines()[:2] == [f"store {shop_store}, not in use", "run 1 (run) done"]
    assert "7 of 7 groups in " in printed and "6 ok, 1 failed" in printed
    code, printed, _ = run("leaderboard", "--store", shop_store)
    assert code == 0
    assert "6 groups are served, 6 were judged out of fold, " in printed
    for title in ("losses over groups", "what serves the groups", "the worst groups", "what was tried"):
        assert title in printed


def test_rollback_fsck_and_gc(run, shop_store, copied):
    root = copied(shop_store)
    with Store.open(root, write=True) as store:
        shops.add_run(store, shops.table(seed=1), allow=("naive",))
    assert run("rollback", "--store", root, "--group", "001")[:2] == (0, "1 groups are served by an older version\n")
    assert run("fsck", "--store", root)[:2] == (0, "the store is whole\n")
    code, printed, _ = run("gc", "--store", root)
    assert code == 0 and " files removed, " in printed and not printed.startswith("0 ")
    assert run("fsck", "--store", root)[:2] == (0, "the store is whole\n")
    with Store.open(root) as store:
        shard = next(c.shard for c in store.versions.champions() if c.key == ("001",))
    (root / shard.name).unlink()
    code, printed, _ = run("fsck", "--store", root)
    assert code == 1 and f"missing: store {root}: {shard.name} is missing" in printed
    code, printed, _ = run("fsck", "--repair", "--store", root)
    assert code == 0 and printed.splitlines()[-1].endswith(" problems, repaired")
    assert run("fsck", "--store", root)[0] == 0


def test_help_comes_at_once_and_loads_nothing():
    heavy = ["numpy", "pandas", "pyarrow", "lightgbm", "scipy", "sklearn", "rich.progress", "sqlite3"]
    code = f"import sys, many_models.cli as c; print([m for m in {heavy} if m in sys.modules]); c.main()"
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    loaded, *rest = done.stdout.splitlines()
    assert loaded == "[]"
    for name in ("run", "resume", "retrain", "update", "rollback", "status", "forecast", "results", "fsck", "gc"):
        assert any(line.split()[:1] == [name] for line in rest)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_says_how_to_go_on_and_does(run, tmp_path, number):
    names = [f"s{k:03d}" for k in range(60)]
    path, root = tmp_path / "sales.parquet", tmp_path / "store"
    shops.table(names, bad=()).to_parquet(path)
    command = [sys.executable, "-m", "many_models", "run", path, *TASK, "--store", root, "--log-json"]
    # The prior is learned by then; the groups are not done.
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            for line in process.stderr:
                if json.loads(line)["event"] == "groups":
                    process.send_signal(number)
                    break
            rest = process.stderr.read()
            assert process.wait(60) == 130
        finally:
            process.kill()
    assert (
        rest.splitlines()[-1] == f"interrupted; finished groups are kept, go on with: many-models resume --store {root}"
    )
    assert mm.status(root).state == "paused"
    code, printed, _ = run("resume", "--store", root)
    assert code == 0 and printed.startswith("run 1 done: 60 groups")


def test_sizes():
    assert [size(text, "--memory") for text in ("100", "2k", "1.5M", "2G", "1T")] == [
        100,
        2048,
        3 << 19,
        2 << 30,
        1 << 40,
    ]


def test_the_bar_tells_phase_counts_pace_and_what_is_left(monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream, now = Terminal(), [0.0]
    with GroupBar(stream, clock=lambda: now[0]) as bar:
        shown = bar._progress.tasks[0]
        assert shown.description == "reading the store"
        bar({"event": "phase", "name": "laying out"})
        assert shown.description == "laying out the rows"
        bar({"event": "phase", "name": "learning"})
        assert shown.description == "learning what groups share"
        bar({"event": "groups", "run": 1, "total": 1100, "done": 100})
        assert (shown.description, shown.fields["counts"], shown.fields["left"]) == ("training", "100/1,100 groups", "")
        now[0] = 20.0
        for k in range(200):
            bar({"event": "group", "state": "failed" if k == 7 else "ok", "seconds": 0.1, "error": ""})
        bar({"event": "lost", "groups": 3, "error": "gone"})
        assert shown.completed == 300 and shown.total == 1100
        assert shown.fields["counts"] == "300/1,100 groups (199 ok, 1 failed, 3 given out again)"
        assert shown.fields["left"] == "10.0 a second, about 1:20 left"
        bar({"event": "end", "state": "done"})
    with listening(Terminal(), False) as listener:
        assert isinstance(listener, GroupBar)
    with listening(io.StringIO(), False) as listener:
        assert listener is None


def test_durations():
    assert [duration(seconds) for seconds in (0, 59.6, 3599, 3661)] == ["0:00", "1:00", "59:59", "1:01:01"]


def test_the_public_names_exist_and_importing_is_light():
    code = (
        "import sys, time; t = time.perf_counter(); import many_models as mm; "
        "print([m for m in ('numpy', 'pandas', 'pyarrow', 'sqlite3') if m in sys.modules]); "
        "print([n for n in mm.__all__ if getattr(mm, n) is None or n not in dir(mm)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = mm.nothing
