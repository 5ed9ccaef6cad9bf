"""Exponential smoothing: forms of trend, season and error fitted to every series together, then weighted or selected.

Criterion: AICc = n log(squares / n) + 2 k + 2 k (k + 1) / (n - k - 1), with squares as in `kernels.smoothing`; k
counts the variance, the smoothing parameters and the free start values (Hyndman et al. 2008, chapters 5 and 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from forecastml.attribution import LEVEL, SEASON, TREND
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError
from forecastml.kernels import smoothing, smoothing_ahead
from forecastml.kernels.smoothing import ADDITIVE, STABLE
from forecastml.kernels.smoothing_fit import Flags
from forecastml.learners.chunks import Chunk
from forecastml.learners.components import Components
from forecastml.learners.smoothing_search import TYPICAL, Found, Request, search
from forecastml.learners.stand_in import normal_quantiles
from forecastml.learners.vectorised import Memory, Settings, VectorisedForecaster, VectorisedLearner
from forecastml.protocols import Capabilities, FitContext, Params

COMBINE = ("weight", "select")
#: Longest season whose start values are estimated; the cost grows with the square of their number.
LONGEST_ESTIMATED = 24
#: Longest season that gets all forms.
LONGEST_COMPLETE = 52
#: AICc that an undamped trend must make up for: the prior odds against it are e^2 at this temperature.
UNDAMPED_PENALTY = 16.0
#: Weights are exp(-AICc / (2 TEMPERATURE)): plain ones (1) trust a single form too much. This and the penalty were
#: chosen on folds inside the training rows of M3 monthly, M4 weekly, M4 hourly and Australian tourism.
TEMPERATURE = 4.0
#: Lighter forms are dropped.
LEAST_WEIGHT = 0.001
#: A form that forecasts further than this many times the largest value seen has exploded.
EXPLOSION = 100.0
#: A refit leaves out what was too far behind before, and counts it as nearer by this factor afterwards, so that it has
#: its chance again after some refits.
FORGETTING = 0.7
#: A refit starts its shares this far from the borders of their box, where a search would find it hard to get away.
INSIDE = 0.02
#: AICc behind the best of a form that was given up in a fit.
FAR_BEHIND = 50.0


@dataclass(frozen=True)
class CombinationSettings(Settings):
    """combine: one of `COMBINE`."""

    combine: str = COMBINE[0]

    @classmethod
    def of(cls, name: str, params: Params, context: FitContext) -> CombinationSettings:
        """Parameters checked, or `ConfigError`."""
        settings = super().of(name, params, context)
        if settings.combine not in COMBINE:
            raise ConfigError(f"{name}: combine is {settings.combine!r}; one of {', '.join(COMBINE)}")
        return settings


def degrees(form: str, season_length: int) -> int:
    """Numbers that a fit of this form estimates: k of the AICc."""
    trended, damped, seasonal = smoothing.has_trend(form), smoothing.is_damped(form), smoothing.is_seasonal(form)
    return 3 + 2 * trended + damped + season_length * seasonal


def least(form: str, season_length: int) -> int:
    """Known values that this form needs; simple smoothing takes any series."""
    if form == "ANN":
        return 1
    seasons = 2 * season_length + 2 if smoothing.is_seasonal(form) else 0
    return max(seasons, degrees(form, season_length) + 2)


def form_weights(criterion: np.ndarray, forms: tuple[str, ...], combine: str) -> np.ndarray:
    """AICc (series, forms), inf for a form that is out, -> weights that sum to 1, or 0 where all are out."""
    some = np.isfinite(criterion).any(axis=1, keepdims=True)
    behind = criterion - np.where(some, criterion.min(axis=1, keepdims=True), 0.0)
    if combine == "select":
        return ((np.arange(len(forms)) == np.argmin(behind, axis=1)[:, None]) & some).astype(np.float64)
    weights = np.exp(-behind / (2.0 * TEMPERATURE))
    for lowest in (0.0, LEAST_WEIGHT):
        weights = np.where(weights >= lowest, weights, 0.0)
        total = np.zeros(len(weights))
        for form in range(len(forms)):
            total += weights[:, form]
        weights = weights / np.where(total > 0, total, 1.0)[:, None]
    return weights


@dataclass(frozen=True, eq=False)
class Pairs:
    """Forms in use, on their series: one column each, those of a series side by side.

    season: kind of all; series, form: int64 (N,), places; has: what the forms have; parameters (4, N).
    """

    season: str
    series: np.ndarray
    form: np.ndarray
    has: Flags
    parameters: np.ndarray

    @property
    def recursion(self) -> str:
        """The form that holds all others of this kind of season as special cases."""
        return "AAd" + self.season

    def width(self, season_length: int) -> int:
        """Rows of a state."""
        return 2 + (season_length if self.season != "N" else 0)

    def parts(self, state: np.ndarray, steps: int) -> np.ndarray:
        """Level, trend and season of the next means from a state (2 + m, N): (3, steps, N), seasons that multiply as
        what they add."""
        level = np.repeat(state[0][None], steps, axis=0)
        line = smoothing.project("AAdN", self.parameters, state[:2], steps)
        return np.stack([level, line - level, smoothing.project(self.recursion, self.parameters, state, steps) - line])

    def quantiles(
        self, mean: np.ndarray, state: np.ndarray, variance: np.ndarray, levels: tuple[float, ...]
    ) -> np.ndarray:
        """Of forecasts mean (horizon, N) from a state (2 + m, N), with this variance of errors (N,): (levels,
        horizon, N)."""
        if not levels:
            return np.empty((0, *mean.shape))
        if self.season == "M":
            spread = np.sqrt(variance)
            return smoothing_ahead.simulated(self.has.relative, self.parameters, state, spread, len(mean), levels)
        variances = smoothing_ahead.variances(mean, self.has.relative, self.parameters, variance, len(state) - 2)
        return normal_quantiles(mean, np.sqrt(variances), levels)

    @classmethod
    def of(cls, forms: tuple[str, ...], used: np.ndarray, shares: np.ndarray) -> list[Pairs]:
        """Of forms that are used: bool (series, forms); shares (4, series, forms); one for each kind of season."""
        pairs = []
        for season in dict.fromkeys(form[-1] for form in forms):
            series, form = np.nonzero(used & np.array([f[-1] == season for f in forms]))
            if len(series):
                has = Flags.of([forms[f] for f in form])
                pairs.append(cls(season, series, form, has, has.parameters(shares[:, series, form])))
        return pairs


class SmoothingFamily(VectorisedLearner):
    """What learners of exponential smoothing share.

    Memory, one row per series: "weight" (forms), "odds" (forms * 4) of the shares of `kernels.smoothing_fit`,
    "variance" (forms) of errors or relative errors, "criterion", the best AICc; "behind" (forms), AICc behind it;
    "state" (rows) of the selected form, or (forms * rows) of all.

    forms_in_memory: their order there; behind: forms further behind the best, in AICc, have no say.
    """

    forms_in_memory: ClassVar[tuple[str, ...]]
    behind: ClassVar[float]

    def forms(self, settings: Settings) -> tuple[str, ...]:
        """The forms that are fitted."""
        raise NotImplementedError

    def handicap(self, form: str) -> float:
        """What this form has to make up for in the criterion."""
        return 0.0

    def rows(self, settings: Settings) -> int:
        """Rows of the longest state."""
        seasonal = any(map(smoothing.is_seasonal, self.forms(settings)))
        return 2 + settings.season_length * seasonal

    def fit_chunk(self, chunk: Chunk, settings: Settings, context: FitContext, previous: Memory | None) -> Memory:
        """The forms that a series is long enough for, by a search of their own each, then weights by AICc."""
        forms, penalty = self.forms_in_memory, self._penalty(chunk, settings)
        shares = None
        if previous is not None:
            shares = np.clip(shares_of(previous, forms), INSIDE, 1.0 - INSIDE)
            out = previous["behind"] > self.behind
            stuck = ~(np.isfinite(penalty) & ~out).any(axis=1, keepdims=True)
            penalty = np.where(out & ~stuck, np.inf, penalty)
        estimated = settings.season_length <= LONGEST_ESTIMATED
        request = Request(forms, penalty, settings.season_length, estimated, self.behind, context.deadline.check)
        found = search(request, chunk, shares)
        return self._memory(chunk, settings, context, found, previous)

    def _penalty(self, chunk: Chunk, settings: Settings) -> np.ndarray:
        """What the AICc adds to the likelihood: (series, forms), inf where a form is out."""
        known, penalty = chunk.known, np.full((len(chunk), len(self.forms_in_memory)), np.inf)
        for f, form in enumerate(self.forms_in_memory):
            if form not in self.forms(settings):
                continue
            k = degrees(form, settings.season_length)
            allowed = known >= least(form, settings.season_length)
            if smoothing.has_relative_errors(form) or smoothing.is_multiplicative(form):
                allowed &= chunk.low > 0
            correction = 2 * k * (k + 1) / np.maximum(known - k - 1, 1)
            penalty[:, f] = np.where(allowed, 2 * k + correction + self.handicap(form), np.inf)
        return penalty

    def _memory(
        self, chunk: Chunk, settings: Settings, context: FitContext, found: Found, previous: Memory | None
    ) -> Memory:
        """Weights of the forms that are sound, and where they stand after the last value."""
        forms, m = self.forms_in_memory, settings.season_length
        counts = np.array([degrees(form, m) - 1 for form in forms])
        n, criterion = len(chunk), found.criterion.copy()
        states, variance = np.zeros((n, len(forms), self.rows(settings))), np.zeros((n, len(forms)))
        for pairs in Pairs.of(forms, np.isfinite(criterion), found.shares):
            place, series = (pairs.series, pairs.form), pairs.series
            state = found.start[: pairs.width(m), *place][:, None].copy()
            values, lengths = chunk.values[:, series], chunk.lengths[series]
            sums = smoothing.run(pairs.recursion, values, lengths, pairs.parameters[:, None], state, "AM")
            states[*place, : len(state)] = state[:, 0].T
            squares = np.where(pairs.has.relative, sums.relative[0], sums.squares[0])
            variance[place] = squares / np.maximum(chunk.known[series] - counts[pairs.form], 1)
            reach = np.abs(smoothing.project(pairs.recursion, pairs.parameters, state[:, 0], context.horizon))
            sound = (reach <= EXPLOSION).all(axis=0) | (pairs.form == forms.index("ANN"))
            criterion[place] = np.where(sound, criterion[place], np.inf)
        weight = form_weights(criterion, forms, self.combine(settings))
        behind = criterion - criterion.min(axis=1, keepdims=True)
        if previous is not None:
            known = np.where(np.isfinite(found.criterion), self.behind, previous["behind"])
            behind = np.where(np.isfinite(behind), behind, known * FORGETTING)
        shares = np.where(np.isfinite(found.criterion), found.shares, np.array(TYPICAL)[:, None, None])
        states[weight == 0] = 0.0
        return {
            "weight": weight,
            "odds": (shares / (1.0 - shares)).transpose(1, 2, 0).reshape(n, -1),
            "variance": np.where(weight > 0, variance, 0.0),
            "criterion": criterion.min(axis=1),
            "behind": np.where(np.isfinite(behind), behind, FAR_BEHIND),
            "state": self._packed(states, weight),
        }

    def project(
        self, memory: Memory, settings: Settings, steps: int, levels: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The weighted means and quantiles of the forms; of quantiles it is their average, not those of a mixture.

        (Lichtendahl, Grushka-Cockayne and Winkler 2013, "Is it better to average probabilities or quantiles?")
        """
        weight = memory["weight"]
        total, share = np.zeros((1 + len(levels), steps, len(weight))), np.zeros((steps, len(weight)))
        for pairs in self._pairs(memory):
            state = self._state(memory, settings, pairs)
            mean = smoothing.project(pairs.recursion, pairs.parameters, state, steps)
            variance = memory["variance"][pairs.series, pairs.form]
            outputs = np.concatenate([mean[None], pairs.quantiles(mean, state, variance, levels)])
            sound = np.isfinite(mean)
            for form in np.unique(pairs.form):
                at = pairs.form == form
                series = pairs.series[at]
                part = weight[series, form] * sound[:, at]
                share[:, series] += part
                total[:, :, series] += np.where(sound[:, at], outputs[:, :, at], 0.0) * part
        # Where all forms fail in the fit the frame puts simple smoothing in their place; later only their values fail.
        nothing = np.where((weight > 0).any(axis=1), memory["level"], np.nan)
        total = np.where(share > 0, total / share, nothing)
        return total[0], total[1:]

    def components(self, memory: Memory, settings: Settings, steps: int, schema: Schema) -> Components:
        """Level, trend and season, each the weighted mean of the forms."""
        weight = memory["weight"]
        total, share = np.zeros((3, steps, len(weight))), np.zeros((steps, len(weight)))
        for pairs in self._pairs(memory):
            parts = pairs.parts(self._state(memory, settings, pairs), steps)
            sound = np.isfinite(parts[0] + parts[1] + parts[2])
            for form in np.unique(pairs.form):
                at = pairs.form == form
                series = pairs.series[at]
                part = weight[series, form] * sound[:, at]
                share[:, series] += part
                total[:, :, series] += np.where(sound[:, at], parts[:, :, at], 0.0) * part
        # A sum of nothing is no number, and the level alone then.
        total = total / np.where(share > 0, share, np.nan)
        return dict(zip((LEVEL, TREND, SEASON), total, strict=True))

    def advance(self, memory: Memory, settings: Settings, values: np.ndarray, lengths: np.ndarray) -> Memory:
        """The states of the forms in use after new values."""
        moved = self._unpacked(memory, settings).copy()
        for pairs in self._pairs(memory):
            state = self._state(memory, settings, pairs)[:, None].copy()
            new = values[:, pairs.series]
            smoothing.roll(pairs.recursion, new, lengths[pairs.series], pairs.parameters[:, None], state)
            moved[pairs.series, self._slot(moved, pairs), : len(state)] = state[:, 0].T
        return {"state": moved.reshape(len(moved), -1)}

    def combine(self, settings: Settings) -> str:
        """One of `COMBINE`."""
        return "select"

    def _packed(self, states: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """What is kept of states (series, forms, rows): that of the best form."""
        return states[np.arange(len(states)), weight.argmax(axis=1)]

    def _unpacked(self, memory: Memory, settings: Settings) -> np.ndarray:
        """States (series, slots, rows), one slot or one for every form."""
        state = memory["state"]
        return state.reshape(len(state), -1, self.rows(settings))

    @staticmethod
    def _slot(states: np.ndarray, pairs: Pairs) -> np.ndarray:
        return pairs.form if states.shape[1] > 1 else np.zeros_like(pairs.form)

    def _state(self, memory: Memory, settings: Settings, pairs: Pairs) -> np.ndarray:
        """States of pairs: (2 + m, N)."""
        states = self._unpacked(memory, settings)
        width = pairs.width(settings.season_length)
        return np.ascontiguousarray(states[pairs.series, self._slot(states, pairs), :width].T)

    def _pairs(self, memory: Memory) -> list[Pairs]:
        return Pairs.of(self.forms_in_memory, memory["weight"] > 0, shares_of(memory, self.forms_in_memory))


def shares_of(memory: Memory, forms: tuple[str, ...]) -> np.ndarray:
    """Shares (4, series, forms) of the odds in a memory."""
    odds = memory["odds"].reshape(-1, len(forms), 4).transpose(2, 0, 1)
    return odds / (1.0 + odds)


def complete(forms: tuple[str, ...], lean: tuple[str, ...], season_length: int) -> tuple[str, ...]:
    """The forms that a season allows: those without one, all, or beyond `LONGEST_COMPLETE` the lean ones."""
    if season_length > LONGEST_COMPLETE:
        return lean
    return tuple(form for form in forms if season_length > 1 or not smoothing.is_seasonal(form))


class ExponentialSmoothing(SmoothingFamily):
    """Simple, Holt and Holt-Winters smoothing, damped too: forms with additive errors, weighted by AICc.

    Parameters: combine, "weight" (default) or "select" the best; season_length, default the first season of the
    context. Gaps are steps with error 0. A series too short for every other form gets simple smoothing. (Hyndman et
    al. 2008; weights as in Kolassa 2011, "Combining exponential smoothing forecasts using Akaike weights".)
    """

    name = "exponential_smoothing"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.02)
    settings_type = CombinationSettings
    forms_in_memory = ADDITIVE
    #: At such a distance a weight is 2 % of the best one's.
    behind = 30.0

    def forms(self, settings: Settings) -> tuple[str, ...]:
        """Without a season the first three, and beyond `LONGEST_COMPLETE` few."""
        return complete(ADDITIVE, ("ANN", "AAdN", "ANA", "AAdA"), settings.season_length)

    def handicap(self, form: str) -> float:
        """`UNDAMPED_PENALTY`."""
        return UNDAMPED_PENALTY * (smoothing.has_trend(form) and not smoothing.is_damped(form))

    def combine(self, settings: CombinationSettings) -> str:
        """As set."""
        return settings.combine

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> VectorisedForecaster:
        """The inverse of `VectorisedForecaster.state`; also of what earlier versions wrote, without quantiles."""
        if "settings" not in values:
            n = len(arrays["origin"])
            level = arrays["state"].reshape(n, len(ADDITIVE), -1)[:, 0, 0]
            unbounded = {"low": np.full(n, -np.inf), "high": np.full(n, np.inf), "level": level}
            zeros = {name: np.zeros(n) for name in ("rows", "error", "errors", "replaced", "criterion")}
            blank = {"variance": np.full((n, len(ADDITIVE)), np.nan), "behind": np.zeros((n, len(ADDITIVE)))}
            arrays = {**arrays, **unbounded, **zeros, **blank}
            settings = {name: values[name] for name in ("combine", "season_length")}
            values = {"reasons": values["reasons"], "settings": settings}
        return super().restore(arrays, values)

    def _packed(self, states: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return states.reshape(len(states), -1)


class AutoETS(SmoothingFamily):
    """Error, trend and season chosen per series by AICc among the 15 stable forms, with the intervals of the form.

    Parameters: season_length, default the first season of the context. Multiplicative forms only for series that are
    positive throughout. Intervals: exact variances and normal quantiles, simulated for multiplicative seasons.
    (Hyndman, Koehler, Ord and Snyder 2008, "Forecasting with Exponential Smoothing".)
    """

    name = "auto_ets"
    capabilities = Capabilities(missing=True, quantiles=True, cost=0.03)
    forms_in_memory = STABLE
    #: What a form may still win after the trial rounds; measured, see benchmarks/ets.py.
    behind = 10.0

    def forms(self, settings: Settings) -> tuple[str, ...]:
        """Without a season the first three of either error, and beyond `LONGEST_COMPLETE` few."""
        lean = ("ANN", "AAdN", "ANA", "AAdA", "MNN", "MAdN", "MNA", "MAdA", "MNM", "MAdM")
        return complete(STABLE, lean, settings.season_length)
