"""Nelder and Mead's simplex search for many series in lockstep: each has its own simplex, all try the same moves.

Every round tries reflection, expansion and both contractions of every series in one call of the function; a series
that has converged is frozen and leaves the calls. Nothing of one series enters another's search.
(Nelder and Mead 1965, "A simplex method for function minimization".)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Where reflection, expansion, outer and inner contraction lie, in distances of centroid and worst point.
MOVES = np.array([1.0, 2.0, 0.5, -0.5])
REFLECT, EXPAND, OUTER, INNER = range(4)

#: x (parameters, trials, series), positions of these series -> values (trials, series), inf where not allowed.
Function = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Stop:
    """When a search ends: after so many rounds, or when the values of a simplex differ by less than absolute +
    relative * |best value|."""

    rounds: int = 200
    relative: float = 1e-8
    absolute: float = 1e-10


def minimise(function: Function, start: np.ndarray, step: np.ndarray, stop: Stop) -> tuple[np.ndarray, np.ndarray]:
    """The lowest point found by each series: parameters (parameters, series), value (series,).

    start: float64 (parameters, series); step: float64 (parameters, 1 or series), how far the other points of the first
    simplex lie from it. NaN counts as inf.
    """
    size, series = start.shape
    found, lowest = start.copy(), np.full(series, np.inf)
    if not series:
        return found, lowest
    points = np.repeat(start[:, None], size + 1, axis=1)
    for i in range(size):
        points[i, i + 1] += np.broadcast_to(step, start.shape)[i]
    active = np.arange(series)
    values = _values(function, points, active)
    for _ in range(stop.rounds):
        order = np.argsort(values, axis=0, kind="stable")
        values, points = np.take_along_axis(values, order, axis=0), np.take_along_axis(points, order[None], axis=1)
        found[:, active], lowest[active] = points[:, 0], values[0]
        # A simplex of infinities has nothing to go by.
        open_ = np.isfinite(values[0]) & (values[-1] > values[0] + stop.absolute + stop.relative * np.abs(values[0]))
        if not open_.all():
            points, values, active = points[:, :, open_], values[:, open_], active[open_]
            if not len(active):
                return found, lowest
        points, values = _moved(function, points, values, active)
    best = np.argmin(values, axis=0)
    everyone = np.arange(len(active))
    found[:, active], lowest[active] = points[:, best, everyone], values[best, everyone]
    return found, lowest


def _moved(
    function: Function, points: np.ndarray, values: np.ndarray, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One round: the worst point of each sorted simplex moves, or all points move towards the best one."""
    size = len(points)
    centroid = np.zeros_like(points[:, 0])
    for vertex in range(size):
        centroid += points[:, vertex]
    centroid /= size
    trials = centroid[:, None] + MOVES[:, None] * (centroid - points[:, -1])[:, None]
    reached = _values(function, trials, active)
    best, second, worst = values[0], values[-2], values[-1]
    reflected = reached[REFLECT]
    choice = np.where(
        reflected < best,
        np.where(reached[EXPAND] < reflected, EXPAND, REFLECT),
        np.where(reflected < second, REFLECT, np.where(reflected < worst, OUTER, INNER)),
    )
    everyone = np.arange(len(active))
    value = reached[choice, everyone]
    accepted = np.where(choice == OUTER, value <= reflected, np.where(choice == INNER, value < worst, True))
    points, values = points.copy(), values.copy()
    points[:, -1] = np.where(accepted, trials[:, choice, everyone], points[:, -1])
    values[-1] = np.where(accepted, value, values[-1])
    shrunk = np.flatnonzero(~accepted)
    if len(shrunk):
        nearer = points[:, :1, shrunk] + 0.5 * (points[:, 1:, shrunk] - points[:, :1, shrunk])
        points[:, 1:, shrunk] = nearer
        values[1:, shrunk] = _values(function, nearer, active[shrunk])
    return points, values


def _values(function: Function, points: np.ndarray, active: np.ndarray) -> np.ndarray:
    values = function(points, active)
    return np.where(np.isnan(values), np.inf, values)
