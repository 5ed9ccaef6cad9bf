"""What all tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], tuple[Path, dict]]:
    """`shared_data(name)` -> (Parquet file, its entry in datasets.json); skips where the shared sets are absent."""

    def find(name: str) -> tuple[Path, dict]:
        path = SHARED / f"{name}.parquet"
        if not path.is_file():
            pytest.skip(f"the public data sets are not here: {path.resolve()} does not exist")
        return path.resolve(), json.loads((SHARED / "datasets.json").read_text(encoding="utf-8"))[name]

    return find
