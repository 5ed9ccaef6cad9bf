"""The run store: a folder that holds everything of many models, written by one driver and read by anyone.

ledger.db    what counts: runs, plans, versions, champions, and every file with its hash (`schema`)
lock         who writes (`lease`)
shards/      models, one file per receipt of a worker (`files`)
forecasts/   their forecasts
documents/   the job, the prior, and other single files
data/        the rows laid out by group, with files of their own
tmp/         what is being written

A file counts once the ledger names it, and the ledger names it once it is on disk: a crash at any moment leaves files
that nobody names, never a name without its file. `fsck` proves it, `gc` makes room.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

from many_models import files
from many_models.errors import CorruptStoreError, StoreError
from many_models.lease import LOCK, Lease
from many_models.ledger import LEDGER, Ledger
from many_models.plan import Plan
from many_models.protocols import File
from many_models.runs import Runs
from many_models.versions import Versions, enter

FOLDERS = (*files.KINDS, files.TEMPORARY, "data")


class Store:
    """An open store; `with Store.open(path) as store:` closes it. root: its folder."""

    def __init__(self, root: Path, ledger: Ledger, lease: Lease | None):
        self.root = root
        self.ledger = ledger
        self.runs = Runs(ledger)
        self.plan = Plan(ledger)
        self.versions = Versions(ledger)
        self._lease = lease

    @classmethod
    def create(cls, path: str | Path) -> Store:
        """Make an empty store in a folder that is new or empty, open for writing; `StoreError` where one is already."""
        root = _absolute(path)
        if is_store(root):
            raise StoreError(f"there is a store in {root} already; open it, or choose another folder")
        with contextlib.ExitStack() as undo:
            try:
                root.mkdir(parents=True, exist_ok=True)
                foreign = sorted(name for name in os.listdir(root) if name not in (*FOLDERS, LOCK))
                if foreign or any(_content(root)):
                    raise StoreError(
                        f"{root} is not empty and no store; choose another folder, or remove what is in it"
                    )
                lease = undo.enter_context(contextlib.closing(Lease.acquire(root)))
                if not is_store(root):
                    for name in FOLDERS:
                        (root / name).mkdir(exist_ok=True)
                    Ledger.create(root)
            except OSError as error:
                raise StoreError(f"no store can be made in {root} ({error.strerror}); choose another folder") from error
            store = cls(root, Ledger.open(root, lease), lease)
            undo.pop_all()
        return store

    @classmethod
    def open(cls, path: str | Path, write: bool = False, wait: float = 0.0, take_over: bool = False) -> Store:
        """Open a store for reading, beside any number of others, or for writing, as the only one.

        Raises `StoreInUse` when another process writes to it and does not end within `wait` seconds; take_over: write
        in its place, so that it can no longer commit. Runs of a driver that died are set to "interrupted".
        `StoreError` where there is no store, `CorruptStoreError`, `NewerStoreError`.
        """
        root = _absolute(path)
        if not is_store(root):
            if root.is_dir() and any(_content(root)):
                raise CorruptStoreError(
                    f"store {root} has lost its {LEDGER}; restore it from a backup, or run anew into another folder"
                )
            raise StoreError(f"there is no store in {root}; `many-models run` makes one")
        if not write:
            return cls(root, Ledger.open(root, None), None)
        with contextlib.ExitStack() as undo:
            lease = undo.enter_context(contextlib.closing(Lease.acquire(root, wait, take_over)))
            store = cls(root, Ledger.open(root, lease), lease)
            undo.pop_all()
        with contextlib.suppress(OSError):
            # What drivers were writing when they were killed.
            files.sweep(root)
        return store

    def close(self) -> None:
        """Give the lease back; a second time does nothing."""
        try:
            self.ledger.close()
        finally:
            if self._lease is not None:
                self._lease.close()

    def put(self, name: str, content: bytes) -> File:
        """Keep a document under a name, in place of an older one."""
        file = files.write(self.root, "documents", content)
        with self.ledger.transaction() as connection:
            number = enter(connection, file)
            connection.execute("INSERT OR REPLACE INTO documents (name, file) VALUES (?, ?)", (name, number))
        return file

    def get(self, name: str) -> bytes:
        """Content of a document; `StoreError` when there is none of this name."""
        file = self.find(name)
        if file is None:
            raise StoreError(f"store {self.root} has no document {name!r}")
        return self.read(file)

    def find(self, name: str) -> File | None:
        """The file of a document, None when there is none of this name."""
        query = "SELECT f.name, f.sha256, f.size FROM documents d JOIN files f ON f.id = d.file WHERE d.name = ?"
        for row in self.ledger.stream(query, (name,)):
            return File(*row)
        return None

    def read(self, file: File) -> bytes:
        """Content of a shard, a forecast part or a document, its hash checked (`files.read`)."""
        return files.read(self.root, file)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_store(path: str | Path) -> bool:
    """Whether there is a store in this folder, in whatever state."""
    return os.path.lexists(Path(path) / LEDGER)


def _absolute(path: str | Path) -> Path:
    # A driver that changes its working folder must not change its store.
    return Path(os.path.abspath(path))


def _content(root: Path) -> list[str]:
    """Names of content below a folder, if only the first."""
    return [name for name, _ in files.listing(root)][:1]
