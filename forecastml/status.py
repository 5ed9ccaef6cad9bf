"""How a model serves each of its series, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecastml.data.panel import Panel

#: State of a series -> why.
REASONS = {
    "ok": "",
    "pooled": "too short for a fold: weights of all series",
    "fallback": "no member could serve it",
    "skipped": "it ended long before the others",
}


#: What is told of a series for which members have given up their own forecasts.
REPLACED = "simple smoothing stands in for {}, whose own forecasts exploded"


@dataclass(frozen=True, eq=False)
class Service:
    """How the members of a model serve its series.

    names: of the members; weights: float64 (series, members), 0 where a member does not serve a series; replaced: bool
    (series, members), where a simpler forecast stands in for the member's own.
    """

    names: Sequence[str]
    weights: np.ndarray
    replaced: np.ndarray

    def labels(self) -> list[str]:
        """What there is to tell of each series, "" for nothing."""
        used = self.replaced & (self.weights > 0)
        labels = [""] * len(used)
        for i in np.flatnonzero(used.any(axis=1)):
            labels[i] = REPLACED.format(", ".join(self.names[m] for m in np.flatnonzero(used[i])))
        return labels

    def mixtures(self) -> list[str]:
        """Members by weight, for each series."""
        return [_mixture(self.names, row) for row in self.weights]


def status_columns(panel: Panel, service: Service, judged: np.ndarray, skipped: np.ndarray) -> dict[str, Any]:
    """Series columns, state, model_used, reason. judged: bool (series,), took part in a fold; skipped: object (series
    left out, key columns), which come last."""
    weights = service.weights
    served = np.where(weights.sum(axis=1) > 0, np.where(judged, "ok", "pooled"), "fallback")
    states = [*served.tolist(), *["skipped"] * len(skipped)]
    labels = [*service.labels(), *[""] * len(skipped)]
    keys = np.concatenate([panel.keys, skipped]) if len(skipped) else panel.keys
    return {
        **{column: keys[:, k] for k, column in enumerate(panel.schema.series)},
        "state": states,
        "model_used": [*service.mixtures(), *[""] * len(skipped)],
        "reason": ["; ".join(filter(None, pair)) for pair in zip(map(REASONS.get, states), labels, strict=True)],
    }


def _mixture(names: Sequence[str], weights: np.ndarray) -> str:
    if not weights.sum() > 0:
        return "fallback"
    order = np.argsort(-weights, kind="stable")
    shares = weights / weights.sum()
    return " + ".join(f"{shares[m]:.2f} {names[m]}" for m in order if shares[m] > 0)
