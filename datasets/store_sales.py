"""Daily sales of a small chain of shops, drawn from a written recipe: the embedded data of the README."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecastml.errors import ConfigError

FIRST_DAY = np.datetime64("2023-01-01")  # a Sunday

#: Monday to Sunday, relative to the mean day.
WEEKDAY = np.array([0.85, 0.80, 0.85, 0.95, 1.25, 1.50, 0.80])

#: Store 001 is in the first, 002 in the second, and so on in turn.
REGIONS = ("city", "coast", "country")

#: What a holiday does to the sales of an item of mean sensitivity.
HOLIDAYS = {
    "New Year": 0.35,
    "Good Friday": 1.40,
    "Easter Sunday": 0.40,
    "Labour Day": 0.60,
    "Thanksgiving": 1.50,
    "Christmas Eve": 1.80,
    "Christmas Day": 0.25,
}
ORDINARY = "no"


def store_sales(stores: int = 5, items: int = 8, days: int = 730, seed: int = 0) -> pd.DataFrame:
    """Sales per store, item and day: a long table, one row per series (store and item) and day.

    Columns: store ("001"), item ("item_01"), date, sales (units), price, promotion (0, 1), holiday (its name, or
    "no"), stock_out (0, 1: sold out or closed, sales are 0 but demand was not), region, size (of the store in square
    metres). Price, promotion and holiday are known in advance, region and size never change.

    Units sold are Poisson with a gamma rate (variance = mean + spread x mean^2, spread 0.01 to 0.04) around

        popularity of the item x size of the store x weekday x time of the year x yearly growth
        x (price / regular price) ** elasticity x (1.3 on promotion) x holiday ** sensitivity of the item

    On the coast summers are up to 35 % better, in the city weekends are 15 % weaker. Every fourth item sells only now
    and then, a few units a month. A promotion lasts a week, the next one starts five to nine weeks later, and cuts
    the price by 15 to 30 %. An item is sold out for two to six days every two to seven months; a store closes
    unplanned for four to twelve days every one to two years. With four stores or more, the last one opens after 60 %
    of the days and the one before it closes for good after 90 %.

    Every series draws from random streams of its own, made from (seed, store, item): more stores, items or days leave
    the rows that were there as they are, apart from the last two stores' opening and end.

    >>> store_sales(stores=1, items=1, days=2).columns.tolist()[:6]
    ['store', 'item', 'date', 'sales', 'price', 'promotion']
    """
    chain = _Chain(stores, items, days, seed)
    plan, out = _plan(chain), _stock_outs(chain)
    columns = {"sales": np.where(out, 0, _demand(chain, plan)), **_known(plan), "stock_out": out.astype(np.int64)}
    first, last = _open_days(chain, days)
    table = _rows(chain, columns, first, last)
    of_store = np.repeat(np.repeat(np.arange(stores), items), last - first)
    return table.assign(region=np.array(REGIONS, dtype=object)[of_store % len(REGIONS)], size=_sizes(chain)[of_store])


def store_sales_future(
    horizon: int = 28, stores: int = 5, items: int = 8, days: int = 730, seed: int = 0
) -> pd.DataFrame:
    """What a shop knows in advance of the `horizon` days after each series of `store_sales`.

    Columns: store, item, date, price, promotion, holiday.
    """
    chain = _Chain(stores, items, days + horizon, seed)
    last = _open_days(chain, days)[1]
    return _rows(chain, _known(_plan(chain)), last, last + horizon)


@dataclass(frozen=True)
class _Chain:
    """The size of a chain of shops; arrays of it are (series, days), items of the first store first."""

    stores: int
    items: int
    days: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("stores", "items", "days"):
            if getattr(self, name) < 1:
                raise ConfigError(f"store_sales: {name} is {getattr(self, name)}; give a whole number of 1 or more")

    @property
    def series(self) -> list[tuple[int, int]]:
        return [(store, item) for store in range(self.stores) for item in range(self.items)]

    def streams(self, purpose: int, keys: Sequence[tuple[int, ...]]) -> list[np.random.Generator]:
        """A random stream per key, which no other purpose and no other key shares."""
        return [np.random.default_rng([self.seed, purpose, *key]) for key in keys]

    def uniform(self, purpose: int, keys: Sequence[tuple[int, ...]], *shape: int) -> np.ndarray:
        """Uniform numbers in (0, 1]: float64 (keys, *shape)."""
        drawn = [1 - stream.random(shape) for stream in self.streams(purpose, keys)]
        return np.array(drawn).reshape(len(keys), *shape)


def _open_days(chain: _Chain, days: int) -> tuple[np.ndarray, np.ndarray]:
    """The first day on which each series trades and the day after its last one, counted from `FIRST_DAY`."""
    first, last = np.zeros(chain.stores, np.int64), np.full(chain.stores, days)
    if chain.stores >= 4:
        first[-1], last[-2] = int(0.6 * days), int(0.9 * days)
    return np.repeat(first, chain.items), np.repeat(last, chain.items)


def _plan(chain: _Chain) -> dict[str, np.ndarray]:
    """Regular price, price, promotion (series, days) and holiday (days,), from nothing but what is decided early."""
    items = [(item,) for item in range(chain.items)]
    year = np.arange(chain.days) // 365
    regular = np.round((1 + 11 * chain.uniform(1, items, 1)) * 1.03**year, 2)
    regular = np.tile(regular, (chain.stores, 1))
    depth = _episodes(chain.uniform(2, chain.series, chain.days // 35 + 1, 3), chain.days, (5, 9, 7), (7, 7))
    cut = np.where(depth > 0, 0.15 + 0.15 * depth, 0.0)
    return {
        "price": np.round(regular * (1 - cut), 2),
        "regular": regular,
        "promotion": (cut > 0).astype(np.int64),
        "holiday": _holidays(chain.days),
    }


def _known(plan: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    holiday = np.array([ORDINARY, *HOLIDAYS], dtype=object)[plan["holiday"] + 1]
    everywhere = np.broadcast_to(holiday, plan["price"].shape)
    return {"price": plan["price"], "promotion": plan["promotion"], "holiday": everywhere}


def _stock_outs(chain: _Chain) -> np.ndarray:
    """Days without anything to sell: bool (series, days)."""
    sold_out = _episodes(chain.uniform(6, chain.series, chain.days // 60 + 1, 3), chain.days, (60, 210, 1), (2, 6))
    stores = [(store,) for store in range(chain.stores)]
    closed = _episodes(chain.uniform(7, stores, chain.days // 365 + 1, 3), chain.days, (365, 730, 1), (4, 12))
    return (sold_out > 0) | np.repeat(closed > 0, chain.items, axis=0)


def _episodes(drawn: np.ndarray, days: int, gap: tuple[int, int, int], length: tuple[int, int]) -> np.ndarray:
    """Episodes that come back: their strength in (0, 1], and 0 on days without one: float64 (keys, days).

    drawn: uniform (keys, episodes, 3); gap: least and most between two starts, and its unit in days; length: least
    and most days.
    """
    least, most, unit = gap
    gaps = unit * (least + np.floor((most - least + 1) * (1 - drawn[:, :, 0]))).astype(np.int64)
    # The first one may come at once: a chain does not begin its life on the first day of the table.
    gaps[:, 0] = np.floor(unit * most * (1 - drawn[:, 0, 0]))
    starts = np.cumsum(gaps, axis=1)
    lengths = length[0] + np.floor((length[1] - length[0] + 1) * (1 - drawn[:, :, 1])).astype(np.int64)
    day = starts[:, :, None] + np.arange(length[1])
    inside = (np.arange(length[1]) < lengths[:, :, None]) & (day < days)
    strength = np.zeros((len(drawn), days))
    key = np.broadcast_to(np.arange(len(drawn))[:, None, None], day.shape)
    strength[key[inside], day[inside]] = np.broadcast_to(drawn[:, :, 2:], day.shape)[inside]
    return strength


def _holidays(days: int) -> np.ndarray:
    """Position in `HOLIDAYS` of each day, -1 for ordinary ones: int64 (days,)."""
    year = np.arange(FIRST_DAY.astype("datetime64[Y]"), (FIRST_DAY + days).astype("datetime64[Y]") + 1)
    easter = _easter(year.astype(np.int64) + 1970)
    month = year.astype("datetime64[M]")
    dates = {
        "New Year": year.astype("datetime64[D]"),
        "Good Friday": easter - 2,
        "Easter Sunday": easter,
        "Labour Day": (month + 4).astype("datetime64[D]"),
        "Thanksgiving": np.busday_offset(month + 10, 3, roll="forward", weekmask="Thu"),
        "Christmas Eve": (month + 11).astype("datetime64[D]") + 23,
        "Christmas Day": (month + 11).astype("datetime64[D]") + 24,
    }
    found = np.full(days, -1)
    for k, name in enumerate(HOLIDAYS):
        day = (dates[name] - FIRST_DAY).astype(np.int64)
        found[day[(day >= 0) & (day < days)]] = k
    return found


def _easter(year: np.ndarray) -> np.ndarray:
    """Easter Sunday of these years: datetime64[D] (years,); Meeus (1991) Astronomical Algorithms, chapter 8."""
    century, in_century = year // 100, year % 100
    moon = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (in_century // 4) - moon - in_century % 4) % 7
    late = (year % 19 + 11 * moon + 22 * weekday) // 451
    day = moon + weekday - 7 * late + 114
    month = (12 * (year - 1970) + day // 31 - 1).astype("datetime64[M]")
    return month.astype("datetime64[D]") + day % 31


def _sizes(chain: _Chain) -> np.ndarray:
    """Square metres of each store: int64 (stores,)."""
    return np.round(600 + 1000 * chain.uniform(3, [(store,) for store in range(chain.stores)])).astype(np.int64)


def _demand(chain: _Chain, plan: dict[str, np.ndarray]) -> np.ndarray:
    """Units that customers would buy were the shelves never empty: int64 (series, days)."""
    rate, spread = _rate(chain, plan)
    sold = np.empty(rate.shape, np.int64)
    rates, units = chain.streams(8, chain.series), chain.streams(9, chain.series)
    for k in range(len(sold)):
        sold[k] = units[k].poisson(rate[k] * rates[k].gamma(1 / spread[k], spread[k], chain.days))
    return sold


def _rate(chain: _Chain, plan: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Units expected: float64 (series, days), and their spread: float64 (series,)."""
    store, item = np.array(chain.series).reshape(-1, 2).T
    rush = 0.7 + 0.6 * chain.uniform(4, [(s,) for s in range(chain.stores)])[store][:, None]
    drawn = chain.uniform(5, [(i,) for i in range(chain.items)], 7)[item]
    fast, slow, swing, peak, growth, elasticity, sensitivity = (drawn[:, k, None] for k in range(7))
    popularity = np.where(item[:, None] % 4 == 3, 0.1 + 0.2 * slow, 6 * 8**fast)
    day = np.arange(chain.days)
    season = 2 * np.pi / 365.25
    rate = popularity * _sizes(chain)[store][:, None] / 1000 * WEEKDAY[(day + 6) % 7] ** rush
    rate = rate * (1 + (0.05 + 0.30 * swing) * np.cos(season * (day - 365 * peak)))
    rate = rate * (0.90 + 0.25 * growth) ** (day / 365.25)
    rate = rate * (plan["price"] / plan["regular"]) ** (-2.5 + 1.5 * elasticity) * (1 + 0.3 * plan["promotion"])
    effect = np.array([*HOLIDAYS.values(), 1.0])[plan["holiday"]]
    rate = rate * effect ** (0.5 + sensitivity)
    summer, weekend = 0.35 * np.maximum(np.cos(season * (day - 200)), 0), 0.15 * ((day + 6) % 7 >= 5)
    region = store[:, None] % len(REGIONS)
    rate = rate * np.where(region == REGIONS.index("coast"), 1 + summer, 1)
    rate = rate * np.where(region == REGIONS.index("city"), 1 - weekend, 1)
    return rate, 0.01 + 0.03 * chain.uniform(10, [(i,) for i in range(chain.items)])[item]


def _rows(chain: _Chain, columns: dict[str, np.ndarray], first: np.ndarray, last: np.ndarray) -> pd.DataFrame:
    """The days from `first` to before `last` of each series, as a long table."""
    day = np.arange(chain.days)
    series, shown = np.nonzero((day >= first[:, None]) & (day < last[:, None]))
    store = np.array([f"{s + 1:03d}" for s, _ in chain.series], dtype=object)
    item = np.array([f"item_{i + 1:02d}" for _, i in chain.series], dtype=object)
    date = (FIRST_DAY + shown).astype("datetime64[us]")
    values = {name: column[series, shown] for name, column in columns.items()}
    return pd.DataFrame({"store": store[series], "item": item[series], "date": date, **values})
