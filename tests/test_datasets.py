from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecastml
from forecastml.data.frames import read_panel
from forecastml.data.schema import Schema
from forecastml.datasets import describe, load, names, store_sales, store_sales_future
from forecastml.datasets.__main__ import main
from forecastml.errors import ConfigError

ROOT = Path(__file__).parents[1]
KEYS = ["store", "item"]
KNOWN = ["price", "promotion", "holiday"]
SERIES = [name for name in names() if describe(name).task == "forecasting"]
TABLES = [name for name in names() if name not in SERIES]


@pytest.fixture(scope="module")
def sales() -> pd.DataFrame:
    return store_sales()


def test_store_sales_is_what_it_says(sales):
    assert sales.columns.tolist() == [*KEYS, "date", "sales", *KNOWN, "stock_out", "region", "size"]
    assert sales["store"].unique().tolist() == ["001", "002", "003", "004", "005"]
    assert sales["item"].nunique() == 8
    assert not sales.duplicated([*KEYS, "date"]).any()
    assert (sales["sales"] >= 0).all() and sales["sales"].dtype == np.int64
    last = sales.groupby("store")["date"].max()
    assert last["004"] < last["005"] == last["001"], "store 004 closes early"
    first = sales.groupby("store")["date"].min()
    assert first["005"] > first["001"], "store 005 opens late"
    asleep = sales.assign(zero=sales["sales"] == 0).groupby("item")["zero"].mean()
    assert asleep[["item_04", "item_08"]].min() > 0.5, "every fourth item is intermittent"
    assert asleep.drop(["item_04", "item_08"]).max() < 0.1
    known = sales[sales["item"] == "item_01"]
    assert known[known["promotion"] == 1]["sales"].mean() > 1.3 * known[known["promotion"] == 0]["sales"].mean()


def test_weekdays_and_the_time_of_the_year_have_their_effect(sales):
    plain = sales[(sales["promotion"] == 0) & (sales["holiday"] == "no") & (sales["stock_out"] == 0)]
    weekday = plain.groupby(plain["date"].dt.day_of_week)["sales"].mean()
    assert weekday.idxmax() == 5 and weekday[5] > 1.4 * weekday[1]
    month = plain[plain["item"] == "item_01"].groupby(plain["date"].dt.month)["sales"].mean()
    assert month.max() > 1.15 * month.min()


def test_holidays_are_where_the_calendar_has_them_and_matter(sales):
    dates = {name: sorted({str(day.date()) for day in rows}) for name, rows in sales.groupby("holiday")["date"]}
    assert dates["Easter Sunday"] == ["2023-04-09", "2024-03-31"]
    assert dates["Good Friday"] == ["2023-04-07", "2024-03-29"]
    assert dates["Thanksgiving"] == ["2023-11-23", "2024-11-28"]
    assert dates["Christmas Eve"] == ["2023-12-24", "2024-12-24"]
    mean = sales[sales["stock_out"] == 0].groupby("holiday")["sales"].mean()
    assert mean["Christmas Day"] < 0.5 * mean["no"] and mean["Thanksgiving"] > 1.25 * mean["no"]


def test_easter_is_that_of_the_calendar_for_a_century():
    from dateutil.easter import easter

    from forecastml.datasets.store_sales import _easter

    years = np.arange(1970, 2100)
    assert _easter(years).astype(str).tolist() == [str(easter(int(year))) for year in years]


def test_stock_outs_hide_demand_that_was_there(sales):
    out = sales["stock_out"] == 1
    assert (sales[out]["sales"] == 0).all() and 0.02 < out.mean() < 0.08
    there = sales[~sales["item"].isin(["item_04", "item_08"]) & ~out]
    assert (there["sales"] > 0).mean() > 0.97
    closed = sales.groupby(["store", "date"])["stock_out"].agg(["min", "size"])
    assert closed["min"].groupby("store").sum().max() >= 4, "a closed store sells none of its items"
    runs = sales.groupby(KEYS)["stock_out"].apply(lambda flag: (flag.diff() == 1).sum())
    assert runs.min() >= 1, "every series was sold out at least once"


def test_region_and_size_belong_to_the_store(sales):
    assert (sales.groupby("store")[["region", "size"]].nunique() == 1).all(axis=None)
    assert set(sales["region"]) == {"city", "coast", "country"}
    plain = sales[(sales["stock_out"] == 0) & (sales["item"] == "item_01")]
    by_store = plain.groupby("store").agg(size=("size", "first"), sales=("sales", "mean"))
    assert by_store.corr().iloc[0, 1] > 0.7, "large stores sell more"


def test_the_seed_alone_decides():
    assert store_sales(2, 2, 60, seed=3).equals(store_sales(2, 2, 60, seed=3))
    assert not store_sales(2, 2, 60, seed=3)["sales"].equals(store_sales(2, 2, 60, seed=4)["sales"])


def test_more_stores_and_items_leave_a_series_as_it_is():
    def one(sales: pd.DataFrame) -> pd.DataFrame:
        return sales[(sales["store"] == "002") & (sales["item"] == "item_02")].reset_index(drop=True)

    assert one(store_sales(2, 2, 60)).equals(one(store_sales(3, 5, 60)))


def test_more_days_leave_the_days_before_as_they_are():
    short, long = store_sales(3, 5, 200), store_sales(3, 5, 800)
    again = long[long["date"] <= short["date"].max()].reset_index(drop=True)
    assert again.equals(short)


def test_the_future_continues_every_series_by_the_same_plan():
    sales, future, longer = store_sales(days=100), store_sales_future(14, days=100), store_sales(days=114)
    assert future.columns.tolist() == [*KEYS, "date", *KNOWN]
    gap = future.groupby(KEYS)["date"].min() - sales.groupby(KEYS)["date"].max()
    assert (gap == pd.Timedelta(days=1)).all() and len(future) == 14 * 40
    both = longer.merge(future, on=[*KEYS, "date"], suffixes=("", "_planned"))
    assert len(both) > 0
    for name in KNOWN:
        assert both[name].equals(both[f"{name}_planned"].rename(name))


def test_a_size_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="days is 0"):
        store_sales(days=0)


@pytest.mark.parametrize("name", SERIES)
def test_a_series_set_is_what_its_description_says(name):
    table, about = load(name), describe(name)
    assert len(table) == about.rows and about.horizon > 0
    keys = list(about.series)
    assert not table.duplicated([*keys, about.time]).any()
    one = table.groupby(keys)[about.time].apply(pd.DatetimeIndex).iloc[0] if keys else pd.DatetimeIndex(table["ds"])
    # Trading days are business days without holidays: the grid has holes, all else is complete.
    grid = pd.date_range(one[0], one[-1], freq=about.freq)
    assert one.isin(grid).all() and (len(one) == len(grid) or name == "msft")
    assert all(text for text in (about.title, about.unit, about.source, about.licence))


@pytest.mark.parametrize("name", SERIES)
def test_a_series_set_can_be_read_as_a_panel(name):
    about = describe(name)
    panel = read_panel(load(name), Schema(about.target, about.time, about.series), freq=about.freq).data
    assert np.isfinite(panel.target).mean() > 0.95
    assert (panel.lengths > about.horizon).all()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_its_description_says(name):
    table, about = load(name), describe(name)
    assert len(table) == about.rows and table.columns[-1] == about.target == "target"
    assert about.time is None and about.series == () and about.horizon is None
    assert table.notna().all(axis=None) and not any(" " in column for column in table.columns)
    assert table.drop(columns="target").dtypes.map(pd.api.types.is_numeric_dtype).all()
    if about.task == "classification":
        assert 2 <= table["target"].nunique() <= 10 and pd.api.types.is_string_dtype(table["target"])
    else:
        assert about.task == "regression" and table["target"].nunique() > 10


def test_known_values_of_well_known_sets():
    air = load("airline_passengers")
    assert (air["y"].sum(), str(air["ds"].iloc[-1].date())) == (40363, "1960-12-01")
    assert load("lynx").set_index("ds")["y"]["1904-01-01"] == 6991
    assert load("nile").set_index("ds")["y"]["1899-01-01"] == 774
    assert load("elnino").set_index("ds")["y"]["1951-03-01"] == 25.60
    co2 = load("co2")
    assert co2["y"].isna().sum() == 59 and str(co2["ds"].iloc[0].date()) == "1958-03-29"
    beer = load("ausbeer")
    assert str(beer["ds"].iloc[-1].date()) == "2008-07-01" and beer["y"].notna().all()
    taylor = load("taylor")
    assert str(taylor["ds"].iloc[-1]) == "2000-08-27 23:30:00" and taylor["ds"].iloc[0].day_name() == "Monday"
    macro = load("us_macro").set_index(["series", "ds"])["y"]
    assert (macro["realgdp", "1959-04-01"], macro["unemp", "2009-07-01"]) == (2778.801, 9.6)
    assert load("diabetes")["age"].min() >= 19, "in years, not scaled"
    assert load("breast_cancer")["target"].value_counts().to_dict() == {"benign": 357, "malignant": 212}


def test_every_call_gives_a_table_of_its_own():
    first = load("nile")
    first["y"] = 0.0
    assert load("nile")["y"].sum() > 0


def test_loading_never_opens_a_connection_and_stays_silent(tmp_path):
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise OSError('no network')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "from forecastml.datasets import load, names\n"
        "print(sum(len(load(name)) for name in names()))\n"
    )
    home = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == sum(describe(name).rows for name in names())
    assert not list(tmp_path.rglob("*pmdarima*")), "nothing is cached in the home folder"


def test_listing_loads_no_carrier():
    code = (
        "import sys; from forecastml.datasets.__main__ import main\n"
        "try:\n    main(['--list'])\nexcept SystemExit as done:\n    code = done.code\n"
        "print(code, [m for m in ('pmdarima', 'statsmodels', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *listed, last = done.stdout.splitlines()
    assert tuple(line.split()[0] for line in listed) == names()
    assert last == "0 []"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_command_writes_both_tables(tmp_path, suffix):
    out, future = tmp_path / f"sales{suffix}", tmp_path / f"future{suffix}"
    small = ["store_sales", "--stores", "2", "--items", "2", "--days", "30", "--out", str(out)]
    main(small)
    assert not future.exists()
    main([*small, "--future", str(future), "--horizon", "7"])
    if suffix == ".csv":
        read = pd.read_csv(out, dtype={"store": str}, parse_dates=["date"])
        assert len(pd.read_csv(future)) == 2 * 2 * 7
    else:
        read = pd.read_parquet(out)
    assert read["store"].unique().tolist() == ["001", "002"]
    assert read["sales"].tolist() == store_sales(2, 2, 30)["sales"].tolist()
    assert set(read["holiday"]) == {"no", "New Year"}


def test_the_command_writes_a_set_by_name(tmp_path):
    main(["airline_passengers", "--out", str(tmp_path / "air.csv")])
    read = pd.read_csv(tmp_path / "air.csv", parse_dates=["ds"])
    assert read["y"].sum() == 40363 and read["ds"].iloc[1] == pd.Timestamp("1949-02-01")


def test_help_of_a_set_names_source_and_licence(capsys):
    with pytest.raises(SystemExit) as done:
        main(["co2", "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert "Keeling" in text and "public domain" in text


def test_an_unknown_set_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["store_salads", "--out", "x.csv"])
    assert "store_sales" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="airline_passengers"):
        load("airline")


@pytest.mark.parametrize("option", ["--days", "--stores", "--horizon"])
def test_a_count_of_nothing_is_refused_by_the_command(tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        main(["store_sales", "--out", str(tmp_path / "x.csv"), option, "0"])
    assert "whole number of 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


def test_every_package_folder_is_installed():
    """A package that pyproject.toml forgets would work from the source tree and break once installed."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {
        path.parent.relative_to(ROOT) for name in ("forecastml", "many_models") for path in (ROOT / name).rglob("*.py")
    }
    expected = {".".join(folder.parts) for folder in folders} | {"forecastml.datasets"}
    assert set(settings["packages"]) == expected
    assert settings["package-dir"]["forecastml.datasets"] == "datasets"
    assert Path(forecastml.__file__).name == "__init__.py"
