"""Splitters: how history is cut into folds. They know nothing of learners or losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.panel import Panel
from forecastml.data.table import Table
from forecastml.errors import ConfigError
from forecastml.kernels.seasonality import naive2
from forecastml.metrics import row_scales, scales
from forecastml.protocols import Fold, Truth

#: Share of the series that must end within one horizon of the last date for a common origin.
COMMON_SHARE = 0.8


@dataclass(frozen=True)
class RollingOrigin:
    """Rolling-origin folds: the last `horizon` values of each series, then those `step` earlier, and so on.

    With horizon 3, n_folds 3, step 2 and gap 1 (t train, g gap, y truth):

        fold 0   t t t t t g y y y
        fold 1   t t t t t t t g y y y
        fold 2   t t t t t t t t t g y y y    the end of the series

    Truth rows are steps gap + 1 ... gap + horizon after the origin; a series that ends earlier has NaN there. Folds
    run oldest first; `Fold.index` counts all planned folds, and those in which no series takes part are left out.

    origins: "own": each series is cut from its own end. "common": every series is cut at the same dates, counted back
    from `last`, the grid ordinal of the newest date; a series without a row after an origin takes no part in that
    fold. "auto": common when at least 80 % of the series end within one horizon of the newest date, else own.

    min_train: a series takes part in a fold when that many rows lie before the origin; when there is no such fold, in
    its newest fold alone, provided that one row lies before that origin. "auto": two seasons and one row or the
    horizon, whichever is more, but no more than half the rows of the series of median length.

    step "auto": the horizon; less, down to 1, where the series of median length could otherwise not take part in all
    folds. n_folds "auto": `most_folds`, less where that series cannot take part in so many. No number of folds, asked
    for or not, exceeds what some series can take part in. `resolve` writes these choices down.

    season_length: for the scales of MASE and its like, and for Naive2.
    """

    horizon: int
    n_folds: int | str = "auto"
    step: int | str = "auto"
    gap: int = 0
    origins: str = "auto"
    min_train: int | str = "auto"
    season_length: int = 1
    last: int | None = None
    most_folds: int = 3

    def __post_init__(self) -> None:
        least = {"horizon": 1, "n_folds": 1, "step": 1, "gap": 0, "min_train": 1, "season_length": 1, "most_folds": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            may_be_auto = name in ("n_folds", "step", "min_train")
            if not (may_be_auto and value == "auto") and not (isinstance(value, int | np.integer) and value >= bound):
                choice = " or 'auto'" if may_be_auto else ""
                raise ConfigError(f"{name} is {value!r}; give a whole number of {bound} or more{choice}")
        if self.origins not in ("auto", "common", "own"):
            raise ConfigError(f"origins is {self.origins!r}; one of 'auto', 'common', 'own'")

    @property
    def is_resolved(self) -> bool:
        """Whether every choice is made, so that the cutoffs of a series depend on itself alone."""
        chosen = "auto" not in (self.n_folds, self.step, self.min_train, self.origins)
        return chosen and (self.origins == "own" or self.last is not None)

    def resolve(self, panel: Panel) -> RollingOrigin:
        """A copy with every "auto" made explicit for this panel; a lone series gets the same cutoffs from it."""
        if self.is_resolved or not (panel.lengths > 0).any():
            return self
        there = panel.select(panel.lengths > 0)
        last, origins = self.last, self.origins
        if last is None:
            last = int(there.last_ordinal.max())
        if origins == "auto":
            near = there.last_ordinal >= last - self.horizon * there.frequency.step
            origins = "common" if near.mean() >= COMMON_SHARE else "own"
        plan = replace(self, origins=origins, last=last if origins == "common" else None)
        typical = int(np.sort(plan._rows_until(there, 0))[(len(there) - 1) // 2])
        min_train = self.min_train
        if min_train == "auto":
            min_train = max(min(max(2 * self.season_length + 1, self.horizon), typical // 2), 1)
        # Rows that are left to move the origin over.
        spare = typical - self.gap - self.horizon - min_train
        folds = self.most_folds if self.n_folds == "auto" else self.n_folds
        step = self.step
        if step == "auto":
            step = min(max(spare // max(folds - 1, 1), 1), self.horizon)
        if self.n_folds == "auto":
            folds = min(max(1 + spare // step, 1), folds)
        plan = replace(plan, n_folds=int(folds), step=int(step), min_train=int(min_train))
        used = np.flatnonzero(plan._takes_part(there)[1].any(axis=1))
        return replace(plan, n_folds=int(folds - used[0]) if len(used) else 1)

    def folds(self, panel: Panel) -> list[Fold]:
        """The folds in which some series takes part, oldest first; their panels are views."""
        plan = self.resolve(panel)
        if not plan.is_resolved:
            return []
        cutoffs, takes_part = plan._takes_part(panel)
        items = [np.flatnonzero(there) for there in takes_part]
        return [plan._fold(panel, k, items[k], cutoffs[k, items[k]]) for k in range(plan.n_folds) if len(items[k])]

    def _rows_until(self, panel: Panel, back: int) -> np.ndarray:
        """Rows of each series up to `back` periods before its end ("own") or before the newest date ("common")."""
        if self.origins == "own":
            return panel.lengths - back
        return (self.last - panel.start) // panel.frequency.step + 1 - back

    def _takes_part(self, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
        """Cutoffs (folds, series) and whether the series takes part there; oldest fold first."""
        back = self.gap + self.horizon + self.step * np.arange(self.n_folds)[::-1]
        cutoffs = np.stack([self._rows_until(panel, int(b)) for b in back])
        judged = cutoffs + self.gap < panel.lengths
        takes_part = judged & (cutoffs >= self.min_train)
        newest = self.n_folds - 1 - judged[::-1].argmax(axis=0)
        short = np.flatnonzero(judged.any(axis=0) & ~takes_part.any(axis=0))
        takes_part[newest[short], short] = cutoffs[newest[short], short] >= 1
        return cutoffs, takes_part

    def _fold(self, panel: Panel, index: int, items: np.ndarray, cutoff: np.ndarray) -> Fold:
        train = panel.select(items).before(cutoff)
        truth = self._truth(panel, index, items, cutoff)
        denominators = scales(train, panel.select(items), self.season_length)
        reference = naive2(train, self.season_length, self.gap + self.horizon).reshape(len(items), -1)[:, self.gap :]
        rows = {name: np.repeat(scale, self.horizon) for name, scale in denominators.items()}
        truth = replace(truth, scales={**rows, "naive2": np.nan_to_num(reference).ravel()})
        return Fold(index=index, items=items, cutoff=cutoff, train=train, inputs=train, truth=truth)

    def _truth(self, panel: Panel, index: int, items: np.ndarray, cutoff: np.ndarray) -> Truth:
        """Truth rows of these series, series-major, without scales; beyond the end y is NaN and the weight 0."""
        step = np.tile(np.arange(self.horizon), len(items))
        series = np.repeat(items, self.horizon)
        rows = panel.begin[series] + np.repeat(cutoff, self.horizon) + self.gap + step
        inside = rows < panel.end[series]
        rows = np.where(inside, rows, panel.begin[series])
        return Truth(
            y=np.where(inside, panel.target[rows], np.nan),
            weight=np.where(inside, 1.0 if panel.weight is None else panel.weight[rows], 0.0),
            series=series,
            group=panel.group[series],
            fold=np.full(len(series), index),
            step=step,
        )


def earliest(panel: Panel, folds: Sequence[Fold]) -> Panel:
    """The earliest training window: each series up to its oldest cutoff; without folds, all of it."""
    if not folds:
        return panel
    lengths = np.zeros(len(panel), np.int64)
    for fold in reversed(folds):
        lengths[fold.items] = fold.cutoff
    window = panel.before(lengths)
    return window.select(window.lengths > 0)


@dataclass(frozen=True)
class KFold:
    """Rows in `n_folds` parts, each held out once, drawn by `seed` and alike in every group.

    n_folds "auto": 10 below 1,000 rows, else 3. stratified: each part has every class in its share; there are then no
    more folds than rows of the rarest class, but 2 at least. A group's parts depend on its own rows alone.
    """

    n_folds: int | str = "auto"
    stratified: bool = False
    seed: int = 0

    def resolve(self, table: Table) -> KFold:
        """A copy with the number of folds made explicit."""
        folds = self.n_folds
        if folds == "auto":
            folds = 10 if len(table) < 1000 else 3
        rarest = np.unique(table.y, return_counts=True)[1].min() if self.stratified else len(table)
        return replace(self, n_folds=int(max(2, min(folds, rarest))))

    def folds(self, table: Table) -> list[Fold]:
        """The folds in which rows are held out and others are left to learn from."""
        plan = self.resolve(table)
        part = _drawn_order(table, self.seed, self.stratified) % plan.n_folds
        # A lone row would leave its group nothing to learn from.
        part = np.where(np.bincount(table.group)[table.group] > 1, part, -1) if len(table) else part
        return [_row_fold(table, k, part == k) for k in range(plan.n_folds) if 0 < (part == k).sum() < len(table)]


@dataclass(frozen=True)
class Holdout:
    """A share of the rows held out once, drawn by `seed`; stratified as in `KFold`."""

    share: float = 0.1
    stratified: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise ConfigError(f"share is {self.share!r}; give a number above 0 and up to 0.5")

    def resolve(self, table: Table) -> Holdout:
        """Nothing is left open."""
        return self

    def folds(self, table: Table) -> list[Fold]:
        """The one fold; none when no group has rows enough to spare one."""
        every = max(2, round(1 / self.share))
        held = _drawn_order(table, self.seed, self.stratified) % every == every - 1
        return [_row_fold(table, 0, held)] if held.any() else []


def _drawn_order(table: Table, seed: int, stratified: bool) -> np.ndarray:
    """Place of each row in a random order of its group (of its class in its group): int64 (rows,)."""
    stratum = table.y if stratified else np.zeros(len(table))
    rank = _place_within(np.lexsort((stratum, table.group)), table.group, stratum)
    # The first draws of a generator do not depend on how many follow, so that a group alone is drawn alike.
    draws = np.random.default_rng(seed).random(int(rank.max(initial=0)) + 1)[rank]
    # Strata go on where the one before stopped, so that small ones do not all end in the first part.
    return _place_within(np.lexsort((draws, stratum, table.group)), table.group, np.zeros(len(table)))


def _place_within(order: np.ndarray, group: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Place of each row among those of its group and stratum, when all are visited in `order`."""
    changes = (np.diff(group[order]) != 0) | (np.diff(stratum[order]) != 0)
    first = np.concatenate([[0], np.flatnonzero(changes) + 1, [len(order)]])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(first[:-1], np.diff(first))
    return place


def _row_fold(table: Table, index: int, held: np.ndarray) -> Fold:
    rows = np.flatnonzero(held)
    inputs, group = table.select(rows), table.group[rows]
    truth = Truth(
        y=inputs.y,
        weight=np.ones(len(rows)) if inputs.weight is None else inputs.weight,
        series=group,
        group=group,
        fold=np.full(len(rows), index),
        step=np.zeros(len(rows), np.int64),
        scales={name: scale[group] for name, scale in row_scales(table).items()},
    )
    return Fold(index, rows, np.zeros(len(rows), np.int64), table.select(~held), inputs, truth)
