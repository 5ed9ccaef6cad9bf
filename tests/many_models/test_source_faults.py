"""Layouts that are killed, filled up, damaged or pulled away: whole or not there, and told by name."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecastml.errors import DataError
from many_models import group_index
from many_models.errors import CorruptStoreError, NewerStoreError
from many_models.partition import PartitionSettings
from many_models.source import Layout, lay_out, open_layout
from tests.many_models.test_source import sales, write_hive

ROOT = Path(__file__).parents[2]
SETTINGS = PartitionSettings(rows=100, groups=5, overhead=1, bucket=150)
CHILD = """
import os, signal, sys
import many_models.source as source
from many_models import buckets, group_index
from many_models.partition import PartitionSettings

def killed(times):
    def count(*given, **named):
        times[0] -= 1
        if times[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **named)
    return count

module, name, after = sys.argv[3:]
place = {"source": source, "buckets": buckets, "group_index": group_index, "os": os}[module]
function = getattr(place, name)
setattr(place, name, killed([int(after)]))
buckets._HELD = 2_000
buckets._DIVIDED = 1_000
source.lay_out(sys.argv[1], ["store"], None, sys.argv[2], PartitionSettings(100, 5, 1, 150))
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
@pytest.mark.parametrize(
    ("module", "name", "after", "older"),
    [
        ("buckets", "_append", 1, False),
        ("source", "write_bucket", 2, True),
        ("group_index", "sync_file", 0, False),
        ("os", "replace", 0, True),
    ],
)
def test_a_killed_layout_is_not_there_and_is_begun_anew(tmp_path, module, name, after, older):
    source, folder = tmp_path / "t.parquet", tmp_path / "layout"
    if older:
        pq.write_table(sales(3), source)
        before = lay_out(source, ["store"], None, folder, SETTINGS)
    pq.write_table(sales(), source, row_group_size=50)
    ended = run(CHILD, source, folder, module, name, after)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(list(folder.iterdir())) > (2 if older else 0)
    if older:
        assert open_layout(folder) == before
        assert sum(before.read(batch).num_rows for batch in before.batches()) == 90
    else:
        assert open_layout(folder) is None
    layout = lay_out(source, ["store"], None, folder, SETTINGS)
    assert sorted(path.name for path in folder.iterdir()) == ["groups.parquet", layout.place]
    assert sum(layout.read(batch).num_rows for batch in layout.batches()) == 600
    undisturbed = lay_out(source, ["store"], None, tmp_path / "other", SETTINGS)
    assert list(undisturbed.batches()) == list(layout.batches())


FULL = """
import resource, sys
from many_models.errors import StoreFull
from many_models.partition import PartitionSettings
from many_models.source import lay_out
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    lay_out(sys.argv[1], ["store"], None, sys.argv[2], PartitionSettings(bucket=int(sys.argv[4])))
except StoreFull as full:
    print(full)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize(("size", "bucket"), [(100, 100), (1_500, 100_000)])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, size, bucket):
    pq.write_table(sales(50, 100), tmp_path / "t.parquet")
    ended = run(FULL, tmp_path / "t.parquet", tmp_path / "layout", size, bucket)
    assert "make room" in ended.stdout, ended.stderr
    assert list((tmp_path / "layout").iterdir()) == []


def laid(tmp_path: Path) -> Layout:
    return lay_out(sales(), "store", ["y", "ds"], tmp_path / "layout", SETTINGS)


def test_a_bucket_that_is_gone_or_cut_off_is_named(tmp_path):
    layout = laid(tmp_path)
    batch = next(layout.batches())
    file = Path(layout.folder, layout.place, batch.parts[0].partition("#")[0])
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-1], b"", b"PAR1"):
        file.write_bytes(content)
        with pytest.raises(CorruptStoreError, match=rf"{file.name}.*put the file back"):
            layout.read(batch)
    file.unlink()
    with pytest.raises(CorruptStoreError, match=rf"{file.name}.*put the file back"):
        layout.read(batch)
    file.write_bytes(whole)
    assert layout.read(batch).num_rows == batch.rows


FLIPS = """
import pickle, random, sys
from pathlib import Path
from many_models.errors import CorruptStoreError
layout, batch, file = pickle.loads(bytes.fromhex(sys.argv[1]))
whole, told = bytearray(file.read_bytes()), 0
expected = layout.read(batch)
chance = random.Random(0)
for place in chance.sample(range(len(whole)), 400):
    damaged = bytearray(whole)
    damaged[place] ^= 1 << chance.randrange(8)
    file.write_bytes(damaged)
    try:
        found = layout.read(batch)
    except CorruptStoreError:
        told += 1
    else:
        assert found.equals(expected), place
print("told", told)
"""


def test_a_flipped_bit_is_told_or_does_not_matter(tmp_path):
    import pickle

    layout = laid(tmp_path)
    batch = next(layout.batches())
    file = Path(layout.folder, layout.place, batch.parts[0].partition("#")[0])
    ended = run(FLIPS, pickle.dumps((layout, batch, file)).hex())
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.split()[1]) > 20


def test_buckets_that_change_places_are_told(tmp_path):
    layout = laid(tmp_path)
    first, second = sorted(Path(layout.folder, layout.place).iterdir())[:2]
    content = first.read_bytes(), second.read_bytes()
    second.write_bytes(content[0])
    first.write_bytes(content[1])
    with pytest.raises(CorruptStoreError, match=r"group store='s\d+': it has 0 rows, not 30"):
        layout.read(next(layout.batches()))


@pytest.mark.parametrize("harm", ["gone", "changed", "longer", "no longer Parquet", "another column"])
def test_a_source_that_stays_and_changes_is_named(tmp_path, harm):
    source = write_hive(sales(), tmp_path / "hive", ["store"])
    layout = lay_out(source, "store", ["y", "ds"], tmp_path / "layout", SETTINGS)
    batch = next(layout.batches())
    file = source / batch.parts[0]
    table = pq.read_table(file, partitioning=None)
    if harm == "gone":
        file.unlink()
    elif harm == "no longer Parquet":
        file.write_bytes(b"hello")
    elif harm == "changed":
        values = table.column("y").to_numpy().copy()
        values[7] += 1e-9
        pq.write_table(table.set_column(table.schema.get_field_index("y"), "y", pa.array(values)), file)
    elif harm == "longer":
        pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), file)
    else:
        pq.write_table(table.rename_columns(["ds", "z", "promo"]), file)
    with pytest.raises(DataError, match=f"{batch.groups[0].key[0]}.*(put the file back|begin a new run)"):
        layout.read(batch)
    # Other batches are as they were, and so is a source in another order.
    others = list(layout.batches())[1:]
    file = source / others[0].parts[0]
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.take(np.arange(len(table))[::-1]), file)
    assert [layout.read(other).num_rows for other in others] == [other.rows for other in others]


def test_a_damaged_index_is_told(tmp_path):
    layout = laid(tmp_path)
    index = Path(layout.folder, "groups.parquet")
    whole = index.read_bytes()
    expected = list(layout.batches())
    for content in (b"", whole[:100], whole[:-9], b"x" * 5000):
        index.write_bytes(content)
        with pytest.raises(CorruptStoreError, match=r"groups\.parquet"):
            open_layout(layout.folder)
    chance = random.Random(0)
    for place in chance.sample(range(len(whole)), 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        index.write_bytes(damaged)
        try:
            assert open_layout(layout.folder) == layout and list(layout.batches()) == expected
        except CorruptStoreError as failure:
            assert "groups.parquet" in str(failure)
    pq.write_table(pa.table({"a": [1]}), index)
    with pytest.raises(CorruptStoreError, match="no index"):
        open_layout(layout.folder)
    again = laid(tmp_path)
    assert [path.name for path in sorted(Path(layout.folder).iterdir())] == ["groups.parquet", again.place]


def test_an_index_of_a_newer_version_is_refused_and_left(tmp_path, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(group_index, "FORMAT", 99)
        layout = laid(tmp_path)
    with pytest.raises(NewerStoreError, match="upgrade"):
        open_layout(layout.folder)
    with pytest.raises(NewerStoreError, match="upgrade"):
        laid(tmp_path)
    assert sorted(path.name for path in Path(layout.folder).iterdir()) == ["groups.parquet", layout.place]
