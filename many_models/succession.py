"""Champion and challenger: an older version of a group's model serves on where it is better than the new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import forecastml as fm
from forecastml.challenge import newest_losses
from many_models.errors import StoreError
from many_models.files import read
from many_models.protocols import FALLBACK, OK, Batch, GroupResult
from many_models.shard import Fit, Shard, served_groups

#: What a user is told of an older version that stays.
KEPT = "the older version is better on the newest fold, {:.4g} against {:.4g}, and {}"


def shards_of(batch: Batch) -> Iterator[Batch]:
    """The groups that have a version, by the shard that it is in, in the order of their places."""
    names = dict.fromkeys(group.serving.shard.name for group in batch.groups if group.serving)
    for name in names:
        groups = [group for group in batch.groups if group.serving and group.serving.shard.name == name]
        yield Batch(tuple(sorted(groups, key=lambda group: group.serving.place)), batch.parts)


def serving_models(job: Any, batch: Batch) -> list[Any]:
    """The models that serve the groups of one shard, for a `Job`; raises `CorruptStoreError`, `CorruptModelError`."""
    file = batch.groups[0].serving.shard
    shard = Shard.unpack(read(Path(job.root), file), file.name)
    return list(shard.models([group.serving.place for group in batch.groups]))


def challenged(
    job: Any, prior: Any, results: list[GroupResult], fits: list[Fit]
) -> tuple[list[GroupResult], list[Fit]]:
    """Results and models of a `Job` with the older versions where these are better on the newest fold.

    A version that learned from the same rows is compared by its own out-of-fold loss and stays as it is. One whose
    rows end before the newest fold is moved up to it and judged there; where it is better it serves on, moved over all
    rows. One that has learned from a part of the fold, or does not know all series of its group, cannot be compared:
    the new version takes its place. prior: None where each group is on its own; the new version then serves unless
    both learned from the same rows.
    """
    by_digest = {result.digest: result for result in results}
    everyone = Batch(tuple(g for fit in fits for g in fit.batch.groups), fits[0].batch.parts if fits else ())
    kept: list[Fit] = []
    first = sum(len(fit.model.weights) for fit in fits)
    for batch in shards_of(everyone):
        for fit, losses in _rivals(job, prior, batch, by_digest):
            rows = fit.groups(job.layout.by)
            for place, group in enumerate(fit.batch.groups):
                new = by_digest[group.digest]
                label = KEPT.format(losses[group.digest], new.newest, "serves on, moved over the newer rows")
                row = replace(new, place=first + place, newest=losses[group.digest], label=label)
                by_digest[group.digest] = replace(row, model=rows[group.key]["model_used"])
            first += len(fit.model.weights)
            kept.append(fit)
    return [by_digest[result.digest] for result in results], fits + kept


def _rivals(job: Any, prior: Any, batch: Batch, results: dict[str, GroupResult]) -> list[tuple[Fit, dict[str, float]]]:
    """`_better`, where versions that cannot be read or moved are no rivals, and cost their neighbours nothing."""
    found, parts = [], [batch]
    while parts:
        part = parts.pop()
        try:
            found += _better(job, prior, part, results)
        except (StoreError, fm.errors.ForecastMLError):
            if len(part) > 1:
                parts += part.halves()[::-1]
    return found


def _better(job: Any, prior: Any, batch: Batch, results: dict[str, GroupResult]) -> list[tuple[Fit, dict[str, float]]]:
    """The older models of the groups of one shard that are better than the new ones, moved over all rows, with their
    losses; versions of the same rows that are better are marked in `results`."""
    judged = [group for group in batch.groups if results[group.digest].state in (OK, FALLBACK)]
    for group in judged:
        old, new = group.serving, results[group.digest]
        if old.content == group.content and old.newest < new.newest:
            label = KEPT.format(old.newest, new.newest, "stays")
            results[group.digest] = replace(new, accepted=False, label=label)
    groups = tuple(group for group in judged if group.serving.content != group.content)
    if not groups or prior is None:
        return []
    newer = Batch(groups, batch.parts)
    table = job.layout.read(newer)
    found = []
    for model in serving_models(job, newer):
        losses = newest_losses(model, table, prior)
        place = {key: k for k, key in enumerate(served_groups(model, job.layout.by))}
        wins = [g for g in groups if g.key in place and losses.get(g.key, float("inf")) < results[g.digest].newest]
        if wins:
            part = Batch(tuple(sorted(wins, key=lambda group: place[group.key])), batch.parts)
            rows = job.layout.read(part)
            moved = model.take([place[group.key] for group in part.groups]).append(rows, overlap=True)
            found.append((Fit(moved, part), {group.digest: losses[group.key] for group in part.groups}))
    return found
