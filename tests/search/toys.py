"""Toy learners for tests of the search: each does one thing, well or badly."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

from forecastml.protocols import Capabilities, Prediction


@dataclass(frozen=True, eq=False)
class Constant:
    """Forecasts one value per series."""

    level: np.ndarray
    status: tuple[str, ...]

    def predict(self, inputs, horizon, outputs):
        values = np.full((len(inputs) * horizon, len(outputs)), np.nan)
        values[:, 0] = np.repeat(self.level, horizon)
        return Prediction(values, outputs)

    def append(self, data):
        return self

    def take(self, items):
        return Constant(self.level[items], tuple(self.status[i] for i in items))

    def stack(self, others):
        every = [self, *others]
        return Constant(np.concatenate([f.level for f in every]), tuple(s for f in every for s in f.status))

    def state(self):
        return {"level": self.level}, {"status": list(self.status)}


class Shift:
    """The last value plus `by`: as good as naive when `by` is 0, worse the larger it is."""

    capabilities = Capabilities(missing=True)

    def __init__(self, name="shift", **capabilities):
        self.name = name
        self.capabilities = Capabilities(missing=True, **capabilities)

    def space(self, facts):
        return [{"by": 0.0}]

    def fit(self, train, params, context):
        return Constant(train.target[train.end - 1] + params.get("by", 0.0), ("ok",) * len(train))

    def restore(self, arrays, values):
        return Constant(arrays["level"], tuple(values["status"]))


class Poisoned(Shift):
    """Raises when the panel holds a value above 1e6."""

    def fit(self, train, params, context):
        if any((train.values(i) > 1e6).any() for i in range(len(train))):
            raise ArithmeticError("too large to bear")
        return super().fit(train, params, context)


class Broken(Shift):
    """Raises always."""

    def fit(self, train, params, context):
        raise RuntimeError("never works")


class WrongShape(Shift):
    """Predicts too few rows."""

    def fit(self, train, params, context):
        return super().fit(train.select(np.arange(len(train) - 1)), params, context)


class Sleeper(Shift):
    """Sleeps through every deadline; can only be stopped from outside."""

    def fit(self, train, params, context):
        time.sleep(600)
        return super().fit(train, params, context)


class Suicide(Shift):
    """Dies as native code does."""

    def fit(self, train, params, context):
        os._exit(3)


class Impatient(Shift):
    """Stands for the user who presses Ctrl-C while it is fitted."""

    def fit(self, train, params, context):
        raise KeyboardInterrupt
