"""Kinds of sources, how the name of a source tells its kind, and what makes two objects equal."""

from __future__ import annotations

from enum import StrEnum

from pipeline.errors import Halt


class InputKind(StrEnum):
    LISTING = "listing"
    """All objects below a prefix."""
    INVENTORY = "inventory"
    """The ``manifest.json`` of an S3 Inventory."""
    BATCH_OPERATIONS = "batch-operations"
    """The CSV manifest of S3 Batch Operations: bucket, key and perhaps version, without a
    header."""
    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


class Dedupe(StrEnum):
    """How rows of equal content are recognised, so that it is classified once."""

    ETAG_AND_SIZE = "etag+size"


OWN = frozenset({InputKind.PARQUET, InputKind.CSV, InputKind.JSONL})
"""Manifests that a person wrote."""

_SUFFIXES = {
    "manifest.json": InputKind.INVENTORY,
    ".parquet": InputKind.PARQUET,
    ".pq": InputKind.PARQUET,
    ".csv": InputKind.CSV,
    ".jsonl": InputKind.JSONL,
    ".ndjson": InputKind.JSONL,
}
_COMPRESSED = (".gz", ".zst")
_TARS = (".tar", ".tgz", ".tar.gz", ".tar.zst")
_S3 = "s3://"


def kind_of(source: str, given: InputKind | None = None) -> InputKind:
    """The kind of a source: the one that a person gave, else the one that its name tells.

    Raises:
        Halt: ``backfill.invalid``: no backfill reads such a source, or its name does not tell.
    """
    lower = source.lower()
    if lower.startswith(("http://", "https://")):
        raise Halt(
            "backfill.invalid",
            f"{source[:200]}: backfills read objects of buckets, and no URLs; copy the images into "
            "a bucket, for example with img2dataset, or send their URLs with `clipstream enqueue`",
        )
    if lower.endswith(_TARS):
        raise Halt(
            "backfill.invalid",
            f"{source}: backfills read one image from each object, and nothing inside of tars; "
            "unpack the tars into objects, and name their prefix",
        )
    if given is not None:
        if given is InputKind.LISTING and not source.startswith(_S3):
            raise Halt("backfill.invalid", f"{source}: only s3://BUCKET/PREFIX can be listed")
        return given
    bare = lower
    for suffix in _COMPRESSED:
        bare = bare.removesuffix(suffix)
    for suffix, kind in _SUFFIXES.items():
        if bare.endswith(suffix):
            return kind
    if source.startswith(_S3) and not lower.endswith((".json", ".txt", ".tsv", ".orc", ".gz")):
        return InputKind.LISTING
    raise Halt(
        "backfill.invalid",
        f"{source}: the name does not tell what this is; add --input-kind with one of "
        f"{', '.join(InputKind)}",
    )
