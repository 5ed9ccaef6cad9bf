"""Groups of every difficult kind, and learners that fail for some of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

import forecastml as fm
from tests.search.toys import Constant, Shift
from tests.tables import monthly

HORIZON = 6
TASK = fm.Forecasting(horizon=HORIZON, series="unique_id", group="unique_id", step=HORIZON, n_folds=3)


def difficult() -> pd.DataFrame:
    """Six healthy series and others: short, with holes where folds are judged, ended early, without a value."""
    table = monthly(6)
    odd = monthly(8, seed=1)
    names = ["tiny", "one_fold", "hole_old", "hole_new", "early", "late_start", "nothing", "guilty"]
    odd["unique_id"] = odd["unique_id"].map({f"{i:03d}": name for i, name in enumerate(names)})
    back = odd.groupby("unique_id").cumcount(ascending=False)
    name = odd["unique_id"]
    odd = odd[
        ~((name == "tiny") & (back >= 4))
        & ~((name == "one_fold") & (back >= 10))
        & ~((name == "late_start") & (back >= 33))
        & ~((name == "early") & (back < 9))
    ].copy()
    back, name = back[odd.index], odd["unique_id"]
    odd.loc[(name == "hole_old") & back.between(12, 17), "y"] = np.nan
    odd.loc[(name == "hole_new") & back.between(1, 5), "y"] = np.nan
    odd.loc[name == "nothing", "y"] = np.nan
    odd.loc[(name == "guilty") & (back == 30), "y"] = -1e6
    return pd.concat([table, odd], ignore_index=True)


@dataclass(frozen=True, eq=False)
class Moody(Constant):
    """Raises when it is asked about series whose level is below `least`."""

    least: float = -np.inf

    def predict(self, inputs, horizon, outputs):
        if (self.level < self.least).any():
            raise ArithmeticError("a bad day")
        return super().predict(inputs, horizon, outputs)

    def take(self, items):
        return Moody(self.level[items], tuple(self.status[i] for i in items), self.least)

    def stack(self, others):
        every = [self, *others]
        levels, statuses = [f.level for f in every], [s for f in every for s in f.status]
        return Moody(np.concatenate(levels), tuple(statuses), self.least)


class Fussy(Shift):
    """The mean of the last values. fits, predicts: whether a series (its values) can be fitted, and forecast then."""

    def __init__(self, name, fits=lambda values: True, predicts=lambda values: True, window=12):
        super().__init__(name)
        self.fits, self.predicts, self.window = fits, predicts, window

    def fit(self, train, params, context):
        every = [train.values(i) for i in range(len(train))]
        if not all(self.fits(values) for values in every):
            raise ArithmeticError("cannot be fitted")
        can = np.array([self.predicts(values) for values in every], dtype=bool)
        level = np.array([np.nanmean(v[-self.window :]) if (~np.isnan(v)).any() else 0.0 for v in every])
        return Moody(np.where(can, level, -np.inf), ("ok",) * len(train), -1e300)

    def restore(self, arrays, values):
        return Moody(arrays["level"], tuple(values["status"]), -1e300)


class Learning(Fussy):
    """Refitted from what it was before, which shows in the forecast."""

    def refit(self, previous, train, context):
        new = self.fit(train, {}, context)
        return Moody(0.5 * new.level + 0.5 * previous.level, new.status, new.least)
