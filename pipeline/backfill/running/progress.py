"""How far a job is, as ``progress.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pipeline.backfill.job import Count, Written
from pipeline.backfill.running.limits import Used

MOST_SLOW = 5
"""Shards that are named because they take the longest."""

MOST_ASIDE = 100


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    """The driver has ended. The same command goes on."""
    CANCELLED = "cancelled"
    COMPLETE = "complete"


class Left(Written):
    """Seconds until the job is complete. ``soonest`` and ``latest`` are those at the rate of the
    best and of the worst minutes of the last half hour; an outage is not foreseen."""

    soonest: float
    likely: float
    latest: float


class InWork(Written):
    """A shard in work: ``done`` of its ``rows`` have an outcome after ``seconds``."""

    shard: Count
    worker: Count
    done: Count
    rows: Count
    seconds: float


class Progress(Written):
    """A driver's view of its job. ``rows`` are those of all shards. ``rows_committed`` is exact
    once the job is complete, and otherwise assumes that all shards are equally large.

    ``rows_looked_at``, ``failed``, ``skipped``, ``bytes`` and ``codes`` count what has had an
    outcome since this driver began, committed or not; ``bytes`` are those of classified objects. A
    row whose shard was returned counts again. ``rate`` is in rows a second and ``byte_rate`` in
    bytes a second, of the last minutes.
    """

    at: str
    job: str
    driver: str
    state: State
    reason: str = ""
    rows: Count
    rows_committed: Count
    shards: Count
    shards_committed: Count
    shards_in_work: Count = 0
    set_aside: tuple[Count, ...] = ()
    """Shards that killed their process several times; they are done last."""
    rows_looked_at: Count = 0
    failed: Count = 0
    skipped: Count = 0
    bytes: Count = 0
    codes: Mapping[str, Count] = {}
    rate: float = 0.0
    byte_rate: float = 0.0
    left: Left | None = None
    """None until the rate is known."""
    workers: Count = 0
    """Places for workers that are wanted now."""
    places: Mapping[str, Count] = {}
    """Places by the state of their worker: ready, held, starting, waiting, empty, leaving."""
    given_back: Count = 0
    """Places that were given back to the stream on the same cluster."""
    slowest: tuple[InWork, ...] = ()
    used: Used = Used()
