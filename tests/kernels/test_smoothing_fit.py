"""Derivatives against differences, and a search that ends where general optimisers do or lower."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from forecastml.kernels.smoothing import (
    ADDITIVE,
    STABLE,
    has_trend,
    is_damped,
    is_multiplicative,
    is_seasonal,
    roll,
)
from forecastml.kernels.smoothing_fit import HIGHEST, LOWEST, PHI, Columns, Flags, Point, descend, expand

M = 4
ALL = tuple(dict.fromkeys((*ADDITIVE, *STABLE)))


def nothing() -> None:
    """No deadline."""


def example(form: str, lengths: tuple[int, ...] = (41, 40, 33), estimated: bool = True) -> tuple[Columns, Point]:
    rng = np.random.default_rng(7)
    n, t = len(lengths), np.arange(max(lengths))[:, None]
    season = np.array([1.1, 0.95, 0.8, 1.15])
    values = ((20 + 0.3 * t) * season[t % M] + rng.normal(size=(len(t), n))) / 64
    values[5, n // 2] = np.nan
    values[t >= np.array(lengths)] = np.nan
    columns = Columns.of([form] * n, estimated, values, np.array(lengths), (~np.isnan(values)).sum(axis=0))
    start = np.zeros((2 + M * is_seasonal(form), n))
    start[0], start[1] = 19 / 64, 0.4 / 64 * has_trend(form)
    start[2:] = (season if is_multiplicative(form) else (season - 1) * 20 / 64)[: len(start) - 2, None]
    return columns, Point(np.repeat([[0.35], [0.3], [0.3], [0.5]], n, axis=1), start)


def squares(form: str, columns: Columns, point: Point) -> np.ndarray:
    parameters = columns.has.parameters(point.shares)[:, None]
    return roll(form, columns.values, columns.lengths, parameters, point.start[:, None].copy())[0]


def searched(form: str, width: int, estimated: bool = True) -> tuple[list[int], list[int]]:
    """Rows of shares and of the start that a form has."""
    has = (True, has_trend(form), is_seasonal(form), is_damped(form))
    rows = [0, *([1] if has_trend(form) else []), *(range(2, width) if estimated else ())]
    return [i for i in range(4) if has[i]], rows


@pytest.mark.parametrize("form", ALL)
def test_the_expansion_is_right(form):
    columns, point = example(form)
    found = expand(columns, point)
    np.testing.assert_allclose(found.squares, squares(form, columns, point), rtol=1e-12)
    shares, rows = searched(form, len(point.start))
    expected, step = np.zeros_like(found.gradient), 1e-6
    for place, array, row in [
        *((i, "shares", i) for i in shares),
        *((4 + row, "start", row) for row in rows),
    ]:
        sides = []
        for sign in (1, -1):
            moved = Point(point.shares.copy(), point.start.copy())
            getattr(moved, array)[row] += sign * step
            sides.append(squares(form, columns, moved))
        expected[:, place] = (sides[0] - sides[1]) / (4 * step)
    np.testing.assert_allclose(found.gradient, expected, atol=1e-7 * np.abs(expected).max())
    assert (np.linalg.eigvalsh(found.curvature) >= -1e-9 * np.abs(found.curvature).max()).all()


@pytest.mark.parametrize("form", ["ANN", "AAdN", "ANA", "MAN", "MNM"])
def test_the_search_ends_no_higher_than_a_general_optimiser(form):
    columns, point = example(form, (40,))
    shares, rows = searched(form, len(point.start))

    def criterion(x: np.ndarray) -> float:
        moved = Point(point.shares.copy(), point.start.copy())
        moved.shares[shares, 0], moved.start[rows, 0] = x[: len(shares)], x[len(shares) :]
        with np.errstate(all="ignore"):
            value = squares(form, columns, moved)[0]
        return float(columns.known[0] * np.log(value)) if np.isfinite(value) else 1e6

    begin = np.r_[point.shares[shares, 0], point.start[rows, 0]]
    bounds = [(LOWEST, HIGHEST)] * len(shares) + [(None, None)] * len(rows)
    best = min(minimize(criterion, begin, method=how, bounds=bounds).fun for how in ("L-BFGS-B", "Powell"))
    found, lowest = descend(columns, point, 30, nothing)
    assert columns.known[0] * np.log(lowest[0]) < best + 0.1
    np.testing.assert_allclose(lowest, squares(form, columns, found), rtol=1e-12)


@pytest.mark.parametrize("form", ["AAdN", "AAA", "MAdM", "MNA"])
def test_neighbours_change_no_bit(form):
    columns, point = example(form, (41, 40, 33, 33, 12))
    whole, lowest = descend(columns, point, 6, nothing)
    for at in ([2], [1, 4], [0, 3, 4]):
        some, value = descend(columns.take(np.array(at)), point.take(np.array(at)), 6, nothing)
        np.testing.assert_array_equal(value, lowest[at])
        np.testing.assert_array_equal(some.shares, whole.shares[:, at])
        np.testing.assert_array_equal(some.start, whole.start[:, at])


def test_forms_side_by_side_are_forms_alone():
    forms = ["ANA", "MAdA", "AAA"]
    parts = [example(form, (40,)) for form in forms]
    values = np.concatenate([columns.values for columns, _ in parts], axis=1)
    known = np.concatenate([columns.known for columns, _ in parts])
    together = Columns.of(forms, True, values, np.full(3, 40), known)
    point = Point(*(np.concatenate([getattr(p, name) for _, p in parts], axis=1) for name in ("shares", "start")))
    _, lowest = descend(together, point, 8, nothing)
    for i, (columns, alone) in enumerate(parts):
        assert descend(columns, alone, 8, nothing)[1][0] == lowest[i]


def test_seasons_that_are_not_searched_stay():
    columns, point = example("AAdA", estimated=False)
    found, lowest = descend(columns, point, 10, nothing)
    np.testing.assert_array_equal(found.start[2:], point.start[2:])
    assert (lowest < squares("AAdA", columns, point)).all()
    assert (found.start[:2] != point.start[:2]).all()


def test_parameters_stay_in_the_usual_region():
    shares = np.random.default_rng(0).uniform(LOWEST, HIGHEST, (4, 3, 50))
    alpha, beta, gamma, phi = Flags.of(["ANN", "AAA", "MAdM"]).parameters(shares)
    assert ((alpha > 0) & (alpha < 1)).all() and (beta[1:] < alpha[1:]).all() and (gamma[1:] < 1 - alpha[1:]).all()
    assert (beta[0] == 0).all() and (gamma[0] == 0).all() and (phi[:2] == 1).all()
    assert ((phi[2] > PHI[0]) & (phi[2] < PHI[1])).all()


def test_what_explodes_stays_where_it_is_and_disturbs_nobody():
    columns, point = example("MAM", (40, 40))
    values = columns.values.copy()
    values[:, 1] *= 1e200
    wild = Columns.of(["MAM"] * 2, True, values, columns.lengths, columns.known)
    bad = Point(point.shares, point.start * np.array([1.0, -1.0]))
    with np.errstate(all="ignore"):
        found, lowest = descend(wild, bad, 5, nothing)
    np.testing.assert_array_equal(found.start[:, 1], bad.start[:, 1])
    assert not np.isfinite(lowest[1])
    assert lowest[0] == descend(columns.take(np.array([0])), point.take(np.array([0])), 5, nothing)[1][0]
