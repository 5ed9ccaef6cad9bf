"""Write golden models with their forecasts: run once for every released format, never again for an old one.

python -m tests.golden.make 2
"""

from __future__ import annotations

import sys
from pathlib import Path

from sklearn.datasets import load_wine

import forecastml as fm
from tests.tables import daily_with_price

#: Learners whose states differ in kind, each the only member of a model.
LEARNERS = ("seasonal_naive", "exponential_smoothing", "ridge", "light_gbm", "prophet", "auto_arima", "arimax")


def main(number: str) -> None:
    """Save small models of series, one per learner, and one of rows, with what they forecast."""
    here = Path(__file__).parent
    if list(here.glob(f"model_{number}_*")):
        raise SystemExit(f"golden models of format {number} exist; they are never rewritten")
    history, future = daily_with_price(series=2, days=90, future=7)
    history, future = (table.rename(columns={"store": "unique_id"}) for table in (history, future))
    task = fm.Forecasting(horizon=7, series="unique_id", known="price")
    for learner in LEARNERS:
        folder = here / f"model_{number}_{learner}"
        model = fm.fit(history, task, fm.Config.preset("balanced", allow=learner))
        model.save(folder / "model")
        future.to_csv(folder / "future.csv", index=False)
        model.forecast(future).to_csv(folder / "forecast.csv", index=False, float_format="%.17g")
    rows = load_wine(as_frame=True).frame.iloc[::4]
    folder = here / f"rows_{number}"
    model = fm.fit(rows, fm.Classification(target="target"), "balanced")
    model.save(folder / "model")
    rows.to_csv(folder / "rows.csv", index=False)
    model.predict(rows).to_csv(folder / "prediction.csv", index=False, float_format="%.17g")


if __name__ == "__main__":
    main(sys.argv[1])
