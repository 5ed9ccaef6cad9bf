"""Small tables for tests: made from a seed, in the shape a user would bring."""

from __future__ import annotations

import numpy as np
import pandas as pd


def monthly(series: int = 6, seed: int = 0, lengths=(60, 61, 72, 80), horizon_rows: int = 0) -> pd.DataFrame:
    """Monthly series with trend and season, lengths by turns, all ending together: unique_id, ds, y."""
    rng = np.random.default_rng(seed)
    end = pd.Timestamp("2020-12-01")
    parts = []
    for i in range(series):
        n = lengths[i % len(lengths)] + horizon_rows
        t = np.arange(n)
        y = 100 * (1 + i) + t + 10 * (1 + i) * np.sin(2 * np.pi * t / 12) + rng.normal(scale=3 * (1 + i), size=n)
        ds = pd.date_range(end=end, periods=n, freq="MS")
        parts.append(pd.DataFrame({"unique_id": f"{i:03d}", "ds": ds, "y": np.round(y, 3)}))
    return pd.concat(parts, ignore_index=True)


def daily_with_price(series: int = 3, days: int = 150, future: int = 14, seed: int = 0):
    """Daily sales that fall with the price, and the future rows with prices alone: (history, future)."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(series):
        ds = pd.date_range("2024-01-01", periods=days + future, freq="D")
        price = rng.choice([1.0, 2.0], size=len(ds))
        y = 50 + 10 * (ds.day_of_week >= 5) - 15 * price + rng.normal(scale=2, size=len(ds))
        parts.append(pd.DataFrame({"store": f"s{i}", "ds": ds, "y": y, "price": price}))
    table = pd.concat(parts, ignore_index=True)
    cut = table.groupby("store").cumcount() >= days
    return table[~cut].reset_index(drop=True), table.loc[cut, ["store", "ds", "price"]].reset_index(drop=True)
