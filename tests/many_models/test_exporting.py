"""Tables written in pieces."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from forecastml.errors import DataError
from many_models.exporting import Export


def table(times, **columns) -> pa.Table:
    return pa.table({"key": pa.array(["a"] * len(times)), "time": times, **columns})


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        (pd.date_range("2024-01-01", periods=2, freq="MS"), ["2024-01-01", "2024-02-01"]),
        (pd.date_range("2024-01-01 23:00", periods=2, freq="h"), ["2024-01-01 23:00:00", "2024-01-02 00:00:00"]),
        (pd.date_range("2024-01-01", periods=2, freq="500ms"), ["2024-01-01 00:00:00", "2024-01-01 00:00:00.5"]),
        (
            pd.date_range("2024-03-31 01:00", periods=2, freq="h", tz="Europe/Paris"),
            ["2024-03-31 01:00:00+0100", "2024-03-31 03:00:00+0200"],
        ),
        ([7, 8], ["7", "8"]),
    ],
)
def test_times_in_csv_are_as_fine_as_they_are(tmp_path, times, shown):
    with Export(tmp_path / "t.csv") as export:
        export.write(pa.Table.from_pandas(pd.DataFrame({"time": times}), preserve_index=False))
    found = pd.read_csv(tmp_path / "t.csv", dtype=str)["time"]
    assert [text.rstrip("0").rstrip(".") if "." in text else text for text in found] == shown


def test_numbers_in_csv_keep_every_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    with Export(tmp_path / "t.csv") as export:
        for piece in np.split(values, 4):
            export.write(pa.table({"x": piece, "ok": piece > 0}))
    found = pd.read_csv(tmp_path / "t.csv", converters={"x": float})
    assert (found["x"] == values).all() and found["ok"].equals(pd.Series(values > 0, name="ok"))


def test_texts_in_csv_come_back(tmp_path):
    texts = ['say "no"', "two\nlines", "a\rb", "a,b", "", "NaN", "ä"]
    with Export(tmp_path / "t.csv") as export:
        export.write(pa.table({"text": texts, "=name": pa.array(texts).dictionary_encode()}))
    found = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert found["text"].tolist() == texts and found["'=name"].tolist() == texts


def test_nothing_is_left_behind_when_it_goes_wrong(tmp_path):
    with (
        pytest.raises(DataError, match="some groups have the columns x, others key, time"),
        Export(tmp_path / "t.parquet") as export,
    ):
        export.write(table([1, 2]))
        export.write(pa.table({"x": [1]}))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="groups differ in the type of a column"), Export(tmp_path / "t.csv") as export:
        export.write(table([1, 2]))
        export.write(table(["a", "b"]))
    assert list(tmp_path.iterdir()) == []


def test_types_that_fit_are_brought_together(tmp_path):
    with Export(tmp_path / "t.parquet") as export:
        export.write(table([1, 2]).replace_schema_metadata({"a": "b"}))
        export.write(table([3.0, 4.0]).select(["time", "key"]))
    assert pd.read_parquet(tmp_path / "t.parquet")["time"].tolist() == [1, 2, 3, 4]
