"""`Forecaster`: the model of series. It forecasts, moves its origin, and can be cut and joined."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from forecastml.cold_start import with_strangers
from forecastml.data.extension import extend, extend_by_values, newer
from forecastml.data.panel import Panel, panel_state, restored_panel
from forecastml.data.wall_clock import ordinals_ahead, points_ahead
from forecastml.errors import ForecastWarning
from forecastml.future_covariates import at_origin, known_ahead, lacking_in
from forecastml.inputs import checked_horizon, newer_rows, positions, tell_beyond, with_future
from forecastml.model import (
    FittedModel,
    Member,
    check_alike,
    check_distinct,
    checked_groups,
    stacked_losses,
    stacked_members,
    taken_losses,
)
from forecastml.option_checks import checked_levels
from forecastml.rolling import Origins, Rolled, with_known
from forecastml.scoring import cutoff_texts, model_metrics, score_columns
from forecastml.search.intervals import Conformal, Pool
from forecastml.search.log import merged
from forecastml.status import Groups, Service, service_of, status_columns
from forecastml.task import Forecasting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Values of history that are kept beyond what the members look back on, to look at and to go on from.
KEPT_SEASONS, KEPT_HORIZONS = 2, 4


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Forecaster(FittedModel):
    """A trained ensemble for a panel of series; frozen: every method returns something new.

    panel: the tail of each series' history that members look back on; seasons: season lengths; conformal: intervals;
    lower: float64 (series,), bound of forecasts; judged: bool (series,), took part in a fold; cold: float64 (series,),
    the forecast of a series without a single value (the mean of the others); scales: denominators of scaled metrics
    by name, float64 (series,), from all of the training history (none in models of format 1); skipped: object (series,
    key columns), keys of series left out because they ended long ago.
    """

    task: Forecasting
    panel: Panel
    seasons: tuple[int, ...]
    conformal: Conformal
    lower: np.ndarray
    judged: np.ndarray
    cold: np.ndarray
    scales: Mapping[str, np.ndarray] = field(default_factory=dict)
    skipped: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=object))

    def forecast(
        self,
        future: Any = None,
        context: Any = None,
        horizon: int | None = None,
        quantiles: Sequence[float] | None = None,
        series: Any = None,
        missing_future: str | None = None,
    ) -> pd.DataFrame:
        """Forecast every series from its origin on.

        future: table with the known covariates of the periods to forecast (its target, if any, is ignored); context:
        rows after the training end, which move the origin without refitting; horizon: steps, None: as many as
        `future` covers or as trained; more than trained are forecast in blocks, each going on from the one before,
        and their intervals are the last step's, widened; quantiles: levels, None: those of the task; series: a key or
        a list of keys to forecast these series alone, in this order (a key is text, a tuple of texts for several key
        columns), None: all; missing_future: what stands in for known covariates that `future` lacks, as in
        `Forecasting`, None: as the task says.
        Returns the series columns, the time column, "mean" and a column per level. Pooled members serve series new in
        the tables, with a `ForecastWarning`. Raises `FutureError` for rows that do not continue the history or lack
        known covariates, `ConfigError` for an unknown key.
        """
        from forecastml.data.frames import forecast_frame

        levels = self.task.quantiles if quantiles is None else checked_levels(quantiles)
        model, panel, steps, horizon = asked(self, future, context, horizon, series, missing_future)
        values = grid_values(model, panel, steps, levels).reshape(-1, 1 + len(levels))
        ordinals, outputs = ordinals_ahead(panel, steps, self.task.gap), ("mean", *map(str, levels))
        return forecast_frame(panel, ordinals, values, outputs, horizon)

    def roll(
        self,
        rows: Any,
        step: int = 1,
        horizon: int | None = None,
        quantiles: Sequence[float] | None = None,
        folds: int | None = None,
        overlap: bool = False,
    ) -> pd.DataFrame:
        """Rolling forecasts over newer rows: the origin moves `step` periods at a time, nothing is refitted.

        rows: table after the training end, with target and known covariates; each origin sees the actual values up to
        it and none after. horizon: steps from each origin, None: as trained; windows end with the last known target
        of a series; folds: most origins, None: as many as there are; overlap: rows up to the training end may be among
        them and are left out. Members that cannot move are left out after the first origin.
        Returns the series columns, `cutoff` (the last known period), the time column, the target column (NaN where
        missing), "mean" and a column per level. Raises `FutureError` for rows that do not continue the history or
        have no target, `ConfigError` unless 1 <= step <= horizon.
        """
        levels = self.task.quantiles if quantiles is None else checked_levels(quantiles)
        steps = checked_horizon(self.task.horizon if horizon is None else horizon)
        tell_beyond(self.task, steps, 3)
        return self._rolled(rows, step, steps, levels, (folds, overlap)).frame()

    def score(
        self,
        rows: Any,
        metrics: Sequence[str] | str | None = None,
        step: int | None = None,
        folds: int | None = None,
        overlap: bool = False,
    ) -> pd.DataFrame:
        """How good rolling forecasts over newer rows are: a long table with a row per set and metric.

        rows, folds, overlap: as for `roll`; metrics: names, None: all there are; step: periods between origins, None:
        the horizon. Columns: set ("all", "cutoff" or "series"), cutoff, series columns ("" where a row is not about
        one), metric, score (as users know it, over all rows of the set), rows (values compared). The scales of MASE
        and its like are those of the training history. "owa" needs Naive2 at each cutoff: see `backtest`.
        """
        from forecastml.data.frames import to_frame

        chosen = model_metrics(metrics, self.task.name, self.scales)
        horizon = self.task.horizon
        rolled = self._rolled(rows, step or horizon, horizon, self.task.quantiles, (folds, overlap))
        return to_frame(score_columns(rolled, chosen))

    def status(self) -> pd.DataFrame:
        """How each series is served: series columns, state, model_used, reason.

        state: "ok", "pooled" (too short for a fold: the weights are those of all series) or "fallback" (no member
        could serve it: seasonal naive, last value, or the mean of the others) or "skipped" (left out by the policy for
        series that ended long ago); model_used: members by weight.
        """
        from forecastml.data.frames import to_frame

        return to_frame(status_columns(self.panel, self._service(), self.judged, self.skipped))

    @property
    def pool(self) -> Pool:
        """The residuals that series share."""
        return self.conformal.pool

    @property
    def cold_start(self) -> float:
        """The forecast of a series without values: the mean of the others."""
        return float(next(iter(self.cold), 0.0))

    def plot(
        self, forecast: Any = None, series: Any = None, history: Any = None, actual: Any = None, limit: int = 6
    ) -> Figure:
        """A figure with history, forecast and intervals of some series: `model.plot().savefig("plot.png")`.

        forecast: from `forecast` (None: made now); series: keys to show (None: `limit` of them); history: a longer one
        than the model keeps; actual: rows that came true. See `forecastml.plot.plot_forecast`. Raises `MissingExtra`
        without matplotlib.
        """
        from forecastml.plot import plot_forecast

        made = self.forecast(series=series) if forecast is None else forecast
        return plot_forecast(self.panel if history is None else history, made, self.panel.schema, series, limit, actual)

    def append(self, context: Any, overlap: bool = False) -> Forecaster:
        """The model with its origin moved over newer rows; parameters, weights and intervals stay.

        Members that cannot move are left out, the others' weights renormalised. Raises `FutureError` for older rows;
        overlap: these are left out instead.
        """
        return self._appended(context, self.panel, overlap)

    def take(self, groups: Sequence[int]) -> Forecaster:
        """The model of these groups alone (positions), in this order; the leaderboard stays that of the run."""
        groups = checked_groups(groups, self.panel.n_groups)
        index = np.concatenate([np.flatnonzero(self.panel.group == g) for g in groups] or [groups])
        return replace(self._of_groups(index, groups), panel=self.panel.take(groups).compact())

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
            group_losses=stacked_losses(models),
            fallback=self.fallback.stack([model.fallback for model in others]),
            conformal=Conformal.stack([model.conformal for model in models]),
            lower=np.concatenate([model.lower for model in models]),
            judged=np.concatenate([model.judged for model in models]),
            cold=np.concatenate([model.cold for model in models]),
            scales={
                name: np.concatenate([model.scales[name] for model in models])
                for name in self.scales
                if all(name in model.scales for model in others)
            },
            skipped=_keys([key for model in models for key in model.skipped.tolist()]),
            log=merged([model.log for model in models]),
            findings=tuple(finding for model in models for finding in model.findings),
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Panel, intervals and bounds as arrays and JSON values."""
        arrays, values = panel_state(self.panel)
        arrays |= {name: getattr(self, name) for name in ("lower", "judged", "cold")}
        pool = self.conformal.pool
        arrays |= {"scale": self.conformal.scale, "residuals": self.conformal.residuals, "pool.table": pool.table}
        arrays |= {"pool.profile": pool.profile, **{f"scales.{name}": scale for name, scale in self.scales.items()}}
        skipped = self.skipped.tolist()
        return arrays, {**values, "seasons": list(self.seasons), "ratio": pool.ratio, "skipped": skipped}

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
            scales={name.removeprefix("scales."): arrays[name] for name in arrays if name.startswith("scales.")},
            skipped=_keys(values.get("skipped", [])),
        )

    def _chosen(self, index: np.ndarray) -> Forecaster:
        """The model of these series (positions) alone, in this order; groups with none of them go."""
        _, first = np.unique(self.panel.group[index], return_index=True)
        groups = self.panel.group[index][np.sort(first)]
        return replace(self._of_groups(index, groups), panel=self.panel.select(index))

    def _of_groups(self, index: np.ndarray, groups: np.ndarray) -> Forecaster:
        """The model of the series at these positions, with the weights and losses of these groups."""
        losses = taken_losses(self.group_losses, groups)
        return replace(self._of_series(index), weights=self.weights[groups], group_losses=losses)

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
            scales={name: scale[index] for name, scale in self.scales.items()},
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

    def _appended(self, context: Any, whole: Panel, overlap: bool = False) -> Forecaster:
        """`append` of the rows that belong to this model's series; whole: the panel that it was chosen from."""
        rows = newer_rows(self.task, context, whole, self.panel, self.skipped, "context")
        panel = extend(self.panel, newer(self.panel, rows) if overlap else rows, "context")
        return trimmed(replace(self._moved(panel), panel=panel))

    def _uses_known(self) -> bool:
        return any("known" in member.capabilities.covariates for member in self.members)

    def _rolled(
        self, rows: Any, step: int, steps: int, levels: Sequence[float], part: tuple[int | None, bool]
    ) -> Rolled:
        """Forecasts of `steps` periods from the training end and from every `step` periods after it."""
        folds, overlap = part
        found = newer_rows(self.task, rows, self.panel, self.panel, self.skipped, "rows")
        panel = extend(self.panel, newer(self.panel, found) if overlap else found, "rows")
        gap, first, policy = self.task.gap, self.panel.lengths, self.task.missing_future
        if self._uses_known() and (lacking := lacking_in(panel, first, policy)):
            warnings.warn(lacking, ForecastWarning, stacklevel=3)
        origins = Origins(with_known(panel, gap + steps), first, steps, step, gap, folds)
        model, parts = self, []
        for k in range(len(origins)):
            context = origins.context(k)
            model = model._moved(context) if k else model
            ahead = at_origin(context, gap + steps, policy, self.seasons)
            parts.append(grid_values(model, ahead, steps, levels)[origins.compared(k)])
        return origins.rolled(parts, ("mean", *map(str, levels)), self.scales)

    def _combined(self, panel: Panel, steps: int) -> np.ndarray:
        last_resort = self.fallback.predict(panel, steps, ("mean",)).mean.reshape(len(panel), steps)
        last_resort = np.where(np.isnan(last_resort), self.cold[:, None], last_resort)
        return self._mixed(panel, steps, ("mean",), last_resort.reshape(-1, 1)).reshape(len(panel), steps)

    def _service(self) -> Service:
        return service_of(self.members, self.weights[self.panel.group])

    def _groups(self) -> Groups:
        panel = self.panel
        ends = np.full(panel.n_groups, np.iinfo(np.int64).min)
        np.maximum.at(ends, panel.group, panel.last_ordinal)
        told = {"until": cutoff_texts(panel, ends)}
        return Groups(panel.group_columns, panel.group_keys, panel.group, self._service(), told)


def _check_stackable(models: Sequence[Forecaster]) -> None:
    first = models[0]
    parts = {
        "categories": [dict(model.panel.categories) for model in models],
        "seasons": [model.seasons for model in models],
        "residual pool": [model.conformal.pool.equals(first.conformal.pool) for model in models],
    }
    check_alike(models, parts)
    check_distinct("series", [tuple(key) for model in models for key in model.panel.keys])


def asked(
    model: Forecaster, future: Any, context: Any, horizon: int | None, series: Any, missing_future: str | None = None
) -> tuple[Forecaster, Panel, int, int]:
    """The model of these series at its origin, all that is known ahead, grid points after the gap, steps shown."""
    task = model.task if missing_future is None else replace(model.task, missing_future=missing_future)
    every, context, future = with_strangers(model, task, context, future)
    model = every if series is None else every._chosen(positions(every.panel, series))
    if context is not None:
        model = model._appended(context, every.panel)
    panel, covered = with_future(task, future, every.panel, model.panel, model.skipped)
    horizon = checked_horizon(horizon if horizon is not None else covered or task.horizon)
    # Where clocks change within the horizon, the wall clock has one step more or less than time that passes.
    gap, points = task.gap, points_ahead(panel, horizon, task.gap)
    steps = int(points.max(initial=1))
    tell_beyond(task, min(horizon, steps), 4)
    if model._uses_known():
        panel = known_ahead(panel, gap + points, task.missing_future, model.seasons)
    return model, panel, steps, horizon


def blocks(model: Forecaster, panel: Panel, steps: int) -> Iterator[tuple[Forecaster, Panel, np.ndarray]]:
    """Point forecasts (series, steps) in blocks of the trained horizon, each with its model and panel."""
    while True:
        values = model._combined(panel, min(model.task.gap + model.task.horizon, steps))
        yield model, panel, values
        steps -= values.shape[1]
        if steps <= 0:
            return
        panel = extend_by_values(panel, values)
        model = model._moved(panel)


def grid_values(model: Forecaster, panel: Panel, steps: int, levels: Sequence[float]) -> np.ndarray:
    """Finished forecasts of the grid points after the gap: float64 (series, steps, 1 + levels)."""
    parts = [values for _, _, values in blocks(model, panel, model.task.gap + steps)]
    mean = np.concatenate(parts, axis=1)[:, model.task.gap :]
    values = np.concatenate([mean[:, :, None], model.conformal.quantiles(mean, levels)], axis=2)
    values = np.maximum(values, model.lower[:, None, None])
    return np.rint(values) if model.task.integer else values


def moved_over(model: Forecaster, index: np.ndarray, rows: Panel) -> Forecaster:
    """The model of the series at these positions, moved over those of the rows that are newer."""
    chosen = model._chosen(index)
    panel = extend(chosen.panel, newer(chosen.panel, rows), "rows")
    return replace(chosen._moved(panel), panel=panel)


def _keys(keys: Sequence[Sequence[str]]) -> np.ndarray:
    return np.array(keys, dtype=object).reshape(len(keys), len(keys[0]) if len(keys) else 0)


def trimmed(model: Forecaster) -> Forecaster:
    """The same model with no more history than its members look back on; forecasts keep every bit."""
    season = max(model.seasons, default=1)
    kept = (KEPT_SEASONS * season, KEPT_HORIZONS * model.task.horizon)
    lookback = max([getattr(m.fitted, "lookback", 1) for m in model.members] + [*kept])
    return replace(model, panel=model.panel.last(lookback).compact())
