"""Files of a store: whole or not there, checked when read, never outside of the store."""

import errno
import hashlib
import os
import re
import resource
import signal
from pathlib import Path

import pytest

from many_models import files
from many_models.errors import CorruptStoreError, StoreError, StoreFull
from many_models.protocols import File
from tests.many_models.stores import finished, script


def entries(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


def test_what_is_written_is_read_and_named_by_its_hash(tmp_path):
    content = os.urandom(3_000_000)
    file = files.write(tmp_path, "shards", content, ".tar.gz")
    sha256 = hashlib.sha256(content).hexdigest()
    assert file == File(f"shards/{sha256[:2]}/{sha256}.tar.gz", sha256, len(content))
    assert files.read(tmp_path, file) == content
    files.check(tmp_path, file)
    assert entries(tmp_path) == [file.name]
    assert files.read(tmp_path, files.write(tmp_path, "documents", b"")) == b""


def test_the_same_content_is_there_once_and_counts_as_new(tmp_path):
    file = files.write(tmp_path, "shards", b"model")
    os.utime(tmp_path / file.name, (1, 1))
    assert files.write(tmp_path, "shards", b"model") == file
    assert (tmp_path / file.name).stat().st_mtime > 1
    assert entries(tmp_path) == [file.name]


@pytest.mark.parametrize("damage", [b"", b"mode", b"modem", b"model and more"])
def test_a_damaged_file_is_told_and_writing_it_again_heals_it(tmp_path, damage):
    file = files.write(tmp_path, "shards", b"model")
    (tmp_path / file.name).write_bytes(damage)
    with pytest.raises(CorruptStoreError, match=rf"{file.sha256}.*fsck"):
        files.read(tmp_path, file)
    assert files.write(tmp_path, "shards", b"model") == file
    assert files.read(tmp_path, file) == b"model"


def test_every_flipped_byte_and_every_length_is_told(tmp_path):
    content = b"a small model"
    file = files.write(tmp_path, "forecasts", content)
    for i in range(len(content)):
        for damaged in (content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :], content[:i]):
            (tmp_path / file.name).write_bytes(damaged)
            with pytest.raises(CorruptStoreError):
                files.read(tmp_path, file)


def test_swapped_files_are_told(tmp_path):
    one, two = files.write(tmp_path, "shards", b"one"), files.write(tmp_path, "shards", b"two")
    os.rename(tmp_path / one.name, tmp_path / "aside")
    os.rename(tmp_path / two.name, tmp_path / one.name)
    os.rename(tmp_path / "aside", tmp_path / two.name)
    for file in (one, two):
        with pytest.raises(CorruptStoreError, match="not what was written"):
            files.read(tmp_path, file)


def test_a_missing_file_says_what_to_do(tmp_path):
    file = files.write(tmp_path, "shards", b"model")
    (tmp_path / file.name).unlink()
    for call in (files.read, files.check):
        with pytest.raises(CorruptStoreError, match=r"is missing.*fsck --repair"):
            call(tmp_path, file)
    assert files.remove(tmp_path, file.name) == 0


SECRET = hashlib.sha256(b"secret").hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../secret",
        f"shards/../../{SECRET}",
        f"shards/{SECRET[:2]}/../{SECRET}",
        f"data/{SECRET[:2]}/{SECRET}",
        f"shards/{SECRET[:2]}/{SECRET}/..",
        f"shards/{SECRET[:2]}/{SECRET}\n",
        f"shards/{SECRET[:2]}/{SECRET}\0",
        f"shards/00/{SECRET}",
        "",
    ],
)
def test_no_name_leads_out_of_the_store(tmp_path, name):
    root = tmp_path / "store"
    files.write(root.parent, "shards", b"secret")
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(CorruptStoreError, match=r"no name of a file"):
        files.read(root, File(name, SECRET, 6))


def test_a_name_that_is_not_its_own_hash_is_refused(tmp_path):
    file = files.write(tmp_path, "shards", b"model")
    with pytest.raises(CorruptStoreError, match="does not carry its own hash"):
        files.read(tmp_path, File(file.name, SECRET, 5))


@pytest.mark.parametrize(("kind", "suffix"), [("data", ""), ("../x", ""), ("shards", "/../x"), ("shards", ".A B")])
def test_no_kind_or_ending_leads_out_of_the_store(tmp_path, kind, suffix):
    with pytest.raises(StoreError, match="cannot be of kind"):
        files.write(tmp_path, kind, b"model", suffix)
    assert entries(tmp_path) == []


def test_links_are_refused_in_place_of_a_file(tmp_path):
    root, outside = tmp_path / "store", tmp_path / "outside"
    root.mkdir()
    outside.write_bytes(b"model")
    file = files.write(root, "shards", b"model")
    (root / file.name).unlink()
    (root / file.name).symlink_to(outside)
    with pytest.raises(CorruptStoreError, match="is a link"):
        files.read(root, file)
    # Writing puts a plain file there and leaves alone what the link led to.
    files.write(root, "shards", b"model")
    assert not (root / file.name).is_symlink()
    assert outside.read_bytes() == b"model"


@pytest.mark.parametrize("level", ["shards", "shards/ab", "tmp"])
def test_links_are_refused_in_place_of_a_folder(tmp_path, level):
    root, outside = tmp_path / "store", tmp_path / "outside"
    content = next(f"model {i}".encode() for i in range(10_000) if _hash(i).startswith("ab"))
    outside.mkdir()
    (root / level).parent.mkdir(parents=True)
    (root / level).symlink_to(outside)
    with pytest.raises(CorruptStoreError, match=f"{level} is a link"):
        files.write(root, "shards", content)
    assert list(outside.iterdir()) == []


def _hash(i: int) -> str:
    return hashlib.sha256(f"model {i}".encode()).hexdigest()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, number):
    real = os.write

    def write(descriptor, content):
        if len(content) > 5:
            return real(descriptor, content[:5])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StoreFull, match=r"no room for 10 bytes .* resume"):
            files.write(tmp_path, "shards", b"0123456789")
    assert entries(tmp_path) == []
    assert files.read(tmp_path, files.write(tmp_path, "shards", b"0123456789")) == b"0123456789"


def test_a_full_disk_at_fsync_is_told_too(tmp_path, monkeypatch):
    files.write(tmp_path, "shards", b"older")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space")))
    with pytest.raises(StoreFull):
        files.write(tmp_path, "shards", b"newer")
    assert len(entries(tmp_path)) == 1


def test_a_disk_that_gives_back_other_bytes_is_told(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, bytes(len(content))))
    with pytest.raises(CorruptStoreError, match="does not give back"):
        files.write(tmp_path, "shards", b"model")
    assert entries(tmp_path) == []


def test_a_quota_of_the_system_pauses_and_goes_on(tmp_path):
    # In a process of its own: a limit on file sizes cannot be lifted again here.
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom many_models import files\n"
        "from many_models.errors import StoreFull\nroot = Path(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try:\n    files.write(root, 'shards', bytes(200_000))\nexcept StoreFull:\n    print('full')\n"
        "print(len(list((root / 'tmp').iterdir())))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "print(len(files.read(root, files.write(root, 'shards', bytes(200_000)))))"
    )
    assert finished(script(code, tmp_path)).split() == ["full", "0", "200000"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_sweeping_takes_from_the_dead_and_leaves_the_living(tmp_path):
    late = files.write(tmp_path, "shards", b"late")  # its folder is there then, so the first fsync is that of the file
    (tmp_path / late.name).unlink()
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom many_models import files\n"
        "real = os.fsync\ndef wait(d):\n    print('writing', flush=True)\n    sys.stdin.readline()\n    real(d)\n"
        "os.fsync = wait\nprint(files.write(Path(sys.argv[1]), 'shards', b'late').name)"
    )
    living, dying = script(code, tmp_path), script(code, tmp_path)
    for process in (living, dying):
        assert process.stdout.readline() == "writing\n"
    dying.kill()
    dying.communicate()
    assert len(list((tmp_path / "tmp").iterdir())) == 2
    assert files.sweep(tmp_path) == 1
    assert files.sweep(tmp_path) == 0
    assert late.name in finished(living, "\n" * 9)
    assert files.read(tmp_path, late) == b"late"


def test_a_temporary_file_that_was_swept_away_is_written_again(tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def lose(descriptor):
        real(descriptor)
        calls.append(descriptor)
        if len(calls) == 1:
            next((tmp_path / "tmp").glob("*.part")).unlink()

    file = files.write(tmp_path, "shards", b"model")
    files.remove(tmp_path, file.name)
    monkeypatch.setattr(os, "fsync", lose)
    assert files.write(tmp_path, "shards", b"model") == file
    assert len(calls) > 2
    assert files.read(tmp_path, file) == b"model"


@pytest.mark.parametrize(("point", "written"), [("after_write", 1), ("after_write:3", 3), ("elsewhere", 5)])
def test_a_worker_dies_where_a_test_asks_for_it(tmp_path, point, written):
    code = (
        "import sys\nfrom pathlib import Path\nfrom many_models import files\n"
        "for i in range(5):\n    files.write(Path(sys.argv[1]), 'shards', b'%d' % i)"
    )
    process = script(code, tmp_path, MM_CRASH_AT=point)
    process.communicate(timeout=60)
    assert process.returncode == (0 if point == "elsewhere" else -signal.SIGKILL)
    assert len(entries(tmp_path)) == written


def test_the_listing_names_plain_files_and_links_alike(tmp_path):
    file = files.write(tmp_path, "shards", b"model")
    (tmp_path / "shards" / "link").symlink_to("/etc")
    (tmp_path / "forecasts").symlink_to("/etc")
    assert sorted(name for name, _ in files.listing(tmp_path)) == sorted([file.name, "shards/link", "forecasts"])


def test_room_is_what_the_disk_has_left(tmp_path):
    state = os.statvfs(tmp_path)
    assert files.room(tmp_path) == pytest.approx(state.f_bavail * state.f_frsize, rel=0.1)


def test_a_file_of_another_user_says_so(tmp_path, monkeypatch):
    file = files.write(tmp_path, "shards", b"model")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(StoreError, match=re.escape("(Permission denied)")):
        files.read(tmp_path, file)
