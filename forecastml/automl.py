"""`fit`: the six steps from a table to a model, each a function of the one before."""

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
from forecastml.prior import Prior
from forecastml.problem import Problem, state
from forecastml.protocols import Combination, Strategy, Task, Truth
from forecastml.search.ensemble import OutOfFold, Weights, combine, cross_fitted, group_weights
from forecastml.search.evaluate import MAX_GUILTY, Evaluation, Refit, borrowed
from forecastml.search.log import ENSEMBLE, LogRow, scored, trial_row
from forecastml.search.loop import Plan, Processes, Serial, refit_all, search
from forecastml.search.strategy import LocalSearch, Portfolio
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
    on the other folds, for intervals and coverage. Without a fold there are the weights of a prior alone.
    """

    trials: tuple[Trial, ...]
    weights: Weights
    oof: OutOfFold | None = None
    values: np.ndarray | None = None
    honest: np.ndarray | None = None


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
    config, listener = as_config(config), listener or silent
    problem = state(data, task, config, prior, Deadline.after(config.budget.seconds))
    return run(problem, listener)[0]


def silent(event: dict[str, Any]) -> None:
    """Nobody listens."""


def run(problem: Problem, listener: Listener, keep_pooled: bool = False) -> tuple[FittedModel, Choice | None]:
    """Steps 3 to 6 on a stated problem; keep_pooled: the trials keep what pooled learners fitted on each fold."""
    listener({"event": "data", "items": len(problem.data), "values": problem.data.size})
    log, evaluation = run_search(problem, listener, keep_pooled)
    listener({"event": "ensemble", "models": len(usable(log))})
    choice = choose(problem, log, evaluation)
    listener({"event": "refit", "models": int((choice.weights.groups > 0).any(axis=0).sum()) if choice else 0})
    # A second interrupt by the user ends the run at once.
    first = not any(trial.error == INTERRUPT for trial in log)
    members, dropped = refit_members(problem, choice, interruptible=first)
    if dropped and not problem.prior:
        # Under a prior the weights of a group must not depend on how others did; the rest is renormalised.
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
        most_guilty=None if problem.prior else MAX_GUILTY,
        shared={name: folds for name, (folds, _) in problem.prior.shared.items()} if problem.prior else {},
    )
    # Under a prior what is tried must not depend on how many others there are, or on how they do.
    budget = replace(config.budget, exit_score=None) if problem.prior else config.budget
    plan = Plan(
        strategy=_strategy(problem),
        budget=budget,
        executor=_executor(config),
        learners=get_learner,
        size=round(problem.data.size / problem.share),
        items=round(problem.items / problem.share),
        patience=None if problem.prior else config.patience,
        share=None if problem.prior else config.share,
        round_size=config.round_size,
    )
    return search(plan, evaluation, lambda trial, done: _report(listener, trial, done, total)), evaluation


def _strategy(problem: Problem) -> Strategy:
    """The portfolio, and around its best a search of hyper-parameters; under a prior what was found is known."""
    portfolio, config = Portfolio(problem.candidates), problem.config
    if problem.prior or not config.search:
        return portfolio
    return LocalSearch(
        portfolio, lambda name: getattr(get_learner(name), "search_space", {}), config.search, config.budget.seed
    )


def _executor(config: Config) -> Serial | Processes:
    return Serial() if config.workers == 1 else Processes(config.workers)


def _report(listener: Listener, trial: Trial, done: int, total: int) -> None:
    event = {"event": "trial", "name": trial.candidate.name, "state": trial.state, "loss": trial.loss}
    listener({**event, "seconds": sum(trial.seconds), "error": trial.error, "done": done, "total": total})


def choose(problem: Problem, log: Sequence[Trial], evaluation: Evaluation | None) -> Choice | None:
    """Weights from out-of-fold predictions alone; None when no candidate could be judged.

    Under a prior every candidate takes part, those that failed with no value in any row, and a group without a fold
    has the prior's weights.
    """
    if evaluation is None:
        return _without_folds(problem) if problem.prior else None
    truth, fallback, outputs = evaluation.truth, evaluation.fallback, problem.context.outputs
    trials = tuple(_or_missing(t, fallback.shape) for t in log) if problem.prior else tuple(usable(log))
    if not trials:
        return None
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
    chosen = Choice(trials, weights, oof, values, honest)
    return _not_worse(problem, chosen) if problem.task.scorer.needs_quantiles and not problem.prior else chosen


def _or_missing(trial: Trial, shape: tuple[int, ...]) -> Trial:
    """The trial, or one without a value in any row in place of one that has no result."""
    return replace(trial, prediction=np.full(shape, np.nan)) if trial.prediction is None else trial


def _without_folds(problem: Problem) -> Choice:
    """The prior's weights for groups of which nothing can be judged."""
    weights = problem.prior.pooled_weights([candidate.name for candidate in problem.candidates])
    weights = replace(weights, groups=np.tile(weights.pooled, (problem.data.n_groups, 1)))
    return Choice(tuple(Trial(candidate, OK) for candidate in problem.candidates), weights)


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
    shared, most = (problem.prior.shared, None) if problem.prior else ({}, MAX_GUILTY)
    deadline = problem.context.deadline
    context = replace(problem.context, deadline=replace(deadline, at=max(deadline.at, deadline.clock() + GRACE)))
    members: dict[str, Member] = {}
    starts = {trial.candidate.name: trial.start for trial in choice.trials}
    works = []
    for trial, wanted in zip(choice.trials, (choice.weights.groups > 0).any(axis=0), strict=True):
        candidate = trial.candidate
        if wanted and candidate.name in shared:
            fitted = shared[candidate.name][1].append(data)
            if data.separable:
                fitted = borrowed(get_learner(candidate.learner), fitted, data, candidate.params, context).fitted
            members[candidate.name] = Member(candidate, fitted, everyone)
        elif wanted:
            work = Refit(candidate, get_learner(candidate.learner), data, context, most_guilty=most)
            works.append(_refit(work, starts))
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
    if choice is None or choice.oof is None:
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
    # Under a prior those that failed have weights too, but nothing that could be judged.
    rows.update({row.name: row for row in done[1:] if row.state == OK})
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
        return Parts((), np.zeros((problem.data.n_groups, 0)), rows)
    names = [trial.candidate.name for trial in choice.trials]
    kept = [name for name in names if name in members]
    weights = choice.weights.groups[:, [names.index(name) for name in kept]]
    parts = Parts(tuple(members[name] for name in kept), weights, rows)
    if choice.oof is None:
        # Stacked with others, a model that knows no losses must not cost them theirs.
        nothing = np.full((problem.data.n_groups, _planned_folds(problem)), np.nan)
        return replace(parts, group_losses={"ensemble": nothing, "fallback": nothing})
    return replace(parts, honest=choice.honest, truth=choice.oof.truth, group_losses=_group_losses(problem, choice))


def _group_losses(problem: Problem, choice: Choice) -> dict[str, np.ndarray]:
    """Losses of the ensemble, as it would have been out of fold, and of the fallback: float64 (groups, planned folds),
    NaN for folds in which a group takes no part."""
    oof, groups = choice.oof, problem.data.n_groups
    truth = replace(oof.truth, group=np.concatenate([fold.truth.group for fold in problem.cut.folds]))
    folds = max(_planned_folds(problem), int(truth.fold.max()) + 1)
    found = {"ensemble": np.full((groups, folds), np.nan), "fallback": np.full((groups, folds), np.nan)}
    for fold in np.unique(truth.fold):
        rows = truth.fold == fold
        for name, values in (("ensemble", choice.honest), ("fallback", oof.fallback)):
            found[name][:, fold] = oof.metric.loss(values[rows], oof.outputs, truth.rows(rows), groups)
    return found


def _planned_folds(problem: Problem) -> int:
    return int(getattr(problem.cut.splitter, "n_folds", 1))
