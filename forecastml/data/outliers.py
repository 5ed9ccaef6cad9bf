"""Single values that neither their neighbours nor their season nor known covariates suggest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecastml.data.calendar import natural_seasons
from forecastml.data.panel import Panel
from forecastml.data.schema import Frequency

#: Values of a padded matrix that are worked on at a time.
BATCH_VALUES = 1 << 17
#: Values on either side whose median is the local level: runs of up to three are outvoted by their neighbours.
HALF, LEAST_KNOWN = 4, 5
#: Series with fewer deviations than this are not judged; no more than this share of a series is called outlying.
LEAST, MOST_SHARE = 20, 0.02
#: An outlier is this many times as far off as the 90 % quantile and as the next value that is none ...
FAR, APART = 5.0, 2.5
#: ... and, for positive series judged as logarithms, this many times the 90 % quantile of the plain deviations.
FAR_PLAIN = 2.0
#: ... this many times the 90 % quantile of differences from the last season: what no season shows may be small ...
FAR_NOISE = 2.5
#: ... this many times the 95 % quantile of deviations from which no season is taken (a season may be late once) ...
FAR_SEASONAL = 1.0
#: ... and this share of the level: less harms no forecast.
FAR_LEVEL = 0.05


def outliers(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Series (positions) and rows of `panel.target` whose values are far off: int64 both, by series, then time.

    A deviation is the distance of a value (a logarithm, when all values of the series are positive) from the median
    of the nine around it, after what deviations of covariates explain by least squares; what recurs in other seasons
    is no deviation. The largest are outliers when a gap parts them from the rest, see `FAR` and `APART`. Heavy tails
    have no such gap, so promotions are left alone.
    """
    found = [np.empty((2, 0), np.int64)]
    offsets = _offsets(panel.frequency)
    for items in batches(panel):
        values = matrix(panel.target, panel.begin[items], panel.end[items])
        suspects = np.flatnonzero(_far(values, (), offsets, whole=False).any(axis=1))
        if not len(suspects):
            continue
        items, values = items[suspects], values[suspects]
        far = _far(values, covariates(panel, items, values.shape[1]), offsets, whole=True)
        rows, time = np.nonzero(far)
        found.append(np.stack([items[rows], panel.begin[items[rows]] + time]))
    series, rows = np.concatenate(found, axis=1)
    order = np.lexsort((rows, series))
    return series[order], rows[order]


def batches(panel: Panel) -> Iterator[np.ndarray]:
    """Positions of series of similar length whose padded matrix holds at most `BATCH_VALUES` values (or one series)."""
    order = np.argsort(panel.lengths, kind="stable")
    order = order[panel.lengths[order] > 0]
    longest = panel.lengths[order]
    first = 0
    while first < len(order):
        fits = longest[first:] * np.arange(1, len(order) - first + 1) <= BATCH_VALUES
        count = max(1, int(np.argmin(fits)) if not fits.all() else len(fits))
        yield order[first : first + count]
        first += count


def matrix(values: np.ndarray, begin: np.ndarray, end: np.ndarray, width: int | None = None) -> np.ndarray:
    """Ragged rows begin[i]:end[i] of a flat array as float64 (series, time), start-aligned, NaN after their ends."""
    width = int((end - begin).max(initial=0)) if width is None else width
    time = np.arange(width)
    inside = time < (end - begin)[:, None]
    rows = np.where(inside, begin[:, None] + time, 0)
    return np.where(inside, values[rows], np.nan) if len(values) else np.full(rows.shape, np.nan)


def covariates(panel: Panel, items: np.ndarray, width: int) -> tuple[np.ndarray, ...]:
    """Known and past covariates of these series as of `matrix`; of categories, whether they are the usual one."""
    known_end = np.minimum(panel.known_end, panel.known_begin + panel.lengths)
    sources = [(c, panel.known[:, k], panel.known_begin, known_end) for k, c in enumerate(panel.schema.known)]
    sources += [(c, panel.past[:, k], panel.begin, panel.end) for k, c in enumerate(panel.schema.past)]
    found = []
    for column, values, begin, end in sources:
        values = matrix(values, begin[items], end[items], width)
        if column in panel.categories:
            values = np.where(np.isnan(values), np.nan, values != median(values)[:, None])
        found.append(values)
    return tuple(found)


def median(values: np.ndarray) -> np.ndarray:
    """Median of the known values along the last axis, NaN where there are none."""
    width = values.shape[-1]
    if not width:
        return np.full(values.shape[:-1], np.nan)
    ranked = np.sort(values, axis=-1)
    middle = ranked[..., width // 2] if width % 2 else 0.5 * (ranked[..., width // 2 - 1] + ranked[..., width // 2])
    part = np.isnan(ranked[..., -1])
    if part.any():
        ranked = ranked[part]
        count, each = (~np.isnan(ranked)).sum(axis=1), np.arange(len(ranked))
        middle[part] = 0.5 * (ranked[each, np.maximum(count - 1, 0) // 2] + ranked[each, count // 2])
    return middle


def windows(values: np.ndarray, before: int, after: int) -> np.ndarray:
    """Around each value those from `before` steps earlier to `after` later, (series, time, window), NaN outside."""
    padded = np.pad(values, ((0, 0), (before, after)), constant_values=np.nan)
    return sliding_window_view(padded, before + after + 1, axis=1)


def counts(known: np.ndarray, before: int, after: int) -> np.ndarray:
    """How many values are known in each of the `windows`: int64 (series, time)."""
    total = np.cumsum(np.pad(known, ((0, 0), (before + 1, after))), axis=1, dtype=np.int64)
    return total[:, before + after + 1 :] - total[:, : -(before + after + 1)]


def logarithms(values: np.ndarray) -> np.ndarray:
    """Series (rows) on the scale of ratios: logarithms of positive ones, log(1 + y / median) of those with zeros.

    The median is that of the positive values. Series with a negative value stay as they are.
    """
    low, high = np.fmin.reduce(values, axis=1, initial=np.inf), np.fmax.reduce(values, axis=1, initial=-np.inf)
    scaled = values
    zeros = np.flatnonzero((low == 0) & (high > 0))
    if len(zeros):
        typical = median(np.where(values[zeros] > 0, values[zeros], np.nan))
        scaled = values.copy()
        scaled[zeros] = 1.0 + values[zeros] / typical[:, None]
        low = low.copy()
        low[zeros] = 1.0
    positive = ((low > 0) & (high > 0))[:, None]
    return np.where(positive, np.log(np.where(positive, scaled, 1.0)), values)


def _offsets(frequency: Frequency) -> list[list[int]]:
    """For each season, the steps to its other occurrences; the calendar shifts those of a year by up to one step."""
    found = []
    for m in natural_seasons(frequency):
        year = frequency.unit != "microsecond" and m >= 12
        found.append([s * (m + k) for s in (-1, 1) for k in (-1, 0, 1)] if year else [-2 * m, -m, m, 2 * m])
    return found


def _far(values: np.ndarray, others: Sequence[np.ndarray], offsets: list[list[int]], whole: bool) -> np.ndarray:
    """Which values (series, time) are outliers; `whole`: look at the ends more closely."""
    logs = logarithms(values)
    size, deviation = _sizes(logs, others, offsets, whole)
    far = _parted(size, _quantile(size, 0.9))
    if not far.any():
        return far
    plain = _sizes(values, (), offsets, whole)[0]
    level = median(np.abs(values))
    far &= plain >= np.maximum(FAR_PLAIN * _quantile(plain, 0.9), FAR_LEVEL * level)[:, None]
    far &= np.abs(deviation) >= FAR_SEASONAL * _quantile(np.abs(deviation), 0.95)[:, None]
    far &= size >= FAR_NOISE * _noise(deviation, offsets)[:, None]
    judged_plain = (logs == values).all(axis=1, where=~np.isnan(values))
    return far & (size >= FAR_LEVEL * np.where(judged_plain, level, 1.0)[:, None])


def _sizes(
    values: np.ndarray, others: Sequence[np.ndarray], offsets: list[list[int]], whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Size of what each deviation has beyond its season, -1 where there is none, and deviations (series, time)."""
    size, deviation = _size(values, others, offsets, (HALF, HALF))
    if whole:
        # Half a window lags behind a trend: at the ends, and beside gaps, like is compared with like.
        known, bulk = ~np.isnan(values), _quantile(size, 0.9)
        before, after = counts(known, HALF, 0) - known, counts(known, 0, HALF) - known
        for mine, other, reach in ((before, after, (HALF, 0)), (after, before, (0, HALF))):
            one = _size(values, others, offsets, reach)[0]
            usual = _quantile(one, 0.9)
            scale = np.where(usual > 0, bulk / np.where(usual > 0, usual, 1.0), 0.0)
            lopsided = (other < HALF) & (mine >= other)
            size = np.where(lopsided, np.minimum(size, one * scale[:, None]), size)
    return size, deviation


def _size(
    values: np.ndarray, others: Sequence[np.ndarray], offsets: list[list[int]], reach: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    deviation = _deviation(values, *reach)
    if others:
        deviation = _unexplained(deviation, [np.nan_to_num(_deviation(other, *reach)) for other in others])
    return np.nan_to_num(np.abs(_unseasonal(deviation, offsets)), nan=-1.0), deviation


def _quantile(size: np.ndarray, level: float) -> np.ndarray:
    """Quantile of the sizes of each series, of those that are known and not negative: float64 (series,)."""
    size = np.nan_to_num(size, nan=-1.0)
    beyond = ((size >= 0).sum(axis=1) * (1.0 - level)).astype(np.int64)
    return np.sort(size, axis=1)[np.arange(len(size)), size.shape[1] - 1 - beyond]


def _deviation(values: np.ndarray, before: int, after: int) -> np.ndarray:
    """Distance of each value from the median of those around it, NaN where fewer than `LEAST_KNOWN` are known."""
    least = min(LEAST_KNOWN, before + after + 1)
    deviation = values - median(windows(values, before, after))
    return np.where(counts(~np.isnan(values), before, after) >= least, deviation, np.nan)


def _noise(deviation: np.ndarray, offsets: list[list[int]]) -> np.ndarray:
    """The 90 % quantile of the changes of deviations over the season that leaves least; 0 where no season fits in."""
    time = deviation.shape[1]
    seasons = [sorted(map(abs, steps))[len(steps) // 2 - 1] for steps in offsets]
    changes = [np.abs(deviation[:, m:] - deviation[:, :-m]) for m in seasons if m + LEAST <= time]
    if not changes:
        return np.zeros(len(deviation))
    return np.stack([_quantile(change, 0.9) for change in changes]).min(axis=0)


def _unexplained(deviation: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Residuals of each series' least squares on the deviations of its covariates."""
    known = ~np.isnan(deviation)
    x = np.stack(others, axis=2) * known[:, :, None]
    # In two steps, for squares of large values overflow.
    for size in (np.abs(x).max(axis=1, keepdims=True), np.sqrt((x**2).sum(axis=1, keepdims=True))):
        x = x / np.where(size > 0, size, 1.0)
    gram = np.swapaxes(x, 1, 2) @ x + 1e-6 * np.eye(len(others))
    slopes = np.linalg.solve(gram, np.swapaxes(x, 1, 2) @ np.where(known, deviation, 0.0)[:, :, None])
    return deviation - (x @ slopes)[:, :, 0]


def _unseasonal(deviation: np.ndarray, offsets: list[list[int]]) -> np.ndarray:
    """What of each deviation no other season shows: the smallest distance from it, 0 where directions differ."""
    rest = deviation
    for steps in offsets:
        nearest = np.full(deviation.shape, np.nan)
        for step in steps:
            time = deviation.shape[1] - abs(step)
            if time <= 0:
                continue
            here = slice(max(-step, 0), max(-step, 0) + time)
            there = slice(max(step, 0), max(step, 0) + time)
            left = deviation[:, here] - deviation[:, there]
            known = nearest[:, here]
            nearest[:, here] = np.where(np.isnan(known) | (np.abs(left) < np.abs(known)), left, known)
        less = np.where(nearest * rest > 0, np.sign(rest) * np.minimum(np.abs(nearest), np.abs(rest)), 0.0)
        rest = np.where(np.isnan(nearest), rest, less)
    return rest


def _parted(size: np.ndarray, bulk: np.ndarray) -> np.ndarray:
    """Which deviations lie beyond a gap: `APART` times the next smaller one, and `FAR` times the bulk."""
    count = (size >= 0).sum(axis=1)
    most = np.maximum((count * MOST_SHARE).astype(np.int64), 2)
    width = min(int(most.max(initial=0)), size.shape[1] - 1)
    if width < 1:
        return np.zeros(size.shape, bool)
    top = -np.sort(-size, axis=1)[:, : width + 1]
    gap = (top[:, :-1] >= APART * top[:, 1:]) & (top[:, :-1] >= FAR * bulk[:, None]) & (top[:, 1:] > 0)
    gap &= (np.arange(width) < most[:, None]) & ((count >= LEAST) & (bulk > 0))[:, None]
    last = width - 1 - gap[:, ::-1].argmax(axis=1)
    bound = np.where(gap.any(axis=1), top[np.arange(len(size)), last], np.inf)
    return size >= bound[:, None]
