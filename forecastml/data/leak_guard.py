"""What is done about covariates that give the target away: told, left out, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecastml.data.checks import Finding, alert
from forecastml.data.leaks import Leak, leaks
from forecastml.data.panel import Panel
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError

#: What can be done about a leak.
POLICIES = ("warn", "exclude", "error")
#: A column is condemned when it gives the target away in this share of the series in which that could be seen: fewer
#: are defects of those series.
CONDEMNED = 0.1

_ROLES = ("known", "past")
#: By whether the covariate is a past one: what to do with the column, and after it what it would lead to.
_REMEDY = {
    False: "leave {} out (--leaks exclude, leaks=), or declare {} as past (--past, past=) if only known afterwards",
    True: "leave {} out (--leaks exclude, leaks=), or shift {} so that a row holds what was known at its time",
}
_OTHERWISE = "scores with {} would be too good to be true, and a forecast will lack {}"


@dataclass(frozen=True, eq=False)
class LeakGuard:
    """The leaks of a panel and a policy: "warn" tells of them, "exclude" also takes the columns out, "error" refuses.

    Only columns that are `condemned` are excluded or refused; of others the series concerned are named.
    """

    found: tuple[Leak, ...]
    policy: str = POLICIES[0]

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigError(f"leaks is {self.policy!r}; give one of {', '.join(POLICIES)}")

    @classmethod
    def of(cls, panel: Panel, horizon: int, policy: str = POLICIES[0]) -> LeakGuard:
        """The leaks of a panel that is to be forecast over `horizon` steps."""
        return cls(leaks(panel, horizon) if len(panel) else (), policy)

    @property
    def condemned(self) -> tuple[str, ...]:
        """Columns that give the target away, alone or as parts, in many of the series."""
        sets = dict.fromkeys(leak.columns for leak in self.found)
        return tuple(dict.fromkeys(name for columns in sets if self._condemns(columns) for name in columns))

    def guarded(self, panel: Panel) -> Panel:
        """The panel, without the condemned columns if they are to be excluded."""
        return without(panel, self.condemned) if self.policy == "exclude" else panel

    def findings(self, panel: Panel) -> Iterator[Finding]:
        """One for each column that gives the target away alone, and one for all sets of columns together."""
        target = panel.schema.target
        for columns in dict.fromkeys(leak.columns for leak in self.found if len(leak.columns) == 1):
            own = [leak for leak in self.found if leak.columns == columns]
            series = np.unique(np.concatenate([leak.series for leak in own]))
            kind = "past" if own[0].past else "known"
            what = f"{kind} covariate {columns[0]!r} gives {target!r} away in {len(series)} series: {{}}"
            finding = alert(panel, "leak", columns[0], (series, _lateness(own, series)), what, "")
            yield self._judged(finding, own[0].past, self._condemns(columns))
        for condemned in (True, False):
            sets = [leak for leak in self.found if len(leak.columns) > 1]
            together = [leak for leak in sets if self._condemns(leak.columns) == condemned]
            if together:
                series = np.unique(np.concatenate([leak.series for leak in together]))
                named = "; ".join(" and ".join(map(repr, leak.columns)) for leak in together)
                what = f"known covariates {named} together give {target!r} away in {len(series)} series: {{}}"
                yield self._judged(alert(panel, "leak", "", (series, ()), what, ""), False, condemned)

    def _condemns(self, columns: tuple[str, ...]) -> bool:
        own = [leak for leak in self.found if leak.columns == columns]
        series = len(np.unique(np.concatenate([leak.series for leak in own])))
        return series >= CONDEMNED * max(leak.judged for leak in own)

    def _judged(self, finding: Finding, past: bool, condemned: bool) -> Finding:
        one = "it" if finding.column else "one of them"
        remedy = _REMEDY[past].format(one, one) + ": " + _OTHERWISE.format(*2 * ["it" if finding.column else "them"])
        if not condemned:
            few = "too few of the series to be the column's nature: correct it there, or leave it out"
            return replace(finding, remedy=few if finding.column else few.replace("column's", "columns'"))
        if self.policy == "exclude":
            done = "it is left out" if finding.column else "they are left out"
            return replace(finding, severity="fixed", message=f"{finding.message}; {done}", remedy="")
        return replace(finding, severity="error" if self.policy == "error" else "alert", remedy=remedy)


def refuse_leaks(findings: Iterable[Finding]) -> None:
    """Raise `ConfigError` for the leaks among the findings that are errors: the roles of these columns are wrong."""
    errors = [str(finding) for finding in findings if (finding.code, finding.severity) == ("leak", "error")]
    if errors:
        raise ConfigError("\n".join(errors))


def without(panel: Panel, columns: Sequence[str]) -> Panel:
    """The panel without these known and past covariates."""
    if not columns:
        return panel
    schema, parts = panel.schema, {}
    for role in _ROLES:
        kept = [k for k, name in enumerate(getattr(schema, role)) if name not in columns]
        schema = replace(schema, **{role: tuple(getattr(schema, role)[k] for k in kept)})
        parts[role] = getattr(panel, role)[:, kept]
    categories = {name: texts for name, texts in panel.categories.items() if name not in columns}
    return replace(panel, schema=schema, categories=categories, **parts)


def remaining(schema: Schema, like: Schema) -> Schema:
    """The roles of the columns of newer rows, without covariates that were left out of those that they continue.

    Of aggregated columns ("price_mean" of "price") one is enough.
    """
    left = {name for role in _ROLES for name in getattr(like, role)}
    left |= {name.rpartition("_")[0] for name in left}
    return replace(schema, **{role: tuple(c for c in getattr(schema, role) if c in left) for role in _ROLES})


def alike(panel: Panel, like: Schema) -> Panel:
    """The panel without covariates that `like` does not have."""
    ours = [name for role in _ROLES for name in getattr(panel.schema, role)]
    return without(panel, [name for name in ours if name not in like.columns])


def _lateness(own: Sequence[Leak], series: np.ndarray) -> list[str]:
    """By how much the copy is late or early in each series, "" where it is neither."""
    shift = np.zeros(len(series), np.int64)
    for leak in own:
        shift[np.searchsorted(series, leak.series)] = leak.shift
    if not shift.any():
        return []
    steps = [f"{abs(s)} step{'s' if abs(s) > 1 else ''}" for s in shift]
    return [f"({n} {'late' if s > 0 else 'early'})" if s else "(at once)" for n, s in zip(steps, shift, strict=True)]
