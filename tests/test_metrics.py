"""Metrics against published numbers, independent formulas and the written rules for zeros and constants."""

from __future__ import annotations

import numpy as np
import pyarrow.compute
import pyarrow.parquet
import pytest

from forecastml import metrics
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.kernels import losses
from forecastml.metrics import ALIASES, FormulaMetric, Ratio, Term, get_metric, metric_names, register_metric, scales
from forecastml.protocols import Truth
from forecastml.splits import RollingOrigin

#: Scores that the reference system printed, by the normalised root mean squared error of each learner.
BIKE = {
    "naive": 0.13636973162301635,
    "seasonal_naive": 0.11669651439395544,
    "average": 0.36056973908167533,
    "seasonal_average": 0.12192637204203947,
}
ENERGY = {
    "naive": 0.16797185597779538,
    "seasonal_naive": 0.08277217488043159,
    "average": 0.16449304070952278,
    "seasonal_average": 0.1286777052676534,
}
BIKE_ENSEMBLE = {
    "nrmse": 0.11433172732027186,
    "rmse": 906.7649293770761,
    "mae": 637.436507936508,
    "mape": 10.706720645343239,
    "medae": 425.4444444,
    "r2": 0.09965992699,
    "explained_variance": 0.11141523085,
    "spearman": 0.36915099580,
    "rmsle": 0.14915959242,
    "nrmsle": 0.05033823742,
    "nmae": 0.08037277871,
    "nmedae": 0.05364322840,
}
ENERGY_ENSEMBLE = {
    "nrmse": 0.06842462638342897,
    "rmse": 588.2054582425088,
    "mae": 487.2531152777778,
    "mape": 7.354642962611092,
    "r2": 0.6278182372,
    "explained_variance": 0.6805478562,
    "spearman": 0.8085308401,
    "medae": 449.5198,
    "rmsle": 0.0866539212,
    "nrmsle": 0.0624501483,
}
#: Printed with fewer digits than the rest.
ROUNDED = {"medae": 1e-4}


def naive_family(history: np.ndarray, m: int, horizon: int) -> dict[str, np.ndarray]:
    return {
        "naive": np.full(horizon, history[-1]),
        "seasonal_naive": np.resize(history[-m:], horizon),
        "average": np.full(horizon, history.mean()),
        "seasonal_average": np.full(horizon, history[-m:].mean()),
    }


def judged(values: np.ndarray, splitter: RollingOrigin, m: int) -> tuple[Truth, dict[str, np.ndarray]]:
    """The stacked truth of one series and the naive family's predictions, each (rows, 1)."""
    folds = splitter.folds(Panel.of([values]))
    parts = [naive_family(fold.train.values(0), m, splitter.horizon) for fold in folds]
    stacked = {name: np.concatenate([part[name] for part in parts])[:, None] for name in parts[0]}
    return Truth.stack([fold.truth for fold in folds]), stacked


def bike(shared_data) -> tuple[Truth, dict[str, np.ndarray]]:
    values = pyarrow.parquet.read_table(shared_data("bike_share")[0])["y"].to_numpy()[:609]
    return judged(values, RollingOrigin(horizon=14, n_folds=3, step=1), 7)


def energy(shared_data) -> tuple[Truth, dict[str, np.ndarray]]:
    table = pyarrow.parquet.read_table(shared_data("nyc_energy")[0])
    table = table.filter(pyarrow.compute.and_(pyarrow.compute.equal(table["split"], "train"), table["y"].is_valid()))
    times = table["ds"].to_numpy().astype("datetime64[h]").astype(np.int64)
    hours = np.arange(times[0], times[-1] + 1)
    # The last known value stands in for the hours that are missing.
    values = table["y"].to_numpy()[np.searchsorted(times, hours, side="right") - 1]
    assert len(values) == 49_110
    return judged(values, RollingOrigin(horizon=48, n_folds=3, step=48), 24)


def reported(name: str, values: np.ndarray, truth: Truth) -> float:
    metric = get_metric(name)
    return metric.report(float(metric.loss(values, ("mean",), truth)))


@pytest.mark.parametrize(("data", "golden"), [(bike, BIKE), (energy, ENERGY)], ids=["bike", "energy"])
def test_golden_numbers_of_the_naive_family(shared_data, data, golden):
    truth, predictions = data(shared_data)
    got = {name: reported("nrmse", values, truth) for name, values in predictions.items()}
    assert got == pytest.approx(golden, rel=0, abs=1e-9)


def test_golden_numbers_of_ensembles(shared_data):
    truth, p = bike(shared_data)
    two = p["naive"] / 3 + p["seasonal_naive"] * 2 / 3
    three = p["naive"] / 5 + p["seasonal_naive"] * 3 / 5 + p["seasonal_average"] / 5
    assert reported("nrmse", three, truth) == pytest.approx(0.11385744861162471, abs=1e-9)
    for name, value in BIKE_ENSEMBLE.items():
        assert reported(name, two, truth) == pytest.approx(value, abs=ROUNDED.get(name, 1e-9)), name
    truth, p = energy(shared_data)
    for name, value in ENERGY_ENSEMBLE.items():
        got = reported(name, p["naive"] / 5 + p["seasonal_naive"] * 4 / 5, truth)
        assert got == pytest.approx(value, abs=ROUNDED.get(name, 1e-9)), name


def truth_of(y, weight=None, series=None, group=None, fold=None, **scale) -> Truth:
    """A truth from a few values; scales are 2 unless given."""
    y = np.asarray(y, dtype=float)
    zeros = np.zeros(len(y), np.int64)
    names = ("seasonal_error", "seasonal_squared_error", "range", "log_range", "naive2")
    return Truth(
        y=y,
        weight=np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float),
        series=zeros if series is None else np.asarray(series),
        group=(zeros if series is None else np.asarray(series)) if group is None else np.asarray(group),
        fold=zeros if fold is None else np.asarray(fold),
        step=np.arange(len(y)),
        scales={name: np.broadcast_to(np.asarray(scale.get(name, 2.0)), len(y)).astype(float) for name in names},
    )


def loss(name: str, values, truth: Truth, outputs=("mean",), groups: int | None = None):
    values = np.asarray(values, dtype=float).reshape(len(truth), -1)
    return get_metric(name).loss(values, outputs, truth, groups)


def test_formulas_on_a_series_worked_out_by_hand():
    truth = truth_of([2.0, 4.0, 8.0], seasonal_squared_error=4.0, naive2=[4.0, 4.0, 4.0])
    forecast = [3.0, 4.0, 6.0]
    smape, smape_naive2 = (200 / 5 + 0 + 400 / 14) / 3, (400 / 6 + 0 + 800 / 12) / 3
    expected = {
        "mae": 1.0,
        "rmse": np.sqrt(5 / 3),
        "medae": 1.0,
        "mape": (50 + 0 + 25) / 3,
        "smape": smape,
        "wape": 3 / 14,
        "mase": 0.5,
        "rmsse": np.sqrt(5 / 3 / 4),
        "owa": 0.5 * (smape / smape_naive2 + 1.0 / 2.0),
        "bias": 1 / 14,
        "r2": -(1 - 5 / (56 / 3)),
    }
    for name, value in expected.items():
        assert loss(name, forecast, truth) == pytest.approx(value, rel=1e-14), name
    assert get_metric("bias").score(np.array(forecast)[:, None], ("mean",), truth) == pytest.approx(-1 / 14)


def test_quantile_losses_read_outputs_by_level_in_any_order():
    truth = truth_of([10.0, 20.0])
    values = [[0.0, 12.0, 8.0], [0.0, 19.0, 15.0]]
    outputs = ("mean", "0.9", "0.1")
    mean_pinball = ((0.1 * 2 + 0.1 * 5) / 2 + (0.1 * 2 + 0.9 * 1) / 2) / 2
    assert loss("pinball", values, truth, outputs) == pytest.approx(mean_pinball)
    assert loss("sql", values, truth, outputs) == pytest.approx(2 * mean_pinball / 2)
    assert loss("wql", values, truth, outputs) == pytest.approx(2 * mean_pinball / 15)
    assert get_metric("coverage").score(np.array(values), outputs, truth) == 0.5
    assert loss("coverage", values, truth, outputs) == pytest.approx(abs(0.5 - 0.8))


def test_scaled_metrics_average_over_series_and_plain_ones_over_rows():
    truth = truth_of([0.0, 0.0, 0.0], series=[0, 0, 1], seasonal_error=[1.0, 1.0, 2.0])
    assert loss("mae", [1.0, 3.0, 8.0], truth) == 4.0
    assert loss("mase", [1.0, 3.0, 8.0], truth) == (2.0 + 4.0) / 2
    assert loss("mase", [1.0, 3.0, 8.0], truth, groups=2).tolist() == [2.0, 4.0]


def test_mean_over_folds_of_the_value_per_fold():
    truth = truth_of([0.0, 0.0, 0.0], fold=[3, 3, 7])
    assert get_metric("rmse").by_fold(np.array([[1.0], [7.0], [2.0]]), ("mean",), truth).tolist() == [5.0, 2.0]
    assert loss("rmse", [1.0, 7.0, 2.0], truth) == 3.5


def test_weights_count_rows():
    y, forecast, weight = np.array([3.0, 5.0, 9.0, 4.0]), np.array([2.0, 7.0, 6.0, 4.5]), np.array([1, 3, 2, 1])
    once = truth_of(y, weight=weight)
    repeated = truth_of(np.repeat(y, weight))
    for name in metric_names():
        # Spearman's weights count in the correlation; ranks are those of distinct rows.
        if not get_metric(name).needs_quantiles and name != "spearman":
            assert loss(name, forecast, once) == pytest.approx(loss(name, np.repeat(forecast, weight), repeated)), name


def test_weighted_median_takes_the_middle_of_two_at_an_exact_half():
    truth = truth_of([0.0] * 4, weight=[0.1, 0.1, 0.1, 0.3])
    assert loss("medae", [1.0, 2.0, 3.0, 4.0], truth) == 3.5
    assert loss("medae", [1.0, 2.0, 3.0, 4.0], truth_of([0.0] * 4)) == 2.5


def test_zeros_and_constants_by_the_written_rules():
    zeros = truth_of([0.0, 0.0])
    assert loss("smape", [0.0, 1.0], zeros) == 100.0
    assert loss("wape", [0.0, 3.0], zeros) == 1.5
    assert loss("bias", [0.0, 3.0], zeros) == 1.5
    assert loss("owa", [0.0, 0.0], truth_of([0.0, 0.0], naive2=0.0)) == 0.0
    assert np.isnan(loss("mape", [0.0, 1.0], zeros))
    assert loss("mape", [9.0, 12.0], truth_of([0.0, 10.0])) == pytest.approx(20.0)
    constant = truth_of([0.1, 0.1, 0.1])
    for name in ("r2", "explained_variance", "spearman"):
        assert loss(name, [0.1, 0.2, 0.5], constant) == 0.0
    assert loss("spearman", [5.0, 5.0], truth_of([1.0, 2.0])) == 0.0
    assert loss("r2", [9.0, -9.0], truth_of([1.0, 2.0])) == 1.0
    assert loss("rmsle", [-5.0, 0.0], truth_of([0.0, -3.0])) == 0.0


def test_tiny_series_keep_their_mape():
    assert loss("mape", [1.1e-12, 2e-12], truth_of([1e-12, 2e-12])) == pytest.approx(5.0)


def test_spearman_gives_ties_their_mean_rank():
    truth, forecast = truth_of([1.0, 2.0, 2.0, 3.0]), [10.0, 10.0, 20.0, 30.0]
    a, b = np.array([1, 2.5, 2.5, 4]), np.array([1.5, 1.5, 3, 4])
    assert loss("spearman", forecast, truth) == pytest.approx(-np.corrcoef(a, b)[0, 1])


def test_a_missing_prediction_makes_the_loss_missing_and_a_missing_truth_does_not():
    truth = truth_of([1.0, 2.0, np.nan, 5.0], weight=[1, 1, 1, 0])
    outputs = ("mean", "0.1", "0.9")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 3))
    values[2:] = np.nan
    for name in metric_names():
        assert np.isfinite(get_metric(name).loss(values, outputs, truth)), name
        broken = values.copy()
        broken[0] = np.nan
        assert np.isnan(get_metric(name).loss(broken, outputs, truth)), name


def test_names_and_aliases():
    assert get_metric("normalized_root_mean_squared_error") is get_metric("nrmse")
    assert set(ALIASES.values()) <= set(metric_names())
    with pytest.raises(ConfigError, match=r"'masse' is unknown; did you mean 'mase'\? known are mae, "):
        get_metric("masse")
    with pytest.raises(ConfigError, match="'wql' needs quantiles; the outputs are mean"):
        loss("wql", [1.0], truth_of([1.0]))


def test_a_metric_of_ones_own(monkeypatch):
    monkeypatch.setattr(metrics, "_registered", dict(metrics._registered))
    register_metric(FormulaMetric("scaled_square", Ratio((Term(losses.squared, "range"),))))
    assert "scaled_square" in metric_names()
    assert loss("scaled_square", [4.0], truth_of([0.0])) == 8.0
    with pytest.raises(ConfigError, match="has no 'name'"):
        register_metric(object())


def test_scales_from_the_train_rows_and_their_fallbacks():
    series = [
        [1.0, 2.0, 4.0, 8.0, 16.0],  # lag 2: 3, 6, 12
        [1.0, 5.0, 1.0, 5.0, 1.0],  # lag 2 is zero: lag 1
        [7.0, 7.0, 7.0, 7.0],  # constant: the level
        [0.0, 0.0, 0.0],  # zero: 1
        [3.0, np.nan, 9.0],  # one pair
        [-4.0],  # no pair
        [],
    ]
    got = scales(Panel.of(series), Panel.of(series), 2)
    assert got["seasonal_error"].tolist() == [7.0, 4.0, 7.0, 1.0, 6.0, 4.0, 1.0]
    assert got["seasonal_squared_error"].tolist() == [63.0, 16.0, 49.0, 1.0, 36.0, 16.0, 1.0]
    assert got["range"].tolist() == [15.0, 4.0, 7.0, 1.0, 6.0, 4.0, 1.0]
    assert got["log_range"][[0, 2, 3, 5, 6]] == pytest.approx([np.log(17 / 2), np.log(8), 1.0, 1.0, 1.0])


def test_scales_take_rounding_for_constancy():
    noisy = 0.3 + 1e-17 * np.arange(20) + np.array([0.0, 5e-17] * 10)
    assert scales(Panel.of([noisy]), Panel.of([noisy]), 1)["seasonal_error"][0] == pytest.approx(0.3)
