"""Combinations of candidates without fits of their own: from the predictions and the fitted objects of their parts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecastml.protocols import Candidate
from forecastml.search.evaluate import Outcome, Refit, Work, fold_loss
from forecastml.search.trial import OK, Trial


def of_what_is_there(work: Work, log: Sequence[Trial]) -> Work | None:
    """The work with the parts alone that have not ended without a result: it is not to bring back what the budget left
    out or what failed. None when too few remain."""
    ended = {trial.candidate.name for trial in log if trial.state != OK}
    parts = work.learner.parts(work.candidate.params)
    left = [part.learner for part in parts if part.name not in ended]
    if len(left) == len(parts):
        return work
    params = work.learner.among(left, work.candidate.params)
    return None if params is None else replace(work, candidate=Candidate(work.candidate.learner, params))


def combined_trial(work: Work, log: Sequence[Trial]) -> Trial | None:
    """The trial of a combination from the trials of its parts; None unless all of them are complete.

    It equals, but for its seconds, what a fit of the combination would give on these folds.
    """
    began = time.monotonic()
    found = {trial.candidate.name: trial for trial in log if trial.state == OK}
    parts = [found.get(part.name) for part in work.learner.parts(work.candidate.params)]
    if any(part is None for part in parts):
        return None
    evaluation, values = work.evaluation, work.learner.combined(np.stack([part.prediction for part in parts]))
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
    """The fit of a combination from those of its parts, by name; None unless each of them serves every item."""
    parts = [outcomes.get(part.candidate.name) for part in refit.parts]
    everyone = np.arange(len(refit.data))
    if any(part is None or part.items is None or not np.array_equal(part.items, everyone) for part in parts):
        return None
    fitted = refit.learner.joined(refit.candidate.params, [part.fitted for part in parts])
    reasons = {i: status for i, status in enumerate(fitted.status) if status != OK}
    return Outcome(fitted, everyone, reasons)
