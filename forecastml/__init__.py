"""Time-series AutoML: `fit(table, Forecasting(horizon=...))` -> leaderboard -> forecast.

Names are loaded when first used, so that importing the package stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecastml.automl import fit
    from forecastml.backtesting import Backtest, backtest
    from forecastml.config import Config
    from forecastml.estimators import AutoClassifier, AutoForecaster, AutoRegressor
    from forecastml.forecaster import Forecaster
    from forecastml.learners.registry import register
    from forecastml.metrics import register_metric
    from forecastml.model import FittedModel
    from forecastml.predictor import Predictor
    from forecastml.preparation import prepare
    from forecastml.prior import Prior
    from forecastml.storage import load
    from forecastml.task import Classification, Forecasting, Regression

__version__ = "0.1.0"

_HOMES = {
    "AutoClassifier": "forecastml.estimators",
    "AutoForecaster": "forecastml.estimators",
    "AutoRegressor": "forecastml.estimators",
    "Backtest": "forecastml.backtesting",
    "Classification": "forecastml.task",
    "Config": "forecastml.config",
    "FittedModel": "forecastml.model",
    "Forecaster": "forecastml.forecaster",
    "Forecasting": "forecastml.task",
    "Predictor": "forecastml.predictor",
    "Prior": "forecastml.prior",
    "Regression": "forecastml.task",
    "backtest": "forecastml.backtesting",
    "fit": "forecastml.automl",
    "load": "forecastml.storage",
    "prepare": "forecastml.preparation",
    "register": "forecastml.learners.registry",
    "register_metric": "forecastml.metrics",
}

__all__ = [
    "AutoClassifier",
    "AutoForecaster",
    "AutoRegressor",
    "Backtest",
    "Classification",
    "Config",
    "FittedModel",
    "Forecaster",
    "Forecasting",
    "Predictor",
    "Prior",
    "Regression",
    "backtest",
    "fit",
    "load",
    "prepare",
    "register",
    "register_metric",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
