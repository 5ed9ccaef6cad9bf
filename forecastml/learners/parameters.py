"""The parameters that a table learner knows: their defaults, and which values can work."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forecastml.errors import ConfigError
from forecastml.protocols import Params

#: Metrics of squared errors; all others are of absolute ones.
SQUARED = frozenset({"rmse", "nrmse", "rmsse", "rmsle", "nrmsle", "r2", "explained_variance"})


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, an integer where `whole`. default: None where the learner finds one itself."""

    default: float | None
    low: float
    high: float = float("inf")
    whole: bool = False

    def fault(self, value: Any) -> str:
        """What would have to be given instead; "" when nothing."""
        if value is None and self.default is None:
            return ""
        kind = int if self.whole else int | float
        if isinstance(value, kind) and not isinstance(value, bool) and self.low <= value <= self.high:
            return ""
        upper = "" if self.high == float("inf") else f" up to {self.high:g}"
        return f"{'an integer' if self.whole else 'a number'} from {self.low:g}{upper}"


@dataclass(frozen=True)
class Choice:
    """One of some values. default: None where the learner chooses itself."""

    default: Any
    of: tuple[Any, ...]

    def fault(self, value: Any) -> str:
        """What would have to be given instead; "" when nothing."""
        if (value is None and self.default is None) or any(value == one for one in self.of):
            return ""
        return f"one of {', '.join(map(str, self.of))}"


Known = Mapping[str, Number | Choice]


def settled(learner: str, known: Known, params: Params) -> dict[str, Any]:
    """A value for each known parameter, the given one or its default.

    Raises `ConfigError` for a name that the learner does not know and for a value that cannot work.
    """
    for name, value in params.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{learner}: parameter {name!r} is unknown; {hint}known are {', '.join(known)}")
        fault = known[name].fault(value)
        if fault:
            raise ConfigError(f"{learner}: parameter {name!r} is {value!r}; give {fault}")
    return {name: params.get(name, parameter.default) for name, parameter in known.items()}
