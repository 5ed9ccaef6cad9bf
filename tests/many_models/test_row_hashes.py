"""The content of a group: equal for equal rows however they come, different when a cell changes."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.errors import DataError
from many_models.row_hashes import group_hashes, row_hashes

CELLS = st.tuples(
    st.one_of(st.none(), st.floats(width=64)),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.none(), st.text(max_size=20), st.text(alphabet="ab", min_size=250, max_size=260)),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.datetimes()),
)
ROWS = st.lists(CELLS, min_size=1, max_size=12)
SCHEMA = pa.schema(
    [("a", pa.float64()), ("b", pa.int64()), ("c", pa.large_string()), ("d", pa.bool_()), ("e", pa.timestamp("us"))]
)


def table(rows) -> pa.Table:
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def content(rows: pa.Table) -> tuple[int, ...]:
    return tuple(group_hashes(row_hashes(rows), np.array([0]))[0].tolist())


def meaning(row) -> tuple:
    """A row with what counts as equal made equal."""
    number = row[0]
    return (None if number is None or number != number else number + 0.0, *row[1:])


@settings(max_examples=50, deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 12))
def test_order_and_chunks_do_not_matter(rows, chance, cut):
    shuffled = list(rows)
    chance.shuffle(shuffled)
    split = pa.concat_tables([table(shuffled).slice(cut), table(shuffled).slice(0, cut)])
    assert content(split) == content(table(rows))


@settings(max_examples=50, deadline=None)
@given(ROWS, ROWS)
def test_content_is_equal_when_the_rows_are_and_only_then(rows, others):
    def counted(some):
        return sorted(map(repr, map(meaning, some)))

    assert (content(table(rows)) == content(table(others))) == (counted(rows) == counted(others))


@settings(max_examples=50, deadline=None)
@given(ROWS, st.data())
def test_one_changed_repeated_or_missing_cell_shows(rows, data):
    whole = content(table(rows))
    i = data.draw(st.integers(0, len(rows) - 1))
    other = data.draw(CELLS)
    j = data.draw(st.integers(0, 4))
    changed = [*rows[:i], (*rows[i][:j], other[j], *rows[i][j + 1 :]), *rows[i + 1 :]]
    assert (content(table(changed)) == whole) == (meaning(changed[i]) == meaning(rows[i]))
    assert content(table([*rows, rows[i]])) != whole
    if len(rows) > 1:
        assert content(table(rows[:i] + rows[i + 1 :])) != whole


def test_cells_swapped_between_columns_or_rows_show():
    plain = pa.table({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    assert content(plain) != content(pa.table({"a": [3.0, 2.0], "b": [1.0, 4.0]}))
    assert content(plain) != content(pa.table({"a": [2.0, 1.0], "b": [3.0, 4.0]}))
    assert content(plain) == content(plain.select(["b", "a"]))
    assert content(plain) != content(plain.rename_columns(["a", "c"]))


@pytest.mark.parametrize(
    "same",
    [
        [pa.array([1, 0, None]), pa.array([1.0, -0.0, None]), pa.array([1, 0, None], pa.uint8())],
        [pa.array([1.5, None]), pa.array([1.5, float("nan")]), pa.array([1.5, None], pa.float32())],
        [pa.array([True, False]), pa.array([1, 0])],
        [pa.array([2**60, 5], pa.int64()), pa.array([2**60, 5], pa.uint64())],
        [pa.array([datetime.datetime(1969, 12, 31), None], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")]
        + [pa.array([datetime.date(1969, 12, 31), None], kind) for kind in (pa.date32(), pa.date64())],
        [pa.nulls(2), pa.nulls(2, pa.float64()), pa.nulls(2, pa.large_string()), pa.nulls(2, pa.date32())],
        [pa.array(["x", "y", "z"], pa.large_string()).slice(1), pa.array(["y", "z"], pa.large_string())],
    ],
    ids=["whole", "fractions", "truth", "large", "times", "missing", "slice"],
)
def test_values_count_not_their_types(same):
    assert len({content(pa.table({"a": column})) for column in same}) == 1


def test_the_zone_counts():
    moments = pa.array([0, 1], pa.timestamp("us", "UTC"))
    paris = moments.cast(pa.timestamp("us", "Europe/Paris"))
    assert content(pa.table({"t": moments})) != content(pa.table({"t": paris}))


def test_many_values_next_to_each_other_have_words_of_their_own():
    count = 300_000
    texts = ["a" * n for n in range(300)] + ["\0" * n for n in range(1, 300)] + [str(i) for i in range(count)]
    for column in (
        pa.array(np.arange(count)),
        pa.array(np.arange(count) / 7),
        pa.array(np.arange(count), pa.timestamp("ns")),
        pa.array(texts, pa.large_string()),
    ):
        hashes = row_hashes(pa.table({"a": column}))
        assert len(np.unique(hashes[:, 0])) == len(np.unique(hashes[:, 1])) == len(column)


def test_a_column_of_lists_is_refused_by_name():
    with pytest.raises(DataError, match="column 'a' is of type list"):
        row_hashes(pa.table({"a": [[1, 2]]}))
