"""Clock changes in stamps without a time zone: hours that the local clock skips are missing there."""

from __future__ import annotations

from zoneinfo import ZoneInfoNotFoundError

import numpy as np

from forecastml.data.calendar import DAY, MINUTE, to_local
from forecastml.data.panel import Panel

#: One zone for each rule of clock changes, the most used first.
ZONES = (
    *("Europe/Paris", "America/New_York", "Europe/London", "Europe/Helsinki", "Australia/Sydney", "Pacific/Auckland"),
    *("America/Santiago", "America/Sao_Paulo", "America/Mexico_City", "America/Havana", "America/Asuncion"),
    *("Asia/Jerusalem", "Asia/Tehran", "Asia/Beirut", "Africa/Cairo", "Europe/Moscow"),
)
#: The skipped stamps must be missing at so many changes, or all there are, and in this share of them.
LEAST_CHANGES, SHARE = 2, 2 / 3
#: With more missing stamps than this share, holes at clock changes may be chance; with one change, with more than that.
MOST_HOLES, MOST_HOLES_OF_ONE = 0.01, 0.001


def local_zones(panel: Panel) -> dict[str, np.ndarray]:
    """Zones whose clock the stamps seem to follow, with the positions of the series that show it.

    Empty for panels with a time zone, or with a step of a day or more, or whose stamps skip nothing: UTC does not.
    """
    frequency = panel.frequency
    if panel.tz is not None or frequency.unit != "microsecond" or frequency.step >= DAY:
        return {}
    holes = np.concatenate([[0], np.cumsum(np.isnan(panel.target))])
    count = holes[panel.end] - holes[panel.begin]
    series = np.flatnonzero((count > 0) & (count <= MOST_HOLES * panel.lengths))
    if not len(series):
        return {}
    shown = panel.select(series)
    few = count[series] <= np.maximum(1, MOST_HOLES_OF_ONE * shown.lengths)
    found = {}
    for zone in ZONES:
        changes = _skipped(zone, int(shown.start.min()), int(shown.last_ordinal.max()))
        if changes is None:
            continue
        chances, hits = np.zeros(len(shown), np.int64), np.zeros(len(shown), np.int64)
        for begin, length in zip(*changes, strict=True):
            possible, hit = _missing(shown, holes, int(begin), int(length))
            chances, hits = chances + possible, hits + hit
        fits = (hits >= SHARE * chances) & ((hits >= LEAST_CHANGES) | ((hits == 1) & (chances == 1) & few))
        if fits.any():
            found[zone] = series[fits]
    return found


def _missing(panel: Panel, holes: np.ndarray, begin: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """In which series stamps lie in [begin, begin + length) and beside it; and where just these are missing."""
    step = panel.frequency.step
    first, last = -((panel.start - begin) // step), -((panel.start - begin - length) // step)
    possible = (first >= 1) & (last > first) & (last < panel.lengths)
    first, last = (np.where(possible, place, 1) + panel.begin for place in (first, last))
    skipped = holes[np.minimum(last, len(holes) - 1)] - holes[np.minimum(first, len(holes) - 1)] == last - first
    wider = holes[np.minimum(last + 1, len(holes) - 1)] - holes[np.minimum(first, len(holes)) - 1] == last - first
    return possible, possible & skipped & wider


def _skipped(zone: str, first: int, last: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Begin and length of the hours that the local clock skips between two of its times: microseconds, int64 both."""
    days = np.arange(first // DAY - 1, last // DAY + 2, dtype=np.int64) * DAY
    try:
        offset = _offset(days, zone)
    except ZoneInfoNotFoundError:
        # The system's list of zones is its owner's choice; the others can still be compared.
        return None
    before = days[np.flatnonzero(np.diff(offset) > 0)]
    if not len(before):
        return None
    times = before[:, None] + np.arange(0, DAY + 1, 30 * MINUTE)
    offset = _offset(times.ravel(), zone).reshape(times.shape)
    change = np.diff(offset, axis=1).argmax(axis=1)
    each = np.arange(len(before))
    old, new = offset[each, change], offset[each, change + 1]
    return times[each, change + 1] + old, new - old


def _offset(times: np.ndarray, zone: str) -> np.ndarray:
    """Local clock minus UTC at UTC times, all in microseconds."""
    return to_local(times.astype("datetime64[us]"), zone).astype(np.int64) - times
