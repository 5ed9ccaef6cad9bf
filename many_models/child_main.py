"""What happens inside a child process: it is shut off, limited, does its one call and tells how it went."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass
from types import TracebackType

#: A message is its kind, its length in bytes, and so many bytes.
HEAD = struct.Struct("<cQ")
BEGUN, VALUE, ERROR, MEMORY = b"B", b"V", b"E", b"M"
#: A worker is one of many on its machine: parallel loops inside it would only fight with the others.
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
        "ARROW_IO_THREADS",
        "LOKY_MAX_CPU_COUNT",
    )
}
#: Bytes that the allocator may ask for beyond the limit of what a child may really use: much of it is never touched.
GENEROUS = 1.5


@dataclass(frozen=True)
class Failure:
    """An exception as a value. type: its name; kinds: full names of its class and their bases; errno: of an `OSError`,
    None for others."""

    type: str
    message: str
    traceback: str
    kinds: tuple[str, ...] = ()
    errno: int | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type

    @classmethod
    def of(cls, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Failure:
        """The traceback module says too what an exception is that cannot say so itself."""
        return cls(
            type=kind.__qualname__,
            message=_message(kind, error),
            traceback="".join(traceback.format_exception(kind, error, trace)),
            kinds=tuple(f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__),
            errno=error.errno if isinstance(error, OSError) else None,
        )


@dataclass(frozen=True)
class Reply:
    """What a child says to its parent. answer: file descriptor."""

    answer: int

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """One message; waits until the parent has taken it."""
        rest = memoryview(HEAD.pack(kind, len(content)) + content)
        while rest:
            rest = rest[os.write(self.answer, rest) :]

    def failed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """The hook for what nobody caught: the parent gets it as a value."""
        if isinstance(error, MemoryError):
            self.send(MEMORY, pickle.dumps((peak(), _message(kind, error))))
        else:
            self.send(ERROR, pickle.dumps((peak(), Failure.of(kind, error, trace))))


def _message(kind: type[BaseException], error: BaseException) -> str:
    return "".join(traceback.format_exception_only(kind, error)).partition(": ")[2].strip()


@dataclass(frozen=True)
class ChildMain:
    """The main program of a child. call: (function, argument) as cloudpickle writes them; environment: of the parent;
    scratch: folder for temporary files; memory: bytes it may use, None for no limit."""

    call: bytes
    environment: dict[str, str]
    scratch: str
    memory: int | None

    def _bootstrap(self, sentinel: int) -> int:
        """Called by the fork server in the fresh process; returns the exit code."""
        from multiprocessing import forkserver

        os.close(sentinel)
        # The server ends when its last client does. A child is no client: the server must die with the driver, because
        # the kernel then ends the children.
        os.close(forkserver._forkserver._forkserver_alive_fd)
        return self.run(*forkserver.get_inherited_fds())

    def run(self, answer: int, output: int, lifeline: int) -> int:
        """answer, output: descriptors to write to; lifeline: one to read, whose other end the driver alone holds."""
        import cloudpickle

        for fd in (answer, output, lifeline):
            os.set_inheritable(fd, False)
        if not os.read(lifeline, 1):
            # The driver has ended before it could say that there is somebody to end what begins here.
            return 1
        reply = Reply(answer)
        sys.excepthook = reply.failed
        self._isolate(output, lifeline)
        self._limit()
        function, argument = cloudpickle.loads(self.call)
        reply.send(BEGUN)
        try:
            value = function(argument)
        except SystemExit as leaving:
            sys.stderr.flush()
            return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except (KeyboardInterrupt, GeneratorExit) as stop:
            reply.failed(type(stop), stop, stop.__traceback__)
            return 1
        reply.send(VALUE, pickle.dumps((peak(), None)) + cloudpickle.dumps(value))
        return 0

    def _isolate(self, output: int, lifeline: int) -> None:
        """A session of its own, its words into a pipe, its end tied to the driver's."""
        import faulthandler

        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        faulthandler.enable(2)
        server = os.getppid()
        _die_with_parent()
        threading.Thread(target=_watch, args=(lifeline,), daemon=True, name="lifeline").start()
        if os.getppid() != server:
            os._exit(1)

    def _limit(self) -> None:
        os.environ.clear()
        os.environ.update({**self.environment, **ONE_THREAD, "TMPDIR": self.scratch})
        tempfile.tempdir = None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        limit_resources(self.memory)


def limit_resources(memory: int | None) -> None:
    """No core files; memory by the kernel's count of data; first to go when the machine runs out of memory."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # Where this is not Linux, or not allowed, the kernel picks by size alone.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("500")
    if memory is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = int(GENEROUS * memory) + _data_size()
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def peak() -> int:
    """Bytes of memory of this process at most, so far."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _data_size() -> int:
    """Bytes that count against the limit of data already: those of the libraries, mostly never touched."""
    try:
        with open("/proc/self/status") as stream:
            return next(int(line.split()[1]) * 1024 for line in stream if line.startswith("VmData"))
    except (OSError, StopIteration):
        return 0


def _die_with_parent() -> None:
    """Linux: the kernel kills this process when the fork server ends, even in native code that never returns."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    death_signal = 1  # PR_SET_PDEATHSIG
    # Where the C library has no such call the lifeline remains.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL, 0, 0, 0)


def _watch(lifeline: int) -> None:
    """The driver never writes: a read that returns means that it is gone, and whatever we began goes too."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)
