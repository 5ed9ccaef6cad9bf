"""Known covariates that give the target away: copies, transforms, shifted copies, and parts that make it up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from forecastml.data.calendar import natural_seasons
from forecastml.data.outliers import batches, matrix
from forecastml.data.panel import Panel

#: A series is judged when it has this many rows, and this many for each column.
LEAST_ROWS, ROWS_PER_COLUMN = 30, 10
#: A leak leaves this share of the variance at most, and this share of what neighbours in time leave ...
LEFT, LEFT_OF_INNOVATIONS = 1e-4, 1e-2
#: ... which is more than this share of the variance: a target that time alone determines says nothing.
LEAST_INNOVATION = 1e-6
#: Changes correlate at least so well where a shifted copy is worth a look.
LIKE_A_COPY = 0.9
#: Values that are looked at: the last ones of each series, and evenly spaced series beyond a total.
LONGEST, MOST_VALUES = 2000, 500_000
#: Sets of columns that are told apart.
MOST_SETS = 5


@dataclass(frozen=True, eq=False)
class Leak:
    """Known columns that together determine the target of `series` (positions); shift: steps by which they are late.

    A negative shift means that they are early: they hold the target of the future.
    """

    columns: tuple[str, ...]
    shift: int
    series: np.ndarray


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some series: y (series, time) and x (columns, series, time), NaN where a row lacks any of them."""

    items: np.ndarray
    y: np.ndarray
    x: np.ndarray
    seasons: tuple[int, ...]

    def of(self, series: np.ndarray) -> _Batch:
        return _Batch(self.items[series], self.y[series], self.x[:, series], self.seasons)

    def innovation(self, y: np.ndarray) -> np.ndarray:
        """Share of the variance of y (series, time) that neighbours, seasons and a line in time leave."""
        time = y.shape[1]
        steps = [1, *(m for m in self.seasons if 3 * m < time)]
        others = [np.broadcast_to(np.arange(time, dtype=np.float64), y.shape)]
        others += [_shifted(y, sign * step) for step in steps for sign in (-1, 1)]
        return _left(y, np.stack(others))


def leaks(panel: Panel, horizon: int) -> tuple[Leak, ...]:
    """Known covariates that determine the target within a series, alone or together.

    Alone: as a monotone transform of it (by ranks), at the same time or shifted by less than the horizon, for a value
    that old is not known over the whole horizon. Together: as a linear combination of values or of logarithms. A
    series that its own neighbours, seasons and a line in time determine is left out, and with it known trends.
    """
    names = [c for c in panel.schema.known if c not in panel.categories]
    alone: dict[tuple[str, int], list[int]] = {}
    together: dict[tuple[str, ...], list[int]] = {}
    for batch in _judged(panel, names) if names else ():
        guilty = set()
        for k, name in enumerate(names):
            for shift, series in _copies(batch, k, horizon):
                alone.setdefault((name, shift), []).extend(batch.items[series].tolist())
                guilty.add(k)
        rest = [k for k in range(len(names)) if k not in guilty]
        if len(rest) > 1:
            for parts, series in _sums(batch, rest):
                columns = tuple(names[k] for k in parts)
                together.setdefault(columns, []).extend(batch.items[series].tolist())
    found = [Leak((name,), shift, np.sort(series)) for (name, shift), series in alone.items()]
    return (*found, *(Leak(columns, 0, np.sort(series)) for columns, series in together.items()))


def _judged(panel: Panel, names: Sequence[str]) -> Iterator[_Batch]:
    """The series with rows enough, padded and in batches."""
    tail = panel.last(LONGEST)
    eligible = np.flatnonzero(tail.lengths >= max(LEAST_ROWS, 1))
    budget = np.cumsum(tail.lengths[eligible])
    if len(budget) and budget[-1] > MOST_VALUES:
        share = max(1, int(len(eligible) * MOST_VALUES / budget[-1]))
        eligible = eligible[np.linspace(0, len(eligible) - 1, share).astype(np.int64)]
    tail, seasons = tail.select(eligible), natural_seasons(panel.frequency)
    columns = [panel.schema.known.index(name) for name in names]
    for items in batches(tail):
        y = matrix(tail.target, tail.begin[items], tail.end[items])
        begin = tail.known_begin[items]
        end = np.minimum(begin + tail.lengths[items], tail.known_end[items])
        x = np.stack([matrix(tail.known[:, k], begin, end, y.shape[1]) for k in columns])
        hole = np.isnan(y)
        x = np.where(hole, np.nan, x)
        spread = np.nanmax(np.where(hole, -np.inf, y), axis=1) > np.nanmin(np.where(hole, np.inf, y), axis=1)
        usable = np.flatnonzero(((~hole).sum(axis=1) >= LEAST_ROWS) & spread)
        if len(usable):
            yield _Batch(eligible[items], y, x, seasons).of(usable)


def _copies(batch: _Batch, column: int, horizon: int) -> Iterator[tuple[int, np.ndarray]]:
    """Shifts at which the column is a monotone transform of the target, and the series where it is."""
    y, x = _ranks(np.where(np.isnan(batch.x[column]), np.nan, batch.y)), _ranks(batch.x[column])
    same = _is_copy(batch, batch.x[column], (y, x))
    if len(same):
        yield 0, same
    others = np.setdiff1d(np.arange(len(y)), same)
    if not len(others):
        return
    shift = _likely_shift(y[others], x[others], horizon)
    for step in np.unique(shift[shift != 0]):
        there = others[shift == step]
        found = _is_copy(batch.of(there), _shifted(batch.x[column][there], int(step)))
        if len(found):
            yield int(step), there[found]


def _is_copy(batch: _Batch, x: np.ndarray, ranks: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Positions of the series whose x (series, time) orders values as y does, or is y but for a rounding."""
    if ranks is None:
        unknown = np.isnan(batch.y) | np.isnan(x)
        ranks = _ranks(np.where(unknown, np.nan, batch.y)), _ranks(np.where(unknown, np.nan, x))
    return np.union1d(_determines(batch, ranks[0], ranks[1][None]), _determines(batch, batch.y, x[None]))


def _likely_shift(y: np.ndarray, x: np.ndarray, horizon: int) -> np.ndarray:
    """Steps by which x is late against y, by the cross-correlation of their changes; 0 where none is like a copy."""
    time = y.shape[1]
    reach = min(horizon, time - LEAST_ROWS)
    steps = np.array([s for s in range(-reach, reach) if s and s < horizon], dtype=np.int64)
    if not len(steps):
        return np.zeros(len(y), np.int64)
    dy, dx = np.nan_to_num(np.diff(y, axis=1)), np.nan_to_num(np.diff(x, axis=1))
    # A power of two beyond twice the length: nothing wraps around, and odd lengths are not slow.
    size = 1 << (2 * time).bit_length()
    spectrum = np.conj(np.fft.rfft(dy, size)) * np.fft.rfft(dx, size)
    product = np.fft.irfft(spectrum, size)[:, steps]
    norm = np.sqrt((dy**2).sum(axis=1) * (dx**2).sum(axis=1))[:, None] * (1.0 - np.abs(steps) / time)
    like = np.abs(product) / np.where(norm > 0, norm, np.inf)
    best = like.argmax(axis=1)
    return np.where(like[np.arange(len(y)), best] >= LIKE_A_COPY, steps[best], 0)


def _sums(batch: _Batch, columns: Sequence[int]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Smallest sets of columns of which the target is a linear combination, in values or logarithms, and where."""
    logs = _logs(batch.x)
    for y, x in ((batch.y, batch.x), (_logs(batch.y), np.where(np.isnan(logs), batch.x, logs))):
        left = _determines(batch, y, x[list(columns)])
        for _ in range(MOST_SETS):
            if not len(left):
                break
            parts = list(columns)
            one = batch.of(left[:1])
            for k in columns:
                fewer = [part for part in parts if part != k]
                if fewer and len(_determines(one, y[left[:1]], x[fewer][:, left[:1]])):
                    parts = fewer
            found = left[_determines(batch.of(left), y[left], x[parts][:, left])]
            yield tuple(parts), found
            left = np.setdiff1d(left, found)
        if len(_determines(batch, y, x[list(columns)])):
            return


def _determines(batch: _Batch, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Positions of the series whose y (series, time) a linear combination of x (columns, series, time) gives."""
    rows = (~np.isnan(y) & ~np.isnan(x).any(axis=0)).sum(axis=1)
    left = _left(y, x)
    found = np.flatnonzero((left <= LEFT) & (rows >= max(LEAST_ROWS, ROWS_PER_COLUMN * len(x))))
    if not len(found):
        return found
    innovation = batch.innovation(y[found])
    return found[(innovation > LEAST_INNOVATION) & (left[found] <= LEFT_OF_INNOVATIONS * innovation)]


def _left(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Share of the variance of y (series, time) that least squares on x (columns, series, time) leave; 1 if none is."""
    known = ~np.isnan(y) & ~np.isnan(x).any(axis=0)
    count = np.maximum(known.sum(axis=1), 1)

    def centred(values: np.ndarray) -> np.ndarray:
        values = np.where(known, values, 0.0)
        # Squares of large values overflow.
        size = np.abs(values).max(axis=-1, keepdims=True)
        values = values / np.where(size > 0, size, 1.0)
        values = np.where(known, values - (values.sum(axis=-1) / count)[..., None], 0.0)
        size = np.sqrt((values**2).sum(axis=-1, keepdims=True))
        return values / np.where(size > 0, size, 1.0)

    target, regressors = centred(y), np.moveaxis(centred(x), 0, 2)
    turned = np.swapaxes(regressors, 1, 2)
    gram = turned @ regressors + 1e-10 * np.eye(len(x))
    slopes = np.linalg.solve(gram, turned @ target[:, :, None])
    rest = ((target - (regressors @ slopes)[:, :, 0]) ** 2).sum(axis=1)
    return np.where((target != 0).any(axis=1), rest, 1.0)


def _shifted(values: np.ndarray, steps: int) -> np.ndarray:
    """Value at t + steps in place of the one at t, NaN beyond the ends (series, time)."""
    moved, time = np.full(values.shape, np.nan), values.shape[1]
    if abs(steps) < time:
        moved[:, max(-steps, 0) : time - max(steps, 0)] = values[:, max(steps, 0) : time + min(steps, 0)]
    return moved


def _logs(values: np.ndarray) -> np.ndarray:
    """Logarithms; NaN in series with a value that is not positive."""
    positive = np.where(np.isnan(values), True, values > 0).all(axis=-1, keepdims=True)
    return np.log(np.where(positive & (values > 0), values, np.nan))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each series, ties sharing their mean rank, NaN kept (series, time)."""
    order = np.argsort(values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    place = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    fresh = np.ones(values.shape, bool)
    fresh[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
    ends = np.ones(values.shape, bool)
    ends[:, :-1] = fresh[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, values.shape[1])[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, 0.5 * (first + last), axis=1)
    return np.where(np.isnan(values), np.nan, ranks)
