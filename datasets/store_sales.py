"""Daily sales of a small chain of shops, drawn from a written recipe: the embedded data of the README."""

from __future__ import annotations

import numpy as np
import pandas as pd

FIRST_DAY = np.datetime64("2023-01-01")  # a Sunday

#: Monday to Sunday, relative to the mean day.
WEEKDAY = np.array([0.85, 0.80, 0.85, 0.95, 1.25, 1.50, 0.80])


def store_sales(stores: int = 5, items: int = 8, days: int = 730, seed: int = 0) -> pd.DataFrame:
    """Sales per store, item and day: columns store ("001"), item ("item_01"), date, sales, price, promotion.

    Units sold are Poisson with a gamma rate (variance = mean + spread x mean^2, spread 0.01 to 0.04) around

        popularity of the item x size of the store x weekday x time of the year x yearly growth
        x (price / regular price) ** elasticity x (1.3 on promotion)

    Every fourth item sells only now and then, a few units a month. A promotion lasts a week, the next one starts five
    to nine weeks later, and cuts the price by 15 to 30 %. With four stores or more, the last one opens after 60 % of
    the days and the one before it closes after 90 %. Every series draws from a random stream of its own, made from
    (seed, store, item).

    >>> store_sales(stores=1, items=1, days=2).columns.tolist()
    ['store', 'item', 'date', 'sales', 'price', 'promotion']
    """
    blocks = []
    for store in range(stores):
        first, last = _open_days(store, stores, days)
        for item in range(items):
            plan = _plan(store, item, days, seed)
            sales = _units_sold(plan, store, item, seed)
            blocks.append(_rows(store, item, slice(first, last), {"sales": sales, **_visible(plan)}))
    return pd.concat(blocks, ignore_index=True)


def store_sales_future(
    horizon: int = 28, stores: int = 5, items: int = 8, days: int = 730, seed: int = 0
) -> pd.DataFrame:
    """Price and promotion of the `horizon` days after each series of `store_sales`: what a shop knows in advance."""
    blocks = []
    for store in range(stores):
        last = _open_days(store, stores, days)[1]
        for item in range(items):
            plan = _plan(store, item, last + horizon, seed)
            blocks.append(_rows(store, item, slice(last, last + horizon), _visible(plan)))
    return pd.concat(blocks, ignore_index=True)


def _open_days(store: int, stores: int, days: int) -> tuple[int, int]:
    """The first day on which this store trades and the day after its last one, counted from `FIRST_DAY`."""
    if stores >= 4 and store == stores - 1:
        return int(0.6 * days), days
    if stores >= 4 and store == stores - 2:
        return 0, int(0.9 * days)
    return 0, days


def _plan(store: int, item: int, days: int, seed: int) -> dict[str, np.ndarray]:
    """Price, regular price and promotion flag per day; a longer plan begins with the shorter one."""
    regular = np.random.default_rng([seed, 1, item]).uniform(1.0, 12.0)
    regular = np.round(regular * 1.03 ** (np.arange(days) // 365), 2)
    rng = np.random.default_rng([seed, 2, store, item])
    cut, start = np.zeros(days), int(rng.integers(0, 7 * 7))
    while start < days:
        cut[start : start + 7] = rng.uniform(0.15, 0.30)
        start += int(7 * rng.integers(5, 10))
    return {
        "price": np.round(regular * (1 - cut), 2),
        "regular": regular,
        "promotion": (cut > 0).astype(np.int64),
    }


def _visible(plan: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: plan[name] for name in ("price", "promotion")}


def _units_sold(plan: dict[str, np.ndarray], store: int, item: int, seed: int) -> np.ndarray:
    """Units sold per day of the plan: int64 (days,)."""
    of_store, of_item = np.random.default_rng([seed, 3, store]), np.random.default_rng([seed, 4, item])
    size, friday_rush = of_store.uniform(0.6, 1.6), of_store.uniform(0.7, 1.3)
    popularity = of_item.uniform(0.1, 0.3) if item % 4 == 3 else of_item.uniform(8.0, 40.0)
    swing, peak, growth = of_item.uniform(0.05, 0.35), of_item.uniform(0, 365), of_item.uniform(-0.10, 0.15)
    elasticity, spread = of_item.uniform(-2.5, -1.0), of_item.uniform(0.01, 0.04)
    day = np.arange(len(plan["price"]))
    rate = popularity * size * WEEKDAY[(day + 6) % 7] ** friday_rush
    rate = rate * (1 + swing * np.cos(2 * np.pi * (day - peak) / 365.25)) * (1 + growth) ** (day / 365.25)
    rate = rate * (plan["price"] / plan["regular"]) ** elasticity * np.where(plan["promotion"] == 1, 1.3, 1.0)
    noise = np.random.default_rng([seed, 5, store, item])
    return noise.poisson(rate * noise.gamma(1 / spread, spread, len(day)))


def _rows(store: int, item: int, days: slice, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    date = (FIRST_DAY + np.arange(days.start, days.stop)).astype("datetime64[us]")
    shown = {name: values[days] for name, values in columns.items()}
    return pd.DataFrame({"store": f"{store + 1:03d}", "item": f"item_{item + 1:02d}", "date": date, **shown})
