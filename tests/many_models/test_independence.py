"""Under one prior what becomes of a group depends on its own rows alone: not on its neighbours, batches or workers."""

from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from many_models.protocols import digest_of
from many_models.runner import run
from many_models.settings import Settings
from many_models.store import Store
from tests.many_models import lives
from tests.many_models.lives import CHEAP, GOOD, ODD, Workshop, config, table, task

pytestmark = pytest.mark.filterwarnings("ignore::forecastml.errors.ForecastWarning")
EVERYONE = GOOD | ODD
#: One group, its good neighbours, and those that nobody likes to have.
CROWDS = ({"store 3": {}}, GOOD, {name: ODD[name] for name in ("empty", "one")}, {"ended": ODD["ended"]})
CASES = {
    "plain": ({}, CHEAP, 0),
    "stale ones skipped": ({"stale": "skip"}, CHEAP, 0),
    "stale ones filled": ({"stale": "common"}, CHEAP, 0),
    "judged by quantiles": ({"metric": "wql", "n_folds": 2}, CHEAP, 0),
    "pooled learners": ({"static": "region", "n_folds": 2}, (*CHEAP, "ridge", "light_gbm"), 0),
    "known covariates": ({"known": ("price", "offer"), "static": "region", "n_folds": 2}, (*CHEAP, "ridge"), 6),
}


def different(found, whole):
    """What is not equal to the last bit, by group."""
    return {
        (name, part): (outcome[part], whole[name][part])
        for name, outcome in found.items()
        for part in ("result", "forecast", "model")
        if outcome[part] != whole[name][part]
    }


@pytest.mark.parametrize("case", CASES)
def test_a_group_does_not_depend_on_its_neighbours(case, tmp_path):
    options, allow, ahead = CASES[case]
    workshop = Workshop(tmp_path, task(**options), config(allow), table(GOOD, ahead))
    assert workshop.prior.splitter.origins == "common"
    rows = table(EVERYONE, ahead)
    whole = workshop.done(rows)

    states = {name: outcome["result"]["state"].strip("'") for name, outcome in whole.items()}
    assert states.pop("double") == "failed"
    assert states.pop("empty") == "fallback"
    assert states.pop("ended") == ("skipped" if options.get("stale") == "skip" else "ok")
    assert set(states.values()) == {"ok"}
    assert "id=double" in whole["double"]["result"]["error"]

    assert not different(workshop.done(rows, [1, 5]), whole)
    for crowd in CROWDS if allow == CHEAP else CROWDS[:1]:
        assert not different(workshop.done(table(crowd, ahead)), whole), crowd


@pytest.fixture(scope="module")
def own_origins(tmp_path_factory):
    """A workshop whose sample ends at many dates, so that each series is cut from its own end; and the whole."""
    sample = {"a": {}, "b": ODD["ended"], "c": {"end": "2023-01-01"}, "d": {"end": "2023-08-01"}, "e": {"rows": 30}}
    workshop = Workshop(tmp_path_factory.mktemp("own"), task(), config(), table(sample))
    assert workshop.prior.splitter.origins == "own"
    return workshop, workshop.done(table(EVERYONE))


@hypothesis.settings(max_examples=5, deadline=None, derandomize=True)
@hypothesis.given(
    chosen=strategies.sets(strategies.sampled_from(sorted(EVERYONE)), min_size=1, max_size=8),
    sizes=strategies.lists(strategies.integers(1, 4), max_size=4),
    seed=strategies.integers(0, 99),
)
def test_no_choice_of_groups_no_cut_and_no_order_of_rows_changes_a_bit(own_origins, chosen, sizes, seed):
    workshop, whole = own_origins
    rows = table({name: EVERYONE[name] for name in sorted(chosen)}).sample(frac=1, random_state=seed)
    assert not different(workshop.done(rows, sizes), whole)


def test_one_worker_or_two_small_batches_or_large_give_the_same_store(tmp_path):
    names = {digest_of((name,)) for name in EVERYONE}
    for folder, settings in {
        "one": Settings(workers=1, max_failed=1.0),
        "two": Settings(workers=2, max_failed=1.0, batch_groups=3),
    }.items():
        summary = run(table(EVERYONE), "id", task(), config(), tmp_path / folder, settings)
        assert summary.groups == len(names)
    assert lives.served(tmp_path / "one") == lives.served(tmp_path / "two")
    first, second = lives.results(tmp_path / "one"), lives.results(tmp_path / "two")
    assert {n: lives.told(r) for n, r in first.items()} == {n: lives.told(r) for n, r in second.items()}
    assert _prior(tmp_path / "one") == _prior(tmp_path / "two")


def _prior(path: Path) -> str:
    """What the groups of the first run shared."""
    from forecastml.prior_storage import unpack_prior

    with Store.open(path) as store:
        return unpack_prior(store.get("prior-1")).fingerprint
