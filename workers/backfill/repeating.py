"""Cuts a child job from the failed rows of a job."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pipeline.adapters.parquet.cutting import Cutter
from pipeline.adapters.parquet.failed import Rows, failed_rows
from pipeline.adapters.parquet.footer import committed_footer
from pipeline.backfill import layout
from pipeline.backfill.committing import create_once
from pipeline.backfill.job import Job, Source, require_job
from pipeline.errors import Halt
from pipeline.ports import Folder
from workers.backfill.planning import described

KIND = "errors"

_READERS = 8
_AT_ONCE = 256


def plan_failed(
    parent: Folder,
    parent_uri: str,
    child: Folder,
    codes: Sequence[str],
    shard_rows: int,
    tell: Callable[[int], bool] = lambda rows: True,
) -> Job | None:
    """Cut the rows of ``parent`` that failed with one of ``codes`` into shards of ``child``, and
    write its job. Only rows of committed shards count. The child's rows must be computed in the
    way of the parent's. ``tell`` is called with the number of rows so far, and says whether to go
    on; if not, nothing is planned, and None is returned.

    Raises:
        Halt: ``backfill.no_job``, ``backfill.no_errors``, or a file of the parent is gone.
        StoreDenied, Retry: the store failed.
    """
    job = require_job(parent, parent_uri)
    attempt = uuid.uuid4().hex[:8]
    cutter = Cutter(
        shard_rows, lambda shard, body: child.write(layout.plan_file(attempt, shard), body)
    )
    for rows in _failed(parent, job, codes):
        cutter.add(rows)
        if not tell(cutter.rows):
            return None
    plan_hash = cutter.finish()
    if not cutter.rows:
        raise Halt(
            "backfill.no_errors",
            f"{parent_uri}: no row failed with {', '.join(codes)}; "
            f"`clipstream backfill status {parent_uri}` lists the codes",
        )
    identity = parent.read(layout.IDENTITY)
    if identity is not None:
        child.create(layout.IDENTITY, identity.body)
    source = Source(uri=parent_uri, kind=KIND, options=options_of(codes))
    planned = described(cutter, plan_hash, source, attempt, shard_rows, parent=parent_uri)
    return Job.of_bytes(create_once(child, layout.JOB, planned.as_bytes()), layout.JOB)


def options_of(codes: Sequence[str]) -> dict[str, str]:
    """What of the command decides which rows there are."""
    return {"codes": " ".join(sorted(codes))}


def require_same(job: Job, parent_uri: str, codes: Sequence[str]) -> None:
    """
    Raises:
        Halt: ``backfill.another_source``: the job repeats something else.
    """
    if (job.parent, job.source.options) != (parent_uri, options_of(codes)):
        raise Halt(
            "backfill.another_source",
            f"backfill: the job of this output was cut from {job.source.uri} with "
            f"{dict(job.source.options)}; name another --output",
        )


def _failed(parent: Folder, job: Job, codes: Sequence[str]) -> Iterator[Rows]:
    shards = sorted(
        shard for name in parent.names(layout.DATA) if (shard := layout.shard_of(name)) is not None
    )
    with ThreadPoolExecutor(_READERS, "failed") as pool:
        for first in range(0, len(shards), _AT_ONCE):
            some = shards[first : first + _AT_ONCE]
            for rows in pool.map(partial(_failed_of, parent, job, codes), some):
                if rows is not None:
                    yield rows


def _failed_of(parent: Folder, job: Job, codes: Sequence[str], shard: int) -> Rows | None:
    errors_file = committed_footer(parent, shard).errors_file
    if errors_file is None:
        return None
    plan = parent.read(layout.plan_file(job.attempt, shard))
    errors = parent.read(errors_file)
    if plan is None or errors is None:
        missing = layout.plan_file(job.attempt, shard) if plan is None else errors_file
        raise Halt("backfill.plan_missing", f"{missing}: is gone; restore it")
    return failed_rows(plan.body, errors.body, codes)
