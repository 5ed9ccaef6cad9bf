"""Score a preset on the test rows of public data sets, beside the seasonal naive and, where given, statsforecast.

    python benchmarks/score.py --data ../shared/data --sets m3_monthly,m4_weekly --preset balanced
    python benchmarks/score.py --sets m3_monthly --sample 100 --peer-python PATH --peer-models AutoETS,CES

A data folder holds datasets.json and one Parquet file per set with columns unique_id, ds, y, split (train | test) and
covariates. Only train rows are fitted; test rows give known covariates and the scores. The product is told neither
frequency nor season; the MASE scale and the peers get the set's season.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scoring import QUANTILES, Scores, Series, score, seasonal_naive

import forecastml as fm

KEYS = ["unique_id", "ds"]
HEADINGS = ("MASE", "sMAPE", "OWA", "SQL", "cov80", "seconds")
PEERS = "AutoARIMA,AutoETS,CES,DynamicOptimizedTheta"


@dataclass(frozen=True, eq=False)
class Problem:
    """One data set: its entry in datasets.json, its train and test rows, both by series and time."""

    name: str
    about: dict
    train: pd.DataFrame
    test: pd.DataFrame

    @classmethod
    def load(cls, folder: Path, name: str, sample: int | None) -> Problem:
        about = json.loads((folder / "datasets.json").read_text(encoding="utf-8"))[name]
        rows = pd.read_parquet(folder / f"{name}.parquet").sort_values(KEYS, ignore_index=True)
        if sample is not None and sample < rows["unique_id"].nunique():
            drawn = pd.read_parquet(folder / f"{name}.parquet", columns=["unique_id"])["unique_id"].drop_duplicates()
            rows = rows[rows["unique_id"].isin(drawn.sample(sample, random_state=0))]
        is_train = rows.pop("split") == "train"
        return cls(name, about, rows[is_train].reset_index(drop=True), rows[~is_train].reset_index(drop=True))

    def covariates(self, kind: str) -> tuple[str, ...]:
        return tuple(self.about["covariates"].get(kind, ()))

    def future(self) -> pd.DataFrame | None:
        """Known covariates of every period from a series' last train row on; NaN where the set has no row."""
        known = list(self.covariates("known"))
        if not known:
            return None
        ends = self.train.groupby("unique_id")["ds"].max()
        lasts = self.test.groupby("unique_id")["ds"].max()
        grids = {key: pd.date_range(ends[key], last, freq=self.about["freq"]) for key, last in lasts.items()}
        periods = max(map(len, grids.values()))
        grid = [
            pd.DataFrame(
                {"unique_id": key, "ds": pd.date_range(ends[key], periods=periods, freq=self.about["freq"])[1:]}
            )
            for key in grids
        ]
        return pd.concat(grid).merge(self.test[[*KEYS, *known]], on=KEYS, how="left")

    def series(self) -> list[Series]:
        train = dict(iter(self.train.groupby("unique_id")["y"]))
        return [
            Series(train[key].to_numpy(float), y.to_numpy(float), self.about["season_length"])
            for key, y in self.test.groupby("unique_id")["y"]
        ]


@dataclass(frozen=True, eq=False)
class Entry:
    """A method's forecasts, with columns unique_id, ds, mean and, unless it has none, the quantiles."""

    method: str
    forecast: pd.DataFrame
    seconds: float

    def scores(self, problem: Problem) -> Scores:
        joined = problem.test[KEYS].merge(self.forecast.astype({"unique_id": str}), on=KEYS, how="left")
        outputs = [name for name in ("mean", *QUANTILES) if name in joined]
        missing = joined[joined[outputs].isna().any(axis=1)]
        if len(missing):
            first = missing.iloc[0]
            raise SystemExit(
                f"{problem.name}: {self.method} has no forecast for {len(missing)} of {len(joined)} test rows, "
                f"the first is {first['unique_id']} at {first['ds']}"
            )
        blocks = [block for _, block in joined.groupby("unique_id")]
        quantiles = [b[list(QUANTILES)].to_numpy(float) for b in blocks] if "0.1" in joined else None
        return score(problem.series(), [b["mean"].to_numpy(float) for b in blocks], quantiles)


def product(problem: Problem, preset: str, seconds: float | None, workers: int) -> Iterator[Entry]:
    """The package under test: read, search, fit and forecast, all inside the clock; then its best single member."""
    task = fm.Forecasting(
        horizon=problem.about["horizon"],
        series="unique_id",
        known=problem.covariates("known"),
        static=problem.covariates("static"),
    )
    began = time.perf_counter()
    model = fm.fit(problem.train, task, fm.Config.preset(preset, seconds=seconds, workers=workers))
    future = problem.future()
    forecast = model.forecast(future)
    yield Entry(f"forecastml {preset}", forecast, time.perf_counter() - began)
    members = [member.candidate.name for member in model.members]
    best = next((name for name in model.leaderboard()["learner"] if name in members), None)
    if best is not None:
        alone = np.tile(np.eye(len(members))[members.index(best)], (len(model.weights), 1))
        forecast = replace(model, weights=alone).forecast(future, quantiles=())
        yield Entry(f"- its best out of fold: {best}", forecast, float("nan"))


def baseline(problem: Problem) -> Entry:
    """The seasonal naive with the set's season."""
    began = time.perf_counter()
    means = [seasonal_naive(s.train, s.season_length, len(s.actual)) for s in problem.series()]
    return Entry("seasonal naive", problem.test[KEYS].assign(mean=np.concatenate(means)), time.perf_counter() - began)


def peers(problem: Problem, python: Path, models: list[str]) -> Iterator[Entry]:
    """statsforecast's models and, of two or more, their median; fitted one after the other by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "train": f"{folder}/train.parquet",
            "out": f"{folder}/forecasts.parquet",
            "models": models,
            **{key: problem.about[key] for key in ("freq", "season_length", "horizon")},
        }
        problem.train[[*KEYS, "y"]].to_parquet(job["train"])
        Path(folder, "job.json").write_text(json.dumps(job), encoding="utf-8")
        worker = Path(__file__).with_name("peer_statsforecast.py")
        done = subprocess.run([python, worker, f"{folder}/job.json"], stdout=subprocess.PIPE, text=True, check=True)
        seconds = json.loads(done.stdout.splitlines()[-1])
        forecasts = pd.read_parquet(job["out"])
    for name in models:
        yield Entry(f"statsforecast {name}", forecasts[forecasts["model"] == name], seconds[name])
    if len(models) > 1:
        median = forecasts.groupby(KEYS, as_index=False)[["mean", *QUANTILES]].median()
        yield Entry(f"median of {len(models)}", median, sum(seconds.values()))


def methods(problem: Problem, chosen: argparse.Namespace) -> Iterator[Entry]:
    """All methods that were asked for, each as soon as it is done."""
    yield baseline(problem)
    for preset in chosen.preset:
        yield from product(problem, preset, chosen.seconds, chosen.workers)
    if chosen.peer_python is not None:
        yield from peers(problem, chosen.peer_python, chosen.peer_models)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def listed(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with datasets.json")
    parser.add_argument("--sets", type=listed, help="names, comma-separated [all forecasting sets]")
    parser.add_argument("--preset", type=listed, default=["balanced"], help="one or more, comma-separated")
    parser.add_argument("--sample", type=int, help="this many series of each set")
    parser.add_argument("--seconds", type=float, help="time limit of each fit")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment with statsforecast")
    parser.add_argument("--peer-models", type=listed, default=PEERS.split(","), help=f"default {PEERS}")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    about = json.loads((chosen.data / "datasets.json").read_text(encoding="utf-8"))
    names = chosen.sets or [name for name, entry in about.items() if "horizon" in entry]
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    print(
        f"{os.cpu_count()} cores, OMP_NUM_THREADS {threads}, Python {sys.version.split()[0]}, pandas {pd.__version__}"
    )
    print(f"{'set':21s}{'series':>7s}  {'method':56s}" + "".join(f"{h:>8s}" for h in HEADINGS))
    rows = []
    for name in names:
        problem = Problem.load(chosen.data, name, chosen.sample)
        series = problem.test["unique_id"].nunique()
        for entry in methods(problem, chosen):
            numbers = {**asdict(entry.scores(problem)), "seconds": entry.seconds}
            numbers = {key: None if np.isnan(number) else number for key, number in numbers.items()}
            rows.append({"set": name, "series": series, "method": entry.method, **numbers})
            cells = "".join(f"{'-' if number is None else f'{number:.3f}':>8s}" for number in numbers.values())
            print(f"{name:21s}{series:7d}  {entry.method[:55]:56s}{cells}", flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    main()
