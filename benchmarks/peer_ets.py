"""Worker: AutoETS of statsforecast with what it found, run by the interpreter of an environment that has statsforecast.

Reads a job (JSON: train, out, season_length, horizon), writes one JSON line per series to `out`: unique_id, form (like
"MAdN"), alpha, beta, gamma, phi, start (level, trend where there is one, seasons with that of the first step first),
its own aicc, its forecasts; and prints the processor seconds of fitting and forecasting. One process, one thread.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from statsforecast.models import AutoETS, SeasonalNaive


def found(model: dict) -> dict:
    """What a fitted model holds in the words of this module's docstring."""
    error, trend, season, damped = model["components"]
    form = error + trend + ("d" if damped == "D" else "") + season
    numbers = [None if np.isnan(x) else float(x) for x in model["par"]]
    width = 1 + (trend != "N")
    # The library keeps the season of the next step last.
    start = numbers[4 : 4 + width] + numbers[4 + width :][::-1]
    return {"form": form, **dict(zip(("alpha", "beta", "gamma", "phi"), numbers, strict=False)), "start": start}


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    train = pd.read_parquet(job["train"])
    series = {key: part.to_numpy(float) for key, part in train.groupby("unique_id", sort=True)["y"]}
    # The first call of a process compiles or reads what was compiled.
    AutoETS(season_length=job["season_length"]).fit(next(iter(series.values()))[-60:])
    seconds, lines = 0.0, []
    for key, y in series.items():
        began = time.process_time()
        try:
            model = AutoETS(season_length=job["season_length"]).fit(y)
            fitted, mean = model.model_, model.predict(job["horizon"])["mean"]
        except Exception:  # too short for any of its forms
            fitted, mean = None, SeasonalNaive(job["season_length"]).fit(y).predict(job["horizon"])["mean"]
        seconds += time.process_time() - began
        line = {"unique_id": str(key), "mean": [float(x) for x in mean]}
        lines.append(line | ({} if fitted is None else {"aicc": float(fitted["aicc"]), **found(fitted)}))
    Path(job["out"]).write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
