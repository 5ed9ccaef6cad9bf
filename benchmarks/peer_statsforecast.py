"""Worker: forecasts of statsforecast models, run by the interpreter of an environment that has statsforecast.

Reads a job (JSON: train, out, freq, season_length, horizon, models), writes one Parquet file with columns model,
unique_id, ds, mean, "0.1" .. "0.9", and prints a JSON line with the seconds per model. One process, one job at a time.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
from statsforecast import StatsForecast, models

#: Two-sided level -> the quantiles at its ends.
ENDS = {20: ("0.4", "0.6"), 40: ("0.3", "0.7"), 60: ("0.2", "0.8"), 80: ("0.1", "0.9")}

#: Where the class is called other than the method.
CLASSES = {"CES": "AutoCES"}


def forecast(train: pd.DataFrame, job: dict, name: str) -> pd.DataFrame:
    """Forecasts of one model for all series; a series it cannot fit gets the seasonal naive."""
    season = job["season_length"]
    model = getattr(models, CLASSES.get(name, name))(season_length=season, alias=name)
    engine = StatsForecast([model], freq=job["freq"], n_jobs=1, fallback_model=models.SeasonalNaive(season))
    wide = engine.forecast(df=train, h=job["horizon"], level=sorted(ENDS)).reset_index(drop=True)
    columns = {name: "mean"}
    for level, (low, high) in ENDS.items():
        columns |= {f"{name}-lo-{level}": low, f"{name}-hi-{level}": high}
    renamed = wide[["unique_id", "ds", *columns]].rename(columns=columns)
    return renamed.assign(model=name, **{"0.5": renamed["mean"]})


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    train = pd.read_parquet(job["train"])
    seconds, parts = {}, []
    for name in job["models"]:
        began = time.perf_counter()
        parts.append(forecast(train, job, name))
        seconds[name] = time.perf_counter() - began
    pd.concat(parts, ignore_index=True).to_parquet(job["out"])
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
