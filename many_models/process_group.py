"""The processes that a child and its offspring are: how much memory they take, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field

_PROC = sys.platform.startswith("linux")
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
#: Looks at the whole process table, which costs more the more processes there are, once in so many looks at the tree.
_LOOKS = 20


@dataclass
class ProcessGroup:
    """A child that leads a session of its own, and what it has begun. leader: its process id; began: when, in ticks of
    the kernel, "" where that is not known."""

    leader: int
    began: str
    peak: int = 0
    _offspring: dict[int, str] = field(default_factory=dict)
    _looked: int = 0

    @classmethod
    def of(cls, leader: int) -> ProcessGroup:
        """That of a child which has just been forked."""
        return cls(leader, _began(leader))

    def memory(self) -> int:
        """Resident bytes of all of them now; pages that they share are counted for each."""
        if not _PROC:
            found = _listed_by_ps(self.leader)
        else:
            self._look()
            found = sum(_resident(pid) for pid in (self.leader, *self._offspring))
        self.peak = max(self.peak, found)
        return found

    def kill(self) -> None:
        """Ends them all, those too that have left the group for a session of their own."""
        if _PROC:
            self._freeze()
        # None is left; macOS says "not permitted" of one that has ended and is not yet reaped.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.leader, signal.SIGKILL)
        for pid, began in self._offspring.items():
            # A process id is given again in time: only the same process that was seen is ended.
            if _began(pid) == began:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._leader_before_its_session()

    def _freeze(self) -> None:
        """Stops them all first, so that none begins another between the look and the end."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.leader, signal.SIGSTOP)
        seen = -1
        while seen != len(self._offspring):
            seen = len(self._offspring)
            self._look()
            for pid, began in self._offspring.items():
                if _began(pid) == began:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)

    def _leader_before_its_session(self) -> None:
        """A child that was just forked leads no group yet: it is ended alone."""
        if _PROC and _began(self.leader) != self.began:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.leader) != self.leader:
                os.kill(self.leader, signal.SIGKILL)

    def _look(self) -> None:
        begun = [self.leader, *self._offspring]
        while begun:
            for pid in _children(begun.pop()):
                if pid not in self._offspring:
                    self._offspring[pid] = _began(pid)
                    begun.append(pid)
        if self._offspring or self._looked % _LOOKS == 0:
            self._offspring = {pid: began for pid, began in self._offspring.items() if _began(pid) == began}
        self._looked += 1
        if self._looked % _LOOKS == 0:
            for entry in os.listdir("/proc"):
                if entry.isdigit() and int(entry) != self.leader and _group(int(entry)) == self.leader:
                    self._offspring.setdefault(int(entry), _began(int(entry)))


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on (its third); empty for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()
    except OSError:
        return []


def _group(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[2]) if fields else None


def _began(pid: int) -> str:
    """When it began, in the kernel's ticks; "" for a process that is gone."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else ""


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as stream:
            return int(stream.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as stream:
                found += map(int, stream.read().split())
    except OSError:
        pass  # gone meanwhile, or a kernel that does not tell
    return found


def _listed_by_ps(leader: int) -> int:
    """macOS has no /proc: the list of all processes, with their groups and kilobytes."""
    answer = subprocess.run(["ps", "-A", "-o", "pgid=,rss="], capture_output=True, text=True, check=False)
    pairs = (line.split() for line in answer.stdout.splitlines())
    return sum(int(pair[1]) * 1024 for pair in pairs if len(pair) == 2 and pair[0] == str(leader))
