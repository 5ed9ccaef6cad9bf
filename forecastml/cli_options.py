"""Options that several commands share, told once, and what becomes of them: a `Forecasting` and a `Config`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from forecastml.errors import ConfigError


def names(text: str) -> tuple[str, ...]:
    """Column or learner names from a comma-separated list; commas within parentheses do not separate."""
    return tuple(part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip())


def numbers(text: str, option: str, kind: type) -> tuple[Any, ...]:
    """Numbers from a comma-separated list."""
    try:
        return tuple(kind(part) for part in names(text))
    except ValueError:
        raise ConfigError(f"{option} {text!r} is not a comma-separated list of numbers") from None


def count(text: str, option: str) -> int | str:
    """A whole number, or "auto"."""
    if text == "auto":
        return text
    if not text.isdecimal():
        raise ConfigError(f"{option} {text!r} is neither a whole number nor auto")
    return int(text)


def _option(help: str, **details: Any) -> Any:
    return typer.Option(help=help, **details)


#: Name -> (type, default, what it says): the roles of columns and how rows are read.
COLUMNS: dict[str, tuple[Any, Any, Any]] = {
    "target": (str, ..., _option("Column to forecast.")),
    "time": (str, ..., _option("Time column.")),
    "series": (str, "", _option("Columns that tell the series apart [found in the data].", metavar="A,B")),
    "group": (str, "", _option("Columns whose rows share an ensemble [each series].", metavar="A,B")),
    "known": (str, "", _option("Covariates known for the days to forecast.", metavar="A,B")),
    "past": (str, "", _option("Covariates known up to the last day only.", metavar="A,B")),
    "static": (str, "", _option("Covariates that are constant per series.", metavar="A,B")),
    "weight": (str | None, None, _option("Column of row weights.")),
    "mask": (str | None, None, _option("Column that is true where a row is not to be believed: closed, sold out.")),
    "freq": (str | None, None, _option("Frequency, such as D, MS, 30min [found in the data].")),
    "aggregate": (str | None, None, _option("Bring rows to the coarser --freq: sum, mean, min or max.")),
    "duplicates": (str, "error", _option("Rows of one series and time: error, sum, mean or last.")),
    "gaps": (str, "nan", _option("Missing periods: nan (learners see them), ffill, zero or interpolate.")),
    "stale": (str, "own", _option("Series that ended long ago: from their own end, to the common end, or skip.")),
    "timezone": (str | None, None, _option("Zone of local time, such as Europe/Paris; UTC>Europe/Paris for UTC data.")),
}
#: What is forecast and how it is judged.
JUDGED: dict[str, tuple[Any, Any, Any]] = {
    "season": (str | None, None, _option("Season lengths [found in the data].", metavar="24,168")),
    "holidays": (str, "", _option("Countries whose holidays count: US, DE-BY, column:state by series.", metavar="A,B")),
    "holiday_table": (Path | None, None, _option("Holidays of your own: date, name [, place].", exists=True)),
    "metric": (str, "mase", _option("Metric to optimise.")),
    "folds": (str, "auto", _option("Backtest windows that choose the model.", metavar="N|auto")),
    "step": (str, "auto", _option("Steps between their origins.", metavar="N|auto")),
    "gap": (int, 0, _option("Steps after the last value that are not forecast.", min=0)),
    "quantiles": (str | None, None, _option("Quantile levels [0.1 to 0.9].", metavar="0.1,0.9")),
    "integer": (bool, False, typer.Option("--integer", help="Round forecasts to whole numbers.")),
    "unseen": (
        str,
        "pooled",
        _option("Series that only a forecast's tables have: pooled (served by pooled members) or error."),
    ),
    "leaks": (str, "warn", _option("Covariates that give the target away: warn, exclude or error.")),
    "missing_future": (
        str,
        "nan",
        _option(
            "Known covariates that a forecast lacks: nan (cells may be empty, rows not), carry, forecast or error."
        ),
    ),
}
#: How much is tried.
EFFORT: dict[str, tuple[Any, Any, Any]] = {
    "allow": (str, "", _option("Use these learners only.", metavar="A,B")),
    "block": (str, "", _option("Leave these learners out.", metavar="A,B")),
    "preset": (str, "balanced", _option("fast, balanced or best.")),
    "features": (
        str,
        "",
        _option("What learners across series are told beside dates and covariates.", metavar="lags=[1,7],windows=[28]"),
    ),
    "time_limit": (float | None, None, _option("Time for the whole run.", metavar="SECONDS")),
    "seed": (int, 0, _option("Seed of all randomness.")),
    "workers": (int, 1, _option("Learners to try at a time.", min=1)),
}

#: Options that are lists of names, and those that the task takes as they are.
LISTS = ("series", "group", "known", "past", "static", "holidays")
SAME = ("target", "time", "weight", "mask", "aggregate", "duplicates", "gaps", "stale", "timezone")
SAME += ("holiday_table", "metric", "gap", "integer", "leaks", "missing_future", "unseen")


def with_task(*tables: dict[str, tuple[Any, Any, Any]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the command takes the options of these tables beside its own, and gets `task` and, when effort is
    among them, `config` in their place. The command has an option `horizon` of its own."""
    options = {name: told for table in tables for name, told in table.items()}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters
        kept = [parameter for name, parameter in own.items() if name not in ("task", "config")]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            taken = {name: given.pop(name) for name in options}
            built: dict[str, Any] = {"task": task_of(given["horizon"], taken)}
            if "config" in own:
                built["config"] = config_of(taken)
            command(**given, **built)

        parameters = [*_keywords(kept), *(_parameter(name, *told) for name, told in options.items())]
        run.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _keywords(parameters: list[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    return (parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters)


def _parameter(name: str, kind: Any, default: Any, option: Any) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=empty if default is ... else default,
        annotation=Annotated[kind, option],
    )


def task_of(horizon: int, options: dict[str, Any]) -> Any:
    """The `Forecasting` that these options describe; what is not among them keeps its default."""
    import forecastml as fm

    lists = {name: names(options[name]) for name in LISTS if name in options}
    same = {name: options[name] for name in SAME if name in options}
    freq = options.get("freq")
    found: dict[str, Any] = {"freq": int(freq) if freq is not None and freq.isdecimal() else freq}
    if options.get("season") is not None:
        found["season"] = numbers(options["season"], "--season", int)
    if options.get("quantiles") is not None:
        found["quantiles"] = numbers(options["quantiles"], "--quantiles", float)
    for name, option in (("n_folds", "folds"), ("step", "step")):
        if option in options:
            found[name] = count(options[option], f"--{option}")
    return fm.Forecasting(horizon=horizon, **lists, **same, **found)


def config_of(options: dict[str, Any]) -> Any:
    """The `Config` that these options describe; what is not among them keeps its default."""
    import forecastml as fm

    return fm.Config.preset(
        options["preset"],
        seconds=options.get("time_limit"),
        seed=options["seed"],
        allow=names(options["allow"]),
        block=names(options["block"]),
        features=options.get("features", ""),
        workers=options.get("workers", 1),
    )
