"""A hash of a group's rows that does not depend on their order, nor on how they were cut into files or batches.

A cell becomes 64 bits by its value (not by its type: 1 and 1.0 are equal, so are times in any unit), salted by the
name of its column; the cells of a row are added up and mixed into two words; the words of the rows are added up.
Missing values of any kind are equal. The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", 2014).
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from forecastml.errors import DataError

#: Bits of a NaN: no number has them, because NaN is missing too.
_MISSING = np.uint64(0x7FF8_5EED_0000_0001)
_LANES = (np.uint64(0x9E37_79B9_7F4A_7C15), np.uint64(0xD1B5_4A32_D192_ED03))
#: Whole numbers up to here are equal to a float.
_EXACT = 1 << 53
#: Bytes of a text that is hashed word by word together with others.
_SHORT = 256
_TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def row_hashes(table: pa.Table) -> np.ndarray:
    """Two words for each row: uint64 (rows, 2). Raises `DataError` for a column of lists or the like."""
    total = np.zeros(table.num_rows, np.uint64)
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = column.combine_chunks()
        array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
        total += _mixed(_bits(name, array) ^ _salt(name, array.type))
    return np.stack([_mixed(total ^ lane) for lane in _LANES], axis=1)


def group_hashes(hashes: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Sums over the rows of each group: uint64 (groups, 2). begin: first row of each group, rising, none empty."""
    return np.add.reduceat(hashes, begin, axis=0) if len(begin) else np.zeros((0, 2), np.uint64)


def _mixed(words: np.ndarray) -> np.ndarray:
    words = words + np.uint64(0x9E37_79B9_7F4A_7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return words ^ (words >> np.uint64(31))


def _salt(name: str, kind: pa.DataType) -> np.uint64:
    # The same moments on the clocks of another zone are other days and hours.
    zone = getattr(kind, "tz", None) or ""
    text = f"{name}\0{zone}".encode("utf-8", "surrogatepass")
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big"))


def _bits(name: str, array: pa.Array) -> np.ndarray:
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), _MISSING)
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return _text_bits(array)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        bits = _number_bits(array)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        bits = _time_bits(array)
    else:
        try:
            return _text_bits(array.cast(pa.string()).cast(pa.large_string()))
        except pa.ArrowException as failure:
            raise DataError(f"column {name!r} is of type {kind}; leave it out, or make it numbers or text") from failure
    return np.where(_valid(array), bits, _MISSING) if array.null_count else bits


def _valid(array: pa.Array) -> np.ndarray:
    return array.is_valid().to_numpy(zero_copy_only=False)


def _filled(array: pa.Array, kind: pa.DataType) -> np.ndarray:
    array = array.cast(kind)
    return (array.fill_null(0) if array.null_count else array).to_numpy()


def _number_bits(array: pa.Array) -> np.ndarray:
    if pa.types.is_integer(array.type) and array.type.bit_width == 64:
        whole = _filled(array, array.type)
        bits = whole.astype(np.float64).view(np.uint64)
        large = (whole > _EXACT) | (whole < -_EXACT) if whole.dtype.kind == "i" else whole > _EXACT
        return np.where(large, _mixed(whole.view(np.uint64)), bits)
    # -0.0 + 0.0 is 0.0.
    values = _filled(array, pa.uint8() if pa.types.is_boolean(array.type) else array.type).astype(np.float64) + 0.0
    return np.where(np.isnan(values), _MISSING, values.view(np.uint64))


def _time_bits(array: pa.Array) -> np.ndarray:
    kind = array.type
    if pa.types.is_date32(kind):
        seconds, below = _filled(array.cast(pa.int32()), pa.int64()) * 86_400, np.int64(0)
    else:
        unit = _TICKS["ms" if pa.types.is_date64(kind) else kind.unit]
        ticks = _filled(array, pa.int64())
        seconds = ticks // unit
        below = (ticks - seconds * unit) * (_TICKS["ns"] // unit)
    return _mixed(seconds.view(np.uint64)) + np.asarray(below).view(np.uint64)


def _text_bits(array: pa.Array) -> np.ndarray:
    """Bits of text or bytes; each distinct value is hashed once."""
    encoded = array.dictionary_encode()
    words = np.append(_text_words(encoded.dictionary), _MISSING)
    indices = encoded.indices
    return words[(indices.fill_null(len(words) - 1) if indices.null_count else indices).to_numpy()]


def _text_words(texts: pa.Array) -> np.ndarray:
    """One word for each text: uint64 (texts,). texts: of type large_string or large_binary, none null."""
    if not len(texts):
        return np.zeros(0, np.uint64)
    _, offsets, data = texts.buffers()
    offset = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    content = np.zeros(offset[-1] - offset[0] + 8, np.uint8)
    if data is not None:
        content[:-8] = np.frombuffer(data, np.uint8)[offset[0] : offset[-1]]
    begin, length = offset[:-1] - offset[0], np.diff(offset)
    words = _mixed(length.view(np.uint64))
    windows = np.lib.stride_tricks.sliding_window_view(content, 8)
    short = np.flatnonzero(length <= _SHORT)
    for first in range(0, _SHORT, 8):
        short = short[length[short] > first]
        if not len(short):
            break
        word = windows[begin[short] + first].view("<u8")[:, 0]
        # Bytes that belong to the next text are cut off.
        spare = (8 - np.minimum(length[short] - first, 8)).astype(np.uint64) * np.uint64(8)
        words[short] = _mixed(words[short] ^ ((word << spare) >> spare))
    for i in np.flatnonzero(length > _SHORT):
        part = content[begin[i] : begin[i] + length[i]].tobytes()
        words[i] = int.from_bytes(hashlib.blake2b(part, digest_size=8).digest(), "big")
    return words
