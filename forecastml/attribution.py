"""`Explanation`: what point forecasts are the sum of, term by term."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from forecastml.data.schema import Schema
from forecastml.errors import ConfigError, LearnerError

#: How terms are told: as the learner has them, by column of the data, or by what kind they are.
KINDS = ("raw", "engineered", "component")


@dataclass(frozen=True)
class Term:
    """One part of a forecast. name: as the learner calls it; column: the column of the data that it comes from, "" for
    the history of the target; component: what kind it is ("level", "trend", "season", "covariates", ...), "" for its
    name."""

    name: str
    column: str = ""
    component: str = ""

    def label(self, kind: str, target: str) -> str:
        """What it is called when terms are told by this kind of `KINDS`."""
        return {"raw": self.column or target, "engineered": self.name, "component": self.component or self.name}[kind]


LEVEL, TREND, SEASON = Term("level"), Term("trend"), Term("season")
#: What a forecast starts from before any feature is looked at: the base of the target transform, and what the table
#: learner says of a row of which nothing is known.
BASE = Term("base", component="level")
#: What bounds and the like add to what the terms say.
REMAINDER = Term("remainder")


def season_term(period: float) -> Term:
    """The season of so many steps."""
    return Term(f"season{round(period, 2):g}", component=SEASON.name)


def covariate(column: str) -> Term:
    """What a covariate adds."""
    return Term(column, column, "covariates")


@dataclass(frozen=True, eq=False)
class Explanation:
    """What point forecasts are the sum of.

    names: of the terms; values: float64 (items, horizon, names), all NaN where one is;
    terms: what is known of each beside its name, () for nothing.
    """

    names: tuple[str, ...]
    values: np.ndarray
    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.shape[2] != len(self.names):
            raise LearnerError(
                f"an explanation of shape {self.values.shape} has the names {self.names}; give one name per term"
            )
        blank = np.isnan(self.values).any(axis=2)
        if blank.any():
            object.__setattr__(self, "values", np.where(blank[:, :, None], np.nan, self.values))
        if not self.terms:
            object.__setattr__(self, "terms", tuple(Term(name) for name in self.names))

    @classmethod
    def of(cls, parts: Mapping[Term, np.ndarray]) -> Explanation:
        """From the values of each term: float64 (items, horizon)."""
        terms = tuple(parts)
        return cls(tuple(term.name for term in terms), np.stack(list(parts.values()), axis=2), terms)

    @property
    def total(self) -> np.ndarray:
        """The forecasts: float64 (items, horizon), the terms added in order."""
        found = np.zeros(self.values.shape[:2])
        for k in range(len(self.names)):
            found += self.values[:, :, k]
        return found

    def told(self, kind: str, target: str) -> Explanation:
        """The terms by one of `KINDS`; those that have a label in common are one."""
        labels = [term.label(kind, target) for term in self.terms]
        parts: dict[Term, np.ndarray] = {}
        for k, label in enumerate(labels):
            values = self.values[:, :, k]
            parts[Term(label)] = parts[Term(label)] + values if Term(label) in parts else values
        return Explanation.of(parts)

    def scaled(self, weights: np.ndarray) -> Explanation:
        """The values times weights, float64 (items, horizon) or (items, 1); 0 where the weight is."""
        weights = np.broadcast_to(weights, self.values.shape[:2])[:, :, None]
        return replace(self, values=np.where(weights != 0, self.values, 0.0) * weights)


def merged(parts: Sequence[tuple[Explanation, np.ndarray]], count: int) -> Explanation:
    """Explanations of some items each (positions) as one of `count` items; a term that an item lacks is 0 there, and
    NaN where the item has no explanation."""
    terms = tuple(dict.fromkeys(term for found, _ in parts for term in found.terms))
    horizon = parts[0][0].values.shape[1]
    values = np.full((count, horizon, len(terms)), np.nan)
    for found, items in parts:
        own = np.zeros((len(items), horizon, len(terms)))
        own[:, :, [terms.index(term) for term in found.terms]] = found.values
        values[items] = own
    return Explanation(tuple(term.name for term in terms), values, terms)


@runtime_checkable
class Explained(Protocol):
    """A fitted object of series that can tell what its forecasts are the sum of; any other has a level alone."""

    def explain(self, inputs: Any, horizon: int) -> Explanation:
        """The terms of the means that `predict` gives for the same inputs, to which they add up within 1e-9."""
        ...


@runtime_checkable
class Featured(Protocol):
    """A fitted object that predicts from features."""

    def terms(self, schema: Schema) -> tuple[Term, ...]:
        """The features."""
        ...

    def gains(self, schema: Schema) -> Mapping[Term, float]:
        """What each was worth in training, as shares."""
        ...

    def explain(self, inputs: Any, horizon: int, exact: bool = True) -> Explanation:
        """As `Explained`; exact: contributions may cost far more than predictions."""
        ...

    def shuffled(self, terms: Collection[Term], schema: Schema, seed: int) -> Any:
        """The same object with these features shuffled among what is predicted together."""
        ...


def add_shares(found: dict[Term, float], terms: Sequence[Term], gains: np.ndarray, weight: float) -> None:
    """Add gains, float64 (terms,), as shares of `weight`; gains of nothing are none."""
    whole = float(gains.sum())
    for term, gain in zip(terms, gains.tolist(), strict=True):
        found[term] = found.get(term, 0.0) + (weight * gain / whole if whole > 0 else 0.0)


def explanation(fitted: Any, inputs: Any, horizon: int) -> Explanation:
    """That of a fitted object of series; a level alone where it cannot tell."""
    if isinstance(fitted, Explained):
        return fitted.explain(inputs, horizon)
    mean = fitted.predict(inputs, horizon, ("mean",)).mean.reshape(len(inputs), horizon)
    return Explanation.of({LEVEL: mean})


def checked_kind(by: str) -> str:
    """One of `KINDS`, or `ConfigError`."""
    if by not in KINDS:
        raise ConfigError(f"by is {by!r}; use one of {', '.join(KINDS)}")
    return by
