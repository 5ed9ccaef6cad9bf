from __future__ import annotations

import subprocess
import sys

import forecastml

PUBLIC = {
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
}
HEAVY = ("pandas", "polars", "narwhals", "pyarrow", "lightgbm", "scipy", "sklearn", "statsmodels", "joblib", "rich")


def test_the_public_names_are_these():
    errors = {name for name in forecastml.__all__ if name.endswith(("Error", "Exceeded", "Extra", "Warning"))}
    assert set(forecastml.__all__) - errors - {"__version__"} == PUBLIC
    assert len(forecastml.__all__) == len(set(forecastml.__all__))


def test_every_public_name_exists_and_is_listed_by_dir():
    for name in forecastml.__all__:
        assert getattr(forecastml, name) is not None
        assert name in dir(forecastml)


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(forecastml, "no_such_name")


def test_import_loads_no_heavy_library():
    code = f"import forecastml, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert done.stderr == ""
