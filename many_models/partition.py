"""Groups cut into batches of near-equal cost; a group is never split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from forecastml.errors import ConfigError
from many_models.protocols import Batch, Group


@dataclass(frozen=True)
class PartitionSettings:
    """How large a batch and a bucket may become.

    rows, groups: of a batch at most, a larger group is a batch of its own; overhead: what a group costs beside its
    rows, in rows; bucket: rows that are sorted in memory at once, when a source is rewritten.
    """

    rows: int = 60_000
    groups: int = 400
    overhead: int = 100
    bucket: int = 500_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "overhead" else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{field.name} is {value!r}; give a whole number of {least} or more")


def partition(
    groups: Iterable[Group],
    settings: PartitionSettings | None = None,
    parts: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[Batch]:
    """Every group in one batch, batches of near-equal cost; the same whatever the order of the groups.

    parts: digest of a group -> pieces of the source that hold its rows, none when left out.
    """
    placed = sorted(((group.digest, group) for group in groups), key=lambda pair: pair[0])
    bounds = cuts(np.array([group.rows for _, group in placed], np.int64), settings or PartitionSettings())
    for start, stop in pairwise(bounds):
        chosen = placed[start:stop]
        pieces = (part for digest, _ in chosen for part in (parts or {}).get(digest, ()))
        yield Batch(tuple(group for _, group in chosen), tuple(dict.fromkeys(pieces)))


def cuts(rows: np.ndarray, settings: PartitionSettings) -> np.ndarray:
    """Where batches begin and end: int64 (batches + 1,). rows: int64 (groups,), in the order in which they are cut.

    Each batch takes an equal share of the cost that is left among as few batches as the limits allow, so that no small
    remainder is left at the end.
    """
    count = len(rows)
    before = np.concatenate([[0], np.cumsum(rows)])
    cost = before + settings.overhead * np.arange(count + 1)
    bounds = [0]
    while bounds[-1] < count:
        start = bounds[-1]
        left = max(-(-(before[count] - before[start]) // settings.rows), -(-(count - start) // settings.groups), 1)
        share = cost[start] + (cost[count] - cost[start]) / left
        stop = int(np.searchsorted((cost[1:] + cost[:-1]) / 2, share, side="left"))
        room = int(np.searchsorted(before, before[start] + settings.rows, side="right")) - 1
        bounds.append(max(min(stop, room, start + settings.groups), start + 1))
    return np.array(bounds, np.int64)
