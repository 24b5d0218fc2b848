"""Jobs that are cut and not begun, of objects that a test names."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.adapters.parquet.cutting import Cutter, complete
from pipeline.backfill import layout
from pipeline.backfill.job import Job, Source
from pipeline.ports import Folder


def planned(
    folder: Folder,
    bucket: str,
    keys: Sequence[str],
    shard_rows: int,
    *,
    id: str = "job-1",
    attempt: str = "a1",
) -> Job:
    """Cut the objects into shards and write them, then the job."""
    cutter = Cutter(
        shard_rows, lambda shard, body: folder.write(layout.plan_file(attempt, shard), body)
    )
    cutter.add(complete({"bucket": [bucket] * len(keys), "key": [*keys]}, len(keys)))
    plan_hash = cutter.finish()
    job = Job(
        id=id,
        created_at="2026-11-01T00:00:00+00:00",
        clipstream_version="0",
        source=Source(uri=f"s3://{bucket}/", kind="listing"),
        attempt=attempt,
        rows=cutter.rows,
        bytes=0,
        shards=cutter.shards,
        shard_rows=shard_rows,
        plan_hash=plan_hash,
    )
    folder.create(layout.JOB, job.as_bytes())
    return job
