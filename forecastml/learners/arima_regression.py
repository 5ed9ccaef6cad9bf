"""A chunk of series as regressions with ARIMA errors: differences, order, parameters and filter of each series."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecastml.kernels.arima import EXTRA, Process, followed
from forecastml.kernels.arma import Filter, total
from forecastml.kernels.arma_fit import CONSTANT, MOST, Sample, polynomials
from forecastml.kernels.differencing import FLAT, STRONG, differenced, differences, seasonal_strength, spread
from forecastml.learners.arima_columns import SHORTEST, ArimaSettings, Regressors, least_squares
from forecastml.learners.arima_orders import FINISHED, REFITTED, Bounds, Models, Stop, fitted, searched
from forecastml.learners.chunks import Chunk, bridged
from forecastml.learners.vectorised import Memory
from forecastml.protocols import FitContext


@dataclass(frozen=True, eq=False)
class Differenced:
    """A chunk's series after their differences, longest first: series, int64 (series,), their places in the chunk;
    sample, of variance 1, with the columns of the regression; mean and size, float64 (series,), of its values before
    they were scaled; varies, bool (series,)."""

    series: np.ndarray
    sample: Sample
    mean: np.ndarray
    size: np.ndarray
    varies: np.ndarray

    @classmethod
    def of(cls, chunk: Chunk, table: np.ndarray, d: np.ndarray, seasonal_d: np.ndarray, season: int) -> Differenced:
        """table: columns, float64 (columns, time, series)."""
        lengths = chunk.lengths - d - seasonal_d * season
        series = np.argsort(-lengths, kind="stable")
        whole = np.concatenate([chunk.filled[None], chunk.values[None], table])
        found = np.full((len(whole), int(lengths.max()), len(chunk)), np.nan)
        for k, seasonally in sorted(set(zip(d.tolist(), seasonal_d.tolist(), strict=True))):
            alike = np.flatnonzero((d == k) & (seasonal_d == seasonally))
            part = whole[:, : chunk.lengths[alike[0]], alike]
            rows = part.shape[1] - k - seasonally * season
            for place, column in enumerate(part):
                found[place, :rows, alike] = differenced(column, k, seasonally, season).T
            # The second one only says which values are unknown; a bridged one tells of its neighbours all the same.
            found[1, :rows, alike] = part[1, part.shape[1] - rows :].T
        inside = np.arange(found.shape[1])[:, None] < lengths
        mean, size = spread(np.where(inside, found[0], 0.0), lengths)
        varies = size > FLAT
        size = np.where(varies, size, 1.0)
        values = np.where(inside & ~np.isnan(found[1]), found[0] / size, np.nan)
        terms = np.where(inside, found[2:], 0.0)
        values, terms, mean, size, varies = (
            np.ascontiguousarray(array[..., series]) for array in (values, terms, mean, size, varies)
        )
        return cls(series, Sample(values, lengths[series], season, terms), mean, size, varies)


def fit_chunk(chunk: Chunk, settings: ArimaSettings, context: FitContext, previous: Memory | None) -> Memory:
    """Orders and parameters of all series of a chunk, and where their filters stand.

    previous: of an earlier cutoff; what was searched then keeps its order and columns.
    """
    columns = Regressors.of(chunk, settings, previous)
    kept = np.zeros(len(chunk), dtype=bool)
    if previous is not None:
        # After a long gap the window may begin anew, and hold too little for the differences that were chosen before.
        lost = previous["order"][:, 5] + previous["order"][:, 6] * settings.season_length
        kept = (previous["searched"] > 0) & (chunk.known - lost >= SHORTEST)
    d, seasonal_d = _differences(chunk, columns, settings.season_length)
    if previous is not None:
        d = np.where(kept, previous["order"][:, 5], d).astype(np.int64)
        seasonal_d = np.where(kept, previous["order"][:, 6], seasonal_d).astype(np.int64)
    told = Differenced.of(chunk, columns.table, d, seasonal_d, settings.season_length)
    constant = (d + seasonal_d < 2) & (chunk.known >= SHORTEST)
    start = _begun(told, constant[told.series], columns.used[:, told.series])
    old = np.flatnonzero(kept[told.series])
    new = np.flatnonzero(~kept[told.series] & (chunk.known[told.series] >= SHORTEST) & told.varies)
    if len(new):
        models = _searched(told, new, constant[told.series], start.parameters, context)
        fine = np.isfinite(models.criterion)
        start = start.replaced(new[fine], models.take(fine))
    if len(old):
        start = start.replaced(old, _continued(told, old, start.parameters, (chunk, columns, previous)))
    found = start
    for some, stop in ((new, FINISHED), (old, REFITTED)):
        found = found.replaced(some, _improved(told.sample, start, some, columns.used[:, told.series[some]], stop))
    memory = _memory(told, found, columns, np.stack([d, seasonal_d]))
    memory["searched"] = np.isin(np.arange(len(chunk)), told.series[np.concatenate([new, old])]).astype(np.float64)
    drivers = {} if chunk.drivers is None else {"drivers": chunk.drivers}
    return memory | _filtered(chunk, memory | drivers, settings)


def _differences(chunk: Chunk, columns: Regressors, season: int) -> tuple[np.ndarray, np.ndarray]:
    """d and D of what the regression leaves: int64 (series,) each."""
    weights = least_squares(chunk.values, columns.table, columns.used, level=True)
    plain = chunk.filled
    for column, weight in zip(columns.table, weights, strict=True):
        plain = plain - weight * column
    d, seasonal_d = np.zeros((2, len(chunk)), dtype=np.int64)
    if season > 1:
        seasonal_d += seasonal_strength(plain, chunk.lengths, season) > STRONG
    for seasonally in (0, 1):
        alike = np.flatnonzero(seasonal_d == seasonally)
        if len(alike):
            lengths = chunk.lengths[alike]
            rest = differenced(plain[: lengths[0], alike], 0, seasonally, season)
            d[alike] = differences(rest, lengths - seasonally * season, EXTRA)
    short = chunk.known < SHORTEST
    return np.where(short, 1, d), np.where(short, 0, seasonal_d)


def _begun(told: Differenced, constant: np.ndarray, used: np.ndarray) -> Models:
    """White noise around the mean, or around 0, and the regression by least squares."""
    sample, n = told.sample, len(told.series)
    order, parameters = np.zeros((5, n), dtype=np.int64), np.zeros((sample.rows, n))
    order[4] = constant
    parameters[CONSTANT] = np.where(constant, told.mean / told.size, 0.0)
    parameters[CONSTANT + 1 :] = least_squares(sample.values, sample.terms, used, level=False)
    rest = np.where(np.isnan(sample.values), 0.0, sample.values - parameters[CONSTANT])
    known = np.maximum((~np.isnan(sample.values)).sum(axis=0), 1)
    variance = total(rest * rest) / known
    return Models(order, parameters, np.full(n, np.inf), np.where(told.varies, variance, 0.0))


def _searched(
    told: Differenced, some: np.ndarray, constant: np.ndarray, parameters: np.ndarray, context: FitContext
) -> Models:
    """Models of some series around the regression as it stands."""
    sample, weights = told.sample, parameters[CONSTANT + 1 :, some]
    lengths = sample.lengths[some]
    values = sample.values[: lengths[0], some]
    for term, weight in zip(sample.terms, weights, strict=True):
        values = values - weight * term[: lengths[0], some]
    known = (~np.isnan(values)).sum(axis=0)
    bounds = Bounds.of(known, sample.season, constant[some])
    plain = Sample.of(values, lengths, sample.season)
    found = searched(plain, bounds, told.mean[some] / told.size[some], context.deadline)
    return replace(found, parameters=np.concatenate([found.parameters, weights]))


def _continued(
    told: Differenced, some: np.ndarray, parameters: np.ndarray, known: tuple[Chunk, Regressors, Memory]
) -> Models:
    """The models of an earlier cutoff in the units of this one."""
    chunk, columns, previous = known
    at = told.series[some]
    unit = previous["scale"][at] / chunk.scale[at] / told.size[some]
    found = parameters[:, some].copy()
    found[:CONSTANT] = previous["parameters"][at].T
    found[CONSTANT] = previous["constant"][at] * unit
    found[CONSTANT + 1 :] = previous["beta"][at].T * columns.size[:, at] * unit
    order = previous["order"][at, :5].T.astype(np.int64)
    return Models(order, found, np.full(len(some), np.inf), previous["innovation"][at] * unit * unit)


def _improved(sample: Sample, start: Models, some: np.ndarray, used: np.ndarray, stop: Stop) -> Models:
    """The maximum near the models of some series, or what they were where that lies near the unit circle."""
    found = fitted(sample, some, start.order[:, some], start.parameters[:, some], (stop, np.inf), used)
    worse = np.flatnonzero(~np.isfinite(found.criterion))
    return found.replaced(worse, start.take(some[worse]))


def _memory(told: Differenced, found: Models, columns: Regressors, differences: np.ndarray) -> Memory:
    """What is remembered of the parameters, in the order of the chunk, in units of its values."""
    back = np.argsort(told.series)
    parameters, size = found.parameters[:, back], told.size[back]
    known = (~np.isnan(told.sample.values)).sum(axis=0)[back]
    # Unbiased as in a regression, and finite.
    terms = found.order[:, back].sum(axis=0) + columns.used.sum(axis=0)
    unbiased = known / np.maximum(known - terms, 1)
    return {
        "order": np.concatenate([found.order[:, back], differences]).T.astype(np.float64),
        "parameters": parameters[:CONSTANT].T.copy(),
        "constant": parameters[CONSTANT] * size,
        "beta": (parameters[CONSTANT + 1 :] * size / columns.size).T.copy(),
        "centre": columns.centre.T.copy(),
        "innovation": found.variance[back] * size * size * unbiased,
    }


def _filtered(chunk: Chunk, memory: Memory, settings: ArimaSettings) -> Memory:
    """Filters and tails after the values of a chunk."""
    rest = chunk.values - settings.regression(memory, len(chunk.values))
    filled = bridged(rest, chunk.lengths, chunk.known)
    lost = (memory["order"][:, 5] + memory["order"][:, 6] * settings.season_length).astype(np.int64)
    parts, places = [], []
    for first in np.unique(lost).tolist():
        alike = np.flatnonzero(lost == first)
        model = process({name: array[alike] for name, array in memory.items() if name != "drivers"}, settings)
        tail = np.zeros((settings.back, len(alike)))
        tail[settings.back - first :] = filled[:first, alike]
        lengths = chunk.lengths[alike]
        values = np.ascontiguousarray(rest[first : lengths[0], alike])
        parts.append(
            remembered(*followed(model, Filter.stationary(model.phi, model.theta), tail, values, lengths - first))
        )
        places.append(alike)
    order = np.argsort(np.concatenate(places))
    return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def process(memory: Memory, settings: ArimaSettings) -> Process:
    """The processes of the memory's series."""
    season = settings.season_length
    phi, theta = polynomials(by_series(memory["parameters"]), season, MOST[2:] if season > 1 else (0, 0))
    d, seasonal_d = memory["order"][:, 5].copy(), memory["order"][:, 6].copy()
    return Process.of((phi, theta), memory["constant"], d, (seasonal_d, season))


def state(memory: Memory) -> Filter:
    """The filters of the memory's series."""
    wide = (by_series(memory[name]) for name in ("state", "gain", "change"))
    return Filter(*wide, memory["variance"], memory["factor"])


def remembered(after: Filter, tail: np.ndarray) -> Memory:
    """Filters and tails as the memory holds them, series first."""
    wide = {name: getattr(after, name).T.copy() for name in ("state", "gain", "change")}
    return {**wide, "variance": after.variance, "factor": after.factor, "tail": tail.T.copy()}


def by_series(rows: np.ndarray) -> np.ndarray:
    """Rows of the memory with the series last, contiguous."""
    return np.ascontiguousarray(rows.T)
