"""What all series of a panel share in an ARIMA fit, and the columns of their regressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecastml.attribution import Term
from forecastml.data.schema import Schema
from forecastml.kernels.arima import EXTRA
from forecastml.learners.chunks import Chunk
from forecastml.learners.regressors import Choice, KnownColumns, Wave, chosen_columns, column_terms
from forecastml.learners.vectorised import Memory, Settings

#: Fewer known values than this are a random walk: there is nothing to choose by.
SHORTEST = 10


@dataclass(frozen=True)
class ArimaSettings(Settings):
    """season_length: exact season, 1 for none; waves: period and harmonics of each; known: as in `KnownColumns`."""

    waves: tuple[tuple[float, tuple[int, ...]], ...] = ()
    known: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        # Tuples are lists once they were written as JSON.
        object.__setattr__(self, "waves", tuple((period, tuple(k)) for period, k in self.waves))
        object.__setattr__(self, "known", tuple((column, code) for column, code in self.known))

    @property
    def wave_columns(self) -> tuple[Wave, ...]:
        """The waves."""
        return tuple(Wave(period, harmonics) for period, harmonics in self.waves)

    @property
    def known_columns(self) -> KnownColumns:
        """The known covariates."""
        return KnownColumns(self.known)

    @property
    def columns(self) -> int:
        """Columns of the regression."""
        return sum(2 * len(harmonics) for _, harmonics in self.waves) + len(self.known)

    @property
    def back(self) -> int:
        """Values that the differences look back on."""
        return self.season_length + EXTRA

    def choice(self, rows: int) -> Choice:
        """Columns that a series of so many values may use, the first one being blank."""
        waves, first = [], 1
        for period, harmonics in self.waves:
            if rows >= 2 * period and harmonics:
                waves.append((first, len(harmonics)))
            first += 2 * len(harmonics)
        return Choice(tuple(waves), range(first, self.columns + 1))

    def terms(self, schema: Schema) -> dict[Term, list[int]]:
        """The columns of each long season and of each known covariate."""
        return column_terms(self.wave_columns, self.known_columns, schema, 0)

    def regression(self, memory: Memory, rows: int, columns: Sequence[int] | None = None) -> np.ndarray:
        """What the drivers of the memory, or these columns of them, add to the values: float64 (rows, series)."""
        found = np.zeros((rows, len(memory["beta"])))
        if "drivers" in memory:
            for column in range(self.columns) if columns is None else columns:
                centred = memory["drivers"][:, :, column] - memory["centre"][:, column]
                found += np.where(np.isnan(centred), 0.0, centred) * memory["beta"][:, column]
        return found


@dataclass(frozen=True, eq=False)
class Regressors:
    """Drivers of a chunk, centred and of size 1: table (columns, time, series), zeros where unknown or not used;
    used: bool (columns, series); centre, size: float64 (columns, series)."""

    table: np.ndarray
    used: np.ndarray
    centre: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, chunk: Chunk, settings: ArimaSettings, previous: Memory | None) -> Regressors:
        """The columns that suit each series, or those that it had."""
        n, rows = len(chunk), len(chunk.values)
        shape = (settings.columns, n)
        table, used = np.zeros((settings.columns, rows, n)), np.zeros(shape, dtype=bool)
        centre, size = np.zeros(shape), np.ones(shape)
        if chunk.drivers is None:
            return cls(table, used, centre, size)
        for i, length in enumerate(chunk.lengths.tolist()):
            x = chunk.drivers[:length, i].copy()
            there = ~np.isnan(x)
            counts = np.maximum(there.sum(axis=0), 1)
            centre[:, i] = np.where(there, x, 0.0).cumsum(axis=0)[-1] / counts
            x = np.where(there, x - centre[:, i], 0.0)
            spread_ = np.sqrt((x * x).cumsum(axis=0)[-1] / counts)
            size[:, i] = np.where(spread_ > 0, spread_, 1.0)
            x /= size[:, i]
            if previous is not None and previous["searched"][i]:
                used[:, i] = previous["beta"][i] != 0.0
            else:
                used[chosen(chunk.filled[:length, i].copy(), x, settings, int(chunk.known[i])), i] = True
            table[:, :length, i] = np.where(used[:, i], x, 0.0).T
        return cls(table, used, centre, size)


def chosen(values: np.ndarray, x: np.ndarray, settings: ArimaSettings, known: int) -> np.ndarray:
    """Columns that a series uses: int64 (columns,)."""
    spread_ = np.std(values)
    if known < SHORTEST or not spread_ > 0:
        return np.empty(0, np.int64)
    y = (values - np.mean(values)) / spread_
    table = np.column_stack([np.zeros(len(x)), x])
    return np.array(chosen_columns(y, table, known, settings.choice(len(values))), np.int64) - 1


def least_squares(values: np.ndarray, table: np.ndarray, used: np.ndarray, level: bool) -> np.ndarray:
    """Weights of the used columns in each series: float64 (columns, series).

    values: float64 (time, series), NaN where unknown; table: float64 (columns, time, series); used: bool (columns,
    series); level: beside a constant.
    """
    found = np.zeros(used.shape)
    for i in np.flatnonzero(used.any(axis=0)).tolist():
        rows, own = np.flatnonzero(~np.isnan(values[:, i])), np.flatnonzero(used[:, i])
        x = np.column_stack([np.ones(len(rows)) * level, table[own][:, rows, i].T])
        found[own, i] = np.linalg.lstsq(x, values[rows, i], rcond=1e-8)[0][1:]
    return found
