"""What the columns of a table mean, and the grid that its time column lies on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forecastml.errors import ConfigError

#: Units a grid can have. Weeks are 7 days, quarters 3 months, years 12 months; the anchor follows from the start.
UNITS = ("microsecond", "day", "business_day", "month_start", "month_end", "integer", "wall_clock")
#: Units that count microseconds: of elapsed time, or of the local clock of a zone (see `data.zones`).
CLOCK_UNITS = ("microsecond", "wall_clock")


@dataclass(frozen=True)
class Frequency:
    """A regular grid in time: every `step` units.

    A point of the grid is an int64 ordinal counted in units (microseconds, days, business days or months since
    1970-01-01, microseconds of the local clock for "wall_clock"; plain integers as they are), so that the points of a
    series are `start + step * arange(n)`.
    `time_of_day` (microseconds) is added to day and month grids whose points are not at midnight.
    """

    unit: str
    step: int = 1
    time_of_day: int = 0

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError(f"frequency unit {self.unit!r} is unknown; one of {', '.join(UNITS)}")
        if self.step < 1:
            raise ConfigError(f"frequency step is {self.step}; it must be 1 or more")


def names(columns: str | Iterable[str] | None) -> tuple[str, ...]:
    """Column names as a tuple: accepts one name, several, or None."""
    if columns is None:
        return ()
    if isinstance(columns, str):
        return (columns,)
    return tuple(str(column) for column in columns)


@dataclass(frozen=True)
class Schema:
    """The role of every column that is used; columns without a role are ignored.

    series: key columns, one series per distinct value (none: the table is one series); group: key columns whose
    rows share a model (a subset of what identifies a series; none: each series is its own group); time; target;
    known / past / static: covariates known in the future, known up to the origin only, constant per series;
    weight: row weights; mask: true or 1 where a row is left out (sold out, closed): its target counts as missing.
    """

    target: str
    time: str | None = None
    series: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    weight: str | None = None
    mask: str | None = None

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for role, columns in self.roles().items():
            for column in columns:
                if column in seen and {seen[column], role} != {"series", "group"}:
                    raise ConfigError(
                        f"column {column!r} is given as {seen[column]} and as {role}; give each column one role"
                    )
                seen[column] = role

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Role -> columns, in a fixed order."""
        return {
            "target": (self.target,),
            "time": names(self.time),
            "series": self.series,
            "group": self.group,
            "known": self.known,
            "past": self.past,
            "static": self.static,
            "weight": names(self.weight),
            "mask": names(self.mask),
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that has a role, once."""
        return tuple(dict.fromkeys(column for columns in self.roles().values() for column in columns))
