"""What data files say about themselves."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.backfill import layout
from pipeline.backfill.report.footer import Footer
from pipeline.errors import Halt
from pipeline.ports import Folder

FIRST_TAIL = 128 * 1024
"""Bytes that are read at first. The footer says whether it is longer."""

_TRAILER = 8
"""A Parquet file ends with the length of its footer, four bytes, and ``PAR1``."""

_MAGIC = b"PAR1"

_KEY = b"clipstream"
"""Key of the file's metadata that has the footer, as a JSON object."""


def read_footer(folder: Folder, name: str) -> Footer | None:
    """The footer of a data file, by one or two reads of its end; None if there is no such file.
    Blocks.

    Raises:
        Halt: ``backfill.unreadable``: this is no data file of a job.
        StoreDenied, Retry: the store failed.
    """
    tail = folder.tail(name, FIRST_TAIL)
    if tail is None:
        return None
    if tail[-len(_MAGIC) :] != _MAGIC:
        raise _unreadable(name, "is no Parquet file")
    needed = int.from_bytes(tail[-_TRAILER:-4], "little") + _TRAILER
    if needed > len(tail):
        longer = folder.tail(name, needed)
        if longer is None:
            return None
        tail = longer
    try:
        metadata = pq.read_metadata(pa.BufferReader(_MAGIC + tail[-needed:])).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(name, f"cannot be read as Parquet ({error})") from error
    return _footer(metadata, name)


def committed_footer(folder: Folder, shard: int) -> Footer:
    """The footer of a shard that is committed. Blocks.

    Raises:
        Halt: ``backfill.unreadable``: the data file is gone, or is none.
        StoreDenied, Retry: the store failed.
    """
    name = layout.data_file(shard)
    footer = read_footer(folder, name)
    if footer is None:
        raise Halt("backfill.unreadable", f"{name}: is gone; restore it, or run the job again")
    return footer


def open_results(body: bytes, name: str) -> tuple[pq.ParquetFile, Footer]:
    """A data file that is in memory.

    Raises:
        Halt: ``backfill.unreadable``: this is no data file of a job.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(body))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(name, f"cannot be read as Parquet ({error})") from error
    return file, _footer(file.metadata.metadata or {}, name)


def _footer(metadata: Mapping[bytes, bytes], name: str) -> Footer:
    told = metadata.get(_KEY)
    if told is None:
        raise _unreadable(name, "was not written by Clipstream")
    return Footer.of_bytes(told, name)


def _unreadable(name: str, what: str) -> Halt:
    return Halt("backfill.unreadable", f"{name}: {what}; choose the output of a job")
