"""The supervisor: starts workers, watches them, restarts them with growing waits, stops loudly on
a crash loop, and drains on request. It runs in the driver and knows nothing of Ray."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from pydantic import Field, field_validator

from pipeline.policy import Policy
from pipeline.ports import Clock
from pipeline.retry import RetryPolicy
from workers.backoff import Backoff
from workers.health import Health, Heard

log = logging.getLogger(__name__)

TICK_S = 0.2
"""Time between two looks at the workers."""

RESTARTS = RetryPolicy(first_wait_s=2.0, longest_wait_s=60.0)
"""Waits between a worker's end and its restart."""

PROVEN_S = 60.0
"""A worker that ran for so long has shown that it can: its next restart is quick again."""

COMMIT_STALLS = 3
"""As many times ``stall_timeout_s`` may commits fail while the group answers: a batch too large for
its link is halved meanwhile, and brokers restart."""

FRESH_S = 10.0
"""A worker whose latest answer is older than this may be frozen: nobody counts on what it said."""

ABSENT_S = 5.0
"""Time between two looks that shows that the driver itself was stopped meanwhile."""

KILL_MARGIN_S = 15.0
"""Wait beyond the grace period for a worker's own end before it is killed."""


class ExitCode(IntEnum):
    """Exit codes of ``clipstream stream``, documented in docs/operations.md."""

    OK = 0
    USAGE = 2
    HALTED = 3
    CRASH_LOOP = 4
    UNCLEAN_STOP = 5


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


class WorkersPolicy(Policy):
    """How many workers run, on what, and what happens when they fail."""

    count: int = Field(1, description="Stream workers that this driver runs.", gt=0)
    gpus_per_worker: float = Field(
        0.0,
        description="GPU share of a worker: 0 on CPU machines, a fraction to share one, else a "
        "whole number.",
        ge=0,
    )
    cpus_per_worker: float = Field(
        1.0, description="CPUs that Ray reserves for a worker and its decoders.", ge=0
    )
    grace_s: float = Field(
        30.0,
        description="Time to finish what is begun on SIGTERM; then it is abandoned and comes "
        "again. Keep the pod's termination grace period 20 s longer.",
        gt=0,
    )
    start_timeout_s: float = Field(
        600.0, description="A worker that has not joined by then is restarted.", gt=0
    )
    stall_timeout_s: float = Field(
        120.0,
        description="A worker that does not answer, whose Kafka thread makes no round, or whose "
        "model has one batch, for so long is killed and restarted; so is one whose commits fail "
        "for three times as long while the group answers it.",
        gt=0,
    )
    max_crashes: int = Field(
        5, description="Crashes within crash_window_s that stop the driver.", gt=0
    )
    crash_window_s: float = Field(300.0, description="Window in which crashes are counted.", gt=0)

    @field_validator("gpus_per_worker")
    @classmethod
    def _share_or_whole(cls, gpus: float) -> float:
        if gpus > 1 and not gpus.is_integer():
            raise ValueError(
                f"is {gpus:g}; write a fraction below 1 to share a GPU, or a whole number of them"
            )
        return gpus


@dataclass(slots=True)
class _Slot:
    """One place for a worker, and what happened in it."""

    number: int
    backoff: Backoff
    handle: WorkerHandle | None = None
    started_at: float = 0.0
    done: bool = False
    committed_before: int = 0
    # Committed in this slot when a worker was last ended for its commits.
    committed_then: int = -1
    heard: Heard | None = None

    @property
    def health(self) -> Health | None:
        return self.heard.health if self.heard else None

    @property
    def committed(self) -> int:
        """References committed by all its workers."""
        return self.committed_before + (self.health.committed if self.health else 0)


@dataclass(slots=True)
class _Stop:
    """Why everything stops, and until when the workers have time."""

    code: ExitCode
    kill_at: float
    killed: bool = field(default=False)


class Supervisor:
    """Keeps ``policy.count`` workers running. ``run`` blocks; ``request_stop`` may be called from
    a signal handler or another thread."""

    def __init__(
        self,
        launch: Callable[[int], WorkerHandle],
        policy: WorkersPolicy,
        clock: Clock,
        rng: random.Random,
        wait: Callable[[float], object],
    ) -> None:
        self._launch = launch
        self._policy = policy
        self._clock = clock
        self._wait = wait
        self._slots = [
            _Slot(number, Backoff(clock, rng, RESTARTS)) for number in range(policy.count)
        ]
        self._crashes: deque[float] = deque()
        self._looked_at = self._awake_since = clock.monotonic()
        self._stop: _Stop | None = None
        self._stop_requested = threading.Event()

    def request_stop(self) -> None:
        """Drain and end. Idempotent."""
        self._stop_requested.set()

    def run(
        self,
        until_idle_s: float | None = None,
        on_tick: Callable[[Supervisor], None] | None = None,
    ) -> ExitCode:
        """Supervise until stopped, halted, crash-looping, or idle for ``until_idle_s``."""
        while not self._over():
            self._notice_absence()
            for slot in self._slots:
                self._look_after(slot)
            if self._stop is None:
                if self._stop_requested.is_set():
                    self._drain(ExitCode.OK, "asked to stop")
                elif until_idle_s is not None and self._idle(until_idle_s):
                    self._drain(ExitCode.OK, f"idle for {until_idle_s:g} s")
            else:
                self._kill_late()
            if on_tick is not None:
                on_tick(self)
            self._wait(TICK_S)
        return self._stop.code if self._stop else ExitCode.OK

    # -- what others may look at ------------------------------------------------------------

    @property
    def committed(self) -> int:
        """References committed by all workers since the start, restarts included."""
        return sum(slot.committed for slot in self._slots)

    @property
    def lag(self) -> int | None:
        """Records not yet committed in all owned partitions; None while a worker does not know."""
        lags = [slot.health.lag if slot.health else None for slot in self._slots]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if len(known) == len(lags) else None

    @property
    def ready(self) -> bool:
        """Whether every worker runs, and takes in work or would if there were a partition."""
        return self._stop is None and all(
            health is not None and health.available for health in map(self._fresh, self._slots)
        )

    # -- inside -----------------------------------------------------------------------------

    def _notice_absence(self) -> None:
        """A driver that was stopped heard no answer meanwhile, which is not its workers' fault."""
        now = self._clock.monotonic()
        if now - self._looked_at > ABSENT_S:
            self._awake_since = now
        self._looked_at = now

    def _fresh(self, slot: _Slot) -> Health | None:
        """The latest answer, if it still says how the worker is."""
        heard = slot.heard
        if heard is None or self._clock.monotonic() - heard.at > FRESH_S:
            return None
        return heard.health

    def _over(self) -> bool:
        return self._stop is not None and all(slot.handle is None for slot in self._slots)

    def _look_after(self, slot: _Slot) -> None:
        if slot.handle is None:
            if self._stop is None and slot.backoff.due():
                slot.handle = self._launch(slot.number)
                slot.started_at = self._clock.monotonic()
            return
        ended = slot.handle.ended()
        if ended is not None:
            self._follow_end(slot, ended)
            return
        slot.heard = slot.handle.health()
        if stalled := self._stalled(slot):
            slot.handle.kill()
            self._follow_end(slot, stalled)

    def _follow_end(self, slot: _Slot, ended: Ended) -> None:
        slot.committed_before = slot.committed
        slot.heard, slot.handle = None, None
        if ended.fate is Fate.STOPPED:
            if self._stop is None:
                # Its node is drained: another takes its place, elsewhere.
                slot.backoff.succeeded()
            return
        log.error("worker %d %s: %s: %s", slot.number, ended.fate, ended.code, ended.message)
        if self._stop is not None:
            return
        if ended.fate is Fate.HALTED:
            self._drain(ExitCode.HALTED, f"worker {slot.number} halted")
            return
        wait_s = slot.backoff.failed()
        if ended.fate is Fate.DIED and self._crash_loop():
            self._drain(
                ExitCode.CRASH_LOOP,
                f"{len(self._crashes)} crashes in {self._policy.crash_window_s:g} s",
            )
            return
        log.warning("worker %d starts again in %.1f s", slot.number, wait_s)

    def _crash_loop(self) -> bool:
        now = self._clock.monotonic()
        self._crashes.append(now)
        while now - self._crashes[0] > self._policy.crash_window_s:
            self._crashes.popleft()
        return len(self._crashes) >= self._policy.max_crashes

    def _stalled(self, slot: _Slot) -> Ended | None:
        """Why the worker must be ended from outside."""
        now = self._clock.monotonic()
        age_s = now - slot.started_at
        if slot.heard is None:
            if age_s > self._policy.start_timeout_s:
                return _stalled(f"did not start within {self._policy.start_timeout_s:g} s")
            return None
        silent_s = now - max(slot.heard.at, self._awake_since)
        stuck_s = slot.heard.health.cycle_age_s + silent_s
        if stuck_s > self._policy.stall_timeout_s:
            if silent_s > FRESH_S:
                return _stalled(f"it has not answered for {silent_s:.0f} s")
            return _stalled(f"its Kafka thread is stuck for {stuck_s:.0f} s")
        encode_age_s = slot.heard.health.encode_age_s
        if encode_age_s and encode_age_s + silent_s > self._policy.stall_timeout_s:
            return _stalled(f"its model has had one batch for {encode_age_s + silent_s:.0f} s")
        commit_age_s = slot.heard.health.commit_age_s
        if (
            commit_age_s > COMMIT_STALLS * self._policy.stall_timeout_s
            # Where a worker has been ended for this and nothing was committed since, the cause is
            # not in the process: the next one waits, however long.
            and slot.committed > slot.committed_then
        ):
            slot.committed_then = slot.committed
            # No crash: whatever the brokers do, it makes no crash loop.
            return Ended(
                Fate.UNAVAILABLE,
                "worker.commits_fail",
                f"its commits have failed for {commit_age_s:.0f} s while the group answers it",
            )
        if age_s > PROVEN_S and self._fresh(slot) is not None:
            slot.backoff.succeeded()
        return None

    def _idle(self, idle_s: float) -> bool:
        healths = [self._fresh(slot) for slot in self._slots]
        return any(health is not None and health.partitions for health in healths) and all(
            health is not None
            and health.unfinished == 0
            and health.lag == 0
            and health.idle_s >= idle_s
            for health in healths
        )

    def _drain(self, code: ExitCode, why: str) -> None:
        log.info("stopping: %s", why)
        grace_s = self._policy.grace_s
        self._stop = _Stop(code, self._clock.monotonic() + grace_s + KILL_MARGIN_S)
        for slot in self._slots:
            if slot.handle is not None:
                slot.handle.stop(grace_s)

    def _kill_late(self) -> None:
        stop = self._stop
        if stop is None or stop.killed or self._clock.monotonic() < stop.kill_at:
            return
        stop.killed = True
        if stop.code is ExitCode.OK:
            stop.code = ExitCode.UNCLEAN_STOP
        for slot in self._slots:
            if slot.handle is not None:
                log.error("worker %d did not end within its grace period: killed", slot.number)
                slot.handle.kill()
                slot.handle = None


def _stalled(why: str) -> Ended:
    return Ended(Fate.DIED, "worker.stalled", why)
