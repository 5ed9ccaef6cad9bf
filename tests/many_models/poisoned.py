"""A learner that harms the process it runs in, for groups whose key is the name of a harm."""

import numpy as np

from forecastml.learners.baseline import Average
from forecastml.protocols import Prediction
from tests.many_models import poison


class Poisoned:
    """The average; but a series whose key is a kind of harm does this harm."""

    name = "poisoned"
    capabilities = Average.capabilities

    def space(self, facts):
        return [{}]

    def fit(self, train, params, context):
        keys = [str(key[0]) for key in train.keys]
        for key in keys:
            if key in poison.REASONS:
                poison.harm(key)
            if key == "floods":
                poison.flood(2**30)
        return Fit(Average().fit(train, params, context), tuple(keys))

    def restore(self, arrays, values):
        return Fit(Average().restore(arrays, values["average"]), tuple(values["keys"]))


class Fit:
    def __init__(self, average, keys):
        self.average, self.keys, self.status = average, keys, average.status

    def predict(self, inputs, horizon, outputs):
        values = self.average.predict(inputs, horizon, outputs).values
        if "is not a number" in self.keys:
            values = np.where(np.repeat(np.array(self.keys) == "is not a number", horizon)[:, None], np.nan, values)
        if "has a wrong shape" in self.keys:
            values = values[:-1]
        return Prediction(values, outputs)

    def append(self, data):
        return Fit(self.average.append(data), self.keys)

    def take(self, items):
        return Fit(self.average.take(items), tuple(self.keys[i] for i in items))

    def stack(self, others):
        return Fit(self.average.stack([o.average for o in others]), sum((o.keys for o in others), self.keys))

    def state(self):
        arrays, values = self.average.state()
        return arrays, {"average": values, "keys": list(self.keys)}
