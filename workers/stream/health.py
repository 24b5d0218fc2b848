"""What the supervisor knows of a worker: its answer, and when it came."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """What the supervisor asks of a worker. Times are ages in seconds; ``lag`` is in records, None
    until the end of every owned partition is known. ``encode_age_s`` is that of the batch that the
    device has, 0 without one. ``commit_age_s`` is for how long commits have failed while the group
    answered the worker; 0 where none is wanted, or none has failed since one succeeded.
    ``committed`` counts references and ``passed`` records, as ``lag`` does.
    ``available``: it takes in work, or would if there were any, for neither the store nor the
    broker holds it up."""

    cycle_age_s: float
    encode_age_s: float
    commit_age_s: float
    idle_s: float
    partitions: int
    unfinished: int
    lag: int | None
    committed: int
    passed: int
    available: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """A worker's latest answer. It says nothing of the time after ``at``, on the supervisor's
    monotonic clock: a frozen worker's last answer was a good one."""

    health: Health
    at: float
