"""Stores that tests of outputs read; those that change one take a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.many_models import shops


@pytest.fixture(scope="session")
def shop_store(tmp_path_factory) -> Path:
    """A store of the six shops that can be forecast, and one that failed."""
    return shops.made(tmp_path_factory.mktemp("shops") / "store", shops.table())


@pytest.fixture(scope="session")
def priced_store(tmp_path_factory) -> Path:
    """A store of models that need the price of the days to forecast."""
    rows = shops.table(bad=())
    what = shops.task(known="price")
    return shops.made(tmp_path_factory.mktemp("priced") / "store", rows, what=what, allow=("ridge",))


@pytest.fixture
def copied(tmp_path) -> Callable[[Path], Path]:
    """`copied(store)` -> a copy to change."""
    return lambda store: Path(shutil.copytree(store, tmp_path / "store"))
