"""JSON lines as chunks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
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
_TYPES = {
    **dict.fromkeys(("uri", "bucket", "key", "version_id", "etag", "id", "tenant"), "a string"),
    **dict.fromkeys(("size", "size_bytes"), "a number"),
    **dict.fromkeys(("label_sets", "truth"), "a list"),
    "metadata": "an object",
}
"""What each field holds, in the words of ``pipeline.formats.fields.kind``."""


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
    for name in fields:
        values = [each.get(name) for each in objects]
        wanted = _TYPES.get(name)
        if wanted is None and name not in carried:
            columns[name] = pa.nulls(len(objects))
            continue
        columns[name] = _column(Chunk(file, first, pa.table({})), name, values, wanted)
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


def _column(chunk: Chunk, name: str, values: list[JsonValue], wanted: str | None) -> pa.Array:
    if wanted is None:
        types = {type(each) for each in values if each is not None}
        if types <= {str} or types <= {bool} or types <= {int, float}:
            try:
                return pa.array(values)
            except (pa.ArrowInvalid, OverflowError):
                raise chunk.refuse_column(name, "holds a number beyond 64 bits") from None
        kinds = [kind(each) for each in values]
        index = next(
            (i for i, each in enumerate(values) if isinstance(each, (list, dict))),
            next(
                (i for i, each in enumerate(kinds) if values[i] is not None and each != kinds[0]), 0
            ),
        )
        raise chunk.refuse(
            index, name, f"is {kinds[index]}; carry texts, numbers or booleans, one kind a column"
        )
    for index, value in enumerate(values):
        if value is not None and (kind(value) != wanted or isinstance(value, float)):
            raise chunk.refuse(index, name, f"is {kind(value)}; write {wanted}")
    if wanted == "an object":
        return pa.array([_as_text(chunk, index, each) for index, each in enumerate(values)])
    if wanted == "a list":
        return _lists(chunk, name, values)
    try:
        return pa.array(values, pa.string() if wanted == "a string" else pa.int64())
    except (pa.ArrowInvalid, OverflowError):
        raise chunk.refuse_column(name, "holds a number beyond 64 bits") from None


def _lists(chunk: Chunk, name: str, values: list[Any]) -> pa.Array:
    for index, value in enumerate(values):
        if value is not None and not all(isinstance(each, str) for each in value):
            raise chunk.refuse(index, name, "holds something else than names; write strings")
    return pa.array(values, pa.list_(pa.string()))


def _as_text(chunk: Chunk, index: int, value: Any) -> str | None:
    if value is None:
        return None
    try:
        return compact(value)
    except ValueError as error:
        raise chunk.refuse(index, "metadata", str(error)) from None


def _invalid(file: str, number: int, what: str) -> Halt:
    return Halt("backfill.manifest_invalid", f"{file}: row {number:,}: {what}")
