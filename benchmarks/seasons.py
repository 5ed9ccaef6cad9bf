"""Several seasons: this package's `mstl` on the test rows, beside the seasonal naive and statsforecast's MSTL.

    python benchmarks/seasons.py --data ../shared/data --sets m4_hourly --peer-python PATH --peer-series 40
    python benchmarks/seasons.py --sets nyc_energy --seasons 24,168,8766 --folds 4

Only train rows are fitted. With --folds, origins are rolled inside the train rows instead, and the test rows are not
looked at: that is what choices are made by. The peer takes about a second per hourly series; --peer-series lets it
have the first so many, and the package's score on these is shown too. Run with OMP_NUM_THREADS=1 to compare seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scoring import QUANTILES, Series, score, seasonal_naive

from forecastml.data.calendar import parse_frequency
from forecastml.data.panel import Panel
from forecastml.learners.registry import get_learner
from forecastml.protocols import FitContext

#: Data set -> season lengths in steps.
SEASONS = {
    "m4_hourly": (24, 168),
    "victoria_electricity": (48, 336),
    "nyc_energy": (24, 168),
    "bike_share": (7, 365),
    "m3_monthly": (12,),
    "alcohol_sales": (12,),
    "australian_tourism": (4,),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Series of a data set with the values that follow them."""

    name: str
    about: dict
    seasons: tuple[int, ...]
    series: list[Series]

    @classmethod
    def load(cls, folder: Path, name: str, seasons: tuple[int, ...], fold: int) -> Problem:
        """fold: 0 for the test rows, k for the k-th horizon before the end of the train rows."""
        about = json.loads((folder / "datasets.json").read_text(encoding="utf-8"))[name]
        rows = pd.read_parquet(folder / f"{name}.parquet").sort_values(["unique_id", "ds"])
        horizon, found = about["horizon"], []
        for _, part in rows.groupby("unique_id"):
            train = part.loc[part["split"] == "train", "y"].to_numpy(float)
            actual = part.loc[part["split"] == "test", "y"].to_numpy(float)
            if fold:
                end = len(train) - fold * horizon
                train, actual = train[:end], train[end : end + horizon]
            found.append(Series(train, actual, about["season_length"]))
        return cls(name, about, seasons, found)


def product(problem: Problem, learner: str, params: dict) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Means (series, horizon), quantiles (series, horizon, 9) and seconds of a learner of this package."""
    panel = Panel.of([s.train for s in problem.series], parse_frequency(problem.about["freq"]))
    context = FitContext(horizon=problem.about["horizon"], seasons=problem.seasons)
    outputs = ("mean", *QUANTILES)
    began = time.perf_counter()
    fitted = get_learner(learner).fit(panel, params, context)
    values = fitted.predict(panel, context.horizon, outputs).values.reshape(len(panel), -1, len(outputs))
    seconds = time.perf_counter() - began
    quantiles = None if np.isnan(values[:, :, 1:]).any() else values[:, :, 1:]
    return values[:, :, 0], quantiles, seconds


def peer(problem: Problem, python: Path, model: str) -> tuple[np.ndarray, float]:
    """The same of statsforecast's MSTL with this model of the trend, fitted by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "train": [np.where(np.isnan(s.train), None, s.train).tolist() for s in problem.series],
            "seasons": problem.seasons,
            "horizon": problem.about["horizon"],
            "model": model,
        }
        Path(folder, "job.json").write_text(json.dumps(job), encoding="utf-8")
        worker = Path(__file__).with_name("peer_mstl.py")
        done = subprocess.run([python, worker, f"{folder}/job.json"], stdout=subprocess.PIPE, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    return np.array(answer["mean"]), answer["seconds"]


def rows(problem: Problem, chosen: argparse.Namespace) -> Iterator[tuple[str, int, dict]]:
    """Method, number of series and scores of each method asked for."""

    def scored(series: list[Series], mean: np.ndarray, quantiles: np.ndarray | None, seconds: float) -> dict:
        found = score(series, list(mean), None if quantiles is None else list(quantiles))
        each = 1000 * seconds / len(series)
        return {"MASE": found.mase, "sMAPE": found.smape, "SQL": found.sql, "cov80": found.coverage, "ms/series": each}

    series = problem.series
    naive = np.stack([seasonal_naive(s.train, s.season_length, len(s.actual)) for s in series])
    yield "seasonal naive", len(series), scored(series, naive, None, float("nan"))
    for model in chosen.models:
        mean, quantiles, seconds = product(problem, "mstl", {"model": model, **chosen.params})
        yield f"mstl, {model}", len(series), scored(series, mean, quantiles, seconds)
        if chosen.peer_python is not None and chosen.peer_series < len(series):
            few = slice(chosen.peer_series)
            share = scored(series[few], mean[few], None if quantiles is None else quantiles[few], float("nan"))
            yield f"- the first {chosen.peer_series} of them", chosen.peer_series, share
    if chosen.peer_python is not None:
        part = Problem(problem.name, problem.about, problem.seasons, series[: chosen.peer_series])
        for model in chosen.peer_models:
            mean, seconds = peer(part, chosen.peer_python, model)
            yield f"statsforecast MSTL, {model}", len(part.series), scored(part.series, mean, None, seconds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def listed(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with datasets.json")
    parser.add_argument("--sets", type=listed, default=list(SEASONS), help=f"default {','.join(SEASONS)}")
    parser.add_argument("--seasons", type=lambda text: tuple(map(int, text.split(","))), help="not the set's own")
    parser.add_argument("--folds", type=int, default=0, help="roll so many origins inside the train rows")
    parser.add_argument("--models", type=listed, default=["dynamic_optimized_theta"], help="of the adjusted values")
    parser.add_argument("--params", type=json.loads, default={}, help="other parameters of mstl, JSON")
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment with statsforecast")
    parser.add_argument("--peer-models", type=listed, default=["AutoETS", "DynamicOptimizedTheta"])
    parser.add_argument("--peer-series", type=int, default=sys.maxsize, help="the first so many series")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}")
    headings = ("MASE", "sMAPE", "SQL", "cov80", "ms/series")
    print(f"{'set':21s}{'series':>7s}  {'method':44s}" + "".join(f"{h:>10s}" for h in headings))
    for name in chosen.sets:
        for fold in range(chosen.folds, 0, -1) if chosen.folds else (0,):
            problem = Problem.load(chosen.data, name, chosen.seasons or SEASONS[name], fold)
            for method, series, numbers in rows(problem, chosen):
                cells = "".join(f"{'-' if np.isnan(n) else f'{n:.3f}':>10s}" for n in numbers.values())
                print(f"{name:21s}{series:7d}  {method:44s}{cells}", flush=True)


if __name__ == "__main__":
    main()
