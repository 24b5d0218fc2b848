"""One place for a worker: which worker is in it, what was heard of it, and whether it is stuck.

A worker in a place goes through three states. It *waits* while Ray has no room for it. It *starts*
while a process builds it. It *runs* once it answers.
"""

from __future__ import annotations

import logging
import random
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.ports import Clock
from pipeline.retry import RetryPolicy
from workers.backoff import Backoff
from workers.health import Health, Heard
from workers.settings.workers import WorkersPolicy
from workers.supervise.node import Node
from workers.supervise.trouble import Trouble

log = logging.getLogger(__name__)

RESTARTS = RetryPolicy(first_wait_s=2.0, longest_wait_s=60.0)
"""Waits between a worker's end and its restart."""

PROVEN_S = 60.0
"""A worker that ran for this long has proven itself: its next restart is quick again."""

COMMIT_STALLS = 3
"""Commits may fail for this many times ``stall_timeout_s`` while the group answers. A batch too
large for its link is halved meanwhile, and brokers restart."""

FRESH_S = 10.0
"""A worker whose latest answer is older than this may be frozen, so its answer no longer counts."""

KILL_MARGIN_S = 15.0
"""Seconds beyond the grace period after which a worker that has not ended is killed."""

BUILDING_KILL_S = 5.0
"""Seconds after which a worker that is still being built is killed, once it was asked to stop. It
has nothing to finish."""

NOTICE_MARGIN_S = 5.0
"""Seconds before its node goes away by which a worker must have finished. Its last commit needs the
time."""

VACANT_S = 5.0
"""A place without a process for longer than this loses its member of the group, so that other
workers read its partitions before the session timeout is over."""


class Fate(StrEnum):
    """How a worker's run ended."""

    STOPPED = "stopped"
    HALTED = "halted"
    UNAVAILABLE = "unavailable"
    DIED = "died"
    KILLED = "killed"
    """The worker was asked to stop and did not do so within its grace period."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a worker's run. ``code`` and ``message`` give the reason if nobody asked for the
    end."""

    fate: Fate
    code: str = ""
    message: str = ""


class WorkerHandle(Protocol):
    """One requested worker, wherever it runs. No call blocks for longer than a tick."""

    @property
    def wants(self) -> str:
        """The free resources that the worker needs on its node, for messages."""

    def node(self) -> Node | None:
        """The node of the worker's process, or None while the worker waits for room."""

    def node_goes_in(self) -> float | None:
        """Seconds until the node goes away, if the cluster has announced that; ``inf`` if it did
        not say when. None while the node stays, or while there is no node yet."""

    def begin(self) -> None:
        """Build the worker and run it. Called once, when the worker has a node. Until then its
        process does nothing and is not a member of the group."""

    def ended(self) -> Ended | None:
        """How the worker ended, or None while it waits or goes on."""

    def health(self) -> Heard | None:
        """The latest answer and its time, or None while the worker is being built."""

    def metrics_at(self) -> str | None:
        """Where the driver reaches the worker's metrics (host:port). None until the worker has been
        built, or if it cannot be reached from here."""

    def tell(self, message: object) -> None:
        """A message for the worker, which may be lost with it."""

    def stop(self, grace_s: float) -> None:
        """Ask for a drain. Called only after ``begin``."""

    def kill(self) -> None:
        """End the process now, or give up waiting for room. Nothing uncommitted becomes visible."""


class Launch(Protocol):
    """Requests a worker for a slot, on a node that is not in ``avoid`` (ids) if one has room."""

    def __call__(self, slot: int, avoid: frozenset[str]) -> WorkerHandle: ...


class Dismiss(Protocol):
    """Removes a slot's member from the group, in another thread. Failures are logged. ``for_good``:
    no other worker will take the place."""

    def __call__(self, slot: int, *, for_good: bool) -> Future[None]: ...


class Slot:
    """A place and its workers, which follow one another; there is one at a time."""

    def __init__(
        self, number: int, policy: WorkersPolicy, clock: Clock, rng: random.Random
    ) -> None:
        self.number = number
        self._restarts = Backoff(clock, rng, RESTARTS)
        self.handle: WorkerHandle | None = None
        self.leaving = False
        """The worker is no longer wanted: it is ending, or its member is leaving the group."""
        self.node: Node | None = None
        """Node of the latest worker, once that worker has begun."""
        self.trouble: Trouble | None = None
        """Why the place is empty, if its node is at fault. Kept until a worker has proven
        itself."""
        self.moving = False
        """The worker was asked to end because its node goes away. Another worker takes the
        place."""
        self.last_end: Ended | None = None
        """How the worker before the current one ended."""
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._heard: Heard | None = None
        # Times of the current worker: when it was requested, when it began and when it first
        # answered.
        self._launched_at = 0.0
        self._begun_at: float | None = None
        self._answered_at: float | None = None
        # When the worker was asked to stop, and until when it has time to finish.
        self._stop_at: float | None = None
        self._finish_by = 0.0
        # Since when the group's member has had no process here. A failed start does not change it.
        self._vacant_since = clock.monotonic()
        # Whether the group may still have a member of this slot.
        self._member = False
        self._removal: Future[None] | None = None
        self._removal_is_for_good = False
        self._committed_before = 0
        # References committed in this slot when a worker was last ended because its commits failed.
        self._committed_then = -1

    # -- what callers may read --------------------------------------------------------------

    @property
    def health(self) -> Health | None:
        """The latest answer, however old; None while no worker runs here."""
        return self._heard.health if self._heard else None

    @property
    def fresh(self) -> Health | None:
        """The latest answer, if it is recent enough to count."""
        if self._heard is None or self._clock.monotonic() - self._heard.at > FRESH_S:
            return None
        return self._heard.health

    @property
    def metrics_at(self) -> str | None:
        """Where the driver reaches the metrics of the worker here (host:port). None if no worker
        runs here that can be asked."""
        return self.handle.metrics_at() if self.handle and self._heard else None

    @property
    def empty(self) -> bool:
        """Whether a node's fault keeps a worker from running here."""
        return self.trouble is not None and self._heard is None

    @property
    def avoid(self) -> frozenset[str]:
        """Nodes (ids) that the next worker should not run on, if other nodes have room."""
        return frozenset(self.trouble.nodes) if self.trouble else frozenset()

    @property
    def waiting_s(self) -> float | None:
        """Seconds that the worker here has waited for room; None if none waits."""
        if self.handle is None or self._begun_at is not None or self.handle.node() is not None:
            return None
        return self._clock.monotonic() - self._launched_at

    @property
    def committed(self) -> int:
        """References committed by all workers of this place."""
        return self._committed_before + (self.health.committed if self.health else 0)

    # -- what happens to the worker ---------------------------------------------------------

    def may_start(self) -> bool:
        """Whether a worker may be requested: none is here, and the waits after failures are
        over."""
        return self.handle is None and not self.leaving and self._backoff.due()

    def take(self, handle: WorkerHandle) -> None:
        """Note that a worker was requested."""
        self.handle = handle
        self.node = None
        self.moving = False
        self._launched_at = self._clock.monotonic()

    def tend(self, dismiss: Dismiss) -> None:
        """While no process is here: have the member removed if no worker can start here soon, and
        let a worker begin that has found room. A worker does not begin while a removal is in
        progress, because the removal would remove the new worker's membership."""
        if self._removal is not None:
            if not self._removal.done():
                return
            self._removal.result()
            self._removal, self._member = None, False
            if self._removal_is_for_good:
                self.leaving = False
        if self._begun_at is not None:
            return
        if self._is_to_lose_its_member():
            self._removal_is_for_good = self.leaving
            self._removal = dismiss(self.number, for_good=self.leaving)
        elif self.handle is not None and (node := self.handle.node()) is not None:
            self.node, self._begun_at = node, self._clock.monotonic()
            log.info("worker %d starts on node %s", self.number, node)
            self.handle.begin()

    def failed(self) -> float:
        """The worker ended unexpectedly. Returns the seconds until the next start."""
        return self._backoff.failed()

    def stopped(self) -> None:
        """The worker ended on request: the next one may start at once."""
        self._backoff.succeeded()

    def halted(self, ended: Ended) -> tuple[bool, float]:
        """A worker here met a trouble that can be its node's fault.

        Returns:
            Whether to log it, and the seconds until the next try.
        """
        if self.trouble is None:
            self.trouble = Trouble(ended.code, ended.message, self._clock, self._rng)
        tell = self.trouble.met(ended.code, ended.message, self.node)
        return tell, self.trouble.backoff.failed()

    def stop(self, grace_s: float) -> None:
        """Ask the worker to end. A worker that has not begun is removed at once."""
        if self.handle is None:
            return
        if self._begun_at is None:
            self.handle.kill()
            self._vacate()
            return
        self.handle.stop(grace_s)
        now = self._clock.monotonic()
        if self._stop_at is None:
            self._stop_at, self._finish_by = now, now + grace_s
        else:
            self._finish_by = min(self._finish_by, now + grace_s)

    def move(self) -> float | None:
        """Ask the worker to end if its node goes away. Returns, once, the seconds that the worker
        has."""
        goes_in_s = self.handle.node_goes_in() if self.handle and not self.moving else None
        if goes_in_s is None:
            return None
        self.moving = True
        grace_s = min(self._policy.grace_s, max(0.0, goes_in_s - NOTICE_MARGIN_S))
        self.stop(grace_s)
        return grace_s

    def leave(self) -> None:
        """Ask the worker to end for good."""
        self.leaving = True
        self.trouble = None
        self.stop(self._policy.grace_s)

    def look(self, awake_since: float) -> Ended | None:
        """How the worker ended, by itself or because it was stuck and has been killed. None while
        it goes on, or if there is none. Silence before ``awake_since`` is not the worker's
        fault."""
        if self.handle is None:
            return None
        ended = self.handle.ended()
        if ended is None:
            if self._begun_at is None:
                return None
            self._heard = self.handle.health()
            if self._heard is not None and self._answered_at is None:
                self._member, self._answered_at = True, self._clock.monotonic()
            ended = self._overdue() or self._stalled(self._begun_at, awake_since)
            if ended is None:
                return None
            self.handle.kill()
        self.last_end = ended
        self._vacate()
        return ended

    # -- inside -----------------------------------------------------------------------------

    @property
    def _backoff(self) -> Backoff:
        return self.trouble.backoff if self.trouble else self._restarts

    def _vacate(self) -> None:
        self._committed_before = self.committed
        if self._heard is not None:
            self._vacant_since = self._clock.monotonic()
        self._heard = self.handle = None
        self._begun_at = self._answered_at = self._stop_at = None

    def _is_to_lose_its_member(self) -> bool:
        if self.leaving:
            return self.handle is None
        if not self._member:
            return False
        next_start = self._clock.monotonic() if self.handle else self._backoff.due_at
        return max(next_start, self._clock.monotonic()) - self._vacant_since > VACANT_S

    def _overdue(self) -> Ended | None:
        """The end of a worker that was asked to stop and has not ended in time."""
        if self._stop_at is None:
            return None
        now = self._clock.monotonic()
        asked_s = now - self._stop_at
        if self._heard is None:
            return Ended(Fate.STOPPED) if asked_s > BUILDING_KILL_S else None
        if now <= self._finish_by + KILL_MARGIN_S:
            return None
        return Ended(
            Fate.KILLED, "worker.overdue", f"did not end within its grace period ({asked_s:.0f} s)"
        )

    def _stalled(self, begun_at: float, awake_since: float) -> Ended | None:
        """The end of a worker that is stuck, or None."""
        now = self._clock.monotonic()
        if self._heard is None:
            if now - begun_at > self._policy.start_timeout_s:
                return _stalled(f"did not start within {self._policy.start_timeout_s:g} s")
            return None
        silent_s = now - max(self._heard.at, awake_since)
        stuck_s = self._heard.health.cycle_age_s + silent_s
        if stuck_s > self._policy.stall_timeout_s:
            if silent_s > FRESH_S:
                return _stalled(f"it has not answered for {silent_s:.0f} s")
            return _stalled(f"its main thread is stuck for {stuck_s:.0f} s")
        encode_age_s = self._heard.health.encode_age_s
        if encode_age_s and encode_age_s + silent_s > self._policy.stall_timeout_s:
            return _stalled(
                f"its model has had one batch for {encode_age_s + silent_s:.0f} s; if it is slow "
                "and not stuck, lower batch.max_size or raise workers.stall_timeout_s"
            )
        commit_age_s = self._heard.health.commit_age_s
        if (
            commit_age_s > COMMIT_STALLS * self._policy.stall_timeout_s
            # If a worker was ended for this before and nothing was committed since, the process is
            # not the cause. The next worker waits, however long.
            and self.committed > self._committed_then
        ):
            self._committed_then = self.committed
            # Not a crash, so that no trouble of the brokers makes a crash loop.
            return Ended(
                Fate.UNAVAILABLE,
                "worker.commits_fail",
                f"its commits have failed for {commit_age_s:.0f} s while the group answers it",
            )
        # Time spent on loading proves nothing.
        ran_s = now - self._answered_at if self._answered_at is not None else 0.0
        if ran_s > PROVEN_S and self.fresh is not None:
            self._restarts.succeeded()
            self.trouble = None
        return None


def _stalled(why: str) -> Ended:
    return Ended(Fate.DIED, "worker.stalled", why)
