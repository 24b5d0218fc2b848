"""Jobs that are measured: a plan whose rows name the same objects in turn."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from pipeline.adapters.parquet.cutting import Cutter, complete
from pipeline.backfill import layout
from pipeline.backfill.job import Job, Source
from pipeline.ports import Folder


def planned(folder: Folder, bucket: str, keys: Sequence[str], rows: int, shard_rows: int) -> Job:
    """A job of so many rows, written into a folder."""
    cutter = Cutter(
        shard_rows, lambda shard, body: folder.write(layout.plan_file("0", shard), body)
    )
    named = [keys[number % len(keys)] for number in range(rows)]
    cutter.add(complete({"bucket": [bucket] * rows, "key": [*named]}, rows))
    plan_hash = cutter.finish()
    job = Job(
        id=str(uuid.uuid4()),
        created_at="2026-01-01T00:00:00+00:00",
        clipstream_version="0",
        source=Source(uri=f"s3://{bucket}/", kind="listing"),
        attempt="0",
        rows=cutter.rows,
        bytes=0,
        shards=cutter.shards,
        shard_rows=shard_rows,
        plan_hash=plan_hash,
    )
    folder.create(layout.JOB, job.as_bytes())
    return job
