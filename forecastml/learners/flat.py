"""Learners whose forecast is one number per series, the same for every step, and that know no season."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecastml.errors import ConfigError
from forecastml.learners.vectorised import Memory, Settings, VectorisedLearner
from forecastml.protocols import Facts, FitContext, Params


@dataclass(frozen=True)
class FlatSettings(Settings):
    """No season, whatever the context has."""

    @classmethod
    def of(cls, name: str, params: Params, context: FitContext) -> FlatSettings:
        """Parameters over the defaults; `ConfigError` if unknown."""
        if "season_length" in params:
            raise ConfigError(f"{name} has no season; leave the parameter 'season_length' out")
        return super().of(name, params, replace(context, seasons=()))


class FlatLearner(VectorisedLearner):
    """A subclass says what is its own: `fit_chunk`, `level`, `advance`."""

    settings_type = FlatSettings

    def space(self, facts: Facts) -> Sequence[Params]:
        """A single empty set."""
        return [{}]

    def level(self, memory: Memory, settings: FlatSettings) -> np.ndarray:
        """The scaled forecast of each series: float64 (series,)."""
        raise NotImplementedError

    def project(
        self, memory: Memory, settings: FlatSettings, steps: int, levels: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The level at every step; no quantiles."""
        return np.repeat(self.level(memory, settings)[None], steps, axis=0), None
