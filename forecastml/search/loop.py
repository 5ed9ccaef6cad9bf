"""The search loop: ask, run, record, until the strategy or the budget ends it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from forecastml.budget import Budget, Deadline
from forecastml.errors import DeadlineExceeded, LearnerError
from forecastml.protocols import Candidate, Combination, Executor, Learner, Refittable, Strategy
from forecastml.search.child import call_in_child
from forecastml.search.combination import both_outcomes, combined_outcome, combined_trial, of_what_is_there
from forecastml.search.evaluate import Evaluation, Outcome, Refit, Work, describe, evaluate, refit, with_deadline
from forecastml.search.trial import FAILED, INTERRUPT, OK, SKIPPED, TIMED_OUT, Trial, usable

#: A candidate that takes no more seconds than this for each item is never left out for want of patience.
QUICK_ITEM = 0.1

T = TypeVar("T")
R = TypeVar("R")
#: A refit on all rows is this much dearer than the last fold.
REFIT_FACTOR = 1.3
#: What a fit that starts from an earlier one costs of a first fit, roughly.
REFITTED = 0.25


@dataclass(frozen=True)
class Serial:
    """Runs everything in this process, one after the other."""

    workers: int = 1

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items, each as soon as it is asked for."""
        return map(function, items)


@dataclass(frozen=True)
class Processes:
    """Runs items in joblib's worker processes; large arrays are shared as memory maps.

    The function has a method `isolated`, which does the same in a child process and survives its death.
    """

    workers: int

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items, each as soon as it is there."""
        import joblib
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        items, done = list(items), 0
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            parallel = joblib.Parallel(n_jobs=self.workers, return_as="generator")
        try:
            for result in parallel(joblib.delayed(function)(item) for item in items):
                done += 1
                yield result
        except TerminatedWorkerError:
            # One death takes all workers with it; alone in a child each item shows whether it was the cause.
            yield from map(function.isolated, items[done:])


@dataclass(frozen=True, eq=False)
class Plan:
    """How a search goes about it.

    round_size: candidates asked at a time, the same for every number of workers; learners: name -> learner; size,
    items: of the training data, for estimates of cost; patience: the most seconds that a candidate may take by its
    learner's declared cost per item, if that is above `QUICK_ITEM`; share: the most of the time of a limited run (None:
    no such limit).
    """

    strategy: Strategy
    budget: Budget
    executor: Executor
    learners: Callable[[str], Learner]
    size: int
    items: int
    patience: float | None = None
    share: float | None = None
    round_size: int = 4


def search(plan: Plan, evaluation: Evaluation, report: Callable[[Trial, int], None]) -> list[Trial]:
    """Run the strategy within the budget; returns the log, in the order of asking.

    What the budget leaves out becomes a trial "skipped" with the reason. `report` is called with each trial as it ends
    and the number of trials so far. An interrupt by the user ends the search with what is there.
    """
    log: list[Trial] = []
    while asked := plan.strategy.ask(log, plan.round_size):
        try:
            for trial in _round(asked, plan, evaluation, tuple(log)):
                log.append(trial)
                report(trial, len(log))
        except KeyboardInterrupt:
            if not usable(log):
                raise
            while rest := plan.strategy.ask(log, plan.round_size):
                log += [Trial(c, SKIPPED, error=INTERRUPT) for c in rest]
    return log


def refit_all(
    works: Sequence[Refit], executor: Executor, interruptible: bool = False
) -> list[tuple[Outcome | None, str]]:
    """Fit members on all data, in the executor; (None, reason) for each that failed or ran out of time.

    A combination is put together from its parts, each of which is fitted once. interruptible: an interrupt by the user
    leaves out the members that are not done; it is raised when none is.
    """
    fits: dict[str, Refit] = {}
    for work in works:
        fits |= {part.candidate.name: part for part in work.parts or (work,)}
    done: dict[str, tuple[Outcome | None, str]] = {}
    try:
        for name, result in zip(fits, executor.map(_TimedRefit(), list(fits.values())), strict=True):
            done[name] = result
    except KeyboardInterrupt:
        if not interruptible or all(outcome is None for outcome, _ in done.values()):
            raise
    return [_member(work, done) for work in works]


def _member(work: Refit, done: Mapping[str, tuple[Outcome | None, str]]) -> tuple[Outcome | None, str]:
    """The result of a member from what was fitted; items that lack a part of a combination are fitted by themselves."""
    lacking = [part.candidate.name for part in work.parts or (work,) if part.candidate.name not in done]
    if lacking:
        return None, INTERRUPT
    if not work.parts:
        return done[work.candidate.name]
    outcome = combined_outcome(work, {name: outcome for name, (outcome, _) in done.items()})
    if outcome is None:
        return _TimedRefit()(work)
    rest = np.setdiff1d(np.arange(len(work.data)), outcome.items)
    if not len(rest):
        return outcome, ""
    start = None if work.start is None else work.start.on(rest)
    apart, reason = _TimedRefit()(replace(work, data=work.data.select(rest), start=start))
    if apart is None:
        return replace(outcome, failures={**outcome.failures, **dict.fromkeys(rest.tolist(), reason)}), ""
    failures = {int(rest[item]): reason for item, reason in apart.failures.items()}
    return both_outcomes(outcome, replace(apart, items=rest[apart.items], failures=failures)), ""


@dataclass(frozen=True)
class _TimedRefit:
    """`refit`; a learner that cannot be interrupted runs in a child when time is limited."""

    def __call__(self, work: Refit) -> tuple[Outcome | None, str]:
        if work.learner.capabilities.interruptible or math.isinf(work.context.deadline.at):
            return refit(work)
        return self.isolated(work)

    def isolated(self, work: Refit) -> tuple[Outcome | None, str]:
        """The same in a child process."""
        try:
            return call_in_child(refit, work, work.context.deadline)
        except (DeadlineExceeded, LearnerError) as error:
            return None, describe(error)


def _round(asked: Sequence[Candidate], plan: Plan, evaluation: Evaluation, log: Sequence[Trial]) -> Iterator[Trial]:
    """The trials of these candidates in order; the log of the rounds before decides what is left out or pruned."""
    deadline = evaluation.context.deadline
    reserved = replace(deadline, at=deadline.at - refit_reserve(log))
    best = best_losses(log)
    skipped: dict[str, Trial] = {}
    works: list[Work] = []
    started = sum(trial.state != SKIPPED for trial in log)
    for candidate in asked:
        reason = _left_out(candidate, plan, log, reserved, started + len(works), len(evaluation.folds))
        if reason:
            skipped[candidate.name] = Trial(candidate, SKIPPED, error=reason)
        else:
            context = replace(evaluation.context, deadline=reserved)
            works.append(Work(candidate, plan.learners(candidate.learner), replace(evaluation, context=context), best))
    timed = _TimedEvaluate(plan.budget.trial_seconds)
    trials = iter(plan.executor.map(timed, [work for work in works if not isinstance(work.learner, Combination)]))
    work_of = {work.candidate.name: work for work in works}
    done, reached = list(log), ""
    for candidate in asked:
        if candidate.name in skipped or reached:
            yield skipped.get(candidate.name) or Trial(candidate, SKIPPED, error=reached)
            continue
        work = work_of[candidate.name]
        made_of_others = isinstance(work.learner, Combination)
        if made_of_others:
            work = of_what_is_there(work, [*done, *skipped.values()])
            lacks = Trial(candidate, SKIPPED, error="too few of its parts have a result")
            trial = lacks if work is None else combined_trial(work, done) or timed(work)
        else:
            trial = next(trials)
        yield trial
        done.append(trial)
        reached = _exit_reached(plan.budget, [trial])


@dataclass(frozen=True)
class _TimedEvaluate:
    """`evaluate` under the limit per trial; learners that cannot be interrupted run in a child when time is limited."""

    seconds: float | None

    def __call__(self, work: Work) -> Trial:
        timed = with_deadline(work, self.seconds)
        if work.learner.capabilities.interruptible or math.isinf(timed.evaluation.context.deadline.at):
            return evaluate(timed)
        return self.isolated(work)

    def isolated(self, work: Work) -> Trial:
        """The same in a child process."""
        work = with_deadline(work, self.seconds)
        try:
            return call_in_child(evaluate, work, work.evaluation.context.deadline)
        except DeadlineExceeded as error:
            return Trial(work.candidate, TIMED_OUT, error=str(error))
        except LearnerError as error:
            return Trial(work.candidate, FAILED, error=describe(error))


def _left_out(
    candidate: Candidate, plan: Plan, log: Sequence[Trial], deadline: Deadline, started: int, folds: int
) -> str:
    """Why the budget leaves this candidate out; empty when it may run."""
    budget = plan.budget
    if budget.trials is not None and started >= budget.trials:
        return f"budget: {budget.trials} trials"
    if reached := _exit_reached(budget, log):
        return reached
    if deadline.passed():
        return f"budget: {budget.seconds:g} seconds"
    learner = plan.learners(candidate.learner)
    # Declared costs of values are rough: only what is far out of reach is left out unasked.
    needed = learner.capabilities.cost * plan.size / 1000 * (folds + REFIT_FACTOR) / 4
    allowed = min(deadline.remaining, budget.trial_seconds or math.inf)
    if needed > allowed:
        return f"budget: needs about {4 * needed:.0f} s by its declared cost, {allowed:.0f} s are left"
    each = _item_cost(learner, plan) * fits(learner, folds)
    needed = each * plan.items
    if budget.seconds is not None:
        allowed = min(allowed, (plan.share or 1.0) * budget.seconds)
        remedy = "give more time"
    else:
        patience = math.inf if plan.patience is None or each <= QUICK_ITEM else plan.patience
        allowed = min(allowed, patience)
        remedy = f"allow {learner.name} by name, or give a time limit"
    if needed > allowed:
        return f"budget: needs about {needed:.0f} s by its declared cost, {allowed:.0f} s are its share; {remedy}"
    return ""


def _item_cost(learner: Learner, plan: Plan) -> float:
    """Seconds of a fit of an item of usual length; 0 for learners that declare no cost per item."""
    declared = learner.capabilities
    return declared.item_cost and declared.item_cost + declared.cost * plan.size / max(plan.items, 1) / 1000


def fits(learner: Learner, folds: int) -> float:
    """How many first fits the folds and the refit on all rows are worth."""
    return 1.0 + REFITTED * folds if isinstance(learner, Refittable) else folds + REFIT_FACTOR


def _exit_reached(budget: Budget, log: Sequence[Trial]) -> str:
    """The reason to stop when a trial is as good as asked for; empty otherwise."""
    if budget.exit_score is None or not any(trial.loss <= budget.exit_score for trial in usable(log)):
        return ""
    return f"exit score {budget.exit_score:g} reached"


def refit_reserve(log: Sequence[Trial]) -> float:
    """Seconds to keep for refitting the members: the last fold of every usable trial, a little more."""
    return REFIT_FACTOR * sum(trial.seconds[-1] for trial in usable(log) if trial.seconds)


def best_losses(log: Sequence[Trial]) -> np.ndarray | None:
    """Losses per fold of the best completed trial, the rival for pruning."""
    completed = [trial for trial in usable(log) if trial.state == OK]
    return min(completed, key=lambda trial: trial.loss).losses if completed else None
