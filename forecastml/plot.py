"""Forecasts as a picture: one panel per series, with history, mean, intervals and, where known, what came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from forecastml.data.calendar import to_local, to_times
from forecastml.data.panel import Panel
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError, DataError
from forecastml.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that people with any kind of colour vision tell apart (Okabe and Ito); bands from the outermost inwards.
HISTORY, MEAN, ACTUAL, ORIGIN = "#404040", "#0072B2", "#D55E00", "#8c8c8c"
OUTERMOST, INNERMOST = np.array([0.85, 0.91, 0.96]), np.array([0.48, 0.70, 0.86])
#: More bands than these cannot be told apart.
MOST_BANDS = 4
#: Horizons of history that are shown, and the least number of its points.
HORIZONS_SHOWN, POINTS_SHOWN = 4, 24
#: A hole in time longer than so many steps is left open (shorter ones are weekends).
HOLE = 5.5
#: Characters of a title over the whole width of the figure.
LONGEST_TITLE = 110


def plot_forecast(
    history: Any,
    forecast: Any,
    roles: Schema,
    series: str | Sequence[Any] | None = None,
    limit: int = 6,
    actual: Any = None,
) -> Figure:
    """A figure with one panel per series: `figure.savefig("plot.png")`.

    history: the rows up to the origin, of which at most four horizons are drawn; forecast: from `FittedModel.forecast`,
    with the series columns, the time column, "mean", and quantile columns such as "0.1", of which pairs (0.1 and 0.9)
    become bands and others but the median thin lines; actual: rows with the target at times of the forecast. Each is
    a `Panel`, a pandas, polars or Arrow table, or a mapping of column names to arrays. roles: names the columns.
    series: key or keys to show (text, or one text per key column); None: `limit` of them, spread evenly over the
    forecast. Times are those of the local clock. Raises `MissingExtra` without matplotlib, `DataError` for a column
    that is missing, `ConfigError` for an unknown series.
    """
    require("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    past, ahead = _Columns.of(history, roles, "history"), _Columns.of(forecast, roles, "forecast", "mean")
    truth = None if actual is None else _Columns.of(actual, roles, "actual")
    keys, count = _chosen(ahead, series, limit)
    across = 1 if len(keys) <= 2 else 2 if len(keys) <= 8 else 3
    down = -(-len(keys) // across)
    figure = Figure(figsize=(12, 1.0 + max(2.6 * down, 3.4)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes[len(keys) :]:
        axis.set_visible(False)
    for axis, key in zip(axes, keys, strict=False):
        _draw(axis, _Part.cut(past, ahead, truth, key))
        title = ", ".join(f"{c}={k}" for c, k in zip(roles.series, key, strict=True))
        axis.set_title(_short(title, LONGEST_TITLE // across), fontsize=10, loc="left", parse_math=False)
    _label(figure, axes[: len(keys)], roles.target, f"{len(keys)} of {count} series" if len(keys) < count else "")
    return figure


@dataclass(frozen=True, eq=False)
class _Columns:
    """The columns of a table that are drawn: time (rows,), a code per key column with its texts, values by name."""

    what: str
    time: np.ndarray
    keys: tuple[tuple[np.ndarray, list[str]], ...]
    values: dict[str, np.ndarray]

    @classmethod
    def of(cls, table: Any, roles: Schema, what: str, value: str | None = None) -> _Columns:
        table = _of_panel(table) if isinstance(table, Panel) else table
        names = [str(name) for name in getattr(table, "column_names", None) or getattr(table, "columns", table)]
        value = value or roles.target
        for name in (*roles.series, roles.time, value):
            if name not in names:
                raise DataError(f"{what}: {name!r} not found; the table has the columns {', '.join(map(repr, names))}")
        levels = [name for name in names if value == "mean" and _level(name)]
        return cls(
            what,
            _clock(table, str(roles.time), what),
            tuple(_codes(_array(table, name)) for name in roles.series),
            {name: _array(table, name) for name in (value, *levels)},
        )

    def distinct(self) -> list[tuple[str, ...]]:
        """The keys, in the order in which they appear."""
        number = np.zeros(len(self.time), np.int64)
        for codes, texts in self.keys:
            number = number * len(texts) + codes
        first = np.sort(np.unique(number, return_index=True)[1])
        return [tuple(texts[codes[row]] for codes, texts in self.keys) for row in first]

    def rows(self, key: tuple[str, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Times of this series in order, and the values at them by column: float64 (rows,)."""
        wanted = np.ones(len(self.time), bool)
        for (codes, texts), text in zip(self.keys, key, strict=True):
            wanted &= codes == (texts.index(text) if text in texts else -2)
        index = np.flatnonzero(wanted)
        time = _as_times(self.time[index], self.what)
        order = np.argsort(time, kind="stable")
        return time[order], {name: _floats(column[index][order], name) for name, column in self.values.items()}


@dataclass(frozen=True, eq=False)
class _Part:
    """What one panel shows: positions on the time axis, and the values there."""

    dates: bool
    past_at: np.ndarray
    past: np.ndarray
    at: np.ndarray
    outputs: dict[str, np.ndarray]
    actual_at: np.ndarray
    actual: np.ndarray

    @classmethod
    def cut(cls, past: _Columns, ahead: _Columns, truth: _Columns | None, key: tuple[str, ...]) -> _Part:
        """The end of the history up to the forecast's first step, the forecast, and what is known of its steps."""
        time, outputs = ahead.rows(key)
        before, values = past.rows(key)
        (target,) = values.values()
        if len(before) and before.dtype.kind != time.dtype.kind:
            raise DataError("history and forecast must both have dates, or both whole numbers, in the time column")
        shown = max(HORIZONS_SHOWN * len(time), POINTS_SHOWN)
        kept = np.flatnonzero(before < time[0])[-shown:]
        when, known = time[:0], target[:0]
        if truth is not None:
            when, true = truth.rows(key)
            (known,) = true.values()
            there = np.isin(when, time)
            when, known = when[there], known[there]
        return cls(
            time.dtype.kind == "M",
            _position(before[kept]),
            target[kept],
            _position(time),
            outputs,
            _position(when),
            known,
        )

    @property
    def step(self) -> float:
        """The usual distance of two points."""
        at = self.at if len(self.at) > 1 else self.past_at
        return float(np.median(np.diff(at))) if len(at) > 1 else 1.0


def _of_panel(panel: Panel) -> dict[str, np.ndarray]:
    """The target of a panel as columns: key columns, time on the local clock, target."""
    row = np.repeat(np.arange(len(panel)), panel.lengths)
    within = np.arange(len(row)) - np.repeat(np.cumsum(panel.lengths) - panel.lengths, panel.lengths)
    time = to_times(panel.start[row] + within * panel.frequency.step, panel.frequency)
    if panel.tz is not None and panel.frequency.unit == "microsecond":
        time = to_local(time, panel.tz)
    keys = {name: panel.keys[row, j] for j, name in enumerate(panel.schema.series)}
    return {**keys, str(panel.schema.time): time, panel.schema.target: panel.target[panel.begin[row] + within]}


def _array(table: Any, name: str) -> np.ndarray:
    column = table[name]
    return np.asarray(column if isinstance(table, Mapping) or not hasattr(column, "to_numpy") else column.to_numpy())


def _clock(table: Any, name: str, what: str) -> np.ndarray:
    """The time column; where it has a zone, on the clock of that zone."""
    column = table[name]
    kind = getattr(column, "dtype", getattr(column, "type", None))
    zone = getattr(kind, "tz", None) or getattr(kind, "time_zone", None)
    if zone is None:
        values = _array(table, name)
        if values.dtype.kind not in "MiufO":
            raise DataError(f"{what}: time column {name!r} holds {values.dtype}; give dates or whole numbers")
        return values
    # pandas hands out the instants only when it is asked for this type; the others have no such argument.
    pandas = hasattr(kind, "na_value")
    utc = column.to_numpy(dtype="datetime64[us]") if pandas else column.to_numpy().astype("datetime64[us]")
    return to_local(utc, str(zone))


def _as_times(values: np.ndarray, what: str) -> np.ndarray:
    """Times as datetime64[us] or int64."""
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    try:
        if values.dtype.kind == "O":
            bare = [v.replace(tzinfo=None) if getattr(v, "tzinfo", None) else v for v in values]
            whole = all(isinstance(v, int | np.integer) for v in bare)
            return np.array(bare, dtype=np.int64 if whole else "datetime64[us]")
        return values.astype(np.int64)
    except (TypeError, ValueError) as failure:
        raise DataError(f"{what}: the time column holds {values[0]!r}; give dates or whole numbers") from failure


def _codes(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A key column as codes into its distinct texts; 7 and 7.0 are one text, as in the tables that are read."""
    import pyarrow as pa

    try:
        encoded = pa.array(values, from_pandas=True).dictionary_encode()
    except pa.ArrowException:
        encoded = pa.array([str(value) for value in values]).dictionary_encode()
    found = encoded.dictionary.to_pylist()
    texts = [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in found]
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), texts


def _floats(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind != "O":
        return values.astype(np.float64)
    try:
        # None and the missing values of data frames have no comparison of their own, but one text each.
        return np.array([np.nan if str(v) in ("None", "<NA>", "NaT") else float(v) for v in values], dtype=np.float64)
    except (TypeError, ValueError) as failure:
        raise DataError(f"column {name!r} holds text; a number is needed") from failure


def _position(time: np.ndarray) -> np.ndarray:
    """Places on the time axis: days since 1970 of dates, whole numbers as they are: float64 (rows,)."""
    from matplotlib.dates import date2num

    return np.asarray(date2num(time) if time.dtype.kind == "M" else time, dtype=np.float64)


def _level(name: str) -> float | None:
    """The quantile level that a column is named after, if it is."""
    try:
        level = float(name)
    except ValueError:
        return None
    return level if 0 < level < 1 else None


def _chosen(ahead: _Columns, series: Any, limit: int) -> tuple[list[tuple[str, ...]], int]:
    """The keys to show, and how many there are."""
    there = ahead.distinct()
    if not there:
        raise DataError("the forecast has no rows; there is nothing to draw")
    if limit < 1:
        raise ConfigError(f"limit is {limit}; give a whole number of 1 or more")
    if series is None:
        shown = min(limit, len(there))
        return [there[int((k + 0.5) * len(there) / shown)] for k in range(shown)], len(there)
    single = isinstance(series, str) or (len(ahead.keys) > 1 and not any(isinstance(k, tuple | list) for k in series))
    keys = [tuple(map(str, (k,) if isinstance(k, str) else k)) for k in ([series] if single else series)]
    if unknown := [key for key in keys if key not in there]:
        raise ConfigError(
            f"series {', '.join(unknown[0])!r} is not in the forecast; one that is: {', '.join(there[0])!r}"
        )
    return keys, len(there)


def _draw(axis: Axes, part: _Part) -> None:
    """One panel, bands below and the mean above."""
    few = 0.35 * part.step * np.array([-1.0, 1.0])
    wide = part.at if len(part.at) > 1 else part.at + few
    bands, lines = _intervals(part.outputs)
    for k, (label, low, high) in enumerate(bands):
        colour = OUTERMOST + (INNERMOST - OUTERMOST) * (k / max(len(bands) - 1, 1))
        axis.fill_between(
            wide, *np.broadcast_arrays(low, high, wide)[:2], color=colour, linewidth=0, label=label, zorder=1
        )
    for name in lines:
        axis.plot(wide, part.outputs[name] + 0 * wide, color=MEAN, lw=0.8, ls="--", label=f"quantile {name}", zorder=2)
    at, past = _with_holes(part.past_at, part.past, part.step)
    axis.plot(at, past, color=HISTORY, lw=1.2, label="history", zorder=3)
    alone = _alone(past)
    axis.plot(at[alone], past[alone], color=HISTORY, ls="", marker=".", ms=3.5, zorder=3)
    mark = "o" if len(part.at) < 3 else ""
    axis.plot(part.at, part.outputs["mean"], color=MEAN, lw=1.8, marker=mark, ms=4.5, label="forecast (mean)", zorder=4)
    if len(part.actual):
        size = 5.5 if len(part.at) < 3 else 2.8 if len(part.at) <= 60 else 1.6
        axis.plot(part.actual_at, part.actual, color=ACTUAL, ls="", marker="o", ms=size, label="actual", zorder=5)
    if len(part.past_at):
        axis.axvline(part.past_at[-1], color=ORIGIN, lw=0.8, zorder=0.9)
    _dress(axis, part)


def _intervals(outputs: dict[str, np.ndarray]) -> tuple[list[tuple[str, np.ndarray, np.ndarray]], list[str]]:
    """Bands as (label, low, high), outermost first, and the quantile columns that have no partner."""
    levels = {level: name for name in outputs if (level := _level(name)) is not None}
    partner = {low: high for low in levels for high in levels if low < 0.5 and abs(low + high - 1) < 1e-9}
    shown = sorted(partner)
    if len(shown) > MOST_BANDS:
        shown = [shown[i] for i in np.round(np.linspace(0, len(shown) - 1, MOST_BANDS)).astype(int)]
    bands = [
        (f"{100 * (partner[low] - low):.4g} % interval", outputs[levels[low]], outputs[levels[partner[low]]])
        for low in shown
    ]
    paired = {*partner, *partner.values(), 0.5}
    return bands, [levels[level] for level in sorted(levels) if level not in paired]


def _with_holes(at: np.ndarray, values: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """The points with a missing one in each hole, so that no line crosses it."""
    hole = np.flatnonzero(np.diff(at) > HOLE * step) + 1
    return np.insert(at, hole, at[hole] - step), np.insert(values, hole, np.nan)


def _alone(values: np.ndarray) -> np.ndarray:
    """Whether a value has no neighbour to draw a line to: bool (values,)."""
    there = np.concatenate([[False], ~np.isnan(values), [False]])
    return there[1:-1] & ~there[:-2] & ~there[2:]


def _dress(axis: Axes, part: _Part) -> None:
    from matplotlib import dates, ticker

    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e6e6e6", lw=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=9, color=ORIGIN)
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(_number))
    axis.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.margins(x=0.015)
    if part.dates:
        locator = dates.AutoDateLocator(minticks=3, maxticks=8)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    else:
        axis.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True))
    values = np.concatenate([part.past, part.actual, *part.outputs.values()])
    values = values[np.isfinite(values)]
    if len(values) and values.min() >= 0:
        near = values.min() < 0.35 * values.max()
        axis.set_ylim(bottom=0 if near else max(axis.get_ylim()[0], 0))


def _label(figure: Figure, axes: Sequence[Axes], target: str, note: str) -> None:
    """What all panels share: the name of the target, a legend, how many series there are."""
    seen: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            seen.setdefault(label, handle)
    first = [label for label in ("history", "forecast (mean)", "actual") if label in seen]
    order = first + [label for label in seen if label not in first]
    figure.legend([seen[k] for k in order], order, loc="outside upper center", ncols=8, frameon=False, fontsize=9)
    figure.supylabel(target, fontsize=10, parse_math=False)
    if note:
        figure.supxlabel(note, fontsize=8, color="#666666", x=0.995, ha="right")


def _short(title: str, longest: int) -> str:
    half = (longest - 3) // 2
    return title if len(title) <= longest else f"{title[:half]} … {title[-half:]}"


def _number(value: float, _: int) -> str:
    return f"{value:,.10g}" if abs(value) < 1e9 else f"{value:,.4g}"
