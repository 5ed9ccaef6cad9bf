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
    """One data set: its entry in datasets.json, its series in the order of the file, its train and test rows."""

    name: str
    about: dict
    order: tuple[str, ...]
    train: pd.DataFrame
    test: pd.DataFrame

    @classmethod
    def load(cls, folder: Path, name: str, sample: int | None) -> Problem:
        about = json.loads((folder / "datasets.json").read_text(encoding="utf-8"))[name]
        rows = pd.read_parquet(folder / f"{name}.parquet")
        # Drawn in the order of the file, as the tables of peers are.
        order = tuple(rows["unique_id"].drop_duplicates())
        rows = rows.sort_values(KEYS, ignore_index=True)
        is_train = rows.pop("split") == "train"
        whole = cls(name, about, order, rows[is_train].reset_index(drop=True), rows[~is_train].reset_index(drop=True))
        return whole.drawn(sample)

    def drawn(self, sample: int | None) -> Problem:
        """So many series of it, the same draw as that of `load`."""
        if sample is None or sample >= len(self.order):
            return self
        kept = set(pd.Series(self.order).sample(sample, random_state=0))
        parts = [rows[rows["unique_id"].isin(kept)].reset_index(drop=True) for rows in (self.train, self.test)]
        return replace(self, order=tuple(key for key in self.order if key in kept), train=parts[0], test=parts[1])

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
    """A method's forecasts, with columns unique_id, ds, mean and, unless it has none, the quantiles; problem: what it
    is judged on, where that is a part of the whole, and its seconds those for the part scaled up."""

    method: str
    forecast: pd.DataFrame
    seconds: float
    problem: Problem | None = None

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


def sampled_peers(problem: Problem, chosen: argparse.Namespace) -> Iterator[Entry]:
    """`peers` on a part of the series, seconds scaled up to all of them."""
    part = problem.drawn(chosen.peer_sample)
    count, whole = part.train["unique_id"].nunique(), problem.train["unique_id"].nunique()
    for entry in peers(part, chosen.peer_python, chosen.peer_models):
        name = entry.method if part is problem else f"{entry.method} ({count} series, scaled up)"
        yield replace(entry, method=name, seconds=entry.seconds * whole / count, problem=part)


def ratios(rows: list[dict]) -> Iterator[str]:
    """The product's seconds over those of all peers once, per set and preset."""
    for name in dict.fromkeys(row["set"] for row in rows):
        here = [row for row in rows if row["set"] == name]
        peer = sum(row["seconds"] for row in here if row["method"].startswith("statsforecast"))
        for row in here:
            if peer > 0 and row["method"].startswith("forecastml"):
                yield f"{name}: {row['method']} takes {row['seconds'] / peer:.3f} of the seconds of the peers together"


def methods(problem: Problem, chosen: argparse.Namespace) -> Iterator[Entry]:
    """All methods that were asked for, each as soon as it is done."""
    yield baseline(problem)
    for preset in chosen.preset:
        yield from product(problem, preset, chosen.seconds, chosen.workers)
    if chosen.peer_python is not None:
        yield from sampled_peers(problem, chosen)


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
    parser.add_argument("--peer-sample", type=int, help="peers fit this many series; their seconds are scaled up")
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
            numbers = {**asdict(entry.scores(entry.problem or problem)), "seconds": entry.seconds}
            numbers = {key: None if np.isnan(number) else number for key, number in numbers.items()}
            rows.append({"set": name, "series": series, "method": entry.method, **numbers})
            cells = "".join(f"{'-' if number is None else f'{number:.3f}':>8s}" for number in numbers.values())
            print(f"{name:21s}{series:7d}  {entry.method[:55]:56s}{cells}", flush=True)
    print(*ratios(rows), sep="\n")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    main()
