"""How an older model does where a newer one was judged: the champion's part of a comparison with its challenger."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecastml.data.extension import coded_as
from forecastml.data.leak_guard import alike
from forecastml.data.panel import Panel
from forecastml.forecaster import Forecaster, grid_values, moved_over
from forecastml.model import FittedModel
from forecastml.prior import Prior
from forecastml.rolling import with_known


def newest_losses(model: FittedModel, data: Any, prior: Prior) -> dict[tuple[str, ...], float]:
    """Loss of an older model, by group key, on the newest fold of rows that a newer one was trained on under `prior`.

    data: the table with those rows. The model is moved over the rows before the fold without a fit. A group is left
    out when the model has learned from rows of the fold, or does not know the group or one of its series; so is every
    group of a model of rows, which have no time. Raises `DataError` as `fit`.
    """
    if not isinstance(model, Forecaster):
        return {}
    task = prior.task
    panel = task.read(data, like=prior.like).data
    folds = [fold for fold in prior.splitter.folds(panel) if fold.index == prior.splitter.n_folds - 1]
    if not folds:
        return {}
    if not set(model.panel.schema.columns) <= set(panel.schema.columns):
        # A covariate of the older model was left out, because it gives the target away.
        return {}
    fold = folds[0]
    place = {tuple(key): i for i, key in enumerate(fold.train.keys)}
    theirs = np.array([place.get(tuple(key), -1) for key in model.panel.keys], dtype=np.int64)
    unseen = (theirs >= 0) & (model.panel.last_ordinal <= fold.train.last_ordinal[theirs])
    # A group is judged by all of its series or not at all: the model is to serve each of them.
    served = np.isin(fold.items, fold.items[theirs[unseen]])
    lacking = {*panel.group[fold.items[~served]], *panel.group[_unknown(panel, model)]}
    unseen &= ~np.isin(panel.group[fold.items[theirs]], list(lacking)) if lacking else True
    if not unseen.any():
        return {}
    theirs = theirs[unseen]
    # Texts that the model learned under a code of its own have another one under the prior.
    train = with_known(fold.train, task.gap + task.horizon).select(theirs)
    train = coded_as(model.panel, alike(train, model.panel.schema))
    moved = moved_over(model, np.flatnonzero(unseen), train)
    values = grid_values(moved, moved.panel, task.horizon, task.quantiles)
    order = np.argsort(theirs, kind="stable")
    judged = fold.truth.rows(np.isin(fold.truth.series, fold.items[theirs]))
    losses = task.scorer.loss(values[order].reshape(len(judged), -1), task.outputs, judged, panel.n_groups)
    keys = panel.group_keys
    return {tuple(keys[group]): float(losses[group]) for group in np.unique(judged.group)}


def _unknown(panel: Panel, model: Forecaster) -> np.ndarray:
    """Positions of the series of a panel that the model does not have: int64."""
    known = {tuple(key) for key in model.panel.keys}
    return np.array([i for i, key in enumerate(panel.keys) if tuple(key) not in known], dtype=np.int64)
