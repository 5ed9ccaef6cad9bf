"""Strategies are functions of the log."""

from __future__ import annotations

import numpy as np
import pytest

from forecastml.learners.ranges import Range
from forecastml.protocols import Candidate
from forecastml.search.strategy import LocalSearch, Portfolio
from forecastml.search.trial import FAILED, OK, SKIPPED, Trial

SPACE = {"leaves": Range(4, 256, 16, whole=True), "rate": Range(0.01, 1.0, 0.1)}
FIRST = (Candidate("plain"), Candidate("trees", {"kind": "a"}), Candidate("trees", {"kind": "b"}))


def strategy(most=40, seed=0):
    return LocalSearch(Portfolio(FIRST), lambda name: SPACE if name == "trees" else {}, most, seed)


def loss(candidate):
    """Best at 64 leaves and a rate of 0.3, and for kind b."""
    params = candidate.params
    if candidate.learner == "plain":
        return 0.0
    leaves, rate = params.get("leaves", 16), params.get("rate", 0.1)
    return 1.0 + (params["kind"] == "a") + np.log(leaves / 64) ** 2 + np.log(rate / 0.3) ** 2


def run(search, rounds=6, judge=loss):
    log = []
    while asked := search.ask(log, rounds):
        log += [Trial(c, OK, prediction=np.zeros((1, 1)), losses=np.array([judge(c)])) for c in asked]
        assert len(log) < 200
    return log


def test_the_portfolio_comes_first_and_then_steps_around_its_best():
    log = run(strategy())
    assert tuple(trial.candidate for trial in log[:3]) == FIRST
    found = log[3:]
    assert 0 < len(found) <= 40 and all(t.candidate.params["kind"] == "b" for t in found)
    assert len({t.candidate.name for t in log}) == len(log)
    best = min(found, key=lambda trial: trial.loss)
    assert best.loss < 1.0 + 0.25 * (loss(FIRST[2]) - 1.0)
    for trial in found:
        assert 4 <= trial.candidate.params["leaves"] <= 256 and isinstance(trial.candidate.params["leaves"], int)
        assert 0.01 <= trial.candidate.params["rate"] <= 1.0


def test_it_depends_on_the_log_and_the_seed_alone():
    names = [trial.candidate.name for trial in run(strategy())]
    assert names == [trial.candidate.name for trial in run(strategy())]
    assert names != [trial.candidate.name for trial in run(strategy(seed=1))]
    log = run(strategy())
    # Asked again from the middle of a round, the rest of the round comes.
    assert strategy().ask(log[:4], 6)[0] == log[4].candidate


@pytest.mark.parametrize("most", [1, 5])
def test_it_keeps_its_limit(most):
    assert len(run(strategy(most))) == 3 + most


def test_it_ends_with_the_budget_and_where_there_is_nothing_to_search():
    log = run(strategy(most=2))
    skipped = [*log[:3], Trial(log[3].candidate, SKIPPED)]
    assert strategy().ask(skipped, 6) == ()
    failed = [Trial(c, FAILED) for c in FIRST]
    assert strategy().ask(failed, 6) == ()
