"""`fit`: the six steps from a table to a model, each a function of the one before. `prepare`: what groups share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecastml.budget import Deadline
from forecastml.completion import Parts, completion
from forecastml.config import Config, as_config
from forecastml.errors import ConfigError
from forecastml.learners.registry import get_learner
from forecastml.metrics import get_metric, metric_names
from forecastml.model import FittedModel, Member
from forecastml.prior import Prior, drawn_groups
from forecastml.problem import Problem, state
from forecastml.protocols import Combination, Task, Truth
from forecastml.search.ensemble import OutOfFold, Weights, combine, cross_fitted, group_weights
from forecastml.search.evaluate import Evaluation, Refit
from forecastml.search.log import ENSEMBLE, LogRow, scored, trial_row
from forecastml.search.loop import Plan, Processes, Serial, refit_all, search
from forecastml.search.strategy import Portfolio
from forecastml.search.trial import FAILED, INTERRUPT, OK, SKIPPED, Start, Trial, usable

Listener = Callable[[dict[str, Any]], None]
#: Under a time limit the search leaves this share, and so many seconds per out-of-fold value, for what comes after it.
AFTER_SEARCH_SHARE, AFTER_SEARCH_COST = 0.1, 6e-6
#: Out-of-fold values with all outputs that are judged at a time.
JUDGED_VALUES = 1 << 24
#: Seconds in which members may be fitted on all data even if time is over, so that cheap ones are never lost.
GRACE = 2.0


@dataclass(frozen=True, eq=False)
class Choice:
    """The trials that can be used, their weights, and what the ensemble would have forecast out of fold.

    values: float64 (rows, outputs) under these weights; honest: the same, but with the weights for each fold selected
    on the other folds, for intervals and coverage.
    """

    trials: tuple[Trial, ...]
    oof: OutOfFold
    weights: Weights
    values: np.ndarray
    honest: np.ndarray


def fit(
    data: Any,
    task: Task,
    config: Config | str = "balanced",
    prior: Prior | None = None,
    listener: Listener | None = None,
) -> FittedModel:
    """Train on a table and return one model: a `Forecaster` of series, or a `Predictor` of rows.

    data: pandas, polars or Arrow table, or the path of a CSV or Parquet file or Parquet folder, for `Forecasting` one
    row per series and time; task: what to forecast or to predict, and how that is judged; config: a preset's name
    ("fast", "balanced", "best") or a `Config`; prior: from `prepare`, then the result of a group depends on its own
    rows alone; listener: called with one dict per event.
    Raises `DataError` and `ConfigError` for input that cannot be used; a learner that fails is a row in the
    leaderboard.

    >>> model = fit(table, Forecasting(horizon=12, series="store", time="day", target="sales"))  # doctest: +SKIP
    """
    config, listener = as_config(config), listener or _silent
    problem = state(data, task, config, prior, Deadline.after(config.budget.seconds))
    return _run(problem, listener, keep_pooled=False)[0]


def prepare(data: Any, task: Task, config: Config | str = "balanced", listener: Listener | None = None) -> Prior:
    """Learn what groups share, on up to 1,000 of them drawn by the hash of their keys."""
    config, listener = as_config(config), listener or _silent
    everything = task.read(data).data
    sample = everything.take(drawn_groups(everything))
    problem = state(sample, task, config, None, Deadline.after(config.budget.seconds))
    model, choice = _run(problem, listener, keep_pooled=True)
    return _prior(problem, model, choice)


def _silent(event: dict[str, Any]) -> None:
    """Nobody listens."""


def _run(problem: Problem, listener: Listener, keep_pooled: bool) -> tuple[FittedModel, Choice | None]:
    listener({"event": "data", "items": len(problem.data), "values": problem.data.size})
    log, evaluation = run_search(problem, listener, keep_pooled)
    listener({"event": "ensemble", "models": len(usable(log))})
    choice = choose(problem, log, evaluation)
    listener({"event": "refit", "models": int((choice.weights.groups > 0).any(axis=0).sum()) if choice else 0})
    # A second interrupt by the user ends the run at once.
    first = not any(trial.error == INTERRUPT for trial in log)
    members, dropped = refit_members(problem, choice, interruptible=first)
    if dropped:
        # The leaderboard, the weights and the intervals are to be those of the model that is handed back.
        choice = choose(problem, [trial for trial in log if trial.candidate.name in members], evaluation)
        log = [_left_out(t, dropped[t.candidate.name]) if t.candidate.name in dropped else t for t in log]
    model = completion(problem).model(_parts(problem, choice, members, leaderboard_rows(problem, log, choice)))
    listener({"event": "done"})
    return model, choice


def _left_out(trial: Trial, reason: str) -> Trial:
    return replace(trial, state=SKIPPED if reason == INTERRUPT else FAILED, error=reason)


def run_search(problem: Problem, listener: Listener, keep_pooled: bool) -> tuple[list[Trial], Evaluation | None]:
    """Evaluate candidates on the folds until the portfolio or the budget ends."""
    total = len(problem.candidates)
    listener({"event": "plan", "total": total, "folds": len(problem.cut.folds)})
    if not problem.cut.folds:
        return [], None
    config, metric, deadline = problem.config, problem.task.scorer, problem.context.deadline
    if metric.needs_quantiles and config.budget.exit_score is not None:
        raise ConfigError(f"exit_score cannot be used with metric {metric.name!r}; choose a metric of point forecasts")
    truth = Truth.stack([fold.truth for fold in problem.cut.folds])
    limit = None
    if config.budget.seconds is not None:
        after = max(AFTER_SEARCH_SHARE * config.budget.seconds, AFTER_SEARCH_COST * len(truth) * total)
        limit = max(deadline.remaining - after, deadline.remaining / 2)
    evaluation = Evaluation(
        folds=problem.cut.folds,
        truth=truth,
        # Quantiles are made from the residuals of all folds, so candidates are first judged as point forecasts.
        metric=get_metric("mase") if metric.needs_quantiles else metric,
        context=replace(problem.context, deadline=deadline.earlier(limit)),
        fallback=problem.fallback(),
        # Under a prior a group's trials must not depend on how others do.
        prune=None if problem.prior else config.prune,
        keep=problem.pooled_learners if keep_pooled else frozenset(),
        shared={name: folds for name, (folds, _) in problem.prior.shared.items()} if problem.prior else {},
    )
    plan = Plan(
        strategy=Portfolio(problem.candidates),
        budget=config.budget,
        executor=_executor(config),
        learners=get_learner,
        size=problem.data.size,
        items=problem.items,
        # Under a prior what is tried must not depend on how many others there are.
        patience=None if problem.prior else config.patience,
        share=None if problem.prior else config.share,
        round_size=config.round_size,
    )
    return search(plan, evaluation, lambda trial, done: _report(listener, trial, done, total)), evaluation


def _executor(config: Config) -> Serial | Processes:
    return Serial() if config.workers == 1 else Processes(config.workers)


def _report(listener: Listener, trial: Trial, done: int, total: int) -> None:
    event = {"event": "trial", "name": trial.candidate.name, "state": trial.state, "loss": trial.loss}
    listener({**event, "seconds": sum(trial.seconds), "error": trial.error, "done": done, "total": total})


def choose(problem: Problem, log: Sequence[Trial], evaluation: Evaluation | None) -> Choice | None:
    """Weights from out-of-fold predictions alone; None when no candidate could be judged."""
    trials = tuple(usable(log))
    if not trials or evaluation is None:
        return None
    truth, fallback, outputs = evaluation.truth, evaluation.fallback, problem.context.outputs
    values = np.stack([trial.prediction for trial in trials])
    if problem.task.scorer.needs_quantiles:
        finished = completion(problem)
        outputs = finished.outputs
        values = np.stack([finished.complete(v, truth) for v in values])
        fallback = finished.complete(fallback, truth)
    names = [trial.candidate.name for trial in trials]
    given = problem.prior.pooled_weights(names) if problem.prior else None
    groups, greedy = problem.data.n_groups, problem.config.greedy
    if problem.config.scope == "global":
        truth = replace(truth, group=np.zeros(len(truth), np.int64))
    oof = OutOfFold(values, fallback, outputs, truth, problem.task.scorer)
    selected = 1 if problem.config.scope == "global" else groups
    weights = group_weights(oof, selected, greedy, given)
    honest = cross_fitted(oof, weights, selected, greedy, given)
    values = combine(oof.values, weights.groups[truth.group].T, fallback)
    if problem.config.scope == "global":
        weights = replace(weights, groups=np.tile(weights.groups, (groups, 1)))
    chosen = Choice(trials, oof, weights, values, honest)
    return _not_worse(problem, chosen) if problem.task.scorer.needs_quantiles and not problem.prior else chosen


def _not_worse(problem: Problem, choice: Choice) -> Choice:
    """The choice, or its best trial alone: the quantiles of an ensemble are its own, not the mixture of its members'
    that the weights were chosen by, and may be worse."""
    oof, finished = choice.oof, completion(problem)
    filled = [np.where(np.isnan(values), oof.fallback, values) for values in oof.values]
    alone = np.array([oof.loss(values) for values in filled])
    best = int(np.argmin(alone))
    if not oof.loss(finished.complete(choice.values, oof.truth)) > alone[best]:
        return choice
    one = np.eye(len(filled))[best]
    weights = Weights(one, np.tile(one, (len(choice.weights.groups), 1)), 0.0)
    return replace(choice, weights=weights, values=filled[best], honest=filled[best])


def refit_members(
    problem: Problem, choice: Choice | None, interruptible: bool = False
) -> tuple[dict[str, Member], dict[str, str]]:
    """The trials with weight, fitted on all data, by name; and the reasons for those that failed.

    interruptible: an interrupt by the user keeps the members that are done, if there are any.
    """
    if choice is None:
        return {}, {}
    data, everyone = problem.data, np.arange(problem.items)
    shared = problem.prior.shared if problem.prior else {}
    deadline = problem.context.deadline
    context = replace(problem.context, deadline=replace(deadline, at=max(deadline.at, deadline.clock() + GRACE)))
    members: dict[str, Member] = {}
    starts = {trial.candidate.name: trial.start for trial in choice.trials}
    works = []
    for trial, wanted in zip(choice.trials, (choice.weights.groups > 0).any(axis=0), strict=True):
        candidate = trial.candidate
        if wanted and candidate.name in shared:
            members[candidate.name] = Member(candidate, shared[candidate.name][1].append(data), everyone)
        elif wanted:
            works.append(_refit(Refit(candidate, get_learner(candidate.learner), data, context), starts))
    dropped = {}
    outcomes = refit_all(works, _executor(problem.config), interruptible)
    for work, (outcome, reason) in zip(works, outcomes, strict=True):
        if outcome is None:
            dropped[work.candidate.name] = reason if reason == INTERRUPT else f"fit on all data failed: {reason}"
        else:
            members[work.candidate.name] = Member(work.candidate, outcome.fitted, outcome.served(len(everyone)))
    return members, dropped


def _refit(work: Refit, starts: Mapping[str, Start | None]) -> Refit:
    """The fit with what it starts from, a combination with those of its parts."""
    candidate, learner = work.candidate, work.learner
    parts = learner.parts(candidate.params) if isinstance(learner, Combination) else ()
    return replace(
        work,
        start=starts.get(candidate.name),
        parts=tuple(_refit(replace(work, candidate=part, learner=get_learner(part.learner)), starts) for part in parts),
    )


def leaderboard_rows(problem: Problem, log: Sequence[Trial], choice: Choice | None) -> tuple[LogRow, ...]:
    """What the model keeps of its trials, the ensemble first."""
    items, finished = len(problem.data), completion(problem)
    rows = {trial.candidate.name: trial_row(trial, items) for trial in log}
    for candidate in () if problem.cut.folds else problem.candidates:
        reason = "no series is long enough for a fold" if problem.data.separable else "too few rows for a fold"
        rows.setdefault(candidate.name, LogRow(candidate.name, "skipped", error=reason, items=items))
    if choice is None:
        return tuple(rows.values())
    shares = choice.weights.groups.mean(axis=0)
    scores, covered = _judged(problem, choice)
    ensemble = LogRow(ENSEMBLE, OK, seconds=sum(row.seconds for row in rows.values()), items=items)
    judged = [ensemble, *(rows[trial.candidate.name] for trial in choice.trials)]
    done = [
        replace(
            row,
            scores=scores[i],
            weight=1.0 if i == 0 else float(shares[i - 1]),
            coverage=covered[i],
            nominal=finished.nominal,
        )
        for i, row in enumerate(judged)
    ]
    rows.update({row.name: row for row in done[1:]})
    return (done[0], *rows.values())


def _judged(problem: Problem, choice: Choice) -> tuple[list[dict[str, tuple[float, ...]]], list[float]]:
    """Losses per fold by every metric, and coverage, of the ensemble and of each trial, in this order.

    A few at a time: with their quantiles all predictions together would be a multiple of what the search holds.
    """
    finished, truth = completion(problem), choice.oof.truth
    metrics = [get_metric(name) for name in metric_names(problem.task.name)]
    candidates = (choice.values, *choice.oof.values)
    size = max(1, JUDGED_VALUES // (len(truth) * len(finished.outputs)))
    scores, covered = [], []
    for first in range(0, len(candidates), size):
        some = [np.where(np.isnan(v), choice.oof.fallback, v) for v in candidates[first : first + size]]
        values = np.stack([finished.complete(v, truth) for v in some])
        scores += scored(values, finished.outputs, truth, metrics)
        covered += [finished.coverage(v, truth) for v in values]
    covered[0] = finished.coverage(finished.complete(choice.honest, truth), truth)
    return scores, covered


def _parts(problem: Problem, choice: Choice | None, members: dict[str, Member], rows: tuple[LogRow, ...]) -> Parts:
    if choice is None:
        return Parts((), np.zeros((problem.data.n_groups, 0)), rows, None, None)
    names = [trial.candidate.name for trial in choice.trials]
    kept = [name for name in names if name in members]
    weights = choice.weights.groups[:, [names.index(name) for name in kept]]
    return Parts(tuple(members[name] for name in kept), weights, rows, choice.honest, choice.oof.truth)


def _prior(problem: Problem, model: FittedModel, choice: Choice | None) -> Prior:
    if choice is None:
        raise ConfigError("no series is long enough for a fold, so there is no prior to learn; give longer series")
    final = {member.candidate.name: member.fitted for member in model.members}
    pooled = {
        trial.candidate.name: (trial.fitted, final[trial.candidate.name])
        for trial in choice.trials
        if trial.candidate.learner in problem.pooled_learners and trial.candidate.name in final
    }
    tried = [
        trial.candidate
        for trial in choice.trials
        if trial.candidate.learner not in problem.pooled_learners or trial.candidate.name in pooled
    ]
    return Prior(
        task=problem.task,
        like=problem.data.select(np.empty(0, np.int64)),
        splitter=problem.cut.splitter,
        seasons=problem.cut.seasons,
        candidates=tuple(tried),
        weights={t.candidate.name: float(w) for t, w in zip(choice.trials, choice.weights.pooled, strict=True)},
        shrinkage=choice.weights.shrinkage,
        pool=model.pool,
        cold=model.cold_start,
        shared=pooled,
    )
