"""What a model of series is given beside its own history: which series, newer rows, future rows, how many steps."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from forecastml.data.extension import extend, match
from forecastml.data.panel import Panel
from forecastml.data.wall_clock import elapsed_steps, first_ahead
from forecastml.errors import ConfigError, ForecastWarning, FutureError, NothingToCompare
from forecastml.future_covariates import FILLING
from forecastml.task import Forecasting


def positions(panel: Panel, series: Any) -> np.ndarray:
    """Positions of the series with these keys, in this order: int64.

    series: one key or a list of keys; a key is text where there is one key column, else a tuple with a text for each.
    Raises `ConfigError` for an unknown key, naming the nearest, and for one that comes twice.
    """
    columns = panel.schema.series
    if not columns:
        raise ConfigError("series: the model has one series and no key column; leave series out")
    given = [series] if isinstance(series, str | tuple) or np.isscalar(series) else list(series)
    keys = [tuple(map(str, key)) if isinstance(key, tuple | list) else (str(key),) for key in given]
    if not keys:
        raise ConfigError("series is empty; name at least one series, or leave it out for all of them")
    place = {tuple(key): i for i, key in enumerate(panel.keys)}
    for key in keys:
        if len(key) != len(columns):
            example = tuple(panel.keys[0]) if len(columns) > 1 else panel.keys[0, 0]
            raise ConfigError(
                f"series {key}: a key has {len(columns)} parts ({', '.join(columns)}), such as {example!r}"
            )
        if key not in place:
            raise ConfigError(_unknown(panel, key))
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"series {panel.label(place[twice])} is named more than once; name it once")
    return np.array([place[key] for key in keys], dtype=np.int64)


def newer_rows(task: Forecasting, table: Any, whole: Panel, chosen: Panel, skipped: np.ndarray, what: str) -> Panel:
    """The rows after the origin, of the chosen series, of a table or as they were read; `whole` has those and all
    others that may be in the table, but for those `skipped` in training, whose rows are left out.

    Raises `NothingToCompare` when there is no value of the target, `FutureError` for series that are not in `whole`.
    """
    rows = table if isinstance(table, Panel) else read_rows(task, table, whole, skipped)
    if not rows.lengths.any():
        raise NothingToCompare(f"{what}: there is no value in column {task.target!r}; give the newer target values")
    return _restricted(rows, whole, chosen, what)


def with_future(task: Forecasting, table: Any, whole: Panel, chosen: Panel, skipped: np.ndarray) -> tuple[Panel, int]:
    """The chosen series with the known covariates of future rows, and how many steps after the gap these cover.

    table: None for no rows; `whole` and `skipped` as in `newer_rows`. Raises `FutureError` when the rows
    of a series start later than the gap allows, unless something stands in for what is missing.
    """
    if table is None:
        return chosen, 0
    rows = table if isinstance(table, Panel) else read_rows(task, table, whole, skipped)
    # A target among the future rows is what will be compared with the forecast: it must not be looked at.
    rows = _restricted(replace(rows, end=rows.begin), whole, chosen, "future")
    if task.missing_future not in FILLING:
        _refuse_hole(chosen, rows, 0 if chosen.schema.known else task.gap)
    panel = extend(chosen, rows, "future")
    known = panel.known_end - panel.known_begin
    covered = elapsed_steps(panel, known - panel.lengths - task.gap, task.gap)
    if task.missing_future in FILLING:
        return panel, max(int(covered.max(initial=0)), task.horizon)
    given = covered > 0
    if not given.any():
        return panel, 0
    # From the newest series as far as any row reaches: those that end earlier have more rows ahead, and those whose
    # rows stop sooner lack some, which is told where covariates are needed.
    step = panel.frequency.step
    newest = (panel.start + (known - 1) * step)[given].max()
    reaching = elapsed_steps(panel, (newest - panel.last_ordinal) // step - task.gap, task.gap)
    return panel, int(reaching[given].min())


def read_rows(task: Forecasting, table: Any, whole: Panel, skipped: np.ndarray) -> Panel:
    """The rows of a table without those of skipped series; what was mended in them is warned of."""
    reading = task.read(table, like=whole)
    for finding in reading.findings:
        if finding.code != "unsorted":
            warnings.warn(f"{finding}", ForecastWarning, stacklevel=5)
    out = {tuple(key) for key in skipped}
    kept = np.array([tuple(key) not in out for key in reading.data.keys], dtype=bool)
    return reading.data if kept.all() else reading.data.select(kept)


def _restricted(rows: Panel, whole: Panel, chosen: Panel, what: str) -> Panel:
    match(whole, rows, what)
    if len(chosen) == len(whole):
        return rows
    wanted = {tuple(key) for key in chosen.keys}
    return rows.select(np.array([tuple(key) in wanted for key in rows.keys], dtype=bool))


def checked_horizon(horizon: Any) -> int:
    """A whole number of steps, or `ConfigError`."""
    if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
        raise ConfigError(f"horizon is {horizon!r}; give a whole number of 1 or more")
    return int(horizon)


def tell_beyond(task: Forecasting, horizon: int, level: int) -> None:
    """Warn of steps beyond the trained horizon; level: of the caller whose line is told."""
    if horizon > task.horizon:
        text = f"steps {task.horizon + 1} to {horizon} lie beyond the trained horizon: forecast in blocks"
        warnings.warn(f"{text}, with the last step's intervals, widened", ForecastWarning, stacklevel=level)


def _unknown(panel: Panel, key: Sequence[str]) -> str:
    labels = {" ".join(other): i for i, other in enumerate(panel.keys)}
    near = difflib.get_close_matches(" ".join(key), labels, n=1, cutoff=0.5)
    named = ", ".join(f"{column}={text}" for column, text in zip(panel.schema.series, key, strict=True))
    hint = f"did you mean {panel.label(labels[near[0]])}?" if near else f"the first of its series is {panel.label(0)}"
    return f"series {named} is not in the model; {hint}"


def _refuse_hole(panel: Panel, rows: Panel, gap: int) -> None:
    """Raise `FutureError` when future rows start later than `gap` periods after the one that follows the origin."""
    position = match(panel, rows, "future")
    there = np.flatnonzero(position >= 0)
    late = rows.start[position[there]] > first_ahead(panel, gap)[there]
    if late.any():
        i = there[np.flatnonzero(late)[0]]
        steps = int((rows.start[position[i]] - panel.last_ordinal[i]) // panel.frequency.step) - 1
        raise FutureError(
            f"future: {int(late.sum())} series start after a hole; {panel.label(i)} lacks the {steps} periods between "
            "the model's last row and the first future one: give them as context"
        )
