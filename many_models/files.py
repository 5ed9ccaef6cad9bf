"""Files of a store: each is written whole or not at all, named by the hash of its content, and checked when read.

A name is `kind/ab/<sha256>.suffix`, where ab are the first digits of the hash: no text of a user ever becomes a name,
and what is twice the same is there once. Nothing is ever changed in place.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from many_models.errors import CorruptStoreError, StoreError, StoreFull
from many_models.protocols import File

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Folders of a store that hold content; the others are `tmp` and those of other parts.
KINDS = ("shards", "forecasts", "documents")
TEMPORARY = "tmp"
NAME = re.compile(r"(shards|forecasts|documents)/([0-9a-f]{2})/(\2[0-9a-f]{62})((?:\.[a-z0-9]+)*)\Z")
FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # quotas are unknown to Windows
#: A temporary file on a file system without locks is taken for abandoned after this many seconds.
ABANDONED = 86_400.0
#: How often a file is begun whose temporary copy a sweep on another machine took away.
ATTEMPTS = 3
REMEDY = "`many-models fsck --repair` goes back to the version before, or queues its groups again"

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_passed: dict[str, int] = {}


def write(root: Path, kind: str, content: bytes, suffix: str = "") -> File:
    """Put `content` into the store at `root`, on disk for good when this returns.

    Raises `StoreFull` when there is no room (nothing is left behind), `CorruptStoreError` when the disk does not give
    back what was written.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    file = File(f"{kind}/{sha256[:2]}/{sha256}{suffix}", sha256, len(content))
    if not NAME.match(file.name):
        raise StoreError(f"a file of the store cannot be of kind {kind!r} with the ending {suffix!r}")
    try:
        if not _is_there(root, file):
            _publish(root, file, content)
    except OSError as error:
        raise _trouble(root, file, error) from error
    crash("after_write")
    return file


def read(root: Path, file: File) -> bytes:
    """The content of `file`, hash and size checked before anything is returned.

    Raises `CorruptStoreError` when it is missing, altered, a link, or named like no file of a store.
    """
    defect = _named_wrongly(file)
    if defect:
        raise CorruptStoreError(f"store {root}: {defect}; {REMEDY}")
    try:
        # Size first: a file that grew to a terabyte is refused before memory is asked for.
        path = _inspect(root, file)
        content = _read_all(path, file.size)
    except OSError as error:
        raise _trouble(root, file, error) from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise CorruptStoreError(f"store {root}: the content of {file.name} is not what was written; {REMEDY}")
    return content


def check(root: Path, file: File) -> None:
    """Raise `CorruptStoreError` unless `file` is there with its size; the quick check, which does not read it."""
    defect = _named_wrongly(file)
    if defect:
        raise CorruptStoreError(f"store {root}: {defect}; {REMEDY}")
    try:
        _inspect(root, file)
    except OSError as error:
        raise _trouble(root, file, error) from error


def remove(root: Path, name: str) -> int:
    """Remove a file or a link of the store; returns the bytes freed, 0 when it is not there."""
    path = root / name
    if not is_inside(name):
        raise StoreError(f"store {root}: {name!r} is no name of a file in a store, and is not removed")
    try:
        _refuse_links(root, Path(name).parent)
        size = os.lstat(path).st_size
        os.unlink(path)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StoreError(f"store {root}: {name} cannot be removed ({error.strerror})") from error
    return size


def is_inside(name: str) -> bool:
    """Whether a name stays in the content folders of the store, links aside."""
    parts = name.split("/")
    return parts[0] in KINDS and not {"", ".", ".."} & set(parts) and "\0" not in name


def listing(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every entry of the content folders that is no plain folder, as (name, its own state); links are not followed."""
    pending = [kind for kind in KINDS if os.path.lexists(root / kind)]
    while pending:
        name = pending.pop()
        state = os.lstat(root / name)
        if stat.S_ISDIR(state.st_mode):
            pending += sorted((f"{name}/{entry}" for entry in os.listdir(root / name)), reverse=True)
        else:
            yield name, state


def is_abandoned(path: Path) -> bool:
    """Whether the writer of a temporary file is dead: while it lives, it holds a lock on it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW)
    except OSError:
        return path.is_symlink()  # nobody of ours makes links
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except OSError:
        pass  # no locks here: the age decides
    finally:
        state = os.fstat(descriptor)
        os.close(descriptor)
    return time.time() - state.st_mtime > ABANDONED


def sweep(root: Path) -> int:
    """Remove temporary files whose writer is dead; returns how many. Those of living writers stay."""
    return sum(_swept(path) for path in sorted((root / TEMPORARY).glob("*.part")))


def room(root: Path) -> int:
    """Bytes that can still be written to the disk of the store."""
    import shutil

    return shutil.disk_usage(root).free


def crash(point: str) -> None:
    """Die at once where the tests ask for it: MM_CRASH_AT=after_write, or after_write:3 for the third time."""
    wanted, _, times = os.environ.get("MM_CRASH_AT", "").partition(":")
    if wanted == point:
        _passed[point] = _passed.get(point, 0) + 1
        if _passed[point] == int(times or 1):
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut, where the system can."""
    if os.name == "nt":
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(folder)


def _is_there(root: Path, file: File) -> bool:
    """Whether the content is in the store already, whole; it counts as new again, so that no sweep takes it away."""
    try:
        read(root, file)
        os.utime(root / file.name)
    except (CorruptStoreError, FileNotFoundError):
        return False
    return True


def _publish(root: Path, file: File, content: bytes) -> None:
    target = root / file.name
    _make_folders(root, target.parent)
    _clear(target)
    for attempt in range(ATTEMPTS):
        temporary = root / TEMPORARY / f"{secrets.token_hex(12)}.part"
        try:
            with _held(temporary) as descriptor:
                _fill(descriptor, content)
                if hashlib.sha256(_read_all(temporary, file.size)).hexdigest() != file.sha256:
                    raise CorruptStoreError(
                        f"store {root}: the disk does not give back what was written ({file.name}); check the disk"
                    )
                if os.name != "nt":
                    os.replace(temporary, target)
            if os.name == "nt":  # an open file cannot be renamed there
                os.replace(temporary, target)
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            sync_folder(target.parent)
            return
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[int]:
    """A new file, locked as long as it is open: the lock dies with its writer, which tells a sweep what it may take."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o644)
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks: the age decides
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _fill(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while len(rest):
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)
    if hasattr(fcntl, "F_FULLFSYNC"):  # on a Mac, fsync leaves it in the cache of the disk
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    if hasattr(os, "posix_fadvise"):
        # What is read back should come from the disk, not from memory.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _read_all(path: Path, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(size + 1)


def _inspect(root: Path, file: File) -> Path:
    """Where `file` is, once it is known to be a plain file of the right size in plain folders."""
    _refuse_links(root, Path(file.name).parent)
    path = root / file.name
    state = os.lstat(path)
    if not stat.S_ISREG(state.st_mode):
        raise CorruptStoreError(f"store {root}: {file.name} is a link or no plain file; {REMEDY}")
    if state.st_size != file.size:
        raise CorruptStoreError(
            f"store {root}: {file.name} has {state.st_size:,} bytes, written were {file.size:,}; {REMEDY}"
        )
    return path


def _named_wrongly(file: File) -> str:
    found = NAME.match(file.name)
    if found is None:
        return f"{file.name!r} is no name of a file in a store"
    return "" if found[3] == file.sha256 else f"{file.name} does not carry its own hash"


def _refuse_links(root: Path, folder: Path) -> None:
    path = root
    for part in folder.parts:
        path = path / part
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise CorruptStoreError(f"store {root}: {path.relative_to(root)} is a link; {REMEDY}")


def _make_folders(root: Path, folder: Path) -> None:
    inner = folder.relative_to(root)
    for part in (Path(TEMPORARY), *reversed(inner.parents[:-1]), inner):
        try:
            os.mkdir(root / part)
            sync_folder((root / part).parent)
        except FileExistsError:
            # Looked at before anything is made in it, which would be made elsewhere.
            _refuse_links(root, part)


def _clear(target: Path) -> None:
    """Make way where something else than a plain file stands (a plain one is replaced)."""
    if target.is_symlink():
        target.unlink()


def _swept(path: Path) -> bool:
    if is_abandoned(path):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            os.unlink(path)
            return True
    return False


def _trouble(root: Path, file: File, error: OSError) -> StoreError:
    if error.errno in FULL:
        return StoreFull(
            f"store {root}: no room for {file.size:,} bytes ({error.strerror}); make room and `many-models resume`"
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CorruptStoreError(f"store {root}: {file.name} is missing; {REMEDY}")
    if error.errno in (errno.EIO, errno.ELOOP):
        return CorruptStoreError(f"store {root}: {file.name} cannot be read ({error.strerror}); {REMEDY}")
    return StoreError(f"store {root}: {file.name} cannot be reached ({error.strerror}); check its permissions")
