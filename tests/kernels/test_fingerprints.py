"""Fingerprints of stretches: content and order count, place and neighbours do not."""

from __future__ import annotations

import numpy as np

from forecastml.kernels.fingerprints import fingerprints


def test_equal_stretches_alone_are_equal():
    one, two = np.array([1.0, 2.0, 0.0]), np.array([2.0, 1.0, 0.0])
    values = np.concatenate([one, two, one, one[:2], -one * 0])
    found = fingerprints([values], np.array([0, 3, 6, 9, 11, 14]))
    assert found.shape == (5, 2)
    assert (found[0] == found[2]).all()
    assert len({tuple(mark) for mark in found.tolist()}) == 4
    assert (fingerprints([two], np.array([0, 3])) == found[1]).all()
    assert (fingerprints([np.zeros(3)], np.array([0, 3])) == found[4]).all()
    assert fingerprints([one], np.array([0])).shape == (0, 2)


def test_every_column_counts():
    values, weight = np.arange(6.0), np.ones(6)
    plain, other = fingerprints([values, weight], np.array([0, 6])), weight.copy()
    other[3] = 2.0
    assert (fingerprints([values, other], np.array([0, 6])) != plain).all()
    assert (fingerprints([values], np.array([0, 6])) != plain).all()


def test_many_stretches_differ():
    values = np.random.default_rng(0).integers(0, 2, 200_000).astype(float)
    found = fingerprints([values], np.arange(0, 200_001, 40))
    assert len(np.unique(found[:, 0])) == len(np.unique(values.reshape(-1, 40), axis=0))
