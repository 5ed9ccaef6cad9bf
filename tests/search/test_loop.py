"""The loop, its budget and its guard: no candidate and no series can bring down a run."""

import time
from dataclasses import replace

import numpy as np
import pytest

from forecastml.budget import Budget, Deadline
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.metrics import get_metric
from forecastml.protocols import Candidate, FitContext, Truth
from forecastml.search.evaluate import Evaluation, Work, evaluate
from forecastml.search.loop import Plan, Processes, Serial, search
from forecastml.search.strategy import Portfolio
from forecastml.search.trial import FAILED, OK, PRUNED, SKIPPED, TIMED_OUT
from forecastml.splits import RollingOrigin
from tests.search.toys import Broken, Poisoned, Shift, Sleeper, Suicide, WrongShape


@pytest.fixture
def panel():
    rng = np.random.default_rng(0)
    return Panel.of([np.cumsum(rng.normal(size=40)) for _ in range(8)])


def make_evaluation(panel, deadline=None, **choices):
    folds = tuple(RollingOrigin(horizon=3, n_folds=3).folds(panel))
    truth = Truth.stack([fold.truth for fold in folds])
    context = FitContext(horizon=3, deadline=deadline or Deadline())
    return Evaluation(folds, truth, get_metric("mae"), context, np.zeros((len(truth), 1)), **choices)


def run(learners, panel, budget=None, deadline=None, executor=None, **choices):
    by_name = {learner.name: learner for learner in learners}
    candidates = tuple(Candidate(learner.name, {"by": float(i)}) for i, learner in enumerate(learners))
    limits = (budget or Budget(), executor or Serial())
    shares = {name: choices.pop(name) for name in ("patience", "share") if name in choices}
    plan = Plan(Portfolio(candidates), *limits, by_name.__getitem__, size=320, items=8, round_size=2, **shares)
    return search(plan, make_evaluation(panel, deadline, **choices), lambda trials, done: None)


def test_the_log_is_in_the_order_of_asking(panel):
    log = run([Shift("a"), Shift("b"), Shift("c")], panel)
    assert [trial.candidate.learner for trial in log] == ["a", "b", "c"]
    assert [trial.state for trial in log] == [OK] * 3
    assert log[0].loss < log[1].loss < log[2].loss


def test_workers_change_nothing(panel):
    learners = [Shift("a"), Broken("b"), Shift("c")]
    one, two = run(learners, panel), run(learners, panel, executor=Processes(2))
    for a, b in zip(one, two, strict=True):
        assert (a.candidate, a.state, a.error) == (b.candidate, b.state, b.error)
        assert np.array_equal(a.losses, b.losses)


@pytest.mark.parametrize("learner", [Broken("x"), WrongShape("x")])
def test_a_failing_candidate_is_a_failed_trial_with_its_reason(panel, learner):
    log = run([Shift("a"), learner, Shift("c")], panel)
    assert [trial.state for trial in log] == [OK, FAILED, OK]
    assert log[1].error


@pytest.mark.parametrize("guilty", [[0], [7], [2, 3, 6]])
def test_a_failing_series_costs_only_itself(panel, guilty):
    target = panel.target.copy()
    for i in guilty:
        target[panel.begin[i]] = 1e9
    hurt = replace(panel, target=target)
    trial = evaluate(Work(Candidate("poisoned"), Poisoned("poisoned"), make_evaluation(hurt)))
    assert trial.state == OK
    assert sorted(trial.failures) == guilty
    assert all("too large to bear" in reason for reason in trial.failures.values())
    truth = make_evaluation(hurt).truth
    missing = np.isnan(trial.prediction[:, 0])
    assert np.array_equal(np.unique(truth.series[missing]), guilty)
    healthy = evaluate(Work(Candidate("shift"), Shift("shift"), make_evaluation(hurt)))
    assert np.array_equal(trial.prediction[~missing], healthy.prediction[~missing])


def test_a_learner_that_fails_on_every_series_fails(panel):
    trial = evaluate(
        Work(Candidate("poisoned"), Poisoned("poisoned"), make_evaluation(replace(panel, target=panel.target + 1e9)))
    )
    assert trial.state == FAILED


def test_the_number_of_trials_is_kept(panel):
    log = run([Shift("a"), Shift("b"), Shift("c")], panel, Budget(trials=2))
    assert [trial.state for trial in log] == [OK, OK, SKIPPED]
    assert "2 trials" in log[2].error


def test_the_exit_score_ends_the_search(panel):
    log = run([Shift("a"), Shift("b"), Shift("c")], panel, Budget(exit_score=1e6))
    assert [trial.state for trial in log] == [OK, SKIPPED, SKIPPED]
    assert "exit score" in log[1].error


def test_a_hopeless_candidate_stops_between_folds(panel):
    log = run([Shift("a"), Shift("b"), Shift("c"), Shift("d")], panel, prune=1.01)
    assert [trial.state for trial in log][:2] == [OK, OK]
    assert log[3].state == PRUNED
    assert len(log[3].losses) < 3


def test_what_time_leaves_out_is_named(panel):
    clock = iter(np.arange(0, 1e6, 0.1))
    deadline = Deadline.after(0.35, clock=lambda: next(clock))
    log = run([Shift("a"), Shift("b"), Shift("c"), Shift("d")], panel, Budget(seconds=0.35), deadline)
    assert len(log) == 4
    assert {trial.state for trial in log} <= {OK, SKIPPED, TIMED_OUT}
    assert log[-1].state == SKIPPED
    assert "seconds" in log[-1].error


def test_a_dear_candidate_is_left_out_by_its_declared_cost(panel):
    log = run([Shift("a"), Shift("dear", cost=1e6)], panel, Budget(seconds=60), Deadline.after(60))
    assert [trial.state for trial in log] == [OK, SKIPPED]
    assert "declared cost" in log[1].error


def test_what_cannot_be_interrupted_is_killed_in_time(panel):
    began = time.monotonic()
    learners = [Shift("a"), Sleeper("sleeper", interruptible=False), Suicide("suicide", interruptible=False)]
    log = run(learners, panel, Budget(seconds=60, trial_seconds=4), Deadline.after(60))
    assert [trial.state for trial in log] == [OK, TIMED_OUT, FAILED]
    assert "exit code 3" in log[2].error
    assert time.monotonic() - began < 50


def test_a_worker_that_dies_costs_only_its_candidate(panel):
    log = run([Shift("a"), Suicide("suicide"), Shift("c")], panel, executor=Processes(2))
    assert [trial.state for trial in log] == [OK, FAILED, OK]
    assert "exit code 3" in log[1].error


def test_a_learner_of_a_script_can_be_killed_too(panel):
    class Local(Sleeper):
        """A class that plain pickle cannot send."""

    log = run(
        [Shift("a"), Local("local", interruptible=False)],
        panel,
        Budget(seconds=30, trial_seconds=4),
        Deadline.after(30),
    )
    assert [trial.state for trial in log] == [OK, TIMED_OUT]


def test_budgets_must_be_positive():
    with pytest.raises(ConfigError, match="seconds"):
        Budget(seconds=0)


def test_declared_costs_per_item_leave_out_what_is_out_of_proportion(panel):
    dear, cheap = Shift("dear", item_cost=10.0), Shift("cheap")
    (left_out, ran) = run([dear, cheap], panel, patience=60.0)
    assert (left_out.state, ran.state) == ("skipped", "ok")
    assert "allow dear by name" in left_out.error
    assert [trial.state for trial in run([dear, cheap], panel)] == ["ok", "ok"]
    limited = {"budget": Budget(seconds=500.0), "deadline": Deadline.after(500.0)}
    assert [trial.state for trial in run([dear, cheap], panel, share=0.1, **limited)] == ["skipped", "ok"]
    assert [trial.state for trial in run([dear, cheap], panel, share=None, **limited)] == ["ok", "ok"]
