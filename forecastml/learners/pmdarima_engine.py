"""The engine "pmdarima" of ARIMA, one series after the other: the order by AICc once, parameters anew at every cutoff.

The fitted object holds parameters and no history: a forecast filters the last `lookback` values
of its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from forecastml.attribution import Explanation, Term
from forecastml.data.extension import without_future
from forecastml.data.panel import Panel, extent
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError
from forecastml.learners.per_series import Failure, exploded, fit_each, quiet_and_single_threaded
from forecastml.learners.pmdarima_estimation import (
    Estimate,
    Order,
    drift_column,
    estimate,
    reestimate,
)
from forecastml.learners.regressors import ARIMA, Choice, KnownColumns, Wave, column_terms, divided, grid_positions
from forecastml.learners.state import OK, SeriesArrays
from forecastml.protocols import FitContext, Prediction

#: Only the last values count: this many, or so many of the longest season if that is more, but no more than `MOST`.
HISTORY, HISTORY_SEASONS, MOST = 1000, 6, 3000
NO_VALUES = "no recent values"
EXPLODED = "its forecasts explode"


@dataclass(frozen=True)
class Layout:
    """What all series of a panel share: season, exact length or 1; waves; known covariates; values looked back on."""

    season: int
    waves: tuple[Wave, ...]
    known: KnownColumns
    lookback: int

    @classmethod
    def of(cls, panel: Panel, seasons: tuple[int, ...], known: KnownColumns) -> Layout:
        """The columns that suit these seasons."""
        exact, waves = divided(seasons, panel.frequency)
        lookback = min(max(HISTORY, HISTORY_SEASONS * max(seasons, default=1)), MOST)
        return cls(exact, waves, known, lookback)

    @property
    def columns(self) -> int:
        """Columns of the regression: mean or drift, waves, known covariates."""
        return 1 + sum(2 * len(wave.harmonics) for wave in self.waves) + len(self.known.columns)

    def table(self, panel: Panel, series: int, rows: int) -> np.ndarray:
        """Columns from the first value of the series on, the first one blank: float64 (rows, columns)."""
        at = grid_positions(panel, series, rows)
        known = self.known.table(panel, series, rows)
        return np.column_stack([np.zeros(rows), *(wave.columns(at) for wave in self.waves), known])

    def terms(self, schema: Schema) -> dict[Term, list[int]]:
        """The columns of each wave and of each known covariate; mean and drift are the ARIMA's."""
        return column_terms(self.waves, self.known, schema, 1)

    def choice(self, rows: int) -> Choice:
        """What a series of so many values may use: waves that it holds twice, and all known covariates."""
        waves, first = [], 1
        for wave in self.waves:
            if rows >= 2 * wave.period and wave.harmonics:
                waves.append((first, len(wave.harmonics)))
            first += 2 * len(wave.harmonics)
        return Choice(tuple(waves), range(first, self.columns))

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        waves = [[wave.period, list(wave.harmonics)] for wave in self.waves]
        known = [list(pair) for pair in self.known.columns]
        return {"season": self.season, "waves": waves, "known": known, "lookback": self.lookback}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Layout:
        """The inverse of `to_json`."""
        waves = tuple(Wave(period, tuple(harmonics)) for period, harmonics in values["waves"])
        known = KnownColumns(tuple((column, code) for column, code in values["known"]))
        return cls(values["season"], waves, known, values["lookback"])


@dataclass(frozen=True, eq=False)
class Window:
    """The last values of one series from the first known one on.

    values: float64 (rows,); table: float64 (rows + horizon, columns), see `Layout.table`; time: float64
    (rows + horizon,), grid positions in steps.
    """

    values: np.ndarray
    table: np.ndarray
    time: np.ndarray

    @classmethod
    def of(cls, panel: Panel, series: int, layout: Layout, horizon: int = 0) -> Window:
        """The window at the end of a series; no rows when none of its last values is known."""
        tail = panel.last(layout.lookback)
        values = tail.values(series)
        known = np.flatnonzero(~np.isnan(values))
        skip = known[0] if len(known) else len(values)
        rows = len(values) + horizon
        time = tail.start[series] // tail.frequency.step + np.arange(rows, dtype=np.float64)
        return cls(values[skip:].copy(), layout.table(tail, series, rows)[skip:], time[skip:])


@dataclass(frozen=True, eq=False)
class ArimaForecaster:
    """Fitted regressions with ARIMA errors, one row per series.

    memory: "order" (7), "arma" and "beta" as in `Estimate` (NaN at the end of shorter ones), "centre" (columns), means
    of the known covariates; "location" and "scale" of the values; "anchor", grid position at which time is 0;
    "searched", whether a refit keeps the order.
    """

    layout: Layout
    memory: SeriesArrays

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok" or why there is no forecast."""
        return self.memory.status

    @property
    def lookback(self) -> int:
        """Values of history that a forecast reads."""
        return self.layout.lookback

    def predict(self, inputs: Panel, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """The next `horizon` values of `inputs`; outputs other than "mean" are NaN."""
        values = np.full((len(inputs), horizon, len(outputs)), np.nan)
        means = [place for place, name in enumerate(outputs) if name == "mean"]
        with quiet_and_single_threaded():
            for i in np.flatnonzero([status == OK for status in self.status]):
                window = Window.of(inputs, i, self.layout, horizon)
                values[i][:, means] = self._forecast(i, window, horizon)[:, None]
        return Prediction(values.reshape(-1, len(outputs)), outputs)

    def explain(self, inputs: Panel, horizon: int) -> Explanation:
        """What the ARIMA expects, the waves of each long season, and each known covariate."""
        told = self.layout.terms(inputs.schema)
        parts = {term: np.full((len(inputs), horizon), np.nan) for term in (ARIMA, *told)}
        with quiet_and_single_threaded():
            for i in np.flatnonzero([status == OK for status in self.status]):
                window = Window.of(inputs, i, self.layout, horizon)
                found, scale = self._regression(i, window), self.memory["scale"][i]
                rest = self._forecast(i, window, horizon)
                for term, columns in told.items():
                    parts[term][i] = 0.0
                    for column in columns:
                        parts[term][i] += scale * found[column, len(window.values) :]
                    rest = rest - parts[term][i]
                parts[ARIMA][i] = rest
        return Explanation.of(parts)

    def append(self, data: Panel) -> ArimaForecaster:
        """The same parameters; the origin lies in the inputs of `predict`."""
        if len(data) != len(self.status):
            raise ConfigError(f"fitted on {len(self.status)} series, given {len(data)} to append; give the same series")
        known = ~np.isnan(extent(data.last(self.lookback))[1])
        status = [NO_VALUES if old == OK and not there else old for old, there in zip(self.status, known, strict=True)]
        return replace(self, memory=replace(self.memory, status=tuple(status)))

    def take(self, items: np.ndarray) -> ArimaForecaster:
        """The part for these series."""
        return replace(self, memory=self.memory.take(items))

    def stack(self, others: Sequence[ArimaForecaster]) -> ArimaForecaster:
        """This and others in one; `ConfigError` when they were fitted with other seasons or covariates."""
        for other in others:
            if other.layout != self.layout:
                raise ConfigError("cannot stack ARIMA models of different seasons or known covariates; fit them alike")
        return replace(self, memory=self.memory.stack([other.memory for other in others]))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, values = self.memory.state()
        return arrays, {**values, "layout": self.layout.to_json()}

    def estimate(self, i: int) -> Estimate:
        """Order and parameters of series i."""
        order = Order(*(int(number) for number in self.memory["order"][i]))
        arma = self.memory["arma"][i, : order.terms]
        return Estimate(order, arma, self.memory["beta"][i], bool(self.memory["searched"][i]))

    def _forecast(self, i: int, window: Window, horizon: int) -> np.ndarray:
        """float64 (horizon,)."""
        found = self.estimate(i)
        regression = np.zeros(len(window.time))
        for part in self._regression(i, window):
            regression += part
        location, scale = self.memory["location"][i], self.memory["scale"][i]
        rows = len(window.values)
        errors = (window.values - location) / scale - regression[:rows]
        ahead = regression[rows:]
        if rows and found.order != Order():
            ahead = ahead + _projected(found, errors, horizon)
        return location + scale * ahead

    def _regression(self, i: int, window: Window) -> np.ndarray:
        """What each column of the table adds, scaled: float64 (columns, rows)."""
        found = self.estimate(i)
        parts = np.zeros((self.layout.columns, len(window.time)))
        for column in np.flatnonzero(~np.isnan(found.beta)):
            values = window.table[:, column] - self.memory["centre"][i, column]
            if column == 0:
                values = drift_column(found.order, window.time - self.memory["anchor"][i])
            parts[column] = found.beta[column] * np.nan_to_num(values)
        return parts


def fit(train: Panel, seasons: tuple[int, ...], known: KnownColumns, context: FitContext) -> ArimaForecaster:
    """Search the order of every series and estimate its parameters."""
    return _fitted(train, Layout.of(train, seasons, known), context, None)


def refit(previous: ArimaForecaster, train: Panel, context: FitContext) -> ArimaForecaster:
    """Estimate the parameters anew, from the earlier ones on; order, harmonics and columns stay."""
    if len(train) != len(previous.status):
        raise ConfigError(f"fitted on {len(previous.status)} series, given {len(train)} to refit; fit instead")
    return _fitted(train, previous.layout, context, previous)


def restore(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> ArimaForecaster:
    """The inverse of `ArimaForecaster.state`."""
    return ArimaForecaster(Layout.from_json(values["layout"]), SeriesArrays.restore(arrays, values))


@dataclass(frozen=True, eq=False)
class _SeriesFit:
    """An estimate and what the values and columns were shifted and scaled by."""

    estimate: Estimate
    centre: np.ndarray
    location: float
    scale: float
    anchor: float


def _fitted(train: Panel, layout: Layout, context: FitContext, previous: ArimaForecaster | None) -> ArimaForecaster:
    with quiet_and_single_threaded():
        # Loading it changes how warnings are shown, which must be over before they are silenced for the fits.
        import pmdarima  # noqa: F401
    found = fit_each(partial(_fit_series, train, layout, previous), range(len(train)), context.deadline)
    nothing = _SeriesFit(Estimate(Order(), np.empty(0), np.full(layout.columns, np.nan), False), *_unscaled(layout))
    fits = [nothing if isinstance(fit, Failure) else fit for fit in found]
    terms = max((fit.estimate.order.terms for fit in fits), default=0)
    arma = np.full((len(fits), terms), np.nan)
    for row, fit in zip(arma, fits, strict=True):
        row[: len(fit.estimate.arma)] = fit.estimate.arma
    arrays = {
        "order": np.array([fit.estimate.order.as_tuple() for fit in fits], dtype=np.int64).reshape(len(fits), 7),
        "arma": arma,
        "beta": np.array([fit.estimate.beta for fit in fits]).reshape(len(fits), layout.columns),
        "centre": np.array([fit.centre for fit in fits]).reshape(len(fits), layout.columns),
        "location": np.array([fit.location for fit in fits], dtype=np.float64),
        "scale": np.array([fit.scale for fit in fits], dtype=np.float64),
        "anchor": np.array([fit.anchor for fit in fits], dtype=np.float64),
        "searched": np.array([fit.estimate.searched for fit in fits], dtype=bool),
    }
    status = tuple(fit.reason if isinstance(fit, Failure) else OK for fit in found)
    fitted = ArimaForecaster(layout, SeriesArrays(arrays, status)).append(train)
    return _without_explosions(fitted, train, context.horizon)


def _unscaled(layout: Layout) -> tuple[np.ndarray, float, float, float]:
    return np.zeros(layout.columns), 0.0, 1.0, 0.0


def _fit_series(train: Panel, layout: Layout, previous: ArimaForecaster | None, i: int) -> _SeriesFit:
    window = Window.of(train, i, layout)
    if not len(window.values):
        return _SeriesFit(Estimate(Order(), np.empty(0), np.full(layout.columns, np.nan), False), *_unscaled(layout))
    choice = layout.choice(len(window.values))
    centre = np.zeros(layout.columns)
    for column in choice.known:
        there = window.table[:, column]
        centre[column] = np.mean(there[~np.isnan(there)]) if not np.isnan(there).all() else 0.0
    x = np.nan_to_num(window.table - centre)
    location = _mean(window.values)
    scale = np.sqrt(_mean(np.square(window.values - location))) or 1.0
    y = (window.values - location) / scale
    old = None if previous is None else previous.estimate(i)
    found = reestimate(y, x, old) if old is not None and old.searched else estimate(y, x, layout.season, choice)
    return _SeriesFit(found, centre, location, scale, window.time[0])


def _mean(values: np.ndarray) -> float:
    """Mean of the known values; the value itself, to the last bit, when there is only one."""
    known = values[~np.isnan(values)]
    return float(known[0] + np.mean(known - known[0]))


def _projected(found: Estimate, errors: np.ndarray, horizon: int) -> np.ndarray:
    """The errors of the next steps, float64 (horizon,), by the state-space model with its parameters as they are."""
    model = found.order.state_space(errors)
    state = model.filter(found.arma, return_ssm=True).predicted_state[:, -1]
    design, transition = model.ssm["design"][0], model.ssm["transition"]
    ahead = np.empty(horizon)
    for step in range(horizon):
        ahead[step] = design @ state
        state = transition @ state
    return ahead


def _without_explosions(fitted: ArimaForecaster, train: Panel, horizon: int) -> ArimaForecaster:
    """The same with a status for each series whose forecasts leave its history by far."""
    # What is known of the future may move forecasts, but nothing that is fitted.
    ahead = fitted.predict(without_future(train), horizon, ("mean",)).mean.reshape(len(train), horizon)
    too_far = exploded(train.last(fitted.lookback), ahead)
    status = [EXPLODED if old == OK and far else old for old, far in zip(fitted.status, too_far, strict=True)]
    return replace(fitted, memory=replace(fitted.memory, status=tuple(status)))
