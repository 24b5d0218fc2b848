"""Closes a job that is complete, and leaves its report."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from pipeline.backfill import layout
from pipeline.backfill.running.ending import Success
from pipeline.backfill.running.limits import Used
from pipeline.errors import Halt, Retry
from pipeline.ports import Clock, Folder
from workers.backfill.report.gather import Gathered
from workers.backfill.report.page import Choice
from workers.backfill.report.write import write_report
from workers.settings.loading import Settings

log = logging.getLogger(__name__)


def close_job(folder: Folder, gathered: Gathered, used: Used, clock: Clock) -> Success:
    """Write ``_SUCCESS.json``, unless it is there. The counts come from the data files, because
    what several drivers counted could differ from what was committed.

    Raises:
        Halt: ``backfill.unreadable``: a data file of the job is gone.
        StoreDenied, Retry: the store failed.
    """
    found = folder.read(layout.SUCCESS)
    if found is None:
        success = _success(gathered, used, clock)
        if folder.create(layout.SUCCESS, success.as_bytes()):
            return success
        found = folder.read(layout.SUCCESS)
        if found is None:
            return success
    return Success.of_bytes(found.body, layout.SUCCESS)


def leave_report(settings: Settings, folder: Folder, gathered: Gathered, choice: Choice) -> None:
    """Put the report into the output of a complete job, which it is with or without one."""
    try:
        write_report(settings, folder, gathered, choice)
    except (Halt, Retry) as failure:
        log.warning(
            "the report could not be written: %s; see `clipstream backfill report`", failure
        )
    else:
        log.info("the report is in the output: %s", layout.REPORT)


def _success(gathered: Gathered, used: Used, clock: Clock) -> Success:
    job = gathered.job
    there = {each.data for each in gathered.files}
    for name in map(layout.data_file, range(job.shards)):
        if name not in there:
            raise Halt("backfill.unreadable", f"{name}: is gone; restore it, or run the job again")
    return Success(
        job=job.id,
        plan_hash=job.plan_hash,
        at=datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="seconds"),
        shards=job.shards,
        summary=gathered.summary,
        used=used,
        files=tuple(gathered.files),
    )
