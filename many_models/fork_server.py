"""A warm process from which children are forked: multiprocessing's fork server, but one of our own.

The one that all share would begin by running the user's script again (an unguarded `many_models.run(...)` at its top
level would start itself for ever), refuses daemonic processes (Dask's workers), and would pass our preload and our
thread limits on to whatever else of the user's program is forked from it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import process
from multiprocessing.forkserver import ForkServer, read_signed
from typing import IO, Any

#: What a server imports before it forks. A child imports what is missing here itself, which takes seconds each time.
PRELOAD = ("many_models.preload",)

#: A process that outlives us by a moment. It reads "+ group" and "- group" lines, and kills the groups that are left
#: when they end: a child dies with its driver, but what the child began would live on.
_GUARDIAN = """
import os, signal, sys
if os.fork():
    os._exit(0)
os.setsid()
groups = set()
for line in sys.stdin:
    sign, group = line.split()
    (groups.add if sign == "+" else groups.discard)(int(group))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""

_guardians: dict[int, IO[bytes]] = {}
_servers: dict[int, ForkServer] = {}
_lock = threading.Lock()


def start(child: Any, fds: Sequence[int]) -> tuple[int, int]:
    """Forks a process that runs `child._bootstrap(sentinel)` -> exit code, with copies of `fds` in
    `multiprocessing.forkserver.get_inherited_fds()`. Returns its process id and a descriptor for `exit_code`.

    Raises OSError where no process can be made.
    """
    call = pickle.dumps(_surroundings()) + pickle.dumps(child)
    try:
        return _ask(_server(), call, fds)
    except (EOFError, ConnectionError, FileNotFoundError, ChildProcessError):
        # The server was killed, or reaped by somebody else's handler: another one takes its place.
        forget()
    try:
        return _ask(_server(), call, fds)
    except EOFError:
        raise OSError("no worker process can be made: the fork server ends as soon as it begins") from None


def warm() -> None:
    """Begins the server without waiting for it: it loads its libraries while the caller does something else."""
    _server()


def guard(pid: int) -> None:
    """From now on the whole group of this child ends when we do, however we do."""
    with _lock:
        if os.getpid() not in _guardians:
            _guardians[os.getpid()] = _guardian()
        _tell("+", pid)


def release(pid: int) -> None:
    """The group is gone; its number may be given to others."""
    with _lock:
        _tell("-", pid)


def _tell(sign: str, pid: int) -> None:
    try:
        _guardians[os.getpid()].write(f"{sign} {pid}\n".encode())
    except BrokenPipeError:
        # Somebody has killed it: another one begins with the next child.
        _guardians.pop(os.getpid(), None)
    except KeyError:
        pass


def _guardian() -> IO[bytes]:
    """It leaves our session, and is nobody's child: what ends us and our children does not reach it."""
    nowhere = subprocess.DEVNULL
    command = [sys.executable, "-I", "-S", "-c", _GUARDIAN]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, cwd="/", bufsize=0)
    process.wait()
    return process.stdin


def exit_code(status: int) -> int | None:
    """The exit code of an ended child, minus the signal that ended it; None where the server itself is gone."""
    try:
        return read_signed(status)
    except (EOFError, OSError):
        return None


def forget() -> None:
    """The next child is forked from a new server."""
    with _lock:
        _servers.pop(os.getpid(), None)


def _ask(server: ForkServer, call: bytes, fds: Sequence[int]) -> tuple[int, int]:
    status, request = server.connect_to_new_process(list(fds))
    try:
        with open(request, "wb", closefd=True) as stream:
            stream.write(call)
    except BrokenPipeError:
        pass  # it died before it had read all: its exit code tells of it
    try:
        return read_signed(status), status
    except (EOFError, OSError):
        os.close(status)
        raise EOFError("the fork server is gone") from None


def _server() -> ForkServer:
    """The one of this process; a forked copy of a driver needs its own."""
    with _lock:
        if os.getpid() not in _servers:
            server = ForkServer()
            server.set_forkserver_preload(list(PRELOAD))
            with _search_path():
                server.ensure_running()
            _servers[os.getpid()] = server
        return _servers[os.getpid()]


@contextmanager
def _search_path() -> Iterator[None]:
    """Python 3.11 leaves the search path of modules behind when it starts a fork server; here it goes along."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(_paths())
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _paths() -> list[str]:
    return [path or process.ORIGINAL_DIR or os.getcwd() for path in sys.path]


def _surroundings() -> dict[str, Any]:
    """What multiprocessing sets up in a child, without the path of the main module: it is not run again."""
    return {
        "name": "many_models",
        "sys_path": _paths(),
        "sys_argv": sys.argv,
        "orig_dir": process.ORIGINAL_DIR,
        "dir": os.getcwd(),
    }
