"""The benchmark of several seasons runs on a small folder of sets, on test rows and on folds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

WORKER = Path(__file__).parents[1] / "benchmarks" / "seasons.py"


@pytest.fixture
def folder(tmp_path):
    about = {"m3_monthly": {"freq": "MS", "season_length": 12, "horizon": 6}}
    (tmp_path / "datasets.json").write_text(json.dumps(about), encoding="utf-8")
    t = np.arange(66)
    parts = [
        pd.DataFrame(
            {
                "unique_id": key,
                "ds": pd.date_range("2015-01-01", periods=66, freq="MS"),
                "y": 50 + t * slope + 10 * np.sin(2 * np.pi * t / 12),
                "split": np.where(t < 60, "train", "test"),
            }
        )
        for key, slope in (("a", 0.5), ("b", -0.2))
    ]
    pd.concat(parts).to_parquet(tmp_path / "m3_monthly.parquet")
    return tmp_path


@pytest.mark.parametrize("folds", [0, 2])
def test_it_prints_a_row_per_method_and_fold(folder, folds):
    command = [sys.executable, WORKER, "--data", folder, "--sets", "m3_monthly", "--folds", str(folds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=WORKER.parents[1])
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("m3_monthly")]
    assert len(rows) == 2 * max(folds, 1)
    for naive, own in zip(rows[::2], rows[1::2], strict=True):
        assert naive[2:4] == ["seasonal", "naive"] and own[2] == "mstl,"
        # A trend that the seasonal naive does not see.
        assert float(own[4]) < 0.5 * float(naive[4])
