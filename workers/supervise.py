"""The supervisor: starts workers, watches them, restarts them with growing waits, stops loudly on
a crash loop, adds and removes workers as they are needed, and drains on request. It runs in the
driver and knows nothing of Ray."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from pipeline.ports import Clock
from workers.health import Health
from workers.scaling import Scaling
from workers.slot import KILL_MARGIN_S, Dismiss, Ended, Fate, Slot, WorkerHandle
from workers.workers_policy import WorkersPolicy

log = logging.getLogger(__name__)

TICK_S = 0.2
"""Time between two looks at the workers."""

ABSENT_S = 5.0
"""Time between two looks that shows that the driver itself was stopped meanwhile."""


class ExitCode(IntEnum):
    """Exit codes of ``clipstream stream``, documented in docs/operations.md."""

    OK = 0
    USAGE = 2
    HALTED = 3
    CRASH_LOOP = 4
    UNCLEAN_STOP = 5


@dataclass(slots=True)
class _Stop:
    """Why everything stops, and until when the workers have time."""

    code: ExitCode
    kill_at: float
    killed: bool = field(default=False)


class Supervisor:
    """Keeps ``policy.count`` workers running, or more where ``policy.max_count`` allows it. ``run``
    blocks; ``request_stop`` may be called from a signal handler or another thread."""

    def __init__(
        self,
        launch: Callable[[int], WorkerHandle],
        policy: WorkersPolicy,
        clock: Clock,
        rng: random.Random,
        wait: Callable[[float], object],
        *,
        dismiss: Dismiss,
    ) -> None:
        self._launch = launch
        self._policy = policy
        self._clock = clock
        self._wait = wait
        self._dismiss = dismiss
        self._slots = [Slot(number, policy, clock, rng) for number in range(policy.most)]
        # Of the slots the first so many are to have a worker.
        self._wanted = policy.count
        self._scaling = Scaling(policy, clock) if policy.most > policy.count else None
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
                    self._scale(job=until_idle_s is not None)
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
    def workers(self) -> int:
        """Workers that are wanted."""
        return self._wanted

    @property
    def lag(self) -> int | None:
        """Records not yet committed in all owned partitions; None while a worker does not know."""
        lags = [slot.health.lag if slot.health else None for slot in self._in_use()]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if len(known) == len(lags) else None

    @property
    def ready(self) -> bool:
        """Whether every worker runs, and takes in work or would if there were a partition. One that
        was added is not waited for."""
        return self._stop is None and all(
            slot.fresh is not None and slot.fresh.available
            for slot in self._slots[: self._policy.count]
        )

    # -- inside -----------------------------------------------------------------------------

    def _notice_absence(self) -> None:
        """A driver that was stopped heard no answer meanwhile, which is not its workers' fault."""
        now = self._clock.monotonic()
        if now - self._looked_at > ABSENT_S:
            self._awake_since = now
        self._looked_at = now

    def _in_use(self) -> list[Slot]:
        """Slots that are to have a worker, or still have one."""
        return [slot for slot in self._slots if slot.number < self._wanted or slot.leaving]

    def _answers(self) -> list[Health | None]:
        """What each worker in use says; None where it says nothing that counts."""
        return [None if slot.leaving else slot.fresh for slot in self._in_use()]

    def _over(self) -> bool:
        return self._stop is not None and all(slot.handle is None for slot in self._slots)

    def _look_after(self, slot: Slot) -> None:
        if slot.handle is None:
            if slot.leaving:
                slot.see_off(self._dismiss)
            elif self._stop is None and slot.number < self._wanted and slot.backoff.due():
                slot.take(self._launch(slot.number))
            return
        ended = slot.look(self._awake_since)
        if ended is not None:
            self._follow_end(slot, ended)

    def _follow_end(self, slot: Slot, ended: Ended) -> None:
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
        if slot.leaving:
            # Nobody takes its place, so that it makes no crash loop.
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

    def _scale(self, *, job: bool) -> None:
        if self._scaling is None:
            return
        decision = self._scaling.decide(self._answers())
        if decision is None:
            return
        surplus = self._slots[decision.workers : self._wanted]
        if job and any(slot.health for slot in surplus):
            # It ends when nothing is left, and partitions on their way look like that.
            return
        log.info("%d workers, not %d: %s", decision.workers, self._wanted, decision.why)
        for slot in reversed(surplus):
            slot.leave()
        self._wanted = decision.workers

    def _idle(self, idle_s: float) -> bool:
        healths = self._answers()
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
