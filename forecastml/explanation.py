"""What the forecasts and predictions of a model are the sum of: the terms of its members by their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from forecastml.attribution import (
    LEVEL,
    Explained,
    Explanation,
    Featured,
    Term,
    checked_kind,
    explanation,
    merged,
)
from forecastml.data.panel import Panel
from forecastml.data.wall_clock import ordinals_ahead
from forecastml.errors import ConfigError
from forecastml.forecaster import Forecaster, asked, blocks
from forecastml.model import FittedModel, Member
from forecastml.predictor import Predictor
from forecastml.search.evaluate import predict_guarded

if TYPE_CHECKING:
    import pandas as pd

#: Who contributes what no member does.
FALLBACK, MODEL = "fallback", "model"
COLD_START = Term("mean of the other series", component=LEVEL.name)
BOUNDS, ROUNDING = Term("bounds"), Term("rounding")

#: Forecasts, or rows, up to which contributions of trees are exact (`learners.tree_paths` says what they are beyond).
MOST_EXACT = 2000
#: Context, horizon, series and missing_future of `Forecaster.forecast`.
Asked = tuple[Any, int | None, Any, str | None]
Parts = dict[str, Explanation]
#: A column of numbers of rows, until they are looked up: no table has one of this name.
PLACE = "(row)"


def explained(model: FittedModel, table: Any, asked_for: Asked, by: str) -> pd.DataFrame:
    """See `FittedModel.explain`."""
    kind = checked_kind(by)
    if isinstance(model, Forecaster):
        return _forecast(model, table, asked_for, kind)
    if table is None or any(value is not None for value in asked_for):
        raise ConfigError("a model of rows has no future, context, horizon or series; give the table to predict alone")
    return _rows(model, table, kind)


def _forecast(model: Forecaster, future: Any, asked_for: Asked, kind: str) -> pd.DataFrame:
    from forecastml.data.frames import forecast_frame

    exact = is_small(model)
    model, panel, steps, horizon = asked(model, future, *asked_for)
    parts = contributions(model, panel, steps, exact)
    # A number of the row, to be looked up where the wall clock leaves points out or shows them twice.
    numbers = np.arange(len(panel) * steps, dtype=np.float64)[:, None]
    frame = forecast_frame(panel, ordinals_ahead(panel, steps, model.task.gap), numbers, (PLACE,), horizon)
    rows = frame[PLACE].to_numpy().astype(np.int64)
    told = {label: part.told(kind, model.task.target) for label, part in parts.items()}
    return _long(frame.drop(columns=PLACE), told, rows)


def _rows(model: Predictor, table: Any, kind: str) -> pd.DataFrame:
    from forecastml.data.frames import to_frame
    from forecastml.data.table_reading import read_rows

    rows = read_rows(table, model.task.columns, model.like)
    classes, values = model.like.classes, model.values(rows)
    chosen = np.argmax(values, axis=1) if classes else None
    columns: dict[str, Any] = {"row": np.arange(len(rows))}
    if classes:
        columns["class"] = np.array(classes, dtype=object)[chosen]
    answers = values[np.arange(len(rows)), chosen if classes else 0]
    parts = row_contributions(model, rows, chosen, answers)
    told = {label: part.told(kind, model.task.target) for label, part in parts.items()}
    return _long(to_frame(columns), told, np.arange(len(rows)))


def is_small(model: Forecaster) -> bool:
    """Whether contributions of trees are exact; it does not depend on the series that are asked for."""
    return len(model.panel) * model.task.horizon <= MOST_EXACT


def contributions(model: Forecaster, panel: Panel, steps: int, exact: bool) -> Parts:
    """Terms of the finished forecasts of the grid points after the gap, by member, "fallback" and "model": explanations
    of (series, steps) that sum to the means together."""
    gap, means, found = model.task.gap, [], []
    for there, known, values in blocks(model, panel, model.task.gap + steps):
        means.append(values)
        found.append(_weighed(there, known, values.shape[1], exact))
    mean = np.concatenate(means, axis=1)
    bounded = np.maximum(mean, model.lower[:, None])
    finished = np.rint(bounded) if model.task.integer else bounded
    changes = Explanation.of({BOUNDS: bounded - mean, ROUNDING: finished - bounded})
    parts = {label: _in_line([part[label] for part in found]) for label in found[0]}
    every = {**parts, MODEL: changes}
    return {label: replace(part, values=part.values[:, gap:]) for label, part in every.items()}


def row_contributions(model: Predictor, rows: Any, chosen: np.ndarray | None, answers: np.ndarray) -> Parts:
    """Terms of predictions by member and "fallback": explanations of (rows, 1) that sum to the answers, float64
    (rows,). chosen: the class whose probability is told, int64 (rows,), None for numbers."""
    told = [_explained_rows(member.fitted, rows, chosen) for member in model.members]
    parts = _shared(model, told, model.weights[rows.group], _explained_rows(model.fallback, rows, chosen))
    whole = np.zeros((len(rows), 1))
    for part in parts.values():
        whole += part.total
    # Probabilities of an ensemble are divided by their sum.
    factor = np.divide(answers[:, None], whole, out=np.ones_like(whole), where=whole != 0)
    return {label: part.scaled(factor) for label, part in parts.items()} if chosen is not None else parts


def _explained_rows(fitted: Any, rows: Any, chosen: np.ndarray | None) -> Explanation:
    if isinstance(fitted, Featured):
        return fitted.explain(rows, 1, len(rows) <= MOST_EXACT, chosen)
    if chosen is None:
        return explanation(fitted, rows, 1)
    values = fitted.predict(rows, 1, rows.classes).values[np.arange(len(rows)), chosen]
    return Explanation.of({LEVEL: values[:, None]})


def _weighed(model: Forecaster, panel: Panel, steps: int, exact: bool) -> Parts:
    """Terms of the point forecasts of one block."""
    told = [_explained(member, panel, steps, exact) for member in model.members]
    last_resort = explanation(model.fallback, panel, steps)
    lost = np.isnan(last_resort.total)
    cold = Explanation.of({COLD_START: np.where(lost, model.cold[:, None], 0.0)})
    whole = Explanation.of(
        {
            **{term: np.where(lost, 0.0, last_resort.values[:, :, k]) for k, term in enumerate(last_resort.terms)},
            COLD_START: cold.values[:, :, 0],
        }
    )
    return _shared(model, told, model.weights[panel.group], whole)


def _shared(model: FittedModel, told: list[Explanation], weights: np.ndarray, last_resort: Explanation) -> Parts:
    """Explanations of all items times the shares that their members have, and the fallback where none has any.

    weights: float64 (items, members).
    """
    shape = last_resort.values.shape[:2]
    given = [np.where(np.isfinite(part.total), weights[:, m, None], 0.0) for m, part in enumerate(told)]
    mass = np.zeros(shape)
    for weight in given:
        mass += weight
    share = 1.0 / np.where(mass > 0, mass, 1.0)
    found: Parts = {}
    for member, part, weight in zip(model.members, told, given, strict=True):
        found[member.candidate.name] = part.scaled(weight * share)
    return {**found, FALLBACK: last_resort.scaled(mass == 0)}


def _explained(member: Member, panel: Panel, steps: int, exact: bool) -> Explanation:
    """The explanation of all series, NaN for those that the member does not serve."""
    part = panel if len(member.items) == len(panel) else panel.select(member.items)
    if isinstance(member.fitted, Featured):
        found = member.fitted.explain(part, steps, exact)
    elif isinstance(member.fitted, Explained):
        found = member.fitted.explain(part, steps)
    else:
        values, _ = predict_guarded(member.fitted, part, steps, ("mean",))
        found = Explanation.of({LEVEL: values.reshape(len(part), steps)})
    return merged([(found, member.items)], len(panel))


def _in_line(blocks_: list[Explanation]) -> Explanation:
    """Explanations of the same items, one block of steps after the other."""
    terms = tuple(dict.fromkeys(term for part in blocks_ for term in part.terms))
    ends = np.cumsum([0, *(part.values.shape[1] for part in blocks_)])
    values = np.zeros((len(blocks_[0].values), ends[-1], len(terms)))
    for part, first in zip(blocks_, ends, strict=False):
        places = [terms.index(term) for term in part.terms]
        values[:, first : first + part.values.shape[1], places] = part.values
    return Explanation(tuple(term.name for term in terms), values, terms)


def _long(frame: pd.DataFrame, parts: Mapping[str, Explanation], rows: np.ndarray) -> pd.DataFrame:
    """A row per contribution other than 0, and one at least for each row of the frame; rows: places in the flattened
    explanations. Where a column of the frame has the name of one of ours, ours gets "_" after it."""
    values = np.concatenate([part.values.reshape(-1, len(part.names))[rows] for part in parts.values()], axis=1)
    members = np.array([label for label, part in parts.items() for _ in part.names], dtype=object)
    names = np.array([name for part in parts.values() for name in part.names], dtype=object)
    kept = values != 0
    kept[~kept.any(axis=1), :1] = True
    row, column = np.nonzero(kept)
    told = {"member": members[column], "feature": names[column], "contribution": values[row, column]}
    told = {f"{name}_" if name in frame else name: column for name, column in told.items()}
    return frame.iloc[row].reset_index(drop=True).assign(**told)
