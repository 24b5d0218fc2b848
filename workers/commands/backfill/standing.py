"""`clipstream backfill status`: how a job stands, from its objects alone. No driver need run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import BaseModel

from pipeline.adapters.clock import SystemClock
from pipeline.backfill import layout
from pipeline.backfill.control import LEASE_S, Control, Lease, read_control
from pipeline.backfill.job import Job, require_job
from pipeline.backfill.running.ending import Success
from pipeline.backfill.running.progress import Progress
from pipeline.backfill.summary import Summary
from pipeline.ports import Clock, Folder
from workers.backfill.output import Output, open_output
from workers.commands.backfill.driving.view import duration, told
from workers.settings.loading import Settings


class Driver(BaseModel):
    """The driver that had the job last. ``silent_s`` is the age of its lease, by the clocks of both
    machines. ``alive`` is false once it has ended, or its lease has expired."""

    host: str
    silent_s: float
    ended: bool
    alive: bool


class Standing(BaseModel):
    """How a job stands. ``shards_committed`` are counted in the store, ``progress`` is what a
    driver wrote last, and ``complete`` is there once ``_SUCCESS.json`` is."""

    output: str
    job: Job
    shards_committed: int
    asked: Control
    driver: Driver | None
    progress: Progress | None
    complete: bool
    counts: Summary | None
    """Of the whole job, once it is complete; without the histograms of scores."""


def look_at(settings: Settings, output: str) -> Standing:
    """
    Raises:
        Halt: ``backfill.no_job``, ``backfill.unreadable``.
        StoreDenied, Retry: the store failed.
    """
    place = Output.of(output)
    with contextlib.closing(open_output(settings, place)) as folder:
        return standing(folder, str(place), SystemClock())


def standing(folder: Folder, output: str, clock: Clock) -> Standing:
    job = require_job(folder, output)
    success = folder.read(layout.SUCCESS)
    noted = folder.read(layout.PROGRESS)
    counts = None
    if success is not None:
        summary = Success.of_bytes(success.body, layout.SUCCESS).summary
        counts = summary.model_copy(update={"label_sets": {}})
    return Standing(
        output=output,
        job=job,
        shards_committed=sum(
            layout.shard_of(name) is not None for name in folder.names(layout.DATA)
        ),
        asked=read_control(folder),
        driver=driver_of(folder, clock),
        progress=None if noted is None else Progress.of_bytes(noted.body, layout.PROGRESS),
        complete=success is not None,
        counts=counts,
    )


def driver_of(folder: Folder, clock: Clock) -> Driver | None:
    """The driver of the lease, or None if none has ever run."""
    found = folder.read(layout.LEASE)
    if found is None:
        return None
    lease = Lease.of_bytes(found.body, layout.LEASE)
    renewed = datetime.fromisoformat(lease.renewed_at).timestamp()
    silent_s = max(0.0, clock.time() - renewed)
    return Driver(
        host=lease.host,
        silent_s=silent_s,
        ended=lease.ended,
        alive=not lease.ended and silent_s < LEASE_S,
    )


def lines(standing: Standing, clock: Clock) -> Iterator[tuple[str, str]]:
    """Labels and values for a person."""
    job = standing.job
    yield "output", standing.output
    yield "job", f"{job.id}, {job.source.uri}, planned {job.created_at}"
    if job.parent is not None:
        yield "parent", job.parent
    percent = 100 * standing.shards_committed / job.shards
    shards = f"{standing.shards_committed:,} of {job.shards:,} shards ({percent:.1f} %)"
    yield "committed", f"{shards} of {job.rows:,} rows"
    yield "driver", _driver(standing.driver)
    asked = standing.asked
    limits = [
        f"at most {value:,.10g} {unit}"
        for value, unit in (
            (asked.max_workers, "workers"),
            (asked.objects_per_s, "objects/s"),
            (asked.bytes_per_s, "bytes/s"),
        )
        if value is not None
    ]
    reason = f" ({asked.reason})" if asked.reason else ""
    yield "asked to", ", ".join([f"{asked.wish}{reason}", *limits])
    if standing.counts is not None:
        counts = standing.counts
        failed = f"{counts.failed:,} failed, {counts.skipped:,} skipped"
        yield "complete", f"{counts.classified:,} classified, {failed}"
        if counts.codes:
            codes = (f"{code} {count:,}" for code, count in counts.codes.items())
            yield "by code", ", ".join(codes)
    elif standing.progress is not None:
        at = datetime.fromisoformat(standing.progress.at)
        age = (datetime.fromtimestamp(clock.time(), UTC) - at).total_seconds()
        yield "", f"-- as the driver wrote {duration(max(0.0, age))} ago --"
        yield from told(standing.progress)


def _driver(driver: Driver | None) -> str:
    if driver is None:
        return "none yet"
    if driver.ended:
        return f"none: the last one, on {driver.host}, has ended"
    heard = f"its lease is {duration(driver.silent_s)} old"
    if driver.alive:
        return f"on {driver.host}, {heard}"
    return f"none: the last one, on {driver.host}, may have crashed; {heard}"
