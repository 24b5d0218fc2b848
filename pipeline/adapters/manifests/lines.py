"""JSON lines as chunks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any

import pyarrow as pa

from pipeline.adapters.manifests.chunks import CHUNK_ROWS, Chunk, damaged
from pipeline.adapters.manifests.text import opened
from pipeline.adapters.manifests.values import compact
from pipeline.errors import Halt, Reject
from pipeline.formats import strict_json
from pipeline.formats.fields import kind
from pipeline.records import JsonValue

_MAX_LINE_BYTES = 1024 * 1024
_BUFFER_BYTES = 1024 * 1024
_MAX_DEPTH = 32
_TYPES: dict[str, tuple[type, str]] = {
    **dict.fromkeys(
        ("uri", "bucket", "key", "version_id", "etag", "id", "tenant"), (str, "a string")
    ),
    **dict.fromkeys(("size", "size_bytes"), (int, "a whole number")),
    **dict.fromkeys(("label_sets", "truth"), (list, "a list of strings")),
    "metadata": (dict, "an object"),
}
"""What each field holds, and the words for it."""


def line_chunks(path: Path, file: str, carried: Sequence[str]) -> Iterator[Chunk]:
    """Rows are numbered by their lines. Fields of an object that nobody knows are columns too, for
    the caller to refuse.

    Raises:
        Halt: ``backfill.manifest_invalid``: a line is no JSON object, or a field is of a wrong
            type. ``backfill.manifest_damaged``: the file ends early.
    """
    first = 1
    try:
        with opened(path, file) as raw:
            buffered = io.BufferedReader(raw, _BUFFER_BYTES)
            lines = iter(partial(buffered.readline, _MAX_LINE_BYTES), b"")
            while block := list(islice(lines, CHUNK_ROWS)):
                yield _chunk(file, first, block, carried)
                first += len(block)
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(file, f"cannot be read ({error})") from error


def _chunk(file: str, first: int, lines: list[bytes], carried: Sequence[str]) -> Chunk:
    objects = [_object(file, first + index, line) for index, line in enumerate(lines)]
    fields = dict.fromkeys(name for each in objects for name in each)
    columns: dict[str, pa.Array] = {}
    numbered = Chunk(file, first, pa.table({}))
    for name in fields:
        values = [each.get(name) for each in objects]
        if name in _TYPES:
            columns[name] = _known(numbered, name, values)
        elif name in carried:
            columns[name] = _carried(numbered, name, values)
        else:
            columns[name] = pa.nulls(len(objects))
    return Chunk(file, first, pa.table(columns))


def _object(file: str, number: int, line: bytes) -> dict[str, JsonValue]:
    if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
        raise _invalid(file, number, f"is longer than {_MAX_LINE_BYTES:,} bytes")
    if not line.strip():
        raise _invalid(file, number, "is empty; leave the line out")
    try:
        value = strict_json.load(line, _MAX_DEPTH)
    except Reject as reject:
        raise _invalid(file, number, reject.message) from None
    if not isinstance(value, dict):
        raise _invalid(file, number, f"is {kind(value)}; write an object")
    return value


def _known(chunk: Chunk, name: str, values: list[Any]) -> pa.Array:
    wanted, words = _TYPES[name]
    # Most files have nothing wrong, so the types are looked at together first.
    if not {type(each) for each in values} <= {wanted, NoneType}:
        index = next(i for i, each in enumerate(values) if type(each) not in (wanted, NoneType))
        raise chunk.refuse(index, name, f"is {kind(values[index])}; write {words}")
    if wanted is dict:
        return pa.array([_as_text(chunk, index, each) for index, each in enumerate(values)])
    if wanted is list:
        for index, value in enumerate(values):
            if not all(isinstance(each, str) for each in value or ()):
                raise chunk.refuse(index, name, f"holds something else; write {words}")
        return pa.array(values, pa.list_(pa.string()))
    return _array(chunk, name, values, pa.string() if wanted is str else pa.int64())


def _carried(chunk: Chunk, name: str, values: list[Any]) -> pa.Array:
    found = {type(each) for each in values} - {NoneType}
    if found <= {str} or found <= {bool} or found <= {int, float}:
        return _array(chunk, name, values)
    first = next(type(each) for each in values if each is not None)
    index = next(
        i
        for i, each in enumerate(values)
        if each is not None and (type(each) is not first or first in (list, dict))
    )
    raise chunk.refuse(
        index, name, f"is {kind(values[index])}; carry strings, numbers or booleans of one kind"
    )


def _array(
    chunk: Chunk, name: str, values: list[Any], wanted: pa.DataType | None = None
) -> pa.Array:
    try:
        return pa.array(values, wanted)
    except (pa.ArrowInvalid, OverflowError):
        raise chunk.refuse_column(name, "holds a number beyond 64 bits") from None


def _as_text(chunk: Chunk, index: int, value: Any) -> str | None:
    if value is None:
        return None
    try:
        return compact(value)
    except ValueError as error:
        raise chunk.refuse(index, "metadata", str(error)) from None


def _invalid(file: str, number: int, what: str) -> Halt:
    return Halt("backfill.manifest_invalid", f"{file}: row {number:,}: {what}")
