"""What a data file says of itself, read from its end alone."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict

from pipeline.backfill import layout
from pipeline.backfill.job import Count, Written
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt
from pipeline.ports import Folder

_TAIL_BYTES = 64 << 10
_SUFFIX_BYTES = 8
"""The length of Parquet's footer, and its mark."""


class Notes(Written):
    """The key ``clipstream`` of a data file's metadata, as far as the driver needs it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job: str
    shard: Count
    plan_hash: str
    errors_file: str | None
    summary: Summary


def read_notes(folder: Folder, shard: int) -> Notes:
    """Blocks for one or two requests.

    Raises:
        Halt: ``backfill.unreadable``: the file is gone, or no data file of this release.
        StoreDenied, Retry: the store failed.
    """
    name = layout.data_file(shard)
    tail = folder.tail(name, _TAIL_BYTES)
    if tail is not None and len(tail) > _SUFFIX_BYTES:
        footer = int.from_bytes(tail[-_SUFFIX_BYTES:-4], "little") + _SUFFIX_BYTES
        if footer > len(tail) == _TAIL_BYTES:
            tail = folder.tail(name, footer)
    if tail is None:
        raise Halt("backfill.unreadable", f"{name}: is gone; restore it, or run the job again")
    try:
        found = pq.read_metadata(pa.BufferReader(tail)).metadata[b"clipstream"]
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        raise Halt(
            "backfill.unreadable",
            f"{name}: is no data file of Clipstream ({error}); delete it, and run the job again",
        ) from error
    return Notes.of_bytes(found, name)
