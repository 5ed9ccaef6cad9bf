"""Groups of every kind of life, and what a store or a shard holds of each of them, down to the bits."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

import forecastml as fm
from forecastml.archive import collected
from forecastml.prior_storage import pack_prior, unpack_prior
from forecastml.task import grouped
from many_models import files
from many_models.job import Job, run_batch
from many_models.partition import PartitionSettings
from many_models.protocols import Batch, GroupResult, Receipt
from many_models.shard import Shard
from many_models.source import lay_out
from many_models.store import Store

CHEAP = ("naive", "average", "theta")
END = pd.Timestamp("2024-06-01")
#: What is compared of how a group ended: all but the clock and the place in a shard.
RESULT = (
    "state",
    "model",
    "series",
    "rows",
    "content",
    "until",
    "loss",
    "baseline",
    "newest",
    "reason",
    "error",
    "label",
)


def config(allow: Iterable[str] = CHEAP, **choices: Any) -> fm.Config:
    return fm.Config.preset("fast", allow=list(allow), **choices)


def task(**options: Any) -> fm.Forecasting:
    return fm.Forecasting(**{"horizon": 3, "quantiles": (0.1, 0.9), **options})


def life(name: str, kind: str = "noisy", rows: int = 40, end: pd.Timestamp = END, ahead: int = 0) -> pd.DataFrame:
    """Monthly rows of one group, the same for a name and a kind whatever the others are.

    ahead: rows after the end with a price, an offer and no value.
    """
    rng = np.random.default_rng(list(f"{name} {kind}".encode()))
    t = np.arange(rows + ahead)
    price, offer = rng.choice([1.0, 2.0, 3.0], t.size), rng.choice(["none", "leaflet", "radio"], t.size)
    level = 30 + 10 * rng.random()
    y = np.round(level + 0.2 * t + 6 * np.sin(2 * np.pi * t / 12) - 2 * price + rng.normal(scale=3, size=t.size), 3)
    if kind == "constant":
        y[:] = 7.0
    if kind == "zero":
        y[:] = 0.0
    if kind == "empty":
        y[:] = np.nan
    if kind == "rare":
        y = np.where(rng.random(t.size) < 0.2, np.round(y), 0.0)
    if kind == "holed":
        y[rows // 3 : rows // 2] = np.nan
    y[rows:] = np.nan
    times = pd.date_range(end=end, periods=rows, freq="MS").append(pd.date_range(end, periods=ahead + 1, freq="MS")[1:])
    frame = pd.DataFrame({"id": name, "ds": times, "y": y, "price": price, "offer": offer})
    frame["region"] = ["north", "south", "east"][len(name) % 3]
    return pd.concat([frame, frame.iloc[:2]], ignore_index=True) if kind == "double" else frame


#: Name -> arguments of `life`: groups that are well, and groups that are as trying as data get.
GOOD = {f"store {i}": {} for i in range(5)}
ODD: dict[str, dict[str, Any]] = {
    "short": {"rows": 3},
    "one": {"rows": 1},
    "empty": {"kind": "empty"},
    "constant": {"kind": "constant"},
    "zero": {"kind": "zero"},
    "rare": {"kind": "rare"},
    "holed": {"kind": "holed"},
    "ended": {"end": pd.Timestamp("2022-03-01")},
    "late": {"end": pd.Timestamp("2024-04-01")},
    "long": {"rows": 70},
    "double": {"kind": "double"},
}


def table(lives: Mapping[str, Mapping[str, Any]], ahead: int = 0) -> pd.DataFrame:
    return pd.concat([life(name, **options, ahead=ahead) for name, options in lives.items()], ignore_index=True)


class Workshop:
    """Jobs over tables under one prior, done in this process."""

    def __init__(self, root: Path, what: Any, chosen: fm.Config, sample: pd.DataFrame, by: tuple[str, ...] = ("id",)):
        self.root, self.by, self.task, self.config = root, by, grouped(what, by), chosen
        for kind in (*files.KINDS, files.TEMPORARY):
            (root / kind).mkdir(parents=True)
        prior = fm.prepare(self.task.read(sample).data, self.task, chosen)
        self.file = files.write(root, "documents", pack_prior(prior))
        self.prior = unpack_prior(files.read(root, self.file))
        self._tables = 0

    def job(self, rows: pd.DataFrame) -> tuple[Job, Batch]:
        """The job of these rows, and all groups in one batch."""
        self._tables += 1
        folder = self.root / f"layout-{self._tables}"
        layout = lay_out(rows, self.by, None, folder, PartitionSettings(), self.by)
        batches = list(layout.batches())
        parts = tuple(dict.fromkeys(part for batch in batches for part in batch.parts))
        groups = tuple(group for batch in batches for group in batch.groups)
        return Job.of(self.task, self.config, layout, self.root, self.file), Batch(groups, parts)

    def done(self, rows: pd.DataFrame, sizes: Iterable[int] = ()) -> dict[str, dict[str, Any]]:
        """What became of each group, in batches of these sizes and a last one of all that is left."""
        job, whole = self.job(rows)
        found, first = {}, 0
        for size in (*sizes, len(whole)):
            groups = whole.groups[first : first + size]
            first += size
            if groups:
                found |= outcomes(self.root, run_batch(job, Batch(groups, whole.parts)), groups)
        return found


def outcomes(root: Path, receipt: Receipt, groups: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """By key: the result, the forecast and the bits of the model of each group."""
    names = {group.digest: " / ".join(group.key) for group in groups}
    shard = Shard.unpack(files.read(root, receipt.shard), "the shard") if receipt.shard else None
    forecasts = {} if receipt.forecast is None else forecast_rows(files.read(root, receipt.forecast))
    return {
        names[result.digest]: {
            "result": told(result),
            "forecast": forecasts.get(result.digest),
            "model": None if shard is None or result.place < 0 else bits(next(shard.models([result.place]))),
        }
        for result in receipt.results
    }


def told(result: GroupResult | Mapping[str, Any]) -> dict[str, str]:
    """A result as text that can be compared, NaN and all."""
    values = result if isinstance(result, Mapping) else vars(result)
    return {name: repr(values[name]) for name in RESULT}


def forecast_rows(content: bytes) -> dict[str, list[str]]:
    """Digest -> rows of its forecast, every bit of them."""
    found: dict[str, list[str]] = {}
    for row in pq.read_table(io.BytesIO(content)).to_pylist():
        found.setdefault(row.pop("_group"), []).append(repr(row))
    return found


def bits(model: Any) -> dict[str, Any]:
    """All that the model of one group answers by: what members without weight hold is left out, and so is history that
    others look back on, and the leaderboard of all."""
    arrays: dict[str, np.ndarray] = {"losses." + name: losses for name, losses in model.group_losses.items()}
    values: dict[str, Any] = {}
    weight = dict(zip([m.candidate.name for m in model.members], model.weights[0].tolist(), strict=True))
    for member in model.members:
        name = member.candidate.name
        if weight[name] > 0 and len(member.items):
            values[name] = (weight[name], json.loads(collected(member.fitted, name, arrays)), member.items.tolist())
    values["fallback"] = json.loads(collected(model.fallback, "fallback", arrays))
    more, _ = model.state()
    arrays |= {name: array for name, array in more.items() if not name.startswith("panel.")}
    return {"values": repr(values), **{name: (a.shape, a.tobytes()) for name, a in sorted(arrays.items())}}


def results(path: Path, run: int | None = None) -> dict[str, dict[str, Any]]:
    with Store.open(path) as store:
        return {" / ".join(row["key"]): row for row in store.versions.results(run)}


def served(path: Path) -> dict[str, dict[str, Any]]:
    """By key: number of the version that serves, the bits of its model, its stored forecast."""
    found = {}
    with Store.open(path) as store:
        for champion in store.versions.champions():
            shard = Shard.unpack(store.read(champion.shard), champion.shard.name)
            kept = {} if champion.forecast is None else forecast_rows(store.read(champion.forecast))
            found[" / ".join(champion.key)] = {
                "version": champion.version,
                "model": bits(next(shard.models([champion.place]))),
                "forecast": kept.get(champion.digest),
            }
    return found
