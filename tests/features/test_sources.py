"""Where engineered features come from."""

from forecastml.data.schema import Schema
from forecastml.features.covariates import Key, Known, KnownChange, Past, Static, Steps
from forecastml.features.dates import Age
from forecastml.features.history_features import Lags, WasNull
from forecastml.features.panel import KINDS, Calendar, FeatureSet, HolidayCode
from forecastml.features.slots import SeasonLags
from forecastml.features.sources import feature_terms

SCHEMA = Schema(
    target="sales", time="date", series=("store",), known=("price", "deal"), past=("visits",), static=("size",)
)


def test_every_feature_has_its_column_and_kind():
    features = FeatureSet(
        (
            Lags((1, 2)),
            WasNull(),
            SeasonLags(7),
            Steps(),
            Calendar(("month",)),
            HolidayCode(("US",)),
            Known(("price", "deal"), (), (0, 1)),
            KnownChange("price", 8),
            Past(("visits",)),
            Static(("size",)),
            Key("store", ("a", "b")),
        )
    )
    terms = feature_terms(features, SCHEMA)
    assert tuple(term.name for term in terms) == features.names
    told = [(term.label("raw", "sales"), term.label("component", "sales")) for term in terms]
    assert told == [
        *[("sales", "history")] * 4,
        ("horizon", "horizon"),
        ("date", "season"),
        *[("holidays", "holidays")] * 2,
        *[("price", "covariates")] * 2,
        *[("deal", "covariates")] * 2,
        ("price", "covariates"),
        ("visits", "covariates"),
        ("size", "covariates"),
        ("store", "covariates"),
    ]


def test_the_age_of_a_series_is_trend():
    assert {term.component for term in feature_terms(FeatureSet((Age(),)), SCHEMA)} == {"trend"}


def test_no_declaration_names_its_columns_otherwise():
    """A new kind that reads a column has it as `column` or `covariates`, or is one of those that read none."""
    reading = {"known", "known_null", "known_change", "known_season_change", "past", "static", "key"}
    for kind, declaration in KINDS.items():
        fields = set(declaration.__dataclass_fields__)
        assert bool(fields & {"column", "covariates"}) == (kind in reading), kind
