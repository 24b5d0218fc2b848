"""The rows of a shard before they are classified."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import PLAN
from pipeline.backfill.rows import PlanRow
from pipeline.records import NO_JSON


def plan_bytes(rows: pa.Table) -> bytes:
    """A plan file. ``rows`` have the columns of ``PLAN``."""
    buffer = pa.BufferOutputStream()
    pq.write_table(
        rows.cast(PLAN),
        buffer,
        compression="zstd",
        use_dictionary=["bucket", "tenant", "label_sets.list.element"],
    )
    body: bytes = buffer.getvalue().to_pybytes()
    return body


def plan_rows(body: bytes) -> Iterator[PlanRow]:
    """The rows of a plan file. An erased row has neither bucket nor key."""
    table = pq.read_table(pa.BufferReader(body), schema=PLAN)
    columns = [table.column(name).to_pylist() for name in PLAN.names]
    for number, values in enumerate(zip(*columns, strict=True)):
        bucket, key, version_id, etag, size, own_id, tenant, label_sets, metadata, truth = values
        yield PlanRow(
            number,
            bucket or "",
            key or "",
            version_id,
            etag,
            size,
            own_id,
            tenant,
            tuple(label_sets or ()),
            json.loads(metadata) if metadata else NO_JSON,
            None if truth is None else tuple(truth),
        )


def stated_objects(body: bytes) -> pa.Table:
    """Which objects a plan file or a results file names: ``bucket``, ``key``, ``version_id``,
    ``etag``."""
    columns = ["bucket", "key", "version_id", "etag"]
    return pq.ParquetFile(pa.BufferReader(body)).read(columns)
