"""Features: seconds to build the table of many series and to step a forecast over them, beside mlforecast.

    OMP_NUM_THREADS=1 python benchmarks/features.py --peer-python PATH
    OMP_NUM_THREADS=1 python benchmarks/features.py --series 3000

Ten lags and six windows (means, deviations, smallest and largest values) of generated series of one length; one thread
each, the median of three runs. "Features" are these columns alone; the whole table also holds the target in the scale
of its series, and is ordered by content.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from forecastml.data.panel import Panel
from forecastml.features.history_features import Lags, Windows
from forecastml.features.matrix import Told, fill_from_history
from forecastml.features.panel import FeatureSet
from forecastml.features.points import Points
from forecastml.features.target import TargetTransform
from forecastml.learners.reduced import ReducedModel, training_table

#: Lags, and sizes of the windows of each aggregate.
LAGS = tuple(range(1, 11))
WINDOWS = {"mean": (7, 28), "std": (7, 28), "min": (14,), "max": (14,)}
HORIZON = 18


class FirstLag:
    """A model that costs nothing, so that a forecast's seconds are those of its features."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0].astype(np.float64)


def columns(model: ReducedModel, panel: Panel) -> np.ndarray:
    """The features of every row, as the target has them."""
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    points = Points(series, np.arange(panel.size) - panel.begin[series], np.ones(panel.size, np.int64))
    x = np.empty((panel.size, len(model.features.names)), dtype=np.float32)
    fill_from_history(x, model.features, panel, points, Told(np.zeros(panel.size), np.ones(panel.size)))
    return x


def median_seconds(run: Callable[[], object], runs: int) -> float:
    """Of some runs, one after the other."""
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def peer(python: Path, job: dict) -> dict:
    """The same by mlforecast, in a process of an environment that has it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.json")
        path.write_text(json.dumps(job), encoding="utf-8")
        worker = Path(__file__).with_name("peer_mlforecast.py")
        done = subprocess.run([python, worker, path], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=30_000)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-python", type=Path, help="of an environment that has mlforecast")
    chosen = parser.parse_args()
    job = {"series": chosen.series, "length": chosen.length, "runs": chosen.runs, "lags": LAGS, "windows": WINDOWS}
    panel = Panel.of(np.random.default_rng(0).normal(10, 3, (chosen.series, chosen.length)))
    windows = (Windows((7, 28), ("mean", "std")), Windows((14,), ("min", "max")))
    model = ReducedModel(FeatureSet((Lags(LAGS), *windows)), TargetTransform("scale", 7), None)
    features = median_seconds(lambda: columns(model, panel), chosen.runs)
    table = median_seconds(lambda: training_table(panel, model, panel.size), chosen.runs)
    ahead = median_seconds(lambda: replace(model, table=FirstLag()).predict(panel, HORIZON), chosen.runs)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{chosen.series} series x {chosen.length} values, {len(model.features.names)} features")
    print(
        f"features {features:.2f} s, table {table:.2f} s, forecast of {HORIZON} steps {ahead:.2f} s, "
        f"memory {most:.0f} MB"
    )
    if chosen.peer_python is not None:
        theirs = peer(chosen.peer_python, job)
        print(f"mlforecast: features {theirs['seconds']:.2f} s, memory {theirs['memory']:.0f} MB")
        print(f"ratio of seconds: features {features / theirs['seconds']:.2f}, table {table / theirs['seconds']:.2f}")


if __name__ == "__main__":
    main()
