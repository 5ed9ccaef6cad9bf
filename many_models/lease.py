"""The right to write to a store: a lock of the operating system, which is free the moment its holder is dead.

The lock alone does not stop a driver whose lock was taken over while it stood still; the token in the ledger does
(`Ledger.transaction`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from many_models.errors import CorruptStoreError, StoreError, StoreInUse

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
#: Seconds between two tries, and how long is tried at least: a reader that asks who holds the lock has it for a moment.
PAUSE, PATIENCE = 0.05, 0.25


@dataclass(frozen=True)
class Holder:
    """Who writes to a store. since: seconds since 1970."""

    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {began}"


class Lease:
    """The lock of a store, held until `close` or the end of the process."""

    def __init__(self, descriptor: int, holder: Holder):
        self._descriptor: int | None = descriptor
        self.holder = holder

    @classmethod
    def acquire(cls, root: Path, wait: float = 0.0, take_over: bool = False) -> Lease:
        """Take the lock, after `wait` seconds at most; `StoreInUse` names who has it.

        take_over: take it from a holder that is known to be out of order; what it still tries to commit is refused.
        """
        if take_over:
            _put_new_lock(root)
        end = time.monotonic() + max(wait, PATIENCE)
        while True:
            descriptor = _try(root)
            if descriptor is not None:
                return cls(descriptor, _sign(descriptor))
            if time.monotonic() >= end:
                other = _signature(root)
                raise StoreInUse(
                    f"store {root} is in use by {other or 'another process'}; wait for it, or end it and try again"
                )
            time.sleep(PAUSE)

    def is_held(self, root: Path) -> bool:
        """Whether the lock of the store is still this one, not the new one of a take-over."""
        try:
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), os.stat(root / LOCK))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Give the lock back; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder(root: Path) -> Holder | None:
    """Who writes to the store now, None for nobody; needs no lock."""
    if not os.path.lexists(root / LOCK):
        return None
    descriptor = _try(root, os.O_RDONLY)
    if descriptor is None:
        return _signature(root) or Holder(0, "an unknown host", 0.0)
    os.close(descriptor)
    return None


def _try(root: Path, mode: int = os.O_RDWR | os.O_CREAT) -> int | None:
    """The open lock, or None while another has it."""
    descriptor = _open(root, mode)
    try:
        _lock(descriptor)
        # The one that was opened may have been replaced by a take-over since.
        if os.path.samestat(os.fstat(descriptor), os.stat(root / LOCK)):
            return descriptor
    except (BlockingIOError, FileNotFoundError, PermissionError):
        pass
    except OSError as error:
        os.close(descriptor)
        raise StoreError(
            f"store {root}: its file system has no locks ({error.strerror}); put the store on another one"
        ) from error
    os.close(descriptor)
    return None


def _open(root: Path, mode: int) -> int:
    try:
        return os.open(root / LOCK, mode | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        if (root / LOCK).is_symlink():
            raise CorruptStoreError(f"store {root}: its lock is a link; remove {root / LOCK}") from error
        raise StoreError(f"store {root} cannot be locked ({error.strerror}); check its folder") from error


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:  # Windows: a byte far behind the text, which stays readable for others
        import msvcrt

        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


def _sign(descriptor: int) -> Holder:
    """Say in the lock who has it; a full disk is no reason to have no lock."""
    signed = Holder(os.getpid(), socket.gethostname(), time.time())
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(asdict(signed)).encode())
    return signed


def _signature(root: Path) -> Holder | None:
    try:
        return Holder(**json.loads((root / LOCK).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _put_new_lock(root: Path) -> None:
    """Another file in place of the lock: the older holder's lock is on a file that no longer has a name."""
    fresh = root / f"{LOCK}.{os.getpid()}"
    fresh.touch()
    os.replace(fresh, root / LOCK)
