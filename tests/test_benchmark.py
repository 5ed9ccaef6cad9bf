"""The benchmark's own scoring against the package's metrics, and its command on a small folder of sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecastml.data.panel import Panel
from forecastml.metrics import get_metric
from forecastml.splits import RollingOrigin

SEASON, HORIZON = 4, 6


@pytest.fixture
def scoring(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import scoring

    return scoring


def history(rng: np.random.Generator, length: int) -> np.ndarray:
    season = 1 + 0.4 * np.sin(np.arange(length) * 2 * np.pi / SEASON)
    return (20 + rng.gamma(4, 1, length)) * season


def test_it_agrees_with_the_metrics_of_the_package(scoring):
    rng = np.random.default_rng(0)
    whole = [history(rng, n) for n in (20, 31, 44, 57)] + [np.r_[np.full(24, 7.0), rng.gamma(4, 1, HORIZON)]]
    outputs = ("mean", *scoring.QUANTILES)
    values = np.sort(rng.gamma(25, 1, (len(whole), HORIZON, len(outputs))), axis=2)
    series = [scoring.Series(y[:-HORIZON], y[-HORIZON:], SEASON) for y in whole]
    got = scoring.score(series, list(values[:, :, 0]), list(values[:, :, 1:]))
    splitter = RollingOrigin(HORIZON, n_folds=1, origins="own", min_train=1, season_length=SEASON)
    (fold,) = splitter.folds(Panel.of(whole))
    for name in ("mase", "smape", "owa", "sql", "coverage"):
        metric = get_metric(name)
        loss = float(metric.loss(values.reshape(-1, len(outputs)), outputs, fold.truth))
        expected = metric.report(loss) if name != "coverage" else loss
        own = getattr(got, name) if name != "coverage" else abs(got.coverage - 0.8)
        assert own == pytest.approx(expected, rel=1e-9), name


def test_scores_by_hand(scoring):
    series = [scoring.Series(np.array([1.0, 2, 4, 2, 4, 6]), np.array([5.0, np.nan, 8.0]), 1)]
    got = scoring.score(series, [np.array([4.0, 1.0, 8.0])], [np.tile(np.linspace(4.0, 6.0, 9), (3, 1))])
    scale = (1 + 2 + 2 + 2 + 2) / 5
    assert got.mase == pytest.approx(0.5 / scale)
    assert got.smape == pytest.approx(100 * 2 * (1 / 9) / 2)
    assert got.coverage == 0.5
    naive = scoring.score(series, [np.full(3, 6.0)], None)
    assert naive.owa == pytest.approx(1.0)
    assert np.isnan(naive.sql) and np.isnan(naive.coverage)


def test_missing_forecasts_are_not_passed_over(scoring):
    import score

    frame = pd.DataFrame({"unique_id": ["a", "a"], "ds": pd.date_range("2020-01-01", periods=2), "y": [1.0, 2.0]})
    problem = score.Problem("one", {"season_length": 1}, ("a",), frame, frame)
    with pytest.raises(SystemExit, match="no forecast for 1 of 2 test rows, the first is a at 2020-01-02"):
        score.Entry("half", frame.head(1).rename(columns={"y": "mean"}), 0.0).scores(problem)


def test_the_command_prints_and_writes_scores(scoring, tmp_path, monkeypatch, capsys):
    import score

    rng = np.random.default_rng(1)
    dates = pd.date_range("2015-01-01", periods=40, freq="QS")
    rows = [
        pd.DataFrame({"unique_id": key, "ds": dates, "y": history(rng, 40), "price": rng.gamma(4, 1, 40)})
        for key in ("a", "b", "c")
    ]
    table = pd.concat(rows).assign(split=lambda t: np.where(t["ds"] < dates[-HORIZON], "train", "test"))
    hole = table["ds"] == dates[-HORIZON]
    table[~hole].to_parquet(tmp_path / "small.parquet")
    about = {"freq": "QS", "season_length": SEASON, "horizon": HORIZON, "covariates": {"known": ["price"]}}
    (tmp_path / "datasets.json").write_text(json.dumps({"small": about, "wine": {"rows": 3}}))
    out = tmp_path / "scores.json"
    arguments = ["score.py", "--data", str(tmp_path), "--preset", "fast", "--sample", "2", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    score.main()
    scores = json.loads(out.read_text())
    assert [row["method"] for row in scores][:2] == ["seasonal naive", "forecastml fast"]
    assert scores[0]["series"] == 2 and scores[0]["sql"] is None
    assert all(0 < scores[1][name] < 3 for name in ("mase", "owa", "sql"))
    assert 0 <= scores[1]["coverage"] <= 1 and scores[1]["seconds"] > 0
    printed = capsys.readouterr().out
    assert "forecastml fast" in printed and f"{scores[1]['mase']:.3f}" in printed


def test_cost_at_scale_is_measured_in_processes_of_its_own(scoring, monkeypatch, capsys):
    import scale

    few, many = scale.sales(7, 50), scale.sales(20, 50)
    np.testing.assert_array_equal(many[:7], few)
    assert (many >= 0).all() and (many[2::3] == 0).any() and (many[::3] > 0).all()
    assert {"naive", "tsb"} <= set(scale.quick_learners()) and "prophet" not in scale.quick_learners()
    job = {"learner": "", "preset": "fast", "allow": "average,naive", "series": 6, "length": 36, "repeats": 1}
    cost = scale.measured(job)
    assert cost.series == 6 and cost.seconds > 0 and cost.megabytes >= cost.data > 10
    options = ["--learners", "naive", "--few", "10", "--series", "40", "--length", "36", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["scale.py", *options, "--limit", "0"])
    with pytest.raises(SystemExit) as done:
        scale.main()
    assert done.value.code == 1
    (row,) = capsys.readouterr().out.splitlines()[1:]
    name, before, after, ratio, most, data, _ = row.split()
    assert name == "naive" and float(most) >= float(data) > 10
    assert float(ratio) == pytest.approx(float(after) / float(before), rel=0.1)
