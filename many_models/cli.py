"""The command line: `many-models run | status | resume | retrain | update | rollback | forecast | results | ...`.

Exit codes: 0 all well, 1 the run failed, 2 some groups failed within the allowed share, 3 the store is in use, 64 wrong
usage or bad input, 130 interrupted. The package itself is imported inside the commands, so that help comes at once.
"""

from __future__ import annotations

import csv
import functools
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec

import typer

from forecastml.cli_options import COLUMNS, EFFORT, JUDGED, names, numbers, with_task
from forecastml.errors import ConfigError, DeadlineExceeded, ForecastMLError, LearnerError
from many_models.cli_options import with_settings
from many_models.cli_output import print_leaderboard, print_results, print_status, print_summary
from many_models.errors import RunFailed, StoreFull, StoreInUse
from many_models.progress import listening
from many_models.signals import terminated_as_interrupted

FAILED, SOME_FAILED, IN_USE, BAD_INPUT, INTERRUPTED = 1, 2, 3, 64, 130
#: Commands that train, which `resume` goes on with.
TRAINING = ("run", "resume", "retrain", "update")
#: How to retrain -> what it says.
WHICH = {
    "failed": "Groups that failed.",
    "quarantined": "Groups that failed, those that took their worker down too.",
    "stale": "Groups with other rows than they learned from, and new ones [default].",
    "all": "All groups.",
}

Arguments = ParamSpec("Arguments")

app = typer.Typer(
    help="One AutoML model for each group of a table: train, look, forecast, update. Everything is kept in a store.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; the console script."""
    try:
        app(prog_name="many-models")
    except SystemExit as done:
        # The argument parser says 2 for wrong usage; here 2 means that some groups failed.
        sys.exit(BAD_INPUT if done.code == 2 and not isinstance(done, _Code) else done.code)


class _Code(SystemExit):
    """An exit code that a command chose."""


def guarded(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """The command with every way to fail turned into one message and an exit code; SIGTERM stops it as Ctrl-C does."""

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            with terminated_as_interrupted():
                command(*args, **kwargs)
        except (typer.Exit, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            hint = "; finished groups are kept, go on with: many-models resume --store {}".format(kwargs.get("store"))
            _fail(f"interrupted{hint if command.__name__ in TRAINING else ''}", INTERRUPTED)
        except StoreInUse as error:
            _fail(f"error: {error}", IN_USE)
        except (StoreFull, RunFailed, LearnerError, DeadlineExceeded) as error:
            _fail(f"error: {error}", FAILED)
        except (ForecastMLError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            _fail(f"error: {error}", BAD_INPUT)
        except Exception as error:
            with tempfile.NamedTemporaryFile(
                "w", prefix="many-models-", suffix=".log", delete=False, encoding="utf-8"
            ) as log:
                traceback.print_exc(file=log)
            _fail(f"internal error: {type(error).__name__}: {error}\nthe traceback is in {log.name}", FAILED)

    return run


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    _leave(code)


def _leave(code: int) -> NoReturn:
    raise _Code(code)


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


Rows = Annotated[
    str, typer.Argument(metavar="DATA", help="CSV file, Parquet file or folder of Parquet files, or its address.")
]
Newer = Annotated[str, typer.Option(metavar="DATA", help="CSV file, Parquet file or folder, or its address.")]
Folder = Annotated[Path, typer.Option("--store", help="Folder of the store.")]
Groups = Annotated[
    list[str],
    typer.Option("--group", metavar="KEY", help="This group alone, A,B for several columns; may be repeated."),
]
LogJson = Annotated[bool, typer.Option("--log-json", help="Progress as JSON lines on stderr.")]

_COLUMNS = {name: told for name, told in COLUMNS.items() if name != "group"}
#: Limits of time are per group here, and batches run side by side, not learners.
_EFFORT = {name: told for name, told in EFFORT.items() if name not in ("workers", "time_limit")}


@app.command()
@guarded
@with_task(_COLUMNS, JUDGED, _EFFORT)
@with_settings
def run(
    data: Rows,
    partition: Annotated[str, typer.Option(metavar="A,B", help="Columns whose values tell the groups apart.")],
    store: Folder,
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")],
    task: Any,
    config: Any,
    changes: Any,
    scope: Annotated[
        str, typer.Option(help="A group's ensemble is chosen by its own folds (group), a search of its own, or global.")
    ] = "group",
    log_json: LogJson = False,
) -> None:
    """Train a model for each group of DATA and keep them all in a store."""
    import many_models as mm

    settings = replace(mm.Settings(), scope=scope, **changes)
    _train(store, settings, log_json, lambda s: mm.run(data, names(partition), task, config, store, s))


@app.command()
@guarded
@with_settings
def resume(
    store: Folder,
    changes: Any,
    log_json: LogJson = False,
) -> None:
    """Go on with a run that was cut short; what is not given stays as it was."""
    import many_models as mm

    _train(store, replace(_last(store), **changes), log_json, lambda s: mm.resume(store, s))


@app.command()
@guarded
@with_settings
def retrain(
    store: Folder,
    changes: Any,
    failed: Annotated[bool, typer.Option("--failed", help=WHICH["failed"])] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help=WHICH["quarantined"])] = False,
    stale: Annotated[bool, typer.Option("--stale", help=WHICH["stale"])] = False,
    every: Annotated[bool, typer.Option("--all", help=WHICH["all"])] = False,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="The rows, where they are not as before.")] = None,
    log_json: LogJson = False,
) -> None:
    """Train groups anew; a model that serves is replaced by one that is no worse alone."""
    import many_models as mm

    chosen = [name for name, wanted in zip(WHICH, (failed, quarantined, stale, every), strict=True) if wanted]
    if len(chosen) > 1:
        raise ConfigError(f"--{' and --'.join(chosen)} cannot go together; give one of them")
    which = chosen[0] if chosen else "stale"
    _train(store, replace(_last(store), **changes), log_json, lambda s: mm.retrain(store, which, data, s))


@app.command()
@guarded
@with_settings
def update(
    store: Folder,
    data: Newer,
    changes: Any,
    log_json: LogJson = False,
) -> None:
    """Move the models over newer rows: parameters, weights and intervals stay, nothing is fitted."""
    import many_models as mm

    _train(store, replace(_last(store), **changes), log_json, lambda s: mm.update(store, data, s))


@app.command()
@guarded
def rollback(
    store: Folder,
    group: Groups = [],  # noqa: B006
    to: Annotated[int | None, typer.Option(min=1, help="Version that shall serve [the one before].")] = None,
) -> None:
    """Let an older version of all groups, or of some, serve again."""
    import many_models as mm

    print(f"{mm.rollback(store, _keys(group), to):,} groups are served by an older version")


@app.command()
@guarded
def status(store: Folder) -> None:
    """How far the last run is, and all runs; works while a run goes on elsewhere."""
    import many_models as mm

    print_status(mm.status(store))


@app.command()
@guarded
def forecast(
    store: Folder,
    out: Annotated[Path, typer.Option(help="CSV or Parquet file to write.")],
    group: Groups = [],  # noqa: B006
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps to forecast [as trained].")] = None,
    future: Annotated[str | None, typer.Option(metavar="DATA", help="Known covariates of the steps ahead.")] = None,
    context: Annotated[str | None, typer.Option(metavar="DATA", help="Rows newer than the training data.")] = None,
    quantiles: Annotated[str | None, typer.Option(metavar="0.1,0.9", help="Quantile levels [as trained].")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Add the columns model_used and is_fallback.")] = False,
) -> None:
    """Forecast all groups, or some: the mean and a column per quantile level."""
    from many_models.forecasts import Wish, write_forecasts
    from many_models.serving import reading

    levels = None if quantiles is None else numbers(quantiles, "--quantiles", float)
    with reading(store) as opened:
        told = write_forecasts(opened, out, _keys(group), Wish(horizon, levels, future, context, labels))
    for text in told.texts:
        print(f"note: {text}", file=sys.stderr)
    print(f"{told.rows:,} rows of {told.served:,} groups written to {out}")
    if told.lacking or told.restored:
        _leave(SOME_FAILED)


@app.command()
@guarded
@with_settings
def backtest(
    store: Folder,
    out: Annotated[Path, typer.Option(help="New folder to write to.")],
    changes: Any,
    folds: Annotated[int, typer.Option(min=1, help="Cutoffs, or origins of the stored models.")] = 3,
    step: Annotated[int | None, typer.Option(min=1, help="Periods between them [the horizon].")] = None,
    context: Annotated[
        str | None, typer.Option(metavar="DATA", help="Newer rows that the stored models roll through, without a fit.")
    ] = None,
) -> None:
    """Compare what the models would have forecast with what came: forecasts.parquet and scores.csv in OUT."""
    import many_models as mm
    from many_models.cli_output import print_backtest

    settings = replace(_last(store), **changes)
    found = mm.backtest(store, out, folds, step, context, settings)
    print_backtest(found)
    if found.failed:
        _leave(SOME_FAILED if found.failed < found.groups else FAILED)


@app.command()
@guarded
def results(
    store: Folder,
    run: Annotated[int | None, typer.Option(min=1, help="Number of a run [the last version of each group].")] = None,
    state: Annotated[str, typer.Option(metavar="A,B", help="Only groups that ended so, such as failed.")] = "",
    out: Annotated[Path | None, typer.Option(help="CSV or Parquet file to write, with all columns.")] = None,
) -> None:
    """How each group ended: state, model, losses, errors."""
    import many_models as mm
    from many_models.protocols import STATES

    states = names(state) or STATES
    if out is None:
        print_results(store, run, states)
        return
    mm.results(store, run, states, out)
    print(f"results written to {out}")


@app.command()
@guarded
def leaderboard(store: Folder) -> None:
    """How good the models are over all groups, what serves them, and the worst groups."""
    import many_models as mm

    print_leaderboard(mm.leaderboard(store))


@app.command()
@guarded
def fsck(
    store: Folder,
    repair: Annotated[bool, typer.Option("--repair", help="Go back to whole versions, queue what is lost.")] = False,
) -> None:
    """Check that a store is whole: every file, every model that serves; exit code 1 when something is lost."""
    from many_models.fsck import fsck as check
    from many_models.store import Store

    with Store.open(store, write=repair) as opened:
        problems = check(opened, repair)
    for problem in problems:
        print(f"{problem.kind}: {problem.text}")
    print(
        f"{len(problems)} problems" + (", repaired" if repair and problems else "")
        if problems
        else "the store is whole"
    )
    # Files that nobody names take room alone.
    if not repair and any(problem.kind not in ("orphan", "unfinished") for problem in problems):
        _leave(FAILED)


@app.command()
@guarded
def gc(
    store: Folder,
    keep: Annotated[int, typer.Option(min=1, help="Versions per group whose models stay.")] = 1,
    grace: Annotated[float, typer.Option(min=0, help="Seconds for which files stay for others who read them.")] = 0.0,
) -> None:
    """Make room: remove models of older versions and files that nothing needs."""
    from many_models.compaction import gc as clear
    from many_models.shard import rewritten
    from many_models.store import Store

    with Store.open(store, write=True) as opened:
        freed = clear(opened, keep, rewritten, grace)
    print(f"{freed.files:,} files removed, {freed.bytes:,} bytes; {freed.compacted:,} shards cut")
    if freed.damaged:
        print(f"note: {freed.damaged:,} damaged shards were left: `many-models fsck --repair`", file=sys.stderr)


def _train(store: Path, settings: Any, log_json: bool, work: Callable[[Any], Any]) -> None:
    """A run under a bar or a log, its summary, and its exit code."""
    with listening(sys.stderr, log_json) as listener:
        summary = work(replace(settings, listener=listener))
    print_summary(summary, store)
    if summary.exit_code:
        _leave(summary.exit_code)


def _last(store: Path) -> Any:
    """The settings of the last run of a store; those that are usual where there is none."""
    from many_models.serving import reading
    from many_models.settings import Request, Settings

    with reading(store) as opened:
        last = opened.runs.last()
    return Settings() if last is None else Request.from_json(last.job).settings


def _keys(groups: list[str]) -> list[tuple[str, ...]] | None:
    """Keys, each one record of CSV, so that a text with a comma can be quoted; None for all groups."""
    return [tuple(next(csv.reader([key], skipinitialspace=True))) for key in groups] or None


if __name__ == "__main__":
    main()
