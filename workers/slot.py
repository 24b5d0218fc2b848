"""One place for a worker: who is in it, what was heard of it, and whether it is stuck."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.ports import Clock
from pipeline.retry import RetryPolicy
from workers.backoff import Backoff
from workers.health import Health, Heard
from workers.workers_policy import WorkersPolicy

RESTARTS = RetryPolicy(first_wait_s=2.0, longest_wait_s=60.0)
"""Waits between a worker's end and its restart."""

PROVEN_S = 60.0
"""A worker that ran for so long has shown that it can: its next restart is quick again."""

COMMIT_STALLS = 3
"""As many times ``stall_timeout_s`` may commits fail while the group answers: a batch too large for
its link is halved meanwhile, and brokers restart."""

FRESH_S = 10.0
"""A worker whose latest answer is older than this may be frozen: nobody counts on what it said."""


KILL_MARGIN_S = 15.0
"""Wait beyond the grace period for a worker's own end before it is killed."""


class Fate(StrEnum):
    """How a worker's run ended."""

    STOPPED = "stopped"
    HALTED = "halted"
    UNAVAILABLE = "unavailable"
    DIED = "died"


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a worker's run. ``code`` and ``message`` say why it was not asked to."""

    fate: Fate
    code: str = ""
    message: str = ""


class WorkerHandle(Protocol):
    """One started worker, wherever it runs. No call blocks for longer than a tick."""

    def ended(self) -> Ended | None:
        """How the run ended, or None while it goes on."""

    def health(self) -> Heard | None:
        """The latest answer and when it came, or None while the worker still starts."""

    def stop(self, grace_s: float) -> None:
        """Ask for a drain."""

    def kill(self) -> None:
        """End the process now; nothing uncommitted becomes visible."""


Dismiss = Callable[[int], Future[None]]
"""Removes a slot's member from the group, in another thread. What it cannot do it logs."""


class Slot:
    """The workers that follow one another in a place, one at a time."""

    def __init__(
        self, number: int, policy: WorkersPolicy, clock: Clock, rng: random.Random
    ) -> None:
        self.number = number
        self.backoff = Backoff(clock, rng, RESTARTS)
        self.handle: WorkerHandle | None = None
        self.leaving = False
        """Its worker is not wanted any more: it ends, or its member leaves the group."""
        self._kill_at = math.inf
        self._left: Future[None] | None = None
        self._policy = policy
        self._clock = clock
        self._heard: Heard | None = None
        self._started_at = 0.0
        self._committed_before = 0
        # Committed in this slot when a worker was last ended for its commits.
        self._committed_then = -1

    @property
    def health(self) -> Health | None:
        """The latest answer, however old; None while the worker starts."""
        return self._heard.health if self._heard else None

    @property
    def fresh(self) -> Health | None:
        """The latest answer, if it still says how the worker is."""
        if self._heard is None or self._clock.monotonic() - self._heard.at > FRESH_S:
            return None
        return self._heard.health

    @property
    def committed(self) -> int:
        """References committed by all its workers."""
        return self._committed_before + (self.health.committed if self.health else 0)

    def take(self, handle: WorkerHandle) -> None:
        """A worker was started here."""
        self.handle = handle
        self._started_at = self._clock.monotonic()

    def leave(self) -> None:
        """Ask its worker to end for good."""
        self.leaving = True
        if self.handle is not None:
            self.handle.stop(self._policy.grace_s)
            self._kill_at = self._clock.monotonic() + self._policy.grace_s + KILL_MARGIN_S

    def see_off(self, dismiss: Dismiss) -> None:
        """After its worker's end: have the member removed from the group. Only then another may
        start here, for it would be the one that is removed."""
        if self._left is None:
            self._left = dismiss(self.number)
        if self._left.done():
            self._left.result()
            self._left, self.leaving, self._kill_at = None, False, math.inf

    def look(self, awake_since: float) -> Ended | None:
        """How the worker ended, by itself or because it is stuck and was killed for it; None while
        it goes on, or where there is none. Silence before ``awake_since`` is not its fault."""
        if self.handle is None:
            return None
        ended = self.handle.ended()
        if ended is None:
            self._heard = self.handle.health()
            ended = self._stalled(awake_since)
            if ended is None:
                return None
            self.handle.kill()
        self._committed_before = self.committed
        self._heard, self.handle = None, None
        return ended

    def _stalled(self, awake_since: float) -> Ended | None:
        """Why the worker must be ended from outside."""
        now = self._clock.monotonic()
        age_s = now - self._started_at
        if now > self._kill_at:
            return _stalled("did not end within its grace period")
        if self._heard is None:
            if age_s > self._policy.start_timeout_s:
                return _stalled(f"did not start within {self._policy.start_timeout_s:g} s")
            return None
        silent_s = now - max(self._heard.at, awake_since)
        stuck_s = self._heard.health.cycle_age_s + silent_s
        if stuck_s > self._policy.stall_timeout_s:
            if silent_s > FRESH_S:
                return _stalled(f"it has not answered for {silent_s:.0f} s")
            return _stalled(f"its Kafka thread is stuck for {stuck_s:.0f} s")
        encode_age_s = self._heard.health.encode_age_s
        if encode_age_s and encode_age_s + silent_s > self._policy.stall_timeout_s:
            return _stalled(
                f"its model has had one batch for {encode_age_s + silent_s:.0f} s; if it is slow "
                "and not stuck, lower batch.max_size or raise workers.stall_timeout_s"
            )
        commit_age_s = self._heard.health.commit_age_s
        if (
            commit_age_s > COMMIT_STALLS * self._policy.stall_timeout_s
            # Where a worker has been ended for this and nothing was committed since, the cause is
            # not in the process: the next one waits, however long.
            and self.committed > self._committed_then
        ):
            self._committed_then = self.committed
            # No crash: whatever the brokers do, it makes no crash loop.
            return Ended(
                Fate.UNAVAILABLE,
                "worker.commits_fail",
                f"its commits have failed for {commit_age_s:.0f} s while the group answers it",
            )
        if age_s > PROVEN_S and self.fresh is not None:
            self.backoff.succeeded()
        return None


def _stalled(why: str) -> Ended:
    return Ended(Fate.DIED, "worker.stalled", why)
