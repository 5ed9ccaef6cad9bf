"""A `Prior` on disk: one archive of JSON and arrays, as models are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from forecastml.archive import ARRAYS, arrays_of, as_json, collected, npz, packed, restored, unpacked
from forecastml.data.panel import Panel, panel_state, restored_panel
from forecastml.data.table import restored_table, table_state
from forecastml.errors import ConfigError, CorruptModelError
from forecastml.learners.registry import get_learner
from forecastml.prior import Prior
from forecastml.protocols import Candidate, Splitter
from forecastml.search.intervals import Pool
from forecastml.search.log import LogRow
from forecastml.splits import Holdout, KFold, RollingOrigin
from forecastml.task import task_from_json, task_to_json

#: Kind of splitter on disk -> class.
SPLITTERS = {splitter.__name__: splitter for splitter in (RollingOrigin, KFold, Holdout)}


def pack_prior(prior: Prior) -> bytes:
    """The prior as one archive; `ConfigError` for a shared learner without a native state."""
    arrays, files = _data_state(prior), {}
    names = list(prior.shared)
    for k, name in enumerate(names):
        learner = next(c.learner for c in prior.candidates if c.name == name)
        if not get_learner(learner).capabilities.native_state:
            raise ConfigError(f"{name} has no native state, so that a prior with it cannot be saved; block it")
        folds, final = prior.shared[name]
        for fold, fitted in enumerate((*folds, final)):
            files[f"shared_{k}_{fold}.json"] = collected(fitted, f"shared_{k}_{fold}", arrays[0])
    if prior.pool is not None:
        arrays[0].update({"pool.profile": prior.pool.profile, "pool.table": prior.pool.table})
    values = {
        "task": task_to_json(prior.task),
        "like": arrays[1],
        "splitter": {"kind": type(prior.splitter).__name__, **asdict(prior.splitter)},
        "seasons": list(prior.seasons),
        "candidates": [{"learner": c.learner, "params": dict(c.params)} for c in prior.candidates],
        "weights": dict(prior.weights),
        "shrinkage": prior.shrinkage,
        "ratio": None if prior.pool is None else prior.pool.ratio,
        "cold": None if np.isnan(prior.cold) else prior.cold,
        "shared": {name: len(prior.shared[name][0]) for name in names},
        "log": [row.to_json() for row in prior.log],
    }
    return packed({**files, ARRAYS: npz(arrays[0]), "prior.json": as_json(values)})


def unpack_prior(content: bytes, where: str = "the prior") -> Prior:
    """The inverse of `pack_prior`.

    Raises `ModelFormatError`, `NewerFormatError` and `CorruptModelError` as `load` does.
    """
    files = unpacked(content, where)
    try:
        return _prior(json.loads(files["prior.json"]), arrays_of(files[ARRAYS]), files)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise CorruptModelError(f"{where}: the content cannot be read ({type(error).__name__}: {error})") from error


def _data_state(prior: Prior) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return panel_state(prior.like) if isinstance(prior.like, Panel) else ({}, table_state(prior.like))


def _prior(values: dict[str, Any], arrays: dict[str, np.ndarray], files: Mapping[str, bytes]) -> Prior:
    candidates = tuple(Candidate(c["learner"], c["params"]) for c in values["candidates"])
    learners = {candidate.name: candidate.learner for candidate in candidates}
    shared = {}
    for k, (name, folds) in enumerate(values["shared"].items()):
        parts = [f"shared_{k}_{fold}" for fold in range(folds + 1)]
        fitted = [restored(learners[name], part, arrays, json.loads(files[f"{part}.json"])) for part in parts]
        shared[name] = (tuple(fitted[:-1]), fitted[-1])
    pool = None
    if values["ratio"] is not None:
        pool = Pool(arrays["pool.profile"], float(values["ratio"]), arrays["pool.table"])
    like = values["like"]
    return Prior(
        task=task_from_json(values["task"]),
        like=restored_panel(arrays, like) if "frequency" in like else restored_table(like),
        splitter=_splitter(values["splitter"]),
        seasons=tuple(values["seasons"]),
        candidates=candidates,
        weights=values["weights"],
        shrinkage=float(values["shrinkage"]),
        pool=pool,
        cold=float("nan") if values["cold"] is None else float(values["cold"]),
        shared=shared,
        log=tuple(LogRow.from_json(row) for row in values["log"]),
    )


def _splitter(values: dict[str, Any]) -> Splitter:
    return SPLITTERS[values["kind"]](**{name: value for name, value in values.items() if name != "kind"})
