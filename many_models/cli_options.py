"""Options that the commands that train have in common, told once, and the settings that they change."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from forecastml.errors import ConfigError

#: Name -> (type, default, what it says). None: as the run that is gone on from, or the usual.
SETTINGS: dict[str, tuple[Any, Any, Any]] = {
    "workers": (int | None, None, typer.Option(min=1, help="Batches at a time [one per processor].")),
    "engine": (str | None, None, typer.Option(help="Where batches run: local, ray, dask or spark [local].")),
    "address": (str | None, None, typer.Option(help="Address of a cluster that is there already.")),
    "group_seconds": (float | None, None, typer.Option(min=0, help="Time limit per group, 0 for none [10].")),
    "memory": (str | None, None, typer.Option(metavar="2G", help="Memory limit of a worker process [none].")),
    "max_failed": (float | None, None, typer.Option(min=0, max=1, help="Share of groups that may fail [0.01].")),
    "wait": (float, 0.0, typer.Option(min=0, help="Seconds to wait for a store that is in use.")),
}
_UNITS = {unit: 1024**k for k, unit in enumerate("KMGT", start=1)}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command takes the options of `SETTINGS` beside its own, and gets `changes`, settings by name."""
    own = inspect.signature(command, eval_str=True).parameters
    kept = [p.replace(kind=p.KEYWORD_ONLY) for name, p in own.items() if name != "changes"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**{name: given[name] for name in given if name not in SETTINGS}, changes=changes_of(given))

    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        for name, (kind, default, option) in SETTINGS.items()
    ]
    run.__signature__ = inspect.Signature([*kept, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *options)}
    return run


def changes_of(given: dict[str, Any]) -> dict[str, Any]:
    """What of `Settings` the options change; an option that was not given changes nothing."""
    changes = {name: given[name] for name in SETTINGS if given[name] is not None}
    if "memory" in changes:
        changes["memory"] = size(changes["memory"], "--memory")
    if changes.get("group_seconds") == 0:
        changes["group_seconds"] = None
    return changes


def size(text: str, option: str) -> int:
    """Bytes of a size such as 512M or 2G."""
    unit = _UNITS.get(text[-1:].upper())
    try:
        return int(float(text[:-1] if unit else text) * (unit or 1))
    except (ValueError, OverflowError):
        raise ConfigError(f"{option} {text!r} is no size; give one such as 512M or 2G") from None
