"""auto_ets beside statsforecast's AutoETS: seconds, MASE of the test rows, and who found the better likelihood.

    python benchmarks/ets.py --peer-python PATH --sets m3_monthly,australian_tourism,m4_weekly --sample 300 --repeats 3

Peer and product run one after the other, `--repeats` times, one thread each; seconds are processor time of fitting and
forecasting, their ratio is that of one repeat, and the median of the ratios is shown. "within 2": share of series on
which our AICc is at most 2 above theirs, their parameters and start values evaluated by our likelihood.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from score import Problem
from scoring import score

from forecastml.data.panel import Panel
from forecastml.kernels import smoothing
from forecastml.learners.exponential_smoothing import degrees
from forecastml.learners.registry import get_learner
from forecastml.protocols import FitContext, Fitted

OWN = ("auto_ets", "exponential_smoothing")


def peer_results(problem: Problem, python: Path) -> tuple[list[dict], float]:
    """What AutoETS found for each series, by name, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        job = {"train": f"{folder}/train.parquet", "out": f"{folder}/found.jsonl"}
        job |= {key: problem.about[key] for key in ("season_length", "horizon")}
        problem.train[["unique_id", "y"]].to_parquet(job["train"])
        Path(folder, "job.json").write_text(json.dumps(job), encoding="utf-8")
        worker = Path(__file__).with_name("peer_ets.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [python, worker, f"{folder}/job.json"], stdout=subprocess.PIPE, text=True, check=True, env=environment
        )
        lines = Path(job["out"]).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], json.loads(done.stdout.splitlines()[-1])


def timed(call: Callable[[], Fitted]) -> tuple[Fitted, float]:
    began = time.process_time()
    fitted = call()
    return fitted, time.process_time() - began


def own(panel: Panel, name: str, about: dict) -> tuple[Fitted, np.ndarray, float]:
    """Fitted, forecasts (series, horizon) with quantiles 0.1 and 0.9 on top, seconds."""
    season, horizon = about["season_length"], about["horizon"]
    context = FitContext(horizon=horizon, seasons=(season,) if season > 1 else ())
    fitted, seconds = timed(lambda: get_learner(name).fit(panel, {}, context))
    values, more = timed(lambda: fitted.predict(panel, horizon, ("mean", "0.1", "0.9")).values)
    return fitted, values[:, 0].reshape(len(panel), horizon), seconds + more


def refit_share(panel: Panel, name: str, about: dict, full: float) -> float:
    """Seconds of a refit from a cutoff one horizon earlier, by those of a fit."""
    season, horizon = about["season_length"], about["horizon"]
    context = FitContext(horizon=horizon, seasons=(season,) if season > 1 else ())
    learner = get_learner(name)
    earlier = learner.fit(panel.before(np.maximum(panel.lengths - horizon, 1)), {}, context)
    return timed(lambda: learner.refit(earlier, panel, context))[1] / full


def their_criterion(found: dict, values: np.ndarray, season_length: int) -> float:
    """The AICc of the peer's parameters and start values by our likelihood."""
    form = found["form"]
    parameters = np.array([found[name] if found[name] is not None else 0.0 for name in ("alpha", "beta", "gamma")])
    parameters = np.append(parameters, 1.0 if found["phi"] is None else found["phi"])
    start = found["start"] if smoothing.has_trend(form) else [found["start"][0], 0.0, *found["start"][1:]]
    state = np.array(start, dtype=float)[:, None, None]
    squares = smoothing.roll(form, values[:, None], np.array([len(values)]), parameters[:, None, None], state)[0, 0]
    n, k = len(values), degrees(form, season_length)
    return n * np.log(squares / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def differences(fitted: Fitted, found: list[dict], series: list[np.ndarray], season_length: int) -> np.ndarray:
    """Our AICc minus theirs, where they have a form and no value was left out by us."""
    memory = fitted.memory
    scaled = memory["criterion"] + 2.0 * np.array([len(y) for y in series]) * np.log(memory["scale"])
    rows = [
        scaled[i] - their_criterion(their, series[i], season_length)
        for i, their in enumerate(found)
        if "form" in their and memory["rows"][i] == len(series[i])
    ]
    return np.array(rows)


def compare(problem: Problem, found: list[dict], seconds: list[float], runs: dict[str, list]) -> None:
    """Print the comparison of one set."""
    about, truth = problem.about, problem.series()
    season = about["season_length"]
    theirs = score(truth, [np.array(line["mean"])[: len(s.actual)] for line, s in zip(found, truth, strict=True)], None)
    print(f"{problem.name}: {len(truth)} series")
    print(
        f"  {'AutoETS':24s}MASE {theirs.mase:.4f}  sMAPE {theirs.smape:.3f}  seconds {statistics.median(seconds):.1f}"
    )
    panel = Panel.of([s.train for s in truth])
    for name, results in runs.items():
        mean = results[0][1]
        ours = score(truth, [m[: len(s.actual)] for m, s in zip(mean, truth, strict=True)], None)
        taken = statistics.median(result[2] for result in results)
        ratio = statistics.median(their / result[2] for their, result in zip(seconds, results, strict=True))
        again = refit_share(panel, name, about, results[-1][2])
        print(
            f"  {name:24s}MASE {ours.mase:.4f} ({100 * (ours.mase / theirs.mase - 1):+.2f} %)  sMAPE {ours.smape:.3f}"
            f"  seconds {taken:.2f}, {ratio:.1f} times faster; refit {again:.2f} of a fit",
            flush=True,
        )
    behind = differences(runs["auto_ets"][0][0], found, [s.train for s in truth], season)
    print(
        f"  AICc, auto_ets minus AutoETS: within 2 {np.mean(behind <= 2):.3f}, within 0.1 "
        f"{np.mean(behind <= 0.1):.3f}, median {np.median(behind):.3f}, worst {behind.max():.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with datasets.json")
    parser.add_argument("--sets", default="m3_monthly,australian_tourism,m4_weekly", help="names, comma-separated")
    parser.add_argument("--sample", type=int, help="this many series of each set")
    parser.add_argument("--season", type=int, help="season length in place of the set's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-python", type=Path, required=True, help="interpreter with statsforecast")
    chosen = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("set OMP_NUM_THREADS=1: both sides run on one thread")
    for name in chosen.sets.split(","):
        problem = Problem.load(chosen.data, name, chosen.sample)
        if chosen.season is not None:
            problem = replace(problem, about={**problem.about, "season_length": chosen.season})
        panel = Panel.of([s.train for s in problem.series()])
        seconds, runs = [], {learner: [] for learner in OWN}
        for _ in range(chosen.repeats):
            found, taken = peer_results(problem, chosen.peer_python)
            seconds.append(taken)
            for learner in OWN:
                runs[learner].append(own(panel, learner, problem.about))
        compare(problem, found, seconds, runs)


if __name__ == "__main__":
    main()
