"""Finds out when a job has nothing left to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from pipeline.ports import Clock
from workers.health import Health
from workers.supervise.reminder import Reminder

log = logging.getLogger(__name__)

ASK_S = 2.0
"""Time between two questions to the broker for the group's lag."""

TOLD_S = 60.0

GroupLag = Callable[[], Future[int | None]]
"""Asks how many records the group has not committed, in all partitions of its topics, whoever owns
them. None if the broker does not say."""


def lag_unknown() -> Future[int | None]:
    """For workers of no group."""
    unknown: Future[int | None] = Future()
    unknown.set_result(None)
    return unknown


class Idle:
    """Judges by the running workers and by the group's lag. A worker that waits for room, starts or
    cannot be placed does not keep the job from ending; partitions that nobody reads show up as
    lag."""

    def __init__(self, idle_s: float, group_lag: GroupLag, clock: Clock) -> None:
        self._idle_s = idle_s
        self._group_lag = group_lag
        self._clock = clock
        self._asked: Future[int | None] | None = None
        # Whether the workers have been idle ever since the question was asked.
        self._counts = False
        self._ask_at = 0.0
        self._reminder: Reminder | None = None

    def reached(self, running: Sequence[Health | None]) -> bool:
        """Whether the job is over. ``running`` has the answer of every running worker, or None if
        the worker is silent."""
        idle = any(health is not None and health.partitions for health in running) and all(
            health is not None
            and health.unfinished == 0
            and health.lag == 0
            and health.idle_s >= self._idle_s
            for health in running
        )
        self._counts = self._counts and idle
        now = self._clock.monotonic()
        if self._asked is None:
            if idle and now >= self._ask_at:
                self._asked, self._counts = self._group_lag(), True
            return False
        if not self._asked.done():
            return False
        lag, self._asked, self._ask_at = self._asked.result(), None, now + ASK_S
        if not self._counts:
            return False
        if lag:
            self._tell(lag)
        return lag == 0

    def _tell(self, lag: int) -> None:
        if self._reminder is None:
            self._reminder = Reminder(self._clock, TOLD_S, TOLD_S)
        elif not self._reminder.due():
            return
        log.info("the workers here are idle; the group is %d records behind elsewhere", lag)
