"""Write embedded data to a file: `python -m forecastml.datasets store_sales --out sales.csv`, or `--list` the sets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forecastml.data.frames import write_table
from forecastml.datasets import Description, describe, load, names, store_sales, store_sales_future


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the data set that the arguments (the command line by default) ask for."""
    chosen = _parser().parse_args(arguments)
    if chosen.name != "store_sales":
        write_table(load(chosen.name), chosen.out)
        return
    recipe = {name: getattr(chosen, name) for name in ("stores", "items", "days", "seed")}
    write_table(store_sales(**recipe), chosen.out)
    if chosen.future is not None:
        write_table(store_sales_future(chosen.horizon, **recipe), chosen.future)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m forecastml.datasets", description=__doc__)
    parser.add_argument("--list", action=_List, help="print name, task, rows, frequency, horizon and title of each set")
    sets = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in names():
        about = describe(name)
        raw = argparse.RawDescriptionHelpFormatter
        one = sets.add_parser(name, help=about.title, description=_text(about), formatter_class=raw)
        one.add_argument("--out", type=Path, required=True, help="CSV or Parquet file to write")
    sales = sets.choices["store_sales"]
    sales.description = f"{sales.description}\n\n{store_sales.__doc__}"
    sales.add_argument("--future", type=Path, help="also write price, promotion and holiday of the days after")
    sales.add_argument("--horizon", type=_count, default=28, help="days in the --future file")
    for option, value in {"stores": 5, "items": 8, "days": 730}.items():
        sales.add_argument(f"--{option}", type=_count, default=value, help=f"default {value}")
    sales.add_argument("--seed", type=int, default=0, help="default 0")
    return parser


class _List(argparse.Action):
    """Prints a line per data set and leaves, as `--help` does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        for about in map(describe, names()):
            size = f"{about.rows:>6} rows  {about.freq or '':<6}{about.horizon or '':>4}"
            print(f"{about.name:<19}{about.task:<15}{size}  {about.title}")
        parser.exit()


def _text(about: Description) -> str:
    columns = ", ".join((*about.series, *filter(None, (about.time,)), about.target))
    return f"{about.title} ({about.unit}); columns {columns}.\nSource: {about.source}.\nLicence: {about.licence}."


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
