"""Statistics of class probabilities against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from forecastml.kernels import classification


def likeliest(p):
    return p.argmax(axis=1)


def against_rest(score):
    def of(y, p, w):
        present = np.unique(y)
        scores = [score(y == k, p[:, k], sample_weight=w) for k in present]
        return np.average(scores, weights=[w[y == k].sum() for k in present])

    return of


ORACLES = {
    "balanced_accuracy": lambda y, p, w: metrics.balanced_accuracy_score(y, likeliest(p), sample_weight=w),
    "f1_macro": lambda y, p, w: metrics.f1_score(y, likeliest(p), average="macro", sample_weight=w, zero_division=0.0),
    "f1_weighted": lambda y, p, w: metrics.f1_score(
        y, likeliest(p), average="weighted", sample_weight=w, zero_division=0.0
    ),
    "precision_weighted": lambda y, p, w: metrics.precision_score(
        y, likeliest(p), average="weighted", sample_weight=w, zero_division=0.0
    ),
    "matthews": lambda y, p, w: metrics.matthews_corrcoef(y, likeliest(p), sample_weight=w),
    "auc_weighted": against_rest(metrics.roc_auc_score),
    "average_precision_weighted": against_rest(metrics.average_precision_score),
}


@pytest.mark.parametrize("name", ORACLES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4), ties=st.booleans(), weighted=st.booleans())
def test_every_cell_equals_scikit_learn(name, seed, classes, ties, weighted):
    random = np.random.default_rng(seed)
    n = 60
    y = random.integers(0, classes, n).astype(float)
    p = random.dirichlet(np.ones(classes), n)
    p[np.arange(n), y.astype(int)] += 0.3
    p = np.round(p, 1) if ties else p
    w = random.integers(1, 5, n).astype(float) if weighted else np.ones(n)
    cell = random.integers(0, 3, n)
    found = getattr(classification, name)(y, p, w, cell, 4)
    for k in range(3):
        rows = cell == k
        if len(np.unique(y[rows])) > 1:
            assert found[k] == pytest.approx(ORACLES[name](y[rows].astype(int), p[rows], w[rows]), abs=1e-12)


def test_one_class_alone():
    y, p = np.zeros(5), np.tile([0.7, 0.3], (5, 1))
    cell, weight = np.zeros(5, np.int64), np.ones(5)
    assert classification.auc_weighted(y, p, weight, cell, 1) == 0.5
    assert classification.average_precision_weighted(y, p, weight, cell, 1) == 1.0
    assert classification.matthews(y, p, weight, cell, 1) == 0.0
    assert classification.balanced_accuracy(y, p, weight, cell, 1) == 1.0


def test_normalized_recall_is_0_for_guessing_and_1_for_perfect():
    y, weight, cell = np.array([0.0, 1.0, 2.0] * 4), np.ones(12), np.zeros(12, np.int64)
    perfect, guess = np.eye(3)[y.astype(int)], np.tile([0.5, 0.3, 0.2], (12, 1))
    assert classification.normalized_recall(y, perfect, weight, cell, 1) == pytest.approx(1.0)
    assert classification.normalized_recall(y, guess, weight, cell, 1) == pytest.approx(0.0)


def test_log_loss_and_accuracy():
    y = np.array([0.0, 1.0, 1.0])
    p = np.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]])
    np.testing.assert_allclose(classification.log_loss(y, p, np.empty(0)), -np.log([0.8, 0.6, 0.1]))
    np.testing.assert_array_equal(classification.correct(y, p, np.empty(0)), [1, 1, 0])
