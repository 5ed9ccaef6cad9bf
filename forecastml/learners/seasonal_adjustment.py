"""Chunks of series without their seasons: the seasons of each, their last cycle, what is left, and logarithms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecastml.kernels.seasonality import seasonal_indices
from forecastml.kernels.stl import Components, Loess, SeasonPlan, mstl, next_odd, slot_numbers, tenth
from forecastml.learners.chunks import Chunk, bridged

#: Rounds of season and trend; after two, trends still stand in the seasons (rolling folds of hourly series).
INNER = 5
#: A window that counts all cycles alike: longer seasons have few of them, to follow their changes lost on folds.
ALL_CYCLES = 100_001
#: A season this many times longer than the next shorter one is smooth from slot to slot: it is smoothed over as many
#: values as one `SMOOTH_SHARE`-th of it, because two or three cycles of single values are mostly noise.
SMOOTH_RATIO, SMOOTH_SHARE = 20, 12
#: Share of the values of two seasons that have to be known.
LEAST_KNOWN = 0.75
#: Values that are decomposed at a time: what one round touches stays in the cache.
PIECE = 1 << 16
#: Seasons grow with the level where taking logarithms makes their sizes this much more even (see `growing`), as seen
#: in this many cycles at least.
EVENER, LEAST_CYCLES = 0.8, 4


@dataclass(frozen=True, eq=False)
class Adjusted:
    """What a chunk is without its seasons.

    values: float64 (time, series), NaN where unknown; first: what stands for the first row where that is unknown;
    tables: per season the values of its last cycle, (series, slots), zeros for a series that does not hold it.
    """

    values: np.ndarray
    estimated: np.ndarray
    tables: tuple[np.ndarray, ...]


def season_plans(seasons: Sequence[float], window: int) -> tuple[SeasonPlan, ...]:
    """How seasons, shortest first, are taken out: the shortest over `window` values of a slot, others over all."""
    plans, shorter = [], None
    for length in seasons:
        plan = SeasonPlan.of(length, window if shorter is None else ALL_CYCLES)
        if shorter is not None and length >= SMOOTH_RATIO * shorter:
            width = next_odd(length / SMOOTH_SHARE)
            plan = replace(plan, polish=Loess(width, 1, tenth(width)))
        plans.append(plan)
        shorter = length
    return tuple(plans)


def held(plans: Sequence[SeasonPlan], length: int, known: int) -> int:
    """How many of the seasons, shortest first, a series of so many values holds twice."""
    return sum(2 * p.length <= length and LEAST_KNOWN * 2 * p.length <= known for p in plans)


def adjusted(chunk: Chunk, values: np.ndarray, plans: Sequence[SeasonPlan]) -> Adjusted:
    """A chunk without its seasons; values: its values, or their logarithms.

    Gaps are filled by classical seasonal indices on a straight line first, by trend and seasons then, and the
    decomposition is repeated.
    """
    left, estimated = values.copy(), values.copy()
    tables = tuple(np.zeros((len(chunk), plan.slots)) for plan in plans)
    for items, count in _alike(chunk, plans):
        length = chunk.lengths[items[0]]
        part = np.ascontiguousarray(values[:length, items])
        found = _decomposed(part, chunk.known[items], plans[:count])
        seasonal = np.zeros_like(part)
        for table, plan, season in zip(tables, plans, found.seasonal, strict=False):
            seasonal += season
            table[items] = last_cycle(season, plan.length).T
        left[:length, items] = part - seasonal
        estimated[:length, items] = np.where(np.isnan(part), found.trend, part - seasonal)
    return Adjusted(left, estimated, tables)


def _alike(chunk: Chunk, plans: Sequence[SeasonPlan]) -> Iterator[tuple[np.ndarray, int]]:
    """Positions of series that are decomposed together (equal lengths, with gaps or without), and how many seasons."""
    counts = np.array([held(plans, n, k) for n, k in zip(chunk.lengths.tolist(), chunk.known.tolist(), strict=True)])
    kinds = np.stack([chunk.lengths, chunk.known < chunk.lengths, counts], axis=1)
    for length, gaps, count in np.unique(kinds[counts > 0], axis=0).tolist():
        items = np.flatnonzero((kinds == (length, gaps, count)).all(axis=1))
        size = max(1, PIECE // length)
        for first in range(0, len(items), size):
            yield items[first : first + size], count


def _decomposed(values: np.ndarray, known: np.ndarray, plans: Sequence[SeasonPlan]) -> Components:
    """Trend and seasons of series of one length, either all with gaps or all without."""
    if known[0] == len(values):
        return mstl(values, plans, inner=INNER)
    slots = plans[0].slots
    indices = seasonal_indices(values, slots, multiplicative=False)[np.arange(-len(values), 0) % slots]
    lengths = np.full(values.shape[1], len(values))
    filled = bridged(values - indices, lengths, known) + indices
    found = mstl(filled, plans, inner=INNER)
    model = found.trend
    for season in found.seasonal:
        model = model + season
    return mstl(np.where(np.isnan(values), model, values), plans, inner=INNER)


def last_cycle(season: np.ndarray, length: float) -> np.ndarray:
    """The last value of each slot: float64 (time, series) -> (slots, series), the slot of the next step first."""
    slots = int(np.ceil(length))
    numbers = slot_numbers(np.arange(-len(season), 0), length)
    # A slot in which no step falls has the value of the next step.
    return season[np.searchsorted(numbers, np.arange(-slots, 0)).clip(max=len(season) - 1)]


def seasons_ahead(table: np.ndarray, length: float, steps: np.ndarray) -> np.ndarray:
    """The season at steps, int64 (time, series), 0 the first after the fit: table (series, slots) -> like steps."""
    at = slot_numbers(steps, length) % table.shape[1]
    return np.take_along_axis(table.T, at, axis=0)


def growing(chunk: Chunk, season: int) -> np.ndarray:
    """Whether the season of each series grows with its level: bool (series,), False where a value is not positive.

    After Guerrero (1993), with the logarithm as the only other choice: the size of the season in a cycle, and this
    divided by the level of the cycle, the one that varies less from cycle to cycle relative to its mean is even.
    """
    cycles = chunk.lengths // season
    found = np.zeros(len(chunk), dtype=bool)
    able = (chunk.low > 0) & (cycles >= LEAST_CYCLES) & (season > 1)
    for count in np.unique(cycles[able]).tolist():
        items = np.flatnonzero(able & (cycles == count))
        begin = chunk.lengths[items] - count * season
        rows = begin + np.arange(count * season)[:, None]
        values = chunk.filled[rows, items].reshape(count, season, len(items))
        level = _mean(values, 1)
        size = _mean(np.abs(values - level[:, None]), 1)
        found[items] = _variation(size / level) < EVENER * _variation(size)
    return found


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean along an axis, added in order."""
    return np.take(np.cumsum(values, axis=axis), -1, axis=axis) / values.shape[axis]


def _variation(sizes: np.ndarray) -> np.ndarray:
    """Standard deviation over mean of each column."""
    mean = _mean(sizes, 0)
    return np.sqrt(_mean((sizes - mean) ** 2, 0)) / np.where(mean > 0, mean, 1.0)
