"""Limits of a run: a `Budget` is what the user allows, a `Deadline` is a clock that runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from forecastml.errors import ConfigError, DeadlineExceeded


@dataclass(frozen=True)
class Budget:
    """What a search may spend.

    seconds: wall time of the whole `fit`; trials: number of candidates; trial_seconds: wall time of one
    candidate over all folds; exit_score: stop once a candidate's loss is at or below it; seed: of the run.
    None means no limit.
    """

    seconds: float | None = None
    trials: int | None = None
    trial_seconds: float | None = None
    exit_score: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seconds", "trials", "trial_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"budget: {name} is {value}; give a positive number or None for no limit")


@dataclass(frozen=True)
class Deadline:
    """A point on a monotonic clock. `Deadline()` never comes."""

    at: float = math.inf
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    @classmethod
    def after(cls, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """The deadline `seconds` from now; None never comes."""
        return cls(math.inf if seconds is None else clock() + seconds, clock)

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - self.clock())

    def passed(self) -> bool:
        """Whether the time is over."""
        return self.clock() >= self.at

    def check(self) -> None:
        """Raise `DeadlineExceeded` when the time is over: the call that makes a long loop interruptible."""
        if self.passed():
            raise DeadlineExceeded("the time limit is over")

    def earlier(self, seconds: float | None) -> Deadline:
        """The nearer of this deadline and `seconds` from now."""
        if seconds is None:
            return self
        return Deadline(min(self.at, self.clock() + seconds), self.clock)
