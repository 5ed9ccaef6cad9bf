"""Rolling origins over train rows beside the better of two seasonal naives, for data of one or few series.

    python benchmarks/rolling.py --data ../shared/data --set nyc_energy --origins 20
    python benchmarks/rolling.py --set victoria_electricity --origins 8 --timezone "UTC>Australia/Melbourne"

One fit on the train rows before the first origin; then its origin moves a horizon at a time, and nothing is learned any
more. With `--refit` everything is done anew at every origin. The seasonal naives repeat the last season of each length.
MASE scales by the set's season, in the rows before the first origin.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scoring import seasonal_naive

import forecastml as fm


def listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with datasets.json")
    parser.add_argument("--set", required=True, help="name in datasets.json")
    parser.add_argument("--origins", type=int, default=8)
    parser.add_argument("--seasons", type=listed, default=["24", "168"], help="of the seasonal naives")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--timezone")
    parser.add_argument("--refit", action="store_true", help="fit at every origin")
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    about = json.loads((chosen.data / "datasets.json").read_text(encoding="utf-8"))[chosen.set]
    table = pd.read_parquet(chosen.data / f"{chosen.set}.parquet")
    table = table[table["split"] == "train"].drop(columns="split").sort_values("ds")
    horizon, reach = about["horizon"], chosen.origins * about["horizon"]
    before, after = table.iloc[:-reach], table.iloc[-reach:]
    known = about["covariates"].get("known", ())
    task = fm.Forecasting(horizon, series="unique_id", known=known, timezone=chosen.timezone)
    config = fm.Config.preset(chosen.preset, workers=chosen.workers)
    began = time.perf_counter()
    if chosen.refit:
        rolled = fm.backtest(table, task, config, chosen.origins).forecasts
        seconds = (time.perf_counter() - began) / chosen.origins
    else:
        model = fm.fit(before, task, config)
        seconds = time.perf_counter() - began
        rolled = model.roll(after, step=horizon)
    y, season = table["y"].to_numpy(), about["season_length"]
    scale = np.nanmean(np.abs(y[season:-reach] - y[: -reach - season]))
    ours = [part["mean"].sub(part["y"]).abs().mean() / scale for _, part in rolled.groupby("cutoff")]
    naive = {m: naive_errors(y, int(m), chosen.origins, horizon) / scale for m in chosen.seasons}
    best = min(naive, key=lambda m: np.nanmean(naive[m]))
    print(f"{chosen.set}, {len(ours)} origins a horizon of {horizon} apart, {seconds:.0f} s a fit")
    print("  ".join(f"seasonal naive {m}: MASE {np.nanmean(errors):.3f}" for m, errors in naive.items()))
    ratio = np.mean(ours) / np.nanmean(naive[best])
    print(f"{chosen.preset}: MASE {np.mean(ours):.3f} (by origin {np.round(ours, 2).tolist()}), ratio {ratio:.3f}")


def naive_errors(y: np.ndarray, season: int, origins: int, horizon: int) -> np.ndarray:
    """Mean absolute error from each of the last origins."""
    found = []
    for k in range(origins, 0, -1):
        cutoff = len(y) - k * horizon
        ahead = seasonal_naive(y[:cutoff], season, horizon)
        found.append(np.nanmean(np.abs(y[cutoff : cutoff + horizon] - ahead)))
    return np.array(found)


if __name__ == "__main__":
    main()
