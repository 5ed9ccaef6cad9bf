"""Prophet, series by series: a trend that bends, waves, holidays and known covariates.

Prophet prepares the data and its Stan program finds the parameters; what is kept are numbers, and forecasts are our own
arithmetic on them (`prophet_curve`).
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from forecastml.attribution import LEVEL, TREND, Explanation
from forecastml.data.calendar import DAY
from forecastml.data.extension import without_future
from forecastml.data.panel import Panel
from forecastml.errors import ConfigError
from forecastml.features.holidays import holiday_days
from forecastml.learners.per_series import Failure, exploded, fit_each
from forecastml.learners.prophet_curve import Curve, Design, clock_of, days_per_step
from forecastml.learners.regressors import VALUES_PER_COLUMN
from forecastml.learners.state import OK, SeriesArrays
from forecastml.protocols import Capabilities, Facts, FitContext, Params, Prediction

SEASONALITIES = ("additive", "multiplicative")
#: Values that a fit uses at most. Of series more often than daily it is every s-th value of the last `MOST_DAYS`, so
#: that years stay in view; of others the most recent ones.
MOST_VALUES, MOST_DAYS = 8000, 1096
#: A wave is used when the history holds its period so often.
PERIODS = 2.0
#: Bends of the trend.
CHANGES = 25
ITERATIONS = 10_000
NO_VALUES = "no values"
EXPLODED = "its forecasts explode"
LOGGERS = ("prophet", "cmdstanpy", "holidays")


@dataclass(frozen=True, eq=False)
class ProphetForecaster:
    """Fitted curves, one row per series. memory: the fields of `Curve`, and "epoch", the step that time counts from."""

    design: Design
    memory: SeriesArrays

    @property
    def status(self) -> tuple[str, ...]:
        """ "ok" or why there is no forecast."""
        return self.memory.status

    def predict(self, inputs: Panel, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """The curve after the last value of `inputs`; outputs other than "mean" are NaN."""
        values = np.full((len(inputs), horizon, len(outputs)), np.nan)
        means = [place for place, name in enumerate(outputs) if name == "mean"]
        for i in np.flatnonzero([status == OK for status in self.status]):
            ahead = self._ahead(inputs, i, horizon)
            values[i][:, means] = self.curve(i).predict(self.design, *ahead)[:, None]
        return Prediction(values.reshape(-1, len(outputs)), outputs)

    def explain(self, inputs: Panel, horizon: int) -> Explanation:
        """The trend at the origin, how it goes on, waves, holidays and known covariates."""
        told = self.design.terms(inputs)
        shape = (len(inputs), horizon)
        parts = {term: np.full(shape, np.nan) for term in (LEVEL, TREND, *told)}
        for i in np.flatnonzero([status == OK for status in self.status]):
            curve, (clock, known) = self.curve(i), self._ahead(inputs, i, horizon)
            found = curve.parts(self.design, clock, known)
            now = clock_of(inputs, i, int(inputs.lengths[i]) - 1, 1, int(self.memory["epoch"][i]))
            parts[LEVEL][i] = curve.scale * curve.trend((now - curve.start) / curve.span)[0]
            parts[TREND][i] = found[0] - parts[LEVEL][i]
            for term, columns in told.items():
                parts[term][i] = 0.0
                for column in columns:
                    parts[term][i] += found[1 + column]
        return Explanation.of(parts)

    def append(self, data: Panel) -> ProphetForecaster:
        """The same curves; the origin lies in the inputs of `predict`."""
        if len(data) != len(self.status):
            raise ConfigError(f"fitted on {len(self.status)} series, given {len(data)} to append; give the same series")
        return self

    def take(self, items: np.ndarray) -> ProphetForecaster:
        """The part for these series."""
        return replace(self, memory=self.memory.take(items))

    def stack(self, others: Sequence[ProphetForecaster]) -> ProphetForecaster:
        """This and others in one; `ConfigError` when they were fitted with other columns."""
        for other in others:
            if other.design != self.design:
                raise ConfigError("cannot stack Prophet models of different columns; fit them with the same parameters")
        return replace(self, memory=self.memory.stack([other.memory for other in others]))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values."""
        arrays, values = self.memory.state()
        return arrays, {**values, "design": self.design.to_json()}

    def _ahead(self, inputs: Panel, i: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Clock and known covariates of the next steps of series i."""
        length = int(inputs.lengths[i])
        clock = clock_of(inputs, i, length, horizon, int(self.memory["epoch"][i]))
        return clock, self.design.known.table(inputs, i, length + horizon)[length:]

    def curve(self, i: int) -> Curve:
        """The parameters of series i."""
        row = {field.name: self.memory[field.name][i] for field in fields(Curve)}
        return Curve(**{**row, "start": int(row["start"]), "span": int(row["span"])})


class Prophet:
    """Prophet with linear growth (Taylor & Letham 2018, "Forecasting at scale").

    Parameters: seasonality, "additive" (default) or "multiplicative". Seasonalities are those that the frequency can
    show and the history holds twice. Holidays come from the context, for daily and finer data, by the local date.
    """

    name = "prophet"
    capabilities = Capabilities(
        covariates=frozenset({"known"}), missing=True, cost=0.1, item_cost=0.08, interruptible=False
    )

    def space(self, facts: Facts) -> Sequence[Params]:
        """Additive, and multiplicative for series above zero."""
        return [{"seasonality": kind} for kind in (SEASONALITIES if facts.positive else SEASONALITIES[:1])]

    def fit(self, train: Panel, params: Params, context: FitContext) -> ProphetForecaster:
        """Fit every series; a constant one stays as it is."""
        unknown = sorted(set(params) - {"seasonality"})
        if unknown:
            raise ConfigError(f"prophet has no parameter {unknown[0]!r}; it has seasonality")
        kind = params.get("seasonality", SEASONALITIES[0])
        if kind not in SEASONALITIES:
            raise ConfigError(f"prophet: seasonality is {kind!r}; one of {', '.join(SEASONALITIES)}")
        design = Design.of(train, context.seasons, context.holidays, kind == "multiplicative")
        return _fitted(train, design, context, [None] * len(train))

    def refit(self, previous: ProphetForecaster, train: Panel, context: FitContext) -> ProphetForecaster:
        """Fit again, from the earlier parameters on; the same waves and holidays."""
        if len(train) != len(previous.status):
            raise ConfigError(f"fitted on {len(previous.status)} series, given {len(train)} to refit; fit instead")
        starts = [previous.curve(i) if status == OK else None for i, status in enumerate(previous.status)]
        return _fitted(train, previous.design, context, starts)

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> ProphetForecaster:
        """The inverse of `ProphetForecaster.state`."""
        return ProphetForecaster(Design.from_json(values["design"]), SeriesArrays.restore(arrays, values))


@dataclass(frozen=True, eq=False)
class _Rows:
    """What one series is fitted on: y, clock (rows,), known (rows, known columns); a curve to start from."""

    y: np.ndarray
    clock: np.ndarray
    known: np.ndarray
    epoch: int
    start: Curve | None


def _fitted(train: Panel, design: Design, context: FitContext, starts: Sequence[Curve | None]) -> ProphetForecaster:
    rows = [_rows_of(train, design, i, start) for i, start in enumerate(starts)]
    there = [i for i, row in enumerate(rows) if len(row.y)]
    found: dict[int, Curve | Failure] = dict.fromkeys(range(len(rows)), Failure(NO_VALUES))
    work = partial(_fit_series, design)
    found |= dict(zip(there, fit_each(work, [rows[i] for i in there], context.deadline, context.threads), strict=True))
    nothing = _level(0.0, design)
    curves = [nothing if isinstance(fit, Failure) else fit for fit in found.values()]
    n = len(train)
    arrays: dict[str, np.ndarray] = {"epoch": np.array([row.epoch for row in rows], dtype=np.int64)}
    for field in fields(Curve):
        numbers = [getattr(curve, field.name) for curve in curves]
        kind = np.int64 if field.name in ("start", "span") else np.float64
        arrays[field.name] = np.array(numbers, dtype=kind).reshape((n, *np.shape(getattr(nothing, field.name))))
    status = tuple(fit.reason if isinstance(fit, Failure) else OK for fit in found.values())
    fitted = ProphetForecaster(design, SeriesArrays(arrays, status))
    # What is known of the future may move forecasts, but nothing that is fitted.
    ahead = fitted.predict(without_future(train), context.horizon, ("mean",)).mean.reshape(n, context.horizon)
    too_far = exploded(train, ahead)
    status = tuple(EXPLODED if old == OK and far else old for old, far in zip(status, too_far, strict=True))
    return replace(fitted, memory=replace(fitted.memory, status=status))


def _rows_of(train: Panel, design: Design, i: int, start: Curve | None) -> _Rows:
    """The known values of a series, as far as `MOST_VALUES` allows."""
    values, epoch = train.values(i), 0
    if train.frequency.unit == "integer":
        epoch = int(train.start[i] // train.frequency.step)
    step = days_per_step(train.frequency)
    stride, length = 1, min(len(values), MOST_VALUES)
    if step < 1 and len(values) > MOST_VALUES:
        length = min(len(values), int(MOST_DAYS / step))
        periods = [round(wave.period / step) for wave in design.waves[:2]]
        stride = math.ceil(length / MOST_VALUES)
        while any(math.gcd(stride, period) > 1 for period in periods):
            stride += 1
    use = np.arange(len(values) - 1, len(values) - 1 - length, -stride)[::-1]
    use = use[~np.isnan(values[use])]
    clock = clock_of(train, i, 0, len(values), epoch)
    return _Rows(values[use], clock[use], design.known.table(train, i, len(values))[use], epoch, start)


def _level(value: float, design: Design) -> Curve:
    """The curve that is `value` for ever."""
    _, waves_end, end = 0, design.bounds[1], design.bounds[2]
    blank, known = np.full(CHANGES, np.nan), np.zeros(end - waves_end)
    return Curve(0.0, 1.0, value, 0.0, 0, 1, blank, np.zeros(CHANGES), np.full(end, np.nan), known, np.ones_like(known))


def _fit_series(design: Design, rows: _Rows) -> Curve:
    if not np.ptp(rows.y) > 0:
        return _level(float(rows.y[0]), design)
    known = rows.known
    some = ~np.isnan(known).all(axis=0)
    centre, spread = np.zeros(known.shape[1]), np.ones(known.shape[1])
    centre[some], spread[some] = np.nanmean(known[:, some], axis=0), np.nanstd(known[:, some], axis=0)
    varies = spread > 1e-9 * np.maximum(np.abs(centre), 1e-300)
    varies &= some & (np.cumsum(varies & some) <= len(rows.y) // VALUES_PER_COLUMN)
    spread = np.where(varies, spread, 1.0)
    table = np.nan_to_num((known - centre) / spread)
    blank = _level(1.0, design)
    with _quiet_prophet():
        return _optimised(design, rows, table, replace(blank, centre=centre, spread=spread), varies)


def _optimised(design: Design, rows: _Rows, known: np.ndarray, blank: Curve, useful: np.ndarray) -> Curve:
    """The curve at the mode of Prophet's posterior."""
    frame, used, model = _prophet_of(design, rows, known, useful)
    inputs = model.preprocess(frame)
    first = asdict(model.calculate_initial_params(inputs.K))
    span, count = int(rows.clock.max() - rows.clock.min()), len(model.changepoints)
    if rows.start is not None:
        first |= _warm_start(rows, used, count, (span, float(model.y_scale), design.multiplicative))
    found = _stan_optimum(model, inputs, first)
    beta, changes, bends = blank.beta.copy(), blank.changes.copy(), blank.bends.copy()
    beta[used] = found["beta"][: len(used)]
    changes[:count], bends[:count] = model.changepoints_t[:count], found["delta"][:count]
    slope = found["k"][0] + (found["delta"][0] if not count else 0.0)
    return replace(
        blank,
        slope=float(slope),
        offset=float(found["m"][0]),
        scale=float(model.y_scale),
        noise=float(found["sigma_obs"][0]),
        start=int(rows.clock.min()),
        span=span,
        changes=changes,
        bends=bends,
        beta=beta,
    )


def _warm_start(rows: _Rows, used: np.ndarray, count: int, unit: tuple[int, float, bool]) -> dict[str, Any]:
    """The parameters of the curve to start from, told in the units of this fit; nothing when it has other terms.

    unit: span of time, scale of the values, and whether the columns multiply the trend.
    """
    old, (span, scale, multiplicative) = rows.start, unit
    beta = old.beta[used]
    if not np.isfinite(beta).all() or np.isfinite(old.changes).sum() != count or not count or not old.noise > 0:
        return {}
    size = old.scale / scale
    steeper = size * span / old.span
    offset = old.trend(np.array([(rows.clock.min() - old.start) / old.span]))[0] * size
    return {
        "k": old.slope * steeper,
        "m": offset,
        "delta": old.bends[:count] * steeper,
        "beta": beta if multiplicative else beta * size,
        "sigma_obs": old.noise * size,
    }


def _prophet_of(design: Design, rows: _Rows, known: np.ndarray, useful: np.ndarray) -> tuple[Any, np.ndarray, Any]:
    """The data frame, the columns of the design that are used, and the Prophet object that is to be fitted."""
    import pandas as pd
    from prophet import Prophet as Library

    first, second, _ = design.bounds
    days = rows.clock // DAY
    dates = holiday_days(design.places, int(days.min()), int(days.max())) if design.places else {}
    kept = {name: np.intersect1d(dates.get(name, days[:0]), days) for name in design.holidays}
    kept = {f"h{place:04d}": found for place, (_, found) in enumerate(kept.items()) if len(found)}
    table = pd.DataFrame(
        [(name, day) for name, found in kept.items() for day in found.astype("datetime64[D]").astype("datetime64[us]")],
        columns=["holiday", "ds"],
    )
    model = Library(
        growth="linear",
        n_changepoints=CHANGES,
        yearly_seasonality=False,
        weekly_seasonality=False,
        daily_seasonality=False,
        holidays=table if len(table) else None,
        seasonality_mode=SEASONALITIES[int(design.multiplicative)],
        uncertainty_samples=0,
    )
    used, place = [], 0
    span = (rows.clock.max() - rows.clock.min()) / DAY
    for wave in design.waves:
        columns = 2 * len(wave.harmonics)
        if span >= PERIODS * wave.period and columns:
            model.add_seasonality(f"w{place}", period=wave.period, fourier_order=len(wave.harmonics))
            used += range(place, place + columns)
        place += columns
    used += [first + int(name[1:]) for name in kept]
    frame = pd.DataFrame({"ds": rows.clock.astype("datetime64[us]"), "y": rows.y})
    for column in np.flatnonzero(useful):
        frame[f"x{column}"] = known[:, column]
        model.add_regressor(f"x{column}", standardize=False)
        used.append(second + int(column))
    return frame, np.array(used, dtype=np.int64), model


def _stan_optimum(model: Any, inputs: Any, first: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Stan's parameters by name; its files live in a folder of their own, which is gone afterwards."""
    from cmdstanpy import write_stan_json

    data = {name: np.asarray(value) if hasattr(value, "__len__") else value for name, value in asdict(inputs).items()}
    with tempfile.TemporaryDirectory(prefix="forecastml-") as folder:
        paths = {"data": os.path.join(folder, "data.json"), "inits": os.path.join(folder, "start.json")}
        write_stan_json(paths["data"], data)
        write_stan_json(paths["inits"], {name: np.asarray(v).tolist() for name, v in first.items()})
        run = partial(model.stan_backend.model.optimize, **paths, iter=ITERATIONS, seed=1, output_dir=folder)
        try:
            # Newton's method, Prophet's own choice for short series, takes seven times as long and ends no better.
            done = run(algorithm="LBFGS")
        except RuntimeError:
            done = run(algorithm="Newton")
        found: dict[str, list[float]] = {}
        for name, value in zip(done.column_names, done.optimized_params_np, strict=True):
            found.setdefault(name.partition("[")[0].partition(".")[0], []).append(float(value))
    return {name: np.array(values) for name, values in found.items()}


@contextmanager
def _quiet_prophet() -> Iterator[None]:
    """Prophet and what it stands on loaded and run without a word; loggers and environment are as before afterwards."""
    path = os.environ.get("CMDSTAN")
    root = logging.getLogger("cmdstanpy")
    handlers = list(root.handlers)
    names = {*LOGGERS, "prophet.plot", "prophet.models", "stan"}
    names |= {name for name in logging.root.manager.loggerDict if name.partition(".")[0] in LOGGERS}
    before = {name: (logging.getLogger(name).disabled, logging.getLogger(name).level) for name in names}
    for name in names:
        logging.getLogger(name).disabled = True
    try:
        yield
    finally:
        root.handlers[:] = handlers
        for name, (disabled, level) in before.items():
            logging.getLogger(name).disabled = disabled
            logging.getLogger(name).setLevel(level)
        if path is None:
            os.environ.pop("CMDSTAN", None)
        else:
            os.environ["CMDSTAN"] = path
