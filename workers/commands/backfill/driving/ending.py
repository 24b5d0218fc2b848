"""Closes a job that is complete."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from pipeline.adapters.parquet.footer import committed_footer
from pipeline.backfill import layout
from pipeline.backfill.job import Job
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.running.ending import Files, Success
from pipeline.backfill.running.limits import Used
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt
from pipeline.ports import Clock, Folder

log = logging.getLogger(__name__)

_READERS = 16
_AT_ONCE = 512
"""Shards whose summaries are in memory at once."""


def close_job(folder: Folder, job: Job, used: Used, clock: Clock) -> Success:
    """Write ``_SUCCESS.json``, unless it is there. The counts come from the data files, because
    what several drivers counted could differ from what was committed.

    Raises:
        Halt: ``backfill.foreign_output``, ``backfill.unreadable``.
        StoreDenied, Retry: the store failed.
    """
    found = folder.read(layout.SUCCESS)
    if found is None:
        success = _success(folder, job, used, clock)
        if folder.create(layout.SUCCESS, success.as_bytes()):
            return success
        found = folder.read(layout.SUCCESS)
        if found is None:
            return success
    return Success.of_bytes(found.body, layout.SUCCESS)


def _success(folder: Folder, job: Job, used: Used, clock: Clock) -> Success:
    total = Summary()
    files: list[Files] = []
    with ThreadPoolExecutor(_READERS, "footers") as pool:
        for first in range(0, job.shards, _AT_ONCE):
            shards = range(first, min(first + _AT_ONCE, job.shards))
            for footer in pool.map(partial(committed_footer, folder), shards):
                total += footer.summary
                files.append(_files(footer, job))
    return Success(
        job=job.id,
        plan_hash=job.plan_hash,
        at=datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="seconds"),
        shards=job.shards,
        summary=total,
        used=used,
        files=tuple(files),
    )


def _files(footer: Footer, job: Job) -> Files:
    name = layout.data_file(footer.shard)
    if footer.plan_hash != job.plan_hash:
        raise Halt(
            "backfill.foreign_output",
            f"{name}: belongs to another job; choose an empty output",
        )
    return Files(
        data=name,
        rows=footer.summary.classified,
        errors=footer.errors_file,
        failed=footer.summary.failed,
    )
