"""Forecasts of a store: kept ones and the models' own, some groups, damage, covariates, files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import forecastml as fm
import many_models as mm
from forecastml.errors import ConfigError, DataError, ForecastWarning, FutureError
from many_models.errors import RunFailed, StoreError
from many_models.exporting import Export
from many_models.forecasts import Wish, parts
from many_models.protocols import digest_of
from many_models.shard import Shard
from many_models.store import Store
from tests.many_models import shops

KEYS = ["shop", "item", "month"]
COLUMNS = [*KEYS, "mean", "0.1", "0.5", "0.9"]


def quietly(*arguments, **options) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ForecastWarning)
        return mm.forecast(*arguments, **options)


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(KEYS).reset_index(drop=True)


def by_models(root: Path, **asked) -> pd.DataFrame:
    """What the models say, without any of what is tested here."""
    with Store.open(root) as store:
        names = {champion.shard.name: champion.shard for champion in store.versions.champions()}
        models = [m for file in names.values() for m in Shard.unpack(store.read(file), "shard").models()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ForecastWarning)
            return ordered(pd.concat([model.forecast(**asked) for model in models]))


def champion(root: Path, name: str):
    with Store.open(root) as store:
        (found,) = store.versions.champions([digest_of((name,))])
    return found


def spoil(root: Path, *names: str | None) -> None:
    for name in filter(None, names):
        path = root / name
        path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_kept_forecasts_are_those_of_the_models(shop_store):
    frame = quietly(shop_store)
    assert list(frame.columns) == COLUMNS
    assert set(frame["shop"]) == set(shops.NAMES) and set(frame["item"]) == {"1", "02"}
    assert frame["month"].min() == shops.END + pd.DateOffset(months=1)
    pd.testing.assert_frame_equal(ordered(frame), by_models(shop_store))


@pytest.mark.parametrize("asked", [{"horizon": 4}, {"horizon": 9}, {"quantiles": (0.25, 0.75)}])
def test_another_wish_is_put_to_the_models(shop_store, asked):
    pd.testing.assert_frame_equal(ordered(quietly(shop_store, **asked)), by_models(shop_store, **asked))


def test_what_was_trained_for_is_no_other_wish(shop_store, copied):
    root = copied(shop_store)
    for path in (root / "shards").rglob("*.zip"):
        path.unlink()
    frame = quietly(root, horizon=shops.HORIZON, quantiles=[0.9, 0.5, 0.1])
    pd.testing.assert_frame_equal(frame, quietly(shop_store))


def test_notes_of_many_shards_are_told_once(shop_store):
    with pytest.warns(ForecastWarning) as notes:
        mm.forecast(shop_store, horizon=9)
    assert sum("beyond the trained horizon" in str(note.message) for note in notes) == 1


@pytest.mark.parametrize("asked", [{}, {"horizon": 3}])
def test_only_the_shards_of_named_groups_are_opened(shop_store, copied, asked):
    root = copied(shop_store)
    needed = champion(root, "a,b")
    for path in [*(root / "shards").rglob("*.zip"), *(root / "forecasts").rglob("*.parquet")]:
        if str(path.relative_to(root)) not in (needed.shard.name, needed.forecast.name):
            path.unlink()
    frame = mm.forecast(root, "a,b", **asked)
    whole = quietly(shop_store, **asked)
    pd.testing.assert_frame_equal(frame, whole[whole["shop"] == "a,b"].reset_index(drop=True))


def test_groups_are_named_by_keys_of_any_kind(shop_store):
    assert set(mm.forecast(shop_store, ("a,b",))["shop"]) == {"a,b"}
    assert set(mm.forecast(shop_store, ["001", 7])["shop"]) == {"001", "7"}


def test_an_unknown_group_is_refused_with_the_nearest(shop_store):
    with pytest.raises(ConfigError, match=r"shop=uberall is not in the store; did you mean shop=überall\?"):
        mm.forecast(shop_store, ["001", "uberall"])
    with pytest.raises(ConfigError, match=r"a key has 1 parts \(shop\), not 2"):
        mm.forecast(shop_store, [("001", "1")])
    with pytest.raises(ConfigError, match="groups is empty"):
        mm.forecast(shop_store, [])


def test_a_group_without_a_model_is_named_and_the_others_are_served(shop_store):
    with pytest.warns(ForecastWarning, match=r"1 of 2 groups have no forecast: bad \(failed: DataError: 96 rows"):
        frame = mm.forecast(shop_store, ["bad", "001"])
    assert set(frame["shop"]) == {"001"}
    with pytest.raises(RunFailed, match=r"nothing can be forecast: .* bad"):
        mm.forecast(shop_store, "bad")


def test_a_group_that_waits_for_its_turn_is_named(tmp_path):
    with Store.create(tmp_path / "store") as store:
        shops.add_run(store, shops.table(bad=()), allow=("naive",), most=2)
    with pytest.warns(
        ForecastWarning, match=r"2 of 6 groups have no forecast: .*not trained yet: `many-models resume`"
    ):
        assert mm.forecast(tmp_path / "store")["shop"].nunique() == 4


def test_labels_tell_what_serves_a_row(shop_store):
    by_name = mm.results(shop_store).set_index("shop")["model_used"].to_dict()
    for asked in ({}, {"horizon": 3}):
        frame = quietly(shop_store, labels=True, **asked)
        assert list(frame.columns)[-2:] == ["model_used", "is_fallback"]
        assert (frame["model_used"] == frame["shop"].map(by_name)).all()
        assert not frame["is_fallback"].any()


def test_rows_come_in_the_same_order_whichever_worker_was_done_first(shop_store, tmp_path):
    other = shops.made(tmp_path / "store", shops.table(), backwards=True)
    pd.testing.assert_frame_equal(quietly(shop_store), quietly(other))
    pd.testing.assert_frame_equal(quietly(shop_store, horizon=3), quietly(other, horizon=3))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_holds_what_the_frame_holds(shop_store, tmp_path, suffix):
    out = tmp_path / f"forecast{suffix}"
    assert quietly(shop_store, out=out) is None
    frame = quietly(shop_store)
    if suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(out), frame)
    else:
        found = pd.read_csv(out, dtype={"shop": str, "item": str}, parse_dates=["month"])
        frame["shop"] = frame["shop"].replace({"=1+1": "'=1+1", "-x": "'-x"})
        pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_memory_holds_the_groups_of_one_shard(shop_store, tmp_path, monkeypatch):
    sizes, write = [], Export.write

    def noted(export, piece):
        sizes.append(piece.num_rows)
        write(export, piece)

    monkeypatch.setattr(Export, "write", noted)
    out = tmp_path / "forecast.parquet"
    quietly(shop_store, out=out)
    with Store.open(shop_store) as store:
        shards = {champion.shard.name for champion in store.versions.champions()}
    assert len(sizes) == len(shards) > 2
    assert max(sizes) <= 2 * 2 * shops.HORIZON
    assert pq.ParquetFile(out).num_row_groups == len(shards)


def test_a_file_is_whole_or_not_at_all(shop_store, copied, tmp_path):
    out = tmp_path / "forecast.csv"
    out.write_text("older")
    with pytest.raises(RunFailed):
        mm.forecast(shop_store, "bad", out=out)
    assert out.read_text() == "older"
    for wrong, text in ((tmp_path / "forecast.xlsx", "must end in"), (tmp_path / "no" / "f.csv", "does not exist")):
        with pytest.raises(ConfigError, match=text):
            mm.forecast(shop_store, out=wrong)
    assert {path.name for path in tmp_path.iterdir()} == {"forecast.csv"}


def test_a_damaged_forecast_part_is_made_again_by_the_models(shop_store, copied):
    root = copied(shop_store)
    spoil(root, champion(root, "001").forecast.name)
    pd.testing.assert_frame_equal(ordered(quietly(root)), ordered(quietly(shop_store)))


def test_a_damaged_shard_costs_its_groups_alone(shop_store, copied):
    root = copied(shop_store)
    lost = champion(root, "001").shard.name
    with Store.open(root) as store:
        gone = {c.key[0] for c in store.versions.champions() if c.shard.name == lost}
    spoil(root, lost)
    with pytest.warns(ForecastWarning) as notes:
        frame = mm.forecast(root, horizon=3)
    assert set(frame["shop"]) == set(shops.NAMES) - gone
    (text,) = [str(note.message) for note in notes]
    assert "its model is damaged" in text and "fsck --repair" in text and all(name in text for name in gone)
    # Their forecasts were kept, and are good.
    assert set(quietly(root)["shop"]) == set(shops.NAMES)


def test_the_version_before_serves_where_the_newest_is_damaged(shop_store, copied):
    root = copied(shop_store)
    with Store.open(root, write=True) as store:
        shops.add_run(store, shops.table(bad=(), seed=1), allow=("naive",))
    newest = champion(root, "001")
    assert newest.version == 2
    wish = Wish(horizon=3)
    spoil(root, newest.shard.name)
    with Store.open(root) as store:
        found = [part for part in parts(store, None, wish) if part.restored]
        gone = {c.key[0] for c in store.versions.champions() if c.shard.name == newest.shard.name}
    assert sum(part.restored for part in found) == len(gone)
    with pytest.warns(ForecastWarning) as notes:
        frame = mm.forecast(root, horizon=3)
    assert any(f"{len(gone)} groups are served by an older version" in str(note.message) for note in notes)
    assert set(frame["shop"]) >= set(shops.NAMES)
    old = quietly(shop_store, horizon=3)
    same = ordered(frame[frame["shop"] == "001"]), ordered(old[old["shop"] == "001"])
    pd.testing.assert_frame_equal(*same)


def test_a_rollback_changes_what_is_forecast(shop_store, copied):
    root = copied(shop_store)
    with Store.open(root, write=True) as store:
        shops.add_run(store, shops.table(seed=1), allow=("naive",))
    assert not quietly(root).equals(quietly(shop_store))
    assert mm.rollback(root, "001") == 1
    assert champion(root, "001").version == 1
    assert mm.rollback(root) == len(shops.NAMES) - 1
    pd.testing.assert_frame_equal(quietly(root), quietly(shop_store))
    with pytest.raises(StoreError, match="has no version before the one that serves"):
        mm.rollback(root, "001")


def test_future_covariates_reach_the_models_of_every_shard(priced_store, tmp_path):
    future = shops.ahead(shops.table(bad=()))
    path = tmp_path / "future.csv"
    future.to_csv(path, index=False)
    frame = quietly(priced_store, future=future)
    assert set(frame["shop"]) == set(shops.NAMES)
    pd.testing.assert_frame_equal(quietly(priced_store, future=path), frame)
    dear = quietly(priced_store, future=future.assign(price=2.0))
    assert (dear["mean"] < frame["mean"]).mean() > 0.9


def test_a_group_without_its_future_is_named_and_the_others_are_served(priced_store):
    future = shops.ahead(shops.table(bad=()))
    lacking = future[future["shop"] != "a,b"]
    with pytest.warns(ForecastWarning, match="1 of 6 groups have no forecast: a,b "):
        frame = mm.forecast(priced_store, future=lacking)
    whole = quietly(priced_store, future=future)
    pd.testing.assert_frame_equal(ordered(frame), ordered(whole[whole["shop"] != "a,b"]))


def test_a_wish_that_no_model_can_fulfil_is_refused(priced_store):
    with pytest.raises(FutureError, match="price"):
        mm.forecast(priced_store)
    with pytest.raises(FutureError, match="price"):
        mm.forecast(priced_store, "001")
    with pytest.raises(DataError, match="'shop' not found"):
        mm.forecast(priced_store, future=shops.ahead(shops.table()).drop(columns="shop"))


def test_how_far_a_forecast_reaches_does_not_depend_on_other_groups(priced_store):
    future = shops.ahead(shops.table(bad=()), months=shops.HORIZON + 3)
    last = future["month"].max()
    shorter = future[(future["shop"] == "a,b") | (future["month"] < last)]
    frame = quietly(priced_store, future=shorter)
    assert (frame.groupby(["shop", "item"]).size() == shops.HORIZON).all()
    pd.testing.assert_frame_equal(frame, quietly(priced_store, future=future))


def test_rows_of_groups_that_the_store_does_not_know_are_told(priced_store):
    future = shops.ahead(shops.table(names=[*shops.NAMES, "new"], bad=()))
    with pytest.warns(ForecastWarning, match="future has rows of 1 groups that have no model here"):
        frame = mm.forecast(priced_store, future=future)
    assert "new" not in set(frame["shop"])


def test_context_moves_the_origin_of_the_groups_that_have_some(shop_store):
    newer = shops.ahead(shops.table(["001", "7"], bad=()), months=2).assign(sales=400.0)
    frame = quietly(shop_store, context=newer).set_index("shop")
    first = frame.groupby(level=0)["month"].min()
    assert (first[["001", "7"]] == shops.END + pd.DateOffset(months=3)).all()
    assert (first.drop(["001", "7"]) == shops.END + pd.DateOffset(months=1)).all()
    whole = quietly(shop_store).set_index("shop")
    pd.testing.assert_frame_equal(frame.loc["a,b"], whole.loc["a,b"])
    assert not np.allclose(frame.loc["001", "mean"], whole.loc["001", "mean"])


def test_bad_wishes_are_refused_before_anything_is_read(shop_store, tmp_path):
    with pytest.raises(ConfigError, match="horizon is 0"):
        mm.forecast(shop_store, horizon=0)
    with pytest.raises(ConfigError, match=r"quantile level 1\.5"):
        mm.forecast(shop_store, quantiles=[0.5, 1.5])
    with pytest.raises(StoreError, match="there is no store"):
        mm.forecast(tmp_path)
    Store.create(tmp_path / "empty").close()
    with pytest.raises(StoreError, match="there is no run yet"):
        mm.forecast(tmp_path / "empty")


def test_a_group_whose_older_version_goes_on_has_one_forecast(tmp_path):
    root, rows = tmp_path / "store", shops.table(bad=())
    settings = mm.Settings(workers=1, batch_groups=3)
    config = fm.Config.preset("fast", allow=("naive", "drift", "seasonal_naive"))
    mm.run(rows[rows["month"] < "2024-06-01"], "shop", shops.task(), config, root, settings)
    mm.retrain(root, "all", rows, settings)
    labels = mm.results(root)["label"]
    assert labels.str.contains("serves on, moved over the newer rows").any()
    frame = mm.forecast(root)
    assert (frame.groupby(["shop", "item"]).size() == shops.HORIZON).all()
    pd.testing.assert_frame_equal(ordered(mm.forecast(root, horizon=shops.HORIZON - 1)), shorter(frame))


def shorter(frame: pd.DataFrame) -> pd.DataFrame:
    return ordered(frame[frame.groupby(["shop", "item"]).cumcount() < shops.HORIZON - 1])
