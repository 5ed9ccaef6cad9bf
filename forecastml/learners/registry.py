"""Learners by name. Adding one is a class and a line here, or `register` from anywhere."""

from __future__ import annotations

import ast
import difflib
import importlib
import re
from collections.abc import Iterable
from typing import Any

from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.protocols import Candidate, FitContext, Learner

#: name -> "module:class"; the module is imported when the learner is first used.
BUILT_IN = {
    "naive": "forecastml.learners.baseline:Naive",
    "seasonal_naive": "forecastml.learners.baseline:SeasonalNaive",
    "average": "forecastml.learners.baseline:Average",
    "seasonal_average": "forecastml.learners.baseline:SeasonalAverage",
    "drift": "forecastml.learners.baseline:Drift",
    "window_average": "forecastml.learners.windowed:WindowAverage",
    "seasonal_window_average": "forecastml.learners.windowed:SeasonalWindowAverage",
    "seasonal_median": "forecastml.learners.windowed:SeasonalMedian",
    "exponential_smoothing": "forecastml.learners.exponential_smoothing:ExponentialSmoothing",
    "auto_ets": "forecastml.learners.exponential_smoothing:AutoETS",
    "theta": "forecastml.learners.theta:Theta",
    "optimized_theta": "forecastml.learners.theta:OptimizedTheta",
    "dynamic_optimized_theta": "forecastml.learners.theta:DynamicOptimizedTheta",
    "ces": "forecastml.learners.complex_smoothing:ComplexSmoothing",
    "mstl": "forecastml.learners.mstl:Mstl",
    "auto_arima": "forecastml.learners.arima:AutoArima",
    "arimax": "forecastml.learners.arima:Arimax",
    "median": "forecastml.learners.median:Median",
    "croston": "forecastml.learners.intermittent:Croston",
    "sba": "forecastml.learners.intermittent:SBA",
    "tsb": "forecastml.learners.intermittent:TSB",
    "adida": "forecastml.learners.intermittent:ADIDA",
    "imapa": "forecastml.learners.intermittent:IMAPA",
    "ridge": "forecastml.learners.linear:Ridge",
    "elastic_net": "forecastml.learners.linear:ElasticNet",
    "lasso_lars": "forecastml.learners.linear:LassoLars",
    "sgd": "forecastml.learners.sgd:SGD",
    "knn": "forecastml.learners.neighbours:Neighbours",
    "decision_tree": "forecastml.learners.trees:DecisionTree",
    "light_gbm": "forecastml.learners.boosting:LightGBM",
    "random_forest": "forecastml.learners.boosting:RandomForest",
    "extreme_random_trees": "forecastml.learners.boosting:ExtremeRandomTrees",
    "gradient_boosting": "forecastml.learners.trees:GradientBoosting",
    "prophet": "forecastml.learners.prophet:Prophet",
    "dummy": "forecastml.learners.dummy:Dummy",
    "logistic": "forecastml.learners.linear:Logistic",
}

_registered: dict[str, Learner] = {}


def register(learner: Learner) -> Learner:
    """Make a learner of your own known by its name; it then takes part like the built-in ones."""
    for attribute in ("name", "capabilities", "space", "fit", "restore"):
        if not hasattr(learner, attribute):
            raise ConfigError(f"learner {learner!r} has no {attribute!r}; see forecastml.protocols.Learner")
    _registered[learner.name] = learner
    return learner


def unregister(name: str) -> None:
    """Forget a registered learner; a built-in one of the same name comes back."""
    _registered.pop(name, None)


def registered() -> tuple[Learner, ...]:
    """The learners that were registered, for another process to register them too."""
    return tuple(_registered.values())


def learner_names() -> tuple[str, ...]:
    """All known names: built-in first, then registered."""
    return tuple(dict.fromkeys((*BUILT_IN, *_registered)))


def get_learner(name: str) -> Learner:
    """The learner of this name, or `ConfigError` that lists the known ones."""
    if name in _registered:
        return _registered[name]
    if name not in BUILT_IN:
        near = difflib.get_close_matches(name, learner_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"learner {name!r} is unknown; {hint}known are {', '.join(learner_names())}")
    module, attribute = BUILT_IN[name].split(":")
    return getattr(importlib.import_module(module), attribute)()


def named(text: str) -> Candidate:
    """A candidate as it is written on the leaderboard, a learner's name with or without parameters.

    Raises `ConfigError` for what cannot be read, and for an unknown learner.

    >>> named("exponential_smoothing(season_length=12, combine=select)").params
    {'season_length': 12, 'combine': 'select'}
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text, flags=re.DOTALL)
    if found is None:
        raise ConfigError(f"learner {text!r} cannot be read; write a name, or name(parameter=value, parameter=value)")
    name, inside = found.groups()
    get_learner(name)
    params = {}
    for part in _parts(inside or ""):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if part.strip() and not (key and equals and value):
            raise ConfigError(f"learner {text!r}: {part.strip()!r} cannot be read; write parameter=value")
        if key:
            params[key] = _value(value)
    return Candidate(name, params)


def checked(candidate: Candidate) -> Candidate:
    """The candidate, or `ConfigError` when its parameters are not those of its learner (of the built-in ones of series,
    which can fit the shortest of them)."""
    learner = get_learner(candidate.learner)
    if candidate.params and candidate.learner in BUILT_IN and "forecasting" in learner.capabilities.tasks:
        learner.fit(Panel.of([[1.0, 2.0, 1.0]]), candidate.params, FitContext())
    return candidate


def _parts(text: str) -> list[str]:
    """What stands between the commas that are in no brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth <= 0:
            found.append("")
        else:
            found[-1] += letter
    return found


def _value(text: str) -> Any:
    """A number, a list, a truth value or None as Python writes them; any other text as it is, in lists too."""
    if text.startswith("[") and text.endswith("]"):
        return [_value(part.strip()) for part in _parts(text[1:-1]) if part.strip()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple, or `ConfigError` for the first unknown one."""
    names = tuple(names)
    for name in names:
        get_learner(name)
    return names
