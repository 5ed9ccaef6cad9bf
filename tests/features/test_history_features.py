"""Features of history against plain loops over every row; two layouts and neighbours change no bit."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.errors import ConfigError
from forecastml.features.history import History, Starts
from forecastml.features.history_features import (
    Differences,
    Ewm,
    Expanding,
    Lags,
    Ratios,
    SinceNonzero,
    Slopes,
    WasNull,
    Windows,
)
from forecastml.features.panel import FeatureSet

AGGREGATES = ("mean", "sum", "min", "max", "std", "zeros", "median", "q0.9", "q.25")

numbers = st.one_of(
    st.just(np.nan), st.just(0.0), st.just(-0.0), st.floats(-1e6, 1e6).map(lambda v: round(v, 3)), st.integers(-3, 3)
)
ragged = st.lists(st.lists(numbers.map(float), max_size=30), min_size=1, max_size=4)
sizes = st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True).map(tuple)


def flat(series: list[list[float]]) -> History:
    values = np.array([v for part in series for v in part], dtype=float)
    position = np.array([k for part in series for k in range(len(part))], dtype=np.int64)
    return History(values, position, np.isnan(values))


def upright(series: list[list[float]], depth: int) -> History:
    """Series whose last row is the one to tell about, side by side, with more room than the depth."""
    rows = depth + 4
    values, missing = np.full((rows, len(series)), np.nan), np.zeros((rows, len(series)), dtype=bool)
    for i, part in enumerate(series):
        tail = part[-rows:]
        values[rows - len(tail) :, i] = tail
        missing[rows - len(tail) :, i] = np.isnan(tail)
    return History(values, None, missing)


def rows_of(history: History, feature) -> np.ndarray:
    return np.array(feature.columns(history)).reshape(len(feature.names), -1)


def bits(values: np.ndarray) -> bytes:
    """All bits but the signs of zeros and of what is not a number."""
    return np.where(np.isnan(values), np.nan, values + 0.0).tobytes()


def aggregate(name: str, past: list[float]) -> float:
    known = np.array([v for v in past if not np.isnan(v)])
    if len(known) == 0 or (name == "std" and len(known) == 1):
        return np.nan
    if name == "zeros":
        return float(np.mean(known == 0))
    if name == "std":
        return float(np.std(known, ddof=1))
    if name == "median" or name[0] == "q":
        return float(np.quantile(known, 0.5 if name == "median" else float(name[1:])))
    return float(getattr(np, name)(known))


def told_by_loops(feature, past: list[float]) -> list[float]:
    """What a feature should say of the row that follows these values."""

    def lag(k: int) -> float:
        return past[-k] if k <= len(past) else np.nan

    match feature.kind:
        case "lags":
            return [lag(k) for k in feature.lags]
        case "windows":
            return [aggregate(name, past[-size:]) for size in feature.sizes for name in feature.aggregates]
        case "expanding":
            return [aggregate(name, past[-feature.most :]) for name in feature.aggregates]
        case "differences":
            return [lag(a) - lag(b) for a, b in feature.pairs]
        case "ratios":
            return [
                lag(a) / lag(b) if lag(b) != 0 and abs(lag(a) / lag(b)) < 3e38 else np.nan for a, b in feature.pairs
            ]
        case "ewm":
            found = []
            for alpha in feature.alphas:
                seen = [(v, (1 - alpha) ** k) for k, v in enumerate(reversed(past[-feature.size(alpha) :]))]
                seen = [(v, w) for v, w in seen if not np.isnan(v)]
                weight = sum(w for _, w in seen)
                found.append(sum(v * w for v, w in seen) / weight if weight > 1e-6 else np.nan)
            return found
        case "since_nonzero":
            newest = list(reversed(past[-feature.most :]))
            known = sum(not np.isnan(v) for v in newest)
            there = [k + 1 for k, v in enumerate(newest) if v != 0 and not np.isnan(v)]
            return [there[0] if there else known if known else np.nan]
        case "slopes":
            found = []
            for size in feature.sizes:
                seen = [(k, v) for k, v in enumerate(past[-size:]) if not np.isnan(v)]
                found.append(np.polyfit(*zip(*seen, strict=True), 1)[0] if len(seen) > 1 else np.nan)
            return found
    raise AssertionError(feature.kind)


def features(lengths: tuple[int, ...]) -> list:
    pairs = tuple((k, k + j) for j, k in enumerate(lengths))
    return [
        Lags(lengths),
        Windows(lengths, AGGREGATES),
        Expanding(AGGREGATES, 2 * lengths[0]),
        Ewm((0.3, 0.9), 3 * lengths[0]),
        Differences(pairs),
        Ratios(pairs),
        SinceNonzero(lengths[0] + 1),
        Slopes(lengths),
    ]


@settings(max_examples=25, deadline=None)
@given(ragged, sizes)
def test_every_row_is_told_as_a_loop_over_its_past_would(series, lengths):
    history = flat(series)
    for feature in features(lengths):
        expected = [told_by_loops(feature, part[:k]) for part in series for k in range(len(part))]
        expected = np.array(expected, dtype=float).reshape(-1, len(feature.names)).T
        scale = max(1.0, float(np.nanmax(np.abs(history.values), initial=0.0)))
        tolerance = 1e-9 if feature.kind == "ratios" else 1e-9 * scale
        np.testing.assert_allclose(rows_of(history, feature), expected, rtol=1e-9, atol=tolerance, err_msg=feature.kind)


@settings(max_examples=25, deadline=None)
@given(ragged, sizes)
def test_both_layouts_and_each_series_alone_give_the_same_bits(series, lengths):
    series = [part for part in series if part]
    history, last = flat(series), np.cumsum([len(part) for part in series], dtype=np.int64) - 1
    for feature in [*features(lengths), WasNull()]:
        told = rows_of(history, feature)
        beside = rows_of(upright(series, feature.depth), feature)
        assert bits(told[:, last]) == bits(beside), feature.kind
        kept = rows_of(upright(series, feature.depth).last(feature.depth), feature)
        assert bits(kept) == bits(beside), feature.kind
        for i, part in enumerate(series):
            own = told[:, last[i] + 1 - len(part) : last[i] + 1]
            assert bits(rows_of(flat([part]), feature)) == bits(own), feature.kind
            assert bits(rows_of(upright([part], feature.depth), feature)) == bits(beside[:, i]), feature.kind


@settings(max_examples=25, deadline=None)
@given(ragged, sizes)
def test_empty_rows_between_series_change_no_bit(series, lengths):
    plain = flat(series)
    for feature in [*features(lengths), WasNull()]:
        empty = feature.depth
        spread = [[np.nan] * empty + part for part in series]
        position = np.array([k - empty for part in spread for k in range(len(part))], dtype=np.int64)
        values = np.array([v for part in spread for v in part], dtype=float)
        apart = History(values, position, np.isnan(values), Starts(position, empty))
        told = rows_of(apart, feature)[:, position >= 0]
        assert bits(told) == bits(rows_of(plain, feature)), feature.kind


@settings(max_examples=25, deadline=None)
@given(st.lists(numbers.map(float), min_size=2, max_size=30), st.data())
def test_nothing_is_told_of_the_future(values, data):
    row = data.draw(st.integers(0, len(values) - 1))
    other = [*values[:row], *data.draw(st.lists(numbers.map(float), min_size=len(values) - row, max_size=30))]
    for feature in [*features((1, 3, 7)), WasNull()]:
        one, two = rows_of(flat([values]), feature), rows_of(flat([other]), feature)
        assert bits(one[:, : row + 1]) == bits(two[:, : row + 1]), feature.kind


def test_a_high_level_costs_no_digits():
    values = list(1e9 + np.arange(64.0) % 4)
    std, slope = Windows((40,), ("std",)), Slopes((5,))
    assert rows_of(flat([values]), std)[0, -1] == pytest.approx(np.std(np.arange(40) % 4, ddof=1), rel=1e-12)
    assert rows_of(flat([list(1e9 + 0.5 * np.arange(64.0))]), slope)[0, -1] == pytest.approx(0.5, rel=1e-12)


def test_missing_targets_are_marked_and_what_was_never_told_is_not():
    values, missing = np.array([1.0, 1, 3, 9, 9]), np.array([False, True, False, False, True])
    history = History(values, np.array([0, 1, 2, 0, 1]), missing)
    np.testing.assert_array_equal(WasNull().columns(history)[0], [np.nan, 0, 1, np.nan, 0])
    np.testing.assert_array_equal(WasNull().columns(History(values, history.position))[0], [np.nan] * 5)


def test_declarations_are_data():
    declared = (*features((1, 4)), WasNull())
    features_ = FeatureSet(declared)
    assert FeatureSet.from_json(json.loads(json.dumps(features_.to_json()))) == features_
    assert len(set(features_.names)) == len(features_.names) == len(features_.units)
    for name in ("lag4", "q0.9_window4", "zeros_expanding", "ewm0.3", "lag4_minus_lag5", "lag4_over_lag5"):
        assert name in features_.names
    assert {"since_nonzero", "slope_window4", "target_WASNULL"} <= set(features_.names)
    assert Ewm((0.3,)).depth == 39 and Ewm((0.001,)).depth == 1000 and Expanding().depth == 1000
    assert all(asdict(feature) is not None for feature in declared)


@pytest.mark.parametrize("name", ["mode", "q1.5", "q0", "q", "", 3])
def test_unknown_aggregates_are_refused(name):
    for declare in (lambda: Windows((3,), (name,)), lambda: Expanding((name,))):
        with pytest.raises(ConfigError, match="is unknown; use mean, min"):
            declare()


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5])
def test_alphas_lie_between_0_and_1(alpha):
    with pytest.raises(ConfigError, match="numbers between 0 and 1"):
        Ewm((alpha,))
