"""Cuts a job: from a source to ``job.json``."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version

from pipeline.adapters.parquet.cutting import Cutter, Rows, listed, require_rows, without_folders
from pipeline.adapters.s3.admin import S3Admin
from pipeline.backfill import layout
from pipeline.backfill.committing import create_once, require_unused
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
    require_unused(folder)
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
    # A planner that was believed dead may come late: the plan in use is the one that came first.
    return Job.of_bytes(create_once(folder, layout.JOB, job.as_bytes()), layout.JOB)


def read_job(folder: Folder) -> Job | None:
    """The job of an output, or None if there is none."""
    found = folder.read(layout.JOB)
    return None if found is None else Job.of_bytes(found.body, layout.JOB)


def _rows(settings: Settings, source: str) -> Iterator[Rows]:
    place = Output.of(source)
    with contextlib.closing(S3Admin(store_for(settings, place.bucket))) as admin:
        yield from listed(admin.list_objects(place.bucket, place.prefix))
