"""What the parts of many_models hand to each other, on one page.

    groups = layout.groups()                   Group: a key, what it is called on disk, and a hash of its rows
    batches = partition(groups)                Batch: groups that are fitted in one call; a group is never split
    for batch, out in executor.map(work, ...)  Receipts as they finish, `Lost` for what an engine gave up
    ledger.commit(receipt)                     one transaction: what was written to disk counts from here on

A worker writes its own files and hands back a receipt; doing a batch twice changes nothing, because the ledger takes
the first receipt alone. Keys never become names on disk: names are hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: How a group ends: served by its own ensemble, or by the last resort alone; an error of its data or its fit; it took
#: its worker down; it was left out on purpose.
OK, FALLBACK, FAILED, QUARANTINED, SKIPPED = STATES = ("ok", "fallback", "failed", "quarantined", "skipped")

#: The kind of runs that fit nothing.
UPDATE = "update"


def digest_of(key: Sequence[str]) -> str:
    """The name of a group on disk: 32 hexadecimal digits, distinct for distinct keys.

    Each part goes in with its length, so that ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in key:
        text = part.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()


@dataclass(frozen=True)
class File:
    """A file in the store that is there whole. name: relative to the store; sha256 in hexadecimal; size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Serving:
    """The version of a group that serves: its place in a shard, its loss on the newest fold of its training, and the
    hash of the rows that it learned from."""

    shard: File
    place: int
    newest: float
    content: str


@dataclass(frozen=True)
class Group:
    """The rows of one key. key: texts of the partition columns; content: hash of its rows, whatever their order;
    serving: the version to go on from or to beat, None for none."""

    key: tuple[str, ...]
    rows: int
    content: str
    serving: Serving | None = None

    @property
    def digest(self) -> str:
        """Its name on disk."""
        return digest_of(self.key)


@dataclass(frozen=True)
class Batch:
    """Groups that are read and fitted together. parts: the pieces of the source that hold their rows."""

    groups: tuple[Group, ...]
    parts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def rows(self) -> int:
        """Rows of all its groups."""
        return sum(group.rows for group in self.groups)

    @property
    def name(self) -> str:
        """A hash of its groups' digests, the same for the same groups."""
        return digest_of([group.digest for group in self.groups])

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches of the same parts, to find the group that does harm."""
        middle = len(self.groups) // 2
        return Batch(self.groups[:middle], self.parts), Batch(self.groups[middle:], self.parts)


@dataclass(frozen=True)
class GroupResult:
    """How one group ended.

    state: one of `STATES`; model: what serves it, as text; place: position of its model in the shard; series, rows:
    its size; content: hash of the rows that were learned from; until: its last time with a value, as text; loss,
    baseline: out of fold by the task's metric, of the model and of the task's last resort (a seasonal naive), NaN where
    nothing could be judged; newest: loss on the newest fold; accepted: false where an older version is better and
    stays; reason: code of what went wrong ("exception", "timeout", "oom", "signal 11", "exit 3", ...), "" for nothing;
    error: type and message; attempts: how often it was begun; seconds: its share of the batch; label: what a user
    should know of it ("" for nothing), such as that its baseline was better.
    """

    digest: str
    state: str
    model: str = ""
    place: int = -1
    series: int = 0
    rows: int = 0
    content: str = ""
    until: str = ""
    loss: float = float("nan")
    baseline: float = float("nan")
    newest: float = float("nan")
    accepted: bool = True
    reason: str = ""
    error: str = ""
    attempts: int = 1
    seconds: float = 0.0
    label: str = ""


@dataclass(frozen=True)
class Receipt:
    """What a worker has done with a batch. shard: models; forecast: their forecasts (None where there are none);
    began, ended: seconds since 1970; peak: bytes of memory of the worker at most; place: host and process id."""

    batch: str
    results: tuple[GroupResult, ...]
    shard: File | None = None
    forecast: File | None = None
    began: float = 0.0
    ended: float = 0.0
    peak: int = 0
    place: str = ""


@dataclass(frozen=True)
class Death:
    """Why a worker process ended without an answer.

    reason: "oom", "timeout", "signal 11", "exit 3"; text: for the user; peak: bytes of memory at most.
    """

    reason: str
    text: str
    peak: int = 0


@dataclass(frozen=True)
class Limits:
    """What a group may take. seconds: wall time per group, or per 1,000 rows where it has more, None for no limit;
    memory: bytes of a worker process, None for no limit; attempts: how often a lone group that kills its worker is
    begun."""

    seconds: float | None = None
    memory: int | None = None
    attempts: int = 2


@dataclass(frozen=True)
class Lost:
    """An item that an engine gave up (a machine died, a task was lost): a failure as a value."""

    reason: str
    details: dict[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Where functions run: processes of this machine, or a cluster. Retries of its own are off."""

    workers: int

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | Lost]]:
        """Each item with its result, in the order in which they finish; items are drawn as workers become free.

        An exception in `function`, or a worker machine that dies, is a `Lost`, never raised.
        """
        ...

    def cancel(self) -> None:
        """Stop what runs, start nothing more; `map` ends."""
        ...


class Layout(Protocol):
    """Rows of a source laid out so that a worker opens only those of its batch; small, and can be sent to a worker.

    by: partition columns; columns: all columns that are read.
    """

    by: tuple[str, ...]
    columns: tuple[str, ...]

    def batches(self) -> Iterator[Batch]:
        """Every group in one batch, batches of near-equal cost, always the same for the same source."""
        ...

    def read(self, batch: Batch) -> Any:
        """The rows of these groups alone, as an Arrow table; key columns are text."""
        ...
