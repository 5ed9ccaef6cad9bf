"""Tables out of the packages that carry them: pmdarima, statsmodels and scikit-learn, imported when asked for."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def pmdarima_series(name: str, start: str, freq: str) -> pd.DataFrame:
    """A series that pmdarima holds as bare numbers, on the dates that its source gives."""
    values = np.asarray(getattr(_carrier("pmdarima.datasets"), f"load_{name}")(), dtype=np.float64)
    while np.isnan(values[-1]):  # a period that had not ended yet when the source was written
        values = values[:-1]
    return _series(pd.date_range(start, periods=len(values), freq=freq), values)


def pmdarima_stock(name: str) -> pd.DataFrame:
    """Daily closing prices on trading days, with the volume traded."""
    table = getattr(_carrier("pmdarima.datasets"), f"load_{name}")()
    frame = _series(pd.to_datetime(table["Date"]), table["Close"].to_numpy(np.float64))
    return frame.assign(volume=table["Volume"].to_numpy(np.int64))


def statsmodels_indexed(name: str, column: str) -> pd.DataFrame:
    """A series that statsmodels holds with dates as its index."""
    table = _statsmodels(name)
    return _series(pd.to_datetime(table.index), table[column].to_numpy(np.float64))


def statsmodels_yearly(name: str, year: str, column: str) -> pd.DataFrame:
    """A series of one value per year, on the first of January."""
    table = _statsmodels(name)
    return _series(_dates(table[year], 1), table[column].to_numpy(np.float64))


def statsmodels_months(name: str, year: str) -> pd.DataFrame:
    """A series that is a table of one row per year with twelve columns of months."""
    table = _statsmodels(name)
    values = table.drop(columns=year).to_numpy(np.float64)
    years, months = np.repeat(table[year].to_numpy(), 12), np.tile(np.arange(1, 13), len(table))
    return _series(_dates(years, months), values.ravel())


def statsmodels_quarters(name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Several quarterly series side by side, made long: `series` holds the name of the column."""
    table = _statsmodels(name)
    dates = _dates(table["year"], 3 * table["quarter"].to_numpy() - 2)
    blocks = [_series(dates, table[column].to_numpy(np.float64)) for column in columns]
    keys = np.repeat(np.array(columns, dtype=object), len(table))
    frame = pd.concat(blocks, ignore_index=True)
    frame.insert(0, "series", pd.Series(keys, dtype="str"))
    return frame


def statsmodels_table(name: str, target: str) -> pd.DataFrame:
    """A table of numbers with one column as `target`, the last one."""
    table = _statsmodels(name)
    return table.drop(columns=target).assign(target=table[target].to_numpy(np.float64))


def scikit_learn_table(name: str, **options: Any) -> pd.DataFrame:
    """A table of features with the column `target`, the last one; classes are text."""
    bunch = getattr(_carrier("sklearn.datasets"), f"load_{name}")(as_frame=True, **options)
    frame = bunch.frame.rename(columns=lambda column: column.removesuffix(" (cm)").replace(" ", "_"))
    if "target_names" in bunch:
        classes = np.array([str(label) for label in bunch.target_names], dtype=object)
        frame["target"] = pd.Series(classes[bunch.target.to_numpy()], dtype="str")
    return frame


def _statsmodels(name: str) -> pd.DataFrame:
    return _carrier(f"statsmodels.datasets.{name}").load_pandas().data


def _carrier(name: str) -> Any:
    with warnings.catch_warnings():
        # What a carrier deprecates while it is imported is no news for who loads data.
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def _dates(years: Any, months: Any) -> pd.DatetimeIndex:
    """The first days of these months."""
    months = 12 * (np.asarray(years).astype(np.int64) - 1970) + np.asarray(months).astype(np.int64) - 1
    return pd.DatetimeIndex(months.astype("datetime64[M]").astype("datetime64[us]"))


def _series(dates: Any, values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"ds": np.asarray(dates, dtype="datetime64[us]"), "y": values})
