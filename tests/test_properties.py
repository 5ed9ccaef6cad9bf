"""What must hold for every run: no leak of the future, and independence of what should not matter."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import forecastml as fm
from forecastml.budget import Deadline
from forecastml.learners.registry import get_learner
from forecastml.problem import state
from forecastml.protocols import Truth
from forecastml.search.evaluate import Evaluation, Work, evaluate
from tests.tables import monthly

TASK = fm.Forecasting(horizon=6, series="unique_id")
#: One of each kind of what a balanced run tries.
KINDS = fm.Config.preset(
    "balanced",
    allow=(
        "seasonal_naive",
        "exponential_smoothing",
        "theta",
        "mstl",
        "auto_arima",
        "ridge(transform=log, steps=direct)",
        "light_gbm(transform=auto_difference)",
        "light_gbm(transform=mean, steps=direct)",
    ),
)


def values(forecast: pd.DataFrame) -> np.ndarray:
    return forecast.drop(columns=["unique_id", "ds"]).to_numpy()


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_targets_after_a_cutoff_change_nothing_before_it(preset):
    """Candidates, parameters and forecasts of the oldest fold keep every bit when all later targets are poisoned."""
    table = monthly(5)
    config = fm.Config.preset(preset)
    clean = state(table, TASK, config, None, Deadline())
    fold = clean.cut.folds[0]
    ends = pd.Series(fold.cutoff, index=[key[0] for key in clean.data.keys[fold.items]])
    poisoned = table.copy()
    late = poisoned.groupby("unique_id").cumcount() >= poisoned["unique_id"].map(ends)
    poisoned.loc[late, "y"] = 1e9
    dirty = state(poisoned, TASK, config, None, Deadline())
    assert clean.candidates == dirty.candidates
    assert clean.cut.seasons == dirty.cut.seasons
    for candidate in clean.candidates:
        predictions = []
        for problem in (clean, dirty):
            first = problem.cut.folds[:1]
            truth = Truth.stack([f.truth for f in first])
            context = Evaluation(first, truth, TASK.scorer, problem.context, np.zeros((len(truth), 1)))
            trial = evaluate(Work(candidate, get_learner(candidate.learner), context))
            predictions.append(trial.prediction)
        assert np.array_equal(*predictions, equal_nan=True), candidate.name


def test_a_model_of_the_past_is_the_same_whatever_came_later():
    table = monthly(4)
    cut = table[table["ds"] <= "2019-12-01"]
    later = table.assign(y=table["y"].where(table["ds"] <= "2019-12-01"))
    one, two = fm.fit(cut, TASK, "fast"), fm.fit(later, TASK, "fast")
    assert one.forecast().equals(two.forecast())


@pytest.mark.parametrize("others", [2, 12])
def test_a_series_alone_equals_itself_among_others_under_one_prior(others):
    table = monthly(others, lengths=(50, 61, 72, 85))
    prior = fm.prepare(table, TASK, KINDS)
    among = fm.fit(table, TASK, KINDS, prior).forecast()
    for name in ("000", f"{others - 1:03d}"):
        alone = fm.fit(table[table["unique_id"] == name], TASK, KINDS, prior).forecast()
        assert np.array_equal(values(alone), values(among[among["unique_id"] == name]))


def test_a_prior_has_a_fingerprint_of_its_content():
    table = monthly(5)
    one, two = fm.prepare(table, TASK, "fast"), fm.prepare(table.sample(frac=1, random_state=1), TASK, "fast")
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != fm.prepare(monthly(5, seed=1), TASK, "fast").fingerprint


def test_the_order_of_the_rows_changes_nothing():
    table = monthly(4)
    expected = fm.fit(table, TASK, "fast").forecast()
    for seed in range(2):
        shuffled = fm.fit(table.sample(frac=1, random_state=seed), TASK, "fast").forecast()
        assert shuffled.equals(expected)


def test_names_of_the_series_change_nothing():
    """Names that sort otherwise, and hold what is special to files and formats."""
    table = monthly(4)
    names = {"000": "ä/b", "001": "b, c", "002": "x\ty", "003": "../zz"}
    renamed = fm.fit(table.assign(unique_id=table["unique_id"].map(names)), TASK, KINDS).forecast()
    forecast = fm.fit(table, TASK, KINDS).forecast()
    for old, new in names.items():
        expected = values(forecast[forecast["unique_id"] == old])
        assert np.array_equal(values(renamed[renamed["unique_id"] == new]), expected)


def test_the_number_of_workers_changes_nothing():
    table = monthly(4)
    one = fm.fit(table, TASK, KINDS)
    two = fm.fit(table, TASK, replace(KINDS, workers=2))
    assert one.forecast().equals(two.forecast())
    assert one.leaderboard().drop(columns="seconds").equals(two.leaderboard().drop(columns="seconds"))


def test_the_same_seed_gives_the_same_bits():
    table = monthly(4)
    assert fm.fit(table, TASK, KINDS).forecast().equals(fm.fit(table, TASK, KINDS).forecast())


lengths = st.lists(st.integers(1, 45), min_size=1, max_size=4)
kinds = st.sampled_from(["noise", "constant", "zero", "negative", "huge", "tiny", "gaps"])


@given(lengths=lengths, kind=kinds, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_whatever_comes_in_h_finite_sorted_rows_come_out(lengths, kind, seed):
    rng = np.random.default_rng(seed)
    parts = []
    for i, n in enumerate(lengths):
        y = {
            "noise": rng.normal(size=n),
            "constant": np.full(n, 4.25),
            "zero": np.zeros(n),
            "negative": -np.abs(rng.normal(size=n)) - 5,
            "huge": rng.normal(size=n) * 1e15,
            "tiny": rng.normal(size=n) * 1e-12,
            "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
        }[kind]
        ds = pd.date_range("2022-03-01", periods=n, freq="D")
        parts.append(pd.DataFrame({"unique_id": f"s{i}", "ds": ds, "y": y}))
    table = pd.concat(parts)
    # A series without any value is served, a table without any is refused.
    assume(table["y"].notna().any())
    task = fm.Forecasting(horizon=4, series="unique_id", freq="D")
    forecast = fm.fit(table, task, "fast").forecast()
    assert forecast.groupby("unique_id").size().eq(4).all()
    assert forecast["unique_id"].nunique() == len(lengths)
    numbers = values(forecast)
    assert np.isfinite(numbers).all()
    assert (np.diff(numbers[:, 1:], axis=1) >= 0).all()
    if kind == "constant":
        assert np.allclose(forecast["mean"], 4.25)
