"""What the command line prints of a store: summaries, status, results, leaderboards."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forecastml.cli_output import print_table
from many_models.progress import duration

#: Groups that are printed, and letters of what serves them; a file holds all of it.
SHOWN, LONGEST = 50, 60
#: Columns that are printed, after those of the key.
BRIEF = ("run", "version", "state", "model_used", "loss", "baseline", "label", "error_code", "error", "seconds")


def print_backtest(found: Any) -> None:
    """Mean scores over series, a column per model, and where the rest is."""
    models = list(found.scores)
    metrics = sorted({metric for scores in found.scores.values() for metric in scores})
    rows = [[metric, *(_number(found.scores[model].get(metric)) for model in models)] for metric in metrics]
    for row in [["metric", *models], *rows]:
        print("  ".join(f"{cell:22}" for cell in row).rstrip())
    print(f"{found.groups - found.failed:,} of {found.groups:,} groups; everything is in {found.folder}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def print_summary(summary: Any, store: Path) -> None:
    """How a run ended, where its results are, and what to do next."""
    rate = f", {summary.groups / summary.seconds:,.1f} a second" if summary.seconds > 0 and summary.groups else ""
    print(f"run {summary.run} {summary.state}: {summary.groups:,} groups in {duration(summary.seconds)}{rate}")
    if text := _counted(summary.counts):
        print(text)
    if summary.better == summary.better:
        print(f"{summary.better:.1%} of the judged groups are at or below their baseline out of fold")
    print(f"everything is in {store}; next:")
    print(f"  many-models leaderboard --store {store}")
    print(f"  many-models forecast --store {store} --out forecast.csv")
    if summary.failed:
        print(f"  many-models results --store {store} --state failed,quarantined")
        which = "failed" if summary.counts.get("failed") else "quarantined"
        print(f"  many-models retrain --{which} --store {store}")
    if summary.state == "failed":
        text = f"error: {summary.failed:,} of {summary.groups:,} groups failed, more than --max-failed allows"
        print(f"{text}; the others are served", file=sys.stderr)


def print_status(status: Any) -> None:
    """How the last run stands, and all runs."""
    print(f"store {status.store}, in use by {status.holder}" if status.holder else f"store {status.store}, not in use")
    if not status.run:
        print("no run yet")
        return
    note = f": {status.note}" if status.note else ""
    print(f"run {status.run} ({status.kind}) {status.state}{note}")
    pace = [f"{status.done:,} of {status.total:,} groups in {duration(status.seconds)}"]
    if status.rate == status.rate:
        pace.append(f"{status.rate:,.1f} a second")
    if status.left == status.left:
        pace.append(f"about {duration(status.left)} left")
    print(f"{status.phase + ': ' if status.phase else ''}{', '.join(pace)}")
    if text := _counted(status.counts):
        print(text)
    if status.state in ("paused", "interrupted"):
        print(f"go on with: many-models resume --store {status.store}")
    print_table(status.runs)


def print_results(store: Path, run: int | None, states: Sequence[str]) -> None:
    """The first groups of the results, and how many there are."""
    from many_models.results_table import FIELDS, result_tables
    from many_models.serving import reading

    with reading(store) as opened:
        tables = result_tables(opened, run, states)
        first = next(tables)
        count = first.num_rows + sum(table.num_rows for table in tables)
    columns = first.column_names
    keys = columns[: len(columns) - len(FIELDS)]
    brief = [name for name, field in zip(columns[len(keys) :], FIELDS, strict=True) if field in BRIEF]
    print_table(_short(first.select([*keys, *brief]).slice(0, SHOWN).to_pandas()))
    print(f"{count:,} groups" + (f", {SHOWN} shown: --out FILE for all of them" if count > SHOWN else ""))


def print_leaderboard(board: Any) -> None:
    """The tables of a leaderboard, one below the other."""
    print(_counted(board.states) or "no groups")
    better = "" if board.better != board.better else f", {board.better:.1%} of them at or below their baseline"
    print(f"{board.serving:,} groups are served, {board.judged:,} were judged out of fold{better}")
    titles = {
        "losses": "losses over groups",
        "learners": "what serves the groups",
        "worst": "the worst groups, by loss against baseline",
        "tried": "what was tried to learn what groups share",
    }
    for name, title in titles.items():
        table = getattr(board, name)
        if len(table):
            print(f"\n{title}")
            print_table(_short(table))


def _short(table: Any) -> Any:
    """The table with long descriptions of models cut: files hold all of them."""
    names = [name for name in table.columns if name.rstrip("_") == "model_used"]
    return table.assign(**{name: [_cut(text) for text in table[name]] for name in names})


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
