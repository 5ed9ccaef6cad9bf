"""Worker: mlforecast's features, built by the interpreter of an environment that has mlforecast.

Reads a job (JSON: series, length, runs, lags, windows by aggregate) and prints a JSON line with the median seconds of
some runs and the most memory in MB. What is compiled is compiled before.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from mlforecast import MLForecast, lag_transforms

WINDOW = {"mean": "RollingMean", "std": "RollingStd", "min": "RollingMin", "max": "RollingMax"}


def frame(series: int, length: int) -> pd.DataFrame:
    values = np.random.default_rng(0).normal(10, 3, (series, length)).ravel()
    keys, times = np.repeat(np.arange(series), length), np.tile(np.arange(length), series)
    return pd.DataFrame({"unique_id": keys, "ds": times, "y": values})


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    transforms = [
        getattr(lag_transforms, WINDOW[name])(size, min_samples=2 if name == "std" else 1)
        for name, sizes in job["windows"].items()
        for size in sizes
    ]
    builder = MLForecast(models=[], freq=1, lags=job["lags"], lag_transforms={1: transforms}, num_threads=1)

    def build(table: pd.DataFrame) -> None:
        builder.preprocess(table, dropna=False, return_X_y=True, as_numpy=True)

    build(frame(10, job["length"]))
    table, seconds = frame(job["series"], job["length"]), []
    for _ in range(job["runs"]):
        began = time.perf_counter()
        build(table)
        seconds.append(time.perf_counter() - began)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": statistics.median(seconds), "memory": most}))


if __name__ == "__main__":
    main()
