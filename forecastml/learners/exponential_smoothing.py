"""Exponential smoothing: up to nine forms fitted to every series of the panel together, then weighted or selected.

Criterion: AICc = n log(SSE / n) + 2 k + 2 k (k + 1) / (n - k - 1), where k counts the variance, the smoothing
parameters and the free start values (Hyndman et al. 2008, chapter 7). The numbers below were chosen on folds inside
the training rows of M3 monthly, M4 weekly, M4 hourly and Australian tourism.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.kernels import smoothing
from forecastml.kernels.smoothing import FORMS
from forecastml.learners.baseline import NO_VALUES
from forecastml.learners.smoothing_search import TYPICAL, Sample, fit_form, free_parameters, parameters_of
from forecastml.learners.state import OK, SeriesArrays
from forecastml.protocols import Capabilities, Facts, FitContext, Params, Prediction

COMBINE = ("weight", "select")
#: Series fitted together.
CHUNK = 256
#: Only the last values count for a fit: this many, or this many seasons if that is more.
HISTORY, HISTORY_SEASONS = 500, 10
#: Longest season that gets all forms, and the forms beyond it.
LONGEST_COMPLETE = 52
LEAN = ("ANN", "AAdN", "ANA", "AAdA")
#: AICc that an undamped trend must make up for: the prior odds against it are e^2 at this temperature.
UNDAMPED_PENALTY = 16.0
#: Weights are exp(-AICc / (2 TEMPERATURE)): plain ones (1) trust a single form too much.
TEMPERATURE = 4.0
#: Lighter forms are dropped.
LEAST_WEIGHT = 0.001
#: A form that forecasts further than this many times the largest value seen has exploded.
EXPLOSION = 100.0
#: Mean squared error below which a fit is perfect, for series scaled to a largest value between 0.5 and 1.
PERFECT = 1e-24


@dataclass(frozen=True)
class Settings:
    """What the parameters of a fit come to: combine is one of `COMBINE`; season_length is 1 for none."""

    combine: str
    season_length: int

    @classmethod
    def of(cls, params: Params, context: FitContext) -> Settings:
        """Parameters checked, or `ConfigError`."""
        unknown = sorted(set(params) - {"combine", "season_length"})
        if unknown:
            raise ConfigError(f"exponential_smoothing has no parameter {unknown[0]!r}; it has combine, season_length")
        combine, season = params.get("combine", COMBINE[0]), params.get("season_length", (*context.seasons, 1)[0])
        if combine not in COMBINE:
            raise ConfigError(f"exponential_smoothing: combine is {combine!r}; one of {', '.join(COMBINE)}")
        if season != int(season) or season < 1:
            raise ConfigError(f"exponential_smoothing: season_length is {season}; give a whole number, 1 for none")
        return cls(combine, int(season))

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms to fit; without a season the first three, and beyond `LONGEST_COMPLETE` only `LEAN`."""
        if self.season_length > LONGEST_COMPLETE:
            return LEAN
        return tuple(form for form in FORMS if self.season_length > 1 or not smoothing.is_seasonal(form))

    def width(self, form: str) -> int:
        """Rows of a state of this form."""
        return 2 + (self.season_length if smoothing.is_seasonal(form) else 0)

    @property
    def rows(self) -> int:
        """Rows of the longest state."""
        return max(self.width(form) for form in self.forms)

    def degrees(self, form: str) -> int:
        """Numbers that a fit of this form estimates: k of the AICc."""
        states = 1 + smoothing.has_trend(form) + (self.season_length - 1) * smoothing.is_seasonal(form)
        return 1 + len(free_parameters(form)) + states

    def least(self, form: str) -> int:
        """Known values that this form needs; simple smoothing takes any series."""
        if form == "ANN":
            return 1
        seasons = 2 * self.season_length + 2 if smoothing.is_seasonal(form) else 0
        return max(seasons, self.degrees(form) + 2)


def form_weights(criterion: np.ndarray, settings: Settings) -> np.ndarray:
    """AICc (series, forms), inf for a form that is out, -> weights that sum to 1."""
    undamped = [smoothing.has_trend(form) and not smoothing.is_damped(form) for form in FORMS]
    criterion = criterion + UNDAMPED_PENALTY * np.array(undamped)
    behind = criterion - criterion.min(axis=1, keepdims=True)
    if settings.combine == "select":
        return (np.arange(len(FORMS)) == np.argmin(behind, axis=1)[:, None]).astype(np.float64)
    weights = np.exp(-behind / (2.0 * TEMPERATURE))
    for least in (0.0, LEAST_WEIGHT):
        weights = np.where(weights >= least, weights, 0.0)
        weights = weights / _in_order(weights)[:, None]
    return weights


def _in_order(weights: np.ndarray) -> np.ndarray:
    """The sum over the forms, one after the other."""
    total = np.zeros(len(weights))
    for form in range(weights.shape[1]):
        total += weights[:, form]
    return total


@dataclass(frozen=True, eq=False)
class SmoothingForecaster:
    """Fitted forms of every series: each array has one row per series.

    memory: "weight" (forms), "odds" (forms * 4), "state" (forms * (2 + m)), of scaled values; "scale", a power of
    two; "origin", grid position of the last row read.
    """

    settings: Settings
    memory: SeriesArrays

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok", or "no values" for a series without a single known value."""
        return self.memory.status

    def predict(self, inputs: Panel, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """The weighted forecasts of the forms; outputs other than "mean" are NaN."""
        total, share = np.zeros((horizon, len(self.status))), np.zeros(len(self.status))
        weights = self.memory["weight"]
        with np.errstate(all="ignore"):
            for form in self.settings.forms:
                weight = weights[:, FORMS.index(form)]
                self._add(form, np.flatnonzero(weight > 0), (total, share), weight)
            # Simple smoothing cannot explode: it stands in where all the others did.
            self._add("ANN", np.flatnonzero(share == 0), (total, share), np.ones(len(share)))
            mean = (total / share * self.memory["scale"]).T
        filled = [mean if name == "mean" else np.full_like(mean, np.nan) for name in outputs]
        return Prediction(np.stack(filled, axis=-1).reshape(-1, len(outputs)), outputs)

    def _add(self, form: str, series: np.ndarray, sums: tuple[np.ndarray, np.ndarray], weight: np.ndarray) -> None:
        """Add the form's weighted forecasts of these series to sums = (total (horizon, series), share (series,))."""
        total, share = sums
        mean = smoothing.project(form, *self._form(form, series), len(total))
        sound = np.isfinite(mean).all(axis=0)
        series = series[sound]
        total[:, series] += weight[series] * mean[:, sound]
        share[series] += weight[series]

    def _form(self, form: str, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parameters (4, series) and state (2 + m, series) of one form."""
        at = FORMS.index(form)
        odds = self.memory["odds"].reshape(-1, len(FORMS), 4)[series, at].T
        state = self.memory["state"].reshape(-1, len(FORMS), self.settings.rows)[series, at]
        state = state[:, : self.settings.width(form)].T
        return parameters_of(form, odds), state

    def append(self, data: Panel) -> SmoothingForecaster:
        """The same parameters after the rows of `data` that follow the origin."""
        if len(data) != len(self.status):
            raise ConfigError(f"fitted on {len(self.status)} series, given {len(data)} to append; give the same series")
        origin, last = self.memory["origin"], data.last_ordinal // data.frequency.step
        skip, new = origin + 1 - data.start // data.frequency.step, np.maximum(last - origin, 0)
        state = self.memory["state"].copy()
        forms = state.reshape(-1, len(FORMS), self.settings.rows)
        with np.errstate(all="ignore"):
            for chunk in _chunks(new):
                values = columns(data, chunk, skip[chunk], new[chunk]) / self.memory["scale"][chunk]
                for form in self.settings.forms:
                    at = FORMS.index(form)
                    used = (self.memory["weight"][chunk, at] > 0) | (form == "ANN")
                    series = chunk[used]
                    parameters, now = self._form(form, series)
                    moved = now[:, None].copy()
                    smoothing.roll(form, values[:, used], new[series], parameters[:, None], moved)
                    forms[series, at, : len(moved)] = moved[:, 0].T
        arrays = {**self.memory.arrays, "state": state, "origin": origin + new}
        return replace(self, memory=replace(self.memory, arrays=arrays))

    def take(self, items: np.ndarray) -> SmoothingForecaster:
        """The part for these series."""
        return replace(self, memory=self.memory.take(items))

    def stack(self, others: Sequence[SmoothingForecaster]) -> SmoothingForecaster:
        """This and others in one; `ConfigError` when they were fitted with other settings."""
        for other in others:
            if other.settings != self.settings:
                raise ConfigError(
                    f"cannot stack {other.settings} on {self.settings}; fit them with the same parameters"
                )
        return replace(self, memory=self.memory.stack([other.memory for other in others]))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, values = self.memory.state()
        return arrays, {**values, "combine": self.settings.combine, "season_length": self.settings.season_length}


class ExponentialSmoothing:
    """Simple, Holt and Holt-Winters smoothing, damped too: forms weighted or selected per series by AICc.

    Parameters: combine, "weight" (default) or "select"; season_length, default the first season of the context.
    Gaps are steps with error 0. A series too short for every other form gets simple smoothing.
    """

    name = "exponential_smoothing"
    capabilities = Capabilities(missing=True, cost=0.02)

    def space(self, facts: Facts) -> Sequence[Params]:
        """The primary season, then every other one that the longest series holds twice."""
        return [{}, *({"season_length": m} for m in facts.seasons[1:] if 2 * m < facts.longest)]

    def fit(self, train: Panel, params: Params, context: FitContext) -> SmoothingForecaster:
        """Fit every form to every series that is long enough for it."""
        return _fit(train, Settings.of(params, context), context, None)

    def refit(self, previous: SmoothingForecaster, train: Panel, context: FitContext) -> SmoothingForecaster:
        """Fit again with the help of an earlier cutoff's parameters, in half the time; weights are chosen anew."""
        if len(train) != len(previous.status):
            raise ConfigError(f"fitted on {len(previous.status)} series, given {len(train)} to refit; fit instead")
        odds = previous.memory["odds"].reshape(-1, len(FORMS), 4)
        return _fit(train, previous.settings, context, odds)

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> SmoothingForecaster:
        """The inverse of `SmoothingForecaster.state`."""
        return SmoothingForecaster(
            Settings(values["combine"], values["season_length"]), SeriesArrays.restore(arrays, values)
        )


def _fit(train: Panel, settings: Settings, context: FitContext, previous: np.ndarray | None) -> SmoothingForecaster:
    """previous: odds (series, forms, 4) of an earlier fit, or None."""
    n, width = len(train), settings.rows
    skip, lengths, known = _window(train, max(HISTORY, HISTORY_SEASONS * settings.season_length))
    scale, weights = np.ones(n), np.zeros((n, len(FORMS)))
    odds, state = np.ones((n, len(FORMS), 4)), np.full((n, len(FORMS), width), np.nan)
    for chunk in _chunks(lengths):
        values = columns(train, chunk, skip[chunk], lengths[chunk])
        scale[chunk] = np.ldexp(1.0, np.frexp(np.fmax.reduce(np.abs(values), axis=0))[1])
        values /= scale[chunk]
        positive = np.fmin.reduce(values, axis=0) > 0
        bridged = _bridged(values, lengths[chunk], known[chunk])
        sample = Sample(values, bridged, lengths[chunk], known[chunk], positive)
        old = None if previous is None else previous[chunk]
        with np.errstate(all="ignore"):
            odds[chunk], state[chunk], criterion = _fit_sample(sample, settings, context, old)
        weights[chunk] = form_weights(criterion, settings)
    state[(weights == 0) & (np.arange(len(FORMS)) > 0) & (known > 0)[:, None]] = 0.0
    arrays = {
        "weight": weights,
        "odds": odds.reshape(n, len(FORMS) * 4),
        "state": state.reshape(n, len(FORMS) * width),
        "scale": scale,
        "origin": train.last_ordinal // train.frequency.step,
    }
    return SmoothingForecaster(settings, SeriesArrays(arrays, tuple(np.where(known > 0, OK, NO_VALUES).tolist())))


def _fit_sample(
    sample: Sample, settings: Settings, context: FitContext, previous: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Odds (series, forms, 4), states (series, forms, 2 + m) and AICc (series, forms), inf where a form is out."""
    n, width = len(sample.known), settings.rows
    odds = np.tile(TYPICAL, (n, len(FORMS), 1)) if previous is None else previous.copy()
    state, criterion = np.zeros((n, len(FORMS), width)), np.full((n, len(FORMS)), np.inf)
    for at, form in enumerate(FORMS):
        fits = sample.known >= settings.least(form)
        if smoothing.is_multiplicative(form):
            fits &= sample.positive
        if form not in settings.forms or not fits.any():
            continue
        warm = None if previous is None else odds[fits, at].T
        found, final, squares = fit_form(form, sample.take(fits), settings.season_length, warm, context.deadline)
        odds[fits, at], state[fits, at, : len(final)] = found.T, final.T
        known, k = sample.known[fits], settings.degrees(form)
        fit = known * np.log(np.maximum(squares / known, PERFECT))
        aicc = fit + 2 * k + 2 * k * (k + 1) / np.maximum(known - k - 1, 1)
        reach = np.abs(smoothing.project(form, parameters_of(form, found), final, context.horizon))
        sound = np.isfinite(aicc) & ((reach <= EXPLOSION).all(axis=0) | (form == "ANN"))
        criterion[fits, at] = np.where(sound, aicc, np.inf)
    return odds, state, criterion


def _window(panel: Panel, history: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each fit begins: values to skip, values from there on, known ones among them: three int64 (series,).

    It is the first known value of the last `history` up to the last known one; all are 0 for a series without any.
    """
    rows = np.flatnonzero(~np.isnan(panel.target))
    padded = np.append(rows, -1)
    after = np.searchsorted(rows, panel.end)
    some = after > np.searchsorted(rows, panel.begin)
    first = np.searchsorted(rows, np.maximum(panel.begin, padded[after - 1] + 1 - history))
    begin = padded[first]
    return tuple(np.where(some, a, 0) for a in (begin - panel.begin, panel.end - begin, after - first))


def _chunks(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of the series that have values, longest first, `CHUNK` at a time."""
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    for first in range(0, len(order), CHUNK):
        yield order[first : first + CHUNK]


def columns(panel: Panel, series: np.ndarray, skip: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The `lengths` values of each of these series after its first `skip`: float64 (time, series), NaN elsewhere."""
    time = np.arange(lengths.max())[:, None]
    at = skip + time
    inside = (time < lengths) & (at >= 0) & (at < panel.lengths[series])
    return np.where(inside, panel.target[np.where(inside, panel.begin[series] + at, 0)], np.nan)


def _bridged(values: np.ndarray, lengths: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Columns with gaps filled by the straight line between their neighbours; `values` itself where there is none."""
    gaps = np.flatnonzero(known < lengths)
    bridged = values.copy() if len(gaps) else values
    for i in gaps:
        column = values[: lengths[i], i]
        at = np.flatnonzero(~np.isnan(column))
        bridged[: lengths[i], i] = np.interp(np.arange(len(column)), at, column[at])
    return bridged
