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
    planned = _planned(problem)
    if mean is None or truth is None:
        cube = np.full((len(panel), planned, problem.task.horizon), np.nan, dtype=np.float32)
        pool = prior.pool if prior else _uninformed(problem.task.horizon)
    else:
        cube = residual_cube(truth.y - mean, truth, len(panel), planned)
        pool = prior.pool if prior else fit_pool(cube, _in_sample(problem, truth), _window(problem))
    final = problem.task.in_sample_scale(panel, problem.season_length)
    scale = item_scale(cube, final, pool.profile, pool.ratio)
    low, high = extent(panel)
    return Conformal(pool, np.where(low == high, 0.0, scale), cube)


def with_quantiles(problem: Problem, mean: np.ndarray, truth: Truth) -> np.ndarray:
    """Point forecasts (rows,) -> (rows, 1 + levels): the quantiles of a fold come from the residuals of the others, and
    under a prior from its pool, so that those of a series do not depend on which others there are."""
    every, planned = replace(truth, weight=np.ones(len(truth))), _planned(problem)
    means = residual_cube(mean, every, len(problem.data), planned).astype(float)
    cube = residual_cube(truth.y - mean, truth, len(problem.data), planned)
    shared = problem.prior.pool if problem.prior else _window(problem)
    quantiles = out_of_fold_quantiles(means, cube, _in_sample(problem, truth), shared, problem.task.quantiles)
    fold = truth.fold if planned else np.searchsorted(np.unique(truth.fold), truth.fold)
    return np.column_stack([mean, quantiles[truth.series, fold, truth.step]])


def coverage(values: np.ndarray, truth: Truth) -> float:
    """Share of scored values inside the outermost interval of `with_quantiles`; NaN when nothing was scored."""
    scored = (truth.weight > 0) & ~np.isnan(truth.y)
    inside = (truth.y >= values[:, 1]) & (truth.y <= values[:, -1])
    return float(inside[scored].mean()) if scored.any() else float("nan")


def _planned(problem: Problem) -> int:
    """Under a prior a series has a place for every fold, whether or not others take part in it; else 0."""
    return int(problem.prior.splitter.n_folds) if problem.prior else 0


def _in_sample(problem: Problem, truth: Truth) -> np.ndarray:
    """In-sample scale of each series at each fold's cutoff, 1 where it takes no part: (series, folds)."""
    every = replace(truth, weight=np.ones(len(truth)))
    cube = residual_cube(truth.scales["seasonal_error"], every, len(problem.data), _planned(problem))
    return np.nan_to_num(cube[:, :, 0].astype(float), nan=1.0)


def _window(problem: Problem) -> int:
    """Neighbouring steps that share a profile: an eighth of the horizon to either side."""
    return problem.task.horizon // 8


def _uninformed(steps: int) -> Pool:
    pool = fit_pool(np.full((1, 1, steps), np.nan), np.ones((1, 1)), 0)
    return replace(pool, profile=np.sqrt(np.arange(1, steps + 1)))
