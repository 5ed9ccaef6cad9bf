"""`python -m forecastml.datasets store_sales --out sales.csv`: write embedded data to a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from forecastml.data.frames import write_table
from forecastml.datasets import store_sales, store_sales_future


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the data set that the arguments (the command line by default) ask for."""
    parser = argparse.ArgumentParser(prog="python -m forecastml.datasets", description=__doc__)
    sets = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    sales = sets.add_parser("store_sales", help="daily sales by store and item", description=store_sales.__doc__)
    sales.formatter_class = argparse.RawDescriptionHelpFormatter
    sales.add_argument("--out", type=Path, required=True, help="CSV or Parquet file to write")
    sales.add_argument("--future", type=Path, help="also write price and promotion of the days after")
    sales.add_argument("--horizon", type=int, default=28, help="days in the --future file")
    for option, value in {"stores": 5, "items": 8, "days": 730, "seed": 0}.items():
        sales.add_argument(f"--{option}", type=int, default=value, help=f"default {value}")
    chosen = parser.parse_args(arguments)
    recipe = {name: getattr(chosen, name) for name in ("stores", "items", "days", "seed")}
    write_table(store_sales(**recipe), chosen.out)
    if chosen.future is not None:
        write_table(store_sales_future(chosen.horizon, **recipe), chosen.future)


if __name__ == "__main__":
    main()
