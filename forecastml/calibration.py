"""Intervals of a model from the out-of-fold residuals of its ensemble."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecastml.data.panel import extent
from forecastml.problem import Problem
from forecastml.protocols import Truth
from forecastml.search.intervals import Conformal, Pool, fit_pool, item_scale, out_of_fold_quantiles, residual_cube


def calibrate(problem: Problem, mean: np.ndarray | None, truth: Truth | None) -> Conformal:
    """Intervals for every series from out-of-fold point forecasts `mean` (rows,) and what came true.

    None: nothing could be judged; then the prior's pool, or a normal distribution that widens with the square root of
    the step, goes around the in-sample scale.
    """
    panel, prior = problem.data, problem.prior
    if mean is None or truth is None:
        cube = np.full((len(panel), 0, problem.task.horizon), np.nan, dtype=np.float32)
        pool = prior.pool if prior else _uninformed(problem.task.horizon)
    else:
        cube = residual_cube(truth.y - mean, truth, len(panel))
        pool = prior.pool if prior else fit_pool(cube, _in_sample(problem, truth), _window(problem))
    final = problem.task.in_sample_scale(panel, problem.season_length)
    scale = item_scale(cube, final, pool.profile, pool.ratio)
    low, high = extent(panel)
    return Conformal(pool, np.where(low == high, 0.0, scale), cube)


def with_quantiles(problem: Problem, mean: np.ndarray, truth: Truth) -> np.ndarray:
    """Point forecasts (rows,) -> (rows, 1 + levels): the quantiles of a fold come from the residuals of the others."""
    every = replace(truth, weight=np.ones(len(truth)))
    means = residual_cube(mean, every, len(problem.data)).astype(float)
    cube = residual_cube(truth.y - mean, truth, len(problem.data))
    # Under a prior the residuals of others may come from there alone.
    pool, levels = problem.prior and problem.prior.pool, problem.task.quantiles
    quantiles = out_of_fold_quantiles(means, cube, _in_sample(problem, truth), pool or _window(problem), levels)
    fold = np.searchsorted(np.unique(truth.fold), truth.fold)
    return np.column_stack([mean, quantiles[truth.series, fold, truth.step]])


def coverage(values: np.ndarray, truth: Truth) -> float:
    """Share of scored values inside the outermost interval of `with_quantiles`; NaN when nothing was scored."""
    scored = (truth.weight > 0) & ~np.isnan(truth.y)
    inside = (truth.y >= values[:, 1]) & (truth.y <= values[:, -1])
    return float(inside[scored].mean()) if scored.any() else float("nan")


def _in_sample(problem: Problem, truth: Truth) -> np.ndarray:
    """In-sample scale of each series at each fold's cutoff, 1 where it takes no part: (series, folds)."""
    every = replace(truth, weight=np.ones(len(truth)))
    cube = residual_cube(truth.scales["seasonal_error"], every, len(problem.data))
    return np.nan_to_num(cube[:, :, 0].astype(float), nan=1.0)


def _window(problem: Problem) -> int:
    """Neighbouring steps that share a profile: an eighth of the horizon to either side."""
    return problem.task.horizon // 8


def _uninformed(steps: int) -> Pool:
    pool = fit_pool(np.full((1, 1, steps), np.nan), np.ones((1, 1)), 0)
    return replace(pool, profile=np.sqrt(np.arange(1, steps + 1)))
