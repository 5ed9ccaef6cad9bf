"""What a user may ask of the features, from the text of a candidate to the forecast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency, Schema
from forecastml.errors import ConfigError
from forecastml.features.automatic import FeatureOptions, automatic, lookback_rule
from forecastml.features.covariates import Known, KnownChange, KnownNull, KnownSeasonChange, Past
from forecastml.features.panel import FeatureSet
from forecastml.features.points import Points
from forecastml.features.target import TargetTransform
from forecastml.kernels.autocorrelation import partial_autocorrelations, without_season
from forecastml.learners import reduced
from forecastml.learners.linear import Ridge
from forecastml.learners.reduced import ReducedModel, training_table
from forecastml.learners.registry import named
from forecastml.protocols import FitContext

ASKED = (
    "lags=[1,7], windows=[7], aggregates=[mean,std,q0.9], ewm=[0.3], expanding=[median], differences=[[1,2],[7,8]], "
    "ratios=[[1,8]], slopes=[5], since_nonzero=True, stl=season_trend, was_null=True, season_windows=[2], "
    "season_aggregates=[std,median]"
)
NAMES = (
    *("lag1", "lag7", "mean_window7", "std_window7", "q0.9_window7", "median_expanding", "ewm0.3", "lag1_minus_lag2"),
    *("lag7_minus_lag8", "lag1_over_lag8", "slope_window5", "since_nonzero", "target_WASNULL", "stl_season7"),
    *("stl_trend7", "std_season7_window2", "median_season7_window2"),
)


def days(n: int = 6, seed: int = 0) -> Panel:
    random = np.random.default_rng(seed)
    series = [np.round(5 + np.arange(60 + 9 * i) % 7 + random.normal(size=60 + 9 * i), 1) for i in range(n)]
    series[0][[3, 20, 50]] = np.nan
    series[1][::3] = 0.0
    return Panel.of(series, Frequency("day"))


class Echo:
    """Says a mix of all features, so that each of them counts."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        found = np.zeros(len(x))
        for k in range(x.shape[1]):
            found += np.sin(k + 1.0) * np.tanh(np.nan_to_num(x[:, k].astype(float))) / x.shape[1]
        return found


class Seen:
    """Keeps the rows that it is asked about."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(x.copy())
        return np.zeros(len(x))


@pytest.mark.parametrize("steps", ["recursive", "direct"])
def test_all_that_is_asked_for_is_there_and_a_forecast_is_made(steps):
    params = named(f"ridge({ASKED}, steps={steps})").params
    assert params["differences"] == [[1, 2], [7, 8]]
    panel, context = days(), FitContext(horizon=9, seasons=(7,))
    fitted = Ridge().fit(panel, params, context)
    (model,) = fitted.models
    assert set(NAMES) <= set(model.features.names)
    found = fitted.predict(panel, 9, ("mean",)).mean.reshape(6, 9)
    assert np.isfinite(found).all()
    restored = Ridge().restore(*fitted.state())
    assert (
        restored.predict(panel, 9, ("mean",)).values.tobytes() == fitted.predict(panel, 9, ("mean",)).values.tobytes()
    )


@pytest.mark.parametrize("steps", [0, 9])
def test_a_table_says_of_the_last_row_what_a_forecast_says_of_it(steps, monkeypatch):
    """The row after an origin: as a row of the training table, and as the first of a forecast from there."""
    monkeypatch.setattr(reduced, "STRIDE", 9)
    panel, context = days(), FitContext(horizon=9, seasons=(7,))
    options = FeatureOptions.split(named(f"ridge({ASKED})").params)[0]
    options = replace(options, stl=None)
    features = automatic(panel, context, bool(steps), options)
    model = ReducedModel(features, TargetTransform("difference", 7), None, steps)
    table = training_table(panel, model, 10**6)
    before = panel.before(panel.lengths - 1)
    seen = []

    class Watch(Echo):
        def predict(self, x):
            seen.append(x.copy())
            return super().predict(x)

    replace(model, table=Watch()).predict(before, 9)
    ahead = seen[0].reshape(6, -1, x_width := len(features.names))[:, 0]
    standing, other = model.transform.standing, np.ones(6)
    spread = [features.units[k] != "number" for k in range(x_width)]
    # The scale of a series is that of all its training rows.
    earlier, later = (standing(filled(part.last(model.lookback))).scale for part in (before, panel))
    ratio = earlier / later
    told = np.where(spread, ahead * np.where(np.isfinite(ratio), ratio, other)[:, None], ahead)
    for row in told:
        distance = np.nan_to_num(np.abs(table.x - row.astype(np.float32)), nan=0.0)
        same = (np.isnan(table.x) == np.isnan(row)) & (distance <= 1e-4 * (1 + np.abs(np.nan_to_num(row))))
        assert same.all(axis=1).any()


def filled(panel: Panel) -> Panel:
    return reduced._filled(panel, TargetTransform("difference", 7))


@pytest.mark.parametrize("steps", [0, 9])
def test_a_forecast_is_the_same_alone_and_from_the_lookback(steps):
    panel, context = days(), FitContext(horizon=9, seasons=(7,))
    options = FeatureOptions.split(named(f"ridge({ASKED})").params)[0]
    options = replace(options, since_nonzero=False, expanding=())
    model = ReducedModel(automatic(panel, context, bool(steps), options), TargetTransform("scale", 7), Echo(), steps)
    whole = model.predict(panel, 9)
    assert model.lookback < 60
    assert model.predict(panel.last(model.lookback).compact(), 9).tobytes() == whole.tobytes()
    for i in range(6):
        assert model.predict(panel.select(np.array([i])), 9).tobytes() == whole[i].tobytes()


def test_tables_do_not_know_the_order_of_series_even_of_equal_targets():
    random = np.random.default_rng(0)
    same = random.normal(size=30).round(1)
    panel = Panel.of([same, random.normal(size=20), same, same])
    known = random.normal(size=(110, 1))
    panel = replace(
        panel,
        schema=Schema("y", known=("price",)),
        known=known,
        known_begin=panel.begin,
        known_end=panel.end,
    )
    model = ReducedModel(automatic(panel, FitContext(), False, FeatureOptions()), TargetTransform("scale", 4), None)
    one = training_table(panel, model, 1000)
    for order in ([3, 2, 1, 0], [1, 0, 3, 2]):
        other = training_table(panel.select(np.array(order)), model, 1000)
        assert one.x.tobytes() == other.x.tobytes() and one.y.tobytes() == other.y.tobytes()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lags": "some"}, "lags is 'some'; give 'auto' or whole numbers"),
        ({"slopes": "pacf"}, "slopes is 'pacf'"),
        ({"windows": [0]}, "windows is"),
        ({"aggregates": ["mode"]}, "aggregate 'mode' is unknown; use mean"),
        ({"expanding": "mode"}, "aggregate 'mode' is unknown"),
        ({"ewm": [2]}, "numbers between 0 and 1"),
        ({"ewm": ["slow"]}, "ewm is"),
        ({"differences": [1, 2]}, r"differences is \[1, 2\]; give pairs"),
        ({"ratios": [[1, 1]]}, "give pairs of two lags"),
        ({"stl": "trend"}, "stl is 'trend'; use season, season_trend"),
        ({"since_nonzero": 3}, "since_nonzero is 3; give True or False"),
        ({"season_aggregates": ["q0.5"], "season_windows": 2}, "of a season is unknown"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(params, message):
    with pytest.raises(ConfigError, match=message):
        Ridge().fit(days(2), params, FitContext(horizon=3, seasons=(7,)))


def test_missing_known_values_are_marked():
    panel = Panel.of([[1.0, 2, 3], [4.0, 5]])
    panel = replace(
        panel,
        schema=Schema("y", known=("price",)),
        known=np.array([1.0, np.nan, 3, 4, np.nan, 6])[:, None],
        known_begin=np.array([0, 4]),
        known_end=np.array([4, 6]),
    )
    points = Points(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 4, 0, 1]), np.ones(5, np.int64))
    assert KnownNull(("price",)).names == ("price_WASNULL",)
    assert KnownNull(("price",)).columns(panel, points)[0].tolist() == [0, 1, 1, 1, 0]
    names = automatic(panel, FitContext(), False, FeatureOptions(was_null=True)).names
    assert "price_WASNULL" in names and "target_WASNULL" in names


def test_partial_autocorrelations_solve_the_equations_of_yule_and_walker():
    random = np.random.default_rng(0)
    series = [random.normal(size=n).cumsum() for n in (40, 90)] + [np.ones(50)]
    panel = Panel.of(series)
    found = partial_autocorrelations(panel.target, panel.begin, panel.end, 5)
    assert np.isnan(found[2]).all()
    for values, told in zip(series[:2], found, strict=False):
        apart = values - values.mean()
        rho = np.array([apart[k:] @ apart[: len(apart) - k] for k in range(6)]) / (apart @ apart)
        for k in range(1, 6):
            matrix = rho[np.abs(np.subtract.outer(np.arange(k), np.arange(k)))]
            assert told[k - 1] == pytest.approx(np.linalg.solve(matrix, rho[1 : k + 1])[-1], abs=1e-9)
    tiled = np.tile([1.0, 5, 3], 5)
    np.testing.assert_allclose(without_season(tiled, np.array([0]), np.array([15]), 3), 0, atol=1e-12)


def test_lags_by_partial_autocorrelation():
    random = np.random.default_rng(0)
    noise, values = random.normal(size=(8, 400)), np.zeros((8, 400))
    for t in range(2, 400):
        values[:, t] = 0.25 * values[:, t - 1] + 0.7 * values[:, t - 2] + noise[:, t]
    panel = Panel.of(list(values), Frequency("day"))
    assert lookback_rule(panel, 7) == (2, 2)
    assert lookback_rule(Panel.of(list(noise), Frequency("day")), 7) == (0, 0)
    assert lookback_rule(Panel.of([[1.0, 2, 3]]), 1) == (1, 0)
    features = automatic(panel, FitContext(seasons=(7,)), False, FeatureOptions(lags="pacf", windows="pacf"))
    assert features.names[:5] == ("lag1", "lag2", "mean_window2", "min_window2", "max_window2")


def test_a_forecast_keeps_the_rows_that_features_of_covariates_read():
    """What is read of the inputs is as deep as the features say, so that a forecast sees what training saw."""
    features = FeatureSet((Past(("visits",), lags=(40,)), KnownSeasonChange("price", 168), KnownChange("price", 8)))
    assert features.depth == 168
    assert FeatureSet((Past(("visits",), lags=(40,)),)).depth == 40
    assert FeatureSet((Known(("price",), lags=(0, 3, -2)),)).depth == 3
    random = np.random.default_rng(0)
    panel = Panel.of([random.normal(size=200)])
    schema = Schema("y", past=("visits",))
    panel = replace(panel, schema=schema, past=random.normal(size=(200, 1)))
    features = automatic(panel, FitContext(horizon=60), False, FeatureOptions())
    model = ReducedModel(features, TargetTransform("scale"), Seen())
    assert "visits_lag60" in model.features.names
    model.predict(panel, 60)
    column = model.features.names.index("visits_lag60")
    told = np.concatenate([x[:, column] for x in model.table.seen])
    np.testing.assert_array_equal(told, panel.past[-60:, 0].astype(np.float32))


def test_whether_a_covariate_moves_does_not_depend_on_the_order_of_series():
    random = np.random.default_rng(0)
    known = np.concatenate([np.zeros(30 * 25), random.normal(size=30)])[:, None]
    panel = Panel.of([random.normal(size=30) for _ in range(26)])
    panel = replace(panel, schema=Schema("y", known=("k",)), known=known, known_begin=panel.begin, known_end=panel.end)
    one = automatic(panel, FitContext(), False, FeatureOptions())
    other = automatic(panel.select(np.arange(25, -1, -1)), FitContext(), False, FeatureOptions())
    assert "k_change8" in one.names and one == other
