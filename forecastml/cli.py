"""The command line: `forecastml demo | check | train | forecast | backtest | leaderboard | explain`.

Exit codes: 0 all well, 1 the run failed, 64 wrong usage or bad input, 130 interrupted. The package itself is imported
inside the commands, so that help comes at once.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec

import typer

from forecastml.cli_options import COLUMNS, EFFORT, JUDGED, numbers, with_task
from forecastml.cli_output import print_contributions, print_findings, print_guardrails, print_table
from forecastml.errors import ConfigError, DeadlineExceeded, ForecastMLError, ForecastWarning, LearnerError
from forecastml.progress import listening

FAILED, BAD_INPUT, INTERRUPTED = 1, 64, 130
#: What `forecast --plot` can draw.
PICTURES = (".png", ".svg", ".pdf")

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
Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Horizon = Annotated[int, typer.Option(min=1, help="Steps to forecast.")]
LogJson = Annotated[bool, typer.Option("--log-json", help="Progress as JSON lines on stderr.")]


@app.command()
@guarded
@with_task(COLUMNS, JUDGED)
def check(
    data: Data,
    task: Any,
    horizon: Annotated[int, typer.Option(min=1, help="Steps that will be forecast.")] = 1,
    log_json: Annotated[bool, typer.Option("--log-json", help="Findings as JSON lines on stderr.")] = False,
) -> None:
    """Look DATA over: what is wrong, where, and what to do; exit code 64 when it cannot be trained on as it is."""
    from forecastml.data.checks import CODES, guardrails

    reading = task.check(data)
    # A table that could not be read was not looked at.
    print_guardrails(guardrails(reading.findings, tuple(CODES) if reading.data is not None else ()))
    print_findings(reading.findings, log_json)
    if reading.errors:
        _fail("train would refuse these data; mend what is marked as error", BAD_INPUT)


@app.command()
@guarded
@with_task(COLUMNS, JUDGED, EFFORT)
def train(data: Data, out: Out, horizon: Horizon, task: Any, config: Any, log_json: LogJson = False) -> None:
    """Try learners on DATA, weigh them by backtests and save the model."""
    import forecastml as fm
    from forecastml.search.trial import INTERRUPT

    _check_model_folder(out)
    with listening(sys.stderr, log_json) as listener:
        model = fm.fit(data, task, config, listener=listener)
    interrupted = any(row.error == INTERRUPT for row in model.log)
    if interrupted and out.exists() and any(out.iterdir()):
        _fail(f"interrupted; the older model in {out} was left as it is", INTERRUPTED)
    if out.exists() and not log_json:
        print(f"note: the older model in {out} is replaced", file=sys.stderr)
    model.save(out)
    print_findings(model.findings, log_json)
    print_table(model.leaderboard())
    print(f"model saved in {out}")
    served = model.status()["state"].tolist()
    if (weak := served.count("fallback")) and not log_json:
        print(f"note: {weak} of {len(served)} series are served by the fallback, not backtested", file=sys.stderr)
    if interrupted:
        _fail(f"interrupted; what was finished is saved in {out}, run the same command for the rest", INTERRUPTED)


@app.command()
@guarded
@with_task(COLUMNS, JUDGED, EFFORT)
def backtest(
    data: Data,
    out: Out,
    horizon: Horizon,
    task: Any,
    config: Any,
    cutoffs: Annotated[int, typer.Option(min=1, help="How often to train, each time on what was known then.")] = 3,
    every: Annotated[int | None, typer.Option(min=1, help="Steps between the cutoffs [the horizon].")] = None,
    log_json: LogJson = False,
) -> None:
    """Train at several cutoffs of DATA and compare with what came: forecasts.parquet and scores.csv in OUT."""
    import forecastml as fm

    with _notes(), listening(sys.stderr, log_json) as listener:
        found = fm.backtest(data, task, config, cutoffs, every, listener)
    found.save(out)
    print_findings(found.findings, log_json)
    print_table(found.overall())
    print(f"forecasts.parquet and scores.csv written to {out}")


@app.command()
@guarded
def demo(
    out: Annotated[
        Path, typer.Option(help="Folder to write the data, the model, the forecast and the plot to.")
    ] = Path("forecastml-demo"),
) -> None:
    """Show it all on embedded data: train, leaderboard, forecast, plot, and the commands for data of your own."""
    from forecastml import demo as story

    with _notes(), listening(sys.stderr, False) as listener:
        result = story.demo(out, listener)
    print_table(result.model.leaderboard())
    for name, path in result.files.items():
        print(f"{name + ':':10}{path}")
    print()
    print(result.next_steps)


@app.command()
@guarded
def forecast(
    model: Model,
    out: Annotated[Path, typer.Option(help="CSV or Parquet file to write.")],
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps to forecast [as trained].")] = None,
    future: Annotated[Path | None, typer.Option(exists=True, help="Known covariates of the steps to forecast.")] = None,
    missing_future: Annotated[
        str | None, typer.Option(help="Known covariates that are missing: nan, carry, forecast or error [as trained].")
    ] = None,
    context: Annotated[Path | None, typer.Option(exists=True, help="Rows newer than the training data.")] = None,
    quantiles: Annotated[str | None, typer.Option(metavar="0.1,0.9", help="Quantile levels [as trained].")] = None,
    only: Annotated[list[str], typer.Option(metavar="KEY", help="Forecast this series alone; may be repeated.")] = [],  # noqa: B006
    plot: Annotated[Path | None, typer.Option(help="Picture to draw: .png, .svg or .pdf.")] = None,
) -> None:
    """Forecast with the model in folder MODEL: the mean and a column per quantile level."""
    import forecastml as fm
    from forecastml.data.frames import write_table

    if out.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--out {out} must end in .csv or .parquet")
    if plot is not None and plot.suffix not in PICTURES:
        raise ConfigError(f"--plot {plot} must end in {', '.join(PICTURES)}")
    trained = fm.load(model)
    if not isinstance(trained, fm.Forecaster):
        raise ConfigError(f"{model} is a model of rows, not of series; use it from Python: fm.load(...).predict(table)")
    with _notes():
        trained = trained if context is None else trained.append(context)
        frame = trained.forecast(
            future=future,
            horizon=horizon,
            quantiles=None if quantiles is None else numbers(quantiles, "--quantiles", float),
            series=_keys(only),
            missing_future=missing_future,
        )
    write_table(frame, out)
    print(f"{len(frame)} rows written to {out}")
    if plot is not None:
        trained.plot(frame).savefig(plot)
        print(f"plot written to {plot}")


@app.command()
@guarded
def leaderboard(
    model: Model,
    metric: Annotated[str | None, typer.Option(help="Metric to report [the one optimised].")] = None,
) -> None:
    """Show what was tried for the model in folder MODEL, with losses, weights and coverage."""
    import forecastml as fm

    print_table(fm.load(model).leaderboard(metric=metric))


@app.command()
@guarded
def explain(
    model: Model,
    by: Annotated[str, typer.Option(help="raw (columns), engineered (features) or component (level, ...).")] = "raw",
    future: Annotated[
        Path | None, typer.Option(exists=True, help="Known covariates of the steps to forecast; rows, where none are.")
    ] = None,
    missing_future: Annotated[
        str | None, typer.Option(help="Known covariates that are missing: nan, carry, forecast or error [as trained].")
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps to forecast [as trained].")] = None,
    only: Annotated[list[str], typer.Option(metavar="KEY", help="Explain this series alone; may be repeated.")] = [],  # noqa: B006
    importance: Annotated[
        str | None, typer.Option(help="gain, contribution or permutation [gain where there are gains].")
    ] = None,
    actual: Annotated[
        Path | None, typer.Option(exists=True, help="Rows that came true, to measure permutation importance on.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV or Parquet file to write all contributions to.")] = None,
) -> None:
    """Show what the forecasts of the model in folder MODEL are the sum of, and how much each feature matters."""
    import forecastml as fm
    from forecastml.data.frames import write_table
    from forecastml.importance import best_way

    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--out {out} must end in .csv or .parquet")
    trained = fm.load(model)
    kind = importance or best_way(trained)
    if actual is not None and kind != "permutation":
        raise ConfigError("--actual is for --importance permutation alone; leave it out")
    series = isinstance(trained, fm.Forecaster)
    with _notes():
        frame = trained.explain(future, _keys(only), horizon, by=by, missing_future=missing_future)
        # Rows to predict may hold the target; future rows of series do not.
        shuffled = kind == "permutation" and (series or actual is not None)
        worth = trained.importance(kind, by, actual if shuffled else future)
    print_contributions(frame)
    print(f"\nimportance by {kind}:")
    print_table(worth)
    if out is not None:
        write_table(frame, out)
        print(f"{len(frame)} rows written to {out}")


def _keys(only: list[str]) -> list[tuple[str, ...]] | None:
    """Keys of series; each is one record of CSV, so that a text with a comma can be quoted."""
    return [tuple(next(csv.reader([key], skipinitialspace=True))) for key in only] or None


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """Warnings to the user as notes on stderr."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", ForecastWarning)
        yield
    for note in notes:
        print(f"note: {note.message}", file=sys.stderr)


def _check_model_folder(folder: Path) -> None:
    """Raise `ConfigError` when `folder` holds anything but a model of ours, before time is spent on training."""
    from forecastml.storage import is_model

    empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not empty and not is_model(folder):
        raise ConfigError(f"--out {folder} exists and is not a model; name another folder or remove it yourself")


if __name__ == "__main__":
    main()
