"""A model on disk: a folder of JSON and arrays, with a hash of every file; no pickle.

manifest.json   format, versions, sha256 of the other files
model.json      task, leaderboard, members, and what is special to the kind of model (schema, keys, classes, ...)
member_K.json   values of member K (LightGBM models as their text)
arrays.npz      every array: "panel.target", "weights", "member_0.<name>", ...
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from forecastml.data.checks import Finding
from forecastml.errors import ConfigError, CorruptModelError, ModelFormatError, NewerFormatError
from forecastml.forecaster import Forecaster
from forecastml.learners.registry import get_learner
from forecastml.model import FittedModel, Member
from forecastml.predictor import Predictor
from forecastml.protocols import Candidate, Fitted
from forecastml.search.log import LogRow
from forecastml.task import task_from_json, task_to_json

#: Version of the layout above; a newer one is refused, older ones are read. 1: models of series alone.
FORMAT = 2
MANIFEST = "manifest.json"
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
        for name, content in {**files, MANIFEST: _manifest(files)}.items():
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
    files = _verified(Path(path))
    try:
        values = json.loads(files["model.json"])
        with np.load(BytesIO(files["arrays.npz"]), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        members = [json.loads(files[f"member_{k}.json"]) for k in range(len(values["members"]))]
        return _model(values, arrays, members, json.loads(files["fallback.json"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise CorruptModelError(f"{path}: the content cannot be read ({type(error).__name__}: {error})") from error


def is_model(path: Path) -> bool:
    """Whether `path` is a folder with a manifest of ours, whatever its version."""
    try:
        return "forecastml" in json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False


def _manifest(files: Mapping[str, bytes]) -> bytes:
    from forecastml import __version__

    manifest = {
        "format": FORMAT,
        "forecastml": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    return _json(manifest)


def _verified(path: Path) -> dict[str, bytes]:
    """Content of every file of the manifest, hashes checked before anything is parsed."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        version, hashes = int(manifest["format"]), dict(manifest["files"])
    except FileNotFoundError:
        raise ModelFormatError(f"{path} is not a saved model: there is no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptModelError(f"{path}: {MANIFEST} cannot be read ({error})") from error
    if version > FORMAT:
        raise NewerFormatError(
            f"{path} has format {version}, saved by forecastml {manifest.get('forecastml')}; this version reads up to "
            f"{FORMAT}: upgrade forecastml"
        )
    files = {}
    for name, expected in hashes.items():
        if Path(name).name != name:
            raise CorruptModelError(f"{path}: the manifest names {name!r}, which is not a plain file name")
        try:
            files[name] = (path / name).read_bytes()
        except OSError as error:
            raise CorruptModelError(f"{path}: {name} is missing ({error.strerror})") from error
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise CorruptModelError(f"{path}: {name} was altered or damaged after saving")
    return files


def _files(model: FittedModel) -> dict[str, bytes]:
    arrays, special = model.state()
    arrays["weights"] = model.weights
    files = {}
    for k, member in enumerate(model.members):
        if not member.capabilities.native_state:
            raise ConfigError(
                f"{member.candidate.name} has no native state and cannot be saved; block it and fit again"
            )
        files[f"member_{k}.json"] = _collect(member.fitted, f"member_{k}", arrays)
        arrays[f"member_{k}.items"] = member.items
    files["fallback.json"] = _collect(model.fallback, "fallback", arrays)
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    files["arrays.npz"] = buffer.getvalue()
    files["model.json"] = _json(
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


def _collect(fitted: Fitted, prefix: str, arrays: dict[str, np.ndarray]) -> bytes:
    """Put the arrays of a fitted object among `arrays`; returns its JSON values."""
    own, values = fitted.state()
    arrays.update({f"{prefix}.state.{name}": array for name, array in own.items()})
    return _json(values)


def _restored(learner: str, prefix: str, arrays: Mapping[str, np.ndarray], values: dict[str, Any]) -> Fitted:
    begin = f"{prefix}.state."
    own = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
    return get_learner(learner).restore(own, values)


def _model(
    values: dict[str, Any], arrays: dict[str, np.ndarray], members: list[dict[str, Any]], fallback: dict[str, Any]
) -> FittedModel:
    candidates = [Candidate(m["learner"], m["params"]) for m in values["members"]]
    task = task_from_json(values["task"])
    core = {
        "task": task,
        "members": tuple(
            Member(c, _restored(c.learner, f"member_{k}", arrays, members[k]), arrays[f"member_{k}.items"])
            for k, c in enumerate(candidates)
        ),
        "weights": arrays["weights"],
        "fallback": _restored(task.fallback().learner, "fallback", arrays, fallback),
        "log": tuple(LogRow.from_json(row) for row in values["log"]),
        "findings": tuple(Finding(**finding) for finding in values["findings"]),
    }
    return KINDS[values.get("kind", "forecaster")].restore(core, arrays, values)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, default=_plain).encode()


def _plain(value: Any) -> Any:
    """NumPy scalars as Python numbers."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
