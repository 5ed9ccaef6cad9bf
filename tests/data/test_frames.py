"""Tables to panels and back: sources, columns, keys, and what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.calendar import alias
from forecastml.data.frames import forecast_frame, to_frame, write_table
from forecastml.data.schema import Frequency, Schema
from forecastml.errors import ConfigError, DataError
from tests.data.samples import FULL, SCHEMA, read, sales, same, series


def test_a_plain_table():
    panel, findings = read(pd.concat([series("b", 5), series("a", 3)]), SCHEMA)
    assert findings == ()
    assert panel.keys.tolist() == [["a"], ["b"]]
    assert panel.lengths.tolist() == [3, 5]
    assert panel.target.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert panel.frequency == Frequency("day")
    assert panel.start.tolist() == [19723, 19723]
    assert (panel.known_end - panel.known_begin).tolist() == [3, 5]
    assert panel.group.tolist() == [0, 1]
    assert panel.weight is None


def test_every_kind_of_column():
    panel, findings = read(sales(), FULL)
    assert findings == ()
    assert panel.keys.tolist() == [["001", "7"], ["001", "x y"], ["01", "7"], ["01", "é"]]
    assert panel.group.tolist() == [0, 0, 1, 1]
    assert panel.lengths.tolist() == [8] * 4
    assert (panel.known_end - panel.known_begin).tolist() == [10] * 4
    assert panel.categories == {"event": ("fair", "rain"), "region": ("north", "south")}
    np.testing.assert_array_equal(panel.known[:4], [[1.5, 1, -1], [2.5, 0, 0], [3.5, 0, 1], [4.5, 1, -1]])
    assert panel.past[:8, 0].tolist() == list(range(0, 16, 2))
    assert panel.static.tolist() == [[0, 0], [0, 1], [1, 2], [1, 3]]
    assert panel.weight.tolist() == np.repeat([1.0, 2.0, 3.0, 4.0], 8).tolist()


def partitioned(frame: pd.DataFrame, folder: Path) -> Path:
    for number, ((store, item), part) in enumerate(frame.groupby(["store", "item"])):
        place = folder / f"store={store}"
        place.mkdir(parents=True, exist_ok=True)
        # Types differ between the files as writers leave them: whole numbers here, none at all there.
        part = part.drop(columns="store").astype({"visits": "int64" if number % 2 else "float64"})
        part.assign(item=item).to_parquet(place / f"part-{number}.parquet", index=False)
    return folder


@pytest.mark.parametrize(
    "kind", ["polars", "lazy", "arrow", "views", "csv", "csv;", "parquet", "folder", "nullable", "category"]
)
def test_every_source_gives_the_same_panel(kind, tmp_path):
    frame = sales()
    expected, _ = read(frame, FULL)
    if kind == "polars":
        source = pl.from_pandas(frame)
    elif kind == "lazy":
        source = pl.from_pandas(frame).lazy()
    elif kind == "arrow":
        source = pa.Table.from_pandas(frame)
    elif kind == "views":
        views = [
            pa.field(f.name, pa.string_view() if "string" in str(f.type) else f.type)
            for f in pa.Schema.from_pandas(frame)
        ]
        source = pa.Table.from_pandas(frame, preserve_index=False).cast(pa.schema(views))
    elif kind.startswith("csv"):
        source = tmp_path / "t.csv"
        frame.to_csv(source, index=False, sep=kind[3:] or ",")
    elif kind == "parquet":
        source = str(tmp_path / "t.parquet")
        frame.to_parquet(source)
    elif kind == "folder":
        source = partitioned(frame, tmp_path / "sales")
    elif kind == "nullable":
        source = frame.convert_dtypes()
    else:
        source = frame.astype({"store": "category", "item": "category", "event": "category"})
    same(read(source, FULL)[0], expected)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_row_order_is_irrelevant(random):
    frame = sales()
    order = list(range(len(frame)))
    random.shuffle(order)
    same(read(frame.iloc[order], FULL)[0], read(frame, FULL)[0])


def test_the_source_is_not_touched_nor_shared():
    frame = sales().sample(frac=1, random_state=0)
    before = frame.copy(deep=True)
    panel, _ = read(frame, FULL)
    pd.testing.assert_frame_equal(frame, before)
    plain = series()
    panel, _ = read(plain, SCHEMA)
    plain.loc[:, "y"] = -1.0
    assert panel.target[3] == 3


# --- keys ---


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["001", "1"], ["001", "1"]),
        ([10, 9], ["10", "9"]),
        ([7.0, 8.0], ["7", "8"]),
        ([7.5, 8.0], ["7.5", "8"]),
        ([123456789012.0, 1.0], ["1", "123456789012"]),
        ([True, False], ["False", "True"]),
        (["a", 1], ["1", "a"]),
        ([pd.Timestamp("2024-01-01").date(), pd.Timestamp("2024-02-01").date()], ["2024-01-01", "2024-02-01"]),
    ],
)
def test_keys_are_text(values, texts):
    frame = pd.concat([series(), series()], ignore_index=True)
    frame["id"] = pd.Series(
        [values[0]] * 20 + [values[1]] * 20, dtype=None if not isinstance(values[1], int) else object
    )
    assert read(frame, SCHEMA)[0].keys[:, 0].tolist() == texts


def test_leading_zeros_survive_csv_and_namibia_is_a_country(tmp_path):
    frame = pd.concat([series("001"), series("1"), series("NA")])
    write_table(frame, tmp_path / "t.csv")
    assert read(tmp_path / "t.csv", SCHEMA)[0].keys[:, 0].tolist() == ["001", "1", "NA"]


@pytest.mark.parametrize("missing", [None, np.nan, ""])
def test_a_missing_key_is_refused(missing):
    frame = series().astype({"id": object})
    frame.loc[3, "id"] = missing
    with pytest.raises(DataError, match=r"key column 'id' is empty in 1 rows"):
        read(frame, SCHEMA)


def test_a_table_without_series_columns_is_one_series():
    panel, _ = read(series(), Schema(target="y", time="ds"))
    assert panel.keys.shape == (1, 0)
    assert panel.label(0) == "the series"
    with pytest.raises(DataError, match="name the columns that tell the series apart as series"):
        read(pd.concat([series("a"), series("b")]).drop(columns="id"), Schema(target="y", time="ds"))


@pytest.mark.parametrize("names", [("index", "my time", "Umsatz €"), ("0", "1", "2"), ("level_0", "mean time", "mean")])
def test_odd_column_names(names, tmp_path):
    schema = Schema(series=(names[0],), time=names[1], target=names[2])
    frame = series().set_axis(names, axis=1)
    expected, _ = read(frame, schema)
    assert expected.target.tolist() == list(range(20))
    write_table(frame, tmp_path / "t.csv")
    for source in (pl.from_pandas(frame), pl.from_pandas(frame).lazy(), tmp_path / "t.csv"):
        same(read(source, schema)[0], expected)
    frame.columns = range(3)
    numbered = Schema(series=("0",), time="1", target="2")
    assert read(frame, numbered)[0].target.tolist() == list(range(20))


@pytest.mark.parametrize("name", ["mean", "0.1", "0.975"])
def test_a_key_named_like_an_output_is_refused(name):
    with pytest.raises(ConfigError, match="rename it"):
        read(series().rename(columns={"id": name}), Schema(target="y", time="ds", series=(name,)))


def test_groups_need_not_be_key_columns():
    frame = pd.concat([series("a").assign(g="z"), series("b").assign(g="z"), series("c").assign(g="k")])
    schema = Schema(target="y", time="ds", series=("id",), group=("g",))
    assert read(frame, schema)[0].group.tolist() == [1, 1, 0]
    frame.iloc[5, -1] = "k"
    with pytest.raises(DataError, match=r"several groups \(g\): id=a"):
        read(frame, schema)


# --- tables out ---


def test_a_forecast_table():
    panel, _ = read(sales(), FULL)
    ordinals = (panel.last_ordinal[:, None] + np.arange(1, 4)).ravel()
    values = np.arange(24.0).reshape(12, 2)
    out = forecast_frame(panel, ordinals, values, ("mean", "0.9"))
    assert list(out.columns) == ["store", "item", "ds", "mean", "0.9"]
    assert out.store.tolist() == ["001"] * 6 + ["01"] * 6
    assert out.item.tolist()[:4] == ["7", "7", "7", "x y"]
    assert out.ds.tolist()[:3] == pd.date_range("2024-01-09", periods=3).tolist()
    assert out["0.9"].tolist() == values[:, 1].tolist()
    empty = forecast_frame(panel.select(np.array([], int)), np.array([], int), np.empty((0, 1)), ("mean",))
    assert list(empty.columns) == ["store", "item", "ds", "mean"]
    assert len(empty) == 0


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_are_written_whole_or_not_at_all(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"t{suffix}"
    frame = to_frame({"id": ["001", "002"], "ds": [1, 2], "y": np.array([0.5, np.nan])})
    write_table(frame, path)
    read = pd.read_csv(path, dtype={"id": str}) if suffix == ".csv" else pq.read_table(path).to_pandas()
    assert read["id"].tolist() == ["001", "002"]
    assert read["y"].isna().tolist() == [False, True]
    before = path.read_bytes()

    def torn(self, file, **options):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(pd.DataFrame, "to_csv", torn)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", torn)
    with pytest.raises(OSError, match="no space"):
        write_table(frame, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_where_a_table_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match=r"\.csv or \.parquet"):
        write_table(to_frame({}), tmp_path / "t.xlsx")
    with pytest.raises(ConfigError, match="does not exist"):
        write_table(to_frame({}), tmp_path / "none" / "t.csv")


# --- the public data sets ---

SETS = ("m4_hourly", "m4_weekly", "m3_monthly", "orange_juice", "australian_tourism", "bike_share")
SETS += ("victoria_electricity", "alcohol_sales", "nyc_energy")


@pytest.mark.parametrize("name", SETS)
def test_frequencies_of_the_public_sets(name, shared_data):
    path, facts = shared_data(name)
    schema = Schema(
        target="y",
        time="ds",
        series=tuple(facts["group_keys"]),
        known=tuple(facts["covariates"].get("known", ())),
        static=tuple(facts["covariates"].get("static", ())),
    )
    panel, _ = read(path, schema)
    spelled = alias(panel.frequency, int(panel.start[0]))
    assert spelled.startswith(facts["freq"])
    assert len(panel) == facts["series"]
    assert np.isfinite(panel.target).sum() <= facts["rows"] <= len(panel.target)
