"""The stepwise search for the order of seasonal ARMA models, in lockstep for many series (Hyndman and Khandakar 2008,
"Automatic time series forecasting: the forecast package for R", section 3.2).

Every series begins with the same few models, then goes from its best one to whichever neighbour has the lowest AICc,
until none is better: the seasonal neighbours and the others take turns. Candidates of all series are fitted together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecastml.budget import Deadline
from forecastml.kernels.arma_fit import CONSTANT, MOST, PARTS, Fits, Sample, Stop, maximised, partial, well_inside

#: Roots nearer to the unit circle are rejected (Hyndman and Khandakar 2008).
MARGIN = 0.01
#: A candidate's fit ends when a round gains less of -2 log likelihood; the AICc need not be known better.
SEARCHED, DECIDED, FINISHED, REFITTED = Stop(12, 0.05), Stop(25, 1e-3), Stop(40, 1e-5), Stop(8, 1e-3)
#: A model with a partial autocorrelation beyond this may have a root that is on its way to the unit circle.
NEAR = 0.75
#: Turns of the search at most; few series need as many.
TURNS = 12
#: Where parameters begin that a model did not have before it.
FIRST = {"plain": 0.1, "seasonal_ma": 0.6}
#: Models to begin with: p, q, P, Q; the first is the largest.
BEGINNINGS = ((2, 2, 1, 1), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1))
_SQUARE = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0))
#: Changes of p, q, P, Q, and whether the constant comes or goes.
SEASONAL_MOVES = tuple((0, 0, i, j, 0) for i, j in _SQUARE)
PLAIN_MOVES = (*((i, j, 0, 0, 0) for i, j in _SQUARE), (0, 0, 0, 0, 1))


@dataclass(frozen=True, eq=False)
class Bounds:
    """What each series may have: most, int64 (4, series), of p, q, P, Q; constant: bool (series,)."""

    most: np.ndarray
    constant: np.ndarray

    @classmethod
    def of(cls, known: np.ndarray, season: int, constant: np.ndarray) -> Bounds:
        """By the number of known values."""
        third = known // 3
        plain = np.minimum(MOST[0], np.minimum(third, season - 1) if season > 1 else third)
        far = np.minimum(MOST[2], third // season) if season > 1 else np.zeros_like(known)
        return cls(np.stack([plain, plain, far, far]), constant)


@dataclass(frozen=True, eq=False)
class Models:
    """One model per series: order, int64 (5, series), p, q, P, Q and the constant; parameters (rows, series); AICc,
    inf where there is none, and innovation variance (series,)."""

    order: np.ndarray
    parameters: np.ndarray
    criterion: np.ndarray
    variance: np.ndarray

    def take(self, series: np.ndarray) -> Models:
        """Those of these series."""
        return Models(*(getattr(self, name)[..., series] for name in self.__dataclass_fields__))

    def replaced(self, series: np.ndarray, by: Models) -> Models:
        """The same with other models of these series."""
        fields = [getattr(self, name).copy() for name in self.__dataclass_fields__]
        for field, new in zip(fields, (by.order, by.parameters, by.criterion, by.variance), strict=True):
            field[..., series] = new
        return Models(*fields)


def searched(sample: Sample, bounds: Bounds, mean: np.ndarray, deadline: Deadline) -> Models:
    """The best model of every series. mean: of its values, where the constant begins."""
    n = len(sample.lengths)
    search = _Search(sample, bounds, mean)
    everyone = np.arange(n)
    for beginning in BEGINNINGS:
        order = np.minimum(np.array(beginning)[:, None], np.minimum(bounds.most, search.few))
        search.propose(everyone, np.concatenate([order, bounds.constant[None].astype(np.int64)]))
    without = np.flatnonzero(bounds.constant)
    search.propose(without, np.zeros((5, len(without)), dtype=np.int64))
    search.judge()
    still = np.zeros((2, n), dtype=bool)
    for turn in range(TURNS):
        kind = turn % 2
        going = np.flatnonzero(~still.all(axis=0))
        if not len(going):
            break
        deadline.check()
        for move in (SEASONAL_MOVES, PLAIN_MOVES)[kind]:
            search.propose(going, search.neighbour(going, move))
        better = search.judge()
        still[kind] = True
        # A new model has new neighbours of the other kind, and those of this kind are looked at again after them.
        still[:, better] = False
    return search.best


class _Search:
    """The best models so far, which orders were tried, and which are to be tried next."""

    def __init__(self, sample: Sample, bounds: Bounds, mean: np.ndarray) -> None:
        n = len(sample.lengths)
        self.sample, self.bounds, self.mean = sample, bounds, mean
        # Too short for all the beginnings: no more than one term of each kind.
        self.few = np.where(bounds.most[0] >= 3, 2, 1)
        self.tried = np.zeros((*(m + 1 for m in MOST), 2, n), dtype=bool)
        blank = np.zeros((sample.rows, n))
        self.best = Models(np.zeros((5, n), np.int64), blank, np.full(n, np.inf), np.ones(n))
        self._series: list[np.ndarray] = []
        self._orders: list[np.ndarray] = []

    def neighbour(self, series: np.ndarray, move: tuple[int, ...]) -> np.ndarray:
        """The orders one move away from the best ones."""
        order = self.best.order[:, series] + np.array(move)[:, None]
        order[4] %= 2
        return order

    def propose(self, series: np.ndarray, order: np.ndarray) -> None:
        """Have these orders fitted next, where they are allowed and new."""
        most = np.concatenate([self.bounds.most[:, series], self.bounds.constant[None, series]])
        allowed = ((order >= 0) & (order <= most)).all(axis=0)
        series, order = series[allowed], order[:, allowed]
        new = ~self.tried[(*order, series)]
        self.tried[(*order[:, new], series[new])] = True
        self._series.append(series[new])
        self._orders.append(order[:, new])

    def judge(self) -> np.ndarray:
        """Fit what was proposed; the series that have a better model now."""
        series, order = np.concatenate(self._series), np.concatenate(self._orders, axis=1)
        self._series, self._orders = [], []
        found = fitted(
            self.sample, series, order, started(self, series, order), (SEARCHED, self.best.criterion[series])
        )
        # Only the maximum tells whether a root comes to lie on the unit circle.
        near = np.abs(partial(found.parameters[:CONSTANT])).max(axis=0) > NEAR
        doubtful = np.flatnonzero(near & (found.criterion < self.best.criterion[series]))
        start = found.parameters[:, doubtful]
        final = fitted(self.sample, series[doubtful], order[:, doubtful], start, (DECIDED, np.inf))
        found = found.replaced(doubtful, final)
        # The first of the lowest, in the order of proposing.
        rank = np.lexsort((np.arange(len(series)), found.criterion, series))
        first = rank[np.append(True, series[rank][1:] != series[rank][:-1])] if len(rank) else rank
        first = first[found.criterion[first] < self.best.criterion[series[first]]]
        self.best = self.best.replaced(series[first], found.take(first))
        return series[first]


def started(search: _Search, series: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Parameters to begin with: those of the best model so far, as far as they go."""
    parameters = np.where(free(order, search.sample.rows), search.best.parameters[:, series], 0.0)
    new = free(order, search.sample.rows) & ~free(search.best.order[:, series], search.sample.rows)
    first = np.full(search.sample.rows, FIRST["plain"])
    first[PARTS[3].start] = FIRST["seasonal_ma"]
    parameters = np.where(new, first[:, None], parameters)
    parameters[CONSTANT] = np.where(new[CONSTANT], search.mean[series], parameters[CONSTANT])
    return parameters


def free(order: np.ndarray, rows: int) -> np.ndarray:
    """Parameters that models of these orders have, linear terms beside the constant excepted: bool (rows, models)."""
    found = np.zeros((rows, order.shape[1]), dtype=bool)
    for part, terms in zip(PARTS, order, strict=False):
        found[part] = np.arange(part.stop - part.start)[:, None] < terms
    found[CONSTANT] = order[4] > 0
    return found


def fitted(
    sample: Sample,
    series: np.ndarray,
    order: np.ndarray,
    start: np.ndarray,
    goal: tuple[Stop, np.ndarray | float],
    used: np.ndarray | None = None,
) -> Models:
    """Models of these orders, AICc inf for those with a root near the unit circle.

    goal: when a fit ends, and the AICc that it has to beat, float64 (models,); used: linear terms beside the constant
    that are free, bool (terms, models).
    """
    stop, beaten = goal
    active = free(order, sample.rows)
    if used is not None:
        active[CONSTANT + 1 :] = used
    known, count = (~np.isnan(sample.values)).sum(axis=0)[series], active.sum(axis=0)
    penalty = _penalty(known, count)
    parameters, deviance, variance = maximised(sample, Fits(series, active, start, beaten - penalty), stop)
    fine = well_inside(parameters, sample.season, MARGIN)
    return Models(order, parameters, np.where(fine, deviance + penalty, np.inf), variance)


def _penalty(known: np.ndarray, count: np.ndarray) -> np.ndarray:
    """What AICc adds to -2 log likelihood, inf for models with as many parameters as values."""
    k = count + 1.0
    room = known - k - 1.0
    return np.where(room > 0, 2.0 * k + 2.0 * k * (k + 1.0) / np.maximum(room, 1.0), np.inf)
