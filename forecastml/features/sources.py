"""Where engineered features come from: the column of the data behind each of them, and what kind it is."""

from __future__ import annotations

from typing import Any

from forecastml.attribution import Term
from forecastml.data.schema import Schema
from forecastml.features.panel import FeatureSet

#: Names of what is no column of the data.
HORIZON, HOLIDAYS = "horizon", "holidays"


def feature_terms(features: FeatureSet, schema: Schema) -> tuple[Term, ...]:
    """The engineered features, in order: features of the target come from its column, dates from that of time, known
    facts and keys from their own, and beside these there are "horizon" and "holidays"."""
    return tuple(term for feature in features.features for term in _terms(feature, schema))


def _terms(feature: Any, schema: Schema) -> list[Term]:
    names = feature.names
    if columns := _columns(feature):
        return [Term(name, column, "covariates") for name, column in zip(names, columns, strict=True)]
    if feature.role != "point":
        return [Term(name, "", "history") for name in names]
    if feature.kind == "steps":
        return [Term(name, HORIZON, HORIZON) for name in names]
    if feature.kind.startswith("holiday"):
        return [Term(name, HOLIDAYS, HOLIDAYS) for name in names]
    return [Term(name, schema.time or "", "trend" if feature.kind == "age" else "season") for name in names]


def _columns(feature: Any) -> list[str]:
    """The covariate or key column of each feature, none where the declaration names no column."""
    if column := getattr(feature, "column", ""):
        return [column] * len(feature.names)
    covariates = getattr(feature, "covariates", ())
    return [column for column in covariates for _ in range(len(feature.names) // len(covariates))]
