"""What the date of a point tells, declared as data: fields of the calendar, their cycles, waves, slots, age, holidays.

Each feature is a frozen value whose names follow from its declaration. It tells about a point by its date and series
alone, so that nothing of the future is in it; what it tells of a point does not depend on other points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from forecastml.data.calendar import alias, calendar_fields
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency
from forecastml.errors import ConfigError
from forecastml.features.holiday_features import Holidays
from forecastml.features.moments import Moments, grid_steps, local_ordinals
from forecastml.features.points import Points
from forecastml.features.waves import Wave, waves
from forecastml.protocols import FitContext

#: Calendar fields that are used: not the year, which has no repetition to learn from, and none told twice.
CALENDAR = ("quarter", "month", "day", "wday", "yday", "week", "hour", "minute", "second")
#: Fields that can be declared.
FIELDS = ("year", "half", "quarter", "month", "day", "qday", "wday", "yday", "week")
FIELDS += ("hour", "am_pm", "hour12", "minute", "second")
#: Those whose few values repeat: a linear learner sees them as one column per value.
NOMINAL = ("half", "quarter", "month", "wday", "hour", "am_pm", "hour12", "minute", "second")
#: Field -> first value and mean length of its cycle.
CYCLES = {
    "quarter": (1, 4.0),
    "month": (1, 12.0),
    "day": (1, 365.25 / 12),
    "qday": (1, 365.25 / 4),
    "wday": (0, 7.0),
    "yday": (1, 365.25),
    "week": (1, 365.25 / 7),
    "hour": (0, 24.0),
    "hour12": (0, 12.0),
    "minute": (0, 60.0),
    "second": (0, 60.0),
}


@dataclass(frozen=True)
class Calendar:
    """Fields of the date by the local clock, as numbers: see `data.calendar.calendar_fields`."""

    fields: tuple[str, ...]

    kind: ClassVar[str] = "calendar"
    role: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        _declared(self, "fields", FIELDS)

    @classmethod
    def automatic(cls, frequency: Frequency) -> Calendar:
        """The fields that are used and that the frequency can show; none for integer time."""
        there = calendar_fields(np.zeros(1, np.int64), frequency)
        return cls(tuple(name for name in CALENDAR if name in there))

    @property
    def names(self) -> tuple[str, ...]:
        """The fields."""
        return self.fields

    @property
    def nominal(self) -> tuple[str, ...]:
        """Fields whose few values repeat."""
        return tuple(name for name in self.fields if name in NOMINAL)

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """Each field at each point: float64 (points,)."""
        moments = Moments.of(panel, points)
        return [field[moments.where] for field in _fields(self.fields, panel, moments.ordinals)]


@dataclass(frozen=True)
class Cyclical:
    """Fields of the date as a place on a circle, so that December lies beside January: a sine and a cosine each."""

    fields: tuple[str, ...]

    kind: ClassVar[str] = "cyclical"
    role: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        _declared(self, "fields", tuple(CYCLES))

    @property
    def names(self) -> tuple[str, ...]:
        """`month_sin`, `month_cos` and so on."""
        return tuple(f"{field}_{part}" for field in self.fields for part in ("sin", "cos"))

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """Sine and cosine of each field at each point: float64 (points,)."""
        moments = Moments.of(panel, points)
        found = []
        for name, field in zip(self.fields, _fields(self.fields, panel, moments.ordinals), strict=True):
            first, length = CYCLES[name]
            angle = 2.0 * np.pi * (field - first) / length
            found += [np.sin(angle)[moments.where], np.cos(angle)[moments.where]]
        return found


@dataclass(frozen=True)
class Fourier:
    """Fourier terms of one or several seasons, by the place on the grid of the local clock.

    periods: lengths in steps, not whole ones allowed (365.25); harmonics: how many of each. A harmonic that the grid
    cannot show, or that an earlier period has (the seventh of 168 is the first of 24), is left out.
    """

    periods: tuple[float, ...]
    harmonics: tuple[int, ...]

    kind: ClassVar[str] = "fourier"
    role: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        object.__setattr__(self, "periods", tuple(float(period) for period in self.periods))
        object.__setattr__(self, "harmonics", tuple(int(most) for most in self.harmonics))
        if len(self.periods) != len(self.harmonics):
            raise ConfigError(
                f"Fourier terms have {len(self.periods)} periods and {len(self.harmonics)} numbers of harmonics; give "
                "one number for each period"
            )
        if any(not period > 2 for period in self.periods) or any(most < 1 for most in self.harmonics):
            raise ConfigError("Fourier terms need periods of more than 2 steps and 1 harmonic or more of each")

    @property
    def waves(self) -> tuple[Wave, ...]:
        """The waves, without what would be told twice."""
        return waves(self.periods, self.harmonics)

    @property
    def names(self) -> tuple[str, ...]:
        """`sin1_24`, `cos1_24` and so on: the harmonic and the period in steps."""
        return tuple(
            f"{part}{k}_{wave.period:.10g}" for wave in self.waves for k in wave.harmonics for part in ("sin", "cos")
        )

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """Sine and cosine of each harmonic at each point: float64 (points,)."""
        moments = Moments.of(panel, points)
        at = grid_steps(moments.ordinals, panel.frequency, panel.tz)
        return [column[moments.where] for wave in self.waves for column in wave.columns(at).T]


@dataclass(frozen=True)
class Slots:
    """Places in seasons of so many steps, counted from 0 on the grid of the local clock."""

    seasons: tuple[int, ...]

    kind: ClassVar[str] = "slots"
    role: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seasons", tuple(int(season) for season in self.seasons))
        if any(season < 2 for season in self.seasons):
            raise ConfigError(f"slots of seasons {self.seasons}; a season has 2 steps or more")

    @property
    def names(self) -> tuple[str, ...]:
        """`season12` and so on."""
        return tuple(f"season{season}" for season in self.seasons)

    @property
    def nominal(self) -> tuple[str, ...]:
        """All of them."""
        return self.names

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """The slot of each point in each season: float64 (points,)."""
        moments = Moments.of(panel, points)
        steps = local_ordinals(moments.ordinals, panel.frequency, panel.tz) // panel.frequency.step
        return [(steps % season).astype(np.float64)[moments.where] for season in self.seasons]


@dataclass(frozen=True)
class Age:
    """How many steps a series is old at a point; its first value is 0.

    Whoever tells it must keep `start` and positions of the whole series: of the last rows alone it would begin anew.
    """

    kind: ClassVar[str] = "age"
    role: ClassVar[str] = "point"
    names: ClassVar[tuple[str, ...]] = ("age",)

    def columns(self, panel: Panel, points: Points) -> list[np.ndarray]:
        """The age of each point: float64 (points,)."""
        return [points.position.astype(np.float64)]


#: Features of points by their kind.
POINT_FEATURES = {feature.kind: feature for feature in (Calendar, Cyclical, Fourier, Slots, Age, Holidays)}


def automatic(panel: Panel, context: FitContext) -> tuple[Any, ...]:
    """The features of the date that suit a panel: by frequency the fields, slots for integer time, holidays."""
    if panel.frequency.unit == "integer":
        seasons = tuple(season for season in context.seasons if season > 1)
        return (Slots(seasons),) if seasons else ()
    calendar = Calendar.automatic(panel.frequency)
    found: tuple[Any, ...] = (calendar,) if calendar.fields else ()
    if context.holidays or context.holiday_table:
        found += (Holidays.of(panel, context.holidays, context.holiday_table),)
    return found


def _declared(feature: Any, name: str, known: tuple[str, ...]) -> None:
    """Make a field a tuple of distinct known names; `ConfigError` for another one."""
    given = tuple(getattr(feature, name))
    for field in given:
        if field not in known:
            raise ConfigError(f"{feature.kind} field {field!r} is unknown; use {', '.join(known)}")
    object.__setattr__(feature, name, tuple(dict.fromkeys(given)))


def _fields(names: tuple[str, ...], panel: Panel, ordinals: np.ndarray) -> list[np.ndarray]:
    """These fields of the dates of ordinals; `ConfigError` for one that the frequency cannot show."""
    found = calendar_fields(ordinals, panel.frequency, panel.tz)
    for name in names:
        if name not in found:
            raise ConfigError(
                f"calendar field {name!r} says nothing on a grid of {alias(panel.frequency)}; it has "
                f"{', '.join(found) or 'no dates'}"
            )
    return [found[name] for name in names]
