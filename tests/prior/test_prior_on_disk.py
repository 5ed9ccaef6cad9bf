"""A prior on disk: equal after reading, the same bytes for the same content, and every damage a typed error."""

import io
import json
import random
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine

import forecastml as fm
from forecastml.archive import ARRAYS, MANIFEST, npz, packed, unpacked, verified
from forecastml.errors import ConfigError, CorruptModelError, ModelFormatError, NewerFormatError
from forecastml.learners.registry import unregister
from forecastml.prior_storage import pack_prior, unpack_prior
from forecastml.storage import pack, unpack
from tests.search.toys import Shift
from tests.tables import daily_with_price, monthly

TASK = fm.Forecasting(horizon=6, series="unique_id")
QUICK = fm.Config.preset("fast", allow=("seasonal_naive", "drift", "average"))


def of_series():
    return monthly(5), TASK, fm.Config.preset("fast")


def of_series_with_covariates():
    history, _ = daily_with_price(days=100)
    history["mood"] = np.where(history.index % 3, "glad", "sad")
    task = fm.Forecasting(horizon=7, series="store", group="store", known="price", past="mood", n_folds=2)
    return (
        history,
        task,
        fm.Config.preset("fast", allow=("seasonal_naive", "ridge(transform=scale)", "light_gbm(transform=scale)")),
    )


def of_numbers():
    table = load_diabetes(as_frame=True).frame
    table["clinic"] = np.where(np.arange(len(table)) % 3 == 0, "north", "south")
    return table, fm.Regression(target="target", group="clinic"), fm.Config.preset("fast")


def of_labels():
    table = load_wine(as_frame=True).frame
    table["farm"] = np.where(np.arange(len(table)) % 2 == 0, "north", "south")
    return table.assign(target=table["target"] > 0), fm.Classification(target="target", group="farm"), "fast"


@pytest.fixture(scope="module")
def prior():
    return fm.prepare(monthly(4), TASK, QUICK)


@pytest.fixture(scope="module")
def archive(prior):
    return pack_prior(prior)


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as read:
        return {name: read.read(name) for name in read.namelist()}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as write:
        for name, content in files.items():
            write.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("make", [of_series, of_series_with_covariates, of_numbers, of_labels])
def test_a_prior_that_was_read_again_gives_equal_models(make):
    table, task, config = make()
    prior = fm.prepare(table, task, config)
    content = pack_prior(prior)
    again = unpack_prior(content)
    assert again.fingerprint == prior.fingerprint
    assert pack_prior(again) == content
    for name in ("task", "splitter", "seasons", "candidates", "weights", "shrinkage", "log"):
        assert repr(getattr(again, name)) == repr(getattr(prior, name)), name
    assert again.like.signature == prior.like.signature
    assert {name: len(folds) for name, (folds, _) in again.shared.items()} == {
        name: len(folds) for name, (folds, _) in prior.shared.items()
    }
    one, two = fm.fit(table, task, config, prior), fm.fit(table, task, config, again)
    assert one.groups().equals(two.groups())
    files, others = unpacked(pack(one), "one"), unpacked(pack(two), "two")
    assert {n for n in files if files[n] != others[n]} <= {"model.json"}, "the seconds of the leaderboard differ"


def test_pooled_learners_and_categories_come_back():
    table, task, config = of_series_with_covariates()
    prior = fm.prepare(table, task, config)
    again = unpack_prior(pack_prior(prior))
    assert set(again.shared) == {"ridge(transform=scale)", "light_gbm(transform=scale)"}
    assert again.like.categories == prior.like.categories
    assert again.like.categories.keys() == {"mood"}
    assert again.like.newest == prior.like.newest == table["ds"].max().toordinal() - pd.Timestamp(0).toordinal()


def test_a_prior_holds_no_value_of_its_sample(prior, archive):
    assert len(prior.like.target) == len(prior.like.known) == len(prior.like.past) == 0
    values = json.loads(members(archive)["prior.json"])
    assert values["like"]["keys"] == []
    with np.load(io.BytesIO(members(archive)[ARRAYS])) as arrays:
        assert arrays["panel.target"].shape == (0,)


def test_a_learner_without_native_state_is_refused_by_name():
    learner = Shift("homemade", scope="pooled", native_state=False)
    fm.register(learner)
    try:
        config = fm.Config.preset("fast", allow=("average", "homemade"))
        prior = fm.prepare(monthly(3), TASK, config)
        assert set(prior.shared) == {"homemade(by=0.0)"}, "else there is nothing to refuse"
        with pytest.raises(ConfigError, match=r"homemade.*cannot be saved; block it"):
            pack_prior(prior)
    finally:
        unregister("homemade")


def test_the_same_content_has_the_same_bytes(prior, archive):
    assert pack_prior(prior) == archive
    assert packed({"b": b"2", "a": b"1"}) == packed({"a": b"1", "b": b"2"})
    model = fm.fit(monthly(4), TASK, QUICK, prior)
    assert pack(model) == pack(unpack(pack(model)))


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_no_flipped_bit_passes(archive, part):
    """Every read gives the prior or a typed error; what is read in spite of a flip is what was written."""
    rng, files = random.Random(part), members(archive)
    seen = 0
    for place in sorted(rng.sample(range(len(archive)), 250)) + list(range(len(archive) - 400 + part, len(archive), 4)):
        hurt = bytearray(archive)
        hurt[place] ^= 1 << rng.randrange(8)
        try:
            unpack_prior(bytes(hurt))
        except ModelFormatError:
            seen += 1
        else:
            assert unpacked(bytes(hurt), "x") == {name: files[name] for name in files if name != MANIFEST}
    assert seen > 200


def test_no_truncated_archive_passes(archive):
    for size in [*range(0, len(archive), 997), *range(len(archive) - 60, len(archive))]:
        with pytest.raises(CorruptModelError, match="the prior"):
            unpack_prior(archive[:size])


def test_a_newer_format_says_upgrade(archive):
    files = members(archive)
    manifest = json.loads(files[MANIFEST])
    newer = zipped({**files, MANIFEST: json.dumps({**manifest, "format": 99}).encode()})
    with pytest.raises(NewerFormatError, match="upgrade forecastml"):
        unpack_prior(newer)


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{}", b'{"format": "x", "files": {}}', b'{"format": 1, "files": 3}', b"\xff\xfe"]
)
def test_a_manifest_that_is_none_is_refused(manifest):
    with pytest.raises(CorruptModelError):
        unpack_prior(zipped({MANIFEST: manifest}))


def test_only_members_that_are_stored_as_they_are_come_in(archive):
    with pytest.raises(CorruptModelError, match=r"\(is compressed|is compressed"):
        unpack_prior(zipped(members(archive), zipfile.ZIP_DEFLATED))
    files = members(archive)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as write:
        for name, content in files.items():
            method = zipfile.ZIP_BZIP2 if name == ARRAYS else zipfile.ZIP_STORED
            write.writestr(name, content, method)
    with pytest.raises(CorruptModelError, match=f"{ARRAYS} is compressed"):
        unpack_prior(buffer.getvalue())


@pytest.mark.parametrize("name", ["../secret", "/etc/secret", "a/b", "..", ".", "", "a\\b"])
def test_only_plain_names_are_read(archive, name):
    files = members(archive)
    manifest = json.loads(files[MANIFEST])
    manifest["files"][name] = "0"
    asked = []

    def read(wanted):
        asked.append(wanted)
        return {**files, MANIFEST: json.dumps(manifest).encode()}[wanted]

    with pytest.raises(CorruptModelError, match="plain file name"):
        verified("here", read)
    assert name not in asked


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prior.json", b"{}"),
        ("prior.json", b"no json"),
        ("prior.json", b"[1]"),
        (ARRAYS, b"no arrays"),
        (ARRAYS, b"PK\x03\x04 half a zip"),
        (ARRAYS, b""),
        (ARRAYS, npz({"x": np.ones(3)})),
    ],
)
def test_content_that_is_no_prior_is_refused_though_its_hash_is_right(archive, name, content):
    files = {n: c for n, c in members(archive).items() if n != MANIFEST}
    with pytest.raises(CorruptModelError, match="the content cannot be read"):
        unpack_prior(packed({**files, name: content}))


def test_a_file_that_the_archive_lacks_is_named(archive):
    files = members(archive)
    with pytest.raises(CorruptModelError, match=r"arrays\.npz is missing"):
        unpack_prior(zipped({name: files[name] for name in files if name != ARRAYS}))


def test_arrays_of_objects_are_never_read(archive):
    buffer = io.BytesIO()
    np.savez(buffer, **{"panel.target": np.array([{"a": 1}], dtype=object)})
    files = {n: c for n, c in members(archive).items() if n != MANIFEST}
    with pytest.raises(CorruptModelError):
        unpack_prior(packed({**files, ARRAYS: buffer.getvalue()}))


def test_the_fingerprint_tells_what_differs(prior):
    others = [
        replace(prior, shrinkage=prior.shrinkage + 0.1),
        replace(prior, cold=prior.cold + 1),
        replace(prior, weights={**prior.weights, "drift": 0.5}),
        replace(prior, seasons=(3,)),
        replace(prior, like=replace(prior.like, newest=7)),
        replace(prior, pool=replace(prior.pool, ratio=9.0)),
        replace(prior, splitter=replace(prior.splitter, n_folds=1)),
        replace(prior, candidates=prior.candidates[:1]),
    ]
    assert len({prior.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1
    assert replace(prior, log=()).fingerprint == prior.fingerprint
