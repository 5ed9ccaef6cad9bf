"""What the command line prints: tables, findings and guardrails."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from forecastml.progress import JsonLines


def print_findings(findings: Sequence[Any], log_json: bool) -> None:
    """Tell on stderr what was mended or looks wrong in the data."""
    for finding in findings:
        if log_json:
            JsonLines(sys.stderr)({"event": "finding", **asdict(finding)})
        else:
            print("; ".join(filter(None, (f"{finding.severity}: {finding.message}", finding.remedy))), file=sys.stderr)


def print_table(frame: Any) -> None:
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


def print_guardrails(rows: Sequence[Any]) -> None:
    """What was looked at and how it ended, a line per check; what was found is told by `print_findings`."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 10_000
    cells = {
        "check": [row.title for row in rows],
        "state": [row.state for row in rows],
        "count": [str(row.count or "") for row in rows],
        "code": [row.code for row in rows],
    }
    Console(file=sys.stdout, width=width, markup=False, highlight=False).print(_table(cells))


def _table(cells: dict[str, list[str]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in cells:
        table.add_column(name, overflow="fold", no_wrap=name not in ("learner", "error", "message", "remedy", "text"))
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    return table


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
