"""Panels on dates, and what features tell of all of their points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecastml.data.calendar import parse_frequency, to_ordinals
from forecastml.data.panel import Panel
from forecastml.features.points import Points


def dated(freq: str, starts: list[str], lengths: list[int], tz: str | None = None) -> Panel:
    """Series of zeros from these dates on; dates on clock grids are UTC."""
    frequency = parse_frequency(freq)
    ordinals, _ = to_ordinals(np.array(starts, dtype="datetime64[us]"), frequency)
    return replace(Panel.of([[0.0] * n for n in lengths], frequency, ordinals), tz=tz)


def every_point(panel: Panel) -> Points:
    """All points of a panel, one series after the other."""
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    position = np.concatenate([np.arange(n) for n in panel.lengths])
    return Points(series, position, np.ones(len(series), np.int64))


def told(feature, panel: Panel, points: Points | None = None) -> dict[str, list[float]]:
    """Name -> values of a feature at all points."""
    columns = feature.columns(panel, every_point(panel) if points is None else points)
    return {name: list(column) for name, column in zip(feature.names, columns, strict=True)}
