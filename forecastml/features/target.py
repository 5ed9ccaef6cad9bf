"""Target transforms: a value is told as its distance from a base in the series' own scale, and told back.

    told = (power(value) - base) / scale          value = power^-1(base + scale * told)

The base of a point is read from what was known at its origin, so that it moves along and trees, which cannot leave the
range of what they saw, follow a trend. The scale is one number per series, so that series of all sizes can share a
model. A transform by name is made of three parts:

    power   "none"; "log" (of 1 + value); "box_cox", with one exponent for all series, found when fitted
    base    "last": the value at the origin; "slot": the last known value at the point's place in the season, moved by
            the mean change over the last season for each further season that lies between; "level": the mean of the
            last season, or of the last `LEVEL_VALUES`; each the value at the origin where it reaches back before the
            start;
            "auto": one of these for each series, by tests of its history (`features.standing.choices`);
            "trend": the straight line through the last values, as far as the point;
            "mean", "min", "median": of the history that a forecast keeps; "zero": nothing
    scale   "error", "mean", "std", "range", "iqr", "none": see `features.standing.scales`
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.panel import Panel, extent, ragged_rows
from forecastml.errors import ConfigError, LearnerError
from forecastml.features.history import History
from forecastml.features.history_features import Windows, gathered
from forecastml.features.points import Points
from forecastml.features.slots import Before, newest_known
from forecastml.features.standing import CHOICES, Standing, centres, choices, scales
from forecastml.kernels.powers import LARGEST, box_cox, guerrero, inverse_box_cox

#: name -> power, base, scale
TRANSFORMS = {
    "scale": ("none", "level", "error"),
    "difference": ("none", "last", "error"),
    "seasonal_difference": ("none", "slot", "error"),
    "auto_difference": ("none", "auto", "error"),
    "detrend": ("none", "trend", "error"),
    "log": ("log", "level", "error"),
    "log_difference": ("log", "last", "error"),
    "log_seasonal_difference": ("log", "slot", "error"),
    "log_auto_difference": ("log", "auto", "error"),
    "box_cox": ("box_cox", "level", "error"),
    "mean": ("none", "zero", "mean"),
    "standard": ("none", "mean", "std"),
    "min_max": ("none", "min", "range"),
    "robust": ("none", "median", "iqr"),
    "none": ("none", "zero", "none"),
}
KINDS = tuple(TRANSFORMS)
#: Seasons, and at least so many values, that a straight line is drawn through; and values where there is no season.
TREND_SEASONS, TREND_VALUES, TREND_VALUES_ALONE = 2, 12, 24
#: Values whose mean is the level of a series without a season.
LEVEL_VALUES = 8
#: A forecast rises above the largest value of the history kept by so many times its size at most, where a power would
#: make it explode.
ROOM = 9.0
#: Values must be above this for a power.
BOUNDS = {"log": -1.0, "box_cox": 0.0}


@dataclass(frozen=True)
class TargetTransform:
    """kind: one of `TRANSFORMS`; season: m, 1 for none; exponent: of "box_cox", None before it is fitted."""

    kind: str
    season: int = 1
    exponent: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in TRANSFORMS:
            raise ConfigError(f"transform {self.kind!r} is unknown; use {', '.join(KINDS)}")

    @property
    def power(self) -> str:
        """The first part."""
        return TRANSFORMS[self.kind][0]

    @property
    def bound(self) -> str:
        """What values have to be, as an end of a message; "" where all will do."""
        return f" above {BOUNDS[self.power]:g}" if self.power in BOUNDS else ""

    @property
    def depth(self) -> int:
        """How many values before the origin a base reads."""
        if TRANSFORMS[self.kind][1] == "trend":
            return max(TREND_SEASONS * self.season, TREND_VALUES) if self.season > 1 else TREND_VALUES_ALONE
        slot = 2 * self.season
        depths = {"last": 1, "slot": slot, "auto": max(slot, self.window)}
        return depths.get(TRANSFORMS[self.kind][1], self.window)

    @property
    def window(self) -> int:
        """Values of a level: a season, or a few where there is none."""
        return self.season if self.season > 1 else LEVEL_VALUES

    def fitted(self, train: Panel) -> TargetTransform:
        """With what it takes from the training values; `LearnerError` where the power has no answer for one of them."""
        if self.power == "none":
            return self
        bound = BOUNDS[self.power]
        low, _ = extent(train)
        if (low <= bound).any():
            i = int(np.argmax(low <= bound))
            raise LearnerError(
                f"transform {self.kind!r} needs values above {bound:g}, but column {train.schema.target!r} of "
                f"{train.label(i)} has {low[i]:g}; use one without a power, such as transform='scale'"
            )
        if self.power != "box_cox":
            return self
        end = np.cumsum(train.lengths)
        values = train.target[ragged_rows(train.begin, train.end)]
        found = guerrero(values, end - train.lengths, end, self.window)
        found = found[~np.isnan(found)]
        return replace(self, exponent=float(np.median(found)) if len(found) else 1.0)

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Values after the power; NaN where it has none."""
        if self.power == "none":
            return values
        if self.power == "box_cox":
            return box_cox(values, self._exponent)
        return np.log1p(values, out=np.full(np.shape(values), np.nan), where=values > -1)

    def backward(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `forward`."""
        if self.power == "none":
            return values
        if self.power == "box_cox":
            return inverse_box_cox(values, self._exponent)
        return np.expm1(np.minimum(values, LARGEST))

    def levels(self, history: History, ahead: int = 1) -> list[np.ndarray]:
        """What a base needs to know of each origin, told about every row from the rows before it.

        ahead: the furthest step of the points.
        """
        base, latest = TRANSFORMS[self.kind][1], history.earlier(history.values, 1)
        if base == "trend":
            return _straight_lines(history, latest, self.depth)
        found = [latest]
        if base in ("slot", "auto"):
            far = ahead > self.season > 1
            found.append(_season_change(history, latest, self.season) if far else np.zeros(latest.shape))
        if base in ("level", "auto"):
            (mean,) = Windows((self.window,), ("mean",)).columns(history)
            found.append(np.where(np.isnan(mean), latest, mean))
        return found

    def base(self, levels: list[np.ndarray], before: Before, points: Points, standing: Standing) -> np.ndarray:
        """The base of each point: float64 (points,). levels: at the points' origins, (points,) each."""
        kind = TRANSFORMS[self.kind][1]
        if kind == "trend":
            return levels[0] + levels[1] * points.step
        if kind == "slot":
            return self._slot(levels, before, points)
        if kind in ("last", "level"):
            return levels[-1]
        if kind == "auto":
            chosen = standing.choice[points.series]
            moved = np.where(chosen == CHOICES.index("last"), levels[0], levels[-1])
            seasonal = chosen == CHOICES.index("slot")
            return np.where(seasonal, self._slot(levels, before, points), moved) if seasonal.any() else moved
        fixed = 0.0 if kind == "zero" else standing.centre[points.series]
        return np.where(np.isnan(levels[0]), np.nan, fixed)

    def standing(self, kept: Panel) -> Standing:
        """What the history kept tells of each series. kept: compact, after the power, missing values filled forward."""
        _, base, scale = TRANSFORMS[self.kind]
        fixed = base in ("mean", "min", "median")
        return Standing(
            scales(kept, scale, self.window),
            centres(kept, base) if fixed else np.zeros(len(kept)),
            self._ceilings(kept),
            choices(kept, self.season) if base == "auto" else np.zeros(len(kept), np.int64),
        )

    def _ceilings(self, kept: Panel) -> np.ndarray:
        if self.power == "none":
            return np.full(len(kept), np.inf)
        largest = np.minimum(self.backward(extent(kept)[1]), np.finfo(float).max / (1.0 + ROOM))
        return self.forward(largest + ROOM * np.abs(largest))

    def _slot(self, levels: list[np.ndarray], before: Before, points: Points) -> np.ndarray:
        latest, change = levels[:2]
        back = newest_known(points.step, self.season)
        same = before(back) + (back // self.season - 1) * change
        return np.where(np.isnan(same), latest, same)

    @property
    def _exponent(self) -> float:
        if self.exponent is None:
            raise ConfigError("transform 'box_cox' has no exponent yet; call `fitted` with training values")
        return self.exponent


def _season_change(history: History, latest: np.ndarray, season: int) -> np.ndarray:
    """Mean change of the last `season` values before each row from a season before; 0 where they do not reach back."""
    past = latest if history.position is not None else latest[-2 * season :]
    changes = past - history.earlier(past, season)
    found = np.zeros(latest.shape)
    found[-len(past) :] = np.nan_to_num(gathered(history, changes, season, np.add, np.nan)) / season
    return found


def _straight_lines(history: History, latest: np.ndarray, size: int) -> list[np.ndarray]:
    """Height at the origin and rise per row of the least squares line through the last `size` values before each row.

    Both follow from sums of differences d_a = y_{1-a} - y_{-a} with weights that are polynomials in a, so that they
    are exact for lines and series that never change: with n values
    rise = sum of 6 a (n - a) / (n (n^2 - 1)) d_a, height = y_0 - sum of (n - a) (n + 1 - 3 a) / (n (n + 1)) d_a.
    """
    past = latest if history.position is not None else latest[-size:]
    change = past - history.earlier(past, 1)
    known = ~np.isnan(change)
    change = np.where(known, change, 0.0)
    moments = np.stack([known.astype(np.float64), change, change, change], axis=-1)
    count, m0, m1, m2 = np.moveaxis(gathered(history, moments, size - 1, _joined, 0.0), -1, 0)
    n = count + 1.0
    rise = 6.0 * (n * m1 - m2) / np.maximum(n * (n * n - 1.0), 1.0)
    height = past - (n * (n + 1.0) * m0 - (4.0 * n + 1.0) * m1 + 3.0 * m2) / (n * (n + 1.0))
    if len(past) == len(latest):
        return [height, rise]
    found = np.full((2, *latest.shape), np.nan)
    found[0, -len(past) :], found[1, -len(past) :] = height, rise
    return list(found)


def _joined(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """Count and moments of differences, numbered backwards from 1, of two stretches that follow each other."""
    count, m0, m1, m2 = np.moveaxis(earlier, -1, 0)
    shift = later[..., 0]
    moved = np.stack([count, m0, m1 + shift * m0, m2 + 2.0 * shift * m1 + shift * shift * m0], axis=-1)
    return later + moved
