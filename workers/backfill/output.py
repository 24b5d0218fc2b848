"""A job's objects: its output prefix, opened with the store of the settings that has the bucket."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import Self

from pipeline.adapters.s3.folder import S3Folder
from pipeline.backfill.conditions import KEPT, Conditions, LookingFolder, probe
from pipeline.errors import Halt
from pipeline.ports import Folder
from workers.settings.loading import Settings

log = logging.getLogger(__name__)

_SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class Output:
    """``s3://bucket/prefix``; ``prefix`` is empty or ends with a slash. ``conditions`` are those
    that its store keeps, as far as is known."""

    bucket: str
    prefix: str
    conditions: Conditions = KEPT

    @classmethod
    def of(cls, uri: str) -> Self:
        """
        Raises:
            Halt: ``backfill.invalid``: this is no URI of a prefix.
        """
        bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
        if not uri.startswith(_SCHEME) or not bucket:
            raise Halt("backfill.invalid", f"{uri}: is not an s3:// URI; write s3://BUCKET/PREFIX")
        prefix = key.strip("/")
        return cls(bucket, f"{prefix}/" if prefix else "")

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.prefix}".rstrip("/")


def open_output(settings: Settings, output: Output) -> Folder:
    """The caller closes it.

    Raises:
        Halt: there are no credentials.
    """
    folder = S3Folder(settings.s3_store_named(output.bucket), output.bucket, output.prefix)
    return folder if output.conditions.kept else LookingFolder(folder, output.conditions)


def probed(settings: Settings, output: Output) -> Output:
    """Tries conditional writes at the output, and returns it with what its store kept. Blocks.

    Raises:
        Halt: there are no credentials.
        StoreDenied, Retry: the store failed.
    """
    with contextlib.closing(open_output(settings, output)) as folder:
        conditions = probe(folder)
    if not conditions.kept:
        log.warning(
            "%s: its store %s; run one driver of the job at a time. A shard that is done twice is "
            "written twice, with the same rows",
            output,
            conditions,
        )
    return replace(output, conditions=conditions)
