"""Data sets by name: well-known ones that the dependencies of this package carry, and the store sales; no download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from forecastml.datasets import carriers
from forecastml.datasets.store_sales import store_sales
from forecastml.errors import ConfigError

FORECASTING, CLASSIFICATION, REGRESSION = "forecasting", "classification", "regression"

_OWN = "Apache-2.0, as this package"
_PMDARIMA = "MIT, as shipped with pmdarima"
_STATSMODELS = "public domain, as shipped with statsmodels"
_SCIKIT_LEARN = "BSD-3-Clause, as shipped with scikit-learn"
_UCI = "CC BY 4.0 (UCI Machine Learning Repository), as shipped with scikit-learn"
_MACRO = ("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "tbilrate", "unemp", "pop")


@dataclass(frozen=True)
class Description:
    """What a data set holds, and where it comes from.

    rows: of the whole table; unit: of the target; source: whom to cite; licence: as its carrier states it; task: what
    it is for; freq, horizon: pandas alias, and a number of steps ahead that suits the set (None in tables for
    classification and regression); target, time, series: its columns (time None, series empty where there is none).
    """

    name: str
    title: str
    rows: int
    unit: str
    source: str
    licence: str
    freq: str | None = None
    horizon: int | None = None
    task: str = FORECASTING
    target: str = "y"
    time: str | None = "ds"
    series: tuple[str, ...] = ()


def load(name: str) -> pd.DataFrame:
    """The data set of this name, as a table that belongs to the caller; raises `ConfigError` for an unknown name.

    Series are long: `ds` (dates without zone, in local time), `y`, and `series` where there are several; a period
    without a measurement is NaN. Tables for classification and regression have one column per feature, and `target`
    as the last one; classes are text. `describe(name)` names the columns.

    >>> load("airline_passengers").head(1).to_dict("list")
    {'ds': [Timestamp('1949-01-01 00:00:00')], 'y': [112.0]}
    """
    return _LOADERS[describe(name).name]()


def names() -> tuple[str, ...]:
    """The names that `load` takes: series first, then tables for classification and regression."""
    return tuple(_DESCRIPTIONS)


def describe(name: str) -> Description:
    """What `load(name)` holds and where it comes from; raises `ConfigError` for an unknown name."""
    if name not in _DESCRIPTIONS:
        raise ConfigError(f"there is no data set {name!r}; use one of {', '.join(names())}")
    return _DESCRIPTIONS[name]


_SETS: tuple[tuple[Description, Callable[[], pd.DataFrame]], ...] = (
    (
        Description(
            name="store_sales",
            title="Daily sales of a small chain of shops, generated",
            rows=25112,
            unit="units",
            source="the recipe of forecastml.datasets.store_sales, seed 0",
            licence=_OWN,
            freq="D",
            horizon=28,
            target="sales",
            time="date",
            series=("store", "item"),
        ),
        store_sales,
    ),
    (
        Description(
            name="airline_passengers",
            title="International airline passengers, monthly, 1949 to 1960",
            rows=144,
            unit="thousands of passengers",
            source="Box, Jenkins and Reinsel (1976) Time Series Analysis, Forecasting and Control, series G",
            licence=_PMDARIMA,
            freq="MS",
            horizon=12,
        ),
        partial(carriers.pmdarima_series, "airpassengers", "1949-01-01", "MS"),
    ),
    (
        Description(
            name="wineind",
            title="Australian wine sales in bottles of up to one litre, monthly, 1980 to 1994",
            rows=176,
            unit="sales as reported, unit not stated",
            source="R package forecast, wineind",
            licence=_PMDARIMA,
            freq="MS",
            horizon=12,
        ),
        partial(carriers.pmdarima_series, "wineind", "1980-01-01", "MS"),
    ),
    (
        Description(
            name="sunspots",
            title="Monthly mean relative sunspot numbers, 1749 to 1983",
            rows=2820,
            unit="sunspot number",
            source="Swiss Federal Observatory, Zurich, then Tokyo Astronomical Observatory; R datasets, sunspots",
            licence=_PMDARIMA,
            freq="MS",
            horizon=12,
        ),
        partial(carriers.pmdarima_series, "sunspots", "1749-01-01", "MS"),
    ),
    (
        Description(
            name="elnino",
            title="Sea surface temperature of the Pacific, Nino 1+2 region, monthly, 1950 to 2010",
            rows=732,
            unit="degrees Celsius",
            source="NOAA National Weather Service, ERSST.V3B",
            licence=_STATSMODELS,
            freq="MS",
            horizon=12,
        ),
        partial(carriers.statsmodels_months, "elnino", "YEAR"),
    ),
    (
        Description(
            name="elec_equip",
            title="Turnover index of electrical equipment makers, euro area, monthly, 1995 to 2016",
            rows=257,
            unit="index",
            source="Eurostat, STS.M.I7.W.TOVT.NS0016.4.000",
            licence=_STATSMODELS,
            freq="MS",
            horizon=12,
        ),
        partial(carriers.statsmodels_indexed, "elec_equip", "STS.M.I7.W.TOVT.NS0016.4.000"),
    ),
    (
        Description(
            name="ausbeer",
            title="Australian beer production, quarterly, 1956 to 2008",
            rows=211,
            unit="megalitres",
            source="R package fpp, ausbeer",
            licence=_PMDARIMA,
            freq="QS",
            horizon=8,
        ),
        partial(carriers.pmdarima_series, "ausbeer", "1956-01-01", "QS"),
    ),
    (
        Description(
            name="woolyrnq",
            title="Australian production of woollen yarn, quarterly, 1965 to 1994",
            rows=119,
            unit="tonnes",
            source="R package forecast, woolyrnq",
            licence=_PMDARIMA,
            freq="QS",
            horizon=8,
        ),
        partial(carriers.pmdarima_series, "woolyrnq", "1965-01-01", "QS"),
    ),
    (
        Description(
            name="austres",
            title="Australian residents, quarterly, 1971 to 1993 (dates as in R)",
            rows=89,
            unit="thousands of people",
            source="Brockwell and Davis (1996) Introduction to Time Series and Forecasting; R datasets, austres",
            licence=_PMDARIMA,
            freq="QS",
            horizon=8,
        ),
        partial(carriers.pmdarima_series, "austres", "1971-04-01", "QS"),
    ),
    (
        Description(
            name="us_macro",
            title="Ten macroeconomic series of the United States, quarterly, 1959 to 2009",
            rows=2030,
            unit="as in statsmodels.datasets.macrodata, each its own",
            source="Federal Reserve Bank of St. Louis (FRED) and Bureau of Labor Statistics, compiled by S. Seabold",
            licence=_STATSMODELS,
            freq="QS",
            horizon=8,
            series=("series",),
        ),
        partial(carriers.statsmodels_quarters, "macrodata", _MACRO),
    ),
    (
        Description(
            name="lynx",
            title="Lynx trapped in Canada, yearly, 1821 to 1934",
            rows=114,
            unit="skins",
            source="Brockwell and Davis (1991) Time Series and Forecasting Methods, series G",
            licence=_PMDARIMA,
            freq="YS",
            horizon=6,
        ),
        partial(carriers.pmdarima_series, "lynx", "1821-01-01", "YS"),
    ),
    (
        Description(
            name="nile",
            title="Flow of the Nile at Aswan, yearly, 1871 to 1970",
            rows=100,
            unit="100 million cubic metres",
            source="Cobb, G.W. (1978) The problem of the Nile, Biometrika 65(2), 243-251",
            licence=_STATSMODELS,
            freq="YS",
            horizon=6,
        ),
        partial(carriers.statsmodels_yearly, "nile", "year", "volume"),
    ),
    (
        Description(
            name="co2",
            title="Carbon dioxide at Mauna Loa, weekly, 1958 to 2001, with 59 weeks not measured",
            rows=2284,
            unit="parts per million by volume",
            source="Keeling, C.D. and Whorf, T.P. (2004), Carbon Dioxide Information Analysis Center",
            licence=_STATSMODELS,
            freq="W-SAT",
            horizon=52,
        ),
        partial(carriers.statsmodels_indexed, "co2", "co2"),
    ),
    (
        Description(
            name="taylor",
            title="Electricity demand in England and Wales, half-hourly, 5 June to 27 August 2000",
            rows=4032,
            unit="megawatts",
            source="Taylor, J.W. (2003) Journal of the Operational Research Society 54, 799-805",
            licence=_PMDARIMA,
            freq="30min",
            horizon=336,
        ),
        partial(carriers.pmdarima_series, "taylor", "2000-06-05", "30min"),
    ),
    (
        Description(
            name="msft",
            title="Closing price and volume of Microsoft shares, trading days, 1986 to 2017",
            rows=7983,
            unit="US dollars, adjusted for splits and dividends",
            source="Kaggle, borismarjanovic/price-volume-data-for-all-us-stocks-etfs",
            licence=_PMDARIMA,
            freq="B",
            horizon=20,
        ),
        partial(carriers.pmdarima_stock, "msft"),
    ),
    (
        Description(
            name="breast_cancer",
            title="Breast tumours, malignant or benign, from 30 measurements of cell nuclei",
            rows=569,
            unit="class",
            source="Street, Wolberg and Mangasarian (1993), Wisconsin Diagnostic Breast Cancer",
            licence=_UCI,
            task=CLASSIFICATION,
            target="target",
            time=None,
        ),
        partial(carriers.scikit_learn_table, "breast_cancer"),
    ),
    (
        Description(
            name="digits",
            title="Handwritten digits, 0 to 9, as images of 8 x 8 pixels",
            rows=1797,
            unit="class",
            source="Alpaydin, E. and Kaynak, C. (1998) Cascading classifiers, Kybernetika",
            licence=_UCI,
            task=CLASSIFICATION,
            target="target",
            time=None,
        ),
        partial(carriers.scikit_learn_table, "digits"),
    ),
    (
        Description(
            name="iris",
            title="Three species of iris from four measurements of the flower",
            rows=150,
            unit="class",
            source="Fisher, R.A. (1936) Annals of Eugenics 7(II), 179-188",
            licence=_SCIKIT_LEARN,
            task=CLASSIFICATION,
            target="target",
            time=None,
        ),
        partial(carriers.scikit_learn_table, "iris"),
    ),
    (
        Description(
            name="wine",
            title="Wines of three cultivars from thirteen chemical measurements",
            rows=178,
            unit="class",
            source="Forina, M. et al., PARVUS, Institute of Pharmaceutical and Food Analysis, Genoa",
            licence=_UCI,
            task=CLASSIFICATION,
            target="target",
            time=None,
        ),
        partial(carriers.scikit_learn_table, "wine"),
    ),
    (
        Description(
            name="diabetes",
            title="Progression of diabetes one year after ten baseline measurements",
            rows=442,
            unit="score",
            source="Efron, Hastie, Johnstone and Tibshirani (2004) Least angle regression, Annals of Statistics",
            licence=_SCIKIT_LEARN,
            task=REGRESSION,
            target="target",
            time=None,
        ),
        partial(carriers.scikit_learn_table, "diabetes", scaled=False),
    ),
    (
        Description(
            name="doctor_visits",
            title="Visits to a doctor in a health insurance experiment, from nine measurements",
            rows=20190,
            unit="visits",
            source="RAND Health Insurance Experiment; Cameron and Trivedi (2005) Microeconometrics",
            licence=_STATSMODELS,
            task=REGRESSION,
            target="target",
            time=None,
        ),
        partial(carriers.statsmodels_table, "randhie", "mdvis"),
    ),
)
_DESCRIPTIONS = {description.name: description for description, _ in _SETS}
_LOADERS = {description.name: loader for description, loader in _SETS}
