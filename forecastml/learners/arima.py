"""Seasonal ARIMA, alone and with known covariates: orders by AICc, parameters by exact maximum likelihood.

A season of up to `regressors.LONGEST_EXACT` steps is part of the ARIMA; longer ones are waves (sines and cosines), of
which AICc chooses the harmonics. (Hyndman and Khandakar 2008, "Automatic time series forecasting"; regression with
ARIMA errors: Hyndman and Athanasopoulos, fpp3, chapter 10.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from forecastml.data.panel import Panel
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError
from forecastml.kernels.arima import Process, followed, projected, variances
from forecastml.learners import pmdarima_engine
from forecastml.learners.arima_columns import ArimaSettings
from forecastml.learners.arima_regression import by_series, fit_chunk, process, remembered, state
from forecastml.learners.chunks import Chunk
from forecastml.learners.components import Components
from forecastml.learners.pmdarima_engine import ArimaForecaster
from forecastml.learners.regressors import ARIMA, KnownColumns, divided, grid_positions
from forecastml.learners.stand_in import normal_quantiles
from forecastml.learners.vectorised import Memory, Settings, VectorisedForecaster, VectorisedLearner
from forecastml.protocols import Capabilities, Facts, FitContext, Params

ENGINES = ("own", "pmdarima")
#: Values that count at least, and as seasons and as waves; and at most.
HISTORY, HISTORY_SEASONS, HISTORY_WAVES, MOST_HISTORY = 500, 10, 3, 3000


class AutoArima(VectorisedLearner):
    """ARIMA errors around a mean or drift and waves of long seasons; order and harmonics per series by AICc.

    engine: "own" fits whole panels; "pmdarima" asks that library, one series after the other, and has no quantiles. An
    unknown value inside a series is taken to be as expected. Quantiles are normal, by the weights of past innovations.
    """

    name = "auto_arima"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.2, item_cost=0.025)
    settings_type = ArimaSettings

    def space(self, facts: Facts) -> Sequence[Params]:
        """A single empty set: the search for the order is the learner's own."""
        return [{}]

    def history(self, settings: ArimaSettings) -> int:
        """Some seasons, and each wave twice and more."""
        longest = max((period for period, _ in settings.waves), default=0.0)
        long = max(HISTORY_SEASONS * settings.season_length, int(HISTORY_WAVES * longest))
        return min(max(HISTORY, long), MOST_HISTORY)

    def fit(self, train: Panel, params: Params, context: FitContext) -> VectorisedForecaster | ArimaForecaster:
        """Search the order of every series and estimate its parameters; `ConfigError` for unknown parameters."""
        for key in params:
            if key != "engine":
                raise ConfigError(f"{self.name} has no parameter {key!r}; it has engine")
        engine = params.get("engine", ENGINES[0])
        if engine not in ENGINES:
            raise ConfigError(f"{self.name}: engine is {engine!r}; give one of {', '.join(ENGINES)}")
        if engine == "pmdarima":
            return pmdarima_engine.fit(train, context.seasons, self._known(train), context)
        return self._fit(train, self._settings(train, context), context, None)

    def refit(
        self, previous: VectorisedForecaster | ArimaForecaster, train: Panel, context: FitContext
    ) -> VectorisedForecaster | ArimaForecaster:
        """Estimate the parameters anew, from the earlier ones on; order, harmonics and columns stay."""
        if isinstance(previous, ArimaForecaster):
            return pmdarima_engine.refit(previous, train, context)
        return super().refit(previous, train, context)

    def restore(
        self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> VectorisedForecaster | ArimaForecaster:
        """The inverse of `state`, of either engine."""
        if "layout" in values:
            return pmdarima_engine.restore(arrays, values)
        return super().restore(arrays, values)

    def drivers(
        self, panel: Panel, series: np.ndarray, first: np.ndarray, rows: int, settings: ArimaSettings
    ) -> np.ndarray | None:
        """Waves, then known covariates: float64 (rows, series, columns)."""
        if not settings.columns:
            return None
        found = np.empty((rows, len(series), settings.columns))
        known, waves = settings.known_columns, settings.wave_columns
        for place, (i, skip) in enumerate(zip(series.tolist(), first.tolist(), strict=True)):
            # A series may begin after the row that was last read.
            blank = min(max(-skip, 0), rows)
            at = grid_positions(panel, i, skip + rows)[skip + blank :] if skip + rows > 0 else np.empty(0)
            table = known.table(panel, i, max(skip + rows, 0))[skip + blank :]
            found[:blank, place] = np.nan
            found[blank:, place] = np.column_stack([*(wave.columns(at) for wave in waves), table])
        return found

    def fit_chunk(self, chunk: Chunk, settings: ArimaSettings, context: FitContext, previous: Memory | None) -> Memory:
        """See `arima_regression.fit_chunk`."""
        return fit_chunk(chunk, settings, context, previous)

    def project(
        self, memory: Memory, settings: ArimaSettings, steps: int, levels: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The expected values, and normal quantiles around them."""
        model = process(memory, settings)
        mean = _errors(model, memory, steps) + settings.regression(memory, steps)
        spread = np.sqrt(variances(model, steps) * (memory["innovation"] * memory["variance"]))
        return mean, normal_quantiles(mean, spread, levels)

    def components(self, memory: Memory, settings: ArimaSettings, steps: int, schema: Schema) -> Components:
        """What the ARIMA expects, the waves of each long season, and each known covariate."""
        found = {ARIMA: _errors(process(memory, settings), memory, steps)}
        for term, columns in settings.terms(schema).items():
            found[term] = settings.regression(memory, steps, columns)
        return found

    def advance(self, memory: Memory, settings: ArimaSettings, values: np.ndarray, lengths: np.ndarray) -> Memory:
        """Filter and tail after the values."""
        rest = values - settings.regression(memory, len(values))
        return remembered(*followed(process(memory, settings), state(memory), by_series(memory["tail"]), rest, lengths))

    def _settings(self, panel: Panel, context: FitContext) -> Settings:
        season, waves = divided(context.seasons, panel.frequency)
        return ArimaSettings(season, tuple((wave.period, wave.harmonics) for wave in waves), self._known(panel).columns)

    def _known(self, panel: Panel) -> KnownColumns:
        return KnownColumns()


def _errors(model: Process, memory: Memory, steps: int) -> np.ndarray:
    """The expected values of what the regression leaves: float64 (steps, series)."""
    return projected(model, by_series(memory["state"]), by_series(memory["tail"]), steps)


class Arimax(AutoArima):
    """`AutoArima` with the known covariates in the regression: numbers, and one indicator per category."""

    name = "arimax"
    capabilities = replace(AutoArima.capabilities, covariates=frozenset({"known"}))

    def space(self, facts: Facts) -> Sequence[Params]:
        """A single empty set when there are known covariates, else nothing: it would be `AutoArima`."""
        return [{}] if "known" in facts.covariates else []

    def _known(self, panel: Panel) -> KnownColumns:
        return KnownColumns.of(panel)
