"""S3 Inventory and the CSV of S3 Batch Operations, as S3 writes them."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.adapters.manifests import values
from pipeline.adapters.manifests.checks import checked
from pipeline.adapters.manifests.chunks import Chunk, Files, damaged
from pipeline.adapters.manifests.columnar import orc_chunks, parquet_chunks
from pipeline.adapters.manifests.text import csv_chunks, width
from pipeline.adapters.parquet.columns import PLAN
from pipeline.errors import Halt

_CHECKSUM = "manifest.checksum"
_ARN = "arn:"
_READ_BYTES = 1024 * 1024
_BATCH_COLUMNS = ("bucket", "key", "version_id")
_NAMES = {"e_tag": "etag", "size": "size_bytes"}
"""Columns of an inventory that a plan calls otherwise."""
_FLAGS = ("is_latest", "is_delete_marker")


class _File(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    key: str
    size: int
    md5: str = Field(alias="MD5checksum")


class _Manifest(BaseModel):
    destination_bucket: str = Field(alias="destinationBucket")
    format: str = Field(alias="fileFormat")
    columns: str = Field(alias="fileSchema")
    files: tuple[_File, ...]


def inventory_entries(files: Files, source: str, *, every_column: bool) -> Iterator[pa.Table]:
    """Entries of an inventory: the columns of ``PLAN``, ``is_latest`` and ``is_delete_marker`` if
    the inventory has them, and with ``every_column`` all others. Nothing of a file is read before
    its checksum is verified.

    Raises:
        Halt: ``backfill.manifest_damaged``: something is missing, cut off or changed.
            ``backfill.manifest_invalid``: the file and the row are named.
    """
    manifest = _manifest(files, source)
    for listed in manifest.files:
        name = _place(source, manifest, listed)
        with files.fetched(name) as path:
            _verify(path, name, listed)
            for chunk in _chunks(path, name, manifest, every_column=every_column):
                yield _entries(chunk, coded=manifest.format == "CSV", every_column=every_column)


def batch_operations_entries(files: Files, source: str) -> Iterator[pa.Table]:
    """Entries of a manifest of S3 Batch Operations.

    Raises:
        Halt: ``backfill.manifest_*``: the file and the row are named.
    """
    for name in files.within(source):
        with files.fetched(name) as path:
            count = width(path, name)
            if not 2 <= count <= len(_BATCH_COLUMNS):
                raise Halt(
                    "backfill.manifest_invalid",
                    f"{name}: has {count} columns; a manifest of S3 Batch Operations has bucket, "
                    "key and perhaps version id, without a first line of names",
                )
            for chunk in csv_chunks(path, name, _BATCH_COLUMNS[:count]):
                yield _entries(chunk, coded=True, every_column=False)


def _manifest(files: Files, source: str) -> _Manifest:
    body = files.read(source)
    if body is None:
        raise Halt("backfill.invalid", f"{source}: there is no such file; check its name")
    checksum = f"{source.removesuffix(posixpath.basename(source))}{_CHECKSUM}"
    stored = files.read(checksum)
    if stored is None:
        raise damaged(checksum, "is missing, so the inventory may be incomplete")
    if stored.decode(errors="replace").strip().lower() != _md5(body):
        raise damaged(source, f"is not what {_CHECKSUM} was made of")
    try:
        return _Manifest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(each) for each in first["loc"])
        raise damaged(
            source, f"is no manifest of S3 Inventory ({where}: {first['msg']})"
        ) from error


def _place(source: str, manifest: _Manifest, listed: _File) -> str:
    """Where a file of the inventory lies: in the bucket that the manifest names, else beside the
    manifest, if somebody has copied all of it elsewhere."""
    bucket = manifest.destination_bucket
    if bucket.startswith(_ARN):
        bucket = bucket.rpartition(":")[2]
    if source.startswith(f"s3://{bucket}/"):
        return f"s3://{bucket}/{listed.key}"
    folder = source.rpartition("/")[0].rpartition("/")[0]
    inside = "/".join(listed.key.split("/")[-2:])
    return f"{folder}/{inside}" if folder else inside


def _verify(path: Path, name: str, listed: _File) -> None:
    size = path.stat().st_size
    if size != listed.size:
        raise damaged(name, f"has {size:,} bytes, and the inventory says {listed.size:,}")
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    if digest.hexdigest() != listed.md5.lower():
        raise damaged(name, "has another MD5 than the inventory says")


def _chunks(path: Path, name: str, manifest: _Manifest, *, every_column: bool) -> Iterator[Chunk]:
    def wanted(names: Sequence[str]) -> Sequence[str]:
        _require_object(name, names)
        return [each for each in names if every_column or _is_wanted(each)]

    match manifest.format.upper():
        case "CSV":
            columns = [_snake(each.strip()) for each in manifest.columns.split(",")]
            _require_object(name, columns)
            return csv_chunks(path, name, columns)
        case "PARQUET":
            return parquet_chunks(path, name, wanted)
        case "ORC":
            return orc_chunks(path, name, wanted)
        case other:
            raise damaged(name, f"is of the unknown format {other!r}")


def _require_object(file: str, names: Sequence[str]) -> None:
    if not {"bucket", "key"} <= {*names}:
        raise damaged(file, "has no columns bucket and key")


def _snake(name: str) -> str:
    """``LastModifiedDate`` as the other formats write it: ``last_modified_date``."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("ETag", "Etag")).lower()
    return _NAMES.get(snake, snake)


def _is_wanted(name: str) -> bool:
    return _NAMES.get(name, name) in PLAN.names or name in _FLAGS


_READ: dict[str, Callable[[Chunk, str], pa.Array]] = {
    "bucket": values.text,
    "key": values.text,
    "version_id": values.text,
    "etag": values.text,
    "size_bytes": values.number,
    "is_latest": values.boolean,
    "is_delete_marker": values.boolean,
}


def _entries(chunk: Chunk, *, coded: bool, every_column: bool) -> pa.Table:
    table = chunk.columns.rename_columns(
        [_NAMES.get(name, name) for name in chunk.columns.column_names]
    )
    chunk = Chunk(chunk.file, chunk.first, table)
    columns: dict[str, pa.Array] = {}
    for name in table.column_names:
        if name == "key" and coded:
            columns[name] = values.decoded_keys(chunk, name)
        elif (read := _READ.get(name)) is not None:
            columns[name] = read(chunk, name)
    fields = [
        columns.pop(field.name, None)
        if field.name in columns
        else pa.nulls(table.num_rows, field.type)
        for field in PLAN
    ]
    entries = checked(pa.Table.from_arrays(fields, schema=PLAN), chunk)
    for name, column in columns.items():
        entries = entries.append_column(name, column)
    if every_column:
        for name in table.column_names:
            if name not in entries.column_names:
                column = values.array(chunk, name)
                if pa.types.is_binary(column.type):
                    column = values.text(chunk, name, column)
                entries = entries.append_column(name, column)
    return entries


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
