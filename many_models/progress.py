"""Listeners that show how a run over groups goes: a bar for people, JSON lines for programs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TextIO

from forecastml.progress import JsonLines, Listener

#: Name of a phase -> what the bar says; training is what follows them.
PHASES = {"laying out": "laying out the rows", "learning": "learning what groups share"}
TRAINING = "training"


def listening(stream: TextIO, log_json: bool) -> AbstractContextManager[Listener | None]:
    """The listener that suits a stream: JSON lines when asked for, a bar on a terminal, else None (silence)."""
    if log_json:
        return nullcontext(JsonLines(stream))
    return GroupBar(stream) if stream.isatty() else nullcontext(None)


class GroupBar:
    """A bar with groups done and to do, counts by state, groups per second and the time left, and before that what is
    being prepared. A context manager that clears up after itself."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._clock, self._began = clock, clock()
        self._states: Counter[str] = Counter()
        self._total = self._before = self._lost = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(file=stream),
            transient=True,
        )
        self._row = self._progress.add_task("reading the store", total=None, counts="", left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        name = event["event"]
        if name == "phase":
            self._progress.update(self._row, description=PHASES.get(event["name"], event["name"]))
        elif name == "groups":
            self._began, self._total, self._before = self._clock(), event["total"], event["done"]
            self._show_groups()
        elif name == "group":
            self._states[event["state"]] += 1
            self._show_groups()
        elif name == "lost":
            self._lost += event["groups"]
            self._show_groups()

    def _show_groups(self) -> None:
        done = self._before + self._states.total()
        counts = ", ".join(f"{count:,} {state}" for state, count in self._states.items())
        if self._lost:
            counts = ", ".join(filter(None, (counts, f"{self._lost:,} given out again")))
        text = f"{done:,}/{self._total:,} groups" + (f" ({counts})" if counts else "")
        left = self._pace(self._total - done)
        shown = {"description": TRAINING, "completed": done, "total": self._total, "counts": text, "left": left}
        self._progress.update(self._row, **shown)

    def _pace(self, to_do: int) -> str:
        """Groups per second since training began, and what is left at that pace; groups of older sessions do not
        count."""
        elapsed = self._clock() - self._began
        fresh = self._states.total()
        if not fresh or elapsed <= 0:
            return ""
        rate = fresh / elapsed
        return f"{rate:,.1f} a second, about {duration(to_do / rate)} left"


def duration(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
