"""How much each feature of a model matters, in three ways.

gain           what the learners that have features made of each in training, by weight
contribution   mean size of the contributions to forecasts
permutation    by how much the loss grows when a feature is shuffled among the rows that are predicted together
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from forecastml.attribution import Featured, Term, checked_kind
from forecastml.data.extension import extend, newer
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, DataError
from forecastml.explanation import contributions, is_small, row_contributions
from forecastml.featurization import engineered_terms, schema_of
from forecastml.forecaster import Forecaster, asked, blocks
from forecastml.inputs import newer_rows
from forecastml.model import FittedModel, Member
from forecastml.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd

#: What the three are called.
WAYS = ("gain", "contribution", "permutation")
#: A feature is shuffled so often, each time in another way.
REPEATS = 3
#: Origins in the kept history that are looked at, a fraction of the horizon apart: dates differ between them then.
ORIGINS = 4
#: Least probability that a logarithm is taken of.
LEAST = 1e-15


def best_way(model: FittedModel) -> str:
    """Gain where a member learned from features, else contribution."""
    return WAYS[0] if any(isinstance(member.fitted, Featured) for member in model.members) else WAYS[1]


def importance(model: FittedModel, kind: str, by: str, data: Any, seed: int) -> pd.DataFrame:
    """See `FittedModel.importance`."""
    from forecastml.data.frames import to_frame

    checked_kind(by)
    if kind not in WAYS:
        raise ConfigError(f"kind is {kind!r}; use one of {', '.join(WAYS)}")
    if kind == "gain":
        found = _gains(model, by)
    elif kind == "contribution":
        found = _contributed(model, by, data)
    else:
        found = shuffled_loss(model, by, data, seed)
    order = sorted(found, key=lambda name: (-found[name], name))
    whole = sum(max(value, 0.0) for value in found.values())
    shares = [max(found[name], 0.0) / whole if whole > 0 else 0.0 for name in order]
    return to_frame({"feature": order, "importance": [found[name] for name in order], "share": shares})


def _gains(model: FittedModel, by: str) -> dict[str, float]:
    """Shares of 1, by label."""
    schema, found = schema_of(model), dict[str, float]()
    told = [(m, member) for m, member in enumerate(model.members) if isinstance(member.fitted, Featured)]
    if not told:
        raise ConfigError(
            "no member of this model learned from features, so that there are no gains; ask for kind='contribution'"
        )
    weights = model.weights.mean(axis=0)
    for m, member in told:
        gains = member.fitted.gains(schema)
        whole = sum(gains.values())
        for term, gain in gains.items():
            label = term.label(by, schema.target)
            found[label] = found.get(label, 0.0) + (weights[m] * gain / whole if whole > 0 else 0.0)
    total = sum(found.values())
    return {label: gain / total if total > 0 else 0.0 for label, gain in found.items()}


def _contributed(model: FittedModel, by: str, data: Any) -> dict[str, float]:
    """Mean absolute contribution, by label; data: future rows, or rows to predict."""
    if isinstance(model, Forecaster):
        there, panel, steps, _ = asked(model, data, None, None, None)
        parts = contributions(there, panel, steps, is_small(model))
    else:
        rows = _rows(model, data)
        values = model.values(rows)
        chosen = np.argmax(values, axis=1) if model.like.classes else None
        answers = values[np.arange(len(rows)), chosen if chosen is not None else 0]
        parts = row_contributions(model, rows, chosen, answers)
    sums: dict[str, np.ndarray] = {}
    for part in parts.values():
        told = part.told(by, model.task.target)
        for k, name in enumerate(told.names):
            sums[name] = sums.get(name, 0.0) + told.values[:, :, k]
    return {name: float(np.mean(np.abs(values))) for name, values in sums.items() if np.any(values)}


def shuffled_loss(model: FittedModel, by: str, data: Any, seed: int) -> dict[str, float]:
    """By how much the loss grows when the features of a label are shuffled, by label.

    Series: the loss is the mean absolute error relative to the mean size of each series' values. data: rows after the
    training end with the target, forecast from the training end; members that have no features stay as they are, which
    makes them part of what is measured. Without it the newest horizons of the history that the model keeps are
    forecast, by the members that have features and read history alone, as others cannot go back behind the training
    end; these members saw the values in training. What is the same in all rows that a learner predicts together, as the
    date in a step of a recursive one from a single origin, cannot be shuffled and counts 0. Rows: the loss is the mean
    absolute error, or the logarithmic loss; data is needed.
    """
    judged = _of_series(model, data) if isinstance(model, Forecaster) else _of_rows(model, data)
    schema, target = schema_of(model), model.task.target
    labels: dict[str, list[Term]] = {}
    for term in engineered_terms(judged.model):
        labels.setdefault(term.label(by, target), []).append(term)
    if not labels:
        raise ConfigError(
            "no member of this model learned from features, and nothing can be shuffled; ask for kind='contribution'"
        )
    plain, found = judged.loss(judged.model), {}
    for label, terms in labels.items():
        grown = []
        for repeat in range(REPEATS):
            members = tuple(
                replace(m, fitted=m.fitted.shuffled(terms, schema, seed + repeat))
                if isinstance(m.fitted, Featured)
                else m
                for m in judged.model.members
            )
            grown.append(judged.loss(replace(judged.model, members=members)) - plain)
        found[label] = float(np.mean(grown))
    return found


@dataclass(frozen=True, eq=False)
class _JudgedSeries:
    """A model at the end of a panel, and the values that came: actual, scale, float64 (series, steps), NaN unknown."""

    model: Forecaster
    panel: Panel
    actual: np.ndarray
    scale: np.ndarray

    def loss(self, model: Forecaster) -> float:
        gap, steps = model.task.gap, self.actual.shape[1]
        mean = np.concatenate([values for _, _, values in blocks(model, self.panel, gap + steps)], axis=1)[:, gap:]
        return float(np.nanmean(np.abs(mean - self.actual) / self.scale))


@dataclass(frozen=True, eq=False)
class _JudgedRows:
    """A model and rows whose answers are known."""

    model: Predictor
    rows: Any

    def loss(self, model: Predictor) -> float:
        values = model.values(self.rows)
        if not model.like.classes:
            return float(np.mean(np.abs(values[:, 0] - self.rows.y)))
        right = values[np.arange(len(self.rows)), self.rows.y.astype(np.int64)]
        return float(-np.mean(np.log(np.maximum(right, LEAST))))


def _of_rows(model: FittedModel, data: Any) -> _JudgedRows:
    rows = _rows(model, data, judged=True)
    rows = rows.select(~np.isnan(rows.y))
    if not len(rows):
        raise DataError(f"data: there is no value in column {model.task.target!r}; give rows with the target")
    return _JudgedRows(model, rows)


def _rows(model: FittedModel, data: Any, judged: bool = False) -> Any:
    from forecastml.data.table_reading import read_rows

    if data is None:
        raise ConfigError("data: a model of rows keeps none; give a table with the columns that it was trained on")
    return read_rows(data, model.task.columns, model.like, judged)


def _of_series(model: Forecaster, data: Any) -> _JudgedSeries:
    """From newer rows, or from the newest horizons of what the model keeps."""
    gap, horizon = model.task.gap, model.task.horizon
    if data is not None:
        rows = newer_rows(model.task, data, model.panel, model.panel, model.skipped, "data")
        whole, first = extend(model.panel, newer(model.panel, rows), "data"), model.panel.lengths
        steps = min(horizon, max(int((whole.lengths - first).max()) - gap, 1))
        return _judged(model, whole, first, steps)
    parts = []
    for back in range(ORIGINS):
        first = model.panel.lengths - gap - horizon - back * (horizon // ORIGINS + 1)
        there = np.flatnonzero(first > max(horizon, model.panel.lengths.max(initial=0) // 2))
        if len(there):
            parts.append((there, first[there]))
    able = [m for m, member in enumerate(model.members) if _goes_back(member)]
    if not able or not parts:
        raise ConfigError(
            "nothing that the model keeps can be forecast again; give newer rows with the target as data, or ask for "
            "kind='contribution'"
        )
    index = np.concatenate([there for there, _ in parts])
    members = tuple(_repeated(model.members[m], index) for m in able)
    panel = model.panel.select(index)
    once = replace(
        model,
        panel=panel,
        members=members,
        weights=model.weights[:, able][model.panel.group[index]],
        fallback=model.fallback.take(index),
        lower=model.lower[index],
        cold=model.cold[index],
    )
    panel = replace(panel, group=np.arange(len(index)))
    return _judged(replace(once, panel=panel), panel, np.concatenate([first for _, first in parts]), horizon)


def _goes_back(member: Member) -> bool:
    """Whether its forecasts depend on the history that it is given, and not on what it remembers."""
    return isinstance(member.fitted, Featured) and hasattr(member.fitted, "lookback")


def _repeated(member: Member, index: np.ndarray) -> Member:
    """The member for series of the model that may come several times (positions)."""
    place = np.full(max(int(index.max()), int(member.items.max(initial=0))) + 1, -1, np.int64)
    place[member.items] = np.arange(len(member.items))
    served = np.flatnonzero(place[index] >= 0)
    return replace(member, fitted=member.fitted.take(place[index][served]), items=served)


def _judged(model: Forecaster, whole: Panel, first: np.ndarray, steps: int) -> _JudgedSeries:
    """The values of `whole` after so many of each series and the gap."""
    at = first[:, None] + model.task.gap + np.arange(steps)
    inside = at < whole.lengths[:, None]
    actual = np.where(inside, whole.target[np.where(inside, whole.begin[:, None] + at, 0)], np.nan)
    panel = whole.before(first)
    if not (~np.isnan(actual)).any():
        raise DataError(f"data: there is no value in column {model.task.target!r} to compare with; give newer rows")
    size = np.array([_size(values) for values in _values(whole)])
    return _JudgedSeries(model, panel, actual, size[:, None])


def _values(panel: Panel) -> Iterator[np.ndarray]:
    return (panel.values(i) for i in range(len(panel)))


def _size(values: Sequence[float]) -> float:
    """Mean absolute value, 1 where there is none."""
    known = np.abs(values)[~np.isnan(values)]
    return float(known.mean()) if len(known) and known.any() else 1.0
