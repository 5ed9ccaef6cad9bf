"""From weighted trials to a finished model: what differs between series and rows, in one place each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from forecastml.calibration import calibrate, coverage, with_quantiles
from forecastml.data.panel import Panel
from forecastml.forecaster import Forecaster, trimmed
from forecastml.metrics import scales
from forecastml.model import FittedModel, Member
from forecastml.predictor import Predictor
from forecastml.problem import Problem
from forecastml.protocols import FitContext, Fitted, Truth
from forecastml.search.evaluate import predict_guarded
from forecastml.search.log import LogRow


@dataclass(frozen=True, eq=False)
class Parts:
    """What any model is made of: members, weights (groups, members), the leaderboard, the ensemble's honest out-of-fold
    values (rows, outputs) with their truth, None when nothing could be judged, and losses by group, as in
    `FittedModel`."""

    members: tuple[Member, ...]
    weights: np.ndarray
    log: tuple[LogRow, ...]
    honest: np.ndarray | None = None
    truth: Truth | None = None
    group_losses: Mapping[str, np.ndarray] = field(default_factory=dict)


class Completion(Protocol):
    """outputs: of a finished prediction; nominal: share of values that its outermost interval should hold, NaN for
    none."""

    outputs: tuple[str, ...]
    nominal: float

    def complete(self, values: np.ndarray, truth: Truth) -> np.ndarray:
        """Out-of-fold values (rows, outputs of a candidate) -> (rows, outputs)."""
        ...

    def coverage(self, values: np.ndarray, truth: Truth) -> float:
        """Share of completed values inside the outermost interval, NaN for none."""
        ...

    def model(self, parts: Parts) -> FittedModel:
        """The finished model."""
        ...


def completion(problem: Problem) -> Completion:
    """What turns the trials of this problem into a model."""
    return OfSeries(problem) if isinstance(problem.data, Panel) else OfRows(problem)


@dataclass(frozen=True, eq=False)
class OfSeries:
    """Quantiles from the residuals of the ensemble, bounds, and the tail of history that members look back on."""

    problem: Problem

    @property
    def outputs(self) -> tuple[str, ...]:
        """ "mean" and the quantile levels."""
        return self.problem.task.outputs

    @property
    def nominal(self) -> float:
        """Level of the outermost interval."""
        levels = self.problem.task.quantiles
        return levels[-1] - levels[0]

    def complete(self, values: np.ndarray, truth: Truth) -> np.ndarray:
        """Point forecasts with their quantiles."""
        return with_quantiles(self.problem, values[:, 0], truth)

    def coverage(self, values: np.ndarray, truth: Truth) -> float:
        """Share of values inside the outermost interval."""
        return coverage(values, truth)

    def model(self, parts: Parts) -> Forecaster:
        """Members with their weights, a fallback for series that none of them can serve, intervals."""
        problem = self.problem
        panel: Panel = problem.data
        fallback = _fallback(problem)
        first, _ = predict_guarded(fallback, panel, 1, ("mean",))
        cold = float(np.nanmean(first)) if not np.isnan(first).all() else 0.0
        cold = problem.prior.cold if problem.prior else cold
        judged = np.zeros(len(panel), bool)
        for fold in problem.cut.folds:
            judged[fold.items] = True
        mean = None if parts.honest is None else parts.honest[:, 0]
        whole = Forecaster(
            task=problem.task,
            panel=panel,
            seasons=problem.cut.seasons,
            members=tuple(_that_answers(member, panel, problem) for member in parts.members),
            weights=parts.weights,
            group_losses=parts.group_losses,
            fallback=fallback,
            conformal=calibrate(problem, mean, parts.truth),
            lower=problem.task.lower_bounds(panel),
            judged=judged,
            log=parts.log,
            cold=np.full(len(panel), cold),
            skipped=problem.reading.skipped,
            scales=scales(panel, panel, problem.season_length),
            findings=problem.reading.findings,
        )
        return trimmed(whole)


@dataclass(frozen=True, eq=False)
class OfRows:
    """Predictions are finished as they are."""

    problem: Problem
    nominal: float = float("nan")

    @property
    def outputs(self) -> tuple[str, ...]:
        """ "mean", or the classes."""
        return self.problem.context.outputs

    def complete(self, values: np.ndarray, truth: Truth) -> np.ndarray:
        """The values as they are."""
        return values

    def coverage(self, values: np.ndarray, truth: Truth) -> float:
        """There is no interval."""
        return float("nan")

    def model(self, parts: Parts) -> Predictor:
        """Members with their weights, and the baseline for what none of them can predict."""
        problem = self.problem
        return Predictor(
            task=problem.task,
            like=problem.data.select(np.empty(0, np.int64)),
            members=parts.members,
            weights=parts.weights,
            group_losses=parts.group_losses,
            fallback=_fallback(problem),
            log=parts.log,
            findings=problem.reading.findings,
        )


def _that_answers(member: Member, panel: Panel, problem: Problem) -> Member:
    """The member for the series of which it has a forecast; that one may be fitted and yet have none shows here alone.

    Members that look at known covariates can only be asked when these are there.
    """
    if "known" in member.capabilities.covariates:
        return member
    part = panel if len(member.items) == len(panel) else panel.select(member.items)
    values, _ = predict_guarded(member.fitted, part, problem.context.horizon, ("mean",))
    silent = np.isnan(values.reshape(len(part), -1)).any(axis=1)
    refused = np.array([status != "ok" for status in member.fitted.status], dtype=bool)
    if not (silent & ~refused).any():
        return member
    kept = np.flatnonzero(~silent)
    return replace(member, fitted=member.fitted.take(kept), items=member.items[kept])


def _fallback(problem: Problem) -> Fitted:
    seasons = problem.context.seasons
    context = FitContext(problem.context.horizon, problem.context.gap, problem.context.outputs, seasons)
    return problem.last_resort(problem.data, context)
