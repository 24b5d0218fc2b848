"""One place for a worker: who is in it, what was heard of it, and whether it is stuck.

A worker in a place goes through these: Ray has no room for it yet (it *waits*), it has a process
that builds it (it *starts*), and it answers (it *runs*).
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
from workers.settings.workers import WorkersPolicy
from workers.stream.health import Health, Heard
from workers.supervise.node import Node
from workers.supervise.trouble import Trouble

log = logging.getLogger(__name__)

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

BUILDING_KILL_S = 5.0
"""A worker that is still being built has nothing to finish: it is killed so long after it was
asked to stop, if it has not ended by itself."""

NOTICE_MARGIN_S = 5.0
"""A worker whose node goes away is to be done so long before: its last commit takes its time."""

VACANT_S = 5.0
"""A place without a process for longer than this loses its member of the group, so that others read
its partitions before the session timeout is over."""


class Fate(StrEnum):
    """How a worker's run ended."""

    STOPPED = "stopped"
    HALTED = "halted"
    UNAVAILABLE = "unavailable"
    DIED = "died"
    KILLED = "killed"
    """It was asked to stop and did not within its grace period."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a worker's run. ``code`` and ``message`` say why it was not asked to."""

    fate: Fate
    code: str = ""
    message: str = ""


class WorkerHandle(Protocol):
    """One worker that was asked for, wherever it runs. No call blocks for longer than a tick."""

    @property
    def wants(self) -> str:
        """What its node must have free for it, for messages."""

    def node(self) -> Node | None:
        """The node that it has a process on, or None while it waits for room."""

    def node_goes_in(self) -> float | None:
        """Seconds until its node goes away, where the cluster has announced that; ``inf`` where it
        did not say when. None while the node stays, or there is none yet."""

    def begin(self) -> None:
        """Build the worker and run it. Called once, when it has a node: until then its process
        does nothing, and is no member of the group."""

    def ended(self) -> Ended | None:
        """How it ended, or None while it goes on or waits."""

    def health(self) -> Heard | None:
        """The latest answer and when it came, or None while the worker is being built."""

    def stop(self, grace_s: float) -> None:
        """Ask for a drain. Called after ``begin`` only."""

    def kill(self) -> None:
        """End the process now, or give the wait for room up; nothing uncommitted becomes
        visible."""


class Launch(Protocol):
    """Asks for a worker of a slot: on another node than those of ``avoid`` (ids), if one has
    room."""

    def __call__(self, slot: int, avoid: frozenset[str]) -> WorkerHandle: ...


class Dismiss(Protocol):
    """Removes a slot's member from the group, in another thread. What it cannot do it logs.
    ``for_good``: nobody will take its place."""

    def __call__(self, slot: int, *, for_good: bool) -> Future[None]: ...


class Slot:
    """The workers that follow one another in a place, one at a time."""

    def __init__(
        self, number: int, policy: WorkersPolicy, clock: Clock, rng: random.Random
    ) -> None:
        self.number = number
        self._restarts = Backoff(clock, rng, RESTARTS)
        self.handle: WorkerHandle | None = None
        self.leaving = False
        """Its worker is not wanted any more: it ends, or its member leaves the group."""
        self.node: Node | None = None
        """Of the worker that was asked for last, once it has begun."""
        self.trouble: Trouble | None = None
        """Why the place is empty, where its node is at fault; until a worker has proven itself."""
        self.moving = False
        """Its worker was asked to end because its node goes away: another takes its place."""
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._heard: Heard | None = None
        # Of the worker that is here: when it was asked for, began and first answered.
        self._launched_at = 0.0
        self._begun_at: float | None = None
        self._answered_at: float | None = None
        # When it was asked to stop, and until when it has time to finish.
        self._stop_at: float | None = None
        self._finish_by = 0.0
        # Since when the group's member has had no process here. A start that fails changes nothing.
        self._vacant_since = clock.monotonic()
        # Whether the group may still have a member of this slot.
        self._member = False
        self._removal: Future[None] | None = None
        self._removal_is_for_good = False
        self._committed_before = 0
        # Committed in this slot when a worker was last ended for its commits.
        self._committed_then = -1

    # -- what others may look at ------------------------------------------------------------

    @property
    def health(self) -> Health | None:
        """The latest answer, however old; None while no worker runs here."""
        return self._heard.health if self._heard else None

    @property
    def fresh(self) -> Health | None:
        """The latest answer, if it still says how the worker is."""
        if self._heard is None or self._clock.monotonic() - self._heard.at > FRESH_S:
            return None
        return self._heard.health

    @property
    def empty(self) -> bool:
        """Whether its nodes' trouble keeps a worker from running here."""
        return self.trouble is not None and self._heard is None

    @property
    def avoid(self) -> frozenset[str]:
        """Nodes (ids) that the next worker is not to be put on, if others have room."""
        return frozenset(self.trouble.nodes) if self.trouble else frozenset()

    @property
    def waiting_s(self) -> float | None:
        """For how long the worker here has waited for room; None where none waits."""
        if self.handle is None or self._begun_at is not None or self.handle.node() is not None:
            return None
        return self._clock.monotonic() - self._launched_at

    @property
    def committed(self) -> int:
        """References committed by all its workers."""
        return self._committed_before + (self.health.committed if self.health else 0)

    # -- what happens to it -----------------------------------------------------------------

    def may_start(self) -> bool:
        """Whether a worker may be asked for: the waits after failures are over."""
        return self.handle is None and not self.leaving and self._backoff.due()

    def take(self, handle: WorkerHandle) -> None:
        """A worker was asked for."""
        self.handle = handle
        self.node = None
        self.moving = False
        self._launched_at = self._clock.monotonic()

    def tend(self, dismiss: Dismiss) -> None:
        """While no process is here: have the member removed if nobody can take its place soon, and
        let a worker begin that has found room. It does not begin while a removal is under way, for
        its own membership would be the one that is removed."""
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
        """Its worker ended against its will. Returns the seconds until the next start."""
        return self._backoff.failed()

    def stopped(self) -> None:
        """Its worker ended as somebody asked it to: the next may start at once."""
        self._backoff.succeeded()

    def halted(self, ended: Ended) -> tuple[bool, float]:
        """A worker here met a trouble that can be its node's.

        Returns:
            Whether to say so, and the seconds until the next try.
        """
        if self.trouble is None:
            self.trouble = Trouble(ended.code, ended.message, self._clock, self._rng)
        tell = self.trouble.met(ended.code, ended.message, self.node)
        return tell, self.trouble.backoff.failed()

    def stop(self, grace_s: float) -> None:
        """Ask its worker to end. One that has not begun is gone at once."""
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
        """Ask its worker to end if its node goes away. Returns the seconds that it has, once."""
        goes_in_s = self.handle.node_goes_in() if self.handle and not self.moving else None
        if goes_in_s is None:
            return None
        self.moving = True
        grace_s = min(self._policy.grace_s, max(0.0, goes_in_s - NOTICE_MARGIN_S))
        self.stop(grace_s)
        return grace_s

    def leave(self) -> None:
        """Ask its worker to end for good."""
        self.leaving = True
        self.trouble = None
        self.stop(self._policy.grace_s)

    def look(self, awake_since: float) -> Ended | None:
        """How the worker ended, by itself or because it is stuck and was killed for it; None while
        it goes on, or where there is none. Silence before ``awake_since`` is not its fault."""
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
        """The end of a worker that does not end though it was asked to."""
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
        """Why the worker must be ended from outside."""
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
        # What it took to load is no proof.
        ran_s = now - self._answered_at if self._answered_at is not None else 0.0
        if ran_s > PROVEN_S and self.fresh is not None:
            self._restarts.succeeded()
            self.trouble = None
        return None


def _stalled(why: str) -> Ended:
    return Ended(Fate.DIED, "worker.stalled", why)
