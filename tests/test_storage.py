"""Models on disk: equal after loading, never a pickle, and every damage a typed error."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecastml as fm
from forecastml.archive import unpacked
from forecastml.errors import ConfigError, CorruptModelError, ModelFormatError, NewerFormatError
from forecastml.storage import pack, unpack
from tests.tables import daily_with_price, monthly

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def model():
    history, _ = daily_with_price()
    return fm.fit(history, fm.Forecasting(horizon=7, series="store", known="price"), "balanced")


@pytest.fixture
def saved(model, tmp_path):
    return model.save(tmp_path / "model")


def test_a_loaded_model_is_equal(model, saved):
    _, future = daily_with_price()
    loaded = fm.load(saved)
    assert loaded.forecast(future).equals(model.forecast(future))
    assert loaded.leaderboard().equals(model.leaderboard())
    assert loaded.status().equals(model.status())
    assert loaded.findings == model.findings
    assert loaded.task == model.task


def test_an_archive_holds_what_a_folder_holds(model, saved):
    _, future = daily_with_price()
    content = pack(model)
    on_disk = {path.name: path.read_bytes() for path in saved.iterdir() if path.name != "manifest.json"}
    assert unpacked(content, "here") == on_disk
    assert pack(unpack(content)) == content == pack(fm.load(saved))
    assert unpack(content).forecast(future).equals(model.forecast(future))
    assert unpack(content).groups().equals(fm.load(saved).groups())


def test_an_archive_that_was_damaged_is_named(model):
    content = pack(model)
    hurt = content.replace(b"seasons", b"reasons", 1)
    assert hurt != content
    with pytest.raises(CorruptModelError, match=r"shard 7: \w+\.json was altered or damaged"):
        unpack(hurt, "shard 7")
    with pytest.raises(CorruptModelError, match="shard 7: the archive cannot be read"):
        unpack(content[:-30], "shard 7")


def test_saving_again_replaces_the_model(model, saved):
    assert model.save(saved) == saved
    assert fm.load(saved).task == model.task
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_never_overwritten(model, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(ConfigError, match="not a saved model"):
        model.save(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_loading_imports_no_pickle_and_no_training_library(saved):
    code = (
        "import sys, forecastml\n"
        f"forecastml.load({str(saved)!r})\n"
        "print([m for m in ('cloudpickle', 'dill', 'sklearn', 'statsmodels') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_file_is_guarded_by_its_hash(saved):
    for path in sorted(saved.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ModelFormatError):
            fm.load(saved)
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelFormatError):
            fm.load(saved)
        path.unlink()
        with pytest.raises(ModelFormatError):
            fm.load(saved)
        path.write_bytes(content)
    fm.load(saved)


def test_a_newer_format_says_upgrade(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(NewerFormatError, match="upgrade forecastml"):
        fm.load(saved)


def test_a_manifest_cannot_lead_outside_the_folder(saved):
    secret = saved.parent / "secret.json"
    secret.write_text("{}")
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"]["../secret.json"] = "0"
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptModelError, match="plain file name"):
        fm.load(saved)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelFormatError, match="not a saved model"):
        fm.load(tmp_path)


def test_a_moved_model_still_loads(saved, tmp_path):
    moved = shutil.move(str(saved), str(tmp_path / "elsewhere"))
    assert len(fm.load(moved).panel) == 3


def test_statistical_models_are_small(tmp_path):
    model = fm.fit(monthly(100), fm.Forecasting(horizon=12, series="unique_id"), "fast")
    path = model.save(tmp_path / "model")
    assert sum(file.stat().st_size for file in path.iterdir()) < 10_000 * 100


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("model_*")), ids=lambda path: path.name)
def test_models_of_every_released_format_still_forecast_the_same(folder):
    """The forecasts beside each golden model were written by the version that saved it."""
    model = fm.load(folder / "model")
    expected = pd.read_csv(folder / "forecast.csv", dtype={"unique_id": str}, parse_dates=["ds"])
    future = pd.read_csv(folder / "future.csv", dtype={"unique_id": str}, parse_dates=["ds"])
    forecast = model.forecast(future)
    assert forecast["unique_id"].tolist() == expected["unique_id"].tolist()
    assert (forecast["ds"] == expected["ds"]).all()
    assert np.allclose(forecast.iloc[:, 2:], expected.iloc[:, 2:], rtol=1e-9)


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("rows_*")), ids=lambda path: path.name)
def test_models_of_rows_of_every_released_format_still_predict_the_same(folder):
    found = fm.load(folder / "model").predict(pd.read_csv(folder / "rows.csv"))
    expected = pd.read_csv(folder / "prediction.csv")
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    assert np.allclose(found.iloc[:, 1:], expected.iloc[:, 1:], rtol=1e-9)


def test_there_are_golden_models():
    assert list(GOLDEN.glob("model_*")) and list(GOLDEN.glob("rows_*")), "golden models are missing from the checkout"
