"""Columns of a source in plain types, and keys as the text that forecastml makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecastml.errors import DataError

#: Texts of the key columns.
Key = tuple[str, ...]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without its encoding: of what a dictionary, a run or an extension stands for; text with long offsets."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.large_binary()
    return kind


def plain(array: pa.Array) -> pa.Array:
    """An array decoded to its plain type."""
    if isinstance(array, pa.ExtensionArray):
        return plain(array.storage)
    if pa.types.is_dictionary(array.type):
        return plain(array.dictionary_decode())
    if pa.types.is_run_end_encoded(array.type):
        return plain(pc.run_end_decode(array))
    return array.cast(plain_type(array.type))


def plain_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of `schema` in its types, null where the table has none."""
    columns = []
    for field in schema:
        place = table.schema.get_field_index(field.name)
        if place < 0:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(place)
        chunks = [plain(chunk) for chunk in column.chunks]
        kind = chunks[0].type if chunks else plain_type(column.type)
        columns.append(pa.chunked_array(chunks, kind).cast(field.type))
    return pa.table(columns, schema=schema)


def holds_fractions(column: pa.ChunkedArray) -> bool:
    """Whether a column of floats has numbers that are not whole."""
    finite = column.filter(pc.fill_null(pc.is_finite(column), False))
    return pc.all(pc.equal(finite, pc.trunc(finite))).as_py() is False


def key_text(name: str, column: pa.ChunkedArray, fractions: bool) -> pa.ChunkedArray:
    """A key column as forecastml reads it: 7.0 is "7", unless the column holds `fractions` anywhere in the source."""
    kind = column.type
    try:
        if pa.types.is_boolean(kind):
            column = pc.if_else(column, "True", "False")
        elif pa.types.is_floating(kind):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind))
            column = column if fractions else column.cast(pa.int64(), safe=False)
        return column.cast(pa.string()).cast(pa.large_string())
    except pa.ArrowException as failure:
        raise DataError(f"key column {name!r} is of type {kind}; make it text") from failure


def distinct_keys(columns: Sequence[pa.ChunkedArray]) -> tuple[np.ndarray, list[Key]]:
    """Number of each row's key, and the distinct keys as first met. columns: of text, none null."""
    first = _encoded(columns[0])
    keys: list[Key] = [(text,) for text in first.dictionary.to_pylist()]
    number = first.indices.to_numpy().astype(np.int64)
    for column in columns[1:]:
        encoded = _encoded(column)
        texts = encoded.dictionary.to_pylist()
        pairs = _encoded(pa.array(number * len(texts) + encoded.indices.to_numpy()))
        number = pairs.indices.to_numpy().astype(np.int64)
        keys = [(*keys[pair // len(texts)], texts[pair % len(texts)]) for pair in pairs.dictionary.to_pylist()]
    return number, keys


def _encoded(column: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = column.dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


def joint_schema(schemas: Iterable[tuple[str, pa.Schema]], names: Sequence[str]) -> pa.Schema:
    """The plain types of some columns over all files; schemas: file and its columns. `DataError` for types at odds."""
    fields: dict[str, tuple[str, pa.Field]] = {}
    for file, schema in schemas:
        for name in names:
            place = schema.get_field_index(name)
            if place < 0:
                continue
            field = pa.field(name, plain_type(schema.field(place).type))
            first, known = fields.setdefault(name, (file, field))
            try:
                joined = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive")
            except pa.ArrowException as failure:
                raise DataError(
                    f"column {name!r} is of type {known.type} in {first} and {field.type} in {file}; "
                    "write it as one type in all files"
                ) from failure
            fields[name] = (first, joined.field(0))
    return pa.schema([fields[name][1] for name in names if name in fields])


def keyed(table: pa.Table, texts: Sequence[str], fractions: Sequence[str]) -> pa.Table:
    """The table with its key columns as text; fractions: those that hold decimals."""
    for name in texts:
        column = key_text(name, table.column(name), name in fractions)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table
