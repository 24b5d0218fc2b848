"""Rows of a manifest's file as they were read, with the numbers that complaints name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from pipeline.errors import Halt

CHUNK_ROWS = 65_536


class Files(Protocol):
    """Where manifests lie. Names are paths or ``s3://`` URIs.

    Raises:
        Halt: ``backfill.invalid``: there is no such file.
        StoreDenied, Retry: the store failed.
    """

    def read(self, name: str) -> bytes | None:
        """A small file, or None if there is none."""

    def fetched(self, name: str) -> AbstractContextManager[Path]:
        """The file on this machine, for as long as the context is open."""

    def within(self, folder: str) -> Iterator[str]:
        """Names of the files in a folder, which ends with a slash; for other names the name
        itself."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of one file. ``first`` is the number of the first one, from 1; a header of CSV is
    no row."""

    file: str
    first: int
    columns: pa.Table

    def refuse(self, index: int, column: str, what: str) -> Halt:
        """The complaint about one value. ``index`` is the row's place in the chunk."""
        return Halt(
            "backfill.manifest_invalid",
            f"{self.file}: row {self.first + index:,}, column {column}: {what}",
        )

    def refuse_column(self, column: str, what: str) -> Halt:
        return refuse_column(self.file, column, what)


def refuse_column(file: str, column: str, what: str) -> Halt:
    return Halt("backfill.manifest_invalid", f"{file}: column {column}: {what}")


def damaged(file: str, what: str) -> Halt:
    return Halt(
        "backfill.manifest_damaged", f"{file}: {what}; write the manifest again, or copy it again"
    )
