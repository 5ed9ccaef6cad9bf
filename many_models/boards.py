"""The leaderboard over all groups of a store: how good they are, what serves them, which are worst."""

from __future__ import annotations

import heapq
import math
import re
from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from forecastml.prior_storage import unpack_prior
from many_models.protocols import STATES
from many_models.results_table import beats
from many_models.serving import apart, partition_columns, reading
from many_models.store import Store
from many_models.versions import Champion

if TYPE_CHECKING:
    import pandas as pd

#: Groups that are shown as the worst, and levels of quantiles over groups.
WORST, LEVELS = 10, (0.1, 0.25, 0.5, 0.75, 0.9)
#: "0.52 theta + 0.48 ets(trend=True)" -> its members; a name may hold " + " of its own.
_MEMBER = re.compile(r"(\d\.\d+) (.+?)(?= \+ \d\.\d+ |$)")


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """A store at a glance.

    states: groups by how their last version ended; serving: groups that a model serves; judged: those of them that
    could be judged out of fold; better: share of these at or below their baseline (NaN for none). losses: quantiles
    over groups of loss, baseline and their ratio; learners: share of the groups that each serves, and its mean weight
    where it does; worst: the groups with the largest ratio, and their labels; tried: what was compared to learn what
    groups share (no rows where each group was searched on its own). The last four are tables.
    """

    states: Mapping[str, int]
    serving: int
    judged: int
    better: float
    losses: pd.DataFrame
    learners: pd.DataFrame
    worst: pd.DataFrame
    tried: pd.DataFrame


def leaderboard(store: Store | str | Path) -> Leaderboard:
    """How good the models of a store are, over all groups, by the versions that serve."""
    with reading(store) as opened:
        by, tally = partition_columns(opened), _Tally()
        for champion in opened.versions.champions():
            tally.add(champion)
        return Leaderboard(
            states=_states(opened),
            serving=tally.groups,
            judged=tally.judged,
            better=tally.better / tally.judged if tally.judged else math.nan,
            losses=tally.losses(),
            learners=tally.learners(),
            worst=tally.worst(by),
            tried=_tried(opened),
        )


def members(model: str) -> dict[str, float]:
    """Learner -> weight, from the text of what serves a group; "fallback" -> 1 for the last resort."""
    weights: dict[str, float] = defaultdict(float)
    for weight, name in _MEMBER.findall(model):
        weights[name.partition("(")[0]] += float(weight)
    return dict(weights) or {model or "unknown": 1.0}


class _Tally:
    """Sums over groups that grow with the number of groups by three numbers each."""

    def __init__(self) -> None:
        self.groups = self.judged = self.better = 0
        self._numbers = {name: array("d") for name in ("loss", "baseline", "ratio")}
        self._learners: dict[str, tuple[int, float]] = {}
        self._worst: list[tuple[float, int, Champion]] = []

    def add(self, champion: Champion) -> None:
        """Take a group in."""
        self.groups += 1
        for name, weight in members(champion.model).items():
            count, total = self._learners.get(name, (0, 0.0))
            self._learners[name] = (count + 1, total + weight)
        good = beats(champion.loss, champion.baseline)
        if good is None:
            return
        self.judged += 1
        self.better += good
        ratio = champion.loss / champion.baseline if champion.baseline > 0 else math.nan
        for name, value in (("loss", champion.loss), ("baseline", champion.baseline), ("ratio", ratio)):
            self._numbers[name].append(value)
        if ratio == ratio:
            # The number of the group, so that champions themselves are never compared.
            place = (ratio, -self.groups, champion)
            (heapq.heappush if len(self._worst) < WORST else heapq.heappushpop)(self._worst, place)

    def losses(self) -> pd.DataFrame:
        """A row per quantile level."""
        columns: dict[str, Any] = {"quantile": list(LEVELS)}
        for name, values in self._numbers.items():
            there = np.array(values)
            there = there[~np.isnan(there)]
            columns[name] = np.quantile(there, LEVELS) if len(there) else np.full(len(LEVELS), np.nan)
        return pa.table(columns).to_pandas()

    def learners(self) -> pd.DataFrame:
        """A row per learner, the most used first."""
        rows = sorted(self._learners.items(), key=lambda item: (-item[1][1], item[0]))
        columns = {
            "learner": pa.array([name for name, _ in rows], pa.string()),
            "groups": pa.array([count for _, (count, _) in rows], pa.int64()),
            "share": pa.array([count / self.groups for _, (count, _) in rows], pa.float64()),
            "weight": pa.array([total / count for _, (count, total) in rows], pa.float64()),
        }
        return pa.table(columns).to_pandas()

    def worst(self, by: tuple[str, ...]) -> pd.DataFrame:
        """A row per group, the worst first."""
        rows = [champion for _, _, champion in sorted(self._worst, key=lambda place: place[:2], reverse=True)]
        columns = {name: pa.array([row.key[k] for row in rows], pa.string()) for k, name in enumerate(by)}
        columns |= {
            apart(name, by): pa.array([getattr(row, name) for row in rows], pa.float64())
            for name in ("loss", "baseline")
        }
        columns[apart("ratio", by)] = pa.array([row.loss / row.baseline for row in rows], pa.float64())
        columns[apart("model_used", by)] = pa.array([row.model for row in rows], pa.string())
        columns[apart("label", by)] = pa.array([row.label for row in rows], pa.string())
        return pa.table(columns).to_pandas()


def _states(store: Store) -> dict[str, int]:
    query = "SELECT v.state, count(*) FROM groups g JOIN versions v ON v.group_id = g.id AND v.number = g.latest"
    return {**dict.fromkeys(STATES, 0), **dict(store.ledger.stream(f"{query} GROUP BY v.state"))}


def _tried(store: Store) -> pd.DataFrame:
    """What the newest prior of the store was learned from, best first."""
    found = [store.find(f"prior-{run.id}") for run in store.runs.all()]
    priors = [file for file in found if file is not None]
    log: tuple[Any, ...] = ()
    metric = ""
    if priors:
        prior = unpack_prior(store.read(priors[-1]))
        log, metric = prior.log, prior.task.scorer.name
    rows = sorted(log, key=lambda row: (math.isnan(row.loss(metric)), row.loss(metric)))
    columns = {
        "learner": pa.array([row.name for row in rows], pa.string()),
        "loss": pa.array([row.loss(metric) for row in rows], pa.float64()),
        "seconds": pa.array([row.seconds for row in rows], pa.float64()),
        "state": pa.array([row.state for row in rows], pa.string()),
        "weight": pa.array([row.weight for row in rows], pa.float64()),
        "failures": pa.array([row.failures for row in rows], pa.int64()),
        "error": pa.array([row.error for row in rows], pa.string()),
    }
    return pa.table(columns).to_pandas()
