"""The search for parameters and start values of exponential smoothing forms, for all series of a chunk together.

A heuristic start, a coarse grid of parameters, then `kernels.smoothing_fit` from the best point of the grid: a few
rounds for every form, the rest for those that may still win. All series see the same table, and none sees another's
result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from forecastml.kernels import smoothing
from forecastml.kernels.smoothing_fit import SEASONS, Columns, Point, descend, parameters_of
from forecastml.learners.chunks import Chunk

#: Trials times series per kernel call, and columns times derivatives: arrays of so many numbers stay in the cache.
CELLS, WIDE_CELLS = 8192, 16384
#: Trials are every combination of these shares: alpha, beta / alpha, gamma / (1 - alpha), place of phi in its range.
#: The search that follows finds the others from anywhere, but not always alpha.
GRID = ((0.05, 0.15, 0.4, 0.7, 0.93), (0.05,), (0.05,), (0.8,))
#: Rounds before forms that are far behind are given up.
TRIAL_ROUNDS = 2
#: Further rounds of a fit and of a refit, which has its earlier parameters.
ROUNDS, REFIT_ROUNDS = 14, 3
#: Where a refit begins with a form that the series was too short for before.
TYPICAL = (0.2, 0.05, 0.1, 0.8)
#: Mean squared residual below which a fit is perfect, for series scaled to a largest value between 0.5 and 1.
PERFECT = 1e-24


@dataclass(frozen=True, eq=False)
class Request:
    """What to fit. forms, all of which share a chunk; penalty (series, forms): what is added to n log(squares / n),
    inf for a form that is out; behind: a form so far behind the best after the trial rounds is given up;
    estimated: whether start values of seasons are searched; check: called between steps, may raise."""

    forms: Sequence[str]
    penalty: np.ndarray
    season_length: int
    estimated: bool
    behind: float
    check: Callable[[], None]


@dataclass(frozen=True, eq=False)
class Found:
    """Of each form and series: shares (4, series, forms), start (2 + m, series, forms), criterion (series, forms), inf
    for a form that is out or was given up."""

    shares: np.ndarray
    start: np.ndarray
    criterion: np.ndarray


def search(request: Request, chunk: Chunk, previous: np.ndarray | None) -> Found:
    """Fit all forms to all series; previous: shares (4, series, forms) of an earlier fit, which replace the grid."""
    n, count, m = len(chunk), len(request.forms), request.season_length
    seasonal = any(map(smoothing.is_seasonal, request.forms))
    found = Found(np.full((4, n, count), 0.5), np.zeros((2 + m * seasonal, n, count)), np.full((n, count), np.inf))
    kinds = {form[-1] for form in request.forms}
    places = {s: [f for f, form in enumerate(request.forms) if form[-1] == s] for s in "NAM" if s in kinds}
    for at in places.values():
        _begin(request, chunk, at, found, previous)
    rounds = ROUNDS if previous is None else REFIT_ROUNDS
    best = found.criterion.min(axis=1, keepdims=True)
    # Not a comparison with infinity minus infinity: a series without any form has nothing to go on with.
    found.criterion[~(found.criterion - best <= request.behind)] = np.inf
    for at in places.values():
        _finish(request, chunk, at, found, rounds)
    return found


def _begin(request: Request, chunk: Chunk, at: list[int], found: Found, previous: np.ndarray | None) -> None:
    """Grid or earlier parameters, then the trial rounds, for the forms at these places, whose seasons are alike."""
    forms = [request.forms[f] for f in at]
    series, form = np.nonzero(np.isfinite(request.penalty[:, at]))
    if not len(series):
        return
    width = 2 + request.season_length * smoothing.is_seasonal(forms[0])
    # Where a series is too short for a form, its start is never used; the heuristics need two seasons.
    enough = chunk.lengths >= (2 * (width - 2) if width > 2 else 1)
    part = chunk if enough.all() else chunk.take(enough)
    starts = np.zeros((2, width, len(chunk)))
    for k, trend in enumerate("NA"):
        starts[k][:, enough] = smoothing.start(f"A{trend}{forms[0][-1]}", part.filled, part.lengths, width - 2)
    trended = np.array([smoothing.has_trend(f) for f in forms], dtype=np.int64)
    place = series, np.array(at)[form]
    shares = previous[:, *place] if previous is not None else _coarse(request, forms, chunk, starts)[:, series, form]
    columns = _columns(request, chunk, forms, series, form)
    point = Point(shares, np.ascontiguousarray(starts[trended[form], :, series].T))
    _keep(request, chunk, found, place, *_descended(request, columns, point, TRIAL_ROUNDS))


def _finish(request: Request, chunk: Chunk, at: list[int], found: Found, rounds: int) -> None:
    """The remaining rounds of the forms at these places that are still in."""
    series, form = np.nonzero(np.isfinite(found.criterion[:, at]))
    if not len(series):
        return
    forms, place = [request.forms[f] for f in at], np.array(at)[form]
    columns = _columns(request, chunk, forms, series, form)
    width = 2 + request.season_length * smoothing.is_seasonal(forms[0])
    point = Point(found.shares[:, series, place], found.start[:width, series, place])
    _keep(request, chunk, found, (series, place), *_descended(request, columns, point, rounds))


def _keep(
    request: Request,
    chunk: Chunk,
    found: Found,
    place: tuple[np.ndarray, np.ndarray],
    point: Point,
    squares: np.ndarray,
) -> None:
    found.shares[:, *place], found.start[: len(point.start), *place] = point.shares, point.start
    known = chunk.known[place[0]]
    fit = known * np.log(np.maximum(squares / known, PERFECT)) + request.penalty[place]
    found.criterion[place] = np.where(np.isfinite(fit), fit, np.inf)


def _columns(request: Request, chunk: Chunk, forms: list[str], series: np.ndarray, form: np.ndarray) -> Columns:
    named = [forms[f] for f in form]
    values = chunk.values[:, series]
    return Columns.of(named, request.estimated, values, chunk.lengths[series], chunk.known[series])


def _descended(request: Request, columns: Columns, point: Point, rounds: int) -> tuple[Point, np.ndarray]:
    """`descend` piece by piece."""
    size = max(1, WIDE_CELLS // (SEASONS + 1 + (len(point.start) - 2) * columns.estimated))
    parts = []
    for first in range(0, len(columns), size):
        piece = np.arange(first, min(first + size, len(columns)))
        parts.append(descend(columns.take(piece), point.take(piece), rounds, request.check))
    points, squares = zip(*parts, strict=True)
    joined = Point(*(np.concatenate([getattr(p, name) for p in points], axis=1) for name in ("shares", "start")))
    return joined, np.concatenate(squares)


def _coarse(request: Request, forms: list[str], chunk: Chunk, starts: np.ndarray) -> np.ndarray:
    """The best point of `GRID` for each series and form: shares (4, series, forms)."""
    trends = sorted({form[1:-1] for form in forms})
    errors = "".join(sorted({form[0] for form in forms}))
    tables = {trend: _table(trend + forms[0][-1]) for trend in trends}
    points = np.concatenate(list(tables.values()), axis=1)
    trend = np.repeat(trends, [table.shape[1] for table in tables.values()])
    step, parts = max(1, CELLS // len(chunk)), []
    for first in range(0, len(trend), step):
        request.check()
        here = trend[first : first + step]
        trials = points[:, first : first + step, None]
        parameters = parameters_of([f"A{t}{forms[0][-1]}" for t in here], trials)
        parameters = np.repeat(parameters, len(chunk), axis=2)
        state = np.ascontiguousarray(starts[(here != "N").astype(int)].transpose(1, 0, 2))
        sums = smoothing.run(f"AAd{forms[0][-1]}", chunk.values, chunk.lengths, parameters, state, errors)
        parts.append(np.stack([sums.of(error, chunk.values) for error in errors]))
    squares = np.concatenate(parts, axis=1)
    squares = np.where(np.isfinite(squares), squares, np.inf)
    best = []
    for form in forms:
        tried = trend == form[1:-1]
        best.append(points[:, tried][:, squares[errors.index(form[0])][tried].argmin(axis=0)])
    return np.stack(best, axis=-1)


def _table(recursion: str) -> np.ndarray:
    """The trials of a trend and a season: shares (4, trials)."""
    has = (True, smoothing.has_trend("A" + recursion), recursion[-1] != "N", smoothing.is_damped("A" + recursion))
    return np.array(list(product(*[GRID[i] if has[i] else (0.5,) for i in range(4)]))).T
