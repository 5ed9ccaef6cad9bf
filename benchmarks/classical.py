"""Compare vectorised classical learners with the models of statsforecast they correspond to: seconds and scores.

    OMP_NUM_THREADS=1 python benchmarks/classical.py --peer-python PATH --families theta --sets m3_monthly

Both forecast the test rows of a set with the set's season on one thread, one right after the other; the speed is the
median ratio of `--runs` such pairs, so that a busy machine slows both alike. Forecasts are scored as in score.py. A
learner is timed from panel to forecasts (fit, mean and nine quantiles), a peer from frame to forecasts.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from score import Entry, Problem, peers
from scoring import QUANTILES

from forecastml.data.panel import Panel
from forecastml.learners.registry import get_learner
from forecastml.protocols import FitContext

#: family -> learner -> the peer's model; a family is added by a line.
FAMILIES = {
    "theta": {
        "theta": "Theta",
        "optimized_theta": "OptimizedTheta",
        "dynamic_optimized_theta": "DynamicOptimizedTheta",
    },
    "ces": {"ces": "CES"},
}


def own(problem: Problem, name: str) -> Entry:
    """The learner's forecasts of all series and the seconds of fit and prediction."""
    series = {key: y.to_numpy(float) for key, y in problem.train.groupby("unique_id")["y"]}
    season, horizon = problem.about["season_length"], problem.about["horizon"]
    panel, outputs = Panel.of(list(series.values())), ("mean", *QUANTILES)
    context = FitContext(horizon=horizon, outputs=outputs, seasons=(season,) if season > 1 else ())
    began = time.perf_counter()
    values = get_learner(name).fit(panel, {}, context).predict(panel, horizon, outputs).values
    seconds = time.perf_counter() - began
    blocks = values.reshape(len(series), horizon, -1)
    rows = [
        dates.to_frame().assign(unique_id=key, **dict(zip(outputs, blocks[at, : len(dates)].T, strict=True)))
        for at, (key, dates) in enumerate(problem.test.groupby("unique_id")["ds"])
    ]
    return Entry(name, pd.concat(rows), seconds)


def compared(problem: Problem, name: str, model: str, chosen: argparse.Namespace) -> tuple[Entry, Entry, float]:
    """The last pair of entries, and the median over the runs of the peer's seconds / the learner's."""
    own(problem, name)
    ratios = []
    for _ in range(chosen.runs):
        ours = own(problem, name)
        theirs = next(peers(problem, chosen.peer_python, [model]))
        ratios.append(theirs.seconds / ours.seconds)
    return ours, theirs, median(ratios)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def listed(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with datasets.json")
    parser.add_argument("--sets", type=listed, default=["m3_monthly", "australian_tourism"], help="comma-separated")
    parser.add_argument("--families", type=listed, default=list(FAMILIES), help=f"of {', '.join(FAMILIES)} [all]")
    parser.add_argument("--sample", type=int, help="this many series of each set")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-python", type=Path, required=True, help="interpreter with statsforecast")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.families) - FAMILIES.keys())
    if unknown:
        parser.error(f"family {unknown[0]!r} is unknown; there are {', '.join(FAMILIES)}")
    return chosen


def main() -> None:
    chosen = arguments()
    print(
        f"{'set':20s}{'series':>7s}  {'learner':26s}{'ms each':>9s}{'times':>8s}{'MASE':>9s}{'peer':>9s}{'ratio':>8s}"
    )
    rows = []
    for name in chosen.sets:
        problem = Problem.load(chosen.data, name, chosen.sample)
        series = problem.test["unique_id"].nunique()
        for learner, model in [pair for family in chosen.families for pair in FAMILIES[family].items()]:
            ours, theirs, faster = compared(problem, learner, model, chosen)
            scores = [entry.scores(problem) for entry in (ours, theirs)]
            mase, peer = (s.mase for s in scores)
            each = 1000.0 * ours.seconds / series
            cells = f"{each:9.2f}{faster:8.1f}{mase:9.4f}{peer:9.4f}{mase / peer:8.4f}"
            print(f"{name:20s}{series:7d}  {learner:26s}{cells}", flush=True)
            row = {"set": name, "series": series, "learner": learner, "peer": model, "milliseconds": each}
            rows.append(
                {**row, "faster": faster, "scores": np.array([list(vars(s).values()) for s in scores]).tolist()}
            )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
