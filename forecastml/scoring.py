"""Scores of rolling forecasts and backtests: by metric, over all rows, by cutoff and by series."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, ForecastWarning
from forecastml.metrics import get_metric, metric_names
from forecastml.protocols import Metric, Truth
from forecastml.rolling import CUTOFF, Rolled, refuse_names

#: Columns of a table of scores beside those of the series.
SET, METRIC, SCORE, ROWS = "set", "metric", "score", "rows"


def checked_metrics(names: Sequence[str] | str | None, task: str) -> tuple[Metric, ...]:
    """The metrics of these names, None: all that can judge this kind of task; `ConfigError` for others."""
    given = metric_names(task) if names is None else [names] if isinstance(names, str) else names
    metrics = tuple(get_metric(name) for name in given)
    for metric in metrics:
        if metric.name not in metric_names(task):
            raise ConfigError(f"metric {metric.name!r} cannot judge {task}; use one of {', '.join(metric_names(task))}")
    return metrics


def model_metrics(names: Sequence[str] | str | None, task: str, scales: Mapping[str, np.ndarray]) -> tuple[Metric, ...]:
    """Those of the metrics that a stored model can compute with the scales it has kept.

    With names None those that it cannot compute are left out, with a `ForecastWarning` where an older model lacks
    scales; asked for by name they are a `ConfigError`. Naive2, which "owa" needs, is never kept.
    """
    metrics = checked_metrics(names, task)
    lacking = {metric.name: needed_scales(metric) - set(scales) for metric in metrics}
    left = [name for name, missing in lacking.items() if missing - {"naive2"}]
    if names is not None and any(lacking.values()):
        name = next(name for name, missing in lacking.items() if missing)
        reason = "the model was saved without the scales of its history: train again"
        if name not in left:
            reason = "it needs the Naive2 forecast at each cutoff: use backtest"
        raise ConfigError(f"metric {name!r} cannot be computed here; {reason}, or leave the metric out")
    if left:
        text = f"metrics {', '.join(left)} are left out: the model was saved without the scales of its history"
        warnings.warn(f"{text}; train again for them", ForecastWarning, stacklevel=3)
    return tuple(metric for metric in metrics if not lacking[metric.name])


def needed_scales(metric: Metric) -> frozenset[str]:
    """The scales of a `Truth` that a metric reads; a metric of one's own that names none reads none."""
    return getattr(metric, "scales", frozenset())


def score_columns(rolled: Rolled, metrics: Sequence[Metric], scaled_by_fold: bool = False) -> dict[str, np.ndarray]:
    """The columns of a long table: set, cutoff, series columns, metric, score, rows.

    set: "all" (every row together), "cutoff" (the rows forecast from one) or "series" (those of one); what a row is
    not about is "". score: as users know it, over all rows of the set together: not a mean of the cutoffs. Scaled
    metrics are means over series, scaled_by_fold: over the folds of series, when each fold has scales of its own.
    rows: number of values compared.
    """
    panel, truth = rolled.panel, replace(rolled.truth, fold=np.zeros(len(rolled.truth), np.int64))
    refuse_names(panel.schema.series, (SET, CUTOFF, METRIC, SCORE, ROWS))
    cutoffs, by_cutoff = np.unique(rolled.cutoff, return_inverse=True)
    series, by_series = np.unique(truth.series, return_inverse=True)
    if scaled_by_fold:
        pairs = np.stack([rolled.truth.series, rolled.truth.fold])
        truth = replace(truth, series=np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1))
    blank = np.full((max(len(cutoffs), 1), len(panel.schema.series)), "", dtype=object)
    parts = [
        _of_set(rolled, replace(truth, group=np.zeros(len(truth), np.int64)), metrics, ("all", [""], blank[:1])),
        _of_set(rolled, replace(truth, group=by_cutoff), metrics, ("cutoff", cutoff_texts(panel, cutoffs), blank)),
        _of_set(rolled, replace(truth, group=by_series), metrics, ("series", [""] * len(series), panel.keys[series])),
    ]
    return joined(parts)


def joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The rows of several tables with the same columns in one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_set(
    rolled: Rolled, truth: Truth, metrics: Sequence[Metric], labels: tuple[str, Sequence[str], np.ndarray]
) -> dict[str, np.ndarray]:
    """The rows of one kind of set, whose members are the groups of `truth`; labels: kind, cutoffs, keys of each."""
    kind, cutoffs, keys = labels
    groups, each = len(keys), len(metrics)
    counts = np.bincount(truth.group, weights=(truth.weight > 0) & ~np.isnan(truth.y), minlength=groups)
    scores = [_scores(metric, rolled, truth, groups) for metric in metrics]
    return {
        SET: np.full(groups * each, kind, dtype=object),
        CUTOFF: np.repeat(np.array(cutoffs, dtype=object), each),
        **{name: np.repeat(keys[:, k], each) for k, name in enumerate(rolled.panel.schema.series)},
        METRIC: np.tile(np.array([metric.name for metric in metrics], dtype=object), groups),
        SCORE: np.stack(scores, axis=1).ravel() if scores else np.empty(0),
        ROWS: np.repeat(counts.astype(np.int64), each),
    }


def cutoff_texts(panel: Panel, cutoffs: np.ndarray) -> list[str]:
    """Cutoffs as text, in the time zone of the panel. cutoffs: int64, grid ordinals."""
    from forecastml.data.frames import forecast_frame

    each = panel.select(np.zeros(len(cutoffs), np.int64))
    times = forecast_frame(each, cutoffs, np.empty((len(cutoffs), 0)), ())[panel.schema.time]
    return times.astype(str).tolist()


def _scores(metric: Metric, rolled: Rolled, truth: Truth, groups: int) -> np.ndarray:
    """Score of each group, with its sign where the metric knows it: float64 (groups,)."""
    if hasattr(metric, "score"):
        return np.asarray(metric.score(rolled.values, rolled.outputs, truth, groups))
    losses = metric.loss(rolled.values, rolled.outputs, truth, groups)
    return np.array([metric.report(loss) for loss in losses])
