from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecastml
from forecastml.datasets import store_sales, store_sales_future
from forecastml.datasets.__main__ import main

ROOT = Path(__file__).parents[1]


def test_store_sales_is_what_it_says():
    sales = store_sales()
    assert sales.columns.tolist() == ["store", "item", "date", "sales", "price", "promotion"]
    assert sales["store"].unique().tolist() == ["001", "002", "003", "004", "005"]
    assert sales["item"].nunique() == 8
    assert not sales.duplicated(["store", "item", "date"]).any()
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


def test_the_seed_alone_decides():
    assert store_sales(2, 2, 60, seed=3).equals(store_sales(2, 2, 60, seed=3))
    assert not store_sales(2, 2, 60, seed=3)["sales"].equals(store_sales(2, 2, 60, seed=4)["sales"])


def test_more_stores_and_items_leave_a_series_as_it_is():
    def one(sales: pd.DataFrame) -> pd.DataFrame:
        return sales[(sales["store"] == "002") & (sales["item"] == "item_02")].reset_index(drop=True)

    assert one(store_sales(2, 2, 60)).equals(one(store_sales(3, 5, 60)))


def test_the_future_continues_every_series_by_the_same_plan():
    sales, future, longer = store_sales(days=100), store_sales_future(14, days=100), store_sales(days=114)
    keys = ["store", "item"]
    assert future.columns.tolist() == ["store", "item", "date", "price", "promotion"]
    gap = future.groupby(keys)["date"].min() - sales.groupby(keys)["date"].max()
    assert (gap == pd.Timedelta(days=1)).all() and len(future) == 14 * 40
    both = longer.merge(future, on=[*keys, "date"], suffixes=("", "_planned"))
    assert len(both) > 0 and both["price"].equals(both["price_planned"])


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


def test_an_unknown_set_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["store_salads", "--out", "x.csv"])
    assert "store_sales" in capsys.readouterr().err


def test_every_package_folder_is_installed():
    """A package that pyproject.toml forgets would work from the source tree and break once installed."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "forecastml").rglob("*.py")}
    expected = {".".join(folder.parts) for folder in folders} | {"forecastml.datasets"}
    assert set(settings["packages"]) == expected
    assert settings["package-dir"]["forecastml.datasets"] == "datasets"
    assert Path(forecastml.__file__).name == "__init__.py"
