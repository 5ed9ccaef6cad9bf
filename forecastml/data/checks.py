"""What was found in the data: one `Finding` per kind of defect, never one per row."""

from __future__ import annotations

from dataclasses import dataclass

from forecastml.errors import ConfigError

SEVERITIES = ("fixed", "alert", "error")


@dataclass(frozen=True)
class Finding:
    """One kind of defect in one table.

    code: a stable name ("gaps"); severity: "fixed" (mended, harmless), "alert" (mended or left, look at it) or
    "error" (cannot be used); message: what was found, with the first series named; series, column: the one concerned,
    "" when several; count: rows or series concerned; remedy: what the user can do.
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
