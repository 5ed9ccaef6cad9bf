"""What processes there are, to see that none is left behind."""

import os
import time
from pathlib import Path


def alive(pid):
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def with_words(words):
    """Process ids whose command line or environment at their start holds the words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if words.encode() in said and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def gone(pids, seconds=5.0):
    """Waits until none of them is alive; those that still are."""
    until = time.monotonic() + seconds
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def offspring(pid):
    """All processes below this one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            children = [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *offspring(child)] if alive(child) else []
    return found
