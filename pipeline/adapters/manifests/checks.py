"""Checks the values of entries by the rules that messages of the stream are held to."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.manifests.chunks import Chunk
from pipeline.errors import Reject
from pipeline.formats.native import MAX_ID_BYTES, MAX_TENANT_BYTES
from pipeline.formats.reference import (
    MAX_ETAG_CHARACTERS,
    MAX_KEY_BYTES,
    MAX_VERSION_ID_CHARACTERS,
    check_bucket,
)

_QUOTES = r'^"(.*)"$'
_VERSION_ID = r"^[\x21-\x7e]+$"
_ETAG = r"^[\x21\x23-\x7e]+$"
_CONTROL = r"[\x00-\x1f\x7f-\x{9f}]"


def checked(entries: pa.Table, chunk: Chunk) -> pa.Table:
    """The entries, with bare ETags.

    Raises:
        Halt: ``backfill.manifest_invalid``: no object can have such a bucket, key, version or
            ETag.
    """
    buckets, keys = _column(entries, "bucket"), _column(entries, "key")
    for name, values in (("bucket", buckets), ("key", keys)):
        if values.null_count:
            raise chunk.refuse(pc.index(pc.is_valid(values), False).as_py(), name, "is missing")
    for bucket in buckets.unique().to_pylist():
        if (problem := _problem_of(bucket)) is not None:
            raise chunk.refuse(buckets.index(bucket).as_py(), "bucket", problem)
    _require_length(chunk, "key", keys, MAX_KEY_BYTES)
    versions = _column(entries, "version_id")
    _require(chunk, "version_id", versions, _VERSION_ID, "is no version id")
    _require_length(chunk, "version_id", versions, MAX_VERSION_ID_CHARACTERS)
    etags = pc.replace_substring_regex(_column(entries, "etag"), _QUOTES, r"\1")
    _require(chunk, "etag", etags, _ETAG, "is no ETag")
    _require_length(chunk, "etag", etags, MAX_ETAG_CHARACTERS)
    for name, limit in (("id", MAX_ID_BYTES), ("tenant", MAX_TENANT_BYTES)):
        values = _column(entries, name)
        _require_length(chunk, name, values, limit)
        if values.null_count < len(values):
            clean = pc.invert(pc.match_substring_regex(values, _CONTROL))
            _refuse_first(chunk, name, clean, "holds a control character; leave it out")
    place = entries.schema.get_field_index("etag")
    return entries.set_column(place, entries.schema.field(place), etags)


def _column(entries: pa.Table, name: str) -> pa.Array:
    return entries.column(name).combine_chunks()


@lru_cache(maxsize=1024)
def _problem_of(bucket: str) -> str | None:
    try:
        check_bucket(bucket, "bucket")
    except Reject as reject:
        return reject.message.removeprefix("bucket: ")
    return None


def _require(chunk: Chunk, name: str, values: pa.Array, pattern: str, what: str) -> None:
    if values.null_count < len(values):
        _refuse_first(chunk, name, pc.match_substring_regex(values, pattern), what)


def _require_length(chunk: Chunk, name: str, values: pa.Array, limit: int) -> None:
    lengths = pc.binary_length(values)
    fits = pc.and_(pc.greater_equal(lengths, 1), pc.less_equal(lengths, limit))
    _refuse_first(chunk, name, fits, f"is not 1 to {limit:,} bytes long")


def _refuse_first(chunk: Chunk, name: str, accepted: pa.Array, what: str) -> None:
    index = pc.index(pc.fill_null(accepted, True), False).as_py()
    if index >= 0:
        raise chunk.refuse(index, name, what)
