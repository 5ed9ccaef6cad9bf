"""How a model serves each of its series, as a table."""

from __future__ import annotations

from collections.abc import Sequence
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


def status_columns(
    panel: Panel, names: Sequence[str], weights: np.ndarray, judged: np.ndarray, skipped: np.ndarray
) -> dict[str, Any]:
    """Series columns, state, model_used, reason. names: of the members; weights: float64 (series, members), 0 where a
    member does not serve a series; judged: bool (series,), took part in a fold; skipped: object (series left out, key
    columns), which come last."""
    served = np.where(weights.sum(axis=1) > 0, np.where(judged, "ok", "pooled"), "fallback")
    states = [*served.tolist(), *["skipped"] * len(skipped)]
    keys = np.concatenate([panel.keys, skipped]) if len(skipped) else panel.keys
    return {
        **{column: keys[:, k] for k, column in enumerate(panel.schema.series)},
        "state": states,
        "model_used": [_mixture(names, row) for row in weights] + [""] * len(skipped),
        "reason": [REASONS[state] for state in states],
    }


def _mixture(names: Sequence[str], weights: np.ndarray) -> str:
    if not weights.sum() > 0:
        return "fallback"
    order = np.argsort(-weights, kind="stable")
    shares = weights / weights.sum()
    return " + ".join(f"{shares[m]:.2f} {names[m]}" for m in order if shares[m] > 0)
