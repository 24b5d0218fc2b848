"""What the driver makes of the replicas' reports: whether it is worth to go on. Pure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.halts import Fault, fault_of
from pipeline.ports import Clock
from workers.cluster.serving.board import Heard, State
from workers.settings.workers import WorkersPolicy
from workers.supervise.crashes import Crashes
from workers.supervise.node import Node
from workers.supervise.supervisor import ExitCode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the driver stops."""

    exit_code: ExitCode
    code: str
    message: str


class Watch:
    """Looks at all replicas again and again. Each replica that dies or fails is one crash."""

    def __init__(self, policy: WorkersPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._crashes = Crashes(policy.crash_window_s)
        self._counted: set[str] = set()

    def look(self, replicas: Sequence[Heard]) -> Verdict | None:
        """The reason to stop, or None."""
        for each in replicas:
            if each.report.id not in self._counted and _is_lost(each):
                self._counted.add(each.report.id)
                self._follow_loss(each)
        if any(each.ready for each in replicas):
            return self._crash_loop()
        waiting = any(each.lives and each.report.state is State.STARTING for each in replicas)
        for each in replicas:
            halted = each.lives and each.report.state is State.HALTED
            if halted and not (waiting and fault_of(each.report.code) is Fault.NODE):
                return Verdict(ExitCode.HALTED, each.report.code, each.report.message)
        return self._crash_loop()

    def _follow_loss(self, lost: Heard) -> None:
        report = lost.report
        if report.state in (State.HALTED, State.FAILED):
            what = f"{report.state}: {report.code}: {report.message}"
        else:
            what = f"died, or does not answer: nothing heard for {lost.age_s:.0f} s"
        log.error("replica %s %s (on %s); Ray Serve starts another", report.id, what, report.node)
        self._crashes.add(self._clock.monotonic(), lost.slot, Node(report.node, report.node))

    def _crash_loop(self) -> Verdict | None:
        if len(self._crashes) < self._policy.max_crashes:
            return None
        return Verdict(
            ExitCode.CRASH_LOOP,
            "serve.crash_loop",
            f"serve: replicas crashed {len(self._crashes)} times in "
            f"{self._policy.crash_window_s:g} s; read why in the log",
        )


def _is_lost(each: Heard) -> bool:
    state = each.report.state
    return state in (State.HALTED, State.FAILED) or (state is not State.ENDED and not each.lives)
