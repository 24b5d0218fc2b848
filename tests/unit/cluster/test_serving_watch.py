"""When the driver of the HTTP application stops: on a halt that nobody can work around, and on
crashes one after the other."""

from __future__ import annotations

import pytest

from pipeline.adapters.memory.clock import HandClock
from workers.cluster.serving.board import SILENT_S, Heard, Report, State
from workers.cluster.serving.watch import Watch
from workers.settings.workers import WorkersPolicy
from workers.supervise.supervisor import ExitCode

POLICY = WorkersPolicy(max_crashes=3, crash_window_s=300)


def heard(name: str, state: State, code: str = "", age_s: float = 0.0) -> Heard:
    return Heard(Report(name, f"node-{name}", state, code=code, message="m"), 0, age_s)


def watch() -> tuple[Watch, HandClock]:
    clock = HandClock()
    return Watch(POLICY, clock), clock


READY = heard("ready", State.READY)


def test_replicas_that_start_serve_and_end_are_no_reason_to_stop() -> None:
    subject, _ = watch()
    states = (State.STARTING, State.READY, State.ENDED)
    assert subject.look([heard(state.value, state) for state in states]) is None
    assert subject.look([heard("gone", State.ENDED, age_s=2 * SILENT_S)]) is None


def test_a_halt_that_every_replica_would_meet_stops_the_driver_at_once() -> None:
    subject, _ = watch()
    starting = heard("other", State.STARTING)
    verdict = subject.look([starting, heard("a", State.HALTED, "a.code_of_none")])
    assert verdict is not None
    assert (verdict.exit_code, verdict.code) == (ExitCode.HALTED, "a.code_of_none")


def test_a_fault_of_one_node_waits_for_replicas_that_still_start_elsewhere() -> None:
    subject, _ = watch()
    halted = heard("a", State.HALTED, "endpoints.port_taken")
    assert subject.look([heard("b", State.STARTING), halted]) is None
    verdict = subject.look([halted])
    assert verdict is not None
    assert verdict.exit_code is ExitCode.HALTED


def test_a_halt_beside_a_replica_that_serves_is_one_crash() -> None:
    subject, _ = watch()
    for _ in range(10):
        assert subject.look([READY, heard("a", State.HALTED, "label_set.invalid")]) is None


@pytest.mark.parametrize(
    "lost",
    [
        lambda name: heard(name, State.FAILED, "encode.device"),
        lambda name: heard(name, State.READY, age_s=SILENT_S),
        lambda name: heard(name, State.STARTING, age_s=SILENT_S),
        lambda name: heard(name, State.HALTED, "model.not_found"),
    ],
    ids=["failed", "silent", "silent-at-start", "halted"],
)
def test_replicas_lost_one_after_the_other_are_a_crash_loop(lost) -> None:  # type: ignore[no-untyped-def]
    subject, clock = watch()
    for name in "ab":
        clock.now += 10
        assert subject.look([READY, lost(name)]) is None
    clock.now += 10
    verdict = subject.look([READY, lost("c")])
    assert verdict is not None
    assert verdict.exit_code is ExitCode.CRASH_LOOP
    assert "3 times in 300 s" in verdict.message


def test_crashes_far_apart_are_no_crash_loop() -> None:
    subject, clock = watch()
    for name in "abcdef":
        clock.now += POLICY.crash_window_s
        assert subject.look([READY, heard(name, State.FAILED, "encode.device")]) is None
