"""The ledger of a store: one SQLite file, written by one driver, read by anyone at any time.

Every change is one transaction that first checks the token of the lease, so that a driver whose lease was taken over
cannot commit. Readers see the state of one moment as long as they read.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from many_models.errors import CorruptStoreError, NewerStoreError, StoreError, StoreFull, StoreInUse
from many_models.files import TEMPORARY, sync_folder
from many_models.lease import Lease
from many_models.schema import APPLICATION, SCRIPTS, VERSION

LEDGER = "ledger.db"
#: Seconds that a reader or a driver waits for a lock inside the ledger; such locks last milliseconds.
BUSY = 30.0
#: Write-ahead logging shares memory between processes, which file systems of a network do not have.
NETWORK = {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb2", "smb3", "smbfs"}
RESTORE = "restore the folder from a backup, or run anew into another one"

#: Results of SQLite that mean something to a user; see https://www.sqlite.org/rescode.html.
_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 26
_WRITE_FAILED = {_IOERR | part << 8 for part in (3, 4, 5, 19)}  # write, fsync, fsync of the folder, shared memory


class Ledger:
    """Connections to the ledger of the store at `root`; made by `create` and `open`."""

    def __init__(self, root: Path, writer: sqlite3.Connection | None, token: int):
        self.root = root
        self._writer = writer
        self._token = token
        self._mutex = threading.Lock()
        self._is_open = True

    @staticmethod
    def create(root: Path) -> None:
        """Make an empty ledger, there whole or not at all; the caller holds the lease."""
        path = root / TEMPORARY / f"{secrets.token_hex(12)}.part"
        with translated(root), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            _upgrade(connection, 0)
            facts = {"store": secrets.token_hex(16), "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
        os.replace(path, root / LEDGER)
        sync_folder(root)

    @classmethod
    def open(cls, root: Path, lease: Lease | None) -> Ledger:
        """For writing with a lease, else for reading; a ledger of an older schema is upgraded.

        Raises `CorruptStoreError`, `NewerStoreError`, `StoreInUse` where a driver of an older version is at work.
        """
        with translated(root):
            connection = _connect(root)
            try:
                version = _version(root, connection)
                if lease is not None:
                    ledger = cls(root, connection, _begin_writing(root, connection, version, lease))
                    connection = None
                    return ledger
            finally:
                if connection is not None:
                    connection.close()
        if version < VERSION:
            with contextlib.closing(Lease.acquire(root)) as brief:
                cls.open(root, brief).close()
        return cls(root, None, 0)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing of what is done in it; `StoreInUse` when the lease has passed to another driver."""
        if self._writer is None:
            raise StoreError(f"store {self.root} was opened for reading alone; open it with write=True")
        with self._mutex, translated(self.root):
            connection, done = self._writer, False
            connection.execute("BEGIN IMMEDIATE")
            try:
                _check_token(self.root, connection, self._token)
                yield connection
                connection.execute("COMMIT")
                done = True
            finally:
                if not done and connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one moment, whatever is committed meanwhile."""
        if not self._is_open:
            raise StoreError(f"store {self.root} has been closed; open it again")
        with translated(self.root), contextlib.closing(_connect(self.root)) as connection:
            connection.execute("BEGIN")
            yield connection

    def stream(
        self, query: str, parameters: Sequence[Any] = (), wanted: Iterable[bytes] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of a query in pieces, all of one moment; `wanted`: digests for the query, as the table `wanted`."""
        with self.snapshot() as connection:
            if wanted is not None:
                connection.execute("CREATE TEMP TABLE wanted (digest BLOB PRIMARY KEY) WITHOUT ROWID")
                connection.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((digest,) for digest in wanted))
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                # A reader of a rollback journal keeps the driver waiting, so it does not stay one for long.
                connection.execute(f"CREATE TEMP TABLE answer AS {query}", parameters)
                connection.execute("COMMIT")
                query, parameters = "SELECT * FROM answer ORDER BY rowid", ()
            cursor = connection.execute(query, parameters)
            while rows := cursor.fetchmany(1000):
                yield from rows

    def defects(self) -> list[str]:
        """What SQLite finds wrong in the ledger, by its full check."""
        with self.snapshot() as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            broken = [f"row {row[1]} of {row[0]} refers to nothing" for row in connection.execute(FOREIGN_KEYS)]
        return [text for text in found if text != "ok"] + broken

    def close(self) -> None:
        """Close the writing connection; snapshots under way stay."""
        self._is_open = False
        if self._writer is not None:
            with translated(self.root):
                self._writer.close()
            self._writer = None


FOREIGN_KEYS = "PRAGMA foreign_key_check"


@contextlib.contextmanager
def translated(root: Path) -> Iterator[None]:
    """Errors of SQLite as errors of the store."""
    try:
        yield
    except sqlite3.Error as error:
        raise _typed(root, error) from error


def on_network(path: Path, mounts: str) -> bool:
    """Whether `path` lies on a file system of a network, by the text of /proc/mounts."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2:
            # Blanks and the like are written as \\040.
            point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[1])
            if path.is_relative_to(point) and len(point) >= len(best):
                best, kind = point, fields[2]
    return kind in NETWORK or kind.startswith("fuse.")


def _typed(root: Path, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    if primary == _FULL or code in _WRITE_FAILED:
        return StoreFull(f"store {root}: no room to write the ledger ({error}); make room and `many-models resume`")
    if primary in (_BUSY, _LOCKED):
        return StoreInUse(
            f"store {root}: another process stands still in the middle of a commit; let it go on or end it"
        )
    if primary in (_CORRUPT, _NOTADB):
        return CorruptStoreError(f"store {root}: the ledger is damaged ({error}); {RESTORE}")
    if primary in (_READONLY, _CANTOPEN):
        return StoreError(f"store {root}: the ledger cannot be opened ({error}); check the folder and its permissions")
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return StoreError(f"store {root} has been closed; open it again")
    return CorruptStoreError(f"store {root}: the ledger is not as it should be ({error}); {RESTORE}")


def _connect(root: Path) -> sqlite3.Connection:
    path = root / LEDGER
    if path.is_symlink() or not path.is_file():
        raise CorruptStoreError(f"store {root}: {LEDGER} is missing or no plain file; {RESTORE}")
    mode = "mode=rw"
    if not os.access(root, os.W_OK):
        # Without a log beside it nobody can have changed it since the folder became read-only.
        mode = "mode=ro" if (root / f"{LEDGER}-wal").exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in ("foreign_keys = ON", "trusted_schema = OFF", "cell_size_check = ON", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")
        # Off a Mac these do nothing; there alone they reach the disk.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _version(root: Path, connection: sqlite3.Connection) -> int:
    """Version of the schema, checked to be one that can be read."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION or version < 1:
        raise CorruptStoreError(f"store {root}: {LEDGER} is no ledger of many_models; {RESTORE}")
    if version > VERSION:
        raise NewerStoreError(
            f"store {root} has schema {version}, written by a newer version of the package; this one knows schemas up "
            f"to {VERSION}: upgrade it"
        )
    return version


def _begin_writing(root: Path, connection: sqlite3.Connection, version: int, lease: Lease) -> int:
    """Set the journal, upgrade, and take the next token: from here on no earlier driver can commit."""
    connection.execute(f"PRAGMA journal_mode = {'DELETE' if _shared_by_network(root) else 'WAL'}")
    # Digests are looked up all over their index, which of a million groups is 30 MB; the default holds 2 MB.
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("BEGIN IMMEDIATE")
    if not lease.is_held(root):
        raise StoreInUse(f"store {root}: another process has taken it over; wait for it, or end it and try again")
    _upgrade(connection, version)
    connection.execute("UPDATE lease SET token = token + 1, holder = ?", (str(lease.holder),))
    # Whatever still runs by the ledger belongs to a driver that is dead or can no longer commit.
    connection.execute("UPDATE runs SET state = 'interrupted' WHERE state = 'running'")
    (token,) = connection.execute("SELECT token FROM lease").fetchone()
    connection.execute("COMMIT")
    return token


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    for script in SCRIPTS[version:]:
        for statement in script.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(SCRIPTS)}")


def _check_token(root: Path, connection: sqlite3.Connection, token: int) -> None:
    current, holder = connection.execute("SELECT token, holder FROM lease").fetchone()
    if current != token:
        raise StoreInUse(f"store {root} was taken over by {holder}; this process can no longer write to it")


def _shared_by_network(root: Path) -> bool:
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    return on_network(root.resolve(), mounts)
