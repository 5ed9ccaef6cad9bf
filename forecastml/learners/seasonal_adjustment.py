"""Chunks of series without their seasons: the seasons of each, their last cycle, what is left, and logarithms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecastml.kernels.seasonality import seasonal_indices
from forecastml.kernels.stl import (
    Components,
    Loess,
    SeasonPlan,
    loess_filter,
    mstl,
    next_odd,
    slot_numbers,
    stretch,
    tenth,
)
from forecastml.learners.chunks import Chunk, bridged

#: Rounds of season and trend; after two, trends still stand in the seasons (rolling folds of hourly series).
INNER = 5
#: Counts all cycles alike, and is computed at the ends only. Longer seasons get it: of them there are few cycles, and
#: to follow their changes lost on folds.
ALL_CYCLES = Loess(100_001, 0, 100_001)
#: Smoothers of the shortest season that each series chooses from; the first needs no reason.
SMOOTHERS = (
    *(Loess(window, 0) for window in (11, 3, 5, 7, 21)),
    ALL_CYCLES,
    *(Loess(window, 1) for window in (7, 11, 21)),
)
#: Another one is chosen where its error is this small beside that of the first, in a series of so many cycles; the
#: errors of this many of them count, and what they are foretold from goes back so many more.
BETTER, LEAST_CYCLES, JUDGED_CYCLES, EARLIER_CYCLES = 0.95, 16, 20, 60
#: A season this many times longer than the next shorter one is smooth from slot to slot: it is smoothed over as many
#: values as one `SMOOTH_SHARE`-th of it, because two or three cycles of single values are mostly noise.
SMOOTH_RATIO, SMOOTH_SHARE = 20, 12
#: Share of the values of two seasons that have to be known.
LEAST_KNOWN = 0.75
#: Values that are decomposed at a time: what one round touches stays in the cache.
PIECE = 1 << 16
#: How often gaps are filled by what the decomposition found.
REFILLS = 3
#: Seasons grow with the level where taking logarithms makes their sizes this much more even (see `growing`), as seen
#: in this many cycles at least.
EVENER, GROWING_CYCLES = 0.5, 4


@dataclass(frozen=True, eq=False)
class Adjusted:
    """What a chunk is without its seasons.

    values: float64 (time, series), NaN where unknown; estimated: the same with the trend where unknown; tables: per
    season the values of its last cycle, (series, slots), zeros for a series that does not hold it; choice: the smoother
    of the shortest season, int64 (series,), a position in `SMOOTHERS`, -1 where none was chosen.
    """

    values: np.ndarray
    estimated: np.ndarray
    tables: tuple[np.ndarray, ...]
    choice: np.ndarray


@dataclass(frozen=True)
class Adjustment:
    """How seasons are taken out: their lengths in steps, shortest first; window of the smoother of the shortest, None
    where each series chooses; horizon that it is chosen for."""

    seasons: tuple[float, ...]
    window: int | None
    horizon: int

    def plans(self, count: int, smoother: Loess) -> tuple[SeasonPlan, ...]:
        """Of the `count` shortest seasons, the shortest with this smoother."""
        plans = [SeasonPlan.of(m, ALL_CYCLES if place else smoother) for place, m in enumerate(self.seasons[:count])]
        for place in range(1, count):
            if self.seasons[place] >= SMOOTH_RATIO * self.seasons[place - 1]:
                width = next_odd(self.seasons[place] / SMOOTH_SHARE)
                plans[place] = replace(plans[place], polish=Loess(width, 1, tenth(width)))
        return tuple(plans)

    @property
    def lead(self) -> int:
        """How many cycles of the shortest season ahead the middle of the horizon lies, 1 at least."""
        return max(1, (1 + int(np.ceil(self.horizon / self.seasons[0]))) // 2)

    def adjusted(self, chunk: Chunk, values: np.ndarray, earlier: np.ndarray | None = None) -> Adjusted:
        """A chunk without its seasons; values: its values, or their logarithms; earlier: choices that are kept.

        Gaps are filled by classical seasonal indices on a straight line first, then by the trend and seasons that
        were found, a few times over.
        """
        # What is not decomposed has no trend to stand where its window begins with a gap.
        left, estimated = values.copy(), bridged(values, chunk.lengths, chunk.known).copy()
        tables = tuple(np.zeros((len(chunk), int(np.ceil(m)))) for m in self.seasons)
        choice = np.full(len(chunk), -1) if earlier is None else earlier.copy()
        for together, count in _alike(chunk, self.seasons):
            length = chunk.lengths[together[0]]
            part = np.ascontiguousarray(values[:length, together])
            filled = _filled(part, chunk.known[together], int(np.ceil(self.seasons[0])))
            choice[together] = self._choice(filled, count, choice[together])
            for some, plans in self._planned(filled, count, choice[together]):
                items, rest = together[some], part[:, some]
                found = _decomposed(rest, np.ascontiguousarray(filled[:, some]), plans)
                for table, plan, season in zip(tables, plans, found.seasonal, strict=False):
                    rest = rest - season
                    table[items] = last_cycle(season, plan.length).T
                left[:length, items] = rest
                estimated[:length, items] = np.where(np.isnan(rest), found.trend, rest)
        return Adjusted(left, estimated, tables, choice)

    def _planned(
        self, filled: np.ndarray, count: int, choice: np.ndarray
    ) -> Iterator[tuple[np.ndarray, tuple[SeasonPlan, ...]]]:
        """Positions of series that are decomposed together, and how."""
        for place in np.unique(choice).tolist():
            smoother = SMOOTHERS[max(place, 0)] if self.window is None else Loess(self.window, 0)
            for some in _pieces(np.flatnonzero(choice == place), len(filled)):
                yield some, self.plans(count, smoother)

    def _choice(self, filled: np.ndarray, count: int, earlier: np.ndarray) -> np.ndarray:
        """The smoother of the shortest season for each series, where it is open and there are cycles to judge by."""
        choice = earlier.copy()
        if self.window is not None or len(filled) < LEAST_CYCLES * self.seasons[0]:
            return choice
        for some in _pieces(np.flatnonzero(choice < 0), len(filled)):
            part = np.ascontiguousarray(filled[:, some])
            rough = mstl(part, self.plans(count, SMOOTHERS[0]), rounds=1)
            detrended = part - rough.trend
            for season in rough.seasonal[1:]:
                detrended = detrended - season
            choice[some] = chosen_smoothers(cycles_of(detrended, self.seasons[0]), self.lead)
        return choice


def chosen_smoothers(cycles: np.ndarray, lead: int) -> np.ndarray:
    """The smoother by which slots are best foretold: int64 (series,), positions in `SMOOTHERS`.

    cycles: float64 (cycles, slots, series) without trend. What a smoother makes of the last of some cycles is compared
    with the cycle `lead` later, for each of the last `JUDGED_CYCLES`.
    """
    cycles = cycles[-(EARLIER_CYCLES + JUDGED_CYCLES + lead) :]
    count = len(cycles)
    errors = np.zeros((len(SMOOTHERS), *cycles.shape[1:]))
    for target in range(max(count - JUDGED_CYCLES, lead + 2), count):
        seen = target - lead + 1
        for total, smoother in zip(errors, SMOOTHERS, strict=True):
            found = loess_filter(seen, replace(smoother, jump=1), 0)
            foretold = np.zeros(cycles.shape[1:])
            for weight, cycle in zip(found.weights[-1], cycles[found.left[-1] :], strict=False):
                foretold += weight * cycle
            total += np.abs(cycles[target] - foretold)
    totals = _mean(errors, 1)
    totals[0] *= BETTER
    return np.argmin(totals, axis=0)


def whole_cycles(chunk: Chunk, season: int) -> Chunk:
    """The chunk without what is older than the whole cycles of long series.

    Series of equal length are decomposed in one call, and so there are fewer lengths; at most one `LEAST_CYCLES`-th of
    the values is left out.
    """
    lengths = np.where(chunk.lengths >= LEAST_CYCLES * season, chunk.lengths // season * season, chunk.lengths)
    if (lengths == chunk.lengths).all():
        return chunk
    values = last_rows(chunk.values, chunk.lengths, lengths)
    # Series begin with a known value.
    values[0] = np.where(np.isnan(values[0]), last_rows(chunk.filled, chunk.lengths, lengths)[0], values[0])
    return replace(chunk, values=values, lengths=lengths, known=(~np.isnan(values)).sum(axis=0))


def last_rows(values: np.ndarray, lengths: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The last `kept` of the first `lengths` values of each series, from row 0 on: (time, series), NaN after them."""
    time = np.arange(kept.max())[:, None]
    rows = np.minimum(lengths - kept + time, lengths - 1)
    return np.where(time < kept, np.take_along_axis(values, rows, axis=0), np.nan)


def _alike(chunk: Chunk, seasons: Sequence[float]) -> Iterator[tuple[np.ndarray, int]]:
    """Positions of series that are decomposed together (equal lengths, with gaps or without), and how many of the
    seasons they hold twice."""
    counts = np.zeros(len(chunk), np.int64)
    for m in seasons:
        counts += (2 * m <= chunk.lengths) & (LEAST_KNOWN * 2 * m <= chunk.known)
    kinds = np.stack([chunk.lengths, chunk.known < chunk.lengths, counts], axis=1)
    for length, gaps, count in np.unique(kinds[counts > 0], axis=0).tolist():
        yield np.flatnonzero((kinds == (length, gaps, count)).all(axis=1)), count


def _pieces(items: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """Positions of series of this length, as many at a time as `PIECE` values are."""
    size = max(1, PIECE // length)
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _filled(values: np.ndarray, known: np.ndarray, slots: int) -> np.ndarray:
    """Columns of one length without gaps: seasonal indices on the straight line between neighbours."""
    if known[0] == len(values):
        return values
    indices = seasonal_indices(values, slots, multiplicative=False)[np.arange(-len(values), 0) % slots]
    return bridged(values - indices, np.full(values.shape[1], len(values)), known) + indices


def _decomposed(values: np.ndarray, filled: np.ndarray, plans: Sequence[SeasonPlan]) -> Components:
    """Trend and seasons; where there are gaps, again with what was found in them."""
    found = mstl(filled, plans, inner=INNER)
    gaps = np.isnan(values)
    for _ in range(REFILLS if gaps.any() else 0):
        model = found.trend
        for season in found.seasonal:
            model = model + season
        found = mstl(np.where(gaps, model, values), plans, inner=INNER)
    return found


def cycles_of(values: np.ndarray, length: float) -> np.ndarray:
    """Whole cycles of values (time, series) up to the last one: (cycles, slots, series)."""
    slots = int(np.ceil(length))
    if length != slots:
        values = values[stretch(len(values), length)[0]]
    count = len(values) // slots
    return values[len(values) - count * slots :].reshape(count, slots, -1)


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
    able = (chunk.low > 0) & (cycles >= GROWING_CYCLES) & (season > 1)
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
