"""A model on disk: a folder of JSON and arrays, with a hash of every file; no pickle.

manifest.json   format, versions, sha256 of the other files
model.json      task, leaderboard, members, and what is special to the kind of model (schema, keys, classes, ...)
member_K.json   values of member K (LightGBM models as their text)
arrays.npz      every array: "panel.target", "weights", "member_0.<name>", ...
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from forecastml.archive import (
    ARRAYS,
    MANIFEST,
    arrays_of,
    as_json,
    collected,
    npz,
    packed,
    restored,
    unpacked,
    verified,
    with_manifest,
)
from forecastml.data.checks import Finding
from forecastml.errors import ConfigError, CorruptModelError
from forecastml.forecaster import Forecaster
from forecastml.model import FittedModel, Member
from forecastml.predictor import Predictor
from forecastml.protocols import Candidate
from forecastml.search.log import LogRow
from forecastml.task import task_from_json, task_to_json

#: What the names of the arrays of `group_losses` begin with.
LOSSES = "group_losses."
#: Kind of model on disk -> class.
KINDS: dict[str, type[FittedModel]] = {"forecaster": Forecaster, "predictor": Predictor}


def save(model: FittedModel, path: Path) -> Path:
    """Write `model` to the folder `path`, whole or not at all.

    An older model there is replaced; `ConfigError` for a file or any other folder that is not empty, and for a member
    whose learner has no native state.
    """
    if path.exists() and not is_model(path) and (path.is_file() or any(path.iterdir())):
        raise ConfigError(f"{path} exists and is not a saved model; choose another place or remove it")
    files = _files(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for name, content in with_manifest(files).items():
            with open(folder / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        os.chmod(folder, 0o755)
        if path.exists():
            # Moved aside, not deleted first: a crash in between must not cost the older model.
            older = Path(tempfile.mkdtemp(prefix=f".{path.name}.older.", dir=path.parent))
            os.replace(path, older)
            os.replace(folder, path)
            shutil.rmtree(older)
        else:
            os.replace(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return path


def load(path: str | Path) -> FittedModel:
    """Read a model saved by this version or an older one.

    Raises `ModelFormatError` when the folder is no model, `NewerFormatError` when a newer version wrote it,
    `CorruptModelError` when a file is missing or was altered.
    """
    path = Path(path)
    return _restored_model(verified(str(path), lambda name: (path / name).read_bytes()), str(path))


def pack(model: FittedModel) -> bytes:
    """The model as one archive of the files that `save` writes; raises as `save`."""
    return packed(_files(model))


def unpack(content: bytes, where: str = "the archive") -> FittedModel:
    """The inverse of `pack`; raises as `load`, and calls the archive `where`."""
    return _restored_model(unpacked(content, where), where)


def _restored_model(files: Mapping[str, bytes], where: str) -> FittedModel:
    try:
        values = json.loads(files["model.json"])
        members = [json.loads(files[f"member_{k}.json"]) for k in range(len(values["members"]))]
        return _model(values, arrays_of(files[ARRAYS]), members, json.loads(files["fallback.json"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise CorruptModelError(f"{where}: the content cannot be read ({type(error).__name__}: {error})") from error


def is_model(path: Path) -> bool:
    """Whether `path` is a folder with a manifest of ours, whatever its version."""
    try:
        return "forecastml" in json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False


def _files(model: FittedModel) -> dict[str, bytes]:
    arrays, special = model.state()
    arrays["weights"] = model.weights
    arrays |= {f"{LOSSES}{name}": losses for name, losses in model.group_losses.items()}
    files = {}
    for k, member in enumerate(model.members):
        if not member.capabilities.native_state:
            raise ConfigError(
                f"{member.candidate.name} has no native state and cannot be saved; block it and fit again"
            )
        files[f"member_{k}.json"] = collected(member.fitted, f"member_{k}", arrays)
        arrays[f"member_{k}.items"] = member.items
    files["fallback.json"] = collected(model.fallback, "fallback", arrays)
    files[ARRAYS] = npz(arrays)
    files["model.json"] = as_json(
        {
            "kind": next(kind for kind, cls in KINDS.items() if isinstance(model, cls)),
            "task": task_to_json(model.task),
            "members": [{"learner": m.candidate.learner, "params": dict(m.candidate.params)} for m in model.members],
            "log": [row.to_json() for row in model.log],
            "findings": [asdict(finding) for finding in model.findings],
            **special,
        }
    )
    return files


def _model(
    values: dict[str, Any], arrays: dict[str, np.ndarray], members: list[dict[str, Any]], fallback: dict[str, Any]
) -> FittedModel:
    candidates = [Candidate(m["learner"], m["params"]) for m in values["members"]]
    task = task_from_json(values["task"])
    core = {
        "task": task,
        "members": tuple(
            Member(c, restored(c.learner, f"member_{k}", arrays, members[k]), arrays[f"member_{k}.items"])
            for k, c in enumerate(candidates)
        ),
        "weights": arrays["weights"],
        "fallback": restored(task.fallback().learner, "fallback", arrays, fallback),
        "log": tuple(LogRow.from_json(row) for row in values["log"]),
        "findings": tuple(Finding(**finding) for finding in values["findings"]),
        "group_losses": {name.removeprefix(LOSSES): arrays[name] for name in arrays if name.startswith(LOSSES)},
    }
    return KINDS[values.get("kind", "forecaster")].restore(core, arrays, values)
