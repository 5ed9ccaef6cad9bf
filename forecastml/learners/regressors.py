"""Columns of a regression on one series: waves of its seasons, and known covariates as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecastml.attribution import Term, covariate, season_term
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency, Schema
from forecastml.features.moments import grid_steps
from forecastml.features.waves import Wave, waves
from forecastml.kernels.lags import filled_forward

#: A categorical covariate with more levels is left out.
MOST_LEVELS = 12
#: Known values that one more column of known covariates takes.
VALUES_PER_COLUMN = 6
#: Days of a year, leap years included.
YEAR = 365.25
#: A series, or a column once others are taken out, that varies less than this does not vary.
FLAT = 1e-9

#: Longest season that is part of an ARIMA; its state grows with the season.
LONGEST_EXACT = 12
#: Numbers of harmonics to choose from.
HARMONICS = (1, 2, 3, 5, 8, 12)
#: What in an ARIMA is not regression: level, trend and exact season together.
ARIMA = Term("arima", component="level")


@dataclass(frozen=True)
class KnownColumns:
    """Known covariates as columns: (column, -1) is the number itself, (column, code) says where it has this code."""

    columns: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, panel: Panel) -> KnownColumns:
        """All known covariates of a panel, but for categorical ones of more than `MOST_LEVELS` levels."""
        columns = []
        for place, name in enumerate(panel.schema.known):
            if name not in panel.categories:
                columns.append((place, -1))
            elif len(panel.categories[name]) <= MOST_LEVELS:
                columns += [(place, code) for code in range(len(panel.categories[name]))]
        return cls(tuple(columns))

    def table(self, panel: Panel, series: int, rows: int) -> np.ndarray:
        """float64 (rows, columns) from the first value of the series on.

        A missing number is the last one before it, NaN when there is none; an unseen category has no indicator set.
        """
        found = np.full((rows, len(self.columns)), np.nan)
        begin = panel.known_begin[series]
        there = panel.known[begin : min(begin + rows, panel.known_end[series])]
        for place, (column, code) in enumerate(self.columns):
            values = there[:, column]
            found[: len(there), place] = values if code < 0 else values == code
            if code >= 0:
                found[len(there) :, place] = 0.0
            else:
                found[:, place] = filled_forward(found[:, place], np.array([0]), np.array([rows]))
        return found


def column_terms(seasons: Sequence[Wave], known: KnownColumns, schema: Schema, first: int) -> dict[Term, list[int]]:
    """The columns, from `first` on, of each wave (its period in steps) and then of each known covariate."""
    found: dict[Term, list[int]] = {}
    for wave in seasons:
        found[season_term(wave.period)] = list(range(first, first + 2 * len(wave.harmonics)))
        first += 2 * len(wave.harmonics)
    for place, (column, _) in enumerate(known.columns):
        found.setdefault(covariate(schema.known[column]), []).append(first + place)
    return found


def calendar_period(season: int, frequency: Frequency) -> float:
    """Length in steps of a season of `season` steps: years of days and weeks are not whole.

    >>> calendar_period(365, Frequency("day")), calendar_period(12, Frequency("month_start"))
    (365.25, 12.0)
    """
    if frequency.unit == "day" and season * frequency.step in (52 * 7, 365):
        return YEAR / frequency.step
    return float(season)


def divided(seasons: tuple[int, ...], frequency: Frequency) -> tuple[int, tuple[Wave, ...]]:
    """The first season of up to `LONGEST_EXACT` steps, 1 for none, and the longer ones as waves, shortest first.

    No harmonic is told twice.
    """
    exact = [m for m in seasons if 1 < m <= LONGEST_EXACT][:1]
    taken = {round(k / m, 9) for m in exact for k in range(1, m)}
    periods = sorted(calendar_period(m, frequency) for m in seasons if m > LONGEST_EXACT)
    return exact[0] if exact else 1, waves(periods, [HARMONICS[-1]] * len(periods), taken)


def grid_positions(panel: Panel, series: int, rows: int) -> np.ndarray:
    """Positions on the grid in steps, from the first value of the series on: float64 (rows,), by the local clock."""
    ordinals = panel.start[series] + panel.frequency.step * np.arange(rows, dtype=np.int64)
    return grid_steps(ordinals, panel.frequency, panel.tz)


@dataclass(frozen=True)
class Choice:
    """Columns of a regression to choose from: (first column, harmonics) of each wave, and those of known covariates."""

    waves: tuple[tuple[int, int], ...] = ()
    known: range = range(0)


def chosen_columns(y: np.ndarray, x: np.ndarray, known: int, choice: Choice) -> list[int]:
    """Columns of x that are used, without the first: harmonics by AICc, known covariates that say something new.

    The AICc is that of a regression which has two earlier values of the series beside the columns: they stand for the
    ARMA errors, without which any number of harmonics looks significant.
    """
    base = np.column_stack([np.ones(len(y) - 2), np.arange(len(y) - 2) / len(y), y[1:-1], y[:-2]])
    chosen: list[int] = []
    for first, harmonics in choice.waves:
        numbers = sorted({min(k, harmonics) for k in HARMONICS})
        options = [chosen, *([*chosen, *range(first, first + 2 * k)] for k in numbers)]
        criteria = [_aicc(y[2:], np.column_stack([base, x[2:, option]]), known - 2) for option in options]
        chosen = options[int(np.argmin(criteria))]
    room = known // VALUES_PER_COLUMN
    for column in choice.known:
        if len(chosen) < room and _says_something_new(x, chosen, column):
            chosen = [*chosen, column]
    return chosen


def _aicc(y: np.ndarray, x: np.ndarray, known: int) -> float:
    """AICc of a linear regression; inf when it has too many columns."""
    k = x.shape[1] + 1
    if known - k - 1 < 1:
        return np.inf
    rest = y - x @ np.linalg.lstsq(x, y, rcond=1e-10)[0]
    return known * np.log(max(np.mean(np.square(rest)), FLAT**2)) + 2 * k + 2 * k * (k + 1) / (known - k - 1)


def _says_something_new(x: np.ndarray, chosen: list[int], column: int) -> bool:
    """Whether the column is neither constant nor a sum of chosen ones, of time and of a constant."""
    values = x[:, column] - x[:, column].mean()
    size = np.sqrt(np.mean(np.square(values)))
    if size <= FLAT:
        return False
    others = np.column_stack([np.ones(len(x)), np.arange(len(x)) / len(x), x[:, chosen]])
    rest = values - others @ np.linalg.lstsq(others, values, rcond=1e-10)[0]
    return bool(np.sqrt(np.mean(np.square(rest))) > 1e-6 * size)
