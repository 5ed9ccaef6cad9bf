"""Known covariates that a forecast lacks: found, named, refused or made up; and no future in anything fitted."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import forecastml as fm
from forecastml.budget import Deadline
from forecastml.cli import app
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError, DataError, ForecastWarning, FutureError
from forecastml.future_covariates import POLICIES, Missing, completed
from forecastml.learners.registry import get_learner, learner_names
from forecastml.problem import state
from forecastml.protocols import FitContext
from forecastml.search.evaluate import fit_guarded, predict_guarded
from tests.tables import daily_with_price

DAYS = 7
TASK = fm.Forecasting(horizon=7, series="store", known=("price", "event"))
CONFIG = fm.Config.preset("fast", allow=("seasonal_naive", "ridge"))


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """History and future rows with a price and an event, a text."""
    history, future = daily_with_price(days=84, future=7)
    for table in (history, future):
        table["event"] = np.where(table["ds"].dt.day_of_week == 2, "fair", "none")
    return history, future


HISTORY, FUTURE = tables()
THIRD = (FUTURE["store"] == "s1") & (FUTURE["ds"] == FUTURE["ds"].min() + pd.Timedelta("2D"))


@pytest.fixture(scope="module")
def model() -> fm.Forecaster:
    return fm.fit(HISTORY, TASK, CONFIG)


def known(values: list[list[float]], length: int, categories: tuple[str, ...] = ()) -> Panel:
    """Series of `length` values with these values of one known covariate, from their first on."""
    panel = Panel.of([np.arange(float(length))] * len(values))
    end = np.cumsum([len(row) for row in values])
    return replace(
        panel,
        schema=replace(panel.schema, known=("x",)),
        known=np.concatenate(values)[:, None],
        known_begin=end - [len(row) for row in values],
        known_end=end,
        categories={"x": categories} if categories else {},
    )


def ahead(panel: Panel, steps: int, policy: str, seasons: tuple[int, ...] = ()) -> np.ndarray:
    """The covariate of the steps after the end: (series, steps)."""
    filled, _ = completed(panel, steps, policy, seasons)
    rows = filled.known_begin[:, None] + filled.lengths[:, None] + np.arange(steps)
    return filled.known[rows, 0]


# --- which are missing ---


def test_every_missing_row_is_listed_and_the_first_are_named(model):
    lacking = FUTURE.drop(index=FUTURE.index[THIRD]).copy()
    last = (lacking["store"] == "s2") & (lacking["ds"] == lacking["ds"].max())
    lacking.loc[last, "price"] = np.nan
    with pytest.raises(
        FutureError, match=r"for 2 of 3 series, in 2 rows; first store=s1 at 2024-03-27; give"
    ) as refused:
        model.forecast(lacking, horizon=DAYS, missing_future="error")
    expected = {"store": ["s1", "s2"], "ds": [FUTURE["ds"][THIRD].item(), lacking["ds"].max()]}
    found = refused.value.missing
    assert found[["store", "ds"]].to_dict("list") == expected
    assert found["missing"].tolist() == ["price, event", "price"]


def test_a_row_that_is_not_there_is_refused_by_default_and_an_empty_cell_told(model):
    with pytest.raises(FutureError, match="store=s0 at 2024-03-25") as refused:
        model.forecast()
    assert len(refused.value.missing) == 3 * DAYS
    with pytest.warns(ForecastWarning, match="in 1 future rows, first 'price' of store=s1 at 2024-03-27"):
        model.forecast(FUTURE.assign(price=FUTURE["price"].mask(THIRD)))


@pytest.mark.parametrize("policy", ["nan", "error"])
def test_a_series_whose_rows_stop_sooner_shortens_no_forecast(model, policy):
    short = FUTURE[(FUTURE["store"] != "s1") | (FUTURE["ds"] < "2024-03-27")]
    with pytest.raises(FutureError, match="for 1 of 3 series, in 5 rows; first store=s1 at 2024-03-27"):
        model.forecast(short, missing_future=policy)
    assert len(model.forecast(short, horizon=2, missing_future=policy)) == 3 * 2


def test_a_category_that_was_never_seen_counts_as_missing(model):
    new = FUTURE.assign(event=FUTURE["event"].mask(THIRD, "strike"))
    with pytest.raises(FutureError, match="event are missing"):
        model.forecast(new, missing_future="error")
    with pytest.warns(
        ForecastWarning, match=r"the last known value stands in for 'event' in 1 future rows \(first sto"
    ):
        assert len(model.forecast(new, missing_future="carry")) == 3 * DAYS


def test_what_is_complete_passes_every_policy_unchanged(model):
    expected = model.forecast(FUTURE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for policy in POLICIES:
            assert model.forecast(FUTURE, missing_future=policy).equals(expected)


def test_a_policy_that_is_none_is_refused(model):
    with pytest.raises(ConfigError, match="missing_future is 'zero'; give one of nan, carry, forecast, error"):
        model.forecast(FUTURE, missing_future="zero")
    with pytest.raises(ConfigError, match="missing_future"):
        fm.Forecasting(horizon=1, missing_future="guess")


# --- what stands in ---


def test_carry_takes_the_last_known_value_of_the_series():
    nan = np.nan
    panel = known([[1, 2, nan, 5, nan, nan], [7, 7, 8], [nan, nan, nan]], 3)
    assert np.array_equal(ahead(panel, 4, "carry"), [[5, 5, 5, 5], [8] * 4, [nan] * 4], equal_nan=True)
    # What is given after a hole counts from there on, and a hole inside the history is left alone.
    panel = known([[1, 2, 3, nan, 9, nan]], 3)
    assert ahead(panel, 3, "carry").tolist() == [[3, 9, 9]]
    codes = known([[0, 1, 1, -1.0], [-1.0, -1.0, -1.0]], 3, ("a", "b"))
    assert ahead(codes, 2, "carry").tolist() == [[1, 1], [-1, -1]]


def test_forecasts_follow_the_covariate():
    time = np.arange(84)
    wave = 10 + 3 * np.sin(2 * np.pi * time / 7)
    trend = 50 + 0.5 * time
    flag = (time % 7 == 3).astype(float)
    counts = np.round(20 + 5 * np.cos(2 * np.pi * time / 7))
    panel = known([wave[:70], trend[:70], flag[:70], counts[:70], np.full(70, 4.5)], 70)
    found = ahead(panel, 14, "forecast", (7,))
    assert np.abs(found[0] - wave[70:]).max() < 0.05
    assert (found[1] == trend[69]).all(), "not beyond what was ever seen"
    assert np.array_equal(found[2], flag[70:])
    assert np.array_equal(found[3], counts[70:])
    assert (found[4] == 4.5).all()
    codes = known([time[:70] % 7 % 3 * 1.0], 70, ("a", "b", "c"))
    assert np.array_equal(ahead(codes, 14, "forecast", (7,)), [time[70:] % 7 % 3])


def test_a_forecast_goes_on_from_the_last_value_that_is_given():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=80))
    whole, short = known([walk[:75]], 70), known([walk[:75]], 75)
    assert np.array_equal(ahead(whole, 9, "forecast")[:, 5:], ahead(short, 4, "forecast"))
    assert np.array_equal(ahead(whole, 9, "forecast")[0, :5], walk[70:75])


@pytest.mark.parametrize("policy", ["carry", "forecast"])
def test_what_stands_in_does_not_depend_on_the_other_series(policy):
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=n) for n in (40, 44, 50, 41, 47)]
    rows[1] = np.round(rows[1])
    together = ahead(known(rows, 40), 12, policy, (7,))
    for i, row in enumerate(rows):
        assert np.array_equal(ahead(known([row], 40), 12, policy, (7,)), together[i : i + 1])


def test_made_up_values_are_told_column_by_column(model):
    lacking = FUTURE.assign(price=FUTURE["price"].mask(THIRD)).drop(index=FUTURE.index[-1])
    text = (
        r"a forecast of the covariate stands in for 'price' in 2 future rows \(first store=s1 at 2024-03-27\), 'event'"
    )
    with pytest.warns(ForecastWarning, match=text):
        found = model.forecast(lacking, missing_future="forecast")
    assert len(found) == 3 * DAYS
    others = (found["store"] == "s0").to_numpy()
    assert found[others].equals(model.forecast(FUTURE)[others])


@pytest.mark.parametrize("policy", ["carry", "forecast"])
def test_a_column_that_future_rows_lack_is_made_up_too(model, policy):
    lacking = FUTURE.drop(columns=["price", "event"])
    with pytest.raises(DataError, match="'price', 'event' not found"):
        model.forecast(lacking)
    with pytest.warns(ForecastWarning, match=rf"'price' in {3 * DAYS} future rows .* 'event' in {3 * DAYS}"):
        found = model.forecast(lacking, missing_future=policy)
    with pytest.warns(ForecastWarning, match="stands in"):
        assert found.equals(model.forecast(missing_future=policy))


def test_without_any_future_row_the_whole_horizon_is_made_up(model):
    carried = HISTORY.groupby("store").tail(1).drop(columns=["ds", "y"]).merge(FUTURE[["store", "ds"]], on="store")
    with pytest.warns(ForecastWarning, match="'price' in 21 future rows"):
        found = model.forecast(missing_future="carry")
    assert found.equals(model.forecast(carried))
    with pytest.warns(ForecastWarning):
        late = model.forecast(FUTURE[FUTURE["ds"] > FUTURE["ds"].min()], missing_future="forecast")
    assert len(late) == 3 * DAYS, "a hole before the first future row is filled too"


def test_the_task_says_what_stands_in_and_a_saved_model_remembers(tmp_path):
    task = replace(TASK, missing_future="carry", horizon=3)
    saved = fm.fit(HISTORY, task, CONFIG)
    saved.save(tmp_path / "model")
    again = fm.load(tmp_path / "model")
    assert again.task == task
    with pytest.warns(ForecastWarning, match="the last known value stands in"):
        assert again.forecast().equals(saved.forecast(missing_future="carry"))


# --- the other doors ---


def newer() -> pd.DataFrame:
    """Rows after the training end with target, a price missing on the third day."""
    return FUTURE.assign(y=40.0, price=FUTURE["price"].mask(THIRD))


@pytest.mark.parametrize("policy", ["carry", "forecast"])
def test_rolling_forecasts_are_those_that_forecast_makes(model, policy):
    rolling = replace(model, task=replace(TASK, missing_future=policy))
    with pytest.warns(ForecastWarning, match="stands in for 'price' in 1 newer rows"):
        rolled = rolling.roll(newer(), step=2)
    for cutoff in rolled["cutoff"].unique():
        context, later = newer()[newer()["ds"] <= cutoff], newer()[newer()["ds"] > cutoff].drop(columns="y")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ForecastWarning)
            expected = rolling.forecast(later, context if len(context) else None)
        part = rolled[rolled["cutoff"] == cutoff].merge(expected, on=["store", "ds"], suffixes=("", "_f"))
        assert len(part) == (rolled["cutoff"] == cutoff).sum()
        assert np.array_equal(part["mean"], part["mean_f"])


def test_rolling_refuses_what_is_missing_if_asked_to(model):
    strict = replace(model, task=replace(TASK, missing_future="error"))
    with pytest.raises(FutureError, match="first store=s1 at 2024-03-27") as refused:
        strict.score(newer())
    assert refused.value.missing["missing"].tolist() == ["price"]
    assert len(strict.score(newer().assign(price=1.0)))


def test_a_backtest_fills_what_is_missing_at_each_cutoff():
    table = HISTORY.copy()
    table.loc[table["ds"] > table["ds"].max() - pd.Timedelta("5D"), "price"] = np.nan
    task = replace(TASK, known=("price",), missing_future="carry")
    last = table["ds"].max() - pd.Timedelta("5D")
    price = table[table["ds"] == last].set_index("store")["price"]
    carried = table.assign(price=table["price"].fillna(table["store"].map(price)))
    one, two = (fm.backtest(rows, task, CONFIG, folds=1).forecasts for rows in (table, carried))
    assert one.equals(two)


def test_the_command_line_takes_the_policy(tmp_path, model):
    model.save(tmp_path / "model")
    FUTURE[FUTURE["store"] != "s1"].to_csv(tmp_path / "future.csv", index=False)
    words = ["forecast", str(tmp_path / "model"), "--future", str(tmp_path / "future.csv")]
    words += ["--out", str(tmp_path / "out.csv")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 64
    assert "store=s1 at 2024-03-25" in refused.output
    done = CliRunner().invoke(app, [*words, "--missing-future", "carry"])
    assert done.exit_code == 0, done.output
    assert "stands in for 'price' in 7 future rows" in done.output
    assert len(pd.read_csv(tmp_path / "out.csv")) == 3 * DAYS


# --- columns that are not known ahead ---


def test_features_unknown_at_forecast_time_are_past_covariates():
    task = fm.Forecasting(horizon=3, known=("price", "visits"), past="rain", features_unknown_at_forecast_time="visits")
    assert (task.known, task.past) == (("price",), ("rain", "visits"))
    assert task == fm.Forecasting(horizon=3, known="price", past=("rain", "visits"))
    assert replace(task, horizon=4).past == task.past
    seen = fm.AutoForecaster(horizon=3, known=["x"], features_unknown_at_forecast_time=["x"])
    assert seen.get_params()["features_unknown_at_forecast_time"] == ["x"]
    with pytest.raises(ConfigError, match="'x' is given as known and as past; give each column one role"):
        fm.Forecasting(horizon=3, known="x", past="x")


def with_past(length: int = 56) -> Panel:
    """Series with a known and a past covariate that drive them, the known one far beyond the end."""
    rng = np.random.default_rng(5)
    n, season = 2, 7
    x, z = rng.normal(size=(n, length + 20)), rng.normal(size=(n, length))
    y = 20 + 2 * np.sin(2 * np.pi * np.arange(length) / season) + 3 * x[:, :length] + np.roll(z, 1, axis=1)
    panel = Panel.of(y)
    end = (1 + np.arange(n)) * (length + 20)
    return replace(
        panel,
        schema=replace(panel.schema, known=("x",), past=("z",)),
        known=x.reshape(-1, 1),
        known_begin=end - length - 20,
        known_end=end,
        past=z.reshape(-1, 1),
    )


def poisoned(panel: Panel, cutoff: int, name: str) -> Panel:
    """The panel with another covariate after the cutoff."""
    values = getattr(panel, name).reshape(len(panel), -1).copy()
    values[:, cutoff:] = 1e6 * np.arange(1, values.shape[1] - cutoff + 1)
    return replace(panel, **{name: values.reshape(-1, 1)})


COVARIATE_LEARNERS = [n for n in learner_names() if get_learner(n).capabilities.covariates & {"known", "past"}]


@pytest.mark.parametrize("name", [n for n in COVARIATE_LEARNERS if "forecasting" in get_learner(n).capabilities.tasks])
def test_covariates_after_the_cutoff_change_nothing_that_is_fitted(name):
    """Known ones may move forecasts, but no bit of what was learned; past ones nothing at all."""
    whole, cutoff, horizon = with_past(), 50, 6
    context = FitContext(horizon=horizon, seasons=(7,))
    fits = {}
    for changed in ("", "known", "past"):
        panel = poisoned(whole, cutoff, changed) if changed else whole
        before = panel.before(np.full(len(panel), cutoff))
        fits[changed] = fit_guarded(get_learner(name), before, {}, context).fitted, before
    clean, inputs = fits[""]
    expected, reason = predict_guarded(clean, inputs, horizon, ("mean",))
    assert reason == ""
    for changed in ("known", "past"):
        fitted, dirty = fits[changed]
        one, two = clean.state(), fitted.state()
        assert one[1] == two[1]
        assert one[0].keys() == two[0].keys()
        assert all(np.array_equal(one[0][key], two[0][key], equal_nan=one[0][key].dtype.kind == "f") for key in one[0])
        assert np.array_equal(predict_guarded(fitted, inputs, horizon, ("mean",))[0], expected)
        if changed == "past":
            assert np.array_equal(predict_guarded(fitted, dirty, horizon, ("mean",))[0], expected)


@pytest.mark.parametrize("column", ["price", "visits"])
def test_covariates_after_the_first_cutoff_change_no_choice_of_a_run(column):
    """Candidates, seasons and the fits of the oldest fold stay, whatever the covariates become after its cutoff."""
    rng = np.random.default_rng(3)
    table = HISTORY.drop(columns="event").assign(visits=rng.normal(size=len(HISTORY)))
    task = replace(TASK, known="price", past="visits")
    config = fm.Config.preset("balanced", allow=("seasonal_naive", "ridge", "light_gbm"))
    clean = state(table, task, config, None, Deadline())
    cutoff = clean.cut.folds[0].cutoff[0]
    late = table.groupby("store").cumcount() >= cutoff
    changed = table.assign(**{column: table[column].where(~late, rng.normal(1e6, 1e5, len(table)))})
    dirty = state(changed, task, config, None, Deadline())
    assert clean.candidates == dirty.candidates
    assert clean.cut.seasons == dirty.cut.seasons
    for candidate in clean.candidates:
        fits = [
            fit_guarded(get_learner(candidate.learner), p.cut.folds[0].train, candidate.params, p.context).fitted
            for p in (clean, dirty)
        ]
        inputs = clean.cut.folds[0].inputs
        one, two = (predict_guarded(fitted, inputs, 7, ("mean",))[0] for fitted in fits)
        assert np.array_equal(one, two), candidate.name


def test_missing_rows_are_found_in_many_series_at_once():
    rng = np.random.default_rng(0)
    values = np.where(rng.random((500, 30)) < 0.1, np.nan, 1.0)
    panel = known(list(values), 20)
    missing = Missing.between(panel, panel.lengths, panel.lengths + 15)
    assert missing.absent.sum() == 500 * 5
    assert (~missing.absent).sum() == np.isnan(values[:, 20:]).sum()
    assert len(missing.frame()) == len(missing)
