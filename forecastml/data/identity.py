"""Which columns tell series apart when nobody said so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import pyarrow as pa

from forecastml.data.columns import is_text, key_codes
from forecastml.errors import DataError

#: Columns tried, and how many of them together.
_CANDIDATES, _TOGETHER = 12, 3
#: A key has at least this many rows on average.
_ROWS_PER_KEY = 3
#: Rows of the busiest times that a set of columns must tell apart first: a quick way to say no.
_SAMPLE = 4096
#: Share of rows that may be doubled when nothing tells all rows apart.
DOUBLED = 0.02


def separating(times: np.ndarray, base: np.ndarray, columns: Mapping[str, pa.Array]) -> tuple[str, ...]:
    """The smallest set of up to three columns that make rows with the same `base` and time distinct; () for none.

    When there is none, one that leaves next to no repeats: those are true duplicates.

    times, base: int64 (rows,) codes of the time and of the key so far; columns: of text, categories, whole numbers or
    booleans; others are left out. Text goes before numbers, then few distinct values, then the order given.
    """
    candidates = _candidates(columns, len(times))
    moment = _joint(base, times)
    busiest = np.argsort(-np.bincount(moment)[moment], kind="stable")[:_SAMPLE]
    for names, allowed in ((names, allowed) for allowed in (0.0, DOUBLED) for names in _sets(candidates)):
        keys = [candidates[name] for name in names]
        if not allowed and _repeats(moment[busiest], [key[busiest] for key in keys], 0.0):
            continue
        joint = base
        for key in keys:
            joint = _joint(joint, key)
        enough = (int(joint.max()) + 1) * _ROWS_PER_KEY <= len(times)
        if enough and not _repeats(moment, keys, allowed):
            return names
    return ()


def _sets(candidates: Mapping[str, np.ndarray]) -> Iterator[tuple[str, ...]]:
    for size in range(1, _TOGETHER + 1):
        yield from combinations(candidates, size)


def _candidates(columns: Mapping[str, pa.Array], rows: int) -> dict[str, np.ndarray]:
    """Codes of the columns that may be keys, the likeliest first."""
    ranked = []
    for place, (name, array) in enumerate(columns.items()):
        kind = array.type
        if not (is_text(array) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            continue
        try:
            codes, texts = key_codes(name, array)
        except DataError:
            continue
        if (codes >= 0).all() and len(texts) > 1 and len(texts) * _ROWS_PER_KEY <= rows:
            ranked.append(((not is_text(array), len(texts), place), name, codes))
    return {name: codes for _, name, codes in sorted(ranked, key=lambda item: item[0])[:_CANDIDATES]}


def _joint(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number of each pair among the distinct pairs."""
    return np.unique(a * (int(b.max()) + 1) + b, return_inverse=True)[1].reshape(-1)


def _repeats(moment: np.ndarray, keys: list[np.ndarray], allowed: float) -> bool:
    """Whether more than a share of the rows repeat others."""
    for key in keys:
        moment = _joint(moment, key)
    return int(moment.max()) + 1 < (1.0 - allowed) * len(moment)
