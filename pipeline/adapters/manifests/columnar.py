"""Parquet and ORC as chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq

from pipeline.adapters.manifests.chunks import CHUNK_ROWS, Chunk, damaged

Wanted = Callable[[Sequence[str]], Sequence[str]]
"""Which of a file's columns are read. May refuse some."""


def parquet_chunks(path: Path, file: str, wanted: Wanted) -> Iterator[Chunk]:
    """
    Raises:
        Halt: ``backfill.manifest_damaged``: this is no Parquet, or it ends early.
    """
    first = 1
    try:
        with pq.ParquetFile(path, memory_map=False, pre_buffer=False) as opened:
            columns = list(wanted(opened.schema_arrow.names))
            for batch in opened.iter_batches(CHUNK_ROWS, columns=columns, use_threads=False):
                yield Chunk(file, first, pa.Table.from_batches([batch]))
                first += batch.num_rows
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise damaged(file, f"cannot be read as Parquet ({error})") from error


def orc_chunks(path: Path, file: str, wanted: Wanted) -> Iterator[Chunk]:
    """
    Raises:
        Halt: ``backfill.manifest_damaged``: this is no ORC, or it ends early.
    """
    first = 1
    try:
        opened = orc.ORCFile(str(path))
        columns = list(wanted(opened.schema.names))
        for stripe in range(opened.nstripes):
            table = pa.Table.from_batches([opened.read_stripe(stripe, columns=columns)])
            for start in range(0, table.num_rows, CHUNK_ROWS):
                part = table.slice(start, CHUNK_ROWS)
                yield Chunk(file, first, part)
                first += part.num_rows
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise damaged(file, f"cannot be read as ORC ({error})") from error
