"""A worker's answer to the supervisor, and the time of the answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """A worker's answer to the supervisor. Times are ages in seconds.

    - ``cycle_age_s``: since the Kafka thread's last round.
    - ``encode_age_s``: age of the batch on the device, 0 without one.
    - ``commit_age_s``: how long commits have failed while the group answered the worker. 0 if there
      is nothing to commit, or if no commit has failed since one succeeded.
    - ``lag``: in records, None until the end of every owned partition is known.
    - ``committed`` counts references; ``passed`` counts records, as ``lag`` does.
    - ``available``: the worker takes in work, or would if there were any. The broker answers, and
      of the stores that the worker uses at least one serves.
    - ``held_up``: a store is down and some partitions wait for it. Of several stores others may
      serve, so the worker may be available. Its lag then grows for a reason that no worker can
      mend.
    """

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
    held_up: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """A worker's latest answer. The answer says nothing about the time after ``at``, on the
    supervisor's monotonic clock, because a frozen worker's last answer was a good one too."""

    health: Health
    at: float
