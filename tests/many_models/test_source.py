"""Sources of every kind laid out by group: whole, the same whatever their order and files, opened batch by batch."""

from __future__ import annotations

import pickle
import urllib.parse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

import forecastml
from forecastml.errors import ConfigError, DataError
from many_models import buckets, source, streams
from many_models.columns import plain
from many_models.partition import PartitionSettings
from many_models.protocols import Batch, digest_of
from many_models.source import Layout, lay_out, open_layout

SMALL = PartitionSettings(rows=8, groups=3, overhead=1, bucket=15)
KEYS = st.sampled_from(
    ["", "a", "A", "b", "../x", "/etc/passwd", "a/b", "é", "e\u0301", "\0", "CON", "%2e", "1", "001"]
)
CELLS = st.tuples(
    KEYS,
    KEYS,
    st.one_of(st.none(), st.floats(-1e6, 1e6)),
    st.one_of(st.none(), st.sampled_from(["x", "y"])),
)
TABLES = st.lists(CELLS, min_size=1, max_size=60)
NAMES = ["store", "item", "y", "note"]
TYPES = [pa.string(), pa.string(), pa.float64(), pa.string()]


def arrow(rows) -> pa.Table:
    return pa.table([pa.array(c, kind) for c, kind in zip(zip(*rows, strict=True), TYPES, strict=True)], names=NAMES)


def sales(stores: int = 20, days: int = 30) -> pa.Table:
    """Daily sales, each day of all stores together: store, ds, y, promo."""
    rng = np.random.default_rng(0)
    count = stores * days
    return pa.table(
        {
            "store": [f"s{i:03d}" for i in range(stores)] * days,
            "ds": pa.array(np.repeat(np.arange(days), stores) * 86_400_000_000, pa.timestamp("us")),
            "y": rng.normal(size=count),
            "promo": rng.integers(0, 2, count),
        }
    )


def write_hive(table: pa.Table, folder: Path, by: list[str], files: int = 1) -> Path:
    """A folder for each key, its rows cut into some files."""
    for number, key in enumerate(dict.fromkeys(zip(*(table.column(name).to_pylist() for name in by), strict=True))):
        rows = rows_of(table, by, key)
        parts = [f"{name}={urllib.parse.quote(str(part), safe='')}" for name, part in zip(by, key, strict=True)]
        place = folder.joinpath(*parts)
        place.mkdir(parents=True)
        for i, chunk in enumerate(np.array_split(np.arange(len(rows)), files)):
            pq.write_table(rows.take(chunk).drop_columns(by), place / f"part-{number}-{i}.parquet")
    return folder


def rows_of(table: pa.Table, by: list[str], key: tuple) -> pa.Table:
    columns = zip(*(table.column(name).to_pylist() for name in by), strict=True)
    return table.filter(pa.array([found == key for found in columns]))


def cells(table: pa.Table) -> list[tuple]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def outline(layout: Layout) -> list[tuple]:
    """What must be the same for the same rows."""
    return [batch.groups for batch in layout.batches()]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLES, st.integers(1, 4), st.randoms(use_true_random=False))
def test_every_row_is_in_one_batch_and_batches_do_not_depend_on_order_or_files(tmp_path_factory, rows, files, chance):
    folder = tmp_path_factory.mktemp("layout")
    source, by = arrow(rows), ["store", "item"]
    layout = lay_out(source, by, NAMES, folder / "whole", SMALL)
    seen: list[tuple] = []
    for batch in layout.batches():
        read = layout.read(batch)
        assert read.num_rows == batch.rows and len(batch) <= SMALL.groups
        for group in batch.groups:
            # Rows of a group keep the order of the source.
            assert cells(rows_of(read, by, group.key)) == cells(rows_of(source, by, group.key))
        if len(batch) > 1:
            for half in batch.halves():
                assert Counter(cells(layout.read(half))) == Counter(
                    row for row in cells(read) if row[:2] in {group.key for group in half.groups}
                )
        seen += cells(read)
    assert Counter(seen) == Counter(rows)
    assert layout.total == (len({row[:2] for row in rows}), len(rows))
    assert [group for batch in layout.batches() for group in batch.groups] == list(layout.groups())

    shuffled = list(rows)
    chance.shuffle(shuffled)
    (folder / "parts").mkdir()
    for i, chunk in enumerate(np.array_split(np.arange(len(rows)), files)):
        pq.write_table(arrow(shuffled).take(chunk), folder / "parts" / f"{i}.parquet", row_group_size=7)
    again = lay_out(folder / "parts", by, NAMES, folder / "split", SMALL)
    assert outline(again) == outline(layout)
    assert cells(again.sample(3).sort_by([(name, "ascending") for name in NAMES])) == cells(
        layout.sample(3).sort_by([(name, "ascending") for name in NAMES])
    )


@pytest.mark.parametrize(
    "key",
    [
        pa.array([1, 20, 3], pa.int64()),
        pa.array([1.0, 20.0, -0.0]),
        pa.array([1.0, 2.5, 1e15]),
        pa.array([1e15, 1e16, 3.0]),
        pa.array([0.1, 16777216.0, 3.0], pa.float32()),
        pa.array([True, False, True]),
        pa.array(["001", "1", "é"]),
        pa.array(["b", "a", "b"]).dictionary_encode(),
        pa.array([7, 8, 7]).dictionary_encode(),
        pa.array([0, 1, 2], pa.date32()),
        pa.array([0, 1, 2], pa.timestamp("ns")),
        pa.array([1, 2, 3], pa.decimal128(6, 2)),
    ],
    ids=lambda key: str(key.type),
)
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_keys_are_the_text_that_a_model_has(tmp_path, key, kind):
    days = 5
    table = pa.table(
        {
            "id": pa.concat_arrays([key] * days),
            "ds": pa.array(np.repeat(np.arange(days), len(key)) * 86_400_000_000, pa.timestamp("us")),
            "y": np.arange(len(key) * days, dtype=float),
        }
    )
    table = table.take([i for i in range(len(table)) if i % len(key) <= 1 or key[2].as_py() not in key[:2].to_pylist()])
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    task = forecastml.Forecasting(horizon=1, series="id", time="ds", target="y")
    source = table if kind == "memory" else tmp_path / "t.parquet"
    layout = lay_out(source, "id", ["ds", "y"], tmp_path / "layout", SMALL)
    expected = {tuple(row) for row in task.read(source).data.keys}
    assert {group.key for group in layout.groups()} == expected
    for batch in layout.batches():
        assert {tuple(row) for row in task.read(layout.read(batch)).data.keys} == {g.key for g in batch.groups}


def test_keys_of_series_stay_text_whatever_the_batch(tmp_path):
    table = pd.DataFrame({"store": ["a", "a", "b"], "item": [1.0, 2.0, 2.5], "y": [1.0, 2.0, 3.0]})
    layout = lay_out(table, ["store"], ["y", "item"], tmp_path / "m", SMALL, keys=["store", "item"])
    assert layout.columns == ("store", "y", "item")
    assert dict(cells(layout.sample(5).select(["item", "y"]))) == {"1": 1.0, "2": 2.0, "2.5": 3.0}
    (tmp_path / "t.csv").write_text("store,item,y\n001,007,1\n1,7,2\n")
    layout = lay_out(tmp_path / "t.csv", ["store"], ["item", "y"], tmp_path / "c", keys=["item"])
    assert sorted(cells(layout.sample(5))) == [("001", "007", 1), ("1", "7", 2)]


def test_the_same_table_of_any_library_makes_the_same_groups(tmp_path):
    table = sales()
    frame = table.to_pandas()
    frame.astype({"store": "category"}).to_parquet(tmp_path / "categories.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False, date_format="%Y-%m-%d %H:%M:%S")
    sources = [
        table,
        frame,
        frame.astype({"store": "category", "promo": "Int64"}),
        pl.from_arrow(table),
        pl.from_arrow(table).lazy(),
        tmp_path / "categories.parquet",
        f"{tmp_path.as_uri()}/categories.parquet",
        tmp_path / "t.csv",
        f"{tmp_path.as_uri()}/t.csv",
        write_hive(table, tmp_path / "hive", ["store"], files=3),
        f"{write_hive(table, tmp_path / 'hive two', ['store']).as_uri()}",
    ]
    layouts = [lay_out(source, "store", table.column_names, tmp_path / f"l{i}") for i, source in enumerate(sources)]
    for layout in layouts[1:]:
        assert outline(layout) == outline(layouts[0])
        assert cells(layout.sample(20)) == cells(layouts[0].sample(20))
    assert [layout.rewritten for layout in layouts] == [True] * 9 + [False] * 2


def test_folders_of_the_partition_columns_stay_as_they_are(tmp_path):
    table = pa.table(
        {
            "shop": ["001", "1", "a/b", "é=1"] * 3,
            "dept": ["x", "y", "x", "\0"] * 3,
            "y": np.arange(12.0),
            "ds": range(12),
        }
    )
    source = write_hive(table, tmp_path / "hive", ["dept", "shop"], files=2)
    layout = lay_out(source, ["shop", "dept"], None, tmp_path / "layout", SMALL)
    assert not layout.rewritten and [path.name for path in (tmp_path / "layout").iterdir()] == ["groups.parquet"]
    assert {group.key for group in layout.groups()} == {("001", "x"), ("1", "y"), ("a/b", "x"), ("é=1", "\0")}
    for batch in layout.batches():
        assert all((source / part).is_file() for part in batch.parts) and len(batch.parts) == 2 * len(batch)
        for group in batch.groups:
            kept = rows_of(layout.read(batch), ["shop", "dept"], group.key)
            assert kept.select(["y", "ds"]) == rows_of(table, ["shop", "dept"], group.key).select(["y", "ds"])


def test_folders_of_other_columns_are_columns_like_any_other(tmp_path):
    table = sales(6, 10).append_column("region", pa.array(["007", "7", "8"] * 20))
    source = write_hive(table, tmp_path / "hive", ["region"])
    layout = lay_out(source, ["store"], table.column_names, tmp_path / "layout", keys=["region"])
    assert layout.rewritten
    order = [(name, "ascending") for name in ("store", "ds")]
    assert cells(layout.sample(9).sort_by(order)) == cells(table.sort_by(order))


def test_a_folder_with_no_key_is_told_as_an_empty_key(tmp_path):
    source = write_hive(sales(3, 4), tmp_path / "hive", ["store"])
    (source / "store=s001").rename(source / "store=__HIVE_DEFAULT_PARTITION__")
    with pytest.raises(DataError, match="'store' is empty in 4 of 12 rows"):
        lay_out(source, "store", ["y"], tmp_path / "layout")


def test_hostile_keys_are_groups_of_their_own_and_never_names(tmp_path):
    keys = ["..", "../x", "/etc/passwd", "a/b", "\\\\host\\x", "%2e%2e", "a\0b", "a", "A", "a ", "", "CON", "=cmd()"]
    keys += [
        "x" * 10_000,
        "x" * 10_001,
        "é",
        "e\u0301",
        "\u202egpj",
        "😀",
        "'; drop table groups",
        "bucket-00000.parquet#0:1",
    ]
    table = pa.table({"store": keys * 2, "y": np.arange(2.0 * len(keys))})
    layout = lay_out(table, "store", ["y"], tmp_path / "layout", SMALL)
    assert {group.key for group in layout.groups()} == {(key,) for key in keys}
    assert sum(layout.read(batch).num_rows for batch in layout.batches()) == len(table)
    names = {path.name for path in (tmp_path / "layout").rglob("*")}
    assert all(name == "groups.parquet" or name.startswith(("rows-", "bucket-")) for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


BAD = {
    "null": (pa.table({"store": ["a", None, "b", None], "y": [1, 2, 3, 4]}), "'store' is empty in 2 of 4 rows"),
    "nan": (pa.table({"store": [1.0, float("nan"), 2.5], "y": [1, 2, 3]}), "'store' is empty in 1 of 3 rows"),
    "missing": (pa.table({"stores": ["a"], "y": [1]}), "'store' not found.*did you mean 'stores'"),
    "no rows": (pa.table({"store": pa.array([], pa.string()), "y": pa.array([], pa.int64())}), "no rows"),
    "lists": (pa.table({"store": ["a"], "y": [[1]]}), "column 'y' is of type .*list"),
    "list keys": (pa.table({"store": [{"a": 1}], "y": [1]}), "key column 'store' is of type struct.*make it text"),
    "bytes": (pa.table({"store": [b"\xff\xfe"], "y": [1]}), "key column 'store' is of type .*make it text"),
    "twice": (
        pa.table([["a"], ["b"], [1]], ["store", "store", "y"]),
        "'store'.*rename|distinct column names|duplicate field names",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_what_cannot_be_laid_out_is_told_with_its_column(tmp_path, case, kind):
    table, message = BAD[case]
    source = table
    if kind == "file":
        source = tmp_path / "t.parquet"
        pq.write_table(table, source)
    with pytest.raises(DataError, match=message):
        lay_out(source, "store", ["y"], tmp_path / "layout")
    assert list((tmp_path / "layout").iterdir()) == [] and open_layout(tmp_path / "layout") is None


def test_text_that_is_no_unicode_is_told(tmp_path):
    with pytest.raises(DataError, match="no Unicode"):
        lay_out(pd.DataFrame({"store": pd.Series(["a", "\ud800"], dtype=object), "y": 1.0}), "store", ["y"], tmp_path)


def test_paths_and_addresses_that_lead_nowhere_are_told(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"x")
    (tmp_path / "broken.parquet").write_bytes(b"x" * 100)
    (tmp_path / "empty").mkdir()
    for place, message in {
        tmp_path / "none.csv": "there is no file",
        tmp_path / "t.xlsx": "neither CSV nor Parquet",
        tmp_path / "broken.parquet": "cannot be read as Parquet",
        tmp_path / "empty": "holds no Parquet file",
        "nowhere://bucket/x": "check the address",
        "s3://key:secret@bucket/x": "holds a password",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            lay_out(place, "store", ["y"], tmp_path / "layout")
        assert "secret" not in str(caught.value)
    for by in ((), ("y", "y")):
        with pytest.raises(ConfigError, match="partition columns"):
            lay_out(sales(), by, ["y"], tmp_path / "layout")


def test_types_of_files_are_brought_together_and_those_at_odds_are_named(tmp_path):
    source = tmp_path / "files"
    source.mkdir()
    pq.write_table(pa.table({"store": ["a"], "y": [1], "z": pa.nulls(1)}), source / "1.parquet")
    pq.write_table(pa.table({"store": pa.array(["b"]).dictionary_encode(), "y": [1.5]}), source / "2.parquet")
    pq.write_table(pa.table({"y": [2], "store": pa.array(["c"], pa.string_view()), "z": ["t"]}), source / "3.parquet")
    layout = lay_out(source, "store", ["y", "z"], tmp_path / "layout")
    assert sorted(cells(layout.sample(5))) == [("a", 1.0, None), ("b", 1.5, None), ("c", 2.0, "t")]
    pq.write_table(pa.table({"store": ["d"], "y": ["text"]}), source / "4.parquet")
    with pytest.raises(DataError, match=r"column 'y' is of type double in .*1.parquet and large_string in .*4.parquet"):
        lay_out(source, "store", ["y", "z"], tmp_path / "layout")
    # What was there stays.
    assert open_layout(tmp_path / "layout") == layout and layout.sample(5).num_rows == 3


def test_a_large_group_among_many_is_divided_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "_FAN_OUT", 3)
    monkeypatch.setattr(buckets, "_DIVIDED", 2_000)
    monkeypatch.setattr(buckets, "_HELD", 5_000)
    monkeypatch.setattr(streams, "PIECE", 50)
    rng = np.random.default_rng(1)
    keys = np.where(rng.random(3_000) < 0.3, "giant", rng.integers(0, 300, 3_000).astype(str))
    table = pa.table({"store": keys, "y": np.arange(3_000)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=200)
    layout = lay_out(tmp_path / "t.parquet", "store", ["y"], tmp_path / "layout", PartitionSettings(100, 10, 5, 50))
    place = tmp_path / "layout" / layout.place
    assert len(list(place.iterdir())) > 9 and not list(place.glob("spill*"))
    groups = list(layout.groups())
    assert [group.digest for group in groups] == sorted(digest_of((key,)) for key in set(keys.tolist()))
    for batch in layout.batches():
        read = layout.read(batch)
        for group in batch.groups:
            assert rows_of(read, ["store"], group.key).equals(rows_of(table, ["store"], group.key).cast(read.schema))


def test_a_sample_is_of_the_smallest_digests_and_opens_their_part_alone(tmp_path):
    layout = lay_out(sales(40, 10), "store", ["y"], tmp_path / "layout", PartitionSettings(50, 5, 1, 100))
    files = sorted(Path(layout.folder, layout.place).iterdir())
    assert len(files) > 3
    for file in files[1:]:
        file.unlink()
    sample = set(layout.sample(3).column("store").to_pylist())
    assert sample == set(sorted((f"s{i:03d}" for i in range(40)), key=lambda key: digest_of((key,)))[:3])
    with pytest.raises(ConfigError, match="limit"):
        layout.sample(0)


def test_batches_of_some_groups_hold_these_alone(tmp_path):
    layout = lay_out(sales(40, 10), "store", ["y"], tmp_path / "layout", PartitionSettings(50, 5, 1, 100))
    wanted = {group.digest for group in layout.groups() if group.key[0].endswith(("3", "7"))}
    batches = list(layout.batches(wanted))
    assert {group.digest for batch in batches for group in batch.groups} == wanted
    assert sum(map(len, batches)) == len(wanted) == 8
    for batch in batches:
        assert set(layout.read(batch).column("store").to_pylist()) == {group.key[0] for group in batch.groups}
    assert list(layout.batches(set())) == []


def test_a_finished_layout_is_opened_without_its_source_and_can_be_sent(tmp_path):
    pq.write_table(sales(), tmp_path / "t.parquet")
    lay_out(tmp_path / "t.parquet", "store", ["y", "ds"], tmp_path / "layout", SMALL)
    (tmp_path / "t.parquet").unlink()
    (tmp_path / "layout").rename(tmp_path / "moved")
    again = open_layout(tmp_path / "moved")
    sent = pickle.loads(pickle.dumps(again))
    assert sent == again and len(pickle.dumps(again)) < 4_000
    assert outline(sent) == outline(again) and sent.settings == SMALL and sent.total == (20, 600)
    assert sent.read(next(sent.batches())).column_names == ["store", "y", "ds"]
    assert open_layout(tmp_path / "nowhere") is None


def test_laying_out_again_replaces_the_older_rows(tmp_path):
    first = lay_out(sales(5), "store", ["y"], tmp_path / "layout", SMALL)
    second = lay_out(sales(6), "store", ["y"], tmp_path / "layout", SMALL)
    assert open_layout(tmp_path / "layout") == second and second.total.groups == 6 and first.place != second.place
    assert sorted(path.name for path in (tmp_path / "layout").iterdir()) == ["groups.parquet", second.place]


def test_a_csv_file_far_away_is_copied_and_the_copy_removed(tmp_path, monkeypatch):
    (tmp_path / "far").mkdir()
    sales(3).to_pandas().to_csv(tmp_path / "far" / "t.csv", index=False)
    far = fs.SubTreeFileSystem(str(tmp_path / "far"), fs.LocalFileSystem())
    monkeypatch.setattr(streams, "located", lambda root: (far, root.rpartition("/")[2]))
    layout = lay_out("far://bucket/t.csv", "store", ["y"], tmp_path / "layout", SMALL)
    assert layout.total == (3, 90)
    assert all(path.name.startswith("bucket-") for path in Path(layout.folder, layout.place).iterdir())


def test_memory_does_not_grow_with_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "_DIVIDED", 1 << 18)
    monkeypatch.setattr(buckets, "_HELD", 1 << 19)
    monkeypatch.setattr(streams, "PIECE", 1 << 12)
    usual, peaks = pa.default_memory_pool(), []
    for days in (100, 1000):
        pq.write_table(sales(200, days), tmp_path / "t.parquet", row_group_size=10_000)
        pool = pa.proxy_memory_pool(usual)
        pa.set_memory_pool(pool)
        try:
            layout = lay_out(
                tmp_path / "t.parquet", "store", None, tmp_path / "layout", PartitionSettings(bucket=10_000)
            )
            assert sum(map(len, layout.batches())) == 200
        finally:
            pa.set_memory_pool(usual)
        peaks.append(pool.max_memory())
    assert peaks[1] < 1.5 * peaks[0]


def test_parts_of_a_batch_cannot_lead_elsewhere(tmp_path):
    layout = lay_out(sales(), "store", ["y"], tmp_path / "a", SMALL)
    stays = lay_out(write_hive(sales(), tmp_path / "hive", ["store"]), "store", ["y"], tmp_path / "b", SMALL)
    for laid, parts in (
        (layout, "../x/bucket-00000.parquet#0:1"),
        (layout, "/etc/passwd"),
        (stays, "../t.parquet"),
        (stays, "/etc/x"),
    ):
        batch = Batch(next(laid.batches()).groups, (parts,))
        with pytest.raises((DataError, forecastml.errors.ForecastMLError), match="no part of a layout"):
            laid.read(batch)


def test_encoded_columns_are_read_as_what_they_stand_for(tmp_path):
    flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None], pa.int8()))
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array(["x", "y"]))
    table = pa.table({"store": ["a", "b", "b"], "flag": flags, "y": pa.array([1.5, 2.5, 1.5]).dictionary_encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    layout = lay_out(tmp_path / "t.parquet", "store", None, tmp_path / "layout")
    assert sorted(cells(layout.sample(2)), key=str) == [("a", 1, 1.5), ("b", 0, 2.5), ("b", None, 1.5)]
    assert plain(runs).to_pylist() == ["x", "y", "y"] and plain(runs).type == pa.large_string()


def test_wide_rows_make_smaller_buckets(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_BUCKET_BYTES", 40 * 100)
    narrow = lay_out(sales(), "store", ["y"], tmp_path / "narrow")
    wide = lay_out(sales(), "store", ["y", "promo", "ds"], tmp_path / "wide")
    files = [len(list(Path(layout.folder, layout.place).iterdir())) for layout in (narrow, wide)]
    assert 3 <= files[0] < files[1]
    assert narrow.settings == wide.settings == PartitionSettings()


@pytest.mark.slow
def test_a_hundred_thousand_groups_by_day_in_bounded_memory(tmp_path):
    stores = [f"s{i:06d}" for i in range(100_000)]
    schema = pa.schema([("store", pa.string()), ("ds", pa.timestamp("us")), ("y", pa.float64())])
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(tmp_path / "t.parquet", schema) as writer:
        for day in range(100):
            times = pa.array(np.full(len(stores), day * 86_400_000_000), pa.timestamp("us"))
            writer.write_table(pa.table([stores, times, rng.normal(size=len(stores))], schema=schema))
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        layout = lay_out(tmp_path / "t.parquet", "store", None, tmp_path / "layout")
    finally:
        pa.set_memory_pool(usual)
    assert pool.max_memory() < 300 << 20
    assert layout.total == (100_000, 10_000_000)
    first = next(layout.batches())
    assert layout.read(first).num_rows == first.rows
    assert sum(map(len, layout.batches())) == 100_000
