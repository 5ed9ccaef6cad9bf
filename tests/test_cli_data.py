"""Commands that look at data or judge: check, backtest, and forecasts with pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.data.checks import CODES
from tests.tables import daily_with_price

COLUMNS = ["--target", "y", "--time", "ds", "--series", "store"]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "healthy.csv"
    daily_with_price(series=3, days=120)[0].to_csv(path, index=False)
    return path


def hostile() -> pd.DataFrame:
    """Healthy series, and one of each defect that can stand in a table beside them."""
    table, _ = daily_with_price(series=9, days=200)
    table["y"] = np.maximum(table["y"], 1).round().astype(object)
    table["same"] = 1.0
    of = {name: table.index[table["store"] == name].to_numpy() for name in table["store"].unique()}
    table.loc[of["s0"][50], "y"] = "ten"
    table.loc[of["s1"][60], "y"] = float("inf")
    table.loc[of["s2"], "y"] = 7.0
    table.loc[of["s3"], "y"] = 0.0
    table.loc[of["s4"][[20, 90]], "y"] = -3.0
    table.loc[of["s5"][40], "price"] = None
    table.loc[of["s6"][77], "y"] = 9_000.0
    table.loc[of["s7"][100:], "y"] = table.loc[of["s7"][100:], "y"].astype(float) + 400
    table["double"] = pd.to_numeric(table["y"], errors="coerce") * 2
    # A step that a covariate makes too is explained by it.
    table.loc[of["s7"], "double"] = 1.0
    gap, stale = of["s8"][30:33], of["s0"][120:]
    short = pd.DataFrame(
        {"store": "new", "ds": table["ds"].iloc[198:200], "y": 5.0, "price": 1.0, "same": 1.0, "double": 10.0}
    )
    twice = table.loc[of["s1"][[10]]]
    off = table.loc[of["s1"][[11]]].assign(ds=lambda t: t["ds"] + pd.Timedelta(hours=7))
    table = table.drop(index=[*gap, *stale])
    return pd.concat([table.iloc[::-1], twice, off, short], ignore_index=True)


PLANTED = {
    *("unsorted", "text_in_numbers", "infinite", "duplicates", "off_grid", "gaps", "stale", "constant", "all_zero"),
    *("negative", "short", "level_shift", "outliers", "covariate_missing", "covariate_constant", "leak"),
}


def test_healthy_data_pass_every_check(run, healthy):
    code, printed, complaints = run("check", healthy, *COLUMNS, "--known", "price", "--horizon", "7")
    assert (code, complaints) == (0, "")
    _, *rows = printed.splitlines()
    assert len(rows) == len(CODES)
    assert all(" passed " in row for row in rows)


def test_every_planted_defect_is_found_and_none_that_is_not(run, tmp_path):
    path = tmp_path / "hostile.csv"
    hostile().to_csv(path, index=False)
    options = [*COLUMNS, "--known", "price,same,double", "--horizon", "7"]
    code, _, complaints = run("check", path, *options, "--log-json")
    assert code == 64
    findings = [json.loads(line) for line in complaints.splitlines() if line.startswith("{")]
    assert {finding["code"] for finding in findings} == PLANTED
    assert all(finding["remedy"] or finding["severity"] == "fixed" for finding in findings)
    errors = {finding["code"] for finding in findings if finding["severity"] == "error"}
    assert errors == {"text_in_numbers", "duplicates", "off_grid"}
    code, _, refusal = run("train", path, *options, "--preset", "fast", "--out", tmp_path / "model")
    assert code == 64 and "3 defects" in refusal and "remedy" not in refusal
    assert not (tmp_path / "model").exists()


def test_policies_mend_what_they_are_for(run, tmp_path):
    table, _ = daily_with_price(series=3, days=120)
    table["closed"] = table["y"] > table["y"].quantile(0.9)
    table = pd.concat([table.drop(index=[30, 31]), table.iloc[[5]]])
    table = table[(table["store"] != "s2") | (table["ds"] < "2024-03-01")]
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    mended = ["--duplicates", "last", "--gaps", "ffill", "--stale", "skip", "--mask", "closed"]
    code, printed, _ = run("check", path, *COLUMNS, *mended, "--horizon", "7")
    assert code == 0
    states = {row.split()[-1]: row for row in printed.splitlines()[1:]}
    assert all(" fixed " in states[name] for name in ("duplicates", "gaps", "stale", "masked"))
    options = [*COLUMNS, *mended, "--horizon", "7", "--preset", "fast", "--out", tmp_path / "model"]
    assert run("train", path, *options)[0] == 0
    status = fm.load(tmp_path / "model").status().set_index("store")["state"]
    assert status["s2"] == "skipped" and set(status[["s0", "s1"]]) == {"ok"}


def test_a_coarser_frequency_by_option(run, healthy, tmp_path):
    out = tmp_path / "model"
    options = ["--freq", "W-SUN", "--aggregate", "sum", "--horizon", "2", "--preset", "fast", "--out", out]
    assert run("train", healthy, *COLUMNS, *options)[0] == 0
    forecast = fm.load(out).forecast()
    assert (pd.to_datetime(forecast["ds"]).dt.day_of_week == 6).all()
    daily = pd.read_csv(healthy)["y"].mean()
    assert 5 * daily < forecast["mean"].mean() < 9 * daily


def test_backtest_writes_forecasts_and_scores(run, healthy, tmp_path):
    options = ["--known", "price", "--horizon", "7", "--preset", "fast", "--cutoffs", "2", "--out", tmp_path / "back"]
    code, printed, _ = run("backtest", healthy, *COLUMNS, *options)
    assert code == 0
    assert printed.splitlines()[0].split() == ["metric", "ensemble", "seasonal_naive(season_length=7)"]
    forecasts = pd.read_parquet(tmp_path / "back" / "forecasts.parquet")
    assert list(forecasts)[:5] == ["store", "cutoff", "ds", "y", "mean"]
    assert len(forecasts) == 3 * 2 * 7
    assert set(pd.read_csv(tmp_path / "back" / "scores.csv")["set"]) == {"all", "cutoff", "series"}


def test_one_series_and_a_picture(run, healthy, tmp_path):
    model = tmp_path / "model"
    run("train", healthy, *COLUMNS, "--horizon", "7", "--preset", "fast", "--out", model)
    whole = fm.load(model).forecast()
    out, picture = tmp_path / "one.csv", tmp_path / "one.png"
    assert run("forecast", model, "--only", "s1", "--out", out, "--plot", picture)[0] == 0
    found = pd.read_csv(out, dtype={"store": str})
    np.testing.assert_allclose(found["mean"], whole.loc[whole["store"] == "s1", "mean"], rtol=1e-12)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    code, _, complaint = run("forecast", model, "--only", "s9", "--out", out)
    assert code == 64 and "s9" in complaint
