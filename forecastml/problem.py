"""`Problem`: what a run is about once the data is read and cut; the input of every later step."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from forecastml.budget import Deadline
from forecastml.config import Config
from forecastml.data.checks import Reading
from forecastml.data.panel import Panel
from forecastml.data.table import Table
from forecastml.errors import ConfigError
from forecastml.learners.registry import get_learner
from forecastml.learners.rows import by_group
from forecastml.prior import Prior
from forecastml.protocols import Candidate, Cut, Dataset, FitContext, Fitted, Task
from forecastml.search.evaluate import fit_guarded, predict_scored


@dataclass(frozen=True, eq=False)
class Problem:
    """Data, folds, seasons, candidates and the context of all fits of a run; share: that the data are of all that the
    run is about."""

    task: Task
    config: Config
    reading: Reading
    cut: Cut
    candidates: tuple[Candidate, ...]
    context: FitContext
    prior: Prior | None
    share: float = 1.0

    @property
    def data(self) -> Dataset:
        """What is learned from."""
        return self.reading.data

    @property
    def items(self) -> int:
        """How many items a fitted object serves: series, or groups of rows."""
        return len(self.data) if self.data.separable else self.data.n_groups

    @property
    def season_length(self) -> int:
        """The primary season length in steps, 1 for none."""
        return (*self.cut.seasons, 1)[0]

    @property
    def pooled_learners(self) -> frozenset[str]:
        """Names of the learners in use that learn across series."""
        return frozenset(n for n in self.config.learners if get_learner(n).capabilities.scope == "pooled")

    def fallback(self) -> np.ndarray:
        """Out-of-fold values of the last resort, which can always answer: (rows, outputs)."""
        context = replace(self.context, deadline=Deadline())
        parts = [predict_scored(self.last_resort(f.train, context), f.inputs, context) for f in self.cut.folds]
        return np.nan_to_num(np.concatenate(parts))

    def last_resort(self, data: Dataset, context: FitContext) -> Fitted:
        """The task's fallback, fitted; under a prior to the rows of each group alone."""
        last = self.task.fallback(self.cut.seasons)
        learner = get_learner(last.learner)
        if self.prior and not data.separable:
            return by_group(learner, data, last.params, context)
        return fit_guarded(learner, data, last.params, context).fitted


def state(data: Any, task: Task, config: Config, prior: Prior | None, deadline: Deadline) -> Problem:
    """Read, cut into folds, find the seasons, list the candidates; a prior answers the last three."""
    if prior:
        _check_prior(prior, task)
    if isinstance(data, Panel | Table):
        reading = Reading(data, (), np.empty((0, 0), dtype=object))
    else:
        reading = task.read(data, like=prior.like if prior else None)
    data = reading.data
    if prior:
        cut = Cut(prior.splitter, tuple(prior.splitter.folds(data)), prior.seasons)
        candidates = tuple(c for c in prior.candidates if c.learner in config.learners)
        if not candidates:
            theirs = ", ".join(dict.fromkeys(candidate.learner for candidate in prior.candidates))
            raise ConfigError(f"none of the prior's learners ({theirs}) is allowed; allow one, or prepare it again")
    else:
        cut = task.cut(data, config.folds_for)
        candidates = config.candidates(task.facts(data, cut))
    context = replace(
        task.context(data, cut.seasons),
        deadline=deadline,
        seed=config.budget.seed,
        # One level of parallelism: below worker processes a learner has one thread.
        threads=1 if config.workers > 1 else config.threads,
    )
    return Problem(task, config, reading, cut, candidates, context, prior)


def _check_prior(prior: Prior, task: Task) -> None:
    """Raise `ConfigError` when a prior was prepared for another task."""
    if type(prior.task) is not type(task):
        raise ConfigError(f"the prior was prepared for {prior.task.name}, not {task.name}; prepare it again")
    for field in fields(task):
        theirs, ours = getattr(prior.task, field.name), getattr(task, field.name)
        if theirs != ours:
            raise ConfigError(f"the prior was prepared with {field.name} {theirs!r}, not {ours!r}; prepare it again")
