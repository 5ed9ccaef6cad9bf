"""Run a function in a process of its own, which may crash, hang or eat memory and costs nobody else anything.

    answer = call(fit, batch, seconds=60, memory=2 * 2**30)      # Answer(value or error) | Death(reason, text)

A child is forked from a warm server (never from the driver, whose threads and locks a fork would break) in some ten
milliseconds, leads a session of its own, and is gone with all that it began when the call ends, however it ends.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import selectors
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from many_models import fork_server
from many_models.child_main import BEGUN, ERROR, HEAD, MEMORY, ChildMain, Failure
from many_models.process_group import ProcessGroup
from many_models.protocols import Death

#: Seconds between two looks at clock and memory.
POLL = 0.05
#: Bytes of a child's last words that are kept, and characters of them in the message; the rest of what it prints is
#: read and dropped.
KEPT, LAST_WORDS = 1 << 14, 4096
#: Seconds that the libraries of a function may take to load, before its own time begins.
LOADING = 120.0
#: Seconds to wait for the end of a process that was killed: one that the kernel holds in a disk access takes longer.
ENDING = 5.0
_CHUNK = 1 << 18

#: Set in a thread whose calls are to end when the event is set: they kill their child and raise `CancelledError`.
CANCELLED: ContextVar[threading.Event | None] = ContextVar("CANCELLED", default=None)


@dataclass(frozen=True)
class Answer:
    """How a call in a child ended. value: what the function returned; error: what it raised, None for nothing; peak:
    bytes of memory at most, of the child and what it began; seconds: from the first line of the function on."""

    value: Any
    error: Failure | None
    peak: int
    seconds: float


def call(
    function: Callable[[Any], Any],
    argument: Any,
    seconds: float | None = None,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> Answer | Death:
    """`function(argument)` in a fresh process: its answer, or why there is none.

    seconds: wall time, None for no limit; memory: resident bytes of the process with all that it begins, None for no
    limit; scratch: folder in which its temporary files are kept until it ends, None for the system's.
    Raises `concurrent.futures.CancelledError` when the event in `CANCELLED` is set, OSError where no process can begin.
    """
    import cloudpickle

    with _folder(scratch) as folder:
        main = ChildMain(cloudpickle.dumps((function, argument)), dict(os.environ), folder, memory)
        with _begin(main) as conversation:
            return conversation.result(seconds, memory)


@dataclass
class _Conversation:
    """A running child and the parent's ends of its pipes."""

    group: ProcessGroup
    answer: int
    output: int
    status: int
    received: bytearray = field(default_factory=bytearray)
    words: bytearray = field(default_factory=bytearray)
    since: float = field(default_factory=time.monotonic)
    looked: float = 0.0
    working: bool = False
    ended: bool = False

    def result(self, seconds: float | None, memory: int | None) -> Answer | Death:
        """Listens until there is an answer, the child has ended, or one of its limits is reached."""
        cancelled = CANCELLED.get()
        with selectors.DefaultSelector() as selector:
            for fd in (self.answer, self.output, self.status):
                selector.register(fd, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(self._patience(seconds)):
                    if key.fd == self.status:
                        self.ended = True
                    elif not self._read(key.fd):
                        selector.unregister(key.fd)
                if self.ended:
                    # What it wrote before its end is still in the pipes; its offspring may hold them open.
                    while self._read(self.answer) and not self._complete():
                        pass
                    self._read(self.output)
                outcome = self._answered() or (self._died() if self.ended else self._over(seconds, memory))
                if outcome is not None:
                    return outcome
                if cancelled is not None and cancelled.is_set():
                    raise CancelledError("stopped by the driver")

    def _patience(self, seconds: float | None) -> float:
        """Seconds to listen at most before looking at the clock again."""
        if seconds is None or not self.working:
            return POLL
        return max(0.0, min(POLL, self.since + seconds - time.monotonic()))

    def _read(self, fd: int) -> bool:
        """Takes what is there; whether more may come."""
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return not self.ended
        if fd == self.answer:
            self.received += chunk
        else:
            self.words = (self.words + chunk)[-KEPT:]
        return bool(chunk)

    def _complete(self) -> bool:
        """Whether the first message is there whole."""
        if len(self.received) < HEAD.size:
            return False
        return len(self.received) >= HEAD.size + HEAD.unpack_from(self.received)[1]

    def _answered(self) -> Answer | Death | None:
        """Takes the messages that are there whole."""
        while self._complete():
            kind, length = HEAD.unpack_from(self.received)
            content = bytes(self.received[HEAD.size : HEAD.size + length])
            del self.received[: HEAD.size + length]
            if kind == BEGUN:
                self.working, self.since = True, time.monotonic()
                continue
            return self._outcome(kind, io.BytesIO(content))
        return None

    def _outcome(self, kind: bytes, content: io.BytesIO) -> Answer | Death:
        peak, said = pickle.load(content)
        peak = max(peak, self.group.peak)
        if kind == MEMORY:
            return Death("oom", f"MemoryError: {said}" if said else "MemoryError", peak)
        seconds = time.monotonic() - self.since
        if kind == ERROR:
            return Answer(None, said, peak, seconds)
        return Answer(pickle.load(content), None, peak, seconds)

    def _over(self, seconds: float | None, memory: int | None) -> Death | None:
        """Why it must be stopped now, if it must."""
        now = time.monotonic()
        limit = seconds if self.working else LOADING
        if limit is not None and now - self.since >= limit:
            doing = "took longer than" if self.working else "had not loaded what it needs after"
            return Death("timeout", self._last_words(f"{doing} {limit:.3g} s"), self.group.peak)
        if now - self.looked >= POLL:
            self.looked = now
            used = self.group.memory()
            if memory is not None and used > memory:
                text = f"used {used / 2**20:,.0f} MB of memory, more than the {memory / 2**20:,.0f} MB that it may"
                return Death("oom", text, self.group.peak)
        return None

    def _died(self) -> Death:
        code = fork_server.exit_code(self.status)
        peak = self.group.peak
        if code is None:
            return Death("lost", "the server process that it was forked from was killed", peak)
        if code == -signal.SIGKILL:
            return Death("oom", "killed from outside, most likely by the kernel for want of memory", peak)
        if code < 0:
            # C++ code that gets no memory ends like so.
            reason = "oom" if b"bad_alloc" in self.words else f"signal {-code}"
            return Death(reason, self._last_words(f"signal {-code} ({_name(-code)})"), peak)
        return Death(f"exit {code}", self._last_words(f"it ended with exit code {code} and no answer"), peak)

    def _last_words(self, text: str) -> str:
        lines = self.words.decode("utf-8", "replace").splitlines()
        # After a crash Python names every native module there is, more than all else it has to say.
        words = "\n".join(line for line in lines if not line.startswith("Extension modules:")).strip()[-LAST_WORDS:]
        return f"{text}; its last words: {words}" if words else text


@contextlib.contextmanager
def _begin(main: ChildMain) -> Iterator[_Conversation]:
    """A child that is gone, with all that it began, when the block is left."""
    with contextlib.ExitStack() as ends:
        answer, childs_answer = _pipe(ends)
        output, childs_output = _pipe(ends)
        childs_lifeline, lifeline = _pipe(ends)
        pid, status = fork_server.start(main, (childs_answer, childs_output, childs_lifeline))
        ends.callback(os.close, status)
        conversation = _Conversation(ProcessGroup.of(pid), answer, output, status)
        ends.callback(fork_server.release, pid)
        ends.callback(_end, conversation)
        fork_server.guard(pid)
        # Only now may it begin anything: what it begins has somebody to end it.
        os.write(lifeline, b"!")
        for fd in (answer, output):
            os.set_blocking(fd, False)
        yield conversation


def _pipe(ends: contextlib.ExitStack) -> tuple[int, int]:
    """An end to read from, one to write to. The parent keeps both: it watches the child's end, not that of the pipe."""
    pair = os.pipe()
    for fd in pair:
        ends.callback(os.close, fd)
    return pair


def _end(conversation: _Conversation) -> None:
    conversation.group.kill()
    if not conversation.ended:
        with selectors.DefaultSelector() as selector:
            selector.register(conversation.status, selectors.EVENT_READ)
            selector.select(ENDING)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


@contextlib.contextmanager
def _folder(scratch: str | os.PathLike[str] | None) -> Iterator[str]:
    """A private folder, removed with whatever is in it."""
    place = os.path.abspath(scratch) if scratch is not None else tempfile.gettempdir()
    _sweep(place)
    folder = tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-", dir=place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prefix() -> str:
    """Names of folders tell the machine too: another one may use the same disk, where our process ids mean nothing."""
    return f"many-models-{socket.gethostname()}-"


_swept: set[tuple[int, str]] = set()


def _sweep(place: str) -> None:
    """Removes, once per process, what drivers that were killed have left behind."""
    if (os.getpid(), place) in _swept:
        return
    _swept.add((os.getpid(), place))
    for entry in os.listdir(place):
        owner = entry.removeprefix(_prefix()).partition("-")[0]
        if entry.startswith(_prefix()) and owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(os.path.join(place, entry), ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
