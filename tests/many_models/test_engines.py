"""A whole run on each engine gives, to the last bit, what it gives on this machine."""

import pandas as pd
import pytest

import forecastml as fm
from many_models.executors import ENGINES
from many_models.runner import run
from many_models.settings import Settings
from tests.many_models.test_executors import LIBRARIES
from tests.many_models.test_faults import GOOD, TASK, forecasts, results, table

CONFIG = fm.Config.preset("fast", allow=["naive", "average", "theta"])


@pytest.mark.cluster
@pytest.mark.parametrize("name", [name for name in ENGINES if name != "local"])
def test_a_run_gives_the_same_on_every_engine(name, tmp_path):
    pytest.importorskip(LIBRARIES[name], reason=f"engine {name} was not tested")
    source = pd.concat([table(GOOD), table(["twice"]), table(["twice"])])
    for engine in ("local", name):
        settings = Settings(workers=2, engine=engine, batch_groups=4, max_failed=0.5, group_seconds=60)
        summary = run(source, "id", TASK, CONFIG, tmp_path / engine, settings)
        assert summary.counts["ok"] == len(GOOD)
        assert results(tmp_path / engine)["twice"]["state"] == "failed"
    assert forecasts(tmp_path / name) == forecasts(tmp_path / "local")
