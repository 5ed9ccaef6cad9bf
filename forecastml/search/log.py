"""`LogRow`: a trial as the leaderboard keeps it: plain values, no predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from forecastml.protocols import Metric, Truth
from forecastml.search.trial import OK, Trial

ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class LogRow:
    """One line of the leaderboard.

    name: of the candidate, or "ensemble"; scores: metric -> losses per fold (lower is better); seconds: all folds;
    weight: mean over groups; failures: number of items it could not serve; coverage: share of out-of-fold values
    inside the outermost interval, nominal: what it should be (both for the ensemble).
    """

    name: str
    state: str
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    weight: float = 0.0
    failures: int = 0
    items: int = 0
    coverage: float = float("nan")
    nominal: float = float("nan")

    def loss(self, metric: str) -> float:
        """Mean loss over folds, NaN when it was not scored."""
        losses = self.scores.get(metric, ())
        return float(np.mean(losses)) if len(losses) else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; None for a number that is not there."""
        values = {name: None if value != value else value for name, value in asdict(self).items()}
        scores = {name: [None if v != v else v for v in losses] for name, losses in self.scores.items()}
        return {**values, "scores": scores}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LogRow:
        """The inverse of `to_json`."""
        nan = float("nan")
        values = {name: nan if value is None else value for name, value in values.items()}
        scores = {name: tuple(nan if v is None else v for v in losses) for name, losses in values["scores"].items()}
        return cls(**{**values, "scores": scores})


def scored(
    values: np.ndarray, outputs: tuple[str, ...], truth: Truth, metrics: Sequence[Metric]
) -> list[dict[str, tuple[float, ...]]]:
    """Losses per fold by each metric, for each of several predictions: values (models, rows, outputs)."""
    losses = {metric.name: metric.by_fold(values, outputs, truth) for metric in metrics}
    return [{name: tuple(map(float, by_fold[i])) for name, by_fold in losses.items()} for i in range(len(values))]


def trial_row(trial: Trial, items: int) -> LogRow:
    """The row of a trial, without scores."""
    return LogRow(
        trial.candidate.name,
        trial.state,
        seconds=float(sum(trial.seconds)),
        error=trial.error or _first_failure(trial),
        failures=len(trial.failures),
        items=items,
    )


def _first_failure(trial: Trial) -> str:
    if trial.state != OK or not trial.failures:
        return ""
    item, reason = next(iter(trial.failures.items()))
    return f"{len(trial.failures)} items failed; first (number {item}): {reason}"


def merged(logs: Sequence[Sequence[LogRow]]) -> tuple[LogRow, ...]:
    """The logs of several runs as one: scores, weights and coverage averaged by number of items, seconds added."""
    names = dict.fromkeys(row.name for log in logs for row in log)
    return tuple(_merge([row for log in logs for row in log if row.name == name]) for name in names)


def _merge(rows: Sequence[LogRow]) -> LogRow:
    items = np.array([max(row.items, 1) for row in rows], dtype=float)

    def mean(values: Sequence[float]) -> float:
        values = np.asarray(values, dtype=float)
        there = ~np.isnan(values)
        return float(np.average(values[there], weights=items[there])) if there.any() else float("nan")

    scores = {
        name: (mean([row.loss(name) for row in rows]),) for name in dict.fromkeys(n for row in rows for n in row.scores)
    }
    if len(rows) == 1:
        scores = rows[0].scores
    return replace(
        rows[0],
        state=OK if any(row.state == OK for row in rows) else rows[0].state,
        scores=scores,
        seconds=sum(row.seconds for row in rows),
        error="; ".join(dict.fromkeys(row.error for row in rows if row.error)),
        weight=mean([row.weight for row in rows]),
        failures=sum(row.failures for row in rows),
        items=int(sum(row.items for row in rows)),
        coverage=mean([row.coverage for row in rows]),
    )
