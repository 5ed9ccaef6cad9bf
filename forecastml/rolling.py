"""Rolling forecasts: the origin of a model moved over newer rows, step by step, without refitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from forecastml.data.panel import Panel, ragged_rows
from forecastml.data.wall_clock import passes
from forecastml.errors import ConfigError, NothingToCompare
from forecastml.protocols import Truth

if TYPE_CHECKING:
    import pandas as pd

#: Column of a table of rolling forecasts with the time of the last known period.
CUTOFF = "cutoff"


@dataclass(frozen=True, eq=False)
class Origins:
    """Where rolling forecasts begin: at the training end, then every `step` periods while a row of truth follows.

    panel: history and all newer rows, known covariates as far as `with_known` fills them up; first: int64 (series,),
    values up to the training end. Each series rolls from its own end.

    With horizon 3 and step 2 (t trained, a actual values as context, y forecast and compared):

        origin 0   t t t y y y
        origin 1   t t t a a y y y
        origin 2   t t t a a a a y        the last windows end with the data
    """

    panel: Panel
    first: np.ndarray
    horizon: int
    step: int
    gap: int
    most: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.step, bool) or not isinstance(self.step, int | np.integer) or self.step < 1:
            raise ConfigError(f"step is {self.step!r}; give a whole number of 1 or more")
        if self.most is not None and self.most < 1:
            raise ConfigError(f"folds is {self.most!r}; give a whole number of 1 or more")
        if self.step > self.horizon:
            raise ConfigError(
                f"step is {self.step}, more than the horizon of {self.horizon}: rows between would not be forecast; "
                f"give a step of at most {self.horizon} or a longer horizon"
            )
        if not len(self):
            after = f" more than {self.gap} periods (the gap)" if self.gap else ""
            raise NothingToCompare(
                f"rows: there is no value in column {self.panel.schema.target!r}{after} after the training end to "
                "compare with; give newer rows with the target"
            )

    def __len__(self) -> int:
        """Number of origins of the series with the most newer rows."""
        newest = int((self.panel.lengths - self.first).max(initial=0))
        origins = max(0, -(-(newest - self.gap) // self.step))
        return origins if self.most is None else min(origins, self.most)

    def context(self, k: int) -> Panel:
        """What is known at origin k: the actual values up to it; a series that has ended stays at its end."""
        return self.panel.before(self.first + k * self.step)

    def compared(self, k: int) -> np.ndarray:
        """Which steps from origin k lie within the data: bool (series, horizon)."""
        begin = self.first + k * self.step + self.gap
        return begin[:, None] + np.arange(self.horizon) < self.panel.lengths[:, None]

    def rolled(
        self, values: Sequence[np.ndarray], outputs: tuple[str, ...], scales: Mapping[str, np.ndarray]
    ) -> Rolled:
        """Forecasts beside the truth. values: of each origin, float64 (compared steps, outputs), series-major;
        scales: by name, float64 (series,)."""
        places = [np.nonzero(self.compared(k)) for k in range(len(self))]
        series, step = (np.concatenate([place[axis] for place in places]) for axis in (0, 1))
        fold = np.repeat(np.arange(len(self)), [len(place[0]) for place in places])
        order = np.lexsort((step, fold, series))
        series, step, fold = series[order], step[order], fold[order]
        origin = self.first[series] + fold * self.step
        rows = self.panel.begin[series] + origin + self.gap + step
        truth = Truth(
            y=self.panel.target[rows],
            weight=np.ones(len(rows)) if self.panel.weight is None else self.panel.weight[rows],
            series=series,
            group=self.panel.group[series],
            fold=fold,
            step=step,
            scales={name: scale[series] for name, scale in scales.items()},
        )
        cutoff = self.panel.start[series] + (origin - 1) * self.panel.frequency.step
        return Rolled(self.panel, truth, cutoff, self.gap, np.concatenate(values)[order], outputs)


@dataclass(frozen=True, eq=False)
class Rolled:
    """Forecasts from several cutoffs beside what came true: a row per series, cutoff and step, in this order.

    panel: whose series `truth.series` counts; truth: a missing value is NaN, `fold` is the number of the origin;
    cutoff: int64 (rows,), grid ordinal of the last known period; values: float64 (rows, outputs).
    """

    panel: Panel
    truth: Truth
    cutoff: np.ndarray
    gap: int
    values: np.ndarray
    outputs: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """Series columns, `cutoff`, the time column, the target column (truth), "mean" and a column per level.

        Raises `ConfigError` when a column of the data has the name of one of these.
        """
        from forecastml.data.frames import grid_times, to_frame

        panel, schema = self.panel, self.panel.schema
        refuse_names(schema.series, (CUTOFF,))
        refuse_names((schema.time, schema.target), (CUTOFF, *self.outputs))
        at = self.cutoff + (1 + self.gap + self.truth.step) * panel.frequency.step
        # An hour that the clocks skip is a point of the grid, but never was.
        rows = np.flatnonzero(passes(at, panel.frequency, panel.tz))
        keys = panel.keys[self.truth.series[rows]]
        return to_frame(
            {
                **{name: keys[:, j] for j, name in enumerate(schema.series)},
                CUTOFF: grid_times(panel, self.cutoff[rows]),
                schema.time: grid_times(panel, at[rows]),
                schema.target: self.truth.y[rows],
                **{name: self.values[rows, j] for j, name in enumerate(self.outputs)},
            }
        )

    @staticmethod
    def stack(parts: Sequence[Rolled]) -> Rolled:
        """Several over the same panel in one, rows in order of series, cutoff and step."""
        truth, cutoff = Truth.stack([part.truth for part in parts]), np.concatenate([part.cutoff for part in parts])
        order = np.lexsort((truth.step, cutoff, truth.series))
        values = np.concatenate([part.values for part in parts])
        return replace(parts[0], truth=truth.rows(order), cutoff=cutoff[order], values=values[order])


def refuse_names(columns: Sequence[str | None], taken: Sequence[str]) -> None:
    """Raise `ConfigError` for a column of the data that is named like a column of the result."""
    for name in columns:
        if name in taken:
            raise ConfigError(f"column {name!r} is named like a column of the result; rename it")


def with_known(panel: Panel, steps: int) -> Panel:
    """The panel with known covariates up to exactly `steps` periods after each end.

    Where none are given the last ones are repeated: for the tail of a last window, which nothing is compared with, so
    that learners get whole windows and the steps before are the same whether or not more rows follow.
    """
    if not panel.known.shape[1]:
        return panel
    wanted = panel.lengths + steps
    end = np.cumsum(wanted)
    # One more row stands for series that have none at all: -1 for codes of categories, NaN for numbers.
    nothing = [-1.0 if column in panel.categories else np.nan for column in panel.schema.known]
    last = np.repeat(np.where(panel.known_end > panel.known_begin, panel.known_end - 1, -1), wanted)
    rows = np.minimum(ragged_rows(panel.known_begin, panel.known_begin + wanted), last)
    known = np.vstack([panel.known, nothing])[rows]
    return replace(panel, known=known, known_begin=end - wanted, known_end=end)
