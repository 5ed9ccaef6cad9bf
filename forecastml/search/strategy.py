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
        """The next n candidates; empty when all were asked. The log has one trial for each that was, in order."""
        return self.candidates[len(log) : len(log) + n]
