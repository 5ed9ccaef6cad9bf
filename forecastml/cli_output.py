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


def print_contributions(frame: Any, most: int = 10, rows: int = 3) -> None:
    """The largest contributions to the first forecasts of a table of `FittedModel.explain`: a column for each of them,
    members together, what is small in one line, and the sum."""
    place, size = list(frame.columns).index("member"), 1000
    while True:
        # The first forecasts come first, and there may be millions of rows.
        head = frame.iloc[:size]
        keys = list(zip(*(head[name].tolist() for name in frame.columns[:place]), strict=True))
        distinct = list(dict.fromkeys(keys))
        if len(distinct) > rows or size >= len(frame):
            break
        size *= 4
    shown = distinct[:rows]
    parts: dict[str, list[float]] = {}
    for key, feature, value in zip(keys, head["feature"].tolist(), head["contribution"].tolist(), strict=True):
        if key in shown:
            parts.setdefault(feature, [0.0] * len(shown))[shown.index(key)] += value
    order = sorted(parts, key=lambda feature: -max(map(abs, parts[feature])))
    lines = {feature: parts[feature] for feature in order[:most]}
    if len(order) > most:
        lines["others"] = [sum(column) for column in zip(*(parts[name] for name in order[most:]), strict=True)]
    lines["sum"] = [sum(column) for column in zip(*parts.values(), strict=True)]
    titles = [", ".join(str(part) for part in key) for key in shown]
    cells = {"feature": list(lines)}
    cells |= {title: [_cell(values[k]) for values in lines.values()] for k, title in enumerate(titles)}
    _print(cells)


def print_guardrails(rows: Sequence[Any]) -> None:
    """What was looked at and how it ended, a line per check; what was found is told by `print_findings`."""
    cells = {
        "check": [row.title for row in rows],
        "state": [row.state for row in rows],
        "count": [str(row.count or "") for row in rows],
        "code": [row.code for row in rows],
    }
    _print(cells)


def _print(cells: dict[str, list[str]]) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 10_000
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
