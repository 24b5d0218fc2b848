"""The job of an output: the one that is there, or a new one that is cut now."""

from __future__ import annotations

import logging
import threading
import time

from pipeline.backfill.job import Job, read_job
from pipeline.backfill.policy import CPU_SHARD_ROWS, GPU_SHARD_ROWS
from pipeline.ports import Folder
from workers.backfill.planning import Planned, plan
from workers.backfill.planning_request import Request
from workers.cluster.reservation import decided_before
from workers.commands.backfill.lease import HeldLease
from workers.settings.loading import Settings

log = logging.getLogger(__name__)

PROGRESS_S = 10.0


def job_of(
    settings: Settings,
    folder: Folder,
    request: Request,
    lease: HeldLease,
    stopping: threading.Event,
) -> Job | None:
    """None if this driver was asked to stop before the job was cut. The lease is renewed meanwhile.

    Raises:
        Halt: a person must act. ``backfill.another_source``: the job was cut from something else.
        StoreDenied, Retry: a store failed.
    """
    job = read_job(folder)
    if job is not None:
        request.require_same(job)
        return job
    told_at = time.monotonic()

    def tell(planned: Planned) -> bool:
        nonlocal told_at
        lease.renew_when_due()
        if time.monotonic() - told_at >= PROGRESS_S:
            told_at = time.monotonic()
            log.info(
                "planning: %d rows in %d shards, of %d entries read",
                planned.rows,
                planned.shards,
                planned.read,
            )
        return not stopping.is_set()

    return plan(settings, folder, request, shard_rows(settings), tell)


def shard_rows(settings: Settings) -> int:
    """Rows of a shard. Without Ray it is not known whether `auto` finds a GPU, so a job that is to
    run on GPUs says so in its settings."""
    rows = settings.backfill.shard_rows
    if rows != "auto":
        return rows
    decided = decided_before(settings)
    return GPU_SHARD_ROWS if decided is not None and decided[0] else CPU_SHARD_ROWS
