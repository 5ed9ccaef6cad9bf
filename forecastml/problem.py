"""`Problem`: what a run is about once the data is read and cut; the input of every later step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecastml.budget import Deadline
from forecastml.config import Config
from forecastml.data.checks import Finding
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, DataError
from forecastml.learners.registry import get_learner
from forecastml.prior import Prior
from forecastml.protocols import Candidate, FitContext, Fold
from forecastml.search.evaluate import predict_scored
from forecastml.splits import RollingOrigin
from forecastml.task import Forecasting


@dataclass(frozen=True, eq=False)
class Problem:
    """Data, folds, seasons, candidates and the context of all fits of a run."""

    task: Forecasting
    config: Config
    panel: Panel
    findings: tuple[Finding, ...]
    splitter: RollingOrigin
    folds: tuple[Fold, ...]
    seasons: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    context: FitContext
    prior: Prior | None

    @property
    def season_length(self) -> int:
        """The primary season length in steps, 1 for none."""
        return self.seasons[0] if self.seasons else 1

    @property
    def pooled_learners(self) -> frozenset[str]:
        """Names of the learners in use that learn across series."""
        return frozenset(n for n in self.config.learners if get_learner(n).capabilities.scope == "pooled")

    def in_folds(self) -> np.ndarray:
        """Which series take part in at least one fold: bool (series,)."""
        there = np.zeros(len(self.panel), bool)
        for fold in self.folds:
            there[fold.items] = True
        return there

    def fallback(self) -> np.ndarray:
        """Out-of-fold values of the last resort, the seasonal naive, which can always answer: (rows, 1)."""
        context = replace(self.context, deadline=Deadline())
        learner, params = get_learner("seasonal_naive"), {"season_length": self.season_length}
        parts = [predict_scored(learner.fit(f.train, params, context), f.inputs, context) for f in self.folds]
        return np.nan_to_num(np.concatenate(parts))


def state(data: Any, task: Forecasting, config: Config, prior: Prior | None, deadline: Deadline) -> Problem:
    """Read, cut into folds, find the seasons, list the candidates; a prior answers the last three."""
    if prior:
        _check_prior(prior, task)
    panel, findings = (data, ()) if isinstance(data, Panel) else task.read(data, like=prior.like if prior else None)
    if not panel.lengths.any():
        raise DataError(f"column {task.target!r} holds no number at all; check the target column")
    splitter = prior.splitter if prior else task.splitter(panel, config.folds_for(len(panel)))
    folds = tuple(splitter.folds(panel))
    if prior:
        seasons = prior.seasons
        candidates = tuple(c for c in prior.candidates if c.learner in config.learners)
    else:
        seasons = task.seasons(panel, folds)
        candidates = config.candidates(task.facts(panel, folds, seasons))
        primary = seasons[0] if seasons else 1
        if primary != splitter.season_length:
            # The scale of MASE follows the season that was found; the cutoffs stay where they are.
            splitter = replace(splitter, season_length=primary)
            folds = tuple(splitter.folds(panel))
    context = FitContext(
        horizon=task.gap + task.horizon,
        gap=task.gap,
        outputs=("mean",),
        seasons=seasons,
        metric=task.scorer.name,
        deadline=deadline,
        seed=config.budget.seed,
        # One level of parallelism: below worker processes a learner has one thread.
        threads=1 if config.workers > 1 else config.threads,
    )
    return Problem(task, config, panel, findings, splitter, folds, seasons, candidates, context, prior)


def _check_prior(prior: Prior, task: Forecasting) -> None:
    """Raise `ConfigError` when a prior was prepared for another task."""
    for name, theirs, ours in (
        ("horizon", prior.splitter.horizon, task.horizon),
        ("gap", prior.splitter.gap, task.gap),
        ("columns", prior.like.schema, task.schema),
    ):
        if theirs != ours:
            raise ConfigError(f"the prior was prepared for another {name}: {theirs}, not {ours}; prepare it again")
