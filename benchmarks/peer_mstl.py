"""Worker: statsforecast's MSTL, run by the interpreter of an environment that has statsforecast.

Reads a job (JSON: train, lists of values with null for a gap; seasons; horizon; model of the trend) and prints a JSON
line with mean (series, horizon) and seconds, without those of loading. Gaps are filled on a straight line, because it
takes none.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from statsforecast import models


def trend_model(name: str) -> object:
    return models.AutoETS(model="ZZN") if name == "AutoETS" else getattr(models, name)(season_length=1)


def forecast(values: np.ndarray, job: dict) -> np.ndarray:
    known = np.flatnonzero(~np.isnan(values))
    values = np.interp(np.arange(len(values)), known, values[known])
    seasons = [m for m in job["seasons"] if 2 * m < len(values)]
    model = models.MSTL(season_length=seasons, trend_forecaster=trend_model(job["model"]))
    return model.forecast(y=values, h=job["horizon"])["mean"]


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    train = [np.array(values, dtype=float) for values in job["train"]]
    # Compiles what is compiled when first used.
    forecast(train[0], job)
    began = time.perf_counter()
    means = [forecast(values, job).tolist() for values in train]
    print(json.dumps({"seconds": time.perf_counter() - began, "mean": means}))


if __name__ == "__main__":
    main()
