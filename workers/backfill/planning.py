"""Cuts a job: from a source to ``job.json``."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version

from pipeline.adapters.parquet.cutting import Cutter, Rows, listed, require_rows, without_folders
from pipeline.adapters.s3.listing import S3Listing
from pipeline.backfill import layout
from pipeline.backfill.job import Job, Source
from pipeline.errors import Halt
from pipeline.ports import Folder
from workers.backfill.output import Output, store_for
from workers.settings.loading import Settings


def plan(
    settings: Settings,
    folder: Folder,
    source: str,
    shard_rows: int,
    tell: Callable[[int], object] = lambda rows: None,
) -> Job:
    """Cut the source into shards and write them, then the job. ``tell`` is called with the number
    of rows so far.

    Raises:
        Halt: ``backfill.*``: the source cannot be read as a manifest, or holds nothing.
        StoreDenied, Retry: a store failed.
    """
    attempt = uuid.uuid4().hex[:8]
    cutter = Cutter(
        shard_rows, lambda shard, body: folder.write(layout.plan_file(attempt, shard), body)
    )
    left_out = 0
    for rows in _rows(settings, source):
        kept = without_folders(rows)
        left_out += rows.num_rows - kept.num_rows
        cutter.add(kept)
        tell(cutter.rows)
        if cutter.shards >= layout.MAX_SHARDS:
            raise Halt(
                "backfill.too_many_shards",
                f"{source}: needs more than {layout.MAX_SHARDS:,} shards; raise "
                "backfill.shard_rows",
            )
    plan_hash = cutter.finish()
    require_rows(cutter, source)
    job = Job(
        id=str(uuid.uuid4()),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        clipstream_version=version("clipstream"),
        source=Source(uri=source, kind="listing"),
        attempt=attempt,
        rows=cutter.rows,
        bytes=cutter.bytes,
        shards=cutter.shards,
        shard_rows=shard_rows,
        plan_hash=plan_hash,
        left_out={"folder": left_out} if left_out else {},
    )
    if not folder.create(layout.JOB, job.as_bytes()):
        found = read_job(folder)
        if found is not None:
            return found
    return job


def read_job(folder: Folder) -> Job | None:
    """The job of an output, or None if there is none."""
    found = folder.read(layout.JOB)
    return None if found is None else Job.of_bytes(found.body, layout.JOB)


def _rows(settings: Settings, source: str) -> Iterator[Rows]:
    place = Output.of(source)
    store = store_for(settings, place.bucket)
    with contextlib.closing(S3Listing(store, settings.backfill.listing_requests)) as listing:
        yield from listed(listing.pages(place.bucket, place.prefix))
