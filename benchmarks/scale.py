"""Cost per series of many series against that of few, and the most memory they need.

    python benchmarks/scale.py                                  # every learner that declares no seconds per series
    python benchmarks/scale.py --learners sba,tsb --series 100000
    python benchmarks/scale.py --preset fast --allow seasonal_naive,window_average --learners ""

A learner is fitted, forecasts the horizon and is fitted again at the next cutoff; a preset reads a table, fits and
forecasts. Every measurement has a process of its own, which says how long it took and how much memory it had at most.
Few series are measured before and after many, each time `--repeats` times, and the fastest counts; sales are drawn from
a written recipe. Ends with 1 when the ratio of the costs per series is above the limit for any of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEASON, HORIZON = 12, 12


@dataclass(frozen=True)
class Cost:
    """What a measurement says of itself. seconds: of the fastest repeat; megabytes: at most, of the whole process;
    data: what it had before the work began."""

    series: int
    seconds: float
    megabytes: float
    data: float

    @property
    def per_series(self) -> float:
        """Milliseconds per series."""
        return 1000.0 * self.seconds / self.series


def sales(series: int, length: int, seed: int = 0) -> np.ndarray:
    """Monthly sales (series, length): a level, a trend and a season of its own each; every third sells now and then.

    A series draws from a stream of its own, so that few series are the first ones of many.
    """
    values, month = np.empty((series, length)), np.arange(length)
    for i in range(series):
        random = np.random.default_rng((seed, i))
        level, trend, swing, phase, chance = np.exp(random.normal(3.0, 1.0)), *random.random(4)
        season = 1.0 + 0.4 * swing * np.sin(2.0 * np.pi * (month / SEASON + phase))
        demand = level * season * (1.0 + 0.01 * (trend - 0.3) * month) * np.exp(0.2 * random.normal(size=length))
        values[i] = np.where(random.random(length) < 0.05 + 0.4 * chance, demand, 0.0).round() if i % 3 == 2 else demand
    return values


def learner_run(name: str, values: np.ndarray) -> Callable[[], None]:
    """A fit, a forecast and a refit one horizon later, for learners that can."""
    from forecastml.data.panel import Panel
    from forecastml.learners.registry import get_learner
    from forecastml.protocols import FitContext, Refittable

    learner, panel = get_learner(name), Panel.of(values)
    early = panel.before(panel.lengths - HORIZON)
    context = FitContext(horizon=HORIZON, seasons=(SEASON,))

    def run() -> None:
        fitted = learner.fit(early, {}, context)
        fitted.predict(early, HORIZON, ("mean",))
        if isinstance(learner, Refittable):
            learner.refit(fitted, panel, context)

    return run


def preset_run(preset: str, allow: str, values: np.ndarray) -> Callable[[], None]:
    """A fit and a forecast of a table."""
    import pandas as pd

    import forecastml as fm

    n, length = values.shape
    table = pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{i:06d}" for i in range(n)], length),
            "ds": np.tile(pd.date_range("2000-01-01", periods=length, freq="MS"), n),
            "y": values.ravel(),
        }
    )
    task = fm.Forecasting(horizon=HORIZON, series="unique_id")
    config = fm.Config.preset(preset, **({"allow": allow.split(",")} if allow else {}))
    return lambda: fm.fit(table, task, config).forecast()


def measured(job: dict) -> Cost:
    """The cost of a job, in this process."""
    values = sales(job["series"], job["length"])
    run = preset_run(job["preset"], job["allow"], values) if job["preset"] else learner_run(job["learner"], values)
    data, seconds = peak(), []
    for _ in range(job["repeats"]):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return Cost(job["series"], min(seconds), peak(), data)


def peak() -> float:
    """The most memory that this process had so far, in megabytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def in_a_process(job: dict) -> Cost:
    """The cost of a job, measured by a process of its own."""
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1]), **os.environ}
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def compared(job: dict, few: int, many: int, repeats: int) -> tuple[Cost, Cost]:
    """Costs of few and of many series; few are measured on both sides of many, for other programs may be running."""
    around = [in_a_process({**job, "series": few, "repeats": repeats})]
    large = in_a_process({**job, "series": many, "repeats": 1})
    around.append(in_a_process({**job, "series": few, "repeats": repeats}))
    return min(around, key=lambda cost: cost.seconds), large


def quick_learners() -> list[str]:
    """Names of the learners of series that declare no seconds per series."""
    from forecastml.learners.registry import get_learner, learner_names

    known = {name: get_learner(name).capabilities for name in learner_names()}
    return [n for n, c in known.items() if "forecasting" in c.tasks and c.scope == "series" and not c.item_cost]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", help="names, comma-separated [those without seconds per series]")
    parser.add_argument("--preset", default="", help="also measure `fit` with this preset")
    parser.add_argument("--allow", default="", help="learners of the preset, comma-separated [its own]")
    parser.add_argument("--few", type=int, default=1000, help="series [1000]")
    parser.add_argument("--series", type=int, default=30_000, help="many series [30000]")
    parser.add_argument("--length", type=int, default=120, help="values per series [120]")
    parser.add_argument("--repeats", type=int, default=3, help="of the measurements of few series [3]")
    parser.add_argument("--limit", type=float, default=1.15, help="of the ratio of costs per series [1.15]")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    if chosen.job:
        print(json.dumps(vars(measured(chosen.job))))
        return
    names = quick_learners() if chosen.learners is None else [name for name in chosen.learners.split(",") if name]
    jobs = {name: {"learner": name, "preset": "", "allow": ""} for name in names}
    if chosen.preset:
        jobs[f"fit, preset {chosen.preset}"] = {"learner": "", "preset": chosen.preset, "allow": chosen.allow}
    heads = (f"ms/series at {chosen.few}", f"at {chosen.series}", "ratio", "peak MB", "data MB", "KB/series")
    print(f"{'':26s}" + "".join(f"{head:>20s}" for head in heads))
    above = False
    for name, job in jobs.items():
        few, many = compared({**job, "length": chosen.length}, chosen.few, chosen.series, chosen.repeats)
        ratio = many.per_series / few.per_series
        above |= ratio > chosen.limit
        own = 1024.0 * (many.megabytes - many.data) / many.series
        numbers = (few.per_series, many.per_series, ratio, many.megabytes, many.data, own)
        print(f"{name:26s}" + "".join(f"{number:20.3f}" for number in numbers), flush=True)
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()
