"""Columns of a table, as Arrow arrays, to keys, codes and numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecastml.errors import DataError

#: Text that means "no number" in a column of numbers.
_MISSING_TEXT = ("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")
_TRUTH = {"true": 1.0, "false": 0.0}
_DECIMAL_COMMA = re.compile(r"\s*[+-]?(\d{1,3}([. ]\d{3})+|\d+),\d+\s*")
#: A text column most of whose distinct texts are numbers is one of numbers with some wrong cells.
_MOSTLY = 0.9


@dataclass(frozen=True, eq=False)
class BadCells:
    """Cells of a column that hold no number.

    rows: int64 (cells,), in order; texts: the first three distinct ones; kind: the type of the whole column when that
    is the trouble; commas: whether the numbers have decimal commas.
    """

    rows: np.ndarray
    texts: tuple[str, ...] = ()
    kind: str = ""
    commas: bool = False


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
    """Codes of a key column into its sorted distinct texts, -1 where it is empty."""
    try:
        codes, texts = _ranked(flat(_text(array).dictionary_encode()))
    except pa.ArrowException as failure:
        raise DataError(f"key column {name!r} is of type {array.type}; make it text") from failure
    # The empty text sorts first.
    return (np.maximum(codes - 1, -1), texts[1:]) if texts[:1] == [""] else (codes, texts)


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


def numbers(array: pa.Array) -> tuple[np.ndarray, BadCells | None]:
    """A column of numbers or booleans, missing as NaN: float64 (rows,), a copy; and the cells that hold no number."""
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan), None
    if is_text(array):
        return _parsed_numbers(array)
    if not (pa.types.is_temporal(array.type) or pa.types.is_nested(array.type) or _is_bytes(array.type)):
        try:
            return np.array(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)), None
        except pa.ArrowException:
            pass
    kind = "bytes that are not UTF-8 text" if _is_bytes(array.type) else str(array.type)
    return np.full(len(array), np.nan), BadCells(_present(array), kind=kind)


def switches(array: pa.Array) -> tuple[np.ndarray, BadCells | None]:
    """A column of true and false, or 1 and 0, missing as false: float64 (rows,) of 0.0 and 1.0; and other cells."""
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    values, bad = numbers(_truth(array) if is_text(array) else array)
    if bad is None:
        wrong = np.flatnonzero(~np.isnan(values) & (values != 0) & (values != 1))
        if len(wrong):
            texts = dict.fromkeys(str(array[int(row)].as_py()) for row in wrong[:100])
            bad = BadCells(wrong, tuple(texts)[:3])
    return (values == 1).astype(np.float64), bad


def mixed_numbers(array: pa.Array) -> BadCells | None:
    """The cells that hold no number, of a text column whose other cells are decimals; None for one of categories."""
    encoded = array.dictionary_encode() if not pa.types.is_dictionary(array.type) else array
    texts = [text for text in encoded.dictionary.to_pylist() if _given(text)]
    commas = sum(bool(_DECIMAL_COMMA.fullmatch(text)) for text in texts)
    decimals = [text for text in texts if "." in text and _number(text) is not None]
    whole = sum(text.strip().isdecimal() for text in texts)
    if not texts or not (commas or decimals) or commas + len(decimals) + whole < _MOSTLY * len(texts):
        return None
    return numbers(array)[1]


def _parsed_numbers(array: pa.Array) -> tuple[np.ndarray, BadCells | None]:
    encoded = array.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    values, wrong = np.full(len(texts) + 1, np.nan), np.zeros(len(texts) + 1, bool)
    for i, text in enumerate(texts):
        number = _number(text)
        if number is not None:
            values[i] = number
        else:
            wrong[i] = _given(text)
    codes = encoded.indices.fill_null(len(texts)).to_numpy()
    rows = np.flatnonzero(wrong[codes])
    if not len(rows):
        return values[codes], None
    # Codes of a dictionary rise in the order in which their texts are first met.
    first = [texts[code] for code in np.flatnonzero(wrong)[:3]]
    commas = all(_DECIMAL_COMMA.fullmatch(text) for text in first)
    return values[codes], BadCells(rows, tuple(first), commas=commas)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _given(text: str | None) -> bool:
    """Whether a text is not one that stands for a missing number."""
    return text is not None and text.strip().lower() not in _MISSING_TEXT


def _truth(array: pa.Array) -> pa.Array:
    """Text with 1 and 0 in place of the words for true and false."""
    encoded = array.dictionary_encode()
    texts = [_TRUTH.get(text.strip().lower(), text) for text in encoded.dictionary.to_pylist()]
    words = pa.array([str(text) for text in texts], pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, words).dictionary_decode()


def _present(array: pa.Array) -> np.ndarray:
    return np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
