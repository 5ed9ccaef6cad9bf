"""A table of shops with difficult names, and stores of their models, made in this process without workers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import forecastml as fm
from forecastml.task import grouped
from many_models.job import run_batch
from many_models.preparation import prepared
from many_models.protocols import Batch
from many_models.settings import Request, Settings, code_in_use
from many_models.store import Store

#: A text with a comma, one that a spreadsheet would run, one with leading zeros; "bad" has every row twice.
NAMES = ("001", "a,b", "=1+1", "-x", "überall", "7")
HORIZON, LEVELS = 6, (0.1, 0.5, 0.9)
END = pd.Timestamp("2024-12-01")


def table(names: Iterable[str] = NAMES, bad: Iterable[str] = ("bad",), months: int = 48, seed: int = 0) -> pd.DataFrame:
    """Monthly sales of two items of each shop, with a price: shop, item, month, sales, price."""
    rng = np.random.default_rng(seed)
    parts = []
    for i, name in enumerate([*names, *bad]):
        for item in ("1", "02"):
            t = np.arange(months)
            sales = 50 * (i + 1) + t + 10 * np.sin(2 * np.pi * t / 12) + rng.normal(scale=2, size=months)
            month = pd.date_range(end=END, periods=months, freq="MS")
            price = rng.choice([1.0, 2.0], size=months)
            part = pd.DataFrame(
                {"shop": name, "item": item, "month": month, "sales": sales - 5 * price, "price": price}
            )
            parts += [part] * (2 if name in bad else 1)
    return pd.concat(parts, ignore_index=True)


def ahead(frame: pd.DataFrame, months: int = HORIZON) -> pd.DataFrame:
    """Prices of the months after the end, for the series of a table."""
    keys = frame[["shop", "item"]].drop_duplicates()
    month = pd.DataFrame({"month": pd.date_range(END, periods=months + 1, freq="MS")[1:]})
    return keys.merge(month, how="cross").assign(price=1.0)


def task(**options: Any) -> fm.Forecasting:
    return fm.Forecasting(
        horizon=HORIZON, target="sales", time="month", series=("shop", "item"), quantiles=LEVELS, **options
    )


def request(what: fm.Forecasting, allow: tuple[str, ...], settings: Settings | None = None) -> Request:
    config = fm.Config.preset("fast", allow=allow, workers=1, threads=1)
    settings = settings or Settings(batch_groups=2)
    return Request(None, ("shop",), grouped(what, ("shop",)), config, settings, code_in_use())


def add_run(
    store: Store,
    rows: Any,
    what: fm.Forecasting | None = None,
    allow: tuple[str, ...] = ("naive", "drift", "seasonal_naive"),
    most: int | None = None,
    backwards: bool = False,
) -> int:
    """A run over these rows; most: batches that are done, None for all and the end of the run; backwards: in the
    other order. Returns its number."""
    asked = request(what or task(), allow)
    run = store.runs.begin("run", asked.fingerprint, asked.to_json(), allowed=0.5)
    job = prepared(store, run, asked, rows)
    store.plan.add(run, job.layout.batches())
    pending: list[Batch] = list(store.plan.pending(run))
    for batch in (pending[::-1] if backwards else pending)[:most]:
        store.versions.commit(run, run_batch(job, batch))
    if most is None:
        store.runs.end(run, "done")
    return run


def made(root: Path, rows: Any, **options: Any) -> Path:
    """A store with one run."""
    with Store.create(root) as store:
        add_run(store, rows, **options)
    return root
