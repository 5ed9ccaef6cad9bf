"""Gradient boosted trees and forests by LightGBM (Ke et al. 2017), over all series at once or on plain rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from forecastml.errors import ConfigError, LearnerError
from forecastml.learners.contributions import of_exponential
from forecastml.learners.parameters import SQUARED, Choice, Known, Number, settled
from forecastml.learners.ranges import Range
from forecastml.learners.reduction import Reduction
from forecastml.learners.rows import TrainingTable
from forecastml.learners.tree_paths import path_sums, path_tables
from forecastml.protocols import Facts, FitContext, Params

#: Rows that keep a thread busy; on fewer, threads wait for each other longer than they work.
ROWS_PER_THREAD = 25_000
#: Rows that one tree of a forest sees at most: trees are many, and differ the more.
ROWS_PER_TREE = 50_000
#: Trees of a forest for classes, over all of them, once there are many.
MOST_TREES = 2000
#: Objectives of a logarithmic mean, whose targets are nowhere below zero.
LOGARITHMIC = ("tweedie", "poisson")


@dataclass(frozen=True, eq=False)
class Trees:
    """Fitted trees. texts: in LightGBM's own format, of a forest for classes one for each; threads: for predictions,
    which they do not change; link: "" for numbers and probabilities, "second" for the probability of the second of two
    classes, "shares" for a share of each class; centres: of a forest, what is added to the answers of each text;
    logarithmic: they tell a logarithm."""

    texts: tuple[str, ...]
    threads: int = 1
    link: str = ""
    centres: tuple[float, ...] = ()
    logarithmic: bool = False

    @cached_property
    def _boosters(self) -> list[Any]:
        import lightgbm

        return [lightgbm.Booster(model_str=text) for text in self.texts]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (rows, features) -> float64 (rows,), or (rows, classes) of probabilities."""
        threads = _threads(self.threads, len(x))
        found = [booster.predict(x, num_threads=threads) for booster in self._boosters]
        found = [part + centre for part, centre in zip(found, self.centres, strict=True)] if self.centres else found
        if self.link == "second":
            # Means of shares may lie beyond 0 and 1 by a last bit.
            second = np.clip(found[0], 0.0, 1.0)
            return np.column_stack([1.0 - second, second])
        if self.link != "shares":
            return found[0]
        parts = [np.maximum(part, 1e-9) for part in found]
        total = parts[0].copy()
        for part in parts[1:]:
            total += part
        return np.stack(parts, axis=1) / total[:, None]

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """LightGBM's own (Lundberg et al. 2018), the mean of all rows last: float64 (rows, features + 1)."""
        return self._summed(self._of_numbers.predict(x, pred_contrib=True, num_threads=_threads(self.threads, len(x))))

    def quick_contributions(self, x: np.ndarray) -> np.ndarray:
        """By the ways through the trees, see `tree_paths`: float64 (rows, features + 1)."""
        leaves = self._of_numbers.predict(x, pred_leaf=True, num_threads=_threads(self.threads, len(x)))
        return self._summed(path_sums(self._paths, leaves.reshape(len(x), -1), x.shape[1]))

    @cached_property
    def _paths(self) -> list[tuple[np.ndarray, np.ndarray]]:
        booster = self._boosters[0]
        return path_tables(booster.dump_model()["tree_info"], booster.num_feature())

    @property
    def _of_numbers(self) -> Any:
        booster = self._boosters[0]
        if self.link or booster.num_model_per_iteration() > 1:
            raise LearnerError("contributions are told of numbers, not of classes")
        return booster

    def _summed(self, found: np.ndarray) -> np.ndarray:
        """Contributions to the raw sum of the trees as contributions to the answer."""
        booster = self._boosters[0]
        if self.centres:
            found = found / max(booster.num_trees(), 1)
            found[:, -1] += self.centres[0]
        return of_exponential(found) if self.logarithmic else found

    def gains(self) -> np.ndarray:
        """Total gain of the splits of each feature: float64 (features,)."""
        return np.sum([booster.feature_importance("gain") for booster in self._boosters], axis=0)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """No arrays, the texts."""
        told = {"link": self.link, "centres": list(self.centres), "logarithmic": self.logarithmic}
        return {}, {"texts": list(self.texts), **told}

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Trees:
        """The inverse of `state`; also of the first form, which had one text and was never a forest."""
        if "text" in values:
            return cls((values["text"],), link="second" if values.get("binary", False) else "")
        flags = {name: values[name] for name in ("link", "logarithmic")}
        return cls(tuple(values["texts"]), centres=tuple(values["centres"]), **flags)


#: None stands for what suits the number of rows.
KNOWN: Known = {
    "objective": Choice(None, ("l1", "l2", "huber", "quantile", "tweedie", "poisson")),
    "alpha": Number(0.9, 0.0, 1.0),
    "tweedie_variance_power": Number(1.5, 1.0, 1.999),
    "boosting": Choice("gbdt", ("gbdt", "rf", "extra_trees")),
    "rounds": Number(None, 1, whole=True),
    "learning_rate": Number(None, 1e-6, 1.0),
    "num_leaves": Number(None, 2, 131072, whole=True),
    "max_depth": Number(-1, -1, whole=True),
    "min_data_in_leaf": Number(None, 1, whole=True),
    "max_bin": Number(None, 2, 65535, whole=True),
    "feature_fraction": Number(None, 0.01, 1.0),
    "feature_fraction_bynode": Number(None, 0.01, 1.0),
    "bagging_fraction": Number(None, 0.01, 1.0),
    "bagging_freq": Number(1, 0, whole=True),
    "lambda_l1": Number(0.0, 0.0),
    "lambda_l2": Number(0.0, 0.0),
    "min_gain_to_split": Number(0.0, 0.0),
    "path_smooth": Number(0.0, 0.0),
    "min_data_per_group": Number(None, 1, whole=True),
    "cat_smooth": Number(10.0, 0.0),
    "cat_l2": Number(10.0, 0.0),
    "extra_trees": Choice(False, (False, True)),
}


class LightGBM(Reduction):
    """LightGBM; series by lags, windows, calendar and covariates. Absolute or squared errors, as the metric wants."""

    name = "light_gbm"
    parameters: ClassVar[Known] = KNOWN
    search_space: ClassVar[Mapping[str, Range]] = {
        "num_leaves": Range(4, 512, 8, whole=True),
        "learning_rate": Range(0.01, 0.3, 0.1),
        "rounds": Range(20, 1000, 50, whole=True),
        "min_data_in_leaf": Range(2, 500, 20, whole=True),
        "feature_fraction": Range(0.2, 1.0, 0.8, log=False),
        "bagging_fraction": Range(0.3, 1.0, 0.8, log=False),
        "lambda_l2": Range(1e-3, 100.0, 1e-3),
        "lambda_l1": Range(1e-3, 100.0, 1e-3),
    }
    capabilities = replace(Reduction.capabilities, cost=0.05)

    def space(self, facts: Facts) -> Sequence[Params]:
        """For rows, also slow and small trees."""
        if facts.separable:
            return super().space(facts)
        return [{}, {"learning_rate": 0.03, "rounds": 300}, {"num_leaves": 6, "rounds": 200}]

    def fit_table(self, rows: TrainingTable, params: Params, context: FitContext) -> Trees:
        """rounds: number of trees; boosting: "gbdt", or forests "rf" and "extra_trees"; the others are LightGBM's own.
        Looks at the deadline after every tree."""
        given = settled(self.name, self.parameters, params)
        if rows.classes and given["objective"] is not None:
            raise ConfigError(
                f"{self.name}: parameter 'objective' is {given['objective']!r}, but classes have one of their own"
            )
        if rows.weight is not None and not rows.weight.any():
            rows = replace(rows, weight=None)
        forest = given["boosting"] != "gbdt"
        if not rows.classes:
            settings = self._of_numbers(rows, given, context)
            text, centres = _grown(rows, settings, context)
            return Trees((text,), context.threads, "", centres, settings["objective"] in LOGARITHMIC)
        if not forest:
            chosen = (
                {"objective": "binary"} if rows.classes == 2 else {"objective": "multiclass", "num_class": rows.classes}
            )
            text = _trained(rows, {**_boosting(len(rows.y)), **_given(given), **chosen}, context)
            return Trees((text,), context.threads, "second" if rows.classes == 2 else "")
        return self._forest_of_classes(rows, given, context)

    def restore_table(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Trees:
        """The inverse of `Trees.state`."""
        return Trees.restore(values)

    def _of_numbers(self, rows: TrainingTable, given: Params, context: FitContext) -> dict[str, Any]:
        """LightGBM's settings for a target of numbers."""
        forest = given["boosting"] != "gbdt"
        # The trees of a forest are deep: in leaves of few rows a mean says more than a median, by any metric.
        objective = given["objective"] or ("l2" if forest or context.metric in SQUARED else "l1")
        if objective in LOGARITHMIC and forest:
            raise ConfigError(f"{self.name}: the objective {objective!r} needs boosting=gbdt")
        if objective in LOGARITHMIC and (rows.y < 0).any():
            raise LearnerError(
                f"{self.name}: the objective {objective!r} needs a target that is nowhere below 0 in the scale in "
                "which it is learned; for series use transform=mean, else another objective"
            )
        if np.ptp(rows.y) == 0:
            return {**_boosting(1), "objective": "l2", "boosting": "gbdt", "rounds": 1}
        own = _forest(len(rows.y), rows.x.shape[1], given["boosting"]) if forest else _boosting(len(rows.y))
        return {**own, **_given(given), "objective": objective, "boosting": "rf" if forest else "gbdt"}

    def _forest_of_classes(self, rows: TrainingTable, given: Params, context: FitContext) -> Trees:
        """A forest of squared errors for each class: its leaves hold shares of the class, and their mean is one too."""
        grown, which = [], [1] if rows.classes == 2 else range(rows.classes)
        fewer = max(10, MOST_TREES // len(which))
        for k in which:
            part = replace(rows, y=(rows.y == k).astype(np.float64), classes=0)
            settings = self._of_numbers(part, {**given, "objective": "l2"}, context)
            grown.append(_grown(part, {**settings, "rounds": min(settings["rounds"], fewer)}, context))
        link = "second" if rows.classes == 2 else "shares"
        centres = tuple(centre for _, alone in grown for centre in alone or (0.0,))
        return Trees(tuple(text for text, _ in grown), context.threads, link, centres)


class RandomForest(LightGBM):
    """A random forest (Breiman 2001) grown by LightGBM: bags of rows, and at each split a part of the features."""

    name = "random_forest"
    parameters: ClassVar[Known] = {**KNOWN, "boosting": Choice("rf", ("rf",))}
    search_space: ClassVar[Mapping[str, Range]] = {
        "num_leaves": Range(8, 2048, 32, whole=True),
        "min_data_in_leaf": Range(1, 200, 10, whole=True),
        "feature_fraction_bynode": Range(0.1, 1.0, 0.4, log=False),
        "rounds": Range(20, 300, 30, whole=True),
    }
    capabilities = replace(LightGBM.capabilities, cost=0.04)

    def space(self, facts: Facts) -> Sequence[Params]:
        """For rows, also more features at each split."""
        return Reduction.space(self, facts) if facts.separable else [{}, {"feature_fraction_bynode": 0.9}]


class ExtremeRandomTrees(RandomForest):
    """Extremely randomised trees (Geurts et al. 2006) grown by LightGBM: one random threshold for each feature."""

    name = "extreme_random_trees"
    parameters: ClassVar[Known] = {**KNOWN, "boosting": Choice("extra_trees", ("extra_trees",))}


def _boosting(n: int) -> dict[str, Any]:
    """Settings that suit so many rows. More or larger trees did not pay on 10,000 to 120,000 rows of sales, energy and
    competition series; a search finds where they do."""
    return {
        "rounds": 100,
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_data_in_leaf": int(np.clip(n / 10, 3, 20)),
        "max_bin": 127,
        "min_data_per_group": _smallest_group(n),
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
    }


def _forest(n: int, features: int, kind: str) -> dict[str, Any]:
    """Settings of a forest that suit so many rows and features."""
    random = kind == "extra_trees"
    return {
        "rounds": 100 if n < 20_000 else 60,
        "learning_rate": 1.0,
        "num_leaves": int(np.clip(n // 4, 8, 256)),
        "min_data_in_leaf": int(np.clip(math.sqrt(n) / 20, 2, 20)),
        "max_bin": 127 if n < 20_000 else 63,
        "min_data_per_group": _smallest_group(n),
        "feature_fraction": 1.0,
        "feature_fraction_bynode": 0.8 if random else min(1.0, max(0.4, 3 / max(features, 1))),
        "bagging_fraction": min(0.9 if random else 0.632, ROWS_PER_TREE / max(n, 1)),
        "extra_trees": random,
    }


def _smallest_group(n: int) -> int:
    """Rows of a level of a category, below which it is not split off: LightGBM's own 100 leaves few rows unsplit."""
    return int(np.clip(n // 50, 3, 100))


def _given(params: Params) -> dict[str, Any]:
    """What the user or a default of `KNOWN` settles, without what is left to the number of rows."""
    rest = {name: value for name, value in params.items() if value is not None}
    if params["boosting"] == "extra_trees":
        del rest["extra_trees"]
    return rest


def _grown(
    rows: TrainingTable, settings: Mapping[str, Any], context: FitContext
) -> tuple[str, tuple[float] | tuple[()]]:
    """Trees in LightGBM's text form, and of a forest the mean that its targets were told without: a forest that could
    not split a single time would answer 0."""
    if settings["boosting"] != "rf":
        return _trained(rows, settings, context), ()
    centre = float(np.average(rows.y, weights=rows.weight))
    return _trained(replace(rows, y=rows.y - centre), settings, context), (centre,)


def _trained(rows: TrainingTable, settings: Mapping[str, Any], context: FitContext) -> str:
    """Trees in LightGBM's text form."""
    import lightgbm

    settings = {
        **settings,
        "seed": context.seed % 2**31,
        "num_threads": _threads(context.threads, len(rows.y)),
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    rounds = settings.pop("rounds")
    if len(rows.y) * settings["bagging_fraction"] < 2 * settings["min_data_in_leaf"]:
        # LightGBM refuses a bag without rows; a bag too small to be split once would only add noise.
        settings["bagging_freq"], settings["feature_fraction"] = 0, 0.99
    data = lightgbm.Dataset(
        rows.x,
        rows.y,
        weight=rows.weight,
        feature_name=[f"f{i}" for i in range(rows.x.shape[1])],
        categorical_feature=list(rows.categorical),
        params=settings,
    )
    look: Callable[[Any], None] = lambda _: context.deadline.check()  # noqa: E731
    return lightgbm.train(settings, data, rounds, callbacks=[look]).model_to_string()


def _threads(allowed: int, n: int) -> int:
    return max(1, min(allowed, n // ROWS_PER_THREAD))
