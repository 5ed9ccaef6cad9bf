"""Learners by name. Adding one is a class and a line here, or `register` from anywhere."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable

from forecastml.errors import ConfigError
from forecastml.protocols import Learner

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
    "light_gbm": "forecastml.learners.boosting:LightGBM",
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


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple, or `ConfigError` for the first unknown one."""
    names = tuple(names)
    for name in names:
        get_learner(name)
    return names
