"""A person's own manifests: Parquet, CSV, JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.manifests import values
from pipeline.adapters.manifests.checks import checked
from pipeline.adapters.manifests.chunks import Chunk, Files, refuse_column
from pipeline.adapters.manifests.columnar import parquet_chunks
from pipeline.adapters.manifests.kinds import InputKind
from pipeline.adapters.manifests.lines import line_chunks
from pipeline.adapters.manifests.text import csv_chunks
from pipeline.adapters.parquet.columns import PLAN
from pipeline.errors import Halt

_TEXTS = ("version_id", "etag", "id", "tenant")
_LISTS = ("label_sets", "truth")
_SIZES = ("size", "size_bytes")
COLUMNS = frozenset({"uri", "bucket", "key", "metadata", *_TEXTS, *_LISTS, *_SIZES})
_S3 = "s3://"


def own_entries(
    files: Files, source: str, kind: InputKind, carried: Sequence[str]
) -> Iterator[pa.Table]:
    """Entries of a manifest, or of all manifests in a folder: the columns of ``PLAN``, and the
    carried ones, which are in the metadata too.

    Raises:
        Halt: ``backfill.manifest_*``: the file, the column or the row is named.
    """
    for name in carried:
        if name in COLUMNS:
            raise Halt("backfill.invalid", f"--carry {name}: this column is read anyway")
    for name in files.within(source):
        with files.fetched(name) as path:
            for chunk in _chunks(path, name, kind, carried):
                yield _entries(chunk, carried)


def _chunks(path: Path, file: str, kind: InputKind, carried: Sequence[str]) -> Iterator[Chunk]:
    def all_of(names: Sequence[str]) -> Sequence[str]:
        _require_columns(file, names, carried)
        return names

    if kind is InputKind.PARQUET:
        return parquet_chunks(path, file, all_of)
    if kind is InputKind.CSV:
        return csv_chunks(path, file, None)
    return line_chunks(path, file, carried)


def _entries(chunk: Chunk, carried: Sequence[str]) -> pa.Table:
    names = chunk.columns.column_names
    _require_columns(chunk.file, names, carried)
    rows = chunk.columns.num_rows
    buckets, keys = _location(chunk)
    present = [name for name in carried if name in names]
    columns: dict[str, pa.Array] = {"bucket": buckets, "key": keys}
    for name in _TEXTS:
        if name in names:
            columns[name] = values.text(chunk, name)
    for name in _LISTS:
        if name in names:
            columns[name] = values.names(chunk, name)
    for name in _SIZES:
        if name in names:
            columns["size_bytes"] = values.number(chunk, name)
    if "metadata" in names or present:
        columns["metadata"] = values.metadata(
            chunk, "metadata" if "metadata" in names else None, present
        )
    table = pa.Table.from_arrays(
        [
            columns[field.name] if field.name in columns else pa.nulls(rows, field.type)
            for field in PLAN
        ],
        schema=PLAN,
    )
    table = checked(table, chunk)
    for name in present:
        table = table.append_column(name, chunk.columns.column(name))
    return table


def _location(chunk: Chunk) -> tuple[pa.Array, pa.Array]:
    if "uri" not in chunk.columns.column_names:
        return values.text(chunk, "bucket"), values.text(chunk, "key")
    uris = values.text(chunk, "uri")
    if uris.null_count:
        raise chunk.refuse(pc.index(pc.is_valid(uris), False).as_py(), "uri", "is missing")
    index = pc.index(pc.starts_with(uris, _S3), False).as_py()
    if index >= 0:
        uri = uris[index].as_py()
        if uri.lower().startswith(("http://", "https://")):
            raise chunk.refuse(
                index,
                "uri",
                "is a URL, and backfills read objects of buckets; copy the images into a bucket, "
                "for example with img2dataset, or send the URLs with `clipstream enqueue`",
            )
        raise chunk.refuse(index, "uri", f"is {uri[:60]!r}; write s3://BUCKET/KEY")
    # Everything after the bucket is the key, unchanged, line breaks and slashes too.
    parts = pc.extract_regex(uris, r"(?s)^s3://(?P<bucket>[^/]*)/?(?P<key>.*)$")
    return pc.struct_field(parts, "bucket"), pc.struct_field(parts, "key")


def _require_columns(file: str, names: Sequence[str], carried: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise refuse_column(file, name, "stands there twice; rename one of them")
    if "uri" in names and {"bucket", "key"} & {*names}:
        raise refuse_column(file, "uri", "comes together with bucket or key; keep one or the other")
    if "uri" not in names and not {"bucket", "key"} <= {*names}:
        raise Halt(
            "backfill.manifest_invalid",
            f"{file}: has no column uri, nor bucket and key; name the columns in the first line of "
            "CSV. For a manifest of S3 Batch Operations, which has no such line, add --input-kind "
            "batch-operations",
        )
    if {*_SIZES} <= {*names}:
        raise refuse_column(file, "size", "comes together with size_bytes; keep one of them")
    if ranges := sorted({"offset", "length"} & {*names} - {*carried}):
        raise refuse_column(
            file,
            ranges[0],
            "asks for a part of an object, such as an image in a tar, which backfills do not read; "
            "unpack the tars into objects",
        )
    unknown = [name for name in names if name not in COLUMNS and name not in carried]
    if unknown:
        raise refuse_column(
            file,
            unknown[0],
            f"is unknown; add --carry {unknown[0]} to put it into the metadata of results, or "
            "leave it out",
        )
