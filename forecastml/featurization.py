"""What became of each column of the data: its type, whether it was dropped, and the features that were made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forecastml.attribution import Featured, Term
from forecastml.data.schema import Schema, names
from forecastml.forecaster import Forecaster
from forecastml.model import FittedModel

#: Findings that may be why a column is not used.
REASONS = {"leak": "it gives the target away", "covariate_constant": "it never varies"}
ROLES = ("target", "time", "series", "known", "past", "static")


def schema_of(model: FittedModel) -> Schema:
    """The roles of the columns that the model uses."""
    return (model.panel if isinstance(model, Forecaster) else model.like).schema


def engineered_terms(model: FittedModel) -> tuple[Term, ...]:
    """The features of all members, in order, without repetition."""
    schema = schema_of(model)
    found = (term for m in model.members if isinstance(m.fitted, Featured) for term in m.fitted.terms(schema))
    return tuple(dict.fromkeys(found))


def column_summaries(model: FittedModel) -> dict[str, list[Any]]:
    """See `FittedModel.featurization`; columns of equal length."""
    schema, made = schema_of(model), _made(model)
    rows = [(column, role) for role in ROLES for column in names(getattr(schema, role))]
    used = {column for column, _ in rows}
    rows += [(column, role) for column, role in _wanted(model) if column not in used]
    rows += [(name, "derived") for name in made if name not in used]
    codes = model.panel.categories if isinstance(model, Forecaster) else {}
    reasons = [_reason(model, column, column not in used and role != "derived") for column, role in rows]
    return {
        "column": [column for column, _ in rows],
        "role": [role for _, role in rows],
        "type": [_type(role, column in codes) for column, role in rows],
        "dropped": [column not in used and role != "derived" for column, role in rows],
        "reason": reasons,
        "features": [len(made.get(column, {})) for column, _ in rows],
        "transformations": [", ".join(dict.fromkeys(made.get(column, {}).values())) for column, _ in rows],
    }


def _made(model: FittedModel) -> dict[str, dict[str, str]]:
    """Column -> engineered feature -> how it was made."""
    schema = schema_of(model)
    found: dict[str, dict[str, str]] = {}
    for member in model.members:
        if isinstance(member.fitted, Featured):
            kinds = dict(_kinds(member.fitted))
            for term in member.fitted.terms(schema):
                made = found.setdefault(term.column or schema.target, {})
                made.setdefault(term.name, kinds.get(term.name, "as it is"))
    return found


def _kinds(fitted: Any) -> Iterator[tuple[str, str]]:
    """Engineered feature and kind of its declaration, of models of series."""
    for model in getattr(fitted, "models", ()):
        for feature in getattr(getattr(model, "features", None), "features", ()):
            for name in feature.names:
                yield name, feature.kind


def _wanted(model: FittedModel) -> Iterator[tuple[str, str]]:
    """The columns that the task names, which the model may lack, and their roles."""
    for role in ("known", "past", "static", "features"):
        for column in names(getattr(model.task, role, ())):
            yield column, "known" if role == "features" else role


def _type(role: str, coded: bool) -> str:
    if role in ("time", "series"):
        return "datetime" if role == "time" else "categorical"
    return "categorical" if coded else "derived" if role == "derived" else "numeric"


def _reason(model: FittedModel, column: str, dropped: bool) -> str:
    """What was found about the column, "" for nothing."""
    # A finding about several columns together has none of its own, but names them.
    about = [f for f in model.findings if f.column == column or (not f.column and repr(column) in f.message)]
    said = [REASONS[finding.code] for finding in about if finding.code in REASONS]
    return "; ".join(dict.fromkeys(said)) or ("left out when the table was read" if dropped else "")
