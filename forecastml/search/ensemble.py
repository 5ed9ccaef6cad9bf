"""Ensembles by greedy selection on out-of-fold predictions (Caruana et al. 2004), for one group or many at once.

Predictions come as values (models, rows, outputs). No weight falls on a NaN row: the weights of the models that have
a value there are renormalised, and a row that no model has takes the fallback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from forecastml.protocols import Metric, Truth

#: How far group weights may lie from the pooled ones: 0 pooled, 1 the group's own.
SHRINKAGES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What an ensemble may see: values (models, rows, outputs), fallback (rows, outputs), truth, metric."""

    values: np.ndarray
    fallback: np.ndarray
    outputs: tuple[str, ...]
    truth: Truth
    metric: Metric

    def rows(self, index: np.ndarray) -> OutOfFold:
        """These rows alone (positions or mask)."""
        return replace(self, values=self.values[:, index], fallback=self.fallback[index], truth=self.truth.rows(index))

    def loss(self, values: np.ndarray) -> np.ndarray:
        """Loss of stacked predictions (..., rows, outputs) -> (...,)."""
        return self.metric.loss(values, self.outputs, self.truth)


@dataclass(frozen=True)
class Weights:
    """pooled: float64 (models,); groups: float64 (groups, models); shrinkage: how far the groups go from pooled."""

    pooled: np.ndarray
    groups: np.ndarray
    shrinkage: float


@dataclass(frozen=True)
class Greedy:
    """Greedy selection with replacement, sorted start, best prefix kept.

    rounds: members counted with repetition; start, tolerance: the sequence starts with the best models, up to `start`
    of them whose loss is within `tolerance` of the best; then the model that lowers the loss most is added. The
    prefix of the sequence with the lowest loss is kept, so the result is never worse than the best model.
    """

    rounds: int = 15
    start: int = 5
    tolerance: float = 0.05

    def select(self, oof: np.ndarray, outputs: tuple[str, ...], truth: Truth, metric: Metric) -> np.ndarray:
        """Weights (models,) of one ensemble for all rows."""
        fallback = np.nan_to_num(np.nanmean(oof, axis=0)) if np.isnan(oof).any() else oof[0]
        return self.select_pooled(OutOfFold(oof, fallback, outputs, truth, metric))

    def select_pooled(self, oof: OutOfFold) -> np.ndarray:
        """`select`, with a fallback for rows that no model has."""
        return self.select_groups(oof, np.zeros(len(oof.truth), np.int64), 1)[0]

    def select_groups(self, oof: OutOfFold, group: np.ndarray, n_groups: int) -> np.ndarray:
        """Weights (groups, models), each group by its own rows alone; NaN for groups without a scored row.

        group: int64 (rows,). All groups run in lockstep, so that one call costs `rounds` passes over the predictions.
        """
        models = len(oof.values)
        losses = _bound(oof, group, n_groups)
        mix = _Mixture.empty(oof)
        alone = losses(mix.with_each(oof))
        order = np.argsort(alone, axis=0, kind="stable")
        ranked = np.take_along_axis(alone, order, axis=0)
        best_alone = ranked[0]
        n_start = (ranked[: self.start] <= best_alone + self.tolerance * np.abs(best_alone)).sum(axis=0)
        counts = np.zeros((n_groups, models))
        best_loss, best_counts = np.full(n_groups, np.inf), np.zeros((n_groups, models))
        everyone = np.arange(n_groups)
        for turn in range(self.rounds if models > 1 else 1):
            trial_losses = alone if turn == 0 else losses(mix.with_each(oof))
            greedy = np.argmin(np.where(np.isnan(trial_losses), np.inf, trial_losses), axis=0)
            choice = np.where(turn < n_start, order[min(turn, models - 1)], greedy)
            mix = mix.add(oof, choice[group])
            counts[everyone, choice] += 1
            loss = trial_losses[choice, everyone]
            # A later prefix must be clearly better: ties go to the simpler ensemble.
            better = loss < best_loss - 1e-12 * np.abs(np.where(np.isfinite(best_loss), best_loss, 0.0))
            best_loss[better] = loss[better]
            best_counts[better] = counts[better]
        with np.errstate(invalid="ignore"):
            return best_counts / best_counts.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class _Mixture:
    """Running sums of the models chosen so far: total (rows, outputs), count (rows,) of models with a value."""

    total: np.ndarray
    count: np.ndarray

    @classmethod
    def empty(cls, oof: OutOfFold) -> _Mixture:
        return cls(np.zeros(oof.values.shape[1:]), np.zeros(oof.values.shape[1]))

    def with_each(self, oof: OutOfFold) -> Callable[[int], np.ndarray]:
        """Function: model -> values (rows, outputs) of the mixture with that model added."""

        def values(model: int) -> np.ndarray:
            return self._mean(oof.values[model], oof.fallback)

        return values

    def _mean(self, added: np.ndarray, fallback: np.ndarray) -> np.ndarray:
        present = ~np.isnan(added[:, 0])
        if present.all():
            return (self.total + added) / (self.count + 1)[:, None]
        count = self.count + present
        total = self.total + np.where(present[:, None], added, 0.0)
        return np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], fallback)

    def add(self, oof: OutOfFold, model: np.ndarray) -> _Mixture:
        """The mixture after adding model[row] to each row."""
        added = oof.values[model, np.arange(len(model))]
        present = ~np.isnan(added[:, 0])
        return _Mixture(self.total + np.where(present[:, None], added, 0.0), self.count + present)


def _bound(oof: OutOfFold, group: np.ndarray, n_groups: int) -> Callable[[Callable[[int], np.ndarray]], np.ndarray]:
    """Function: (model -> values) -> losses (models, groups), one model at a time to bound memory."""
    truth = replace(oof.truth, group=group)
    scorer = oof.metric.bind(truth, oof.outputs, n_groups)

    def losses(values: Callable[[int], np.ndarray]) -> np.ndarray:
        return np.stack([scorer(values(model)) for model in range(len(oof.values))])

    return losses


def combine(values: np.ndarray, weights: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Weighted mean of models per row, renormalised over those that have a value: (rows, outputs).

    values (models, rows, outputs); weights (models, rows); rows on which no model with weight has a value take the
    fallback.
    """
    total, mass = np.zeros(values.shape[1:]), np.zeros(values.shape[1])
    for model_values, model_weights in zip(values, weights, strict=True):
        weight = np.where(np.isnan(model_values[:, 0]), 0.0, model_weights)
        total += np.where(weight[:, None] > 0, model_values, 0.0) * weight[:, None]
        mass += weight
    return np.where(mass[:, None] > 0, total / np.where(mass > 0, mass, 1.0)[:, None], fallback)


def shrunk(own: np.ndarray, pooled: np.ndarray, shrinkage: float) -> np.ndarray:
    """Group weights (groups, models) moved towards the pooled ones; groups without rows of their own take those."""
    own = np.where(np.isnan(own), pooled, own)
    return (1.0 - shrinkage) * pooled + shrinkage * own


def group_weights(oof: OutOfFold, n_groups: int, greedy: Greedy, given: Weights | None = None) -> Weights:
    """Pooled weights, and group weights shrunk towards them; the shrinkage is chosen on folds.

    For every fold, weights from the other folds are judged on it, at each value of `SHRINKAGES`; the best mean wins,
    ties to the smaller. With one fold or one group there is nothing to choose by: the weights are the pooled ones.
    `given` (a Prior's) replaces pooled weights and shrinkage by what was learned elsewhere.
    """
    if given is not None:
        pooled, shrinkage = given.pooled, given.shrinkage
    else:
        pooled = greedy.select_pooled(oof)
        shrinkage = _choose_shrinkage(oof, n_groups, greedy)
    if shrinkage == 0.0:
        return Weights(pooled, np.tile(pooled, (n_groups, 1)), 0.0)
    groups = shrunk(greedy.select_groups(oof, oof.truth.group, n_groups), pooled, shrinkage)
    if given is None and _group_loss(oof, groups) > _group_loss(oof, np.tile(pooled, (n_groups, 1))):
        # Possible for metrics that are not convex; the promise "never worse than the best member" comes first.
        return Weights(pooled, np.tile(pooled, (n_groups, 1)), 0.0)
    return Weights(pooled, groups, shrinkage)


def _group_loss(oof: OutOfFold, groups: np.ndarray) -> float:
    return float(oof.loss(combine(oof.values, groups[oof.truth.group].T, oof.fallback)))


def leave_one_fold_out(oof: OutOfFold, n_groups: int, greedy: Greedy, given: Weights | None = None):
    """For each fold: (mask of its rows, pooled weights, own group weights) selected on the other folds.

    A lone fold has to do for itself; under `given` it has no weights of its own, as a group with a lone fold among
    others has none.
    """
    folds = np.unique(oof.truth.fold)
    nothing = np.full((n_groups, len(oof.values)), np.nan)
    for fold in folds:
        held = oof.truth.fold == fold
        if len(folds) == 1 and given is not None:
            yield held, given.pooled, nothing
            continue
        rest = oof.rows(~held) if len(folds) > 1 else oof
        pooled = greedy.select_pooled(rest) if given is None else given.pooled
        own = greedy.select_groups(rest, rest.truth.group, n_groups)
        yield held, pooled, own


def _choose_shrinkage(oof: OutOfFold, n_groups: int, greedy: Greedy) -> float:
    if n_groups < 2 or len(np.unique(oof.truth.fold)) < 2:
        return 0.0
    losses = np.zeros(len(SHRINKAGES))
    for held, pooled, own in leave_one_fold_out(oof, n_groups, greedy):
        judged = oof.rows(held)
        losses += [_group_loss(judged, shrunk(own, pooled, shrinkage)) for shrinkage in SHRINKAGES]
    return SHRINKAGES[int(np.argmin(losses))]


def cross_fitted(oof: OutOfFold, weights: Weights, n_groups: int, greedy: Greedy, given: Weights | None) -> np.ndarray:
    """Ensemble predictions (rows, outputs) in which the weights for each fold come from the other folds."""
    values = np.empty(oof.values.shape[1:])
    for held, pooled, own in leave_one_fold_out(oof, n_groups, greedy, given):
        judged = oof.rows(held)
        groups = shrunk(own, pooled, weights.shrinkage)
        values[held] = combine(judged.values, groups[judged.truth.group].T, judged.fallback)
    return values
