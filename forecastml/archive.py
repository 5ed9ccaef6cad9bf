"""Files of a saved object: a manifest with the hash of each, arrays without pickle, and all of them in one zip.

The same files give the same bytes, so that the content of an archive can be told by its hash.
"""

from __future__ import annotations

import hashlib
import json
import platform
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from forecastml.errors import CorruptModelError, ModelFormatError, NewerFormatError
from forecastml.learners.registry import get_learner
from forecastml.protocols import Fitted

#: Version of the layout; a newer one is refused, older ones are read. 1: models of series alone.
FORMAT = 2
MANIFEST = "manifest.json"
ARRAYS = "arrays.npz"
#: The time that all members of an archive bear: the earliest that a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
#: What reading a damaged zip raises.
_DAMAGE = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error, zlib.error)


def with_manifest(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files and their manifest: versions, and the SHA-256 of each."""
    from forecastml import __version__

    manifest = {
        "format": FORMAT,
        "forecastml": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    return {**files, MANIFEST: as_json(manifest)}


def verified(where: str, read: Callable[[str], bytes]) -> dict[str, bytes]:
    """Content of every file of the manifest, hashes checked before anything is parsed.

    read: name -> content, raises `OSError` or `KeyError` where there is none. Raises `ModelFormatError` without a
    manifest, `NewerFormatError`, `CorruptModelError`; `where` is how messages call the place.
    """
    try:
        manifest = json.loads(read(MANIFEST))
        version, hashes = int(manifest["format"]), dict(manifest["files"])
    except FileNotFoundError:
        raise ModelFormatError(f"{where} is not a saved model: there is no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptModelError(f"{where}: {MANIFEST} cannot be read ({error})") from error
    if version > FORMAT:
        raise NewerFormatError(
            f"{where} has format {version}, saved by forecastml {manifest.get('forecastml')}; this version reads up to "
            f"{FORMAT}: upgrade forecastml"
        )
    files = {}
    for name, expected in hashes.items():
        if "/" in name or "\\" in name or name in ("", ".", ".."):
            raise CorruptModelError(f"{where}: the manifest names {name!r}, which is not a plain file name")
        try:
            files[name] = read(name)
        except OSError as error:
            raise CorruptModelError(f"{where}: {name} is missing ({error.strerror})") from error
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise CorruptModelError(f"{where}: {name} was altered or damaged after saving")
    return files


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files with their manifest as one zip, not compressed: arrays already are."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(with_manifest(files).items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.getvalue()


def unpacked(content: bytes, where: str) -> dict[str, bytes]:
    """The files of `packed`, read in memory and verified; raises as `verified`.

    Only members that are stored as they are come in, so that an archive cannot unpack to more than its own size.
    """
    try:
        archive = zipfile.ZipFile(BytesIO(content))
    except (OSError, *_DAMAGE) as error:
        raise CorruptModelError(f"{where}: the archive cannot be read ({error})") from error

    def read(name: str) -> bytes:
        info = archive.NameToInfo.get(name)
        if info and (info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content)):
            raise CorruptModelError(f"{where}: {name} is compressed, which none of ours is")
        try:
            return archive.read(name)
        except KeyError:
            raise OSError(0, "not in the archive") from None
        except (OSError, *_DAMAGE) as error:
            raise CorruptModelError(f"{where}: {name} was altered or damaged after saving ({error})") from error

    return verified(where, read)


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as compressed `.npz`."""
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def arrays_of(content: bytes) -> dict[str, np.ndarray]:
    """The inverse of `npz`; no object arrays. Raises `ValueError` for what is none."""
    try:
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (AttributeError, OSError, *_DAMAGE) as error:
        raise ValueError(f"{ARRAYS} holds no arrays: {error}") from error


def collected(fitted: Fitted, prefix: str, arrays: dict[str, np.ndarray]) -> bytes:
    """Put the arrays of a fitted object among `arrays`; returns its JSON values."""
    own, values = fitted.state()
    arrays.update({f"{prefix}.state.{name}": array for name, array in own.items()})
    return as_json(values)


def restored(learner: str, prefix: str, arrays: Mapping[str, np.ndarray], values: dict[str, Any]) -> Fitted:
    """The fitted object whose arrays begin with `prefix`, the inverse of `collected`."""
    begin = f"{prefix}.state."
    own = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
    return get_learner(learner).restore(own, values)


def as_json(value: Any) -> bytes:
    """JSON as bytes; NumPy scalars as numbers."""
    return json.dumps(value, ensure_ascii=False, indent=1, default=_plain).encode()


def _plain(value: Any) -> Any:
    """NumPy scalars as Python numbers."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
