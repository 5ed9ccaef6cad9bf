"""Combinations: no fit of their own where their parts' results are there, and no difference to one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import forecastml as fm
from forecastml.budget import Budget
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.learners.median import PARTS, Median, medians
from forecastml.learners.registry import get_learner
from forecastml.protocols import Candidate, FitContext
from forecastml.search.evaluate import Refit, Work, evaluate
from forecastml.search.loop import Plan, Serial, refit_all, search
from forecastml.search.strategy import Portfolio
from forecastml.search.trial import OK
from tests.search.test_loop import make_evaluation

OF = ("naive", "drift", "average")
MEDIAN = Candidate("median", {"of": OF})


@pytest.fixture
def panel():
    random = np.random.default_rng(0)
    return Panel.of([np.cumsum(random.normal(size=length)) for length in (40, 40, 30, 25)])


class Counted:
    """A learner that counts its fits."""

    def __init__(self, name: str) -> None:
        self.learner, self.fits = get_learner(name), 0

    def __getattr__(self, name: str):
        return getattr(self.learner, name)

    def fit(self, train, params, context):
        self.fits += 1
        return self.learner.fit(train, params, context)


def run(candidates, panel, counted):
    plan = Plan(Portfolio(tuple(candidates)), Budget(), Serial(), counted.__getitem__, size=135, items=4, round_size=6)
    return search(plan, make_evaluation(panel), lambda trials, done: None)


def test_a_combination_equals_its_own_fit_and_costs_none(panel):
    counted = {name: Counted(name) for name in OF} | {"median": get_learner("median")}
    log = run([*map(Candidate, OF), MEDIAN], panel, counted)
    assert [trial.state for trial in log] == [OK] * 4
    assert [counted[name].fits for name in OF] == [3] * 3
    alone = evaluate(Work(MEDIAN, Median(), make_evaluation(panel)))
    np.testing.assert_array_equal(log[-1].prediction, alone.prediction)
    np.testing.assert_array_equal(log[-1].losses, alone.losses)


def test_without_its_parts_it_is_fitted(panel):
    log = run([Candidate("naive"), MEDIAN], panel, {"naive": get_learner("naive"), "median": get_learner("median")})
    np.testing.assert_array_equal(
        log[-1].prediction, evaluate(Work(MEDIAN, Median(), make_evaluation(panel))).prediction
    )


def test_a_refit_fits_each_part_once(panel):
    counted = {name: Counted(name) for name in OF}
    context = FitContext(horizon=3)
    parts = tuple(Refit(Candidate(name), counted[name], panel, context) for name in OF)
    whole = Refit(MEDIAN, Median(), panel, context, parts=parts)
    (first, _), (member, _) = refit_all([parts[0], whole], Serial())
    assert [counted[name].fits for name in OF] == [1] * 3
    own = Median().fit(panel, MEDIAN.params, context)
    values = member.fitted.predict(panel, 3, ("mean",)).values
    np.testing.assert_array_equal(values, own.predict(panel, 3, ("mean",)).values)
    assert first.fitted.predict(panel, 3, ("mean",)).values.shape == values.shape


def test_a_part_that_fails_is_made_up_for_by_a_fit_of_the_whole(panel):
    context = FitContext(horizon=3)
    parts = tuple(Refit(Candidate(name), get_learner(name), panel, context) for name in OF)
    broken = (replace(parts[0], candidate=Candidate("naive", {"colour": "red"})), *parts[1:])
    ((outcome, reason),) = refit_all([Refit(MEDIAN, Median(), panel, context, parts=broken)], Serial())
    assert reason == "" and outcome.fitted.status == ("ok",) * 4


def test_medians_leave_out_what_is_missing():
    nan = np.nan
    values = np.array([[1.0, nan, nan, 4.0], [2.0, 5.0, nan, nan], [9.0, 6.0, nan, nan], [nan, 1.0, nan, nan]])
    np.testing.assert_array_equal(medians(values[:, :, None])[:, 0], [2.0, 5.0, nan, 4.0])
    np.testing.assert_array_equal(medians(values[:2, :, None])[:, 0], [1.5, 5.0, nan, 4.0])


def test_the_portfolio_takes_the_parts_that_are_in_use():
    assert Median().among((), {}) is None and Median().among(PARTS, {}) == {}
    assert Median().among((*PARTS[1:], "naive"), {}) == {"of": list(PARTS[1:])}
    assert Median().among(PARTS[:2], {}) is None
    assert Median().among(("naive", "drift"), {"of": ("naive", "drift")}) == {"of": ("naive", "drift")}


def test_a_part_that_the_budget_left_out_does_not_come_back(panel):
    dear = Counted("window_average")
    dear.capabilities = replace(dear.learner.capabilities, item_cost=1e6)
    counted = {name: Counted(name) for name in OF} | {"window_average": dear, "median": get_learner("median")}
    whole = Candidate("median", {"of": (*OF, "window_average")})
    plan = Plan(
        Portfolio((*map(Candidate, OF), Candidate("window_average"), whole)),
        Budget(),
        Serial(),
        counted.__getitem__,
        size=135,
        items=4,
        patience=60.0,
        round_size=6,
    )
    log = search(plan, make_evaluation(panel), lambda trials, done: None)
    assert [trial.state for trial in log] == [OK, OK, OK, "skipped", OK]
    assert log[-1].candidate.params == {"of": list(OF)} and dear.fits == 0


@pytest.mark.parametrize(
    "params",
    [{"of": ()}, {"of": "naive"}, {"of": ["median"]}, {"of": ["nave"]}, {"of": ["ridge", "naive"]}, {"colour": 1}],
)
def test_wrong_parts_are_told(params):
    with pytest.raises(ConfigError, match=r"median|nave"):
        Median().fit(Panel.of([[1.0]]), params, FitContext())


def test_a_model_with_a_median_keeps_working_when_saved(tmp_path):
    random = np.random.default_rng(1)
    rows = [(f"s{i}", t, 10 + i + np.sin(t / 2) + random.normal()) for i in range(5) for t in range(50)]
    table = {"unique_id": [r[0] for r in rows], "ds": [r[1] for r in rows], "y": [r[2] for r in rows]}
    import pandas as pd

    model = fm.fit(
        pd.DataFrame(table), fm.Forecasting(horizon=4, series="unique_id"), fm.Config.preset("fast", allow=("median",))
    )
    again = fm.load(model.save(tmp_path / "model"))
    pd.testing.assert_frame_equal(model.forecast(), again.forecast())
    assert [member.candidate.learner for member in model.members] == ["median"]
