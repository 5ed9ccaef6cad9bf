"""Write a golden model with its forecasts: run once for every released format, never again for an old one.

python -m tests.golden.make model_1
"""

from __future__ import annotations

import sys
from pathlib import Path

import forecastml as fm
from tests.tables import daily_with_price


def main(name: str) -> None:
    """Save a small model that holds every learner of the presets, and what it forecasts."""
    folder = Path(__file__).parent / name
    if folder.exists():
        raise SystemExit(f"{folder} exists; a golden model is never rewritten")
    history, future = daily_with_price(series=2, days=90, future=7)
    history, future = (table.rename(columns={"store": "unique_id"}) for table in (history, future))
    task = fm.Forecasting(horizon=7, series="unique_id", known="price")
    model = fm.fit(history, task, "balanced")
    model.save(folder / "model")
    future.to_csv(folder / "future.csv", index=False)
    model.forecast(future).to_csv(folder / "forecast.csv", index=False, float_format="%.17g")


if __name__ == "__main__":
    main(sys.argv[1])
