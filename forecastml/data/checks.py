"""What was found in the data: one `Finding` per kind of defect, never one per row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, DataError, FrequencyError, FutureError

SEVERITIES = ("fixed", "alert", "error")
#: Series that a message names.
NAMED = 5

#: Code of a check -> its title in the table of guardrails, in the order of looking: the reader's, then the doctor's.
CODES = {
    "unreadable": "The table can be read",
    "empty_key": "Every row has a key",
    "series_detected": "The series columns are named",
    "missing_time": "Every row has a time",
    "unreadable_time": "Every time can be read",
    "mixed_offsets": "Times are written with one offset from UTC",
    "unsorted": "Rows are in order of time",
    "text_in_numbers": "Columns of numbers hold numbers",
    "infinite": "Numbers are finite",
    "mixed_group": "A series belongs to one group",
    "static_varies": "Static columns are constant",
    "masked": "No row is masked",
    "negative_weight": "Weights are 0 or more",
    "duplicates": "A series has one row per time",
    "aggregated": "Rows have the frequency wanted",
    "sparse_periods": "Periods are sums of as many rows as usual",
    "frequency": "The time column has a frequency",
    "mixed_frequency": "All series have one frequency",
    "off_grid": "Times lie on the grid of the frequency",
    "desert": "No date is far from the others",
    "gaps": "No period lacks its row",
    "no_values": "Every series has values",
    "stale": "Every series is up to date",
    "constant": "Series vary",
    "all_zero": "Series are not all zero",
    "mostly_zero": "Series are not mostly zero",
    "negative": "Counts are not negative",
    "short": "Series are long enough to compare models",
    "level_shift": "Levels hold",
    "outliers": "No value is far off",
    "covariate_missing": "Covariates have no holes",
    "covariate_constant": "Covariates vary",
    "leak": "No covariate gives the target away",
    "clock_change": "Times do not jump with the clocks",
}


@dataclass(frozen=True)
class Finding:
    """One kind of defect in one table.

    code: a stable name ("gaps"), one of `CODES`; severity: "fixed" (mended, harmless), "alert" (mended or left, look
    at it) or "error" (cannot be used); message: what was found, with the first series named; series, column: the one
    concerned, "" when several; count: rows or series concerned; remedy: what the user can do.
    """

    code: str
    severity: str
    message: str
    series: str = ""
    column: str = ""
    count: int = 1
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ConfigError(f"severity {self.severity!r} is unknown; one of {', '.join(SEVERITIES)}")

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, eq=False)
class Reading:
    """What came of reading a table.

    data: a panel, or a table of rows; None only when nothing could be read; findings: what was mended or is wrong;
    skipped: keys of the series that a policy left out, object (series, key columns), all text.
    """

    data: Any
    findings: tuple[Finding, ...]
    skipped: np.ndarray

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings for which the table cannot be used as it is."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


@dataclass(frozen=True)
class Guardrail:
    """One check and how it ended: state "passed", "fixed" or "alerted"; count: rows or series concerned; text: why."""

    code: str
    title: str
    state: str
    count: int
    text: str


def guardrails(findings: Iterable[Finding], codes: Sequence[str] = tuple(CODES)) -> list[Guardrail]:
    """One row per check that was made, in the order of `CODES`, and what it found.

    codes: the checks that were made; codes of findings beyond them follow in order of appearance.
    """
    found: dict[str, list[Finding]] = {code: [] for code in codes}
    for finding in findings:
        found.setdefault(finding.code, []).append(finding)
    rows = []
    for code, own in found.items():
        state = "alerted" if any(f.severity != "fixed" for f in own) else "fixed" if own else "passed"
        text = ". ".join(str(finding) for finding in own)
        rows.append(Guardrail(code, CODES.get(code, code), state, sum(f.count for f in own), text))
    return rows


def alert(
    panel: Panel, code: str, column: str, concerned: tuple[np.ndarray, Sequence[str]], what: str, remedy: str
) -> Finding:
    """An alert over some series (positions, details of the first ones); `what` holds `{}` where their names go."""
    series, details = concerned
    names = [panel.label(int(i)) for i in series[:NAMED]]
    if len(details):
        names = [f"{name} {detail}" for name, detail in zip(names, details, strict=False)]
    more = f" and {len(series) - NAMED} more" if len(series) > NAMED else ""
    only = panel.label(int(series[0])) if len(series) == 1 else ""
    return Finding(code, "alert", what.format(", ".join(names) + more), only, column, len(series), remedy)


def refusal(code: str, failure: DataError) -> Finding:
    """An exception as a finding: its text names the remedy after the last semicolon."""
    message, _, remedy = str(failure).rpartition("; ")
    return Finding(code, "error", message or remedy, remedy=remedy if message else "")


def refuse(findings: Iterable[Finding], future: bool) -> None:
    """Raise one exception that says all errors among the findings, each with its remedy.

    `FutureError` when `future`, `FrequencyError` when the frequency is the only trouble, otherwise `DataError`.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    text = str(errors[0])
    if len(errors) > 1:
        text = "\n".join([f"{len(errors)} defects:", *(f"{i}. {error}" for i, error in enumerate(errors, start=1))])
    frequency = all(error.code == "frequency" for error in errors)
    raise (FutureError if future else FrequencyError if frequency else DataError)(text)
