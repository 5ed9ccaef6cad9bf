"""Listeners that show how a run goes: a bar for people, JSON lines for programs."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TextIO

Listener = Callable[[Mapping[str, Any]], None]

#: What the bar says while an event's stage lasts.
STAGES = {
    "data": "preparing",
    "plan": "trying learners",
    "ensemble": "weighing",
    "refit": "fitting the model",
    "done": "done",
}


def listening(stream: TextIO, log_json: bool) -> AbstractContextManager[Listener | None]:
    """The listener that suits a stream: JSON lines when asked for, a bar on a terminal, else None (silence)."""
    if log_json:
        return nullcontext(JsonLines(stream))
    return Bar(stream) if stream.isatty() else nullcontext(None)


class JsonLines:
    """Writes each event as one line of strict JSON; NaN and infinity become null."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Mapping[str, Any]) -> None:
        line = json.dumps({key: _plain(value) for key, value in event.items()}, allow_nan=False, ensure_ascii=False)
        print(line, file=self._stream, flush=True)


class Bar:
    """A bar with trials done and to do, failures and the time left; a context manager that clears up after itself."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._states: Counter[str] = Counter()
        self._clock, self._began = clock, clock()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(file=stream),
            transient=True,
        )
        self._row = self._progress.add_task("reading data", total=None, counts="", left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        name = event["event"]
        if name in STAGES:
            self._progress.update(self._row, description=STAGES[name], left="")
        if name == "plan":
            self._began = self._clock()
            self._progress.update(self._row, total=event["total"], counts=f"0/{event['total']}")
        if name == "trial":
            self._states[event["state"]] += 1
            counts = ", ".join(f"{count} {state}" for state, count in self._states.items())
            self._progress.update(
                self._row,
                completed=event["done"],
                total=event["total"],
                counts=f"{event['done']}/{event['total']} ({counts})",
                left=self._time_left(event["total"] - event["done"], event["done"]),
            )

    def _time_left(self, to_do: int, done: int) -> str:
        """At the mean pace so far; candidates are tried cheap ones first, so it starts out too low."""
        minutes, seconds = divmod(round((self._clock() - self._began) / done * to_do), 60)
        return f"about {minutes}:{seconds:02d} left"


def _plain(value: Any) -> Any:
    """The value as JSON knows it: numpy values unwrapped, what is not finite as None, the unknown as text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return str(value)
