"""`Trial`: what became of one candidate. A sequence of trials, in the order of asking, is the log of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecastml.protocols import Candidate, Fitted

#: Every state a trial can end in.
OK, FAILED, PRUNED, SKIPPED, TIMED_OUT = "ok", "failed", "pruned", "skipped", "timed out"


@dataclass(frozen=True, eq=False)
class Trial:
    """A candidate and its fate; immutable.

    prediction: out-of-fold values, float64 (rows of all folds, outputs), None unless state is "ok"; losses: per fold;
    seconds: wall time per fold (fit and predict); error: why it is not "ok"; failures: item -> reason, for items that
    this learner could not serve; fitted: one per fold when the caller asked to keep them.
    """

    candidate: Candidate
    state: str
    prediction: np.ndarray | None = None
    losses: np.ndarray = field(default_factory=lambda: np.empty(0))
    seconds: tuple[float, ...] = ()
    error: str = ""
    failures: Mapping[int, str] = field(default_factory=dict)
    fitted: tuple[Fitted, ...] = ()

    @property
    def loss(self) -> float:
        """Mean over folds; NaN unless the trial is "ok"."""
        return float(np.mean(self.losses)) if self.state == OK and len(self.losses) else float("nan")


def usable(log: Sequence[Trial]) -> list[Trial]:
    """The trials whose predictions can enter an ensemble: "ok" and with a finite loss."""
    return [trial for trial in log if trial.state == OK and np.isfinite(trial.loss)]
