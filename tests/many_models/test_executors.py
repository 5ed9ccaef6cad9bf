"""Every engine keeps the same promises: the suite runs over each that is installed."""

import importlib
import itertools
import os
import signal
import sys
import threading
import time
import uuid
import warnings
from functools import partial

import pytest

from forecastml.errors import ConfigError, MissingExtra
from many_models import executors
from many_models.errors import StoreFull
from many_models.executors import ENGINES, executor
from many_models.executors.local import LocalExecutor
from many_models.protocols import OK, Limits, Lost
from many_models.supervision import Supervised
from tests.many_models import poison
from tests.many_models.processes import gone, with_words
from tests.many_models.workloads import (
    batch_of,
    doubled,
    fit,
    forecast,
    full,
    long_call,
    lost,
    quick_then_long,
    refuses,
    sleepy,
    staggered,
    suicidal,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes through /proc")
LIBRARIES = {"local": "many_models", "ray": "ray", "dask": "distributed", "spark": "pyspark"}


def engine(request):
    name = request.param
    try:
        importlib.import_module(LIBRARIES[name])
    except ImportError as missing:
        pytest.skip(f"engine {name} was not tested: {missing}")
    return name


@pytest.fixture(
    scope="module",
    params=[name if name == "local" else pytest.param(name, marks=pytest.mark.cluster) for name in ENGINES],
)
def cluster(request):
    """An engine of two workers, begun once for the module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with executor(engine(request), 2) as begun:
            yield begun


def test_every_item_comes_back_once(cluster):
    assert sorted(cluster.map(doubled, range(10))) == [(i, 2 * i) for i in range(10)]


def test_nothing_to_do_is_done(cluster):
    assert list(cluster.map(doubled, [])) == []


def test_results_come_as_they_finish(cluster):
    order = [item for item, _ in cluster.map(staggered, range(8))]
    assert sorted(order) == list(range(8))
    assert order.index(0) >= 3


def test_a_raise_is_a_value(cluster, capfd):
    found = dict(cluster.map(refuses, range(6)))
    for item, result in found.items():
        if item % 3:
            assert result == item
        else:
            assert isinstance(result, Lost)
            assert result.reason == "exception"
            assert f"not {item}" in result.details["error"]
    assert capfd.readouterr().out == ""


def test_items_are_drawn_as_they_are_needed(cluster):
    drawn = itertools.count()
    endless = ((next(drawn), i)[1] for i in itertools.count())
    results = cluster.map(doubled, endless)
    for taken in range(1, 8):
        next(results)
        # At most two for each worker beyond those that were handed out.
        assert next(drawn) <= 2 * taken + 2 * cluster.workers
    results.close()


def test_fifty_short_items_take_about_as_long_as_they_are(cluster):
    list(cluster.map(sleepy, range(4)))
    began = time.monotonic()
    assert sorted(item for item, _ in cluster.map(sleepy, range(50))) == list(range(50))
    assert time.monotonic() - began < 15


def test_a_full_disk_pauses_the_run_after_what_runs(cluster):
    found, drawn = [], []
    items = (drawn.append(i) or i for i in range(1000))
    with pytest.raises(StoreFull, match="no room on the disk"):
        for item, _ in cluster.map(full, items):
            found.append(item)
    assert {0, 1} <= set(found)
    assert len(drawn) < 20


def test_poison_costs_only_itself(cluster):
    bred = f"breeds {uuid.uuid4().hex}"
    reasons = {bred if kind == "breeds" else kind: reason for kind, reason in poison.REASONS.items()}
    kinds = [*reasons, "floods", "is not a number"]
    batches = [batch_of(f"good {kind}", kind, f"fine {kind}") for kind in kinds]
    found = {}
    # Little time only for what takes all it gets: the machine may be busy.
    for endless, seconds in ((True, 0.5), (False, 30.0)):
        mapped = Supervised(fit, Limits(seconds=seconds, memory=700 * 2**20, attempts=1), lost)
        some = [batch for kind, batch in zip(kinds, batches, strict=True) if (kind in ("hangs", bred)) == endless]
        for _, receipts in cluster.map(mapped, some):
            assert not isinstance(receipts, Lost), receipts
            for receipt in receipts:
                found.update({result.digest: result for result in receipt.results})
    for kind, batch in zip(kinds, batches, strict=True):
        good, guilty, fine = (found[group.digest] for group in batch.groups)
        assert (good.state, good.loss, fine.state) == (OK, 5 + len(kind), OK)
        assert guilty.reason == reasons.get(kind, "")
    assert gone(with_words(bred)) == []


def test_one_worker_gives_the_same_bits_as_two(cluster):
    two = dict(cluster.map(forecast, range(6)))
    with executor("local", 1) as single:
        assert dict(single.map(forecast, range(6))) == two


def begun_by(mark):
    return [int(line) for line in mark.read_text().split()] if mark.exists() else []


def two_run(mark):
    until = time.monotonic() + 60
    while len(begun_by(mark)) < 2 or len(with_words(str(mark))) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    return [*begun_by(mark), *with_words(str(mark))]


def test_cancel_ends_the_map_and_leaves_no_process(cluster, tmp_path):
    mark, running = tmp_path / "cancelled", []

    def cancel():
        running.extend(two_run(mark))
        cluster.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    began = time.monotonic()
    found = list(cluster.map(partial(long_call, str(mark)), range(100)))
    thread.join()
    assert found == []
    assert time.monotonic() - began < 60
    assert len(running) >= 4
    assert gone(running, 15) == []
    # The engine is good for another map.
    assert sorted(cluster.map(doubled, range(3))) == [(0, 0), (1, 2), (2, 4)]


def test_a_map_that_is_left_leaves_no_process(cluster, tmp_path):
    mark = tmp_path / "left"
    results = cluster.map(partial(quick_then_long, str(mark)), range(100))
    assert next(results) == (0, 0)
    running = two_run(mark)
    results.close()
    assert gone(running, 15) == []


def test_what_the_iterator_raises_goes_up(cluster):
    def broken():
        yield 1
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        list(cluster.map(doubled, broken()))


@pytest.mark.cluster
def test_a_worker_that_dies_costs_its_item(cluster):
    """Not its child: the engine's own process."""
    if isinstance(cluster, LocalExecutor):
        pytest.skip("its workers are threads of the driver")
    found = dict(cluster.map(suicidal, range(4)))
    assert isinstance(found[1], Lost)
    assert found[1].reason == "lost"
    assert sorted(item for item, result in found.items() if result == item) == [0, 2, 3]
    assert sorted(cluster.map(doubled, range(3))) == [(0, 0), (1, 2), (2, 4)]


def test_ctrl_c_stops_all(tmp_path):
    mark = tmp_path / "stopped"
    raised = []

    def interrupt():
        raised.extend(two_run(mark))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with executor("local", 2) as local, pytest.raises(KeyboardInterrupt):
        list(local.map(partial(long_call, str(mark)), range(100)))
    thread.join()
    assert gone(raised) == []


def test_an_unknown_engine_or_option_is_refused():
    with pytest.raises(ConfigError, match="there is no engine 'mesos'; choose one of local, ray, dask, spark"):
        executor("mesos")
    with pytest.raises(ConfigError, match="0 workers"):
        executor("local", 0)
    with pytest.raises(ConfigError, match="engine local has no option address; its options: none"):
        executor("local", 2, address="x")


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "local"])
def test_an_engine_that_is_not_installed_names_its_extra(name, monkeypatch):
    module = "pyspark.sql" if name == "spark" else LIBRARIES[name]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"forecastml\[{name}\]"):
        executor(name, 2)


def test_naming_the_engines_loads_none():
    assert executors.ENGINES.keys() == LIBRARIES.keys()
