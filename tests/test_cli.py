from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecastml
from forecastml.cli import main
from forecastml.datasets import store_sales, store_sales_future
from forecastml.errors import LearnerError
from forecastml.progress import Bar, JsonLines, listening

SIZE = {"stores": 2, "items": 2, "days": 120}
COLUMNS = ["--target", "sales", "--time", "date", "--series", "store,item", "--horizon", "7", "--preset", "fast"]


@pytest.fixture(scope="module")
def sales(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "sales.csv"
    store_sales(**SIZE).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(sales, tmp_path_factory) -> Path:
    task = forecastml.Forecasting(horizon=7, target="sales", time="date", series=("store", "item"))
    return forecastml.fit(sales, task, "fast").save(tmp_path_factory.mktemp("models") / "model")


def test_train_saves_a_model_and_prints_its_leaderboard(run, sales, tmp_path):
    out = tmp_path / "model"
    code, printed, complaints = run("train", sales, *COLUMNS, "--out", out)
    assert (code, complaints) == (0, "")
    heading, *rows, last = printed.splitlines()
    assert heading.split()[:3] == ["learner", "loss", "fold_0"]
    assert any("seasonal_naive" in row for row in rows)
    assert last == f"model saved in {out}"
    assert len(forecastml.load(out).forecast()) == 4 * 7


def test_train_replaces_a_model(run, sales, model, tmp_path):
    out = tmp_path / "model"
    forecastml.load(model).save(out)
    code, _, _ = run("train", sales, *COLUMNS, "--horizon", "3", "--allow", "naive,drift", "--out", out)
    assert code == 0
    assert len(forecastml.load(out).forecast()) == 4 * 3


def test_options_reach_the_task_and_the_config(run, sales, tmp_path, monkeypatch):
    seen = {}

    def fit(data, task, config, listener):
        seen.update(data=data, task=task, config=config)
        raise LearnerError("enough seen")

    monkeypatch.setattr(forecastml, "fit", fit, raising=False)
    closures = tmp_path / "closures.csv"
    closures.write_text("date,name\n2024-05-06,Stocktaking\n", encoding="utf-8")
    options = {
        "group": "store",
        "known": "price, promotion",
        "weight": "w",
        "mask": "sold_out",
        "freq": "D",
        "aggregate": "sum",
        "duplicates": "last",
        "gaps": "zero",
        "stale": "skip",
        "timezone": "UTC>Europe/Paris",
        "holidays": "US,DE-BY",
        "holiday-table": closures,
        "season": "7,365",
        "metric": "rmse",
        "allow": "naive,drift",
        "time-limit": "60",
        "folds": "4",
        "step": "2",
        "gap": "1",
        "quantiles": "0.05,0.95",
        "seed": "3",
        "workers": "2",
    }
    flat = [part for name, value in options.items() for part in (f"--{name}", value)]
    code, _, complaints = run("train", sales, *COLUMNS, *flat, "--integer", "--out", tmp_path / "model")
    assert (code, complaints) == (1, "error: enough seen\n")
    task, config = seen["task"], seen["config"]
    assert seen["data"] == sales
    assert (task.series, task.group, task.known, task.weight) == (
        ("store", "item"),
        ("store",),
        ("price", "promotion"),
        "w",
    )
    assert (task.mask, task.aggregate, task.duplicates, task.gaps, task.stale, task.timezone, task.holidays) == (
        *("sold_out", "sum", "last", "zero", "skip", "UTC>Europe/Paris"),
        ("US", "DE-BY"),
    )
    assert task.holiday_table == (("2024-05-06", "Stocktaking", ""),)
    assert (task.freq, task.season, task.metric) == ("D", (7, 365), "rmse")
    assert (task.n_folds, task.step, task.gap, task.quantiles, task.integer) == (4, 2, 1, (0.05, 0.95), True)
    assert (config.name, config.learners, config.workers) == ("fast", ("naive", "drift"), 2)
    assert (config.budget.seconds, config.budget.seed) == (60, 3)


def test_the_command_line_changes_no_default(run, sales, tmp_path, monkeypatch):
    seen = {}

    def fit(data, task, config, listener):
        seen.update(task=task, config=config)
        raise LearnerError("enough seen")

    monkeypatch.setattr(forecastml, "fit", fit, raising=False)
    run("train", sales, "--target", "y", "--time", "ds", "--horizon", "7", "--out", tmp_path / "model")
    assert seen == {"task": forecastml.Forecasting(horizon=7), "config": forecastml.Config.preset()}


def test_leaderboard_prints_every_candidate_in_full(run, model):
    code, printed, complaints = run("leaderboard", model)
    assert (code, complaints) == (0, "")
    board = forecastml.load(model).leaderboard()
    for name, line in zip(board["learner"], printed.splitlines()[1:], strict=True):
        assert line.startswith(name)
    code, other, _ = run("leaderboard", model, "--metric", "rmse")
    assert code == 0 and other != printed


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_forecast_writes_a_table(run, model, tmp_path, suffix):
    out = tmp_path / f"forecast{suffix}"
    code, printed, _ = run("forecast", model, "--horizon", 3, "--quantiles", "0.1,0.9", "--out", out)
    assert (code, printed) == (0, f"12 rows written to {out}\n")
    table = pd.read_csv(out, dtype={"store": str}) if suffix == ".csv" else pd.read_parquet(out)
    assert table.columns.tolist() == ["store", "item", "date", "mean", "0.1", "0.9"]
    assert table["store"].unique().tolist() == ["001", "002"]
    assert pd.to_datetime(table["date"]).min() == store_sales(**SIZE)["date"].max() + pd.Timedelta(days=1)
    assert table.notna().all(axis=None)


def test_known_covariates_come_from_the_future_file(run, sales, tmp_path):
    future, out, result = tmp_path / "future.csv", tmp_path / "model", tmp_path / "forecast.csv"
    store_sales_future(7, **SIZE).to_csv(future, index=False)
    code, _, _ = run("train", sales, *COLUMNS, "--known", "price,promotion", "--allow", "light_gbm", "--out", out)
    assert code == 0
    assert run("forecast", out, "--future", future, "--out", result)[0] == 0
    assert len(pd.read_csv(result)) == 4 * 7
    code, printed, complaints = run("forecast", out, "--out", result)
    assert (code, printed) == (64, "")
    assert "price" in complaints and "store=001" in complaints


def test_context_moves_the_origin(run, model, tmp_path):
    context, out = tmp_path / "context.csv", tmp_path / "forecast.csv"
    rows = store_sales(**{**SIZE, "days": 123})
    rows[rows["date"] > store_sales(**SIZE)["date"].max()].to_csv(context, index=False)
    assert run("forecast", model, "--context", context, "--out", out)[0] == 0
    assert pd.to_datetime(pd.read_csv(out)["date"]).min() == rows["date"].max() + pd.Timedelta(days=1)


TRAIN = ["train", "SALES", *COLUMNS, "--out", "NEW"]
FORECAST = ["forecast", "MODEL", "--out", "NEW.csv"]
WRONG = {
    "no option at all": (["train"], "DATA"),
    "an unknown command": (["predict"], "predict"),
    "an unknown option": ([*TRAIN, "--colour", "blue"], "--colour"),
    "a missing option": (["train", "SALES", "--target", "sales", "--time", "date", "--out", "NEW"], "--horizon"),
    "a missing file": (["train", "nowhere.csv", *COLUMNS, "--out", "NEW"], "nowhere.csv"),
    "a missing column": ([*TRAIN, "--target", "turnover"], "turnover"),
    "a horizon of zero": ([*TRAIN, "--horizon", "0"], "horizon"),
    "an unknown preset": ([*TRAIN, "--preset", "quick"], "quick"),
    "an unknown learner": ([*TRAIN, "--allow", "naive,oracle"], "oracle"),
    "an unknown metric": ([*TRAIN, "--metric", "luck"], "luck"),
    "a season that is no number": ([*TRAIN, "--season", "week"], "--season"),
    "a quantile above one": ([*TRAIN, "--quantiles", "0.1,1.5"], "1.5"),
    "folds that are no number": ([*TRAIN, "--folds", "many"], "--folds"),
    "a text column as target": ([*TRAIN, "--target", "item", "--series", "store"], "item"),
    "a model over other things": ([*TRAIN, "--out", "OTHER"], "OTHER"),
    "a forecast of no known format": (["forecast", "MODEL", "--out", "forecast.xlsx"], "forecast.xlsx"),
    "a model that is none": (["forecast", "OTHER", "--out", "NEW.csv"], "OTHER"),
    "no model at all": (["leaderboard", "nowhere"], "nowhere"),
    "an unknown metric in the leaderboard": (["leaderboard", "MODEL", "--metric", "luck"], "luck"),
    "older rows as context": ([*FORECAST, "--context", "SALES"], "store=001"),
    "a missing future file": ([*FORECAST, "--future", "nowhere.csv"], "nowhere.csv"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_and_bad_input_end_with_64_and_a_message(run, sales, model, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    places = {"SALES": sales, "MODEL": model, "NEW": tmp_path / "new", "NEW.csv": tmp_path / "new.csv", "OTHER": other}
    arguments, named = WRONG[case]
    code, printed, complaints = run(*(places.get(argument, argument) for argument in arguments))
    assert (code, printed) == (64, "")
    assert str(places.get(named, named)) in complaints
    assert "Traceback" not in complaints
    assert sorted(tmp_path.iterdir()) == [other] and (other / "thesis.tex").exists()


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 130), (LearnerError("all failed"), 1)])
def test_an_interrupt_and_a_failed_run_have_codes_of_their_own(run, sales, tmp_path, monkeypatch, raised, code):
    def fit(*_, **__):
        raise raised

    monkeypatch.setattr(forecastml, "fit", fit, raising=False)
    got, printed, complaints = run("train", sales, *COLUMNS, "--out", tmp_path / "model")
    assert (got, printed) == (code, "")
    assert len(complaints.splitlines()) == 1


def test_a_fault_of_ours_keeps_its_traceback_in_a_file(run, sales, tmp_path, monkeypatch):
    def fit(*_, **__):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(forecastml, "fit", fit, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, printed, complaints = run("train", sales, *COLUMNS, "--out", tmp_path / "model")
    assert (code, printed) == (1, "")
    first, second = complaints.splitlines()
    assert first == "internal error: ZeroDivisionError: by nothing"
    assert "Traceback" in Path(second.split()[-1]).read_text()


def test_log_json_is_one_event_per_line(run, sales, tmp_path):
    out = tmp_path / "model"
    code, _, complaints = run("train", sales, *COLUMNS, "--allow", "naive,drift,average", "--log-json", "--out", out)
    assert code == 0
    events = [json.loads(line) for line in complaints.splitlines()]
    names = [event["event"] for event in events]
    assert names == ["data", "plan", "trial", "trial", "trial", "ensemble", "refit", "done"]
    assert [event["done"] for event in events if event["event"] == "trial"] == [1, 2, 3]


def test_findings_are_told_on_stderr(run, sales, tmp_path):
    gappy = tmp_path / "gappy.csv"
    pd.read_csv(sales, dtype=str).drop(index=[50, 51]).to_csv(gappy, index=False)
    allow = ["--allow", "naive"]
    code, printed, complaints = run("train", gappy, *COLUMNS, *allow, "--out", tmp_path / "a")
    assert code == 0 and complaints.startswith("fixed: ") and "fixed: " not in printed
    _, _, events = run("train", gappy, *COLUMNS, *allow, "--log-json", "--out", tmp_path / "b")
    findings = [e for e in map(json.loads, events.splitlines()) if e["event"] == "finding"]
    assert [finding["severity"] for finding in findings] == ["fixed"]


def test_version_and_help_load_nothing_heavy():
    code = (
        "import sys; from forecastml.cli import app\n"
        "for arguments in (['--version'], ['--help'], ['train', '--help']):\n"
        "    app(arguments, standalone_mode=False)\n"
        "print([m for m in ('numpy', 'pandas', 'lightgbm', 'sklearn', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == forecastml.__version__
    assert lines[-1] == "[]"
    assert "--horizon" in done.stdout and done.stderr == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "folds"), [("80", False), ("200", True)])
def test_on_a_terminal_the_leaderboard_fits(model, monkeypatch, columns, folds):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "argv", ["forecastml", "leaderboard", str(model)])
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(SystemExit):
        main()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", sys.stdout.getvalue())
    assert max(map(len, shown.splitlines())) <= int(columns)
    assert "ensemble" in shown and "coverage" in shown
    assert ("fold_0" in shown) is folds


def trial(state: str, done: int, total: int = 8) -> dict:
    return {"event": "trial", "name": "naive", "state": state, "loss": 1.0, "done": done, "total": total}


def test_the_bar_counts_and_estimates_the_time_left(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    now = iter([0.0, 100.0, 101.0, 104.0]).__next__
    stream = Terminal()
    with Bar(stream, clock=now) as bar:
        bar({"event": "plan", "total": 8})
        bar(trial("ok", 1))
        bar(trial("failed", 2))
    shown = stream.getvalue()
    assert "trying learners" in shown
    assert "2/8 (1 ok, 1 failed)" in shown
    assert "about 0:12 left" in shown


def test_who_listens_depends_on_the_stream():
    with listening(io.StringIO(), log_json=False) as listener:
        assert listener is None
    with listening(Terminal(), log_json=False) as listener:
        assert isinstance(listener, Bar)
    with listening(Terminal(), log_json=True) as listener:
        assert isinstance(listener, JsonLines)


def test_json_lines_are_strict_json():
    stream = io.StringIO()
    event = {"event": "trial", "loss": float("nan"), "n": np.int64(3), "x": np.array([1.5, np.inf]), "at": Path("é")}
    JsonLines(stream)(event)
    assert stream.getvalue() == '{"event": "trial", "loss": null, "n": 3, "x": [1.5, null], "at": "é"}\n'
