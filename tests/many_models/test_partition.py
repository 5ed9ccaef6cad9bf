"""Batches: every group in one, within the limits, of near-equal cost, whatever the order of the groups."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastml.errors import ConfigError
from many_models.partition import PartitionSettings, cuts, partition
from many_models.protocols import Group

SETTINGS = st.builds(PartitionSettings, st.integers(1, 300), st.integers(1, 12), st.integers(0, 50))
SIZES = st.lists(st.integers(1, 400), min_size=0, max_size=80)


def groups_of(sizes: list[int]) -> list[Group]:
    return [Group((f"g{i}",), rows, f"{i:032x}") for i, rows in enumerate(sizes)]


@given(SIZES, SETTINGS, st.randoms(use_true_random=False))
def test_each_group_is_in_one_batch_within_the_limits_and_order_does_not_matter(sizes, settings, chance: random.Random):
    groups = groups_of(sizes)
    batches = list(partition(groups, settings))
    assert sorted(group.key for batch in batches for group in batch.groups) == sorted(group.key for group in groups)
    for batch in batches:
        assert 1 <= len(batch) <= settings.groups
        assert batch.rows <= settings.rows or len(batch) == 1
    chance.shuffle(groups)
    assert list(partition(groups, settings)) == batches


@given(st.integers(1, 5000), st.integers(1, 100))
def test_equal_groups_make_equal_batches(count, rows):
    sizes = np.diff(cuts(np.full(count, rows), PartitionSettings(rows=20_000, groups=150)))
    assert sizes.max() - sizes.min() <= 1


def test_batches_of_ragged_groups_cost_about_the_same():
    rows = np.random.default_rng(0).integers(1, 400, 20_000)
    settings = PartitionSettings(rows=20_000, groups=400)
    cost = np.add.reduceat(rows + settings.overhead, cuts(rows, settings)[:-1])
    assert cost.min() > 0.9 * cost.max()


def test_a_group_larger_than_a_batch_stands_alone():
    batches = list(partition(groups_of([10, 10, 5000, 10]), PartitionSettings(rows=100, groups=10)))
    assert [5000] in [[group.rows for group in batch.groups] for batch in batches]


def test_the_parts_of_a_batch_are_those_of_its_groups_each_once():
    groups = groups_of([1, 1, 1])
    parts = {group.digest: ("a", f"only {group.key[0]}") for group in groups}
    (batch,) = partition(groups, parts=parts)
    assert len(batch.parts) == 4 and batch.parts[0] == "a"


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"groups": -1}, {"overhead": -1}, {"bucket": 1.5}, {"rows": True}])
def test_sizes_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PartitionSettings(**wrong)
