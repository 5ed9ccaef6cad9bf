"""`prepare`: what groups share, learned once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from forecastml.automl import Choice, Listener, run, silent
from forecastml.budget import Deadline
from forecastml.config import Config, as_config
from forecastml.data.panel import Panel
from forecastml.data.table import Table
from forecastml.errors import NothingToJudge
from forecastml.learners.registry import get_learner
from forecastml.model import FittedModel
from forecastml.prior import Prior, drawn_groups
from forecastml.problem import Problem, state
from forecastml.protocols import Combination, Dataset, Task
from forecastml.search.trial import Trial

#: A candidate whose mean loss exceeds the best one's by this factor is not tried for groups.
HOPELESS = 1.5


def prepare(
    data: Any,
    task: Task,
    config: Config | str = "balanced",
    listener: Listener | None = None,
    of: int | None = None,
) -> Prior:
    """Learn what groups share, on up to 1,000 of them drawn by the hash of their keys.

    of: number of groups that the prior is for, None for those of `data`: what would take too long for all of them is
    not tried. Rows as they come from `task.read` or `task.check` will do as data. Raises as `fit`, and
    `NothingToJudge` when no series is long enough for a fold.
    """
    config, listener = as_config(config), listener or silent
    everything = data if isinstance(data, Panel | Table) else task.read(data).data
    sample = everything.take(drawn_groups(everything))
    problem = state(sample, task, config, None, Deadline.after(config.budget.seconds))
    problem = replace(problem, share=min(1.0, sample.n_groups / max(of or everything.n_groups, 1)))
    model, choice = run(problem, listener, keep_pooled=True)
    return _prior(problem, model, choice)


def _prior(problem: Problem, model: FittedModel, choice: Choice | None) -> Prior:
    if choice is None:
        raise NothingToJudge("no series is long enough for a fold, so there is no prior to learn; give longer series")
    final = {member.candidate.name: member.fitted for member in model.members}
    pooled = {
        trial.candidate.name: (trial.fitted, final[trial.candidate.name])
        for trial in choice.trials
        if trial.candidate.learner in problem.pooled_learners and trial.candidate.name in final
    }
    weights = {t.candidate.name: float(w) for t, w in zip(choice.trials, choice.weights.pooled, strict=True)}
    tried = [
        trial.candidate
        for trial in _promising(choice.trials, weights, choice.weights.shrinkage)
        if trial.candidate.learner not in problem.pooled_learners or trial.candidate.name in pooled
    ]
    return Prior(
        task=problem.task,
        like=_without_items(problem.data),
        splitter=problem.cut.splitter,
        seasons=problem.cut.seasons,
        candidates=tuple(tried),
        weights={candidate.name: weights[candidate.name] for candidate in tried},
        shrinkage=choice.weights.shrinkage,
        pool=model.pool,
        cold=model.cold_start,
        shared=pooled,
        log=model.log,
    )


def _without_items(data: Dataset) -> Dataset:
    """What is left of data without items, with the date of the newest value where there is one."""
    like = data.select(np.empty(0, np.int64))
    if not isinstance(data, Panel):
        return like
    return replace(like.compact(), newest=int(data.last_ordinal[data.lengths > 0].max()))


def _promising(trials: Sequence[Trial], weights: Mapping[str, float], shrinkage: float) -> list[Trial]:
    """The trials that a group may have weight for: all with a pooled weight, and where groups go their own way also
    those not much worse than the best; with the parts of combinations, which are not to be fitted for nothing."""
    best = min(trial.loss for trial in trials)
    limit = best + (HOPELESS - 1.0) * abs(best)
    kept = {t.candidate.name for t in trials if weights[t.candidate.name] > 0 or (shrinkage > 0 and t.loss <= limit)}
    for trial in trials:
        learner = get_learner(trial.candidate.learner)
        if trial.candidate.name in kept and isinstance(learner, Combination):
            kept |= {part.name for part in learner.parts(trial.candidate.params)}
    return [trial for trial in trials if trial.candidate.name in kept]
