"""Which candidates next. A strategy is a function of the log; the loop alone watches the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecastml.protocols import Candidate
from forecastml.search.trial import Trial


@dataclass(frozen=True)
class Portfolio:
    """A fixed list of candidates, best guesses first (zero-shot portfolio, as in FLAML and AutoGluon)."""

    candidates: tuple[Candidate, ...]

    def ask(self, log: Sequence[Trial], n: int) -> tuple[Candidate, ...]:
        """The next n candidates that are not in the log; empty when all were asked."""
        asked = {trial.candidate.name for trial in log}
        return tuple(c for c in self.candidates if c.name not in asked)[:n]
