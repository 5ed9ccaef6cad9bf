"""What stands in where a model's forecasts explode, and how far a forecast may go from the history.

Simple exponential smoothing with a fixed weight runs beside every model; a forecast that leaves the range of the
history by a set multiple of its width is replaced by it as a whole (seen at the fit) or kept at the border (later).
Memory, one number per series: "low", "high", "rows", range and number of the values seen; "level", "error", "errors",
state, sum of squared errors and their number of the smoothing; "replaced", 1 where it stands in.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from forecastml.kernels.ragged import spans
from forecastml.learners.chunks import Chunk

Memory = dict[str, np.ndarray]
#: A forecast that leaves the range of the history by more than this many times its width has exploded.
EXPLOSION = 10.0
#: Relative room for rounding.
ROUNDING = 1e-6
#: Weight of the newest value.
ALPHA = 0.2


def room(low: np.ndarray, high: np.ndarray, rows: np.ndarray, horizon: int) -> np.ndarray:
    """How far each step may lie outside the range of the history: float64 (horizon, series).

    `EXPLOSION` times the width of the range, more for steps that are further away than the history is long.
    """
    further = np.arange(1, horizon + 1)[:, None] / np.maximum(rows, 1)
    rounding = ROUNDING * np.maximum(np.abs(low), np.abs(high))
    return EXPLOSION * (high - low) * np.maximum(1.0, further) + rounding


def begun(chunk: Chunk) -> Memory:
    """The memory after the values of a chunk."""
    n = len(chunk)
    blank = {
        "low": np.full(n, np.inf),
        "high": np.full(n, -np.inf),
        "rows": np.zeros(n),
        "level": chunk.values[0].copy(),
        "error": np.zeros(n),
        "errors": np.zeros(n),
        "replaced": np.zeros(n),
    }
    return blank | moved_on(blank, chunk.values, chunk.lengths)


def moved_on(memory: Memory, values: np.ndarray, lengths: np.ndarray) -> Memory:
    """What changes after these scaled values, float64 (time, series), NaN unknown; lengths never increase."""
    moved = {name: memory[name].copy() for name in ("low", "high", "level", "error", "errors")}
    for first, last, n in spans(lengths):
        for t in range(first, last):
            value = values[t, :n]
            known = ~np.isnan(value)
            error = np.where(known, value - moved["level"][:n], 0.0)
            moved["level"][:n] += ALPHA * error
            moved["error"][:n] += error * error
            moved["errors"][:n] += known
            moved["low"][:n] = np.fmin(moved["low"][:n], value)
            moved["high"][:n] = np.fmax(moved["high"][:n], value)
    return {**moved, "rows": memory["rows"] + lengths}


def kept_inside(memory: Memory, values: np.ndarray) -> np.ndarray:
    """Values (horizon, series) no further from the history than `room` allows."""
    around = room(memory["low"], memory["high"], memory["rows"], len(values))
    return np.clip(values, memory["low"] - around, memory["high"] + around)


def stood_in(
    memory: Memory, mean: np.ndarray, quantiles: np.ndarray | None, levels: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean (horizon, series) and quantiles (levels, horizon, series), those of the smoothing where it stands in."""
    replaced = memory["replaced"] > 0
    mean = np.where(replaced, memory["level"], mean)
    if quantiles is None or not replaced.any():
        return mean, quantiles
    variance = memory["error"] / np.maximum(memory["errors"], 1.0)
    spread = np.sqrt(variance * (1.0 + ALPHA**2 * np.arange(len(mean))[:, None]))
    return mean, np.where(replaced, normal_quantiles(mean, spread, levels), quantiles)


def normal_quantiles(mean: np.ndarray, spread: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles of normal distributions: mean, spread (standard deviation) (...,) -> (levels, ...)."""
    return (
        np.stack([mean + NormalDist().inv_cdf(level) * spread for level in levels])
        if levels
        else np.empty((0, *mean.shape))
    )
