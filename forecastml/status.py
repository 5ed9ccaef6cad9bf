"""How a model serves each of its series, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    (series, members), where a simpler forecast stands in for the member's own. In place of series there may be groups.
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


def service_of(members: Sequence[Any], weights: np.ndarray) -> Service:
    """How these members (as in `FittedModel`) serve their series; weights: float64 (series, members)."""
    served, replaced = np.zeros((2, *weights.shape), dtype=bool)
    for m, member in enumerate(members):
        served[member.items, m] = [status == "ok" for status in member.fitted.status]
        replaced[member.items, m] = getattr(member.fitted, "replaced", False)
    return Service([member.candidate.name for member in members], np.where(served, weights, 0.0), replaced)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a model. columns: names of the key columns; keys: object (groups, key columns), all text; group:
    int64 (items,), of each item that `service` tells of; more: further columns by name."""

    columns: tuple[str, ...]
    keys: np.ndarray
    group: np.ndarray
    service: Service
    more: Mapping[str, Any] = field(default_factory=dict)


def group_columns(groups: Groups, weights: np.ndarray, losses: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Key columns, items, state, model_used, reason, loss, baseline, newest, newest_baseline, and what more there is;
    where a key column has one of these names, ours gets "_" after it.

    weights: float64 (groups, members); losses: as in `FittedModel`.
    """
    count, service = len(weights), groups.service
    items = np.bincount(groups.group, minlength=count)
    served = np.zeros(weights.shape, dtype=bool)
    np.logical_or.at(served, groups.group, service.weights > 0)
    kept = np.where(served, weights, 0.0)
    states = np.where(kept.sum(axis=1) > 0, "ok", "fallback")
    alone = np.bincount(groups.group, weights=service.weights.sum(axis=1) == 0, minlength=count).astype(int)
    nothing = np.full((count, 1), np.nan)
    ensemble, fallback = losses.get("ensemble", nothing), losses.get("fallback", nothing)
    ensemble = np.where((states == "ok")[:, None], ensemble, fallback)
    columns = {
        "items": items,
        "state": states.tolist(),
        "model_used": Service(service.names, kept, served).mixtures(),
        "reason": [_unserved(*pair) for pair in zip(alone.tolist(), items.tolist(), strict=True)],
        "loss": _means(ensemble),
        "baseline": _means(fallback),
        "newest": ensemble[:, -1],
        "newest_baseline": fallback[:, -1],
        **groups.more,
    }
    return _beside_keys(groups.columns, groups.keys, columns)


def _beside_keys(names: Sequence[str], keys: np.ndarray, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Key columns by their names, then ours, under names that are not theirs."""
    found = {name: keys[:, k] for k, name in enumerate(names)}
    for name, values in columns.items():
        while name in found:
            name += "_"
        found[name] = values
    return found


def _unserved(alone: int, items: int) -> str:
    if alone in (0, items):
        return REASONS["fallback"] if alone else ""
    return f"{alone} of {items} by the fallback: {REASONS['fallback']}"


def _means(losses: np.ndarray) -> np.ndarray:
    """Mean over the folds that there are: float64 (groups,), NaN for none."""
    there = ~np.isnan(losses)
    with np.errstate(invalid="ignore"):
        return np.where(there, losses, 0.0).sum(axis=1) / there.sum(axis=1)


def status_columns(panel: Panel, service: Service, judged: np.ndarray, skipped: np.ndarray) -> dict[str, Any]:
    """Series columns, state, model_used, reason, named as in `group_columns`.

    judged: bool (series,), took part in a fold; skipped: object (series left out, key columns), which come last.
    """
    weights = service.weights
    served = np.where(weights.sum(axis=1) > 0, np.where(judged, "ok", "pooled"), "fallback")
    states = [*served.tolist(), *["skipped"] * len(skipped)]
    labels = [*service.labels(), *[""] * len(skipped)]
    keys = np.concatenate([panel.keys, skipped]) if len(skipped) else panel.keys
    columns = {
        "state": states,
        "model_used": [*service.mixtures(), *[""] * len(skipped)],
        "reason": ["; ".join(filter(None, pair)) for pair in zip(map(REASONS.get, states), labels, strict=True)],
    }
    return _beside_keys(panel.schema.series, keys, columns)


def _mixture(names: Sequence[str], weights: np.ndarray) -> str:
    if not weights.sum() > 0:
        return "fallback"
    order = np.argsort(-weights, kind="stable")
    shares = weights / weights.sum()
    return " + ".join(f"{shares[m]:.2f} {names[m]}" for m in order if shares[m] > 0)
