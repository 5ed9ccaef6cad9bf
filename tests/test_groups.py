"""`model.groups()`: how each group is served and how good that was, against what the folds say by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

import forecastml as fm
from forecastml.model import stacked_losses
from forecastml.storage import pack, unpack
from tests.tables import monthly

GOLDEN = Path(__file__).parent / "golden"
COLUMNS = ["items", "state", "model_used", "reason", "loss", "baseline", "newest", "newest_baseline"]
LAST = "seasonal_naive(season_length=12)"


def shops() -> pd.DataFrame:
    """Two shops with three items each and one whose items are too short for a fold."""
    table = monthly(8, lengths=(60, 61, 72))
    table["shop"] = table["unique_id"].map(lambda name: "abbbaacc"[int(name)])
    short = table["shop"] == "c"
    back = table.groupby("unique_id").cumcount(ascending=False)
    return table[~short | (back < 4)].reset_index(drop=True)


def task(**options) -> fm.Forecasting:
    return fm.Forecasting(horizon=6, series=("shop", "unique_id"), group="shop", n_folds=3, step=6, **options)


def only(name: str) -> fm.Config:
    return fm.Config.preset("fast", allow=(name,))


def seasonal_naive(table: pd.DataFrame) -> pd.DataFrame:
    """Errors of the last year's value in the last three half years: shop, unique_id, fold, error, scaled by the mean
    change over a year before each of the cutoffs."""
    parts = []
    for (shop, item), rows in table.groupby(["shop", "unique_id"]):
        y = rows["y"].to_numpy()
        for fold in range(3):
            cutoff = len(y) - 6 * (3 - fold)
            if cutoff < 13:
                continue
            error = np.abs(y[cutoff : cutoff + 6] - y[cutoff - 12 : cutoff - 6])
            scale = np.abs(y[12:cutoff] - y[: cutoff - 12]).mean()
            parts.append(pd.DataFrame({"shop": shop, "unique_id": item, "fold": fold, "error": error, "scale": scale}))
    return pd.concat(parts)


@pytest.fixture(scope="module")
def model():
    return fm.fit(shops(), task(), fm.Config.preset("fast", allow=("seasonal_naive", "drift", "theta")))


@pytest.mark.parametrize("metric", ["mae", "mase", "rmse"])
def test_losses_by_hand(metric):
    """One member, so that what serves a group out of fold is that member."""
    groups = fm.fit(shops(), task(metric=metric), only("seasonal_naive")).groups().set_index("shop")
    errors = seasonal_naive(shops())
    if metric == "mae":
        by_fold = errors.groupby(["shop", "fold"])["error"].mean()
    elif metric == "mase":
        scaled = errors.assign(error=errors["error"] / errors["scale"])
        by_fold = scaled.groupby(["shop", "fold"])["error"].mean()
    else:
        by_fold = np.sqrt((errors.assign(error=errors["error"] ** 2)).groupby(["shop", "fold"])["error"].mean())
    for shop in ("a", "b"):
        assert groups.loc[shop, "loss"] == pytest.approx(by_fold[shop].mean())
        assert groups.loc[shop, "newest"] == pytest.approx(by_fold[shop, 2])
        assert groups.loc[shop, "baseline"] == pytest.approx(by_fold[shop].mean()), "the last resort is the same here"
    assert groups.loc["c", ["loss", "newest", "baseline", "newest_baseline"]].isna().all()


def test_the_baseline_is_the_last_resort_of_the_task():
    groups = fm.fit(shops(), task(metric="mae"), only("average")).groups().set_index("shop")
    expected = seasonal_naive(shops()).groupby(["shop", "fold"])["error"].mean()
    for shop in ("a", "b"):
        assert groups.loc[shop, "baseline"] == pytest.approx(expected[shop].mean())
        assert groups.loc[shop, "newest_baseline"] == pytest.approx(expected[shop, 2])
        assert groups.loc[shop, "loss"] > groups.loc[shop, "baseline"]


def test_columns_and_keys(model):
    groups = model.groups()
    assert list(groups.columns) == ["shop", *COLUMNS, "until"]
    assert groups["shop"].tolist() == ["a", "b", "c"]
    assert groups["items"].tolist() == [3, 3, 2]
    assert groups["until"].tolist() == ["2020-12-01"] * 3
    assert len(groups) == len(model.weights)
    own = fm.fit(monthly(3), fm.Forecasting(horizon=6, series="unique_id"), only("drift")).groups()
    assert list(own.columns) == ["unique_id", *COLUMNS, "until"]
    bare = fm.fit(monthly(1).drop(columns="unique_id"), fm.Forecasting(horizon=6), only("drift")).groups()
    assert list(bare.columns) == [*COLUMNS, "until"] and len(bare) == 1


def test_members_by_weight(model):
    for used, weights in zip(model.groups()["model_used"], model.weights, strict=True):
        for member, weight in zip(model.members, weights, strict=True):
            assert (f"{weight:.2f} {member.candidate.name}" in used) == (weight > 0)


def test_a_group_that_no_member_serves_is_on_the_fallback():
    table = shops()
    table["y"] = table["y"].mask(table["shop"] == "c")
    table.loc[table["unique_id"] == "000", "y"] = np.nan
    groups = fm.fit(table, task(), only("theta")).groups().set_index("shop")
    assert groups["state"].to_dict() == {"a": "ok", "b": "ok", "c": "fallback"}
    assert groups.loc["c", "reason"] and not groups.loc["b", "reason"]
    assert groups.loc["a", "reason"].startswith("1 of 3 by the fallback")
    assert groups.loc["c", "model_used"] == "fallback"


def test_the_ensemble_is_judged_on_folds_that_its_weights_did_not_see(model):
    """The loss of what serves is that of the leaderboard's ensemble, were all series one group."""
    whole = fm.fit(shops(), task(metric="mae"), fm.Config.preset("fast", allow=("drift", "theta"), scope="global"))
    losses = whole.group_losses["ensemble"]
    assert losses.shape == (3, 3) and np.isnan(losses[2]).all()
    counts = np.array([3, 3])
    pooled = (losses[:2] * counts[:, None]).sum(axis=0) / counts.sum()
    fallback = whole.group_losses["fallback"]
    assert (losses[:2].mean(axis=1) < fallback[:2].mean(axis=1) * 2).all()
    row = next(row for row in whole.log if row.name == "ensemble")
    assert np.mean(pooled) >= row.loss("mae") - 1e-9, "weights that saw the fold cannot be worse on it"


def test_losses_survive_the_algebra_and_the_disk(model, tmp_path):
    for other in (unpack(pack(model)), fm.load(model.save(tmp_path / "model"))):
        assert other.groups().equals(model.groups())
        assert {name: losses.tolist() for name, losses in other.group_losses.items()}.keys() == {"ensemble", "fallback"}
    assert model.take([2, 0]).groups().equals(model.groups().iloc[[2, 0]].reset_index(drop=True))
    halves = model.take([0]).stack([model.take([2]), model.take([1])])
    assert halves.groups().equals(model.groups().iloc[[0, 2, 1]].reset_index(drop=True))
    moved = model.append(shops().assign(ds=shops()["ds"] + pd.DateOffset(years=8)).groupby("unique_id").head(1))
    assert np.array_equal(moved.group_losses["ensemble"], model.group_losses["ensemble"], equal_nan=True)


def test_losses_of_models_with_different_folds_are_aligned_at_the_newest(model):
    class Losses:
        def __init__(self, **losses):
            self.group_losses = {name: np.array(values) for name, values in losses.items()}

    one, two = Losses(ensemble=[[1.0, 2.0, 3.0]], fallback=[[4.0, 5.0, 6.0]]), Losses(ensemble=[[7.0]])
    stacked = stacked_losses([one, two])
    assert set(stacked) == {"ensemble"}, "what one of them lacks is left out"
    assert np.array_equal(stacked["ensemble"], [[1, 2, 3], [np.nan, np.nan, 7]], equal_nan=True)
    assert stacked_losses([Losses(), one]) == {}


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("*_[0-9]*")), ids=lambda path: path.name)
def test_models_of_older_versions_have_groups_without_losses(folder):
    model = fm.load(folder / "model")
    groups = model.groups()
    assert len(groups) == len(model.weights) and set(COLUMNS) <= set(groups.columns)
    assert (groups["items"] > 0).all() and set(groups["state"]) <= {"ok", "fallback"}
    if not model.group_losses:
        assert groups[["loss", "baseline", "newest", "newest_baseline"]].isna().all(axis=None)
        again = unpack(pack(model))
        assert again.groups().equals(groups)
        assert model.take([0]).groups().equals(groups.iloc[[0]])


def test_at_least_one_golden_model_has_no_losses():
    assert any(not fm.load(folder / "model").group_losses for folder in GOLDEN.glob("*_[0-9]*"))


def test_groups_of_rows_by_hand():
    table = load_diabetes(as_frame=True).frame
    table["clinic"] = np.where(np.arange(len(table)) % 3 == 0, "north", "south")
    asked = fm.Regression(target="target", group="clinic", metric="mae", n_folds=3)
    model = fm.fit(table, asked, only("dummy"))
    groups = model.groups().set_index("clinic")
    assert list(model.groups().columns) == ["clinic", *COLUMNS]
    assert groups["items"].tolist() == [1, 1] and groups["state"].tolist() == ["ok", "ok"]
    assert groups["loss"].equals(groups["baseline"].rename("loss")), "the dummy is the last resort"
    data = asked.read(table).data
    for place, name in enumerate(data.group_keys[:, 0]):
        expected = []
        for fold in asked.cut(data, lambda items: 3).folds:
            held = fold.inputs.y[fold.inputs.group == place]
            expected.append(np.abs(held - fold.train.y.mean()).mean())
        assert groups.loc[name, "loss"] == pytest.approx(np.mean(expected))
        assert groups.loc[name, "newest"] == pytest.approx(expected[-1])
    assert model.take([1]).groups().equals(model.groups().iloc[[1]].reset_index(drop=True))
    assert unpack(pack(model)).groups().equals(model.groups())
    without = replace(model, group_losses={})
    assert without.groups()["loss"].isna().all()
