"""Season lengths, seasonal indices and the Naive2 reference, vectorised over the series of a panel.

Matrices are float64 (time, series), end-aligned: the last row holds the last value of every series, shorter series
are NaN above. Slot s of a season is the one in which forecast step s (counted from 0) falls.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from forecastml.data.panel import Panel, ragged_rows

#: With fewer series, a loop over lags is faster than one over time; both add in the same order, to the same bits.
NARROW = 16
#: Values of a padded matrix that are worked on at a time.
BATCH_VALUES = 1 << 17
#: Series that vote on a season length, those from which lengths are proposed, and the values of each that count.
VOTERS, PROPOSERS, VOTER_VALUES = 1000, 200, 4000
#: A season length is supported by this share of the voters, each at a one-sided 1 % level.
VOTE_SHARE, VOTE_BOUND = 0.2, 2.33
#: A length that is expected before any data are seen needs less; noise reaches this bound in about a fifth of series.
EXPECTED_SHARE, EXPECTED_BOUND = 0.3, 1.0
#: Longest season and number of seasons that are proposed from the data alone.
LONGEST_PROPOSED, MOST_PROPOSED = 400, 2
#: The 90 % bound of the M competitions' test.
M_COMPETITION_BOUND = 1.645


def padded(panel: Panel) -> np.ndarray:
    """The targets as one matrix (longest length, series), end-aligned, NaN above the start of shorter series."""
    lengths = panel.lengths
    matrix = np.full((int(lengths.max(initial=0)), len(panel)), np.nan)
    rows = ragged_rows(panel.begin, panel.end)
    time = rows - np.repeat(panel.end - len(matrix), lengths)
    matrix[time, np.repeat(np.arange(len(panel)), lengths)] = panel.target[rows]
    return matrix


def batches(panel: Panel) -> Iterator[np.ndarray]:
    """Positions of series of similar length whose padded matrix holds at most `BATCH_VALUES` values (or one series)."""
    order = np.argsort(panel.lengths, kind="stable")
    lengths = np.maximum(panel.lengths[order], 1)
    begin = 0
    while begin < len(order):
        sizes = lengths[begin:] * np.arange(1, len(order) - begin + 1)
        end = begin + max(1, int(np.searchsorted(sizes, BATCH_VALUES, side="right")))
        yield order[begin:end]
        begin = end


def detect_seasons(panel: Panel, candidates: tuple[int, ...], expected: int | None = None) -> tuple[int, ...]:
    """The candidate season lengths that the data support, shortest first.

    Up to `VOTERS` series, evenly spaced over those that hold two seasons and one value, vote by `season_evidence`;
    a length is supported when `VOTE_SHARE` of them find it. Shorter seasons that were found are taken out before a
    longer one is tested, so that a day is not taken for a week. expected: the candidate that the calendar suggests
    first; to leave out a season that is there costs more than to try one that is not, so weaker evidence is enough.
    """
    found: tuple[int, ...] = ()
    for m in sorted(set(candidates)):
        voters = _voters(panel, 2 * m + 1, VOTERS)
        share, bound = (EXPECTED_SHARE, EXPECTED_BOUND) if m == expected else (VOTE_SHARE, VOTE_BOUND)
        if m > 1 and len(voters) and (_evidence(voters, found, m) > bound).mean() >= share:
            found = (*found, m)
    return found


def propose_seasons(panel: Panel) -> tuple[int, ...]:
    """Season lengths found without knowing the frequency, shortest first: peaks of the autocorrelation.

    The shortest peak of the mean autocorrelation of the differenced series that comes to 80 % of the highest one is
    put to the vote of `detect_seasons`. Then that season is taken out, and the highest of its multiples is next.
    """
    voters = _voters(panel, 9, PROPOSERS)
    if not len(voters):
        return ()
    longest = min(LONGEST_PROPOSED, int(np.median(voters.lengths)) // 3)
    found: tuple[int, ...] = ()
    while len(found) < MOST_PROPOSED:
        correlation, bound = _mean_autocorrelation(voters, found, longest)
        m = _next_multiple(correlation, bound, found[-1]) if found else _first_peak(correlation, bound, voters)
        if m is None or detect_seasons(panel, (*found, m)) != (*found, m):
            break
        found = (*found, m)
    return found


def seasonal_indices(matrix: np.ndarray, m: int, multiplicative: bool) -> np.ndarray:
    """Classical decomposition: the seasonal index of each slot, (m, series).

    Means per slot of value / trend (or value - trend), where the trend is the centred moving average of m (2 x m for
    even m), normalised to a mean of 1 (or 0). A slot without a value has the neutral index. A missing value inside a
    series leaves the moving average to the others.
    """
    trend = moving_average(matrix, m)
    with np.errstate(divide="ignore", invalid="ignore"):
        indices = _slot_means(matrix / trend if multiplicative else matrix - trend, m)[0]
        neutral = 1.0 if multiplicative else 0.0
        indices = np.where(np.isfinite(indices), indices, neutral)
        mean = _total(indices) / m
        return indices / mean if multiplicative else indices - mean


def naive2(panel: Panel, m: int, horizon: int) -> np.ndarray:
    """The Naive2 reference of the M competitions: (series * horizon,), series-major; NaN for series without values.

    The last value, seasonally adjusted by a multiplicative classical decomposition where the autocorrelation at lag m
    passes a 90 % test (Assimakopoulos and Nikolopoulos 2000; Makridakis et al. 2020). Plain naive where the series
    has fewer than three seasons or a value that is not positive.
    """
    forecasts = np.full((len(panel), horizon), np.nan)
    for items in batches(panel):
        forecasts[items] = _naive2(padded(panel.select(items)), m, horizon).T
    return forecasts.ravel()


def moving_average(matrix: np.ndarray, m: int) -> np.ndarray:
    """Centred moving average of m values (2 x m for even m), (time, series); NaN where the window is not inside."""
    known = ~np.isnan(matrix)
    half, time = m // 2, len(matrix)
    average = np.full(matrix.shape, np.nan)
    if time <= 2 * half:
        return average
    sums = _window_sums(np.where(known, matrix, 0.0), m)
    counts = _window_sums(known.astype(np.float64), m)
    first = np.where(known.any(axis=0), known.argmax(axis=0), time)
    inside = np.arange(half, time - half)[:, None] - half >= first
    average[half : time - half] = np.where(inside & (counts > 0), sums / np.where(counts > 0, counts, 1.0), np.nan)
    return average


def autocorrelation(matrix: np.ndarray, lags: int) -> np.ndarray:
    """Sample autocorrelation at lags 0..lags, (lags + 1, series): gaps count as the mean, 0 for constant series."""
    known = ~np.isnan(matrix)
    mean = _total(np.where(known, matrix, 0.0)) / np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, matrix - mean, 0.0)
    total = np.zeros((lags + 1, matrix.shape[1]))
    if matrix.shape[1] < NARROW:
        for lag in range(min(lags + 1, len(matrix))):
            total[lag] += _total(centred[lag:] * centred[: len(matrix) - lag])
    else:
        delayed, product = np.concatenate([np.zeros((lags, matrix.shape[1])), centred]), np.empty_like(total)
        for t in range(len(matrix)):
            np.multiply(delayed[t : t + lags + 1], centred[t], out=product)
            total += product
        total = np.flip(total, axis=0)
    return total / np.where(total[0] > 0, total[0], 1.0)


def correlates(matrix: np.ndarray, m: int) -> np.ndarray:
    """The 90 % test of the M competitions on the autocorrelation at lag m: bool (series,)."""
    count = (~np.isnan(matrix)).sum(axis=0)
    correlation = autocorrelation(matrix, m)
    bound = M_COMPETITION_BOUND * np.sqrt((1.0 + 2.0 * _total(correlation[1:m] ** 2)) / np.maximum(count, 1))
    return np.abs(correlation[m]) > bound


def season_evidence(matrix: np.ndarray, m: int) -> np.ndarray:
    """How strongly each series supports season length m: a standard normal score under no season, (series,).

    Analysis of variance of the detrended values by slot; F becomes a normal score (Paulson 1942). Degrees of freedom
    are those of as many independent values as the autocorrelation of the residuals leaves (Satterthwaite), so that a
    random walk is not taken for a season. -inf where there is nothing to judge by.
    """
    detrended = matrix - moving_average(matrix, m)
    means, counts = _slot_means(detrended, m)
    means = np.where(counts > 0, means, 0.0)
    n = _total(counts)
    grand = _total(counts * means) / np.maximum(n, 1.0)
    between = _total(counts * (means - grand) ** 2)
    residuals = detrended - _tiled(means, len(matrix))
    within = _total(np.nan_to_num(residuals) ** 2)
    correlation = autocorrelation(residuals, m // 2)[1:]
    dilution = 1.0 + 2.0 * _total(correlation**2)
    enough = (counts > 0).all(axis=0) & (n > m) & (between > 1e-16 * _total(np.nan_to_num(matrix) ** 2))
    above, below = (m - 1) / dilution, np.maximum(n - m, 1.0) / dilution
    root = np.cbrt(between / (m - 1) / np.maximum(within / np.maximum(n - m, 1.0), 1e-12 * np.maximum(between, 1e-300)))
    spread_above, spread_below = 2.0 / (9.0 * above), 2.0 / (9.0 * below)
    score = ((1.0 - spread_below) * root - (1.0 - spread_above)) / np.sqrt(spread_below * root**2 + spread_above)
    return np.where(enough, score, -np.inf)


def _voters(panel: Panel, least: int, most: int) -> Panel:
    eligible = np.flatnonzero(panel.lengths >= least)
    if len(eligible) > most:
        eligible = eligible[np.linspace(0, len(eligible) - 1, most).astype(np.int64)]
    return panel.select(eligible).last(max(VOTER_VALUES, 4 * least))


def _evidence(panel: Panel, found: tuple[int, ...], m: int) -> np.ndarray:
    """`season_evidence` of every series once the seasons that were found are taken out, in the order of batches."""
    parts = [season_evidence(_without(padded(panel.select(items)), found), m) for items in batches(panel)]
    return np.concatenate(parts)


def _without(matrix: np.ndarray, seasons: tuple[int, ...]) -> np.ndarray:
    """The matrix with these seasons taken out."""
    for m in seasons:
        matrix = matrix - _tiled(seasonal_indices(matrix, m, multiplicative=False), len(matrix))
    return matrix


def _mean_autocorrelation(panel: Panel, found: tuple[int, ...], lags: int) -> tuple[np.ndarray, float]:
    """Of the differenced series without the seasons that were found, (lags + 1,); and what noise hardly exceeds."""
    total, values = np.zeros(lags + 1), 0
    for items in batches(panel):
        differences = np.diff(_without(padded(panel.select(items)), found), axis=0)
        total += _total(autocorrelation(differences, lags).T)
        values += int((~np.isnan(differences)).sum())
    # Four standard errors: the highest of some hundred lags is looked at.
    return total / len(panel), max(0.1, 4.0 / np.sqrt(max(values, 1)))


def _first_peak(correlation: np.ndarray, bound: float, voters: Panel) -> int | None:
    lags = np.arange(2, len(correlation) - 1)
    here, before, after = correlation[lags], correlation[lags - 1], correlation[lags + 1]
    peaks = lags[(here > before) & (here >= after) & (here > bound)]
    if not len(peaks):
        return None
    peak = int(peaks[correlation[peaks] >= 0.8 * correlation[peaks].max()][0])
    # The peak of a smooth season is broad, its evidence is not.
    around = range(max(peak - 2, 2), peak + 3)
    return max(around, key=lambda lag: float(np.median(_evidence(voters, (), lag))))


def _next_multiple(correlation: np.ndarray, bound: float, m: int) -> int | None:
    multiples = np.arange(2 * m, len(correlation), m)
    multiples = multiples[correlation[multiples] > bound]
    return int(multiples[correlation[multiples].argmax()]) if len(multiples) else None


def _naive2(matrix: np.ndarray, m: int, horizon: int) -> np.ndarray:
    """`naive2` of one batch: (horizon, series)."""
    known = ~np.isnan(matrix)
    time, n = matrix.shape
    if time == 0:
        return np.full((horizon, n), np.nan)
    last = np.where(known, np.arange(time)[:, None], -1).max(axis=0)
    level = matrix[last, np.arange(n)]
    indices = np.ones((m, n))
    if m > 1:
        seasonal = np.flatnonzero(_passes_test(matrix, known, m))
        chosen = seasonal_indices(matrix[:, seasonal], m, multiplicative=True)
        indices[:, seasonal] = np.where((chosen > 0).all(axis=0), chosen, 1.0)
    return level / indices[(last - time) % m, np.arange(n)] * indices[np.arange(horizon) % m]


def _passes_test(matrix: np.ndarray, known: np.ndarray, m: int) -> np.ndarray:
    """The 90 % test on the autocorrelation at lag m; False where a multiplicative index cannot be had."""
    return correlates(matrix, m) & (known.sum(axis=0) >= 3 * m) & ~(matrix <= 0).any(axis=0)


def _window_sums(values: np.ndarray, m: int) -> np.ndarray:
    """Sums under the centred window, end weights one half for even m: (time - 2 * (m // 2), series)."""
    until = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    sums = until[m:] - until[:-m]
    # For even m the mean of the two windows of m values that are half a step off the centre.
    return sums if m % 2 else 0.5 * (sums[:-1] + sums[1:])


def _slot_means(matrix: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and number of the known values in each slot: two of (m, series); NaN where there are none."""
    seasons = -(-len(matrix) // m)
    whole = np.full((seasons * m, matrix.shape[1]), np.nan)
    whole[seasons * m - len(matrix) :] = matrix
    whole = whole.reshape(seasons, m, -1)
    known = np.isfinite(whole)
    counts = known.sum(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _total(np.where(known, whole, 0.0)) / counts, counts


def _tiled(indices: np.ndarray, time: int) -> np.ndarray:
    """Indices (m, series) repeated over `time` rows, end-aligned."""
    return indices[np.arange(-time, 0) % len(indices)]


def _total(values: np.ndarray) -> np.ndarray:
    """Sum over the first axis in order; unlike `sum`, the same bits for one column as for many."""
    return np.cumsum(values, axis=0)[-1] if len(values) else np.zeros(values.shape[1:])
