"""The supervisor: starts workers, watches them, restarts them with growing waits, and drains on
request. It keeps a place empty if its node is at fault, stops loudly on a crash loop, and adds and
removes workers as needed. It runs in the driver and knows nothing of Ray."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial

from pipeline.halts import Fault, fault_of
from pipeline.ports import Clock
from workers.settings.workers import WorkersPolicy
from workers.supervise.crashes import Crashes
from workers.supervise.idle import GroupLag, Idle, lag_unknown
from workers.supervise.reminder import Reminder
from workers.supervise.scaling import Scaling, Sizing
from workers.supervise.slot import Dismiss, Ended, Fate, Launch, Slot
from workers.supervise.standing import NOTHING_YET, standing_of
from workers.supervise.trouble import Trouble

log = logging.getLogger(__name__)

TICK_S = 0.2
"""Time between two looks at the workers."""

ABSENT_S = 5.0
"""If two looks are further apart than this, the driver itself was stopped in between."""


WAITING_TOLD_S = 15.0
"""A worker that has waited for room for this long is logged. A shorter wait is the start of its
process."""

WAITING_TOLD_AGAIN_S = 60.0


class ExitCode(IntEnum):
    """Exit codes of ``clipstream stream``, documented in docs/operations.md, and of ``clipstream
    backfill run``, which alone knows an incomplete end."""

    OK = 0
    USAGE = 2
    HALTED = 3
    CRASH_LOOP = 4
    UNCLEAN_STOP = 5
    INCOMPLETE = 6


class Supervisor:
    """Keeps ``policy.count`` workers running, or more if ``policy.max_count`` allows. ``run``
    blocks; ``request_stop`` may be called from a signal handler or another thread."""

    def __init__(
        self,
        launch: Launch,
        policy: WorkersPolicy,
        clock: Clock,
        rng: random.Random,
        wait: Callable[[float], object],
        *,
        dismiss: Dismiss,
        group_lag: GroupLag = lag_unknown,
        sizing: Sizing | None = None,
        forgives: Callable[[Slot], bool] = lambda slot: False,
        most_places: int | None = None,
    ) -> None:
        """``sizing`` decides how many workers are wanted; ``Scaling`` by default, if the policy
        leaves a choice. With ``most_places``, ``sizing`` may ask for any number up to that, none
        included, and an empty place is not replaced by another one. ``forgives`` says of a worker
        that has died whether it is its work that kills it: such a death makes no crash loop."""
        self._launch = launch
        self._policy = policy
        self._clock = clock
        self._wait = wait
        self._dismiss = dismiss
        self._group_lag = group_lag
        self._most_places = most_places
        self._new_slot = partial(Slot, policy=policy, clock=clock, rng=rng)
        # The first this many slots should have a worker.
        self._wanted = policy.count if most_places is None else 0
        first = policy.most if most_places is None else 0
        self._slots = [self._new_slot(number) for number in range(first)]
        if sizing is None and policy.most > policy.count:
            sizing = Scaling(policy, clock)
        self._sizing = sizing
        self._forgives = forgives
        self._idle: Idle | None = None
        self._crashes = Crashes(policy.crash_window_s)
        self._looked_at = self._awake_since = clock.monotonic()
        # When a worker without trouble was last in the group.
        self._attended_at = clock.monotonic()
        self._waiting_told: dict[int, Reminder] = {}
        self._deaths = 0
        self._stop: ExitCode | None = None
        self._stop_requested = threading.Event()
        self.standing = NOTHING_YET
        """The state of all places at the last look. Replaced as a whole: other threads may read
        it."""

    def request_stop(self) -> None:
        """Drain and end. Idempotent."""
        self._stop_requested.set()

    def run(
        self,
        until_idle_s: float | None = None,
        on_tick: Callable[[Supervisor], None] | None = None,
    ) -> ExitCode:
        """Supervise until stopped, halted, crash-looping, or idle for ``until_idle_s``."""
        if until_idle_s is not None:
            self._idle = Idle(until_idle_s, self._group_lag, self._clock)
        while not self._over():
            self._notice_absence()
            for slot in self._slots:
                self._look_after(slot)
            if self._stop is None:
                self._decide()
            self.standing = standing_of(
                self._in_use(),
                self._policy.min_ready,
                stopping=self._stop is not None,
                deaths=self._deaths,
            )
            if on_tick is not None:
                on_tick(self)
            self._wait(TICK_S)
        return ExitCode.OK if self._stop is None else self._stop

    # -- what callers may read --------------------------------------------------------------

    @property
    def committed(self) -> int:
        """References committed by all workers since the start, restarts included."""
        return sum(slot.committed for slot in self._slots)

    @property
    def workers(self) -> int:
        """Number of workers that are wanted."""
        return self._wanted

    @property
    def slots(self) -> Sequence[Slot]:
        """All places that may have been used so far."""
        return self._slots

    @property
    def lag(self) -> int | None:
        """Records not yet committed in all partitions that workers own. None if no worker runs, or
        if a worker does not know."""
        lags = [slot.health.lag for slot in self._in_use() if slot.health is not None]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if known and len(known) == len(lags) else None

    # -- inside -----------------------------------------------------------------------------

    def _notice_absence(self) -> None:
        """Note when the driver itself was stopped. It heard no answers meanwhile, which is not the
        workers' fault."""
        now = self._clock.monotonic()
        if now - self._looked_at > ABSENT_S:
            self._awake_since = now
        self._looked_at = now

    def _in_use(self) -> list[Slot]:
        """Slots that should have a worker, or still have one."""
        return [slot for slot in self._slots if slot.number < self._wanted or slot.leaving]

    def _over(self) -> bool:
        return self._stop is not None and all(slot.handle is None for slot in self._slots)

    def _decide(self) -> None:
        """Decide what concerns all workers together: stop, or change their number."""
        running = [slot.fresh for slot in self._in_use() if slot.health is not None]
        if self._stop_requested.is_set():
            self._drain(ExitCode.OK, "asked to stop")
        elif self._idle is not None and self._idle.reached(running):
            self._drain(ExitCode.OK, "idle, and the group has committed everything")
        elif (trouble := self._nobody_can_work()) is not None:
            log.error("%s: %s", trouble.code, trouble.message)
            seconds = self._policy.start_timeout_s
            self._drain(
                ExitCode.HALTED, f"no worker was in the group for {seconds:g} s: {trouble.code}"
            )
        else:
            self._scale(job=self._idle is not None)

    def _look_after(self, slot: Slot) -> None:
        if self._stop is None or slot.leaving:
            slot.tend(self._dismiss)
        if self._stop is None and slot.number < self._wanted and slot.may_start():
            slot.take(self._launch(slot.number, slot.avoid))
        self._move(slot)
        ended = slot.look(self._awake_since)
        if ended is not None:
            self._follow_end(slot, ended)
        self._tell_if_it_waits(slot)

    def _move(self, slot: Slot) -> None:
        """Let a worker whose node goes away make room for a worker on another node."""
        node = slot.handle.node() if slot.handle else None
        grace_s = slot.move()
        if grace_s is not None:
            log.warning(
                "worker %d leaves node %s, which is being drained: it has %.0f s to finish",
                slot.number,
                node,
                grace_s,
            )

    def _follow_end(self, slot: Slot, ended: Ended) -> None:
        if ended.fate is Fate.STOPPED:
            if self._stop is None:
                # The node is being drained: another worker takes the place, on another node.
                slot.stopped()
            return
        halted = ended.fate is Fate.HALTED
        nodes = halted and fault_of(ended.code) is Fault.NODE
        if slot.moving and self._stop is None and (nodes or not halted):
            # The worker goes with its node, finished or not. This is no crash, and no trouble of
            # another node.
            log.warning(
                "worker %d %s: %s: %s; what it has not committed will be read again",
                slot.number,
                ended.fate,
                ended.code,
                ended.message,
            )
            slot.stopped()
            return
        self._deaths += ended.fate is Fate.DIED
        if nodes and self._stop is None:
            self._leave_empty(slot, ended)
            return
        log.error(
            "worker %d %s: %s: %s (on node %s)",
            slot.number,
            ended.fate,
            ended.code,
            ended.message,
            slot.node or "unknown",
        )
        if self._stop is not None:
            if ended.fate is Fate.KILLED and self._stop is ExitCode.OK:
                self._stop = ExitCode.UNCLEAN_STOP
            return
        if halted:
            self._drain(ExitCode.HALTED, f"worker {slot.number} halted")
            return
        if slot.leaving:
            # No worker takes the place, so this makes no crash loop.
            return
        if ended.fate is Fate.DIED and self._forgives(slot):
            log.warning("worker %d starts again: what it worked on killed it", slot.number)
            slot.stopped()
            return
        if ended.fate is Fate.DIED and (slot.trouble is not None or self._crash_loop(slot)):
            self._follow_crash_loop(slot, ended)
            return
        log.warning("worker %d starts again in %.1f s", slot.number, slot.failed())

    def _leave_empty(self, slot: Slot, ended: Ended) -> None:
        if slot.leaving:
            log.error("worker %d halted: %s: %s", slot.number, ended.code, ended.message)
            return
        tell, wait_s = slot.halted(ended)
        log.log(
            logging.ERROR if tell else logging.DEBUG,
            "place %d stays empty: %s on node %s: %s; the next try is in %.0f s, later ones after "
            "growing waits",
            slot.number,
            ended.code,
            slot.node or "unknown",
            ended.message,
            wait_s,
            extra={"code": ended.code},
        )

    def _nobody_can_work(self) -> Trouble | None:
        """The trouble to stop for, or None. Such a trouble keeps a place empty, and for
        ``start_timeout_s`` no worker without a trouble was in the group."""
        wanted = self._slots[: self._wanted]
        now = self._clock.monotonic()
        if not wanted or any(slot.fresh is not None and slot.trouble is None for slot in wanted):
            self._attended_at = now
        if any(slot.fresh is not None for slot in wanted):
            return None
        if now - max(self._attended_at, self._awake_since) < self._policy.start_timeout_s:
            return None
        return next((slot.trouble for slot in wanted if slot.trouble), None)

    def _tell_if_it_waits(self, slot: Slot) -> None:
        waited_s = slot.waiting_s
        if waited_s is None or slot.handle is None:
            self._waiting_told.pop(slot.number, None)
            return
        reminder = self._waiting_told.get(slot.number)
        if (waited_s >= WAITING_TOLD_S) if reminder is None else reminder.due():
            log.warning(
                "worker %d has waited for %.0f s: Ray has no room for %s; free resources, add a "
                "node, or lower workers.count",
                slot.number,
                waited_s,
                slot.handle.wants,
            )
            if reminder is None:
                self._waiting_told[slot.number] = Reminder(
                    self._clock, WAITING_TOLD_AGAIN_S, WAITING_TOLD_AGAIN_S
                )

    def _crash_loop(self, slot: Slot) -> bool:
        self._crashes.add(self._clock.monotonic(), slot.number, slot.node)
        return len(self._crashes) >= self._policy.max_crashes

    def _follow_crash_loop(self, slot: Slot, ended: Ended) -> None:
        """If only this place's workers crash, its node is at fault and the place stays empty. If a
        second place crashes for the same reason, the cause moves from place to place, such as a
        record that crashes every worker that reads it; then the driver stops."""
        others = [each for each in self._slots[: self._wanted] if each is not slot]
        alone = (
            self._crashes.slots <= {slot.number}
            and any(each.fresh is not None and each.trouble is None for each in others)
            and not any(each.trouble is not None and each.trouble.is_crash for each in others)
        )
        if alone or slot.trouble is not None:
            self._crashes.forget(slot.number)
            self._leave_empty(slot, ended)
            return
        self._drain(
            ExitCode.CRASH_LOOP,
            f"{len(self._crashes)} crashes in {self._policy.crash_window_s:g} s",
        )

    def _scale(self, *, job: bool) -> None:
        if self._sizing is None:
            return
        # Empty places neither work nor start, so scaling looks at the other places only.
        in_use = [slot for slot in self._in_use() if not slot.empty]
        decision = self._sizing.decide([None if slot.leaving else slot.fresh for slot in in_use])
        if decision is None:
            return
        wanted = self._places_for(decision.workers)
        surplus = self._slots[wanted : self._wanted]
        if wanted == self._wanted or (job and any(slot.health for slot in surplus)):
            # A job ends when nothing is left, and moving partitions would look like that.
            return
        log.info("%d workers, not %d: %s", wanted, self._wanted, decision.why)
        for slot in reversed(surplus):
            slot.leave()
        self._wanted = wanted

    def _places_for(self, workers: int) -> int:
        """The number of places, from the first on, of which ``workers`` are not empty."""
        if self._most_places is not None:
            wanted = min(workers, self._most_places)
            while len(self._slots) < wanted:
                self._slots.append(self._new_slot(len(self._slots)))
            return wanted
        able = 0
        for slot in self._slots:
            if able >= workers and slot.number >= self._policy.count:
                return slot.number
            able += not slot.empty
        return self._policy.most

    def _drain(self, code: ExitCode, why: str) -> None:
        log.info("stopping: %s", why)
        self._stop = code
        for slot in self._slots:
            slot.stop(self._policy.grace_s)
