"""Combinations of candidates without fits of their own: from the predictions and the fitted objects of their parts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecastml.protocols import Candidate, Fitted
from forecastml.search.evaluate import Outcome, Refit, Work, fold_loss
from forecastml.search.trial import FAILED, OK, Trial


def of_what_is_there(work: Work, log: Sequence[Trial]) -> Work | None:
    """The work with the parts alone that have not ended without a result: it is not to bring back what the budget left
    out or what failed (but see `combined_trial`). None when too few remain."""
    states = (OK,) if work.evaluation.most_guilty is not None else (OK, FAILED)
    ended = {trial.candidate.name for trial in log if trial.state not in states}
    parts = work.learner.parts(work.candidate.params)
    left = [part.learner for part in parts if part.name not in ended]
    if len(left) == len(parts):
        return work
    params = work.learner.among(left, work.candidate.params)
    return None if params is None else replace(work, candidate=Candidate(work.candidate.learner, params))


def combined_trial(work: Work, log: Sequence[Trial]) -> Trial | None:
    """The trial of a combination from the trials of its parts; None unless all of them are complete.

    It equals, but for its seconds, what a fit of the combination would give on these folds. Where items must not depend
    on each other (`most_guilty` None), a part that failed for all is one without values, as it is for an item that it
    failed for among others.
    """
    began, evaluation = time.monotonic(), work.evaluation
    states = (OK,) if evaluation.most_guilty is not None else (OK, FAILED)
    found = {trial.candidate.name: trial for trial in log if trial.state in states}
    parts = [found.get(part.name) for part in work.learner.parts(work.candidate.params)]
    if any(part is None for part in parts):
        return None
    nothing = np.full((len(evaluation.truth), len(evaluation.context.outputs)), np.nan)
    values = work.learner.combined(np.stack([nothing if p.prediction is None else p.prediction for p in parts]))
    if np.isnan(values[:, 0]).all():
        return Trial(work.candidate, FAILED, error=parts[0].error or "none of its parts has a result")
    losses, end = [], 0
    for position, fold in enumerate(evaluation.folds):
        begin, end = end, end + len(fold.truth)
        losses.append(fold_loss(values[begin:end], evaluation, position))
    seconds = (time.monotonic() - began) / max(len(losses), 1)
    failures = {
        item: reason for item, reason in parts[0].failures.items() if all(item in part.failures for part in parts)
    }
    return Trial(
        work.candidate,
        OK,
        prediction=values,
        losses=np.array(losses),
        seconds=(seconds,) * len(losses),
        failures=failures,
    )


def combined_outcome(refit: Refit, outcomes: Mapping[str, Outcome | None]) -> Outcome | None:
    """The fit of a combination from those of its parts, by name, for the items that each of them serves.

    None when there is no such item.
    """
    parts = [outcomes.get(part.candidate.name) for part in refit.parts]
    if any(part is None or part.items is None for part in parts):
        return None
    items = np.arange(len(refit.data))
    for part in parts:
        items = np.intersect1d(items, part.items)
    if not len(items):
        return None
    fitted = refit.learner.joined(refit.candidate.params, [_serving(part, items) for part in parts])
    return Outcome(fitted, items, _refused(fitted, items))


def both_outcomes(one: Outcome, other: Outcome) -> Outcome:
    """Two fits for different items as one, in the order of the items."""
    items = np.concatenate([one.items, other.items])
    order = np.argsort(items, kind="stable")
    fitted = one.fitted.stack([other.fitted]).take(order)
    return Outcome(fitted, items[order], {**one.failures, **other.failures})


def _serving(part: Outcome, items: np.ndarray) -> Fitted:
    everyone = np.array_equal(part.items, items)
    return part.fitted if everyone else part.fitted.take(np.searchsorted(part.items, items))


def _refused(fitted: Fitted, items: np.ndarray) -> dict[int, str]:
    return {int(item): status for item, status in zip(items, fitted.status, strict=True) if status != OK}
