"""Functions that do harm to the process they run in, each in its own way (F3 of the table of faults)."""

import ctypes
import os
import subprocess
import sys
import time

#: Name -> the reason that is recorded for it.
REASONS = {
    "raises": "exception",
    "exits": "exit 3",
    "leaves": "exit 4",
    "crashes": "signal 11",
    "hangs": "timeout",
    "breeds": "timeout",
    "eats": "oom",
    "has no memory": "oom",
    "is killed": "oom",
}


def harm(kind):
    """Does not return, or not soon."""
    if kind == "raises":
        raise ValueError("poison")
    if kind == "exits":
        os._exit(3)
    if kind == "leaves":
        sys.exit(4)
    if kind == "crashes":
        ctypes.string_at(0)
    if kind == "eats":
        eat()
    if kind == "has no memory":
        raise MemoryError("poison")
    if kind == "is killed":
        os.kill(os.getpid(), 9)
    if kind.startswith("breeds"):
        breed(kind)
    while kind == "hangs" or kind.startswith("breeds"):
        pass


def breed(mark=""):
    """A grandchild by fork, one by exec, one that leaves for a session of its own; none ends by itself."""
    for _ in range(2):
        if os.fork() == 0:
            time.sleep(600)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)", mark]
    subprocess.Popen(sleep)
    subprocess.Popen(sleep, start_new_session=True)


def eat():
    eaten = []
    while True:
        eaten.append(b"x" * (1 << 22))


def flood(size):
    """Writes so many bytes to both standard streams."""
    block = b"x" * (1 << 20)
    for _ in range(size >> 21):
        os.write(1, block)
        os.write(2, block)
    return size
