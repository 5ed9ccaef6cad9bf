"""Write golden models with their forecasts, those that are not there yet: one that was released is never rewritten.

python -m tests.golden.make 2
"""

from __future__ import annotations

import sys
from pathlib import Path

from sklearn.datasets import load_wine

import forecastml as fm
from tests.tables import daily_with_price

#: Folder -> the only learner of the model: learners whose states differ in kind. The first two ARIMA models are of a
#: time when there was no other engine than pmdarima.
LEARNERS = {
    "seasonal_naive": "seasonal_naive",
    "exponential_smoothing": "exponential_smoothing",
    "ridge": "ridge",
    "light_gbm": "light_gbm",
    "prophet": "prophet",
    "auto_arima": "auto_arima(engine=pmdarima)",
    "arimax": "arimax(engine=pmdarima)",
    "auto_arima_own": "auto_arima",
    "arimax_own": "arimax",
    "exponential_smoothing_15_forms": "exponential_smoothing",
    "auto_ets": "auto_ets",
    "dynamic_optimized_theta": "dynamic_optimized_theta",
    "ces": "ces",
    "mstl": "mstl",
    "imapa": "imapa",
    "seasonal_window_average": "seasonal_window_average",
    "median": "median(of=[exponential_smoothing, theta, ces])",
}


def main(number: str) -> None:
    """Save small models of series, one per learner, and one of rows, with what they forecast."""
    here = Path(__file__).parent
    history, future = daily_with_price(series=2, days=90, future=7)
    history, future = (table.rename(columns={"store": "unique_id"}) for table in (history, future))
    task = fm.Forecasting(horizon=7, series="unique_id", known="price")
    for name, learner in LEARNERS.items():
        folder = here / f"model_{number}_{name}"
        if not folder.exists():
            model = fm.fit(history, task, fm.Config.preset("balanced", allow=learner))
            model.save(folder / "model")
            future.to_csv(folder / "future.csv", index=False)
            model.forecast(future).to_csv(folder / "forecast.csv", index=False, float_format="%.17g")
    folder = here / f"rows_{number}"
    if not folder.exists():
        rows = load_wine(as_frame=True).frame.iloc[::4]
        model = fm.fit(rows, fm.Classification(target="target"), "balanced")
        model.save(folder / "model")
        rows.to_csv(folder / "rows.csv", index=False)
        model.predict(rows).to_csv(folder / "prediction.csv", index=False, float_format="%.17g")


if __name__ == "__main__":
    main(sys.argv[1])
