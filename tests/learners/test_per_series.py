"""The guarded loop: failures are recorded one by one, time is watched, nothing is left switched off."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from forecastml.budget import Deadline
from forecastml.data.panel import Panel
from forecastml.errors import DeadlineExceeded
from forecastml.learners.per_series import Failure, exploded, fit_each, quiet_and_single_threaded


def root(number: float) -> float:
    return math.sqrt(number)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failure_has_its_reason_and_the_others_go_on(processes):
    found = fit_each(root, [4.0, -1.0, 9.0], Deadline(), processes)
    assert found[0] == 2.0
    assert found[2] == 3.0
    assert isinstance(found[1], Failure)
    assert found[1].reason.startswith("ValueError: ")


def test_the_deadline_is_checked_between_series():
    seen = []
    clock = iter([0.0, 0.0, 5.0]).__next__

    with pytest.raises(DeadlineExceeded):
        fit_each(seen.append, [1, 2, 3], Deadline(4.0, clock))
    assert seen == [1, 2]


def test_a_deadline_that_passes_inside_a_fit_ends_the_loop():
    def late(_: int) -> None:
        Deadline(at=0.0).check()

    with pytest.raises(DeadlineExceeded):
        fit_each(late, [1], Deadline())


def test_warnings_and_threads_are_as_before_afterwards():
    before, filters = threadpool_info(), list(warnings.filters)
    with quiet_and_single_threaded():
        assert all(pool["num_threads"] == 1 for pool in threadpool_info())
        np.log(np.zeros(1))
    assert threadpool_info() == before
    assert warnings.filters == filters


def test_what_counts_as_an_explosion():
    panel = Panel.of([[0.0, 1.0] * 5, [0.0, 1.0] * 5, [3.0] * 10, [0.0, 1.0] * 5])
    ahead = np.array([[11.0, -10.0], [11.5, 0.0], [3.0, 3.0], [np.nan, 0.5]])
    assert exploded(panel, ahead).tolist() == [False, True, False, True]
    longer = np.linspace(0, 19.0, 20)[None]
    assert not exploded(panel.select(np.array([0])), longer).any()
