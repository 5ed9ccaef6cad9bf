"""Which hyper-parameters are worth a search, between which bounds, and from where it begins at little cost."""

from __future__ import annotations

from dataclasses import dataclass

from forecastml.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """Values of one hyper-parameter from `low` to `high`, both included.

    start: a value within the bounds that costs little; log: steps are ratios, not differences; whole: integers alone.
    """

    low: float
    high: float
    start: float
    log: bool = True
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.start <= self.high or (self.log and self.low <= 0):
            raise ConfigError(f"{self}: give low <= start <= high, and low above 0 where log is true")
