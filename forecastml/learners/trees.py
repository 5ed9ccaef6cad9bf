"""Histogram gradient boosting and single decision trees of scikit-learn, kept as arrays (`learners.forest`)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from forecastml.errors import ConfigError, LearnerError
from forecastml.learners.forest import LARGEST, CategoryOrder, Forest, Nodes
from forecastml.learners.parameters import SQUARED, Choice, Known, Number, settled
from forecastml.learners.ranges import Range
from forecastml.learners.reduction import Reduction
from forecastml.learners.rows import TrainingTable
from forecastml.protocols import Facts, FitContext, Params

#: Trees between two looks at the clock; each look costs as much as some ten trees.
ROUNDS_AT_ONCE = 100
#: Rows by which quantiles are found, at least where there are so many.
SAMPLE = 100_000
#: Rows that one decision tree learns from at most, evenly drawn; more make it slower, hardly better.
MOST_ROWS = 50_000


class _Trees(Reduction):
    """What both have in common: rows with a weight, ranked categories, and a target that varies."""

    parameters: ClassVar[Known] = {}

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> Forest:
        """Parameters are those of `parameters`."""
        given = settled(self.name, self.parameters, params)
        if rows.classes and given["loss"] is not None:
            raise ConfigError(
                f"{self.name}: parameter 'loss' is {given['loss']!r}, but classes have a loss of their own"
            )
        if rows.weight is not None and rows.weight.any():
            use = np.flatnonzero(rows.weight)
            rows = replace(rows, x=rows.x[use], y=rows.y[use], weight=rows.weight[use] / rows.weight[use].mean())
        else:
            rows = replace(rows, weight=None)
        order = CategoryOrder.of(rows)
        if len(rows.y) < 2 or np.ptp(rows.y) == 0 or not rows.x.shape[1]:
            return _flat(rows, order)
        # A column without any value could not be binned; of zeros alone, no split will use it.
        x = np.where(np.isnan(rows.x).all(axis=0), np.float32(0.0), order.ranked(rows.x))
        return self.grown(replace(rows, x=x), order, given, context)

    def grown(self, rows: TrainingTable, order: CategoryOrder, params: Params, context: FitContext) -> Forest:
        """Trees of rows whose categories are ranked."""
        raise NotImplementedError

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Forest:
        """The inverse of `Forest.state`."""
        return Forest.restore(arrays, values)


def _flat(rows: TrainingTable, order: CategoryOrder) -> Forest:
    """One answer for every row."""
    none, features = np.empty(0, np.int64), rows.x.shape[1]
    if not rows.classes:
        return Forest(None, none, np.array([np.average(rows.y, weights=rows.weight)]), order, features)
    counts = np.bincount(rows.y.astype(np.int64), rows.weight, minlength=rows.classes)
    return Forest(None, none, counts / counts.sum(), order, features, "shares")


class GradientBoosting(_Trees):
    """Gradient boosted trees on histograms, as scikit-learn grows them; of squared errors: absolute ones cost it a
    millisecond for each leaf, and LightGBM has them at no cost."""

    name = "gradient_boosting"
    parameters: ClassVar[Known] = {
        "loss": Choice(None, ("absolute", "squared", "poisson", "quantile")),
        "alpha": Number(0.5, 0.0, 1.0),
        "rounds": Number(None, 1, whole=True),
        "learning_rate": Number(0.1, 1e-6, 1.0),
        "num_leaves": Number(None, 2, whole=True),
        "min_data_in_leaf": Number(None, 1, whole=True),
        "lambda_l2": Number(0.0, 0.0),
        "max_bin": Number(63, 2, 255, whole=True),
        "feature_fraction": Number(0.4, 0.01, 1.0),
    }
    search_space: ClassVar[Mapping[str, Range]] = {
        "num_leaves": Range(4, 256, 8, whole=True),
        "learning_rate": Range(0.01, 0.3, 0.1),
        "rounds": Range(20, 500, 40, whole=True),
        "min_data_in_leaf": Range(2, 200, 20, whole=True),
        "lambda_l2": Range(1e-3, 100.0, 1e-3),
        "feature_fraction": Range(0.2, 1.0, 0.5, log=False),
    }
    capabilities = replace(Reduction.capabilities, cost=0.06)

    def space(self, facts: Facts) -> Sequence[Params]:
        """For rows, also slow and small trees."""
        if facts.separable:
            return super().space(facts)
        return [{}, {"learning_rate": 0.05, "rounds": 200}, {"num_leaves": 8, "rounds": 150}]

    def grown(self, rows: TrainingTable, order: CategoryOrder, params: Params, context: FitContext) -> Forest:
        """loss: "squared" unless given; alpha: level of the loss "quantile"; the rest as LightGBM names it.
        Looks at the deadline every `ROUNDS_AT_ONCE` trees."""
        from sklearn import ensemble
        from threadpoolctl import threadpool_limits

        kind = ensemble.HistGradientBoostingClassifier if rows.classes else ensemble.HistGradientBoostingRegressor
        rounds = params["rounds"] or rounds_for(len(rows.y))
        codes, cuts = _binned(rows.x, params["max_bin"])
        # Sums of several threads differ in their last bits.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")
            estimator = kind(warm_start=True, **_boosting_settings(rows, params, context))
            for trees in (*range(ROUNDS_AT_ONCE, rounds, ROUNDS_AT_ONCE), rounds):
                context.deadline.check()
                estimator.set_params(max_iter=trees)
                estimator.fit(codes, rows.y, sample_weight=rows.weight)
        found = _boosted(rows, order, estimator, "exp" if params["loss"] == "poisson" else "")
        return replace(found, nodes=_with_values(found.nodes, cuts))


def rounds_for(n: int) -> int:
    """Trees for so many rows."""
    return 60 if n < 1000 else 100


def leaves_for(n: int) -> int:
    """Leaves of a tree for so many rows."""
    return 15 if n < 3000 else 31 if n < 50_000 else 63


def smallest_leaf_for(n: int) -> int:
    """Rows of a leaf at least, for so many rows."""
    return int(np.clip(n / 10, 3, 20))


def _boosting_settings(rows: TrainingTable, params: Params, context: FitContext) -> dict[str, Any]:
    n = len(rows.y)
    settings = {
        "learning_rate": params["learning_rate"],
        "max_leaf_nodes": params["num_leaves"] or leaves_for(n),
        "min_samples_leaf": params["min_data_in_leaf"] or smallest_leaf_for(n),
        "l2_regularization": params["lambda_l2"],
        "max_bins": params["max_bin"],
        "max_features": params["feature_fraction"],
        "early_stopping": False,
        "random_state": context.seed % 2**32,
    }
    if rows.classes:
        return settings
    loss = params["loss"] or "squared"
    if loss == "poisson" and (rows.y < 0).any():
        raise LearnerError(
            "gradient_boosting: the loss 'poisson' needs a target that is nowhere below 0 in the scale in which it is "
            "learned; for series use transform=mean, else another loss"
        )
    names = {"absolute": "absolute_error", "squared": "squared_error"}
    return {**settings, "loss": names.get(loss, loss), "quantile": params["alpha"] if loss == "quantile" else None}


def _binned(x: np.ndarray, most: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Columns of more than `most` values as positions between their quantiles: float64 (rows, features); and where
    these are cut, by feature. scikit-learn would look for them anew at every call, and of weighted rows one by one."""
    found, cuts = x.astype(np.float64), {}
    shares = np.linspace(0, 1, most + 1)[1:-1]
    for j in range(x.shape[1]):
        known = found[~np.isnan(found[:, j]), j]
        if len(np.unique(known)) > most:
            sample = known[:: max(1, len(known) // SAMPLE)]
            cuts[j] = np.unique(np.quantile(sample, shares, method="averaged_inverted_cdf"))
            place = np.searchsorted(cuts[j], found[:, j]).astype(np.float64)
            found[:, j] = np.where(np.isnan(found[:, j]), np.nan, place)
    return found, cuts


def _with_values(nodes: Nodes, cuts: Mapping[int, np.ndarray]) -> Nodes:
    """Thresholds of positions as thresholds of values."""
    threshold = nodes.threshold.copy()
    for j, cut in cuts.items():
        mine = np.flatnonzero((nodes.feature == j) & np.isfinite(threshold) & (threshold < LARGEST))
        threshold[mine] = cut[np.minimum(threshold[mine].astype(np.int64), len(cut) - 1)]
    return replace(nodes, threshold=threshold)


def _boosted(rows: TrainingTable, order: CategoryOrder, estimator: Any, link: str) -> Forest:
    grown = [tree.nodes for trees in estimator._predictors for tree in trees]
    per_round = len(estimator._predictors[0])
    base = np.reshape(estimator._baseline_prediction, -1).astype(np.float64)
    nodes = Nodes.stack([_of_histograms(tree) for tree in grown])
    answer = np.tile(np.arange(per_round), len(estimator._predictors))
    if not rows.classes:
        return Forest(nodes, answer, base, order, rows.x.shape[1], link)
    seen = estimator.classes_.astype(np.int64)
    if rows.classes == 2:
        return Forest(nodes, answer, base, order, rows.x.shape[1], "sigmoid")
    whole = np.full(rows.classes, -np.inf)
    if len(seen) == 2:
        # One sum tells the second class from the first, which stays at 0.
        whole[seen] = (0.0, base[0])
        return Forest(nodes, np.full(len(answer), seen[1]), whole, order, rows.x.shape[1], "softmax")
    whole[seen] = base
    return Forest(nodes, seen[answer], whole, order, rows.x.shape[1], "softmax")


def _of_histograms(tree: np.ndarray) -> Nodes:
    """The nodes of one tree of scikit-learn's histogram boosting; values of inner nodes are the means of their rows."""
    leaf, own = tree["is_leaf"].astype(bool), np.arange(len(tree))
    count = tree["count"].astype(np.float64)
    value = np.where(leaf, tree["value"], 0.0)
    # Children stand after their parents.
    for node in own[~leaf][::-1]:
        left, right = tree["left"][node], tree["right"][node]
        total = count[left] + count[right]
        value[node] = (count[left] * value[left] + count[right] * value[right]) / total
    return Nodes(
        feature=np.where(leaf, -1, tree["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, 0.0, tree["num_threshold"]),
        missing_left=tree["missing_go_to_left"].astype(bool),
        left=np.where(leaf, own, tree["left"]).astype(np.int32),
        right=np.where(leaf, own, tree["right"]).astype(np.int32),
        value=value[:, None],
        gain=np.where(leaf, 0.0, tree["gain"]),
        root=np.zeros(1, np.int64),
    )


class DecisionTree(_Trees):
    """One tree of squared errors whose leaves answer with the mean, the median or the shares of the classes."""

    name = "decision_tree"
    parameters: ClassVar[Known] = {
        "loss": Choice(None, ("absolute", "squared")),
        "max_depth": Number(None, 1, whole=True),
        "num_leaves": Number(None, 2, whole=True),
        "min_data_in_leaf": Number(None, 1, whole=True),
        "feature_fraction": Number(1.0, 0.01, 1.0),
        "ccp_alpha": Number(0.0, 0.0),
    }
    search_space: ClassVar[Mapping[str, Range]] = {
        "num_leaves": Range(4, 2048, 16, whole=True),
        "min_data_in_leaf": Range(1, 500, 20, whole=True),
    }
    capabilities = replace(Reduction.capabilities, cost=0.03)

    def space(self, facts: Facts) -> Sequence[Params]:
        """For rows, also a small tree."""
        return super().space(facts) if facts.separable else [{}, {"num_leaves": 12}]

    def grown(self, rows: TrainingTable, order: CategoryOrder, params: Params, context: FitContext) -> Forest:
        """loss: "absolute" for medians in the leaves, "squared" for means, None for what the metric wants."""
        from sklearn import tree

        if len(rows.y) > MOST_ROWS:
            even = np.linspace(0, len(rows.y) - 1, MOST_ROWS).astype(np.int64)
            weight = None if rows.weight is None else rows.weight[even]
            rows = replace(rows, x=rows.x[even], y=rows.y[even], weight=weight)
        kind = tree.DecisionTreeClassifier if rows.classes else tree.DecisionTreeRegressor
        estimator = kind(
            max_depth=params["max_depth"],
            max_leaf_nodes=params["num_leaves"] or max(16, len(rows.y) // 50),
            min_samples_leaf=params["min_data_in_leaf"] or smallest_leaf_for(len(rows.y)),
            max_features=params["feature_fraction"],
            ccp_alpha=params["ccp_alpha"],
            random_state=context.seed % 2**32,
        ).fit(rows.x, rows.y, sample_weight=rows.weight)
        nodes = _of_tree(estimator)
        tree_alone, features = np.zeros(1, np.int64), rows.x.shape[1]
        if not rows.classes:
            if (params["loss"] or ("squared" if context.metric in SQUARED else "absolute")) == "absolute":
                nodes = _with_medians(nodes, rows)
            return Forest(nodes, tree_alone, np.zeros(1), order, features)
        whole = np.zeros((len(nodes.feature), rows.classes))
        whole[:, estimator.classes_.astype(np.int64)] = nodes.value
        return Forest(replace(nodes, value=whole), tree_alone - 1, np.zeros(rows.classes), order, features, "shares")


def _of_tree(estimator: Any) -> Nodes:
    """The nodes of a tree of scikit-learn; values of classes are their shares."""
    tree = estimator.tree_
    own, leaf = np.arange(tree.node_count), tree.children_left < 0
    left, right = (np.where(leaf, own, side) for side in (tree.children_left, tree.children_right))
    weighted = tree.weighted_n_node_samples * tree.impurity
    return Nodes(
        feature=np.where(leaf, -1, tree.feature).astype(np.int32),
        threshold=np.where(leaf, 0.0, tree.threshold),
        missing_left=tree.missing_go_to_left.astype(bool),
        left=left.astype(np.int32),
        right=right.astype(np.int32),
        value=tree.value[:, 0, :].copy(),
        gain=np.where(leaf, 0.0, np.maximum(weighted - weighted[left] - weighted[right], 0.0)),
        root=np.zeros(1, np.int64),
    )


def _with_medians(nodes: Nodes, rows: TrainingTable) -> Nodes:
    """Leaves answer with the weighted median of their rows; an inner node with the mean of its leaves, by weight."""
    weight = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    leaf = nodes.leaves(rows.x)[0]
    order = np.lexsort((rows.y, leaf))
    leaf, y, heavy = leaf[order], rows.y[order], weight[order]
    first = np.flatnonzero(np.diff(leaf, prepend=-1))
    total = np.bincount(leaf, heavy, minlength=len(nodes.feature))
    value = np.zeros(len(nodes.feature))
    for begin, end in zip(first, np.append(first[1:], len(leaf)), strict=True):
        value[leaf[begin]] = _median(y[begin:end], heavy[begin:end])
    for node in np.flatnonzero(nodes.feature >= 0)[::-1]:
        left, right = nodes.left[node], nodes.right[node]
        total[node] = total[left] + total[right]
        value[node] = (total[left] * value[left] + total[right] * value[right]) / total[node]
    return replace(nodes, value=value[:, None])


def _median(y: np.ndarray, weight: np.ndarray) -> float:
    """The weighted median of sorted values: where weights on both sides are equal, halfway between two."""
    share = np.cumsum(weight)
    half = share[-1] / 2
    at = int(np.searchsorted(share, half))
    if at + 1 < len(y) and math.isclose(share[at], half):
        return 0.5 * (y[at] + y[at + 1])
    return float(y[at])
