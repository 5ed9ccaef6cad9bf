"""One candidate on all folds: fit, predict, score. The guard that turns every failure into a recorded fact."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from forecastml.errors import DeadlineExceeded, LearnerError
from forecastml.protocols import (
    Candidate,
    Dataset,
    FitContext,
    Fitted,
    Fold,
    Learner,
    Metric,
    Params,
    Prediction,
    Refittable,
    Truth,
)
from forecastml.search.trial import FAILED, OK, PRUNED, TIMED_OUT, Start, Trial

#: With so many values a group can do without what learners that learn across groups found in others.
ENOUGH_VALUES = 5000
#: Above this many guilty items the fault is the learner's, not the items'.
MAX_GUILTY = 16


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What all candidates of a run share.

    truth: rows of all folds stacked; fallback: values (rows, outputs) that fill rows a learner could not predict, so
    that every candidate is judged on the same rows; prune: a candidate stops between folds once its mean loss is
    worse than `prune` times the best completed one (None: never); keep: keep the fitted objects of these learners;
    shared: candidate name -> fitted per fold, used in place of a fit; most_guilty: a learner that fails for more items
    than this has failed (None: only if it fails for all of them).
    """

    folds: tuple[Fold, ...]
    truth: Truth
    metric: Metric
    context: FitContext
    fallback: np.ndarray
    prune: float | None = None
    keep: frozenset[str] = frozenset()
    shared: Mapping[str, Sequence[Fitted]] = field(default_factory=dict)
    most_guilty: int | None = MAX_GUILTY


@dataclass(frozen=True, eq=False)
class Outcome:
    """A guarded fit: `fitted` serves the items at `items`; `failures` has the reason for each of the others.

    items None: it serves whatever comes (a fit of rows that are not separable).
    """

    fitted: Fitted | None
    items: np.ndarray | None
    failures: Mapping[int, str]

    def served(self, count: int) -> np.ndarray:
        """Positions of the items served among `count`: int64."""
        return np.arange(count) if self.items is None else self.items


@dataclass(frozen=True, eq=False)
class Work:
    """One candidate to evaluate; self-contained, so that it can be sent to another process."""

    candidate: Candidate
    learner: Learner
    evaluation: Evaluation
    best: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Refit:
    """A member to fit on all data; self-contained like `Work`. start: from the last fold, for a warm start; parts: the
    fits that a combination can be put together from; most_guilty: as for `Evaluation`."""

    candidate: Candidate
    learner: Learner
    data: Dataset
    context: FitContext
    start: Start | None = None
    parts: tuple[Refit, ...] = ()
    most_guilty: int | None = MAX_GUILTY


def describe(error: BaseException) -> str:
    """`ValueError: message`, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def evaluate(work: Work) -> Trial:
    """Fit and score a candidate fold by fold, oldest first; never raises, except for an interrupt by the user."""
    candidate, seconds = work.candidate, []
    try:
        return _evaluate(work, seconds)
    except DeadlineExceeded as error:
        return Trial(candidate, TIMED_OUT, seconds=tuple(seconds), error=str(error))
    except Exception as error:
        return Trial(candidate, FAILED, seconds=tuple(seconds), error=describe(error))


def _evaluate(work: Work, seconds: list[float]) -> Trial:
    evaluation, candidate = work.evaluation, work.candidate
    shared = evaluation.shared.get(candidate.name)
    parts, losses, kept, failures = [], [], [], {}
    start: Start | None = None
    for position, fold in enumerate(evaluation.folds):
        began = time.monotonic()
        given = None if shared is None else shared[fold.index]
        outcome, values = _of_fold(work, fold, given, None if start is None else start.on(fold.items))
        if given is None:
            start = _start(work.learner, outcome, fold.items, start)
        failures.update({int(fold.items[item]): reason for item, reason in outcome.failures.items()})
        parts.append(values)
        kept.append(outcome.fitted)
        losses.append(fold_loss(values, evaluation, position))
        seconds.append(time.monotonic() - began)
        if _hopeless(losses, work.best, evaluation.prune) and position + 1 < len(evaluation.folds):
            reason = f"stopped after fold {position}: mean loss {np.mean(losses):.4g}"
            return Trial(candidate, PRUNED, losses=np.array(losses), seconds=tuple(seconds), error=reason)
    values = np.concatenate(parts)
    if np.isnan(values[:, 0]).all():
        reason = next(iter(failures.values()), "nothing could be predicted")
        return Trial(candidate, FAILED, seconds=tuple(seconds), error=reason)
    return Trial(
        candidate,
        OK,
        prediction=values,
        losses=np.array(losses),
        seconds=tuple(seconds),
        failures=failures,
        fitted=tuple(kept) if work.learner.name in evaluation.keep else (),
        start=start,
    )


def _of_fold(work: Work, fold: Fold, given: Fitted | None, start: Start | None) -> tuple[Outcome, np.ndarray]:
    """What was fitted on a fold and its values; given: fitted elsewhere.

    Where items must not depend on each other (`most_guilty` None), a fold for which all fail has no values, as it has
    none for an item that fails among others.
    """
    evaluation, params = work.evaluation, work.candidate.params
    most, outcome = evaluation.most_guilty, Outcome(given, np.arange(len(fold.inputs)), {})
    try:
        if given is None:
            outcome = fit_guarded(work.learner, fold.train, params, evaluation.context, start, most)
        elif fold.train.separable:
            outcome = borrowed(work.learner, given, fold.train, params, evaluation.context)
        values, lost = _predicted(outcome, fold, evaluation)
    except Exception as error:
        if most is not None or isinstance(error, DeadlineExceeded):
            raise
        lost = dict.fromkeys(range(len(fold.items)), describe(error))
        values = np.full((len(fold.truth), len(evaluation.context.outputs)), np.nan)
    return replace(outcome, failures={**outcome.failures, **lost}), values


def refit(work: Refit) -> tuple[Outcome | None, str]:
    """Fit a member on all data; (None, reason) when it failed or time was over."""
    try:
        params, most = work.candidate.params, work.most_guilty
        return fit_guarded(work.learner, work.data, params, work.context, work.start, most), ""
    except Exception as error:
        return None, describe(error)


def borrowed(learner: Learner, shared: Fitted, data: Dataset, params: Params, context: FitContext) -> Outcome:
    """`shared`, which learned from others, for groups of `data` with too few values for a fit of their own; it depends
    on a group's own values alone. One that cannot be fitted, or not in time, borrows too."""
    everyone = np.arange(len(data))
    if data.size < ENOUGH_VALUES:
        return Outcome(shared, everyone, {})
    parts: list[tuple[np.ndarray, Fitted]] = []
    for group in range(data.n_groups):
        items = np.flatnonzero(data.group == group)
        part = data.select(items)
        if part.size >= ENOUGH_VALUES:
            try:
                outcome = fit_guarded(learner, part, params, context)
            except Exception:
                continue
            if not outcome.failures:
                parts.append((items, outcome.fitted))
    if not parts:
        return Outcome(shared, everyone, {})
    rest = np.setdiff1d(everyone, np.concatenate([items for items, _ in parts]))
    parts.append((rest, shared.append(data.select(rest))))
    (_, first), *others = parts
    order = np.argsort(np.concatenate([items for items, _ in parts]), kind="stable")
    return Outcome(first.stack([fitted for _, fitted in others]).take(order), everyone, {})


def fold_loss(values: np.ndarray, evaluation: Evaluation, position: int) -> float:
    """Loss of one fold's values, rows that are missing filled by the fallback."""
    begin = sum(len(fold.truth) for fold in evaluation.folds[:position])
    fold = evaluation.folds[position]
    filled = np.where(np.isnan(values), evaluation.fallback[begin : begin + len(values)], values)
    return float(evaluation.metric.loss(filled, evaluation.context.outputs, fold.truth))


def fit_guarded(
    learner: Learner,
    data: Dataset,
    params: Params,
    context: FitContext,
    start: Start | None = None,
    most_guilty: int | None = MAX_GUILTY,
) -> Outcome:
    """Fit all items; when that raises, find the guilty ones by halving, leave them out and fit the rest together.

    start: fitted objects of an earlier cutoff; each item that has one there is refitted from it, the others anew.
    Raises the learner's own exception when more than `most_guilty` items (or all) are guilty, or when items are not
    separable; `DeadlineExceeded` when time is over.
    """
    data = data if learner.capabilities.missing else data.filled()
    if not data.separable:
        return Outcome(learner.fit(data, params, context), None, {})
    everything = np.arange(len(data))

    def attempt(items: np.ndarray) -> Fitted:
        context.deadline.check()
        part = data if len(items) == len(data) else data.select(items)
        if start is None:
            return learner.fit(part, params, context)
        return _warm_fit(learner, part, params, context, start.on(items))

    try:
        return _outcome(attempt(everything), everything, {})
    except DeadlineExceeded:
        raise
    except Exception as error:
        guilty = _find_guilty(attempt, everything, error, most_guilty)
        rest = np.setdiff1d(everything, list(guilty))
        if not len(rest):
            raise
        return _outcome(attempt(rest), rest, guilty)


def _outcome(fitted: Fitted, items: np.ndarray, failures: Mapping[int, str]) -> Outcome:
    refused = {int(item): reason for item, reason in zip(items, fitted.status, strict=True) if reason != "ok"}
    return Outcome(fitted, items, {**failures, **refused})


def _find_guilty(attempt, items: np.ndarray, error: Exception, most: int | None) -> dict[int, str]:
    """Items whose fit raises alone, with the reason; raises `error` when there are too many."""
    guilty: dict[int, str] = {}
    suspects = [items]
    while suspects:
        part = suspects.pop()
        try:
            if len(part) < len(items):
                attempt(part)
                continue
        except DeadlineExceeded:
            raise
        except Exception as raised:
            error = raised
        if len(part) == 1:
            guilty[int(part[0])] = describe(error)
            if most is not None and len(guilty) > most:
                raise error
        else:
            middle = len(part) // 2
            suspects += [part[middle:], part[:middle]]
    return guilty


def predict_guarded(fitted: Fitted, inputs: Dataset, steps: int, outputs: tuple[str, ...]) -> tuple[np.ndarray, str]:
    """Values (items * steps, outputs), NaN where there is none, and why a prediction failed ("" if none did)."""

    def predict(fitted: Fitted, inputs: Dataset) -> np.ndarray:
        return fitted.predict(inputs, steps, outputs).values

    try:
        values, lost = _predicted_apart(fitted, inputs, (steps, len(outputs)), predict, None)
    except Exception as error:
        return np.full((len(inputs) * steps, len(outputs)), np.nan), describe(error)
    values = values.reshape(len(inputs) * steps, len(outputs))
    return np.where(np.isfinite(values), values, np.nan), next(iter(lost.values()), "")


def predict_scored(fitted: Fitted, inputs: Dataset, context: FitContext) -> np.ndarray:
    """Predict and drop the gap: (items * scored steps, outputs). Raises `LearnerError` on a wrong shape."""
    steps, width = context.horizon, len(context.outputs)
    prediction: Prediction = fitted.predict(inputs, steps, context.outputs)
    if prediction.values.shape != (len(inputs) * steps, width):
        raise LearnerError(f"predicted shape {prediction.values.shape}, expected {(len(inputs) * steps, width)}")
    values = np.where(np.isfinite(prediction.values), prediction.values, np.nan)
    return values.reshape(len(inputs), steps, width)[:, context.gap :].reshape(-1, width)


def _predicted(outcome: Outcome, fold: Fold, evaluation: Evaluation) -> tuple[np.ndarray, dict[int, str]]:
    """A fold's values, and why there is none for some items (positions in the fold)."""
    context = evaluation.context
    per_item = len(fold.truth) // max(len(fold.items), 1)
    items = outcome.served(len(fold.items))
    inputs = fold.inputs if len(items) == len(fold.inputs) else fold.inputs.select(items)

    def predict(fitted: Fitted, inputs: Dataset) -> np.ndarray:
        return predict_scored(fitted, inputs, context)

    values = np.full((len(fold.items), per_item, len(context.outputs)), np.nan)
    shape, most = values.shape[1:], evaluation.most_guilty
    values[items], lost = _predicted_apart(outcome.fitted, inputs, shape, predict, most)
    return values.reshape(len(fold.truth), -1), {int(items[k]): reason for k, reason in lost.items()}


def _predicted_apart(
    fitted: Fitted,
    inputs: Dataset,
    shape: tuple[int, ...],
    predict: Callable[[Fitted, Dataset], np.ndarray],
    most_guilty: int | None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Values (items, *shape); where `predict` raises, halving finds the guilty items, which get NaN and a reason.

    Raises what `predict` raised for all items, for more than `most_guilty`, and where items are not separable.
    """
    values = np.full((len(inputs), *shape), np.nan)
    lost: dict[int, str] = {}
    parts = [np.arange(len(inputs))]
    while parts:
        part = parts.pop()
        everyone = len(part) == len(inputs)
        try:
            some = predict(fitted, inputs) if everyone else predict(fitted.take(part), inputs.select(part))
            values[part] = some.reshape(len(part), *shape)
        except Exception as error:
            if not inputs.separable or isinstance(error, DeadlineExceeded):
                raise
            if len(part) > 1:
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
                continue
            lost[int(part[0])] = describe(error)
            if len(lost) == len(inputs) or (most_guilty is not None and len(lost) > most_guilty):
                raise
    return values, lost


def _start(learner: Learner, outcome: Outcome, items: np.ndarray, earlier: Start | None) -> Start | None:
    """What a later cutoff can start from, for items that took no part in the fold the start that they had.

    items: positions in the whole dataset of the fold's items.
    """
    if not isinstance(learner, Refittable):
        return None
    new = None
    if outcome.fitted is not None and outcome.items is not None:
        usable = [(k, int(items[i])) for k, i in enumerate(outcome.items) if i not in outcome.failures]
        new = Start(outcome.fitted, {item: k for k, item in usable})
    there = set(items.tolist())
    absent = [] if earlier is None else [item for item in earlier.where if item not in there]
    if not absent:
        return new
    kept = earlier.fitted.take(np.array([earlier.where[item] for item in absent]))
    if new is None:
        return Start(kept, {item: k for k, item in enumerate(absent)})
    first = len(new.fitted.status)
    return Start(new.fitted.stack([kept]), {**new.where, **{item: first + k for k, item in enumerate(absent)}})


def _warm_fit(learner: Learner, data: Dataset, params: Params, context: FitContext, start: Start) -> Fitted:
    """Refit the items that have a start, fit the others, and put them in one, in order.

    Item by item, so that what becomes of an item does not depend on which others came before it.
    """
    place = start.places(len(data))
    old, new = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
    if not len(old):
        return learner.fit(data, params, context)
    known = start.fitted.take(place[old])
    if not len(new):
        return learner.refit(known, data, context)
    refitted = learner.refit(known, data.select(old), context)
    both = refitted.stack([learner.fit(data.select(new), params, context)])
    return both.take(np.argsort(np.concatenate([old, new]), kind="stable"))


def _hopeless(losses: list[float], best: np.ndarray | None, prune: float | None) -> bool:
    if prune is None or best is None:
        return False
    rival = float(np.mean(best[: len(losses)]))
    return bool(np.mean(losses) > rival + (prune - 1.0) * abs(rival))


def with_deadline(work: Work, seconds: float | None) -> Work:
    """The same work with an earlier deadline."""
    context = work.evaluation.context
    earlier = replace(context, deadline=context.deadline.earlier(seconds))
    return replace(work, evaluation=replace(work.evaluation, context=earlier))
