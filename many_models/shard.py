"""A shard: the models of one batch in one archive, each serving some groups, which are told by their place in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecastml.archive import as_json, packed, unpacked
from forecastml.errors import CorruptModelError
from forecastml.storage import pack, unpack
from many_models.protocols import Batch

_INDEX = "shard.json"


@dataclass(frozen=True, eq=False)
class Fit:
    """A model and the batch that it was fitted for."""

    model: Any
    batch: Batch

    def groups(self, by: Sequence[str]) -> dict[tuple[str, ...], dict[str, Any]]:
        """Key -> row of `FittedModel.groups`, in the order of the model; by: partition columns."""
        return served_groups(self.model, by)


def served_groups(model: Any, by: Sequence[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Key -> row of `FittedModel.groups`, in the order of the model; by: partition columns."""
    frame = model.groups()
    # Ours come after the keys, with "_" after a name that a key has.
    names = [name.rstrip("_") for name in frame.columns[len(by) :]]
    rows = zip(*(frame.iloc[:, k].tolist() for k in range(frame.shape[1])), strict=True)
    return {tuple(row[: len(by)]): dict(zip(names, row[len(by) :], strict=True)) for row in rows}


@dataclass(frozen=True, eq=False)
class Shard:
    """Models in order; place p is group p - counts[0] - ... of the model it falls to. where: what messages call it."""

    archives: tuple[bytes, ...]
    counts: tuple[int, ...]
    where: str = "the shard"

    @classmethod
    def of(cls, models: Sequence[Any]) -> Shard:
        """A shard of these models; raises as `forecastml.storage.pack`."""
        return cls(tuple(pack(model) for model in models), tuple(len(model.weights) for model in models))

    @classmethod
    def unpack(cls, content: bytes, where: str) -> Shard:
        """The inverse of `pack`; raises `CorruptModelError`, `NewerFormatError`."""
        files = unpacked(content, where)
        try:
            counts = tuple(int(count) for count in json.loads(files[_INDEX])["counts"])
            return cls(tuple(files[f"model_{k}"] for k in range(len(counts))), counts, where)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptModelError(f"{where}: the index of the shard cannot be read ({error})") from error

    def pack(self) -> bytes:
        """One archive; the same models give the same bytes."""
        files = {f"model_{k}": archive for k, archive in enumerate(self.archives)}
        return packed({**files, _INDEX: as_json({"counts": list(self.counts)})})

    def models(self, places: Sequence[int] | None = None) -> Iterator[Any]:
        """The models of the groups at these places (None: all), each loaded when it is its turn and cut to them.

        Groups come in the order of their places.
        """
        first = 0
        for archive, count in zip(self.archives, self.counts, strict=True):
            wanted = None if places is None else [p - first for p in sorted(places) if first <= p < first + count]
            first += count
            if wanted is None or wanted:
                model = unpack(archive, self.where)
                whole = wanted is None or len(wanted) == count
                yield model if whole else model.take(np.array(wanted, dtype=np.int64))


def rewritten(content: bytes, places: list[int]) -> bytes:
    """The shard with the groups at these places alone, which take places 0, 1, ... in order."""
    return Shard.of(list(Shard.unpack(content, "the shard").models(places))).pack()
