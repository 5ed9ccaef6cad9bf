"""Columns of a table, as Arrow arrays, to keys, codes and numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecastml.errors import DataError

#: Text that means "no number" in a column of numbers.
_MISSING_TEXT = ("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")

#: The series of a row, as messages name it.
Label = Callable[[int], str]


def flat(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array in place of several chunks, text in its plain layout."""
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.cast(pa.large_string()) if pa.types.is_string_view(array.type) else array


def is_text(array: pa.Array) -> bool:
    """Whether a column is text or categorical."""
    kind = array.type
    return pa.types.is_dictionary(kind) or pa.types.is_large_string(kind) or pa.types.is_string(kind)


def _text(array: pa.Array) -> pa.Array:
    """Values as text: whole numbers without a decimal point, so that 7 and 7.0 are one key."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "True", "False")
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))
        if pc.all(pc.equal(array, pc.trunc(array))).as_py() is not False:
            array = array.cast(pa.int64(), safe=False)
    return array.cast(pa.string())


def key_codes(name: str, array: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Codes of a key column into its sorted distinct texts."""
    try:
        encoded = flat(_text(array).dictionary_encode())
    except pa.ArrowException as failure:
        raise DataError(f"key column {name!r} is of type {array.type}; make it text") from failure
    if encoded.indices.null_count or "" in encoded.dictionary.to_pylist():
        missing = pc.sum(pc.fill_null(pc.equal(_text(array), ""), True)).as_py()
        raise DataError(f"key column {name!r} is empty in {missing} rows; give every row a key or remove them")
    return _ranked(encoded)


def _ranked(encoded: pa.DictionaryArray) -> tuple[np.ndarray, list[str]]:
    """Codes that sort as their texts do, -1 for null, and the texts in order."""
    texts = encoded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.full(len(texts) + 1, -1, np.int64)
    rank[order] = np.arange(len(texts))
    return rank[encoded.indices.fill_null(len(texts)).to_numpy().astype(np.int64)], [texts[i] for i in order]


def distinct_keys(codes: list[tuple[np.ndarray, list[str]]], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of each row's key among the distinct ones in order, and those keys as text: object (keys, columns)."""
    number, keys = np.zeros(rows, np.int64), np.empty((1, 0), dtype=object)
    for code, texts in codes:
        number = number * len(texts) + code
        if len(keys) * len(texts) <= 4 * rows:
            present = np.bincount(number, minlength=len(keys) * len(texts)) > 0
            pairs, number = np.flatnonzero(present), (np.cumsum(present) - 1)[number]
        else:
            pairs, number = np.unique(number, return_inverse=True)
        last = np.array(texts, dtype=object)[pairs % len(texts), None]
        keys = np.concatenate([keys[pairs // len(texts)], last], axis=1)
    return number.reshape(-1), keys


def category_codes(array: pa.Array, known: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """A covariate as codes into sorted texts (or into `known`, -1 for others): float64 (rows,)."""
    codes, texts = _ranked(flat(_text(array).dictionary_encode()))
    if known is not None:
        place_of = {text: i for i, text in enumerate(known)}
        codes = np.array([*(place_of.get(text, -1) for text in texts), -1], dtype=np.int64)[codes]
    return codes.astype(np.float64), tuple(texts) if known is None else known


def numbers(name: str, array: pa.Array, label: Label) -> np.ndarray:
    """A column of numbers or booleans, missing as NaN: float64 (rows,), a copy."""
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return _parsed_numbers(name, array, label)
    if pa.types.is_temporal(array.type) or pa.types.is_nested(array.type):
        raise DataError(f"column {name!r} holds {array.type}, not numbers; convert it or leave it out")
    try:
        return np.array(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    except pa.ArrowException as failure:
        raise DataError(f"column {name!r} holds {array.type}, not numbers; convert it or leave it out") from failure


def _parsed_numbers(name: str, array: pa.Array, label: Label) -> np.ndarray:
    encoded = array.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    values, wrong = np.full(len(texts) + 1, np.nan), np.zeros(len(texts) + 1, bool)
    for i, text in enumerate(texts):
        try:
            values[i] = float(text)
        except ValueError:
            wrong[i] = text.strip().lower() not in _MISSING_TEXT
    codes = encoded.indices.fill_null(len(texts)).to_numpy()
    bad = np.flatnonzero(wrong[codes])
    if len(bad):
        raise DataError(
            f"column {name!r} holds text in {len(bad)} rows, first {texts[codes[bad[0]]]!r} ({label(bad[0])}, "
            f"row {bad[0]}); a number is needed: correct or clear these cells"
        )
    return values[codes]
