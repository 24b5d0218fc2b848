"""Cuts a job: from a source to ``job.json``."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pipeline.adapters.manifests.copies.contents import Contents, originals
from pipeline.adapters.manifests.deciding import Decider
from pipeline.adapters.manifests.disk import full_disk_named
from pipeline.adapters.manifests.kinds import OWN
from pipeline.adapters.manifests.repeats import Repeats
from pipeline.adapters.parquet.columns import PLAN
from pipeline.adapters.parquet.cutting import Cutter, Rows
from pipeline.backfill import layout
from pipeline.backfill.committing import create_once, require_unused
from pipeline.backfill.job import Job, Source
from pipeline.errors import Halt
from pipeline.ports import Folder
from workers.backfill.planning_request import Request
from workers.backfill.planning_since import Since
from workers.backfill.planning_sources import entries
from workers.settings.loading import Settings

log = logging.getLogger(__name__)

PlanFile = Callable[[int, bytes], object]
"""Stores the file of a shard."""


@dataclass(slots=True)
class Planned:
    """How far a plan is. ``read`` counts entries of the source."""

    read: int = 0
    rows: int = 0
    shards: int = 0


Tell = Callable[[Planned], bool]
"""Called at least once for each chunk of the source. False: stop planning."""


class _Stopped(Exception):
    """Somebody has asked to stop."""


def plan(
    settings: Settings,
    folder: Folder,
    request: Request,
    shard_rows: int,
    tell: Tell = lambda planned: True,
) -> Job | None:
    """Cut the source into shards and write them, then the job. None if ``tell`` asked to stop.

    Raises:
        Halt: ``backfill.*``: the source cannot be read, or holds nothing. Nothing is left of the
            plan then.
        StoreDenied, Retry: a store failed.
    """
    require_unused(folder)
    attempt = uuid.uuid4().hex[:8]

    def write(shard: int, body: bytes) -> None:
        folder.write(layout.plan_file(attempt, shard), body)

    try:
        job = cut(
            settings,
            request,
            shard_rows,
            attempt,
            write,
            tell,
            write_removed=lambda body: folder.write(layout.REMOVED, body),
        )
    except _Stopped:
        _forget(folder, attempt)
        return None
    except Halt:
        _forget(folder, attempt)
        raise
    # A planner that was believed dead may come late: the plan in use is the one that came first.
    found = Job.of_bytes(create_once(folder, layout.JOB, job.as_bytes()), layout.JOB)
    request.require_same(found)
    return found


def cut(
    settings: Settings,
    request: Request,
    shard_rows: int,
    attempt: str,
    write: PlanFile | None,
    tell: Tell = lambda planned: True,
    each: Callable[[Rows], object] = lambda rows: None,
    write_removed: Callable[[bytes], object] | None = None,
) -> Job:
    """The job as it would be written. ``write`` None: rows are only counted. ``each`` sees the
    rows whose objects are to be read. ``write_removed`` stores the list of objects that the source
    has lost."""
    planned = Planned()

    def go_on() -> None:
        if not tell(planned):
            raise _Stopped

    with contextlib.ExitStack() as owned:
        owned.enter_context(full_disk_named())
        cutter = owned.enter_context(contextlib.closing(Cutter(shard_rows, write)))
        decider = owned.enter_context(
            contextlib.closing(
                Decider(request.choice, lambda bucket: settings.s3_store_of(bucket) is not None)
            )
        )
        repeats = None
        if request.kind in OWN:
            repeats = owned.enter_context(contextlib.closing(Repeats()))
        since = None
        chosen: Iterator[tuple[int, Rows]] = (
            (found.num_rows, decider.rows(found)) for found in entries(settings, request, go_on)
        )
        if request.since:
            since = owned.enter_context(contextlib.closing(Since(settings, request.since, go_on)))
            chosen = since.chosen(chosen, decider.left_out)
        if request.limit is not None:
            chosen = _first(chosen, request.limit)
        contents = None
        if request.dedupe is not None:
            contents = owned.enter_context(contextlib.closing(Contents(shard_rows)))
            chosen = contents.together(chosen, go_on)
        for read, rows in chosen:
            each(originals(rows))
            rows = rows.select(PLAN.names)
            cutter.add(rows)
            if repeats is not None:
                repeats.add(rows)
            planned.read += read
            planned.rows += rows.num_rows
            planned.shards = cutter.shards
            go_on()
            _require_room(request, cutter)
        plan_hash = cutter.finish()
        _require_room(request, cutter)
        # A source without new objects is a job without rows.
        if since is None or not since.rows:
            _require_rows(request, planned, decider)
        removed, read_removed = (None, None) if since is None else since.removed()
        if write_removed is not None and read_removed is not None:
            write_removed(read_removed())
        _warn(decider)
        return described(
            cutter,
            plan_hash,
            request.source,
            attempt,
            shard_rows,
            left_out=dict(decider.left_out),
            repeated=0 if repeats is None else repeats.count(),
            copies=None if contents is None else contents.copies,
            removed=removed,
        )
    raise AssertionError("unreachable: nothing owned here suppresses exceptions")


def described(
    cutter: Cutter, plan_hash: str, source: Source, attempt: str, shard_rows: int, **more: Any
) -> Job:
    """The job of rows that were cut."""
    return Job(
        id=str(uuid.uuid4()),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        clipstream_version=version("clipstream"),
        source=source,
        attempt=attempt,
        rows=cutter.rows,
        bytes=cutter.bytes,
        shards=cutter.shards,
        shard_rows=shard_rows,
        plan_hash=plan_hash,
        **more,
    )


# -- inside ---------------------------------------------------------------------------------


def _first(chosen: Iterable[tuple[int, Rows]], limit: int) -> Iterator[tuple[int, Rows]]:
    """The first so many rows. Nothing is read of the source beyond them."""
    left = limit
    for read, rows in chosen:
        yield read, rows.slice(0, left)
        left -= min(left, rows.num_rows)
        if not left:
            return


def _require_room(request: Request, cutter: Cutter) -> None:
    if cutter.shards > layout.MAX_SHARDS:
        raise Halt(
            "backfill.too_many_shards",
            f"{request.uri}: needs more than {layout.MAX_SHARDS:,} shards; raise "
            "backfill.shard_rows",
        )


def _require_rows(request: Request, planned: Planned, decider: Decider) -> None:
    if planned.rows:
        return
    out = ", ".join(f"{count:,} {reason}" for reason, count in decider.left_out.items())
    told = f"{planned.read:,} entries, of which none is left ({out})" if out else "nothing"
    hint = "check the source"
    if refused := decider.refused_buckets:
        hint = f"allow bucket {refused[0]} in s3.allowed_buckets, or check the source"
    raise Halt("backfill.no_rows", f"{request.uri}: holds {told}; {hint}")


def _warn(decider: Decider) -> None:
    if refused := decider.refused_buckets:
        log.warning(
            "%d rows were left out, because s3.allowed_buckets does not name their buckets: %s",
            decider.left_out["bucket_not_allowed"],
            ", ".join(refused[:5]),
        )


def _forget(folder: Folder, attempt: str) -> None:
    """Delete what a plan that failed has written."""
    for name in list(folder.names(f"{layout.PLAN}{attempt}/")):
        folder.delete(name)
