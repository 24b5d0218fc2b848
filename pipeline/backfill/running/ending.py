"""The end of a job, as ``_SUCCESS.json`` says."""

from __future__ import annotations

from pipeline.backfill.job import Count, Written
from pipeline.backfill.running.limits import Used
from pipeline.backfill.summary import Summary


class Files(Written):
    """The files of a shard, and how many rows each has."""

    data: str
    rows: Count
    errors: str | None = None
    failed: Count = 0


class Success(Written):
    """A complete job: every row of its plan is in ``data`` or in ``errors`` of one of ``files``, or
    was skipped by its route. ``summary.seconds`` sums the shards' seconds."""

    job: str
    plan_hash: str
    at: str
    shards: Count
    summary: Summary
    used: Used
    files: tuple[Files, ...]
