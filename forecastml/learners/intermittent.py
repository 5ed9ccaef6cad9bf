"""Intermittent demand: Croston's method, its correction by Syntetos and Boylan, TSB, ADIDA and IMAPA.

All of them smooth something exponentially: sizes of demands, intervals between them, whether there is one, or sums of
several periods. Each weight is the one with the least squared one-step errors of what it smooths, within bounds.
Unknown values are no periods: they neither count nor break an interval. A series that has values below zero is no
demand: all its values count, and what remains is simple exponential smoothing. Without any demand the forecast is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecastml.kernels.intermittent import (
    INTERMITTENT,
    LUMPY,
    best_smoothed,
    buckets,
    intervals,
    mean_interval,
    packed,
)
from forecastml.learners.chunks import Chunk
from forecastml.learners.flat import FlatLearner, FlatSettings
from forecastml.learners.vectorised import Memory
from forecastml.protocols import Capabilities, Facts, FitContext, Params

#: These learners take part from this share of intermittent and lumpy series on.
SHARE = 0.1
#: Least and largest weight. The papers recommend 0.05 to 0.3 throughout; larger ones follow single demands.
WEIGHTS = (0.05, 0.3)
#: A probability decays in every period, not only with demands, so that its weight may be smaller (Teunter et al. 2011
#: try 0.01 to 0.3).
PROBABILITY_WEIGHTS = (0.01, 0.3)
#: Most periods in a bucket of IMAPA. Above it more levels hardly move their mean, and each costs a fit.
MOST_LEVELS = 24


class _Intermittent(FlatLearner):
    """What they share: known periods alone, which of them are demands, and when there is something to try."""

    # Trials of two columns per series: about 8,192 numbers per step.
    chunk = 512

    def space(self, facts: Facts) -> Sequence[Params]:
        """A single empty set where at least a tenth of the series are intermittent or lumpy, else nothing."""
        share = facts.demand.get(INTERMITTENT, 0.0) + facts.demand.get(LUMPY, 0.0)
        return [{}] if share >= SHARE else []

    def fit_chunk(self, chunk: Chunk, settings: FlatSettings, context: FitContext, previous: Memory | None) -> Memory:
        """Forget unknown periods, find the demands, and leave the rest to `_fitted`."""
        values, lengths = packed(chunk.values, ~np.isnan(chunk.values))
        plain = chunk.low < 0
        demand = _is_demand(values, plain)
        return {"plain": plain.astype(np.float64), **self._fitted(values, lengths, demand, previous)}

    def _fitted(self, values: np.ndarray, lengths: np.ndarray, demand: np.ndarray, previous: Memory | None) -> Memory:
        raise NotImplementedError

    def advance(self, memory: Memory, settings: FlatSettings, values: np.ndarray, lengths: np.ndarray) -> Memory:
        """One period after the other; unknown ones, which also follow the end, change nothing."""
        moved = {name: memory[name].copy() for name in self._states}
        demands = _is_demand(values, memory["plain"] > 0)
        for value, demand, known in zip(values, demands, ~np.isnan(values), strict=True):
            self._stepped(memory, moved, value, demand, known)
        return moved

    _states: tuple[str, ...] = ()

    def _stepped(self, memory: Memory, moved: Memory, value: np.ndarray, demand: np.ndarray, known: np.ndarray) -> None:
        """Move the states in place over one period."""
        raise NotImplementedError


class Croston(_Intermittent):
    """Smoothed size of a demand over smoothed interval between demands.

    Both move with demands only, each with a weight of its own (Croston 1972, "Forecasting and stock control for
    intermittent demands"). The first interval counts from the beginning of the history.
    """

    name = "croston"
    capabilities = Capabilities(missing=True, cost=0.0005)
    # since: periods after the last demand; demands: number of them that the level rests on, 0 for none.
    _states = ("size", "interval", "since", "demands")

    def level(self, memory: Memory, settings: FlatSettings) -> np.ndarray:
        """Size over interval."""
        return np.where(memory["demands"] > 0, memory["size"] / np.maximum(memory["interval"], 1.0), 0.0)

    def _fitted(self, values: np.ndarray, lengths: np.ndarray, demand: np.ndarray, previous: Memory | None) -> Memory:
        sizes, counts = packed(values, demand)
        waits, _ = intervals(demand)
        level, weight = _side_by_side((sizes, waits), (counts, counts), (WEIGHTS, WEIGHTS), _weights(previous))
        period = np.arange(1.0, len(values) + 1)[:, None]
        last = np.max(np.where(demand, period, 0.0), axis=0, initial=0.0)
        states = {"size": level[0], "interval": level[1], "since": lengths - last, "demands": counts.astype(float)}
        return {**states, "weight": weight.T.copy()}

    def _stepped(self, memory: Memory, moved: Memory, value: np.ndarray, demand: np.ndarray, known: np.ndarray) -> None:
        moved["since"] += known
        begun = moved["demands"] > 0
        for name, new, weight in zip(("size", "interval"), (value, moved["since"]), memory["weight"].T, strict=True):
            step = np.where(begun, weight * (new - moved[name]), new - moved[name])
            moved[name] += np.where(demand, step, 0.0)
        moved["since"][demand] = 0.0
        moved["demands"] += demand


class SBA(Croston):
    """Croston's forecast times 1 - half the weight of the intervals, where there are periods without demand.

    It takes away most of the bias that dividing by a smoothed interval brings (Syntetos and Boylan 2005, "The
    accuracy of intermittent demand estimates"). Where every interval is 1 there is no such bias.
    """

    name = "sba"

    def level(self, memory: Memory, settings: FlatSettings) -> np.ndarray:
        """The corrected size over interval."""
        factor = np.where(memory["interval"] > 1.0, 1.0 - 0.5 * memory["weight"][:, 1], 1.0)
        return super().level(memory, settings) * factor


class TSB(_Intermittent):
    """Smoothed size of a demand times smoothed probability of one.

    The probability moves in every period, so that the forecast of a product that is no longer sold goes to zero
    (Teunter, Syntetos and Babai 2011, "Intermittent demand: linking forecasting to inventory obsolescence").
    """

    name = "tsb"
    capabilities = Capabilities(missing=True, cost=0.0005)
    _states = ("size", "probability", "demands")

    def level(self, memory: Memory, settings: FlatSettings) -> np.ndarray:
        """Size times probability."""
        return memory["size"] * memory["probability"]

    def _fitted(self, values: np.ndarray, lengths: np.ndarray, demand: np.ndarray, previous: Memory | None) -> Memory:
        sizes, counts = packed(values, demand)
        bounds = (WEIGHTS, PROBABILITY_WEIGHTS)
        level, weight = _side_by_side((sizes, demand.astype(float)), (counts, lengths), bounds, _weights(previous))
        states = {"size": level[0], "probability": level[1], "demands": counts.astype(float)}
        return {**states, "weight": weight.T.copy()}

    def _stepped(self, memory: Memory, moved: Memory, value: np.ndarray, demand: np.ndarray, known: np.ndarray) -> None:
        error = value - moved["size"]
        step = np.where(moved["demands"] > 0, memory["weight"][:, 0] * error, error)
        moved["size"] += np.where(demand, step, 0.0)
        move = memory["weight"][:, 1] * (demand - moved["probability"])
        moved["probability"] += np.where(known, move, 0.0)
        moved["demands"] += demand


class _Aggregated(_Intermittent):
    """Smoothed sums of several periods, spread evenly over them.

    bucket: periods per sum, NaN for none; total: smoothed sum; part: sum of the bucket that has begun since the fit;
    all (series, levels). since: periods since the fit.
    """

    capabilities = Capabilities(missing=True, cost=0.0005)
    _states = ("total", "part", "since")

    def _sizes(self, largest: np.ndarray) -> np.ndarray:
        """Periods per bucket at each level, 0 for none: int64 (levels, series); largest: rounded mean interval."""
        raise NotImplementedError

    def level(self, memory: Memory, settings: FlatSettings) -> np.ndarray:
        """The mean over levels of total / bucket."""
        total, count = np.zeros(len(memory["bucket"])), np.zeros(len(memory["bucket"]))
        for bucket, level in zip(memory["bucket"].T, memory["total"].T, strict=True):
            there = ~np.isnan(bucket)
            total += np.where(there, level / bucket, 0.0)
            count += there
        return total / count

    def _fitted(self, values: np.ndarray, lengths: np.ndarray, demand: np.ndarray, previous: Memory | None) -> Memory:
        sizes = self._sizes(np.rint(mean_interval(demand)).astype(np.int64))
        total, weight = np.full(sizes.shape, np.nan), np.full(sizes.shape, np.nan)
        low, high = np.full(len(lengths), WEIGHTS[0]), np.full(len(lengths), WEIGHTS[1])
        for k, size in enumerate(sizes):
            at = np.flatnonzero(size)
            sums, counts = buckets(np.ascontiguousarray(values[:, at]), lengths[at], size[at])
            old = None
            if previous is not None:
                # A level that the earlier cutoff did not have begins in the middle, and so does one that none of the
                # series had.
                had = previous["weight"][at, k] if k < previous["weight"].shape[1] else np.full(len(at), np.nan)
                old = np.where(np.isnan(had), 0.5 * (WEIGHTS[0] + WEIGHTS[1]), had)
            total[k, at], weight[k, at] = best_smoothed(sums, counts, (low[at], high[at]), old)
        bucket = np.where(sizes > 0, sizes, np.nan).T.copy()
        states = {"total": total.T.copy(), "part": np.zeros(bucket.shape), "since": np.zeros(len(lengths))}
        return {**states, "bucket": bucket, "weight": weight.T.copy()}

    def _stepped(self, memory: Memory, moved: Memory, value: np.ndarray, demand: np.ndarray, known: np.ndarray) -> None:
        moved["since"] += known
        part = moved["part"] + np.where(known, value, 0.0)[:, None]
        full = known[:, None] & (moved["since"][:, None] % memory["bucket"] == 0)
        moved["total"] += np.where(full, memory["weight"] * (part - moved["total"]), 0.0)
        moved["part"] = np.where(full, 0.0, part)


class ADIDA(_Aggregated):
    """The smoothed sum over as many periods as there are between two demands, spread evenly over them.

    (Nikolopoulos, Syntetos, Boylan, Petropoulos and Assimakopoulos 2011, "An aggregate-disaggregate intermittent
    demand approach (ADIDA) to forecasting".)
    """

    name = "adida"

    def _sizes(self, largest: np.ndarray) -> np.ndarray:
        """The rounded mean interval."""
        return largest[None]


class IMAPA(_Aggregated):
    """The mean of smoothed sums over 1, 2, ... periods up to the mean interval, each spread evenly.

    (Petropoulos and Kourentzes 2015, "Forecast combinations for intermittent demand".)
    """

    name = "imapa"
    capabilities = Capabilities(missing=True, cost=0.0015)

    def _sizes(self, largest: np.ndarray) -> np.ndarray:
        """1 up to the rounded mean interval, at most `MOST_LEVELS`."""
        levels = np.arange(1, min(largest.max(initial=1), MOST_LEVELS) + 1)[:, None]
        return np.where(levels <= largest, levels, 0)


def _is_demand(values: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Known values other than zero, and all known ones of plain series."""
    return ~np.isnan(values) & (plain | (values != 0))


def _weights(previous: Memory | None) -> np.ndarray | None:
    return None if previous is None else previous["weight"].T


def _side_by_side(
    values: Sequence[np.ndarray],
    counts: Sequence[np.ndarray],
    bounds: Sequence[tuple[float, float]],
    previous: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """`best_smoothed` of several columns per series in one call: levels and weights (columns, series) each."""
    n, longest = values[0].shape[1], max(map(len, values))
    table = np.full((longest, len(values) * n), np.nan)
    for k, part in enumerate(values):
        table[: len(part), k * n : (k + 1) * n] = part
    limits = tuple(np.repeat([bound[end] for bound in bounds], n) for end in (0, 1))
    old = None if previous is None else previous.ravel()
    level, weight = best_smoothed(table, np.concatenate(counts), limits, old)
    return level.reshape(-1, n), weight.reshape(-1, n)
