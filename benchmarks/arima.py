"""Score and time auto_arima beside statsforecast's AutoARIMA on the test rows of public data sets, in one run.

    OMP_NUM_THREADS=1 python benchmarks/arima.py --data ../shared/data --peer-python PATH
    python benchmarks/arima.py --sets m3_monthly --sample 20 --peer-python PATH

Only the learner is timed, with the set's season: fit and forecast of all series. The ratio of seconds holds for this
machine in this minute; a peer's run takes a second a series.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from score import KEYS, Entry, Problem, peers
from scoring import QUANTILES

from forecastml.data.panel import Panel
from forecastml.learners.registry import get_learner
from forecastml.protocols import FitContext


def ours(problem: Problem, engine: str) -> Entry:
    """The learner on bare series."""
    blocks = [y.to_numpy(float) for _, y in problem.train.groupby("unique_id")["y"]]
    tests = [y for _, y in problem.test.groupby("unique_id")["y"]]
    season, horizon = problem.about["season_length"], problem.about["horizon"]
    context = FitContext(horizon=horizon, seasons=(season,) if season > 1 else ())
    began = time.perf_counter()
    fitted = get_learner("auto_arima").fit(Panel.of(blocks), {"engine": engine}, context)
    values = fitted.predict(Panel.of(blocks), horizon, ("mean", *QUANTILES)).values
    seconds = time.perf_counter() - began
    values = values.reshape(len(blocks), horizon, -1)
    rows = np.concatenate([values[i, : len(test)] for i, test in enumerate(tests)])
    forecast = problem.test[KEYS].assign(**dict(zip(("mean", *QUANTILES), rows.T, strict=True)))
    return Entry(f"auto_arima ({engine})", forecast, seconds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with datasets.json")
    parser.add_argument("--sets", default="m3_monthly,australian_tourism", help="names, comma-separated")
    parser.add_argument("--sample", type=int, default=200, help="so many series of sets that have more than 400")
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment with statsforecast")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    print(f"{'set':21s}{'series':>7s}  {'method':28s}{'MASE':>8s}{'cov80':>8s}{'seconds':>9s}")
    for name in chosen.sets.split(","):
        whole = Problem.load(chosen.data, name, None)
        small = chosen.sample < 200 or whole.test["unique_id"].nunique() > 400
        problem = Problem.load(chosen.data, name, chosen.sample) if small else whole
        entries = [ours(problem, "own")]
        if chosen.peer_python is not None:
            entries += peers(problem, chosen.peer_python, ["AutoARIMA"])
        scores = [entry.scores(problem) for entry in entries]
        for entry, found in zip(entries, scores, strict=True):
            series = problem.test["unique_id"].nunique()
            numbers = f"{found.mase:8.4f}{found.coverage:8.3f}{entry.seconds:9.2f}"
            print(f"{name:21s}{series:7d}  {entry.method:28s}{numbers}", flush=True)
        if len(entries) > 1:
            mase, pace = scores[0].mase / scores[1].mase, entries[1].seconds / entries[0].seconds
            print(f"{name:21s}{'':7s}  MASE {mase:.4f} of the peer's, {pace:.1f} times as fast", flush=True)


if __name__ == "__main__":
    main()
