"""The whole way on embedded data, in under two minutes: train, leaderboard, forecast, plot, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecastml.automl import fit
from forecastml.config import Config
from forecastml.data.frames import write_table
from forecastml.datasets import store_sales, store_sales_future
from forecastml.errors import ConfigError
from forecastml.extras import require
from forecastml.plot import plot_forecast
from forecastml.storage import is_model
from forecastml.task import Forecasting

if TYPE_CHECKING:
    import pandas as pd

    from forecastml.model import FittedModel

HORIZON = 28
#: They would take most of the time and, with so many other series to learn from, get no weight.
BLOCK = ("prophet", "auto_arima", "arimax")


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo made.

    model: the trained model; forecast: as `model.forecast` gives it; files: what was written, by name (data, future,
    forecast, plot, model); next_steps: commands for a shell, one or more lines each, the first ones on the demo's
    own files.
    """

    model: FittedModel
    forecast: pd.DataFrame
    files: Mapping[str, Path]
    next_steps: str


def demo(folder: str | Path, listener: Callable[[Mapping[str, Any]], None] | None = None) -> DemoResult:
    """Train on two years of daily sales of 40 series and write data, future, forecast, plot and model to `folder`.

    listener: called with one dict per event, as in `fit`. Files of these names are replaced, others in the folder are
    left alone. Before anything is done: raises `MissingExtra` without matplotlib, `ConfigError` when something else
    stands where the folder or the model is to go.
    """
    require("matplotlib", "plot")
    folder = Path(folder)
    files = _files(folder)
    _check_place(folder, files["model"])
    task = Forecasting(
        horizon=HORIZON,
        target="sales",
        time="date",
        series=("store", "item"),
        known=("price", "promotion", "holiday"),
        static=("region", "size"),
        mask="stock_out",
    )
    history, future = store_sales(), store_sales_future(HORIZON)
    model = fit(history, task, Config.preset("balanced", block=BLOCK), listener=listener)
    forecast = model.forecast(future=future)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in {"data": history, "future": future, "forecast": forecast}.items():
        write_table(table, files[name])
    plot_forecast(history, forecast, task.schema).savefig(files["plot"])
    model.save(files["model"])
    return DemoResult(model, forecast, files, _next_steps(files, task))


def _check_place(folder: Path, model: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder")
    if model.exists() and not is_model(model):
        raise ConfigError(f"{model} exists and is not a saved model; name another folder or remove it yourself")


def _files(folder: Path) -> dict[str, Path]:
    return {
        "data": folder / "data.csv",
        "future": folder / "future.csv",
        "forecast": folder / "forecast.csv",
        "plot": folder / "plot.png",
        "model": folder / "model",
    }


def _next_steps(files: Mapping[str, Path], task: Forecasting) -> str:
    """Commands that do the same again on the demo's files, and the shortest one for a table of one's own."""
    shell = {name: shlex.quote(str(path)) for name, path in files.items()}
    again = shlex.quote(str(files["model"].with_name("model_2")))
    roles = f"--target {task.target} --time {task.time} --series {','.join(task.series)}"
    covariates = f"--known {','.join(task.known)} --static {','.join(task.static)} --mask {task.mask}"
    return "\n".join(
        [
            "# the same by hand",
            f"forecastml train {shell['data']} {roles} \\",
            f"    --horizon {task.horizon} {covariates} --block {','.join(BLOCK)} --out {again}",
            f"forecastml forecast {again} --future {shell['future']} --out {shell['forecast']}",
            "# your own table: one row per series and time, CSV or Parquet",
            "forecastml train my.csv --target y --time ds --series id --horizon 14 --out my_model",
            "forecastml forecast my_model --out my_forecast.csv",
        ]
    )
