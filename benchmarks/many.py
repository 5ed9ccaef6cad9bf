"""What a run over groups costs: groups per second, memory of driver and workers, scores, beside one `fit` of them all.

    python benchmarks/many.py sets --data ../shared/data --preset fast   # stores of orange_juice, series of m3_monthly
    python benchmarks/many.py growth --groups 1000,20000                 # cost per group of generated stores
    python benchmarks/many.py workers --groups 5000 --pairs 3            # throughput of two workers against one

Every run is a process of its own. `sets` compares with one `fit` with group scope on the same processors, both judged
on the test rows; `growth` ends with 1 when a group of the largest run costs over 10 % more than one of the smallest,
`workers` when two workers give less than 1.6 times the throughput of one (median of the pairs), or other forecasts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from score import Entry, Problem

import forecastml as fm
import many_models as mm

#: Set -> the columns that tell its groups apart, and its series within a group.
GROUPS = {"orange_juice": (["store"], ["brand"]), "m3_monthly": (["unique_id"], [])}
LIMIT_GROWTH, LIMIT_WORKERS, LIMIT_TIME, LIMIT_SCORE = 1.1, 1.6, 1.3, 1.01
WEEKS, HORIZON = 110, 8


def main() -> None:
    chosen = arguments()
    if chosen.one:
        print(json.dumps(one(json.loads(chosen.one))))
        return
    sys.exit({"sets": sets, "growth": growth, "workers": workers}[chosen.what](chosen))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sets", "growth", "workers"], nargs="?", default="sets")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", default=",".join(GROUPS))
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--allow", default="", help="these learners only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--groups", default="1000,20000")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def alone(**work: object) -> dict:
    """A piece of work in a process of its own; what it says of itself."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--one", json.dumps(work)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def one(work: dict) -> dict:
    """A run over the groups of a table, or one `fit` of them all. seconds: from the table to the forecasts."""
    table, task, by = table_of(work)
    allow = [name for name in work["allow"].split(",") if name]
    config = fm.Config.preset(work["preset"], allow=allow)
    began = time.perf_counter()
    if work["kind"] == "fit":
        model = fm.fit(table, task, fm.Config.preset(work["preset"], allow=allow, workers=work["workers"]))
        forecast, found = model.forecast(), {}
    else:
        settings = mm.Settings(workers=work["workers"], wait=0)
        with tempfile.TemporaryDirectory() as folder:
            summary = mm.run(table, by, task, config, Path(folder) / "store", settings)
            forecast = mm.forecast(Path(folder) / "store")
        found = {"better": summary.better, "states": dict(summary.counts), "worker": summary.peak >> 20}
        found["training"] = summary.seconds
    seconds = time.perf_counter() - began
    columns = list(forecast.columns)
    forecast = forecast.sort_values(columns[: columns.index("mean")], ignore_index=True)
    if work.get("out"):
        forecast.to_parquet(work["out"])
    digest = hashlib.sha256(pd.util.hash_pandas_object(forecast, index=False).to_numpy().tobytes()).hexdigest()
    driver = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"seconds": seconds, "driver": driver, "forecast": digest, **found}


def table_of(work: dict) -> tuple[pd.DataFrame, fm.Forecasting, list[str]]:
    """The training rows, the task and the partition columns that a piece of work is about."""
    if "set" not in work:
        task = fm.Forecasting(horizon=HORIZON, series=["store"], time="week", target="sales")
        return stores(work["groups"]), task, ["store"]
    by, within = GROUPS[work["set"]]
    problem = Problem.load(Path(work["data"]), work["set"], None)
    task = fm.Forecasting(horizon=problem.about["horizon"], series=[*by, *within], group=by, time="ds", target="y")
    return problem.train, task, by


def stores(count: int) -> pd.DataFrame:
    """Weekly sales of so many stores, each drawn from a stream of its own: few stores are the first ones of many."""
    weeks, values = pd.date_range("2023-01-02", periods=WEEKS, freq="W-MON"), np.empty((count, WEEKS))
    for store in range(count):
        draw = np.random.default_rng((0, store))
        level, trend, swing, phase = np.exp(draw.normal(4.0, 0.7)), *draw.random(3)
        season = 1.0 + 0.3 * swing * np.sin(2.0 * np.pi * (np.arange(WEEKS) / 52.0 + phase))
        growth = 1.0 + 0.003 * (trend - 0.4) * np.arange(WEEKS)
        values[store] = np.round(level * season * growth * np.exp(0.15 * draw.normal(size=WEEKS)), 1)
    names = np.repeat([f"store {k:06d}" for k in range(count)], WEEKS)
    return pd.DataFrame({"store": names, "week": np.tile(weeks, count), "sales": values.ravel()})


def sets(chosen: argparse.Namespace) -> int:
    """Public sets by group, beside one `fit`."""
    failed = 0
    for name in chosen.sets.split(","):
        problem = Problem.load(chosen.data, name, None)
        about = {"set": name, "data": str(chosen.data), "preset": chosen.preset, "allow": chosen.allow}
        about["workers"] = chosen.workers
        with tempfile.TemporaryDirectory() as folder:
            parts = {kind: Path(folder) / f"{kind}.parquet" for kind in ("fit", "run")}
            told = {kind: alone(**about, kind=kind, out=str(out)) for kind, out in parts.items()}
            tables = {kind: pd.read_parquet(out) for kind, out in parts.items()}
        groups = problem.train.groupby(GROUPS[name][0]).ngroups
        print(f"{name}: {groups} groups, preset {chosen.preset}, {chosen.workers} workers")
        judged = covered(problem, list(tables.values()))
        scores = {kind: Entry(kind, with_id(problem, t), 0.0).scores(judged) for kind, t in tables.items()}
        for kind, found in told.items():
            print(
                f"  {kind:4} {found['seconds']:7.1f} s  {groups / found['seconds']:6.1f} groups/s  "
                f"driver {found['driver']} MB, worker {found.get('worker', 0)} MB  "
                f"MASE {scores[kind].mase:.4f} sMAPE {scores[kind].smape:.3f} SQL {scores[kind].sql:.4f} "
                f"coverage {scores[kind].coverage:.3f}"
            )
        print(f"  states {told['run']['states']}, better than the baseline out of fold: {told['run']['better']:.1%}")
        print(f"  better than the seasonal naive on test rows: {share_better(judged, tables['run']):.1%}")
        time_ratio = told["run"]["seconds"] / told["fit"]["seconds"]
        score_ratio = scores["run"].mase / scores["fit"].mase
        print(f"  run / fit: time {time_ratio:.2f} (limit {LIMIT_TIME}), MASE {score_ratio:.4f} (limit {LIMIT_SCORE})")
        failed |= time_ratio > LIMIT_TIME or score_ratio > LIMIT_SCORE
    return int(failed)


def covered(problem: Problem, tables: list[pd.DataFrame]) -> Problem:
    """The set with those test rows that all of the forecasts have: a series that ended early is not forecast so far."""
    test = problem.test
    for table in tables:
        there = with_id(problem, table)[["unique_id", "ds"]].drop_duplicates()
        test = test.merge(there.astype({"unique_id": str}), on=["unique_id", "ds"])
    return replace(problem, test=test)


def with_id(problem: Problem, forecast: pd.DataFrame) -> pd.DataFrame:
    """Forecasts with the column unique_id of the set."""
    if "unique_id" in forecast:
        return forecast
    keys = [name for names in GROUPS[problem.name] for name in names]
    ids = problem.train[["unique_id", *keys]].drop_duplicates().astype(str)
    return forecast.astype(dict.fromkeys(keys, str)).merge(ids, on=keys)


def share_better(problem: Problem, forecast: pd.DataFrame) -> float:
    """Share of the groups whose mean absolute error on test rows is not above that of the seasonal naive."""
    by = GROUPS[problem.name][0]
    task = fm.Forecasting(horizon=problem.about["horizon"], series="unique_id", time="ds", target="y")
    season = problem.about["season_length"]
    only = fm.Config.preset("fast", allow=[f"seasonal_naive(season_length={season})"])
    naive = fm.fit(problem.train, task, only).forecast()[["unique_id", "ds", "mean"]]
    judged = problem.test[list(dict.fromkeys(["unique_id", "ds", "y", *by]))].astype({"unique_id": str})
    for name, table in (("own", with_id(problem, forecast)), ("naive", naive)):
        judged = judged.merge(table[["unique_id", "ds", "mean"]].rename(columns={"mean": name}), on=["unique_id", "ds"])
    errors = {
        name: (judged["y"] - judged[name]).abs().groupby([judged[k] for k in by]).mean() for name in ("own", "naive")
    }
    return float((errors["own"] <= errors["naive"]).mean())


def growth(chosen: argparse.Namespace) -> int:
    """Cost per group of few and of many generated stores."""
    costs = []
    for count in map(int, chosen.groups.split(",")):
        found = alone(kind="run", groups=count, preset=chosen.preset, allow=chosen.allow, workers=chosen.workers)
        costs.append(found["training"] / count)
        print(
            f"{count:7} groups: {found['seconds']:7.1f} s, of which {found['training']:.1f} s training: "
            f"{1000 * costs[-1]:.2f} ms a group, {1 / costs[-1]:.1f} groups/s; driver {found['driver']} MB, "
            f"worker {found['worker']} MB; better than the baseline {found['better']:.1%}"
        )
    ratio = costs[-1] / costs[0]
    print(f"cost per group, largest / smallest: {ratio:.2f} (limit {LIMIT_GROWTH})")
    return int(ratio > LIMIT_GROWTH)


def workers(chosen: argparse.Namespace) -> int:
    """Throughput of two workers against one, by turns."""
    count, ratios, digests = int(chosen.groups.split(",")[0]), [], set()
    for _ in range(chosen.pairs):
        told = [alone(kind="run", groups=count, preset=chosen.preset, allow=chosen.allow, workers=n) for n in (1, 2)]
        digests |= {found["forecast"] for found in told}
        ratios.append(told[0]["training"] / told[1]["training"])
        first, second = (found["training"] for found in told)
        print(f"{count} groups: 1 worker {first:.1f} s, 2 workers {second:.1f} s: {ratios[-1]:.2f}")
    ratio = statistics.median(ratios)
    print(f"median {ratio:.2f} (limit {LIMIT_WORKERS}); forecasts bit-equal: {len(digests) == 1}")
    return int(ratio < LIMIT_WORKERS or len(digests) > 1)


if __name__ == "__main__":
    main()
