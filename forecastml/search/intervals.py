"""Conformal prediction intervals: per step, asymmetric, from out-of-fold residuals.

A residual is scaled by its item's typical error and by the profile of its step, so that residuals of many items and
of neighbouring steps can share one pool; the pool's quantiles are scaled back. Where an item has 20 residuals of its
own for a step, its own quantiles are used. (Conformal prediction: Vovk et al. 2005; for multi-step forecasts:
Stankeviciute et al. 2021.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from forecastml.protocols import Truth

#: Fewer residuals than this are not enough for quantiles of their own.
ENOUGH = 20
#: Levels at which the pool is kept.
GRID = np.round(np.arange(1, 200) / 200, 3)
#: Errors up to this share of the in-sample scale are none.
EXACT = 1e-9
#: An item's own mean error counts folds / (folds + PRIOR_FOLDS); the rest is its in-sample scale.
PRIOR_FOLDS = 2.0


@dataclass(frozen=True, eq=False)
class Pool:
    """What residuals of many items have in common.

    profile: float64 (steps,), typical error of each step relative to the item's scale; ratio: typical error relative
    to the in-sample scale; table: float64 (steps, levels), quantiles of the scaled residuals at `GRID`.
    """

    profile: np.ndarray
    ratio: float
    table: np.ndarray

    def equals(self, other: Pool) -> bool:
        """Whether both hold the same numbers."""
        same = np.array_equal(self.profile, other.profile) and np.array_equal(self.table, other.table)
        return same and self.ratio == other.ratio

    @property
    def steps(self) -> int:
        return len(self.profile)


@dataclass(frozen=True, eq=False)
class Conformal:
    """Intervals for every item: `pool`, the scale of each item, and its own residuals where there are enough.

    scale: float64 (items,), 0 for an item that never varied; residuals: float32 (items, folds, steps), NaN where
    there is none.
    """

    pool: Pool
    scale: np.ndarray
    residuals: np.ndarray

    def quantiles(self, mean: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        """Quantiles around point forecasts: mean (items, steps) -> (items, steps, levels), sorted, never NaN.

        Steps beyond the trained ones take the last step's spread, widened by the square root of the distance.
        """
        horizon = mean.shape[1]
        step = np.minimum(np.arange(horizon), self.pool.steps - 1)
        widen = np.sqrt((np.arange(horizon) + 1) / (step + 1))
        order = np.argsort(levels, kind="stable")
        wanted = np.asarray(levels, dtype=float)[order]
        offsets = np.stack([at_levels(self.pool.table[s], wanted) for s in range(self.pool.steps)])
        spread = self.scale[:, None] * self.pool.profile
        shift = spread[:, :, None] * offsets
        own = (~np.isnan(self.residuals)).sum(axis=1) >= ENOUGH
        for item, s in zip(*np.nonzero(own), strict=True):
            values = np.sort(self.residuals[item, :, s])
            shift[item, s] = empirical_quantiles(values[~np.isnan(values)].astype(float), wanted)
        result = np.sort(mean[:, :, None] + shift[:, step] * widen[:, None], axis=2)
        return result[:, :, np.argsort(order, kind="stable")]

    def take(self, items: np.ndarray) -> Conformal:
        """For these items alone."""
        return replace(self, scale=self.scale[items], residuals=self.residuals[items])

    @staticmethod
    def stack(parts: Sequence[Conformal]) -> Conformal:
        """Items of several in one, under the first one's pool (runs under one prior share it)."""
        folds = max(part.residuals.shape[1] for part in parts)
        padded = [
            np.pad(p.residuals, ((0, 0), (folds - p.residuals.shape[1], 0), (0, 0)), constant_values=np.nan)
            for p in parts
        ]
        return replace(parts[0], scale=np.concatenate([p.scale for p in parts]), residuals=np.concatenate(padded))


def normal_quantile(levels: np.ndarray) -> np.ndarray:
    """Quantiles of the standard normal distribution."""
    return np.array([_normal(float(level)) for level in levels])


_normal = lru_cache(maxsize=4096)(NormalDist().inv_cdf)


def empirical_quantiles(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Quantiles of sorted values at plotting positions i / (n + 1), the finite-sample ones of split conformal."""
    return _read(values, np.arange(1, len(values) + 1) / (len(values) + 1), levels)


def at_levels(row: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """A row of `Pool.table` at any levels in (0, 1)."""
    return _read(row, GRID, levels)


def _read(values: np.ndarray, positions: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Interpolate values given at positions; levels beyond the outermost ones go on as a normal tail would.

    So a few residuals still give wide tails, and the result does not decrease with the level.
    """
    result = np.interp(levels, positions, values)
    middle = np.interp(0.5, positions, values)
    for beyond, end in ((levels < positions[0], 0), (levels > positions[-1], -1)):
        edge = normal_quantile(positions[[end]])[0]
        if beyond.any() and edge != 0.0:
            result[beyond] = middle + (values[end] - middle) * normal_quantile(levels[beyond]) / edge
    return result


def residual_cube(errors: np.ndarray, truth: Truth, items: int, planned: int = 0) -> np.ndarray:
    """Errors y - forecast per row -> float32 (items, folds, steps); NaN where there is none or no weight.

    planned: number of folds to have a place for, 0 for those alone in which some item takes part.
    """
    folds = np.arange(planned) if planned else np.unique(truth.fold)
    cube = np.full((items, len(folds), int(truth.step.max()) + 1), np.nan, dtype=np.float32)
    scored = truth.weight > 0
    cube[truth.series, np.searchsorted(folds, truth.fold), truth.step] = np.where(scored, errors, np.nan)
    return cube


def item_scale(cube: np.ndarray, in_sample: np.ndarray, profile: np.ndarray, ratio: float) -> np.ndarray:
    """Typical error of each item: its own mean error over folds, shrunk (in logs) towards its in-sample scale.

    cube (items, folds, steps); in_sample (items,). An item without residuals has its in-sample scale alone.
    """
    expected = in_sample * ratio
    relative = np.abs(cube.astype(float)) / profile
    present = ~np.isnan(relative)
    count = present.sum(axis=(1, 2))
    total = _ordered_sum(np.where(present, relative, 0.0).reshape(len(cube), cube.shape[1] * cube.shape[2]))
    own = total / np.maximum(count, 1)
    folds = present.any(axis=2).sum(axis=1)
    share = np.where(own > 0, folds / (folds + PRIOR_FOLDS), 0.0)
    safe = np.where(own > 0, own, expected)
    return np.exp(share * np.log(safe) + (1 - share) * np.log(expected))


def _ordered_sum(rows: np.ndarray) -> np.ndarray:
    """Row sums added in a fixed order, so that an item alone gives the same bits as among others."""
    total = np.zeros(len(rows))
    for column in np.ascontiguousarray(rows.T):
        total += column
    return total


def fit_pool(cube: np.ndarray, in_sample: np.ndarray, window: int) -> Pool:
    """Learn profile, ratio and quantile table from residuals (items, folds, steps) and in-sample scales per fold.

    in_sample: float64 (items, folds). The scale of a residual of fold k is taken from the other folds, so that an
    item's own surprise widens the pool instead of being divided away.
    """
    relative = np.abs(cube.astype(float)) / in_sample[:, :, None]
    dull = _foretold_exactly(relative)
    if not dull.all():
        # They have nothing to say of the others' errors: constants would make everyone's intervals too narrow.
        relative = np.where(dull[:, None, None], np.nan, relative)
        cube = np.where(dull[:, None, None], np.nan, cube)
    present = ~np.isnan(relative)
    steps = cube.shape[2]
    if not present.any():
        return Pool(np.ones(steps), 1.0, np.tile(normal_quantile(GRID), (steps, 1)))
    # Sorted before they are added, so that the order of the items does not change a bit.
    ordered = np.sort(np.where(present, relative, 0.0).reshape(-1, steps), axis=0)
    by_step = ordered.sum(axis=0) / np.maximum(present.sum(axis=(0, 1)), 1)
    smooth = np.array([by_step[max(0, s - window) : s + window + 1].mean() for s in range(steps)])
    ratio = max(float(smooth.mean()), 1e-12)
    profile = np.maximum(smooth / ratio, 1e-3)
    scaled = np.full(cube.shape, np.nan)
    for fold in range(cube.shape[1]):
        rest = np.delete(cube, fold, axis=1) if cube.shape[1] > 1 else cube
        scale = item_scale(rest, in_sample[:, fold], profile, ratio)
        scaled[:, fold] = cube[:, fold] / (scale[:, None] * profile)
    return Pool(profile, ratio, _quantile_table(scaled, steps))


def _foretold_exactly(relative: np.ndarray) -> np.ndarray:
    """Items whose errors (items, folds, steps), relative to the in-sample scale, are all none: bool (items,)."""
    there = np.where(np.isnan(relative), 0.0, relative)
    return (there <= EXACT).all(axis=(1, 2)) & ~np.isnan(relative).all(axis=(1, 2))


def _quantile_table(scaled: np.ndarray, steps: int) -> np.ndarray:
    """Quantiles of each step's residuals; neighbouring steps join until there are enough."""
    by_step = scaled.reshape(-1, steps).T
    counted = np.concatenate([[0], np.cumsum((~np.isnan(by_step)).sum(axis=1))])
    table = np.empty((steps, len(GRID)))
    for step in range(steps):
        low = np.maximum(step - np.arange(steps), 0)
        high = np.minimum(step + np.arange(steps) + 1, steps)
        enough = counted[high] - counted[low] >= 10 * ENOUGH
        reach = int(enough.argmax()) if enough.any() else steps - 1
        values = by_step[low[reach] : high[reach]].ravel()
        values = values[~np.isnan(values)]
        table[step] = empirical_quantiles(np.sort(values), GRID) if len(values) else normal_quantile(GRID)
    return table


def out_of_fold_quantiles(
    mean: np.ndarray, cube: np.ndarray, in_sample: np.ndarray, shared: Pool | int, levels: Sequence[float]
) -> np.ndarray:
    """Quantiles for every fold from the residuals of the other folds: (items, folds, steps, levels).

    mean, cube: (items, folds, steps); in_sample: (items, folds); shared: the pool, so that an item depends on itself
    alone, or how many neighbouring steps share a profile in one that is fitted to these items. With one fold its own
    residuals have to do, unless there is a pool.
    """
    result = np.full((*cube.shape, len(levels)), np.nan)
    folds, given = cube.shape[1], isinstance(shared, Pool)
    for fold in range(folds):
        rest = np.arange(folds) != fold if folds > 1 or given else np.arange(folds) == fold
        pool = shared if given else fit_pool(cube[:, rest], in_sample[:, rest], shared)
        scale = item_scale(cube[:, rest], in_sample[:, fold], pool.profile, pool.ratio)
        result[:, fold] = Conformal(pool, scale, cube[:, rest]).quantiles(mean[:, fold], levels)
    return result
