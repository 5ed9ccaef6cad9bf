"""Who is guilty of a failed prediction, and who is not."""

from typing import ClassVar

import numpy as np
import pytest

from forecastml.budget import Deadline
from forecastml.data.panel import Panel
from forecastml.errors import DeadlineExceeded
from forecastml.protocols import Candidate, Prediction
from forecastml.search.evaluate import MAX_GUILTY, Work, evaluate, predict_guarded
from forecastml.search.trial import FAILED, OK, TIMED_OUT
from tests.search.test_loop import make_evaluation
from tests.search.toys import Constant, Shift

SERIES = 40


class Choosy(Constant):
    """Raises, or forecasts too few rows, when a series of an odd level is among those asked for."""

    way = "raises"
    asked: ClassVar[list[int]] = []

    def predict(self, inputs, horizon, outputs):
        self.asked.append(len(inputs))
        found = super().predict(inputs, horizon, outputs)
        if not (self.level % 2 == 1).any():
            return found
        if self.way == "late":
            raise DeadlineExceeded("time is over")
        if self.way == "raises":
            raise ArithmeticError("odd")
        return Prediction(found.values[:-1], outputs)

    def take(self, items):
        return type(self)(self.level[items], tuple(self.status[i] for i in items))


class Short(Choosy):
    way = "short"


class Late(Choosy):
    way = "late"


class Learner(Shift):
    """Fits one of the classes above."""

    def __init__(self, kind):
        super().__init__("choosy")
        self.kind = kind

    def fit(self, train, params, context):
        return self.kind(train.target[train.end - 1], ("ok",) * len(train))


def panel(odd):
    level = np.full(SERIES, 2.0)
    level[list(odd)] = 3.0
    return Panel.of([np.full(30, value) for value in level])


def trial(odd, kind=Choosy, deadline=None, **choices):
    evaluation = make_evaluation(panel(odd), deadline, **choices)
    return evaluate(Work(Candidate("choosy"), Learner(kind), evaluation)), evaluation


@pytest.mark.parametrize("kind", [Choosy, Short])
@pytest.mark.parametrize("odd", [[0], [39], [3, 4, 20], list(range(MAX_GUILTY))])
def test_the_guilty_are_found_and_the_others_keep_their_forecasts(kind, odd):
    found, evaluation = trial(odd, kind)
    assert found.state == OK
    assert sorted(found.failures) == odd
    reason = {Choosy: "ArithmeticError: odd", Short: "expected"}[kind]
    assert all(reason in text for text in found.failures.values())
    missing = np.isnan(found.prediction[:, 0])
    assert np.unique(evaluation.truth.series[missing]).tolist() == odd
    assert (found.prediction[~missing] == 2.0).all()
    assert np.isnan(found.prediction[np.isin(evaluation.truth.series, odd)]).all()


@pytest.mark.parametrize("kind", [Choosy, Short])
def test_too_many_guilty_are_a_failed_candidate_unless_items_are_apart(kind):
    odd = list(range(MAX_GUILTY + 1))
    assert trial(odd, kind)[0].state == FAILED
    apart = trial(odd, kind, most_guilty=None)[0]
    assert apart.state == OK and sorted(apart.failures) == odd
    everyone = trial(range(SERIES), kind, most_guilty=None)[0]
    assert everyone.state == FAILED and everyone.error in ("ArithmeticError: odd", trial([0], kind)[0].failures[0])


def test_an_innocent_prediction_is_asked_for_once():
    Choosy.asked.clear()
    trial([])
    assert Choosy.asked == [SERIES] * 3
    Choosy.asked.clear()
    trial([5])
    assert len(Choosy.asked) <= 3 * (1 + 2 * np.ceil(np.log2(SERIES)))


@pytest.mark.parametrize("most", [MAX_GUILTY, None])
def test_time_that_is_over_is_no_guilt(most):
    found, _ = trial([1], Late, most_guilty=most)
    assert found.state == TIMED_OUT
    passed = trial([], deadline=Deadline(at=0.0), most_guilty=most)[0]
    assert passed.state == TIMED_OUT


@pytest.mark.parametrize("kind", [Choosy, Short])
def test_a_model_in_use_answers_for_the_innocent_and_says_why_not_for_others(kind):
    inputs = panel([2, 9])
    fitted = Learner(kind).fit(inputs, {}, None)
    values, reason = predict_guarded(fitted, inputs, 4, ("mean",))
    assert values.shape == (SERIES * 4, 1)
    assert np.flatnonzero(np.isnan(values.reshape(SERIES, 4)).any(axis=1)).tolist() == [2, 9]
    assert reason
    assert predict_guarded(fitted.take(np.array([0, 1])), inputs.select(np.array([0, 1])), 4, ("mean",))[1] == ""


def test_a_fold_without_any_value_costs_the_other_folds_nothing_when_items_are_apart():
    class Young(Shift):
        """Cannot be fitted to more than 26 values."""

        def fit(self, train, params, context):
            if (train.lengths > 26).any():
                raise ArithmeticError("too old")
            return super().fit(train, params, context)

    together = make_evaluation(panel([]))
    assert evaluate(Work(Candidate("young"), Young("young"), together)).state == FAILED
    apart = make_evaluation(panel([]), most_guilty=None)
    found = evaluate(Work(Candidate("young"), Young("young"), apart))
    assert found.state == OK
    by_fold = [np.isnan(found.prediction[apart.truth.fold == fold, 0]).mean() for fold in range(3)]
    assert by_fold == [0.0, 0.0, 1.0]
    assert sorted(found.failures) == list(range(SERIES))
