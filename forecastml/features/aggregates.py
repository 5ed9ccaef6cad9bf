"""Aggregates of the values before a row by name, each over windows of any size; missing values are left out.

They are NaN where a window holds too few known values. `std` is the sample's (one degree of freedom less) and is joined
from parts as in Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample
variances", so that a high level costs no digits; a slope is found in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forecastml.errors import ConfigError
from forecastml.features.history import Arrays, Gathered, History, Outs, plus

#: Aggregates of a window and the unit that they are told in.
AGGREGATES = {
    "mean": "level",
    "min": "level",
    "max": "level",
    "median": "level",
    "std": "spread",
    "sum": "spread",
    "zeros": "number",
}
#: Values that are sorted at a time.
SORTED = 1 << 20


def quantile_level(name: str) -> float | None:
    """The level of an aggregate such as "q0.9" or "median"; None for others."""
    if name == "median":
        return 0.5
    found = re.fullmatch(r"q(0?\.\d+)", name)
    return float(found.group(1)) if found and 0 < float(found.group(1)) < 1 else None


def aggregate_unit(name: str) -> str:
    """The unit that an aggregate is told in, or `ConfigError` for an unknown one."""
    if name in AGGREGATES:
        return AGGREGATES[name]
    if isinstance(name, str) and quantile_level(name) is not None:
        return "level"
    raise ConfigError(f"aggregate {name!r} is unknown; use {', '.join(AGGREGATES)}, or a quantile such as q0.9")


def aggregated(history: History, sizes: Sequence[int], names: Sequence[str]) -> list[np.ndarray]:
    """By size, then by name, over the last `size` values: one per flat row, or (1, series)."""
    parts = {name: _PARTS[name](history) for name in names if name in _PARTS}
    if "mean" in parts and "std" in parts:
        parts["mean"] = parts["std"]
    found = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for size in sizes:
            joined = {id(part): part.over(size) for part in parts.values()}
            levels = [level for name in names if (level := quantile_level(name)) is not None]
            ordered = iter(_quantiles(history, size, levels))
            for name in names:
                own = name in parts
                found.append(_TOLD[name](history, joined[id(parts[name])], size) if own else next(ordered))
    return found


def _mean(history: History, joined: Arrays, size: int) -> np.ndarray:
    if len(joined) > 1:
        # Moments hold the mean.
        found = np.array(joined[1])
        found[joined[0] == 0] = np.nan
        return found
    return np.divide(joined[0], history.count(size))


def _sum(history: History, joined: Arrays, size: int) -> np.ndarray:
    return np.where(history.count(size) > 0, joined[0], np.nan)


def _extreme(history: History, joined: Arrays, size: int) -> np.ndarray:
    return joined[0]


def _spread(history: History, joined: Arrays, size: int) -> np.ndarray:
    count, _, squares = joined
    found = np.sqrt(squares / (count - 1.0))
    found[count <= 1] = np.nan
    return found


def _moments(history: History) -> Gathered:
    zeros = np.zeros_like(history.known)
    return Gathered.of(history, (history.known, history.numbers, zeros), _joined_moments, (0.0, 0.0, 0.0))


def _joined_moments(later: Arrays, earlier: Arrays, width: int, out: Outs) -> Arrays:
    """Count, mean, and sum of squares about it, of two parts together."""
    count = np.add(later[0], earlier[0], out=out[0])
    share = np.divide(earlier[0], np.fmax(count, 1.0))
    apart = np.subtract(earlier[1], later[1])
    share *= apart
    mean = np.add(later[1], share, out=out[1])
    apart *= share
    apart *= later[0]
    apart += later[2]
    return count, mean, np.add(apart, earlier[2], out=out[2])


_PARTS: dict[str, Callable[[History], Gathered]] = {
    "mean": lambda history: history.sums,
    "sum": lambda history: history.sums,
    "min": lambda history: Gathered.of(history, (history.past,), _least, (np.nan,)),
    "max": lambda history: Gathered.of(history, (history.past,), _largest, (np.nan,)),
    "std": _moments,
    "zeros": lambda history: Gathered.of(history, ((history.past == 0).astype(np.float64),), plus, (0.0,)),
}


def _least(later: Arrays, earlier: Arrays, width: int, out: Outs) -> Arrays:
    return (np.fmin(later[0], earlier[0], out=out[0]),)


def _largest(later: Arrays, earlier: Arrays, width: int, out: Outs) -> Arrays:
    return (np.fmax(later[0], earlier[0], out=out[0]),)


_TOLD: dict[str, Callable[[History, Arrays, int], np.ndarray]] = {
    "mean": _mean,
    "sum": _sum,
    "min": _extreme,
    "max": _extreme,
    "std": _spread,
    "zeros": _mean,
}


def _quantiles(history: History, size: int, levels: Sequence[float]) -> list[np.ndarray]:
    """Quantiles of the last `size` known values, on straight lines between them: one array per level."""
    if not levels:
        return []
    past = history.past
    if history.position is None:
        told = _of_sorted(np.sort(past[-size:].T, axis=1), levels)
        return [column[None] for column in told]
    # Further back than the longest series reaches there is nothing.
    size = min(size, int(history.position.max(initial=0)) + 1)
    back = np.arange(size - 1, -1, -1)
    padded = np.concatenate([np.full(size, np.nan), past])
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[1:]
    found = [np.empty(len(past)) for _ in levels]
    step = max(1, SORTED // size)
    for first in range(0, len(past), step):
        part = slice(first, first + step)
        inside = np.where(back <= history.position[part, None], windows[part], np.nan)
        for column, told in zip(found, _of_sorted(np.sort(inside, axis=1), levels), strict=True):
            column[part] = told
    return found


def _of_sorted(values: np.ndarray, levels: Sequence[float]) -> list[np.ndarray]:
    """values: float64 (rows, size), ascending, NaN last -> (rows,) per level."""
    count, rows = (~np.isnan(values)).sum(axis=1), np.arange(len(values))
    found = []
    for level in levels:
        place = np.maximum(count - 1, 0) * level
        low = place.astype(np.int64)
        below, above = values[rows, low], values[rows, np.minimum(low + 1, np.maximum(count - 1, 0))]
        found.append(below + (above - below) * (place - low))
    return found


@dataclass(frozen=True, eq=False)
class Line:
    """Least squares lines through the known values before a row."""

    parts: Gathered

    @classmethod
    def of(cls, history: History) -> Line:
        """Count, mean place (0 at the newest row), mean value, and sums of squares and products about them."""
        zeros = np.zeros_like(history.known)
        entries = (history.known, zeros, history.numbers, zeros, zeros)
        return cls(Gathered.of(history, entries, _joined_lines, (0.0,) * 5))

    def slope(self, size: int) -> np.ndarray:
        """Change per row over the last `size` rows; NaN with fewer than two known values."""
        count, _, _, squares, products = self.parts.over(size)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count > 1, products / squares, np.nan)


def _joined_lines(later: Arrays, earlier: Arrays, width: int, out: Outs) -> Arrays:
    count = np.add(later[0], earlier[0], out=out[0])
    share = earlier[0] / np.fmax(count, 1.0)
    # Where one part is empty its means are no places and values of anything, and its weight is 0.
    weight = later[0] * share
    place = earlier[1] - width - later[1]
    value = earlier[2] - later[2]
    return (
        count,
        np.add(later[1], place * share, out=out[1]),
        np.add(later[2], value * share, out=out[2]),
        np.add(later[3] + earlier[3], place * place * weight, out=out[3]),
        np.add(later[4] + earlier[4], place * value * weight, out=out[4]),
    )
