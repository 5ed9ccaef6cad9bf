"""`prepare`: what is tried for how many groups, what is kept, and that nothing comes from the future."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml import preparation
from forecastml.errors import ConfigError, NothingToJudge
from forecastml.learners.registry import unregister
from forecastml.prior_storage import pack_prior
from forecastml.protocols import Candidate
from forecastml.search.trial import OK, Trial
from tests.search.toys import Shift
from tests.tables import daily_with_price, monthly

TASK = fm.Forecasting(horizon=6, series="unique_id")
TABLE = monthly(6)


def names(prior: fm.Prior) -> list[str]:
    return [candidate.name for candidate in prior.candidates]


def states(prior: fm.Prior) -> dict[str, str]:
    return {row.name: row.state for row in prior.log}


def test_what_would_take_too_long_for_all_groups_is_not_tried():
    """Six series at half a second each for all folds are fine under the patience of the preset, 6,000 are not."""
    fm.register(Shift("dear", item_cost=0.11))
    try:
        config = replace(fm.Config.preset("fast"), learners=("average", "drift", "dear"), patience=30.0)
        few, many = fm.prepare(TABLE, TASK, config), fm.prepare(TABLE, TASK, config, of=6000)
    finally:
        unregister("dear")
    assert states(few)["dear(by=0.0)"] == "ok"
    assert states(many)["dear(by=0.0)"] == "skipped"
    error = next(row.error for row in many.log if row.name == "dear(by=0.0)")
    assert "needs about 3" in error, "seconds for all 6,000, not for the six of the sample"
    assert "dear(by=0.0)" not in names(many)


def test_fewer_groups_than_the_sample_holds_change_nothing():
    config = fm.Config.preset("fast", allow=("average", "drift"))
    assert fm.prepare(TABLE, TASK, config, of=2).fingerprint == fm.prepare(TABLE, TASK, config).fingerprint


def test_candidates_far_from_the_best_are_dropped_when_groups_go_their_own_way():
    def shifts(*by):
        return tuple(f"shift(by={value})" for value in by)

    fm.register(Shift("shift"))
    try:
        config = replace(fm.Config.preset("fast", allow=("seasonal_naive", "average", *shifts(0.0, 1e4))), prune=None)
        prior = fm.prepare(TABLE, TASK, config)
    finally:
        unregister("shift")
    assert states(prior)["shift(by=10000.0)"] == "ok", "it was tried"
    assert "seasonal_naive(season_length=12)" in names(prior)
    assert "shift(by=10000.0)" not in names(prior)
    assert set(prior.weights) == set(names(prior))


def trial(name: str, loss: float, **params) -> Trial:
    return Trial(Candidate(name, params), OK, losses=np.array([loss]))


@pytest.mark.parametrize(
    ("shrinkage", "kept"),
    [(0.0, ["naive"]), (0.5, ["naive", "drift", "average"])],
)
def test_what_is_promising(shrinkage, kept):
    trials = [trial("naive", 1.0), trial("drift", 1.2), trial("average", 1.5), trial("theta", 1.51)]
    weights = {"naive": 1.0, "drift": 0.0, "average": 0.0, "theta": 0.0}
    found = preparation._promising(trials, weights, shrinkage)
    assert [t.candidate.learner for t in found] == kept


def test_losses_below_zero_have_limits_too():
    """A metric where higher is better has negative losses."""
    trials = [trial("naive", -0.9), trial("drift", -0.5), trial("average", -0.4)]
    found = preparation._promising(trials, {"naive": 1.0, "drift": 0.0, "average": 0.0}, 0.5)
    assert [t.candidate.learner for t in found] == ["naive", "drift"]


def test_parts_of_a_combination_stay_however_bad():
    made_of = ["naive", "drift", "theta"]
    trials = [trial("naive", 9.0), trial("drift", 9.0), trial("theta", 9.0), trial("average", 9.0)]
    trials.append(trial("median", 1.0, of=made_of))
    weights = {t.candidate.name: float(t.candidate.learner == "median") for t in trials}
    found = preparation._promising(trials, weights, 0.0)
    assert [t.candidate.learner for t in found] == [*made_of, "median"]


def test_a_prior_of_the_panel_is_that_of_the_table():
    config = fm.Config.preset("fast", allow=("average", "drift", "seasonal_naive"))
    assert fm.prepare(TASK.read(TABLE).data, TASK, config).fingerprint == fm.prepare(TABLE, TASK, config).fingerprint


def test_without_a_fold_there_is_nothing_to_judge():
    short = TABLE.groupby("unique_id").head(6)
    with pytest.raises(NothingToJudge, match="give longer series"):
        fm.prepare(short, TASK, "fast")
    assert issubclass(NothingToJudge, ConfigError)


def test_the_sample_is_drawn_by_the_hash_of_the_keys(monkeypatch):
    monkeypatch.setattr(preparation, "drawn_groups", lambda data: drawn(data, limit=4))
    from forecastml.prior import drawn_groups as drawn

    table = monthly(12)
    config = fm.Config.preset("fast", allow=("average", "drift", "seasonal_naive"))
    events = []
    prior = fm.prepare(table, TASK, config, events.append)
    assert next(event["items"] for event in events if event["event"] == "data") == 4
    shuffled = table.sample(frac=1, random_state=3)
    assert fm.prepare(shuffled, TASK, config).fingerprint == prior.fingerprint
    last = table.groupby("unique_id")["ds"].max()
    assert prior.like.newest == (last.max().year - 1970) * 12 + last.max().month - 1


def test_everything_in_a_prior_is_what_it_is_whatever_comes_later():
    """Later rows, their targets and covariates, left out by date: cut before, or marked as unknown."""
    history, _ = daily_with_price(series=4, days=120)
    history["mood"] = np.where(history.index % 3, "glad", "sad")
    cutoff = history["ds"].min() + pd.Timedelta("99D")
    task = fm.Forecasting(horizon=7, series="store", known="price", past="mood", n_folds=2)
    config = fm.Config.preset("fast", allow=("seasonal_naive", "theta", "ridge", "light_gbm"))
    late = history["ds"] > cutoff
    whole = task.read(history.assign(y=history["y"].mask(late, 1e6), mood=history["mood"].mask(late, "angry")))
    until = whole.data.before(np.full(4, 100))
    one = fm.prepare(history[~late], task, config)
    assert len(one.shared) == 2
    two = fm.prepare(replace(until, categories={"mood": ("sad", "glad")}), task, config)
    assert two.like.newest == one.like.newest
    assert two.fingerprint == one.fingerprint
    later = fm.prepare(until, task, config)
    assert pack_prior(later) != pack_prior(one)
    assert later.weights == one.weights and later.pool.equals(one.pool) and later.splitter == one.splitter
