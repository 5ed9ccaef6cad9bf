"""Under a prior a group's result is its own: every bit is what it is for the group alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.errors import ConfigError
from forecastml.learners.registry import unregister
from forecastml.protocols import Candidate
from forecastml.search.log import ENSEMBLE
from tests.prior.groups import TASK, Fussy, Learning, difficult
from tests.tables import daily_with_price, monthly

TABLE = difficult()
NAMES = sorted(set(TABLE["unique_id"]))
HEALTHY = TABLE[TABLE["unique_id"].str.startswith("00")]
MEDIAN = "median(of=[toy, drift, average, seasonal_naive])"


def sane(values):
    return np.nanmin(values, initial=0) > -1e5


def short(values):
    return len(values) < 66


def even(values):
    return len(values) % 2 == 0


def middling(values):
    return not 60 <= len(values) < 70


def one(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame[frame["unique_id"] == name].reset_index(drop=True)


def equal(prior: fm.Prior, *more: Candidate) -> fm.Prior:
    """The prior with the same weight for every candidate, and for these, halfway between pooled and own."""
    lacking = [c for c in more if c.name not in {candidate.name for candidate in prior.candidates}]
    prior = replace(prior, candidates=(*prior.candidates, *lacking))
    names = [candidate.name for candidate in prior.candidates]
    return replace(prior, weights=dict.fromkeys(names, 1 / len(names)), shrinkage=0.5)


def check_apart(table: pd.DataFrame, task: fm.Forecasting, config: fm.Config, prior: fm.Prior, names=NAMES):
    """That each group alone has the bits that it has among the others; returns the model of all."""
    among = fm.fit(table, task, config, prior)
    whole = [among.forecast(), among.groups(), among.status()]
    for name in names:
        model = fm.fit(one(table, name), task, config, prior)
        for ours, theirs in zip([model.forecast(), model.groups(), model.status()], whole, strict=True):
            pd.testing.assert_frame_equal(ours, one(theirs, name), check_exact=True, obj=name)
    return among


@pytest.mark.parametrize(
    "toy",
    [
        pytest.param(Fussy("toy", fits=sane), id="one-cannot-be-fitted"),
        pytest.param(Fussy("toy", predicts=sane), id="one-cannot-be-forecast"),
        pytest.param(Fussy("toy", fits=short), id="not-fitted-on-late-folds"),
        pytest.param(Fussy("toy", predicts=short), id="not-forecast-on-late-folds"),
        pytest.param(Fussy("toy", fits=middling), id="not-fitted-on-a-fold-between"),
        pytest.param(Learning("toy"), id="refitted"),
        pytest.param(Learning("toy", fits=middling), id="refitted-with-a-hole"),
    ],
)
@pytest.mark.parametrize("combined", [False, True], ids=["alone", "in-a-median"])
def test_a_learner_that_fails_for_some_costs_the_others_no_bit(toy, combined):
    allow = ("seasonal_naive", "drift", "average", "toy", *([MEDIAN] if combined else []))
    fm.register(Fussy("toy"))
    try:
        config = fm.Config.preset("fast", allow=allow)
        parts = ["toy", "drift", "average", "seasonal_naive"]
        made = [*map(Candidate, parts[:3]), Candidate("median", {"of": parts})] if combined else [Candidate("toy")]
        prior = equal(fm.prepare(HEALTHY, TASK, config), *made)
        fm.register(toy)
        names = ("002", "003", "early", "guilty", "one_fold", "nothing")
        model = check_apart(TABLE, TASK, config, prior, names)
    finally:
        unregister("toy")
    assert "toy" in {member.candidate.learner for member in model.members}
    assert combined == ("median" in {member.candidate.learner for member in model.members})


def test_groups_of_every_kind_are_what_they_are_alone():
    config = fm.Config.preset(
        "fast", allow=("seasonal_naive", "drift", "auto_arima", "ridge(transform=scale)", "croston")
    )
    prior = equal(fm.prepare(HEALTHY, TASK, config))
    assert "auto_arima" in {candidate.learner for candidate in prior.candidates}
    assert set(prior.shared) == {"ridge(transform=scale)"}
    model = check_apart(TABLE, TASK, config, prior)
    groups = model.groups().set_index("unique_id")
    assert np.isfinite(model.forecast()["mean"]).all()
    assert groups.loc[["tiny", "nothing"], "loss"].isna().all()
    assert groups.drop(index=["tiny", "nothing"])["loss"].notna().sum() >= 8
    assert model.forecast().query("unique_id == 'nothing'")["mean"].iloc[0] == prior.cold


def test_a_metric_of_quantiles_takes_the_residuals_of_others_from_the_prior():
    task = replace(TASK, metric="sql")
    config = fm.Config.preset("fast", allow=("naive", "seasonal_naive", "drift", "theta"))
    check_apart(TABLE, task, config, equal(fm.prepare(HEALTHY, task, config)))


def test_series_that_share_a_group_are_what_they_are_without_the_other_groups():
    table = TABLE.assign(shop=TABLE["unique_id"].map(lambda name: "old" if name < "h" else "new"))
    task = replace(TASK, series=("shop", "unique_id"), group="shop")
    config = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "theta", "ridge"))
    prior = equal(fm.prepare(table, task, config))
    among = fm.fit(table, task, config, prior)
    for position, shop in enumerate(("old", "new")):
        alone = fm.fit(table[table["shop"] == shop], task, config, prior)
        expected = among.forecast()
        assert alone.forecast().equals(expected[expected["shop"] == shop].reset_index(drop=True))
        assert alone.groups().equals(one_of(among.groups(), "shop", shop))
        assert alone.weights.sum(axis=1) == pytest.approx([1.0])
        assert among.take([list(among.groups()["shop"]).index(shop)]).forecast().equals(alone.forecast()), position


def one_of(frame: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    return frame[frame[column] == value].reset_index(drop=True)


def test_a_candidate_that_fails_for_all_is_named_and_the_rest_goes_on():
    fm.register(Fussy("toy"))
    try:
        config = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "toy"))
        prior = equal(fm.prepare(HEALTHY, TASK, config))
        fm.register(Fussy("toy", fits=lambda values: False))
        model = check_apart(HEALTHY, TASK, config, prior, ("000", "003"))
    finally:
        unregister("toy")
    row = model.leaderboard().set_index("learner").loc["toy(by=0.0)"]
    assert (row["state"], row["error"]) == ("failed", "ArithmeticError: cannot be fitted")
    assert "toy(by=0.0)" not in {member.candidate.name for member in model.members}
    assert (model.status()["state"] == "ok").all()


@pytest.mark.parametrize("way", ["fits", "predicts"])
def test_more_guilty_items_than_a_run_without_a_prior_bears(way):
    """A third of 60 series fails, which is more than 16: with a prior the others keep the learner, without one none."""
    table = monthly(60, lengths=(60, 61, 66))
    fm.register(Fussy("toy"))
    try:
        config = fm.Config.preset("fast", allow=("drift", "toy"))
        prior = equal(fm.prepare(table, TASK, config))
        fm.register(Fussy("toy", **{way: lambda values: len(values) % 3 == 0}))
        model, without = fm.fit(table, TASK, config, prior), fm.fit(table, TASK, config)
        alone = fm.fit(one(table, "001"), TASK, config, prior)
        assert alone.forecast().equals(one(model.forecast(), "001"))
    finally:
        unregister("toy")
    used = model.groups()["model_used"].str.contains("toy")
    assert used.sum() == 40
    assert not used[1::3].any()
    assert without.leaderboard().set_index("learner").loc["toy(by=0.0)", "state"] == "failed"


def test_members_that_cannot_forecast_from_the_end_give_their_place_to_the_others():
    fm.register(Fussy("toy"))
    try:
        config = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "toy"))
        prior = equal(fm.prepare(HEALTHY, TASK, config))
        fm.register(Fussy("toy", predicts=lambda values: len(values) not in (60, 72)))
        model = check_apart(HEALTHY, TASK, config, prior, ("000", "001", "002"))
        moved = model.append(HEALTHY[HEALTHY["ds"] == "2020-12-01"].assign(ds=pd.Timestamp("2021-01-01")))
        assert np.isfinite(moved.forecast()["mean"]).all()
    finally:
        unregister("toy")
    used = model.groups()["model_used"].str.contains("toy").tolist()
    assert used == [False, True, False, True, False, True]


def test_a_member_for_nobody_is_saved_stacked_and_forecast_with(tmp_path):
    fm.register(Fussy("toy"))
    try:
        config = fm.Config.preset("fast", allow=("seasonal_naive", "toy"))
        prior = equal(fm.prepare(HEALTHY, TASK, config))
        fm.register(Fussy("toy", predicts=lambda values: len(values) != 60))
        alone = fm.fit(one(HEALTHY, "000"), TASK, config, prior)
        other = fm.fit(one(HEALTHY, "001"), TASK, config, prior)
        both = alone.stack([other])
        expected = fm.fit(HEALTHY[HEALTHY["unique_id"] < "002"], TASK, config, prior)
        assert both.forecast().equals(expected.forecast())
        assert both.status().equals(expected.status())
        loaded = fm.load(alone.save(tmp_path / "model"))
        assert loaded.forecast().equals(alone.forecast())
        assert loaded.stack([other]).forecast().equals(both.forecast())
    finally:
        unregister("toy")
    assert [len(member.items) for member in alone.members] == [1, 0]
    assert alone.groups()["model_used"].tolist() == ["1.00 seasonal_naive(season_length=12)"]


def test_a_group_without_folds_has_the_weights_of_the_prior():
    config = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "theta"))
    prior = fm.prepare(HEALTHY, TASK, config)
    model = fm.fit(one(TABLE, "tiny"), TASK, config, prior)
    names = [member.candidate.name for member in model.members]
    given = prior.pooled_weights([candidate.name for candidate in prior.candidates]).pooled
    assert names == [c.name for c, weight in zip(prior.candidates, given, strict=True) if weight > 0]
    assert model.weights[0].tolist() == [weight for weight in given if weight > 0]
    assert model.status()["state"].tolist() == ["pooled"]
    board = model.leaderboard()
    assert ENSEMBLE not in set(board["learner"])
    assert set(board["error"]) == {"no series is long enough for a fold"}
    assert all(np.isnan(losses).all() for losses in model.group_losses.values())
    assert model.groups()["loss"].isna().all()


def test_what_is_tried_does_not_depend_on_how_others_do():
    config = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "average"))
    prior = equal(fm.prepare(HEALTHY, TASK, config))
    eager = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "average"), exit_score=1e9, round_size=1)
    assert fm.fit(HEALTHY, TASK, eager, prior).forecast().equals(fm.fit(HEALTHY, TASK, config, prior).forecast())


def test_a_config_that_leaves_no_learner_of_the_prior_is_refused():
    prior = fm.prepare(HEALTHY, TASK, fm.Config.preset("fast", allow=("drift", "average")))
    for name in ("000", "tiny"):
        with pytest.raises(ConfigError, match=r"none of the prior's learners \(.*drift.*prepare it again"):
            fm.fit(one(TABLE, name), TASK, fm.Config.preset("fast", allow="theta"), prior)


def test_series_with_covariates_and_shared_learners():
    history, future = daily_with_price(series=4)
    history["kind"] = history["store"].map({"s0": "a", "s1": "b", "s2": "a", "s3": "c"})
    task = fm.Forecasting(horizon=14, series="store", known="price", static="kind", n_folds=2)
    config = fm.Config.preset("fast", allow=("seasonal_naive", "ridge(transform=scale)", "light_gbm(steps=direct)"))
    prior = equal(fm.prepare(history, task, config))
    assert len(prior.shared) == 2
    among = fm.fit(history, task, config, prior).forecast(future)
    for store in ("s0", "s3"):
        alone = fm.fit(history[history["store"] == store], task, config, prior)
        assert alone.forecast(future[future["store"] == store]).equals(one_of(among, "store", store))
