"""Joining rows to a panel: new history after the origin, and known covariates ahead of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.calendar import to_text, to_times
from forecastml.data.panel import Panel, ragged_rows
from forecastml.data.wall_clock import reopened, with_skipped_known
from forecastml.errors import FutureError


def match(panel: Panel, rows: Panel, what: str) -> np.ndarray:
    """Position in `rows` of each series of `panel`, -1 where absent: int64 (series,).

    Raises `FutureError` naming the series of `rows` that `panel` does not have.
    """
    known = {tuple(key): i for i, key in enumerate(panel.keys)}
    position = np.full(len(panel), -1, dtype=np.int64)
    strangers = []
    for j, key in enumerate(rows.keys):
        i = known.get(tuple(key))
        if i is None:
            strangers.append(rows.label(j))
        else:
            position[i] = j
    if strangers:
        raise FutureError(
            f"{what}: {len(strangers)} series were not in the training data: {_few(strangers)}; "
            "remove their rows, or train again with them"
        )
    return position


def extend(panel: Panel, rows: Panel, what: str = "context") -> Panel:
    """`panel` with the rows of the same series in `rows` that follow its end; a copy.

    Periods between the end and the first new row become NaN in the target. Known covariates of `rows` replace and
    extend those of `panel`. Raises `FutureError` for rows at or before the end, and for unknown series; rows of the
    second pass of a repeated hour that `panel` ends in replace those of the first.
    """
    position = match(panel, rows, what)
    there, source = np.flatnonzero(position >= 0), position[position >= 0]
    first = (rows.start[source] - panel.start[there]) // panel.frequency.step
    added = rows.lengths[source]
    older = np.zeros(len(panel), bool)
    older[there] = (added > 0) & (rows.start[source] < reopened(panel)[there])
    _refuse(panel, older, what)
    joint = _Joint(panel.begin, panel.end, rows.begin[source], rows.end[source], there, first)
    ahead = _Joint(panel.known_begin, panel.known_end, rows.known_begin[source], rows.known_end[source], there, first)
    # What is not given is missing: -1 for codes of categories, NaN for numbers.
    missing = np.array([-1.0 if column in panel.categories else np.nan for column in panel.schema.known])
    weight = None
    if panel.weight is not None:
        new = np.ones(len(rows.target)) if rows.weight is None else rows.weight
        weight = joint.values(panel.weight, new, 0.0)
    extended = replace(
        panel,
        target=joint.values(panel.target, rows.target, np.nan),
        begin=joint.end_joined - joint.lengths,
        end=joint.end_joined,
        known=ahead.values(panel.known, rows.known, missing),
        known_begin=ahead.end_joined - ahead.lengths,
        known_end=ahead.end_joined,
        past=joint.values(panel.past, rows.past, np.nan),
        weight=weight,
    )
    return with_skipped_known(extended)


def newer(panel: Panel, rows: Panel) -> Panel:
    """`rows` without those at or before the end of the same series of `panel`; a view. Raises as `match`."""
    position = match(panel, rows, "rows")
    there, source = np.flatnonzero(position >= 0), position[position >= 0]
    cut = np.zeros(len(rows), np.int64)
    cut[source] = (panel.last_ordinal[there] - rows.start[source]) // panel.frequency.step + 1
    cut = np.clip(cut, 0, rows.lengths)
    return replace(
        rows,
        begin=rows.begin + cut,
        start=rows.start + cut * panel.frequency.step,
        known_begin=np.minimum(rows.known_begin + cut, rows.known_end),
    )


def coded_as(panel: Panel, rows: Panel) -> Panel:
    """`rows` with the category codes of `panel` in their covariates, -1 for what it does not know; a copy."""
    blocks = {"known": rows.known.copy(), "past": rows.past.copy()}
    for name, block in blocks.items():
        for column, title in enumerate(getattr(rows.schema, name)):
            theirs, ours = rows.categories.get(title), panel.categories.get(title)
            if theirs is None or ours is None or theirs == ours:
                continue
            place = {text: float(code) for code, text in enumerate(ours)}
            codes = np.array([*(place.get(text, -1.0) for text in theirs), -1.0])
            block[:, column] = codes[np.nan_to_num(block[:, column], nan=-1.0).astype(np.int64)]
    return replace(rows, **blocks, categories=panel.categories)


@dataclass(frozen=True, eq=False)
class _Joint:
    """Where old and new rows of a flat array go when series are extended.

    begin, end: of all series in the old array; new_begin, new_end: in the new array, of the series at `there`; first:
    place of their first new row, counted from the first old one (negative when it lies before).
    """

    begin: np.ndarray
    end: np.ndarray
    new_begin: np.ndarray
    new_end: np.ndarray
    there: np.ndarray
    first: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each series once joined: int64 (series,)."""
        lengths = self.end - self.begin
        count = self.new_end - self.new_begin
        reach = np.where(count > 0, self.first + count, 0)
        lengths[self.there] = np.maximum(lengths[self.there], reach)
        return lengths

    @property
    def end_joined(self) -> np.ndarray:
        """End of each series in the joined array."""
        return np.cumsum(self.lengths)

    def values(self, old: np.ndarray, new: np.ndarray, missing: float | np.ndarray) -> np.ndarray:
        """Old rows, new rows over them, `missing` between: (rows, ...)."""
        begin = self.end_joined - self.lengths
        result = np.empty((int(self.lengths.sum()), *old.shape[1:]))
        result[:] = missing
        result[ragged_rows(begin, begin + self.end - self.begin)] = old[ragged_rows(self.begin, self.end)]
        skip = np.minimum(np.maximum(-self.first, 0), self.new_end - self.new_begin)
        start = begin[self.there] + self.first + skip
        count = self.new_end - self.new_begin - skip
        result[ragged_rows(start, start + count)] = new[ragged_rows(self.new_begin + skip, self.new_end)]
        return result


def extend_by_values(panel: Panel, values: np.ndarray) -> Panel:
    """`panel` with the same number of target values added to every series: values (series, steps); a copy."""
    n, steps = values.shape
    rows = Panel.of(values, panel.frequency, panel.start + panel.lengths * panel.frequency.step)
    past = np.full((n * steps, panel.past.shape[1]), np.nan)
    known = np.empty((0, panel.known.shape[1]))
    return extend(panel, replace(rows, keys=panel.keys, past=past, known=known))


def without_future(panel: Panel) -> Panel:
    """`panel` with known covariates up to its end alone; a view."""
    return replace(panel, known_end=np.minimum(panel.known_end, panel.known_begin + panel.lengths))


def reaching(panel: Panel, steps: int) -> Panel:
    """`panel` with known covariates for `steps` grid points after every series' end, the last ones repeated if need be.

    For series that are forecast further than shown, because others cross a shift of the clocks; a copy if any is.
    """
    own = panel.known_end - panel.known_begin
    lengths = np.maximum(own, panel.lengths + steps)
    if not panel.known.shape[1] or not (lengths > own).any():
        return panel
    position = np.minimum(ragged_rows(np.zeros_like(own), lengths), np.repeat(np.maximum(own - 1, 0), lengths))
    known = panel.known[np.repeat(panel.known_begin, lengths) + position]
    end = np.cumsum(lengths)
    return replace(panel, known=known, known_begin=end - lengths, known_end=end)


def _refuse(panel: Panel, older: np.ndarray, what: str) -> None:
    if older.any():
        i = int(np.flatnonzero(older)[0])
        last = to_text(to_times(panel.last_ordinal[i : i + 1], panel.frequency))[0]
        raise FutureError(
            f"{what}: {int(older.sum())} series have rows that are not after the model's last one; "
            f"{panel.label(i)} ends at {last}: give later rows only"
        )


def _few(items: list[str], n: int = 5) -> str:
    return ", ".join(items[:n]) + (f", ... ({len(items)} in all)" if len(items) > n else "")
