"""The command line: `forecastml train | forecast | leaderboard`.

Exit codes: 0 all well, 1 the run failed, 64 wrong usage or bad input, 130 interrupted. The package itself is imported
inside the commands, so that help comes at once.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec

import typer

from forecastml.errors import ConfigError, DeadlineExceeded, ForecastMLError, ForecastWarning, LearnerError
from forecastml.progress import JsonLines, listening

FAILED, BAD_INPUT, INTERRUPTED = 1, 64, 130

Arguments = ParamSpec("Arguments")

app = typer.Typer(
    help="Time-series AutoML: train on a table, look at the leaderboard, forecast.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; the console script."""
    try:
        app(prog_name="forecastml")
    except SystemExit as done:
        # The argument parser says 2 for wrong usage; here 2 will mean that some groups failed.
        sys.exit(BAD_INPUT if done.code == 2 else done.code)


def guarded(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """The command with every way to fail turned into one message and an exit code."""

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)
        except (LearnerError, DeadlineExceeded) as error:
            _fail(f"error: {error}", FAILED)
        except (ForecastMLError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            _fail(f"error: {error}", BAD_INPUT)
        except Exception as error:
            with tempfile.NamedTemporaryFile(
                "w", prefix="forecastml-", suffix=".log", delete=False, encoding="utf-8"
            ) as log:
                traceback.print_exc(file=log)
            _fail(f"internal error: {type(error).__name__}: {error}\nthe traceback is in {log.name}", FAILED)

    return run


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        from forecastml import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


Data = Annotated[
    Path, typer.Argument(metavar="DATA", exists=True, help="CSV file, Parquet file or folder of Parquet files.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", exists=True, help="Folder of a saved model.")]


@app.command()
@guarded
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    target: Annotated[str, typer.Option(help="Column to forecast.")],
    time: Annotated[str, typer.Option(help="Time column.")],
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")],
    series: Annotated[str, typer.Option(metavar="A,B", help="Columns that tell the series apart.")] = "",
    group: Annotated[str, typer.Option(metavar="A,B", help="Columns whose rows share a model [each series].")] = "",
    known: Annotated[str, typer.Option(metavar="A,B", help="Covariates known for the days to forecast.")] = "",
    past: Annotated[str, typer.Option(metavar="A,B", help="Covariates known up to the last day only.")] = "",
    static: Annotated[str, typer.Option(metavar="A,B", help="Covariates that are constant per series.")] = "",
    weight: Annotated[str | None, typer.Option(help="Column of row weights.")] = None,
    freq: Annotated[str | None, typer.Option(help="Frequency, such as D, MS, 30min [found in the data].")] = None,
    season: Annotated[str | None, typer.Option(metavar="24,168", help="Season lengths [found in the data].")] = None,
    metric: Annotated[str, typer.Option(help="Metric to optimise.")] = "mase",
    allow: Annotated[str, typer.Option(metavar="A,B", help="Use these learners only.")] = "",
    block: Annotated[str, typer.Option(metavar="A,B", help="Leave these learners out.")] = "",
    preset: Annotated[str, typer.Option(help="fast, balanced or best.")] = "balanced",
    time_limit: Annotated[float | None, typer.Option(metavar="SECONDS", help="Time for the whole run.")] = None,
    folds: Annotated[str, typer.Option(metavar="N|auto", help="Backtest windows.")] = "auto",
    step: Annotated[str, typer.Option(metavar="N|auto", help="Steps between their origins.")] = "auto",
    gap: Annotated[int, typer.Option(min=0, help="Steps after the last value that are not forecast.")] = 0,
    quantiles: Annotated[str | None, typer.Option(metavar="0.1,0.9", help="Quantile levels [0.1 to 0.9].")] = None,
    integer: Annotated[bool, typer.Option("--integer", help="Round forecasts to whole numbers.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Learners to try at a time.")] = 1,
    log_json: Annotated[bool, typer.Option("--log-json", help="Progress as JSON lines on stderr.")] = False,
) -> None:
    """Try learners on DATA, weigh them by backtests and save the model."""
    import forecastml as fm
    from forecastml.search.trial import INTERRUPT

    _check_model_folder(out)
    levels = {} if quantiles is None else {"quantiles": _numbers(quantiles, "--quantiles", float)}
    task = fm.Forecasting(
        horizon=horizon,
        target=target,
        time=time,
        series=_names(series),
        group=_names(group),
        known=_names(known),
        past=_names(past),
        static=_names(static),
        weight=weight,
        freq=int(freq) if freq is not None and freq.isdecimal() else freq,
        season=None if season is None else _numbers(season, "--season", int),
        metric=metric,
        n_folds=_count(folds, "--folds"),
        step=_count(step, "--step"),
        gap=gap,
        integer=integer,
        **levels,
    )
    config = fm.Config.preset(
        preset, seconds=time_limit, seed=seed, allow=_names(allow), block=_names(block), workers=workers
    )
    with listening(sys.stderr, log_json) as listener:
        model = fm.fit(data, task, config, listener=listener)
    interrupted = any(row.error == INTERRUPT for row in model.log)
    if interrupted and out.exists() and any(out.iterdir()):
        _fail(f"interrupted; the older model in {out} was left as it is", INTERRUPTED)
    model.save(out)
    _report(model.findings, log_json)
    _print_table(model.leaderboard())
    print(f"model saved in {out}")
    served = model.status()["state"].tolist()
    if (weak := served.count("fallback")) and not log_json:
        print(f"note: {weak} of {len(served)} series are served by the fallback, not backtested", file=sys.stderr)
    if interrupted:
        _fail(f"interrupted; what was finished is saved in {out}, run the same command for the rest", INTERRUPTED)


@app.command()
@guarded
def forecast(
    model: Model,
    out: Annotated[Path, typer.Option(help="CSV or Parquet file to write.")],
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps to forecast [as trained].")] = None,
    future: Annotated[Path | None, typer.Option(exists=True, help="Known covariates of the steps to forecast.")] = None,
    context: Annotated[Path | None, typer.Option(exists=True, help="Rows newer than the training data.")] = None,
    quantiles: Annotated[str | None, typer.Option(metavar="0.1,0.9", help="Quantile levels [as trained].")] = None,
) -> None:
    """Forecast with the model in folder MODEL: the mean and a column per quantile level."""
    import forecastml as fm
    from forecastml.data.frames import write_table

    if out.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--out {out} must end in .csv or .parquet")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", ForecastWarning)
        frame = fm.load(model).forecast(
            future=future,
            context=context,
            horizon=horizon,
            quantiles=None if quantiles is None else _numbers(quantiles, "--quantiles", float),
        )
    for note in notes:
        print(f"note: {note.message}", file=sys.stderr)
    write_table(frame, out)
    print(f"{len(frame)} rows written to {out}")


@app.command()
@guarded
def leaderboard(
    model: Model,
    metric: Annotated[str | None, typer.Option(help="Metric to report [the one optimised].")] = None,
) -> None:
    """Show what was tried for the model in folder MODEL, with losses, weights and coverage."""
    import forecastml as fm

    _print_table(fm.load(model).leaderboard(metric=metric))


def _names(text: str) -> tuple[str, ...]:
    """Column or learner names from a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str, option: str, kind: type) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in _names(text))
    except ValueError:
        raise ConfigError(f"{option} {text!r} is not a comma-separated list of numbers") from None


def _count(text: str, option: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal():
        raise ConfigError(f"{option} {text!r} is neither a whole number nor auto")
    return int(text)


def _check_model_folder(folder: Path) -> None:
    """Raise `ConfigError` when `folder` holds anything but a model of ours, before time is spent on training."""
    from forecastml.storage import is_model

    empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not empty and not is_model(folder):
        raise ConfigError(f"--out {folder} exists and is not a model; name another folder or remove it yourself")


def _report(findings: Any, log_json: bool) -> None:
    """Tell on stderr what was mended or looked wrong in the data."""
    for finding in findings:
        if log_json:
            JsonLines(sys.stderr)({"event": "finding", **asdict(finding)})
        else:
            print("; ".join(filter(None, (f"{finding.severity}: {finding.message}", finding.remedy))), file=sys.stderr)


def _print_table(frame: Any) -> None:
    """A data frame as text: fitted to a terminal (losses by fold go first), every column in full in a pipe."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 10_000
    console = Console(file=sys.stdout, width=width, markup=False, highlight=False)
    cells = {name: [_cell(value) for value in frame[name].tolist()] for name in frame.columns}
    cells = {name: column for name, column in cells.items() if set(column) - {"", "0"}}
    needed = sum(max(map(len, [name, *column])) + 2 for name, column in cells.items())
    if needed > console.width:
        cells = {name: column for name, column in cells.items() if not name.startswith("fold_")}
    console.print(_table(cells))


def _table(cells: dict[str, list[str]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in cells:
        table.add_column(name, overflow="fold", no_wrap=name not in ("learner", "error"))
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    return table


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


if __name__ == "__main__":
    main()
