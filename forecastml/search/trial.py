"""`Trial`: what became of one candidate. A sequence of trials, in the order of asking, is the log of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecastml.protocols import Candidate, Fitted

#: Every state a trial can end in.
OK, FAILED, PRUNED, SKIPPED, TIMED_OUT = "ok", "failed", "pruned", "skipped", "timed out"
#: The reason of trials that were skipped because the user interrupted the run.
INTERRUPT = "interrupted"


@dataclass(frozen=True, eq=False)
class Start:
    """Fitted objects of an earlier cutoff; where: item -> position in `fitted`, for the items that it served."""

    fitted: Fitted
    where: Mapping[int, int]

    def on(self, items: np.ndarray) -> Start:
        """The same for a part of the data: items are counted by their position in `items`."""
        return Start(self.fitted, {i: self.where[int(item)] for i, item in enumerate(items) if int(item) in self.where})

    def places(self, n: int) -> np.ndarray:
        """Position in `fitted` of items 0 ... n-1, -1 for those without: int64 (n,)."""
        return np.array([self.where.get(i, -1) for i in range(n)], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Trial:
    """A candidate and its fate; immutable.

    prediction: out-of-fold values, float64 (rows of all folds, outputs), None unless state is "ok"; losses: per fold;
    seconds: wall time per fold (fit and predict); error: why it is not "ok"; failures: item -> reason, for items that
    this learner could not serve; fitted: one per fold when the caller asked to keep them; start: what a refit on all
    data can start from.
    """

    candidate: Candidate
    state: str
    prediction: np.ndarray | None = None
    losses: np.ndarray = field(default_factory=lambda: np.empty(0))
    seconds: tuple[float, ...] = ()
    error: str = ""
    failures: Mapping[int, str] = field(default_factory=dict)
    fitted: tuple[Fitted, ...] = ()
    start: Start | None = None

    @property
    def loss(self) -> float:
        """Mean over folds; NaN unless the trial is "ok"."""
        return float(np.mean(self.losses)) if self.state == OK and len(self.losses) else float("nan")


def usable(log: Sequence[Trial]) -> list[Trial]:
    """The trials whose predictions can enter an ensemble: "ok" and with a finite loss."""
    return [trial for trial in log if trial.state == OK and np.isfinite(trial.loss)]
