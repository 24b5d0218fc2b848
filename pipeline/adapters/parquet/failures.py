"""The rows of a shard that failed."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import FAILURES, REPEATING
from pipeline.adapters.parquet.values import object_columns
from pipeline.backfill.rows import PlanRow
from pipeline.records import DeadLetter


def failures_bytes(rows: Sequence[tuple[PlanRow, DeadLetter]]) -> bytes:
    """An errors file. The same rows give the same bytes, in whatever order they came."""
    ordered = sorted(rows, key=lambda each: each[0].number)
    letters = [letter for _, letter in ordered]
    columns = object_columns([row for row, _ in ordered])
    columns["tenant"] = [
        row.tenant if letter.ref is None else letter.ref.tenant for row, letter in ordered
    ]
    columns["label_sets"] = [
        row.label_sets if letter.ref is None else letter.ref.label_sets for row, letter in ordered
    ]
    for name in ("code", "message", "attempts", "format", "unclassified_action"):
        columns[name] = [getattr(each, name) for each in letters]
    return failures_table_bytes(pa.Table.from_pydict(columns, schema=FAILURES))


def failures_table_bytes(rows: pa.Table) -> bytes:
    """An errors file. ``rows`` have the columns of ``FAILURES``."""
    buffer = io.BytesIO()
    pq.write_table(
        rows,
        buffer,
        compression="zstd",
        use_dictionary=[name for name in FAILURES.names if name in REPEATING],
    )
    return buffer.getvalue()
