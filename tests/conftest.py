"""What all tests share."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forecastml.cli import main

# In the background of a shell a process ignores Ctrl-C, and so do those that it begins: tests that send it would hang.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], tuple[Path, dict]]:
    """`shared_data(name)` -> (Parquet file, its entry in datasets.json); skips where the shared sets are absent."""

    def find(name: str) -> tuple[Path, dict]:
        path = SHARED / f"{name}.parquet"
        if not path.is_file():
            pytest.skip(f"the public data sets are not here: {path.resolve()} does not exist")
        return path.resolve(), json.loads((SHARED / "datasets.json").read_text(encoding="utf-8"))[name]

    return find


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line: `run("train", ...)` -> exit code, stdout, stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["forecastml", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code or 0, *capsys.readouterr()

    return command
