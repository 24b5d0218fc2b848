"""Converts the values of a chunk's columns. Each complaint names the row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.manifests.chunks import Chunk
from pipeline.formats.native import MAX_METADATA_BYTES

T = TypeVar("T")

_BOOLEANS = {"true": True, "false": False}


def text(chunk: Chunk, name: str, column: pa.Array | None = None) -> pa.Array:
    """The column as text.

    Raises:
        Halt: ``backfill.manifest_invalid``: it holds something else, or bytes that are no UTF-8.
    """
    values = array(chunk, name) if column is None else column
    kind = values.type
    if pa.types.is_dictionary(kind):
        return text(chunk, name, values.cast(kind.value_type))
    if pa.types.is_string(kind):
        return values
    if not (_is_text(kind) or _is_bytes(kind) or pa.types.is_null(kind)):
        raise chunk.refuse_column(name, f"holds {kind}; write text")
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        index = _first(values, lambda each: each.decode())
        raise chunk.refuse(index, name, "is not UTF-8; save the manifest as UTF-8") from None


def number(chunk: Chunk, name: str) -> pa.Array:
    """The column as 64-bit integers from 0 on."""
    values = array(chunk, name)
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        raise chunk.refuse_column(name, f"holds {values.type}; write whole numbers")
    if not pa.types.is_integer(values.type):
        values = text(chunk, name, values)
        _refuse_unless(
            chunk,
            name,
            values,
            pc.match_substring_regex(values, r"^[0-9]{1,18}$"),
            "a whole number",
        )
    try:
        numbers = values.cast(pa.int64())
    except pa.ArrowInvalid:
        index = _first(values, lambda each: (each < 2**63) or 1 / 0)
        raise chunk.refuse(index, name, "is larger than any object") from None
    _refuse_unless(chunk, name, numbers, pc.greater_equal(numbers, 0), "a size")
    return numbers


def boolean(chunk: Chunk, name: str) -> pa.Array:
    """The column as booleans; text must be ``true`` or ``false``."""
    values = array(chunk, name)
    if pa.types.is_boolean(values.type) or pa.types.is_null(values.type):
        return values.cast(pa.bool_())
    values = pc.utf8_lower(text(chunk, name, values))
    is_one = pc.is_in(values, pa.array(list(_BOOLEANS)))
    _refuse_unless(chunk, name, values, is_one, "true or false")
    return pc.if_else(pc.is_valid(values), pc.equal(values, "true"), None)


def names(chunk: Chunk, name: str) -> pa.Array:
    """The column as lists of names. A text is a JSON list, or names with semicolons between
    them."""
    values, lists = array(chunk, name), pa.list_(pa.string())
    kind = values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        of = kind.value_type
        if not (pa.types.is_string(of) or _is_text(of) or pa.types.is_null(of)):
            raise chunk.refuse_column(name, f"holds {kind}; write lists of text")
        values = values.cast(lists)
        if pc.list_flatten(values).null_count:
            index = _first(values, lambda each: None not in each or 1 / 0)
            raise chunk.refuse(index, name, "holds a null; write names")
        return values
    return _by_value(chunk, name, text(chunk, name, values), _names, lists)


def decoded_keys(chunk: Chunk, name: str) -> pa.Array:
    """URL-encoded keys as they are: S3 writes ``+`` for a space."""
    values = text(chunk, name)
    coded = pc.fill_null(pc.match_substring_regex(values, "[%+]"), False)
    if not pc.any(coded).as_py():
        return values
    plain: list[str] = []
    for key in pc.filter(values, coded).to_pylist():
        try:
            plain.append(unquote_plus(key, errors="strict"))
        except UnicodeDecodeError:
            index = values.index(key).as_py()
            raise chunk.refuse(index, name, "is not UTF-8 when it is URL-decoded") from None
    return pc.replace_with_mask(values, coded, pa.array(plain, pa.string()))


def metadata(chunk: Chunk, name: str | None, carried: list[str]) -> pa.Array:
    """The metadata as compact JSON, with the carried columns in it. None: there is no column of
    metadata."""
    if name is None:
        objects: list[dict[str, Any]] = [{} for _ in range(chunk.columns.num_rows)]
    elif pa.types.is_struct(array(chunk, name).type):
        objects = [
            {key: value for key, value in (each or {}).items() if value is not None}
            for each in array(chunk, name).to_pylist()
        ]
    else:
        given = text(chunk, name)
        if not carried:
            return _by_value(chunk, name, given, _metadata, pa.string())
        objects = [
            json.loads(each) if each else {}
            for each in _by_value(chunk, name, given, _metadata, pa.string()).to_pylist()
        ]
    for column in carried:
        for index, value in enumerate(_scalars(chunk, column)):
            if column in objects[index]:
                raise chunk.refuse(index, column, "stands in the metadata too; rename one of them")
            if value is not None:
                objects[index][column] = value
    return pa.array([_dumped(chunk, index, each) for index, each in enumerate(objects)])


def array(chunk: Chunk, name: str) -> pa.Array:
    return chunk.columns.column(name).combine_chunks()


# -- inside ---------------------------------------------------------------------------------


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _first(values: pa.Array, accepts: Callable[[Any], object]) -> int:
    """The place of the first value that is not accepted. Only asked once something is wrong."""
    for index, value in enumerate(values):
        if value.is_valid:
            try:
                accepts(value.as_py())
            except (ValueError, ArithmeticError):
                return index
    return 0


def _refuse_unless(
    chunk: Chunk, name: str, values: pa.Array, accepted: pa.Array, wanted: str
) -> None:
    """Nulls are accepted."""
    index = pc.index(pc.fill_null(accepted, True), False).as_py()
    if index >= 0:
        shown = repr(values[index].as_py())[:60]
        raise chunk.refuse(index, name, f"is {shown}; write {wanted}")


def _by_value(
    chunk: Chunk, name: str, values: pa.Array, read: Callable[[str], T], kind: pa.DataType
) -> pa.Array:
    """Each different value is read once."""
    if values.null_count == len(values):
        return pa.nulls(len(values), kind)
    coded = values.dictionary_encode()
    results: list[T] = []
    for value in coded.dictionary.to_pylist():
        try:
            results.append(read(value))
        except ValueError as error:
            raise chunk.refuse(values.index(value).as_py(), name, str(error)) from None
    return pa.array(results, kind).take(coded.indices)


def _names(value: str) -> list[str]:
    if not value.startswith("["):
        return [each for part in value.split(";") if (each := part.strip())]
    found = _json(value)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError("is no list of names; write JSON, or names with semicolons between them")
    return found


def _metadata(value: str) -> str:
    found = _json(value)
    if not isinstance(found, dict):
        raise ValueError("is no JSON object; write one")  # noqa: TRY004 - one kind of complaint
    return compact(found)


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("is not JSON; write JSON") from None


def compact(value: Mapping[str, Any]) -> str:
    dumped = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if len(dumped.encode()) > MAX_METADATA_BYTES:
        raise ValueError(
            f"metadata of {len(dumped.encode()):,} bytes (limit {MAX_METADATA_BYTES:,}); carry an "
            "identifier instead"
        )
    return dumped


def _dumped(chunk: Chunk, index: int, value: Mapping[str, Any]) -> str | None:
    if not value:
        return None
    try:
        return compact(value)
    except (ValueError, TypeError) as error:
        raise chunk.refuse(index, "metadata", str(error)) from None


def _scalars(chunk: Chunk, name: str) -> list[Any]:
    """A carried column as values of JSON."""
    values = array(chunk, name)
    kind = values.type
    if pa.types.is_temporal(kind):
        return [None if each is None else str(each) for each in values.to_pylist()]
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return list(values.to_pylist())
    return list(text(chunk, name, values).to_pylist())
