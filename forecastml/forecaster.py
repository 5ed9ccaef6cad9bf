"""`Forecaster`: the model of series. It forecasts, moves its origin, and can be cut and joined."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from forecastml.data.extension import extend, extend_by_values, match, reaching, require_known, unknown_ahead
from forecastml.data.panel import Panel, panel_state, restored_panel
from forecastml.data.wall_clock import elapsed_steps, first_ahead, points_ahead
from forecastml.errors import ConfigError, ForecastWarning, FutureError
from forecastml.model import FittedModel, Member, check_alike, checked_groups, stacked_members
from forecastml.search.intervals import Conformal, Pool
from forecastml.search.log import merged
from forecastml.task import Forecasting, checked_levels

if TYPE_CHECKING:
    import pandas as pd

#: Values of history that are kept beyond what the members look back on, to look at and to go on from.
KEPT_SEASONS, KEPT_HORIZONS = 2, 4


@dataclass(frozen=True, eq=False, kw_only=True)
class Forecaster(FittedModel):
    """A trained ensemble for a panel of series; frozen: every method returns something new.

    panel: the tail of each series' history that members look back on; seasons: season lengths; conformal: intervals;
    lower: float64 (series,), bound of forecasts; judged: bool (series,), took part in a fold; cold: float64 (series,),
    the forecast of a series without a single value (the mean of the others).
    """

    task: Forecasting
    panel: Panel
    seasons: tuple[int, ...]
    conformal: Conformal
    lower: np.ndarray
    judged: np.ndarray
    cold: np.ndarray
    skipped: np.ndarray

    def forecast(
        self,
        future: Any = None,
        context: Any = None,
        horizon: int | None = None,
        quantiles: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Forecast every series from its origin on.

        future: table with the known covariates of the periods to forecast (its target, if any, is ignored); context:
        rows after the training end, which move the origin without refitting; horizon: steps, None: as many as
        `future` covers or as trained; more than trained are forecast in blocks, each going on from the one before,
        and their intervals are the last step's, widened; quantiles: levels, None: those of the task.
        Returns the series columns, the time column, "mean" and a column per level. Raises `FutureError` for rows that
        do not continue the history, unknown series, or missing known covariates.
        """
        from forecastml.data.frames import forecast_frame

        if context is not None:
            return self.append(context).forecast(future, None, horizon, quantiles)
        levels = self.task.quantiles if quantiles is None else checked_levels(quantiles)
        panel, covered = self._with_future(future)
        horizon = (covered or self.task.horizon) if horizon is None else horizon
        if isinstance(horizon, bool) or not isinstance(horizon, (int, np.integer)) or horizon < 1:
            raise ConfigError(f"horizon is {horizon!r}; give a whole number of 1 or more")
        gap = self.task.gap
        # Where clocks change within the horizon, the wall clock has one step more or less than time that passes.
        points = points_ahead(panel, horizon, gap)
        steps = int(points.max(initial=1))
        if (longest := min(horizon, steps)) > self.task.horizon:
            text = f"steps {self.task.horizon + 1} to {longest} lie beyond the trained horizon: forecast in blocks"
            warnings.warn(f"{text}, with the last step's intervals, widened", ForecastWarning, stacklevel=2)
        if any("known" in member.capabilities.covariates for member in self.members):
            require_known(panel, gap + points)
            panel = reaching(panel, gap + steps)
            if lacking := unknown_ahead(panel, gap + points):
                warnings.warn(f"{lacking}; give their values for better forecasts", ForecastWarning, stacklevel=2)
        mean = self._means(panel, gap + steps)[:, gap:]
        values = np.concatenate([mean[:, :, None], self.conformal.quantiles(mean, levels)], axis=2)
        values = np.maximum(values, self.lower[:, None, None])
        if self.task.integer:
            values = np.rint(values)
        ordinals = panel.last_ordinal[:, None] + (1 + gap + np.arange(steps)) * panel.frequency.step
        outputs = ("mean", *(str(level) for level in levels))
        return forecast_frame(panel, ordinals.ravel(), values.reshape(-1, values.shape[2]), outputs, horizon)

    def status(self) -> pd.DataFrame:
        """How each series is served: series columns, state, model_used, reason.

        state: "ok", "pooled" (too short for a fold: the weights are those of all series) or "fallback" (no member
        could serve it: seasonal naive, last value, or the mean of the others); model_used: members by weight.
        """
        from forecastml.data.frames import to_frame

        served = np.stack([self._served(m) for m in range(len(self.members))] or [np.zeros(len(self.panel), bool)])
        weights = np.where(served.T, self.weights[self.panel.group], 0.0) if self.members else served.T * 0.0
        states = np.where(weights.sum(axis=1) > 0, np.where(self.judged, "ok", "pooled"), "fallback")
        reasons = {
            "ok": "",
            "pooled": "too short for a fold: weights of all series",
            "fallback": "no member could serve it",
        }
        keys = {column: self.panel.keys[:, k] for k, column in enumerate(self.panel.schema.series)}
        return to_frame(
            {
                **keys,
                "state": list(states),
                "model_used": [self._mixture(row) for row in weights],
                "reason": [reasons[state] for state in states],
            }
        )

    @property
    def pool(self) -> Pool:
        """The residuals that series share."""
        return self.conformal.pool

    def append(self, context: Any) -> Forecaster:
        """The model with its origin moved over newer rows; parameters, weights and intervals stay.

        Members that cannot move are left out, the others' weights renormalised. Raises `FutureError` for older rows.
        """
        rows = self.task.read(context, like=self.panel).data
        if not rows.lengths.any():
            raise FutureError(
                f"context: there is no value in column {self.task.target!r}; give the newer target values"
            )
        panel = extend(self.panel, rows, "context")
        return replace(self._moved(panel), panel=panel).trimmed()

    def take(self, groups: Sequence[int]) -> Forecaster:
        """The model of these groups alone (positions), in this order; the leaderboard stays that of the run."""
        groups = checked_groups(groups, self.panel.n_groups)
        index = np.concatenate([np.flatnonzero(self.panel.group == g) for g in groups] or [groups])
        return replace(self._of_series(index), panel=self.panel.take(groups).compact(), weights=self.weights[groups])

    def stack(self, others: Sequence[Forecaster]) -> Forecaster:
        """This model and others in one; groups stay apart, leaderboards are averaged by series.

        Raises `ConfigError` unless all have the same task, categories, seasons and residual pool, as models under one
        prior and parts of one model have, and no series twice.
        """
        models = [self, *others]
        _check_stackable(models)
        members, weights = stacked_members(models, [len(model.panel) for model in models])
        return replace(
            self,
            panel=Panel.stack([model.panel for model in models]),
            members=members,
            weights=weights,
            fallback=self.fallback.stack([model.fallback for model in others]),
            conformal=Conformal.stack([model.conformal for model in models]),
            lower=np.concatenate([model.lower for model in models]),
            judged=np.concatenate([model.judged for model in models]),
            cold=np.concatenate([model.cold for model in models]),
            log=merged([model.log for model in models]),
            findings=tuple(finding for model in models for finding in model.findings),
        )

    def trimmed(self) -> Forecaster:
        """The same model with no more history than its members look back on; forecasts keep every bit."""
        season = max(self.seasons, default=1)
        kept = (KEPT_SEASONS * season, KEPT_HORIZONS * self.task.horizon)
        lookback = max([getattr(m.fitted, "lookback", 1) for m in self.members] + [*kept])
        return replace(self, panel=self.panel.last(lookback).compact())

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Panel, intervals and bounds as arrays and JSON values."""
        arrays, values = panel_state(self.panel)
        arrays |= {name: getattr(self, name) for name in ("lower", "judged", "cold")}
        pool = self.conformal.pool
        arrays |= {"scale": self.conformal.scale, "residuals": self.conformal.residuals}
        arrays |= {"pool.profile": pool.profile, "pool.table": pool.table}
        return arrays, {**values, "seasons": list(self.seasons), "ratio": pool.ratio}

    @classmethod
    def restore(
        cls, core: Mapping[str, Any], arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> Forecaster:
        """The inverse of `state`."""
        pool = Pool(arrays["pool.profile"], float(values["ratio"]), arrays["pool.table"])
        return cls(
            **core,
            panel=restored_panel(arrays, values),
            seasons=tuple(values["seasons"]),
            conformal=Conformal(pool, arrays["scale"], arrays["residuals"]),
            **{name: arrays[name] for name in ("lower", "judged", "cold")},
        )

    def _of_series(self, index: np.ndarray) -> Forecaster:
        """The model of the series at these positions; weights stay those of all groups."""
        where = np.full(len(self.panel), -1, np.int64)
        where[index] = np.arange(len(index))
        members = []
        for member in self.members:
            wanted = np.flatnonzero(where[member.items] >= 0)
            wanted = wanted[np.argsort(where[member.items[wanted]], kind="stable")]
            members.append(Member(member.candidate, member.fitted.take(wanted), where[member.items[wanted]]))
        return replace(
            self,
            members=tuple(members),
            fallback=self.fallback.take(index),
            conformal=self.conformal.take(index),
            lower=self.lower[index],
            judged=self.judged[index],
            cold=self.cold[index],
        )

    def _moved(self, panel: Panel) -> Forecaster:
        """Members and fallback with their origin at the end of `panel`; members that cannot move are left out."""
        movable = [m for m, member in enumerate(self.members) if member.capabilities.append]
        members = []
        for member in (self.members[m] for m in movable):
            part = panel if len(member.items) == len(panel) else panel.select(member.items)
            members.append(replace(member, fitted=member.fitted.append(part)))
        weights = self.weights[:, movable]
        return replace(self, members=tuple(members), weights=weights, fallback=self.fallback.append(panel))

    def _with_future(self, future: Any) -> tuple[Panel, int]:
        """The panel with known covariates of `future`, and how many steps after the gap `future` covers."""
        if future is None:
            return self.panel, 0
        rows = self.task.read(future, like=self.panel).data
        # A target among the future rows is what will be compared with the forecast: it must not be looked at.
        rows = replace(rows, end=rows.begin)
        _refuse_hole(self.panel, rows, 0 if self.task.known else self.task.gap)
        panel = extend(self.panel, rows, "future")
        ahead = panel.known_end - panel.known_begin - panel.lengths - self.task.gap
        return panel, int(elapsed_steps(panel, ahead, self.task.gap).max(initial=0))

    def _means(self, panel: Panel, steps: int) -> np.ndarray:
        """Point forecasts (series, steps), in blocks of the trained horizon."""
        block = self.task.gap + self.task.horizon
        model, parts, done = self, [], 0
        while True:
            size = min(block, steps - done)
            values = model._combined(panel, size)
            parts.append(values)
            done += size
            if done >= steps:
                return np.concatenate(parts, axis=1)
            panel = extend_by_values(panel, values)
            model = model._moved(panel)

    def _combined(self, panel: Panel, steps: int) -> np.ndarray:
        last_resort = self.fallback.predict(panel, steps, ("mean",)).mean.reshape(len(panel), steps)
        last_resort = np.where(np.isnan(last_resort), self.cold[:, None], last_resort)
        return self._mixed(panel, steps, ("mean",), last_resort.reshape(-1, 1)).reshape(len(panel), steps)

    def _served(self, m: int) -> np.ndarray:
        member = self.members[m]
        served = np.zeros(len(self.panel), bool)
        served[member.items] = [status == "ok" for status in member.fitted.status]
        return served

    def _mixture(self, weights: np.ndarray) -> str:
        if not weights.sum() > 0:
            return "fallback"
        order = np.argsort(-weights, kind="stable")
        shares = weights / weights.sum()
        return " + ".join(f"{shares[m]:.2f} {self.members[m].candidate.name}" for m in order if shares[m] > 0)


def _check_stackable(models: Sequence[Forecaster]) -> None:
    first = models[0]
    parts = {
        "categories": [dict(model.panel.categories) for model in models],
        "seasons": [model.seasons for model in models],
        "residual pool": [model.conformal.pool.equals(first.conformal.pool) for model in models],
    }
    check_alike(models, parts)
    keys = [tuple(key) for model in models for key in model.panel.keys]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"series {', '.join(twice)} is in more than one of the models to stack")


def _refuse_hole(panel: Panel, rows: Panel, gap: int) -> None:
    """Raise `FutureError` when future rows start later than `gap` periods after the one that follows the origin."""
    position = match(panel, rows, "future")
    there = np.flatnonzero(position >= 0)
    late = rows.start[position[there]] > first_ahead(panel, gap)[there]
    if late.any():
        i = there[np.flatnonzero(late)[0]]
        steps = int((rows.start[position[i]] - panel.last_ordinal[i]) // panel.frequency.step) - 1
        raise FutureError(
            f"future: {int(late.sum())} series start after a hole; {panel.label(i)} lacks the {steps} periods between "
            "the model's last row and the first future one: give them as context"
        )
