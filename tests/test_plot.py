from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from forecastml.data.frames import read_panel
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError, DataError, ForecastMLError, MissingExtra
from forecastml.extras import require
from forecastml.plot import plot_forecast

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.dates import num2date  # noqa: E402

DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))
ONE = Schema("y", "ds")
MANY = Schema("sales", "day", ("store", "item"))


def ahead(times, mean, levels=DECILES, **keys) -> pd.DataFrame:
    """A forecast whose interval grows with the steps: quantile q lies at mean + (q - 0.5) x step."""
    mean = np.asarray(mean, dtype=float)
    spread = 1.0 + np.arange(len(mean))
    return pd.DataFrame({**keys, "ds": times, "mean": mean, **{str(q): mean + (q - 0.5) * spread for q in levels}})


@pytest.fixture
def shops() -> tuple[pd.DataFrame, pd.DataFrame]:
    """History and forecast of 2 x 5 daily series; values say which series they are."""
    days = pd.date_range("2024-01-01", periods=100)
    past, after = [], []
    for i in range(10):
        keys = {"store": f"{i // 5:03d}", "item": i % 5}
        past.append(pd.DataFrame({**keys, "day": days[:90], "sales": 100.0 * i + np.arange(90)}))
        rows = ahead(days[90:], 100.0 * i + np.arange(90, 100), item=i % 5).rename(columns={"ds": "day"})
        after.append(rows.assign(store=f"{i // 5:03d}", item=str(i % 5)))
    order = np.random.default_rng(0).permutation(900)
    return pd.concat(past, ignore_index=True).iloc[order], pd.concat(after, ignore_index=True)


def visible(figure) -> list:
    return [axis for axis in figure.axes if axis.get_visible()]


def line(axis, label: str) -> tuple[np.ndarray, np.ndarray]:
    found = [one for one in axis.get_lines() if one.get_label() == label]
    assert len(found) == 1, [one.get_label() for one in axis.get_lines()]
    return found[0].get_xdata(), found[0].get_ydata()


def bands(axis) -> dict[str, np.ndarray]:
    """Label -> the corners of each band."""
    return {band.get_label(): band.get_paths()[0].vertices for band in axis.collections}


def legend(figure) -> list[str]:
    (only,) = figure.legends
    return [text.get_text() for text in only.get_texts()]


def test_a_panel_shows_the_right_series_with_mean_and_bands(shops):
    figure = plot_forecast(*shops, MANY, series=("001", "2"))
    (axis,) = visible(figure)
    assert axis.get_title("left") == "store=001, item=2"
    at, past = line(axis, "history")
    assert past.tolist() == (700.0 + np.arange(50, 90)).tolist(), "four horizons of it, in order"
    assert num2date(at[-1]).date().isoformat() == "2024-03-30"
    at, mean = line(axis, "forecast (mean)")
    assert mean.tolist() == (700.0 + np.arange(90, 100)).tolist()
    shown = bands(axis)
    assert list(shown) == ["80 % interval", "60 % interval", "40 % interval", "20 % interval"]
    outer = shown["80 % interval"]
    assert outer[:, 1].max() == pytest.approx(799 + 0.4 * 10)
    assert outer[:, 1].min() == pytest.approx(790 - 0.4)
    assert outer[:, 0].min() == at[0] and outer[:, 0].max() == at[-1]
    assert legend(figure) == ["history", "forecast (mean)", *shown]


def test_inner_bands_are_darker_and_above():
    times = pd.date_range("2024-01-01", periods=40)
    figure = plot_forecast({"ds": times[:30], "y": np.arange(30.0)}, ahead(times[30:], np.ones(10)), ONE)
    collections = visible(figure)[0].collections
    brightness = [band.get_facecolor()[0][:3].sum() for band in collections]
    assert brightness == sorted(brightness, reverse=True) and len(set(brightness)) == 4


def test_the_origin_is_a_line_at_the_last_time_of_the_history(shops):
    axis = visible(plot_forecast(*shops, MANY, series=[("000", "0")]))[0]
    upright = [one for one in axis.get_lines() if len(set(one.get_xdata())) == 1 and len(one.get_xdata()) == 2]
    assert [num2date(one.get_xdata()[0]).date().isoformat() for one in upright] == ["2024-03-30"]


@pytest.mark.parametrize(("limit", "panels"), [(1, 1), (4, 4), (6, 6), (9, 9), (50, 10)])
def test_as_many_series_as_the_limit_allows_are_shown_spread_evenly(shops, limit, panels):
    figure = plot_forecast(*shops, MANY, limit=limit)
    titles = [axis.get_title("left") for axis in visible(figure)]
    assert len(titles) == len(set(titles)) == panels
    note = [text.get_text() for text in figure.texts]
    assert (f"{panels} of 10 series" in note) is (panels < 10)
    if panels == 4:
        assert {title.split(",")[0] for title in titles} == {"store=000", "store=001"}


def test_what_came_true_is_drawn_at_the_steps_of_the_forecast(shops):
    history, forecast = shops
    truth = forecast[["store", "item", "day"]].assign(sales=forecast["mean"] + 1)
    both = pd.concat([history.astype({"item": str}), truth.iloc[:93]])
    axis = visible(plot_forecast(history, forecast, MANY, series=("001", "4"), actual=both))[0]
    at, values = line(axis, "actual")
    assert values.tolist() == [991.0, 992.0, 993.0] and at.tolist() == line(axis, "forecast (mean)")[0][:3].tolist()


def test_rows_of_the_history_after_the_origin_are_left_out():
    times = pd.date_range("2024-01-01", periods=40)
    table = {"ds": times, "y": np.arange(40.0)}
    axis = visible(plot_forecast(table, ahead(times[30:], np.ones(10)), ONE, actual=table))[0]
    assert line(axis, "history")[1].max() == 29
    assert line(axis, "actual")[1].tolist() == list(range(30, 40))


def frames(kind: str, table: pd.DataFrame):
    if kind == "polars":
        return pytest.importorskip("polars").from_pandas(table)
    if kind == "arrow":
        import pyarrow

        return pyarrow.Table.from_pandas(table, preserve_index=False)
    if kind == "dict":
        return {name: table[name].to_numpy() for name in table}
    return table


@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "dict"])
def test_any_kind_of_table_gives_the_same_picture(kind, zone):
    times = pd.date_range("2024-10-25 22:00", periods=100, freq="h", tz=zone)
    table = pd.DataFrame({"id": "a", "ds": times, "y": pd.array(np.arange(100), dtype="Int64")})
    table.loc[80, "y"] = pd.NA
    forecast = ahead(times[90:], np.ones(10), id="a")
    axis = visible(plot_forecast(frames(kind, table[:90]), frames(kind, forecast), Schema("y", "ds", ("id",))))[0]
    at, values = line(axis, "history")
    assert len(at) == 40 and np.isnan(values[-10]) and values[-1] == 89
    local = times[89].tz_localize(None)
    assert num2date(at[-1]).replace(tzinfo=None) == local.to_pydatetime(), "the wall clock of the zone"


def test_a_panel_can_be_drawn_as_it_is(shops):
    history, forecast = shops
    panel = read_panel(history.astype({"item": str}), MANY).data
    other = panel.last(60)
    one = visible(plot_forecast(history, forecast, MANY, limit=3))
    for axis, again in zip(one, visible(plot_forecast(other, forecast, MANY, limit=3)), strict=True):
        for a, b in zip(line(axis, "history"), line(again, "history"), strict=True):
            assert a.tolist() == b.tolist()


def test_a_panel_in_a_zone_is_drawn_on_the_local_clock():
    times = pd.date_range("2024-07-01", periods=60, freq="h", tz="America/New_York")
    panel = read_panel(pd.DataFrame({"ds": times[:50], "y": np.arange(50.0)}), ONE).data
    axis = visible(plot_forecast(panel, ahead(times[50:], np.ones(10)), ONE))[0]
    assert num2date(line(axis, "history")[0][-1]).hour == times[49].hour
    assert line(axis, "forecast (mean)")[0][0] - line(axis, "history")[0][-1] == pytest.approx(1 / 24)


def test_whole_numbers_are_a_time_axis_too():
    forecast = ahead(np.arange(50, 60), np.ones(10))
    figure = plot_forecast({"ds": np.arange(50), "y": np.arange(50.0)}, forecast, ONE)
    axis = visible(figure)[0]
    assert line(axis, "history")[0].tolist() == list(range(10, 50))
    figure.canvas.draw()
    assert [text.get_text() for text in axis.get_xticklabels() if text.get_text()][:1] != [""]
    assert all(float(text.get_text()).is_integer() for text in axis.get_xticklabels())


def test_a_forecast_of_one_step_has_an_interval_that_can_be_seen():
    times = pd.date_range("2024-01-01", periods=31)
    axis = visible(plot_forecast({"ds": times[:30], "y": np.arange(30.0)}, ahead(times[30:], [5.0]), ONE))[0]
    corners = bands(axis)["80 % interval"]
    width = corners[:, 0].max() - corners[:, 0].min()
    assert 0.3 < width < 1 and corners[:, 0].mean() == pytest.approx(line(axis, "forecast (mean)")[0][0], abs=0.2)
    mean = next(one for one in axis.get_lines() if one.get_label() == "forecast (mean)")
    assert mean.get_marker() == "o"
    assert len(line(axis, "history")[0]) == 24


def test_missing_values_are_gaps_and_a_lone_value_is_a_point():
    times = pd.date_range("2024-01-01", periods=34)
    y = np.arange(24.0)
    y[[10, 12]] = np.nan
    axis = visible(plot_forecast({"ds": times[:24], "y": y}, ahead(times[24:], np.ones(10)), ONE))[0]
    assert np.isnan(line(axis, "history")[1][[10, 12]]).all()
    points = [one for one in axis.get_lines() if one.get_marker() == "."]
    assert [one.get_ydata().tolist() for one in points] == [[11.0]]


def test_a_hole_in_the_rows_is_not_bridged_but_a_weekend_is():
    days = pd.bdate_range("2024-01-01", periods=60)
    kept = np.r_[0:20, 30:50]
    forecast = ahead(days[50:], np.ones(10))
    axis = visible(plot_forecast({"ds": days[kept], "y": np.arange(60.0)[kept]}, forecast, ONE))[0]
    values = line(axis, "history")[1]
    assert np.flatnonzero(np.isnan(values)).tolist() == [20] and len(values) == 41


def test_without_quantiles_there_is_a_mean_alone():
    times = pd.date_range("2024-01-01", periods=40)
    figure = plot_forecast({"ds": times[:30], "y": np.arange(30.0)}, ahead(times[30:], np.ones(10), ()), ONE)
    assert bands(visible(figure)[0]) == {}
    assert legend(figure) == ["history", "forecast (mean)"]


def test_quantiles_without_a_partner_are_lines_and_many_pairs_are_thinned():
    times = pd.date_range("2024-01-01", periods=40)
    table = {"ds": times[:30], "y": np.arange(30.0)}
    one = plot_forecast(table, ahead(times[30:], np.ones(10), (0.05, 0.5, 0.8, 0.95)), ONE)
    assert legend(one) == ["history", "forecast (mean)", "90 % interval", "quantile 0.8"]
    every = tuple(round(0.01 * k, 2) for k in range(1, 100))
    many = plot_forecast(table, ahead(times[30:], np.ones(10), every), ONE)
    shown = legend(many)[2:]
    assert (len(shown), shown[0], shown[-1]) == (4, "98 % interval", "2 % interval")


def test_a_series_without_history_is_drawn_all_the_same(shops):
    history, forecast = shops
    axis = visible(plot_forecast(history[history["store"] == "000"], forecast, MANY, series=("001", "1")))[0]
    assert len(line(axis, "history")[0]) == 0 and len(line(axis, "forecast (mean)")[0]) == 10


def test_titles_are_text_and_fit(tmp_path):
    times = pd.date_range("2024-01-01", periods=40)
    keys = ["a $x^{ b", "_" * 200, "<b>"]
    history = pd.concat([pd.DataFrame({"id": k, "ds": times[:30], "y": np.arange(30.0)}) for k in keys])
    forecast = pd.concat([ahead(times[30:], np.ones(10), id=k) for k in keys])
    figure = plot_forecast(history, forecast, Schema("y", "ds", ("id",)))
    figure.savefig(tmp_path / "plot.png")
    titles = [axis.get_title("left") for axis in visible(figure)]
    assert titles[0] == "id=a $x^{ b" and len(titles[1]) < 80 and "…" in titles[1]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_figure_can_be_saved_and_nothing_overlaps(shops, tmp_path, suffix):
    figure = plot_forecast(*shops, MANY)
    figure.savefig(tmp_path / f"plot.{suffix}")
    assert (tmp_path / f"plot.{suffix}").stat().st_size > 5_000
    if suffix == "png":
        assert figure.get_size_inches()[0] * figure.dpi == 1200
        renderer = figure.canvas.get_renderer()
        boxes = [axis.get_tightbbox(renderer) for axis in visible(figure)]
        boxes.append(figure.legends[0].get_window_extent(renderer))
        overlaps = [(i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes) if i < j and a.overlaps(b)]
        assert overlaps == []
        assert min(box.x0 for box in boxes) >= 0 and max(box.x1 for box in boxes) <= 1200


def test_pyplot_and_the_settings_of_others_are_left_alone():
    code = (
        "import sys, numpy as np, matplotlib\n"
        "def settings():\n"
        "    return {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = settings()\n"
        "from forecastml.plot import plot_forecast\n"
        "from forecastml.data.schema import Schema\n"
        "plot_forecast({'ds': np.arange(9), 'y': np.ones(9)}, {'ds': [9, 10], 'mean': [1.0, 1.0]}, Schema('y', 'ds'))\n"
        "print('matplotlib.pyplot' in sys.modules, 'pandas' in sys.modules, before == settings())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"] and done.stderr == ""


TIMES = pd.date_range("2024-01-01", periods=40)
GOOD = ({"ds": TIMES[:30], "y": np.arange(30.0)}, ahead(TIMES[30:], np.ones(10)), ONE)
WRONG = {
    "a target that is not there": (({"ds": TIMES, "z": np.ones(40)}, *GOOD[1:]), {}, DataError, "history: 'y'"),
    "a forecast without a mean": ((GOOD[0], GOOD[1].drop(columns="mean"), ONE), {}, DataError, "forecast: 'mean'"),
    "a forecast without rows": ((GOOD[0], GOOD[1][:0], ONE), {}, DataError, "no rows"),
    "dates and numbers": (({"ds": np.arange(30), "y": np.ones(30)}, *GOOD[1:]), {}, DataError, "both"),
    "times that are none": (
        ({"ds": np.array(["soon"] * 30, dtype=object), "y": np.ones(30)}, *GOOD[1:]),
        {},
        DataError,
        "soon",
    ),
    "text among the numbers": (
        ({"ds": TIMES[:30], "y": np.array(["much"] * 30, dtype=object)}, *GOOD[1:]),
        {},
        DataError,
        "'y' holds text",
    ),
    "a limit of nothing": (GOOD, {"limit": 0}, ConfigError, "limit is 0"),
    "truth without a target": (GOOD, {"actual": GOOD[1]}, DataError, "actual: 'y'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_drawn_is_refused_with_a_message(case):
    arguments, options, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        plot_forecast(*arguments, **options)


def test_an_unknown_series_is_refused_by_name(shops):
    with pytest.raises(ConfigError, match="'007, 1'"):
        plot_forecast(*shops, MANY, series=("007", "1"))


def test_without_matplotlib_the_message_has_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'forecastml\[plot\]'"):
        plot_forecast(*GOOD)


def test_require_gives_the_module_or_says_what_to_install():
    import json

    assert require("json", "plot") is json
    with pytest.raises(MissingExtra, match=r"no_such_library.*pip install 'forecastml\[serve\]'") as raised:
        require("no_such_library", "serve")
    assert isinstance(raised.value, ForecastMLError) and isinstance(raised.value, ImportError)
