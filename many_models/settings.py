"""What a user may choose of a run beside its task, and what a run was asked for, as the store keeps it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import forecastml
from forecastml.config import Config, config_from_json, config_to_json
from forecastml.errors import ConfigError
from forecastml.task import task_from_json, task_to_json
from many_models.protocols import Limits

ENGINES = ("local", "ray", "dask", "spark")
SCOPES = ("group", "own", "global")
#: What else decides results to the last bit.
_LIBRARIES = ("numpy", "scipy", "pandas", "pyarrow", "lightgbm", "statsmodels", "scikit-learn")

Listener = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Settings:
    """How a run goes about it; none of this changes a result, but for `scope`, and for what the limits cut off.

    workers: batches at a time, None for one per processor; engine: "local", "ray", "dask" or "spark"; address: of a
    cluster that is there already, None to start one on this machine; scope: what a group's ensemble is chosen by:
    "group" (its own folds, shrunk towards what all groups share), "own" (a private search per group, for large
    groups) or "global" (what all groups share); group_seconds: wall time per group, or per 1,000 of its rows if it has
    more, None for no limit (a batch has that of its groups together); memory: bytes of a worker process, None for no
    limit; attempts: how often a lone group that kills its worker is begun; max_failed: share of
    groups that may fail; batch_groups, batch_rows: most of a batch; sample: most groups that the prior is learned from;
    wait: seconds to wait for a store that is in use; listener: called with a mapping per event.
    """

    workers: int | None = None
    engine: str = "local"
    address: str | None = None
    scope: str = "group"
    group_seconds: float | None = 10.0
    memory: int | None = None
    attempts: int = 2
    max_failed: float = 0.01
    batch_groups: int = 400
    batch_rows: int = 60_000
    sample: int = 1000
    wait: float = 0.0
    listener: Listener | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, known in (("engine", ENGINES), ("scope", SCOPES)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} {getattr(self, name)!r} is unknown; use {', '.join(known)}")
        for name in ("workers", "group_seconds", "memory", "attempts", "batch_groups", "batch_rows", "sample"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; give a number above 0, or None for no limit")
        if not 0 <= self.max_failed <= 1:
            raise ConfigError(f"max_failed is {self.max_failed}; give a share of the groups between 0 and 1")

    @property
    def processes(self) -> int:
        """Workers as a number."""
        return self.workers or os.cpu_count() or 1

    def tell(self, event: Mapping[str, Any]) -> None:
        """Hand an event to the listener, if there is one."""
        if self.listener is not None:
            self.listener(event)

    @property
    def limits(self) -> Limits:
        """What a group may take."""
        return Limits(self.group_seconds, self.memory, self.attempts)


@dataclass(frozen=True)
class Request:
    """What a run was asked for. source: a path or URL that can be read again, None for a table in memory; by: partition
    columns; code: of the packages that began it, name -> version or hash."""

    source: str | None
    by: tuple[str, ...]
    task: Any
    config: Config
    settings: Settings
    code: Mapping[str, str]

    def to_json(self) -> str:
        """JSON text, for the ledger."""
        settings = asdict(replace(self.settings, listener=None))
        settings.pop("listener")
        values = {"source": self.source, "by": list(self.by), "settings": settings, "code": dict(self.code)}
        return json.dumps({**values, "task": task_to_json(self.task), "config": config_to_json(self.config)})

    @classmethod
    def from_json(cls, text: str) -> Request:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(
            source=values["source"],
            by=tuple(values["by"]),
            task=task_from_json(values["task"]),
            config=config_from_json(values["config"]),
            settings=Settings(**values["settings"]),
            code=values["code"],
        )

    def silent(self) -> Request:
        """The same without the listener, for another process."""
        return replace(self, settings=replace(self.settings, listener=None))

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns of the source that have a role, None for all of them."""
        schema = getattr(self.task, "schema", None)
        return None if schema is None else tuple(dict.fromkeys((*self.by, *schema.columns)))

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that are read as text."""
        schema = getattr(self.task, "schema", None)
        return () if schema is None else schema.series

    @property
    def fingerprint(self) -> str:
        """A hash of the task, the config, the scope and the code: what results depend on beside the data."""
        parts = (task_to_json(self.task), config_to_json(self.config), self.settings.scope, self.by, dict(self.code))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def code_in_use() -> dict[str, str]:
    """Versions of what computes, and a hash of the source of both packages."""
    digest = hashlib.sha256()
    for folder in (Path(forecastml.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    versions["python"] = ".".join(platform.python_version_tuple()[:2])
    return {**versions, "forecastml": forecastml.__version__, "source": digest.hexdigest()[:16]}


def changed_code(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs, as text for the user; empty when nothing does."""
    differ = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    return ", ".join(f"{name} was {then.get(name, 'not there')}, is {now.get(name, 'not there')}" for name in differ)
