from __future__ import annotations

import shlex
import sys
import time

import pandas as pd
import pytest

import forecastml
from forecastml import datasets, demo
from forecastml.errors import ConfigError, MissingExtra

pytest.importorskip("matplotlib")


@pytest.fixture
def small(monkeypatch):
    """The demo with two short series."""
    size = {"stores": 2, "items": 1, "days": 140}
    monkeypatch.setattr(demo, "store_sales", lambda: datasets.store_sales(**size))
    monkeypatch.setattr(demo, "store_sales_future", lambda horizon: datasets.store_sales_future(horizon, **size))


def test_the_demo_writes_what_it_says_and_its_next_steps_work(small, tmp_path, monkeypatch):
    events = []
    folder = tmp_path / "my demo"
    result = demo.demo(folder, events.append)
    assert {path.name for path in folder.iterdir()} == {"data.csv", "future.csv", "forecast.csv", "plot.png", "model"}
    assert set(result.files.values()) == set(folder.iterdir())
    assert [events[0]["event"], events[-1]["event"]] == ["data", "done"]
    assert "light_gbm" in " ".join(result.model.leaderboard()["learner"])
    assert len(result.forecast) == 2 * demo.HORIZON
    assert result.files["plot"].read_bytes().startswith(b"\x89PNG") and result.files["plot"].stat().st_size > 20_000
    written = result.files["forecast"].read_bytes()
    again = forecastml.load(result.files["model"]).forecast(future=result.files["future"])
    pd.testing.assert_frame_equal(again, result.forecast)

    monkeypatch.chdir(tmp_path)
    air = datasets.load("airline_passengers").assign(id="air")
    air.to_csv("my.csv", index=False)
    lines = result.next_steps.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if not line.startswith("#")]
    assert [words[0] for words in commands] == ["train", "forecast", "train", "forecast"]
    for words in commands:
        run(monkeypatch, words)
    assert result.files["forecast"].read_bytes() == written, "the same by hand is the same"
    assert len(pd.read_csv("my_forecast.csv")) == 14


def run(monkeypatch, words: list[str]) -> None:
    from forecastml.cli import main

    monkeypatch.setattr(sys, "argv", ["forecastml", *words])
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code


def test_a_place_that_is_taken_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "fit", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        demo.demo(tmp_path / "file")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not a saved model"):
        demo.demo(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra):
        demo.demo(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model"]


@pytest.mark.slow
def test_the_demo_ends_within_two_minutes(tmp_path):
    began = time.monotonic()
    result = demo.demo(tmp_path)
    assert time.monotonic() - began < 120
    best = result.model.leaderboard()["learner"].iloc[0]
    assert best == "ensemble" and len(result.forecast) == 40 * demo.HORIZON
