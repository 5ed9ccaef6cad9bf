"""Covariates that give the target away: copies, transforms, shifted copies, and parts that make it up."""

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
LEFT, LEFT_OF_INNOVATIONS = 1e-3, 1e-2
#: ... which is more than this share of the variance: a target that time alone determines says nothing.
LEAST_INNOVATION = 1e-6
#: A column of fewer distinct values than this, and than the target has, is a flag: it may well say when, not how much.
LEAST_DISTINCT = 10
#: This share of the rows may be corrupted, where at least this share of the variation stays without them ...
CORRUPTED, STAYING = 0.05, 0.5
#: ... and they are looked for where the ranks leave less than this, and the median square of the residuals is less than
#: this share of the variance.
WORTH_A_LOOK, USUAL = 0.4, 0.2
#: Rounds of fitting and leaving out the rows that fit worst, and distance from the median, in interquartile ranges, of
#: those that are not fitted at first.
ROUNDS, FAR = 4, 5.0
#: Changes correlate at least so well where a shifted copy is worth a look.
LIKE_A_COPY = 0.6
#: Values that are looked at: the last ones of each series, and evenly spaced series beyond a total.
LONGEST, MOST_VALUES = 2000, 500_000
#: How often sets of columns are looked for in the same series.
MOST_SETS = 8


@dataclass(frozen=True, eq=False)
class Leak:
    """Columns that together determine the target of `series` (positions); shift: steps by which they are late.

    A negative shift means that they are early: they hold the target of the future. judged: series in which that could
    be seen; past: it is a past covariate, for which only the future is a leak.
    """

    columns: tuple[str, ...]
    shift: int
    series: np.ndarray
    judged: int
    past: bool = False


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
    """Known covariates that determine the target within a series, alone or together; past ones that hold its future.

    Alone: as a monotone transform of it (by ranks), at the same time or shifted by less than the horizon, for a value
    that old is not known over the whole horizon. Together: as a linear combination of values or of logarithms. Up to a
    little noise, and to a few corrupted rows. A series that its own neighbours, seasons and a line in time determine is
    left out, and with it known trends.
    """
    known = [c for c in panel.schema.known if c not in panel.categories]
    names = [*known, *(c for c in panel.schema.past if c not in panel.categories)]
    judged = np.zeros(len(names), np.int64)
    alone: dict[tuple[int, int], list[int]] = {}
    together: dict[tuple[int, ...], list[int]] = {}
    for batch in _judged(panel, names) if names else ():
        judged += ((~np.isnan(batch.x)).sum(axis=2) >= LEAST_ROWS).sum(axis=1)
        told = np.zeros((len(batch.items), len(known)), bool)
        for k in range(len(names)):
            for shift, series in _copies(batch, k, horizon, past=k >= len(known)):
                alone.setdefault((k, shift), []).extend(batch.items[series].tolist())
                if k < len(known):
                    told[series, k] = True
        for some in np.unique(told, axis=0) if len(known) > 1 else ():
            part = batch.of(np.flatnonzero((told == some).all(axis=1)))
            for parts, series in _sums(part, np.flatnonzero(~some)):
                together.setdefault(parts, []).extend(part.items[series].tolist())
    found = [
        Leak((names[k],), shift, np.sort(series), int(judged[k]), k >= len(known))
        for (k, shift), series in alone.items()
    ]
    for parts, series in together.items():
        columns = tuple(names[k] for k in parts)
        found.append(Leak(columns, 0, np.sort(series), int(judged[list(parts)].min())))
    return tuple(found)


def _judged(panel: Panel, names: Sequence[str]) -> Iterator[_Batch]:
    """The series with rows enough, padded and in batches."""
    tail = panel.last(LONGEST)
    eligible = np.flatnonzero(tail.lengths >= max(LEAST_ROWS, 1))
    budget = np.cumsum(tail.lengths[eligible])
    if len(budget) and budget[-1] > MOST_VALUES:
        share = max(1, int(len(eligible) * MOST_VALUES / budget[-1]))
        eligible = eligible[np.linspace(0, len(eligible) - 1, share).astype(np.int64)]
    tail, seasons = tail.select(eligible), natural_seasons(panel.frequency)
    for items in batches(tail):
        y = matrix(tail.target, tail.begin[items], tail.end[items])
        x = np.stack([_column(tail, name, items, y.shape[1]) for name in names])
        hole = np.isnan(y)
        x = np.where(hole, np.nan, x)
        spread = np.nanmax(np.where(hole, -np.inf, y), axis=1) > np.nanmin(np.where(hole, np.inf, y), axis=1)
        usable = np.flatnonzero(((~hole).sum(axis=1) >= LEAST_ROWS) & spread)
        if len(usable):
            yield _Batch(eligible[items], y, x, seasons).of(usable)


def _column(panel: Panel, name: str, items: np.ndarray, time: int) -> np.ndarray:
    """A known or past covariate at the rows of the target: (series, time)."""
    if name in panel.schema.past:
        values = panel.past[:, panel.schema.past.index(name)]
        return matrix(values, panel.begin[items], panel.end[items], time)
    begin = panel.known_begin[items]
    end = np.minimum(begin + panel.lengths[items], panel.known_end[items])
    return matrix(panel.known[:, panel.schema.known.index(name)], begin, end, time)


def _copies(batch: _Batch, column: int, horizon: int, past: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Shifts at which the column is a monotone transform of the target, and the series where it is.

    past: it may hold what is known at its time, so that only what is early counts.
    """
    same = _is_copy(batch, batch.x[column])
    if len(same) and not past:
        yield 0, same
    others = np.setdiff1d(np.arange(len(batch.y)), same)
    if not len(others):
        return
    y, x = batch.y[others], batch.x[column][others]
    shift = _likely_shift(ranks_of(np.where(np.isnan(x), np.nan, y)), ranks_of(x), horizon)
    for step in np.unique(shift[shift < 0] if past else shift[shift != 0]):
        there = others[shift == step]
        found = _is_copy(batch.of(there), _shifted(batch.x[column][there], int(step)))
        if len(found):
            yield int(step), there[found]


def _is_copy(batch: _Batch, x: np.ndarray) -> np.ndarray:
    """Positions of the series whose x (series, time) orders values as y does, or is y but for a rounding."""
    fine = np.flatnonzero(_says_how_much(batch.y, x[None]))
    if not len(fine):
        return fine
    unknown = np.isnan(x[fine]) | np.isnan(batch.y[fine])
    places = [ranks_of(np.where(unknown, np.nan, values[fine])) for values in (batch.y, x)]
    near = _left(places[0], places[1][None]) <= WORTH_A_LOOK
    fine, (y, ranks) = fine[near], (place[near] for place in places)
    ranked = _determines(batch.of(fine), y, ranks[None], ranked=True)
    rest = np.delete(fine, ranked)
    return np.union1d(fine[ranked], rest[_determines(batch.of(rest), batch.y[rest], x[rest][None])])


def _says_how_much(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether one of the columns x (columns, series, time) is no flag: bool (series,)."""
    return np.maximum.reduce([_distinct(column) for column in x]) >= np.minimum(_distinct(y), LEAST_DISTINCT)


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
        waiting = [(np.arange(len(y)), _closest(y, x, columns))]
        many = False
        for _ in range(MOST_SETS):
            if not waiting:
                break
            series, some = waiting.pop()
            series = (
                series[_determines(batch.of(series), y[series], x[some][:, series])] if len(some) > 1 else series[:0]
            )
            if not len(series):
                continue
            many = True
            parts = _smallest(batch.of(series[:1]), y[series[:1]], x[:, series[:1]], some)
            found = series[_determines(batch.of(series), y[series], x[parts][:, series])]
            # The rest of the series may have other sets, and these may have a second one.
            waiting += [(found, [k for k in some if k not in parts]), (np.setdiff1d(series, found), some)]
            found = found[_says_how_much(y[found], x[parts][:, found])]
            if len(found):
                yield tuple(int(k) for k in parts), found
        if many:
            return


def _closest(y: np.ndarray, x: np.ndarray, columns: Sequence[int]) -> list[int]:
    """The columns of x (columns, series, time) that tell most of y, as many as the rows of a series can bear."""
    most = max(2, int(np.median((~np.isnan(y)).sum(axis=1)) // ROWS_PER_COLUMN)) if len(y) else len(columns)
    if len(columns) <= most:
        return list(columns)
    left = np.array([np.minimum(_left(y, x[k][None]), 1.0).mean() for k in columns])
    return sorted(np.asarray(columns)[np.argsort(left, kind="stable")[:most]].tolist())


def _smallest(one: _Batch, y: np.ndarray, x: np.ndarray, columns: Sequence[int]) -> list[int]:
    """The columns without those that the others can do without, for one series."""
    parts = list(columns)
    for k in columns:
        fewer = [part for part in parts if part != k]
        if fewer and len(_determines(one, y, x[fewer])):
            parts = fewer
    return parts


def _determines(batch: _Batch, y: np.ndarray, x: np.ndarray, ranked: bool = False) -> np.ndarray:
    """Positions of the series whose y (series, time) a linear combination of x (columns, series, time) gives, but for a
    few rows; ranked: y and x are ranks, to be taken anew without those rows."""
    rows = (~np.isnan(y) & ~np.isnan(x).any(axis=0)).sum(axis=1)
    tried = np.flatnonzero(rows >= max(LEAST_ROWS, ROWS_PER_COLUMN * len(x)))
    if not len(tried):
        return tried
    left = _left(y[tried], x[:, tried])
    found = _beyond_chance(batch, y[tried], left)
    rest = tried[~found]
    rest = rest[_worth_a_look(y[rest], x[:, rest])]
    if not len(rest):
        return tried[found]
    kept = _sound(y[rest], x[:, rest])
    sound, regressors = np.where(kept, y[rest], np.nan), np.where(kept, x[:, rest], np.nan)
    place = np.where(np.isnan(x[:, rest]).any(axis=0), np.nan, y[rest])
    stays = _variance(np.where(kept, ranks_of(place), np.nan)) >= STAYING * _variance(ranks_of(place))
    if ranked:
        sound, regressors = ranks_of(sound), np.stack([ranks_of(column) for column in regressors])
    return np.sort(np.append(tried[found], rest[stays & _beyond_chance(batch, sound, _left(sound, regressors))]))


def _beyond_chance(batch: _Batch, y: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Whether so little is left of y (series, time) that neither chance nor time explains it: bool (series,)."""
    told = left <= LEFT
    if told.any():
        innovation = batch.innovation(y[told])
        told[told] = (innovation > LEAST_INNOVATION) & (left[told] <= LEFT_OF_INNOVATIONS * innovation)
    return told


def _sound(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The rows without those that fit worst, a share of `CORRUPTED`: bool (series, time).

    Least trimmed squares (Rousseeuw 1984) by concentration steps, begun without the rows that lie far out.
    """
    known = ~np.isnan(y) & ~np.isnan(x).any(axis=0)
    kept = _near(y, x, known)
    for _ in range(ROUNDS):
        rest = _residuals(y, x, kept)
        kept = known & (rest <= _quantiles(rest, known, (1 - CORRUPTED,))[0])
    return kept


def _near(y: np.ndarray, x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The known rows of which no value lies far out: bool (series, time)."""
    kept = known.copy()
    for values in (y, *x):
        low, middle, high = _quantiles(values, known, (0.25, 0.5, 0.75))
        kept &= ~((high > low) & (np.abs(values - middle) > FAR * (high - low)))
    return kept


def _worth_a_look(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether the usual residual is small beside the spread of y: bool (series,)."""
    known = ~np.isnan(y) & ~np.isnan(x).any(axis=0)
    kept = _near(y, x, known)
    usual = _quantiles(_residuals(y, x, kept), known, (0.5,))[0][:, 0] * kept.sum(axis=1)
    return usual <= USUAL


def _quantiles(values: np.ndarray, known: np.ndarray, levels: tuple[float, ...]) -> list[np.ndarray]:
    """Order statistics of the known values (series, time) at these levels: each (series, 1)."""
    ordered = np.sort(np.where(known, values, np.inf), axis=1)
    count = known.sum(axis=1, keepdims=True)
    places = [np.clip((level * (count - 1)).astype(np.int64), 0, values.shape[1] - 1) for level in levels]
    return [np.take_along_axis(ordered, place, axis=1) for place in places]


def _left(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Share of the variance of y (series, time) that least squares on x (columns, series, time) leave; 1 if none is."""
    known = ~np.isnan(y) & ~np.isnan(x).any(axis=0)
    rest = np.where(known, _residuals(y, x, known), 0.0).sum(axis=1)
    return np.where(np.isfinite(rest), rest, 1.0)


def _residuals(y: np.ndarray, x: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Squared residuals of least squares over the `fitted` rows, as shares of the variance of these: (series, time).

    Infinite where y does not vary, or a row has no value.
    """
    count = np.maximum(fitted.sum(axis=1), 1)

    def centred(values: np.ndarray) -> np.ndarray:
        # Squares of large values overflow.
        size = np.abs(np.where(fitted, values, 0.0)).max(axis=-1, keepdims=True)
        values = values / np.where(size > 0, size, 1.0)
        values = values - (np.where(fitted, values, 0.0).sum(axis=-1) / count)[..., None]
        size = np.sqrt((np.where(fitted, values, 0.0) ** 2).sum(axis=-1, keepdims=True))
        return values / np.where(size > 0, size, 1.0)

    with np.errstate(over="ignore", invalid="ignore"):
        target, regressors = centred(y), np.moveaxis(centred(x), 0, 2)
        own = np.where(fitted[:, :, None], regressors, 0.0)
        turned = np.swapaxes(own, 1, 2)
        gram = turned @ own + 1e-10 * np.eye(len(x))
        slopes = np.linalg.solve(gram, turned @ np.where(fitted, target, 0.0)[:, :, None])
        rest = (target - (regressors @ slopes)[:, :, 0]) ** 2
    varies = (np.where(fitted, target, 0.0) != 0).any(axis=1, keepdims=True)
    return np.where(varies & ~np.isnan(rest), rest, np.inf)


def _variance(values: np.ndarray) -> np.ndarray:
    """Variance of the known values (series, time) of each series, 0 where there is none: (series,)."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, values, 0.0).sum(axis=1) / count
    return (np.where(known, values - mean[:, None], 0.0) ** 2).sum(axis=1) / count


def _distinct(values: np.ndarray) -> np.ndarray:
    """Number of distinct known values (series, time) of each series: int64 (series,)."""
    ordered = np.sort(values, axis=1)
    return (ordered[:, 1:] > ordered[:, :-1]).sum(axis=1) + ~np.isnan(ordered[:, 0])


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


def ranks_of(values: np.ndarray) -> np.ndarray:
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
