"""Series that a model has never seen: its pooled members serve them, for these learned across series."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from forecastml.data.extension import extend, newer
from forecastml.data.panel import Panel, ragged_rows
from forecastml.errors import ForecastWarning
from forecastml.inputs import read_rows
from forecastml.learners.registry import get_learner
from forecastml.metrics import scales
from forecastml.model import FittedModel, Member
from forecastml.protocols import FitContext, Fitted
from forecastml.search.intervals import Conformal, item_scale
from forecastml.task import Forecasting

#: A model of series: a `Forecaster`, which imports this module.
Model = TypeVar("Model", bound=FittedModel)


def with_strangers(
    model: Model, task: Forecasting, context: Any, future: Any
) -> tuple[Model, Panel | None, Panel | None]:
    """The model with the series of both tables that it has never seen, and the tables as they were read by `task`,
    without the rows that are now history of these series.

    Their history is what `context` has of them; a series without a value there takes the mean of the others, dated as
    theirs. What serves them is told by a `ForecastWarning`. A task with `unseen="error"` leaves the tables as they are.
    """
    read = [
        None if table is None else read_rows(task, table, model.panel, model.skipped) for table in (context, future)
    ]
    if task.unseen == "error" or not task.series:
        return model, *read
    known = {tuple(key) for key in model.panel.keys}
    strange = [np.array([tuple(k) not in known for k in (() if r is None else r.keys)], dtype=bool) for r in read]
    if not any(mask.any() for mask in strange):
        return model, *read
    rows = None if read[0] is None or strange[0].all() else read[0].select(~strange[0])
    whole = model.panel if rows is None else extend(model.panel, newer(model.panel, rows), "context")
    new = [None if panel is None else panel.select(mask) for panel, mask in zip(read, strange, strict=True)]
    history, told = _histories(_Typical.of(whole), *new)
    return _adopted(model, history, told), rows, read[1]


@dataclass(frozen=True, eq=False)
class _Typical:
    """What is said of a series without any history.

    mean: float64 (rows,), of all series at the same time; last: grid ordinal of its last row; distance: mean distance
    of the series from it, which is how wrong it is about one.
    """

    mean: np.ndarray
    last: int
    distance: float

    @classmethod
    def of(cls, panel: Panel) -> _Typical:
        step = panel.frequency.step
        last = int(panel.last_ordinal[panel.lengths > 0].max())
        rows = ragged_rows(panel.begin, panel.end)
        series = np.repeat(np.arange(len(panel)), panel.lengths)
        back = (last - panel.start[series]) // step - (rows - panel.begin[series])
        usable = ~np.isnan(panel.target[rows]) & ((last - panel.start[series]) % step == 0)
        back, values = back[usable], panel.target[rows][usable]
        total, count = np.bincount(back, values), np.bincount(back)
        mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        return cls(mean[::-1], last, float(np.abs(values - mean[back]).mean()))

    def as_history(self, stranger: Panel) -> Panel:
        """The stranger with the mean as its history."""
        size, zero = np.array([len(self.mean)]), np.zeros(1, np.int64)
        return replace(
            stranger.compact(),
            target=self.mean,
            begin=zero,
            end=size,
            start=np.array([self.last - (len(self.mean) - 1) * stranger.frequency.step]),
            weight=None if stranger.weight is None else np.ones(len(self.mean)),
            known=np.full((len(self.mean), len(stranger.schema.known)), np.nan),
            known_begin=zero,
            known_end=size,
            past=np.full((len(self.mean), len(stranger.schema.past)), np.nan),
        )


def _histories(typical: _Typical, context: Panel | None, future: Panel | None) -> tuple[Panel, np.ndarray]:
    """One series with values for each that is new in either panel; and the typical error of those that have none of
    their own, NaN for the others: float64 (series,)."""
    parts = [] if context is None else [context.select(context.lengths > 0)]
    seen = {tuple(key) for part in parts for key in part.keys}
    lacking = {}
    for panel in (context, future):
        for i, key in enumerate(() if panel is None else panel.keys):
            if tuple(key) not in seen and tuple(key) not in lacking:
                lacking[tuple(key)] = panel.select(np.array([i]))
    parts += [typical.as_history(panel) for panel in lacking.values()]
    history = Panel.stack([part for part in parts if len(part)])
    borrowed = np.arange(len(history)) >= len(history) - len(lacking)
    return history, np.where(borrowed, typical.distance, np.nan)


def _adopted(model: Model, history: Panel, errors: np.ndarray) -> Model:
    before, panel = len(model.panel), Panel.stack([model.panel, history])
    places = np.arange(before, len(panel))
    members, serving = [], []
    for m, member in enumerate(model.members):
        if member.capabilities.scope == "pooled" and member.capabilities.append and len(member.items):
            one = member.fitted.take(np.array([0]))
            fitted = member.fitted.stack([one.append(history)])
            member = Member(member.candidate, fitted, np.concatenate([member.items, places]))
            serving.append(m)
        members.append(member)
    names = (
        ", ".join(model.members[m].candidate.name for m in serving) or "the seasonal naive alone: no member is pooled"
    )
    few = "; ".join(history.label(i) for i in range(min(3, len(history)))) + ("; ..." if len(history) > 3 else "")
    text = f"{len(history)} series were not in the training data ({few}); their forecasts come from {names}"
    warnings.warn(text, ForecastWarning, stacklevel=5)
    found = {
        name: value for name, value in scales(history, history, (*model.seasons, 1)[0]).items() if name in model.scales
    }
    return replace(
        model,
        panel=panel,
        members=tuple(members),
        weights=np.vstack([model.weights, _weights(model, history, serving)]),
        group_losses={
            name: np.vstack([losses, np.full((history.n_groups, losses.shape[1]), np.nan)])
            for name, losses in model.group_losses.items()
        },
        fallback=model.fallback.stack([_fallback(model, history)]),
        conformal=_intervals(model, history, errors),
        lower=np.concatenate([model.lower, model.task.lower_bounds(history)]),
        judged=np.concatenate([model.judged, np.zeros(len(history), bool)]),
        cold=np.concatenate([model.cold, np.full(len(history), model.cold_start)]),
        scales={name: np.concatenate([scale, found[name]]) for name, scale in model.scales.items() if name in found},
    )


def _weights(model: Model, history: Panel, serving: list[int]) -> np.ndarray:
    """Weights of new groups: those of their group where it is known, else the mean of all, on pooled members alone."""
    place = {tuple(key): g for g, key in enumerate(model.panel.group_keys)}
    groups = [place.get(tuple(key), -1) for key in history.group_keys]
    every = np.vstack([model.weights, model.weights.mean(axis=0)])
    pooled = np.zeros(model.weights.shape[1], bool)
    pooled[serving] = True
    found = np.where(pooled, every[groups], 0.0)
    found[found.sum(axis=1) == 0] = pooled
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300)


def _fallback(model: Model, history: Panel) -> Fitted:
    last = model.task.fallback(model.seasons)
    context = FitContext(model.task.gap + model.task.horizon, model.task.gap, seasons=model.seasons)
    return get_learner(last.learner).fit(history.filled(), last.params, context)


def _intervals(model: Model, history: Panel, errors: np.ndarray) -> Conformal:
    """As for series that are too short for a fold; errors: (series,), typical ones that are known, NaN for others."""
    pool, (_, folds, steps) = model.conformal.pool, model.conformal.residuals.shape
    cube = np.full((len(history), folds, steps), np.nan, dtype=np.float32)
    scale = item_scale(cube, model.task.in_sample_scale(history, (*model.seasons, 1)[0]), pool.profile, pool.ratio)
    known = np.where(np.isnan(errors), scale, np.maximum(errors, scale))
    return Conformal.stack([model.conformal, Conformal(pool, known, cube)])
