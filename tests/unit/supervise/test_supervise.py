"""The supervisor on a simulated clock, with workers that do what the test says."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.rigs.workers.supervisor import Stage, Worker, health
from workers.health import Health
from workers.supervise.slot import COMMIT_STALLS, FRESH_S, KILL_MARGIN_S, RESTARTS, Ended, Fate
from workers.supervise.supervisor import ExitCode


def test_a_requested_stop_drains_every_worker_and_exits_clean() -> None:
    stage = Stage(grace_s=30)
    stage.at = [(5, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert [worker.stops for _, _, worker in stage.started] == [[30.0], [30.0]]


def test_a_worker_that_died_is_started_again_in_its_slot() -> None:
    stage = Stage()
    died = Ended(Fate.DIED, "worker.died", "killed by signal 9")
    stage.at = [
        (10, lambda: setattr(stage.worker(1), "end", died)),
        (60, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert [slot for _, slot, _ in stage.started] == [0, 1, 1]


def test_restarts_wait_longer_and_a_crash_loop_stops_the_driver() -> None:
    stage = Stage(count=1, max_crashes=4, crash_window_s=600)
    stage.prepare = lambda worker: setattr(worker, "end", Ended(Fate.DIED, "worker.died", "boom"))
    assert stage.run() is ExitCode.CRASH_LOOP
    assert len(stage.started) == 4


def test_crashes_far_apart_are_no_crash_loop() -> None:
    stage = Stage(count=1, max_crashes=2, crash_window_s=10)
    died = Ended(Fate.DIED, "worker.died", "boom")

    def crash(index: int) -> Callable[[], None]:
        return lambda: setattr(stage.worker(index), "end", died)

    stage.at = [(100.0 * (index + 1), crash(index)) for index in range(4)]
    stage.at.append((500, stage.supervisor.request_stop))
    assert stage.run() is ExitCode.OK
    assert len(stage.started) == 5


def test_an_unreachable_broker_is_waited_for_and_no_crash_loop() -> None:
    stage = Stage(count=1, max_crashes=2)
    gone = Ended(Fate.UNAVAILABLE, "kafka.unavailable", "no broker answers")
    stage.prepare = lambda worker: setattr(worker, "end", gone)
    stage.at = [(900, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert len(stage.started) > 5


def test_a_halted_worker_stops_all_and_its_exit_code_says_so() -> None:
    stage = Stage()
    halted = Ended(Fate.HALTED, "kafka.offset_out_of_range", "records are gone")
    stage.at = [(5, lambda: setattr(stage.worker(0), "end", halted))]
    assert stage.run() is ExitCode.HALTED
    assert stage.worker(1).stops
    assert len(stage.started) == 2


def test_a_worker_whose_kafka_thread_is_stuck_is_killed_and_replaced() -> None:
    stage = Stage(count=1, stall_timeout_s=120)
    stage.at = [
        (5, lambda: setattr(stage.worker(0), "answer", health(cycle_age_s=121.0))),
        (60, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert stage.worker(0).killed
    assert len(stage.started) == 2


def test_a_worker_whose_device_hangs_is_killed_and_replaced() -> None:
    stage = Stage(count=1, stall_timeout_s=120)
    stage.at = [
        (5, lambda: setattr(stage.worker(0), "answer", health(encode_age_s=119.0))),
        (6, lambda: killed.append(stage.worker(0).killed)),
        (7, lambda: setattr(stage.worker(0), "answer", health(encode_age_s=121.0))),
        (60, stage.supervisor.request_stop),
    ]
    killed: list[bool] = []
    assert stage.run() is ExitCode.OK
    assert killed == [False]
    assert stage.worker(0).killed
    assert len(stage.started) == 2


def failing_commits(committed: int) -> Health:
    return health(commit_age_s=COMMIT_STALLS * 120.0 + 1, committed=committed, available=False)


def test_a_worker_whose_commits_fail_while_the_group_answers_is_replaced() -> None:
    stage = Stage(count=1, stall_timeout_s=120, max_crashes=1)
    late = health(commit_age_s=COMMIT_STALLS * 120.0 - 1, committed=7)
    stage.at = [
        (5, lambda: setattr(stage.worker(0), "answer", late)),
        (6, lambda: killed.append(stage.worker(0).killed)),
        (7, lambda: setattr(stage.worker(0), "answer", failing_commits(7))),
        (60, stage.supervisor.request_stop),
    ]
    killed: list[bool] = []
    # One crash would end the driver: this is none.
    assert stage.run() is ExitCode.OK
    assert killed == [False]
    assert stage.worker(0).killed
    assert len(stage.started) == 2


def test_a_worker_is_replaced_once_for_commits_that_fail_on_and_on() -> None:
    """Too few replicas, a partition without a leader: no process can mend that."""
    stage = Stage(count=1, stall_timeout_s=120)
    stage.prepare = lambda worker: setattr(worker, "answer", failing_commits(0))
    stage.at = [
        (3000, lambda: starts.append(len(stage.started))),
        # It could commit after all, and then no more.
        (3001, lambda: setattr(stage.worker(1), "answer", failing_commits(5))),
        (6000, lambda: starts.append(len(stage.started))),
        (6001, stage.supervisor.request_stop),
    ]
    starts: list[int] = []
    assert stage.run(give_up_after_s=7000) is ExitCode.OK
    assert starts == [2, 3]


def test_a_worker_that_stops_answering_is_killed_and_replaced() -> None:
    stage = Stage(count=1, stall_timeout_s=120)
    stage.at = [
        (5, lambda: setattr(stage.worker(0), "frozen", True)),
        (115, lambda: killed.append(stage.worker(0).killed)),
        (140, stage.supervisor.request_stop),
    ]
    killed: list[bool] = []
    assert stage.run() is ExitCode.OK
    assert killed == [False]
    assert stage.worker(0).killed
    assert len(stage.started) == 2


def test_a_silent_worker_is_not_ready_until_it_answers_again() -> None:
    stage = Stage(count=1)
    ready: list[bool] = []

    def note() -> None:
        ready.append(stage.ready)

    stage.at = [
        (4, note),
        (5, lambda: setattr(stage.worker(0), "frozen", True)),
        (5 + FRESH_S + 1, note),
        (30, lambda: setattr(stage.worker(0), "frozen", False)),
        (31, note),
        (32, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert ready == [True, False, True]


def test_a_silent_worker_has_not_proven_itself() -> None:
    """Each start answers once and freezes: restarts wait longer and longer."""
    stage = Stage(count=1, stall_timeout_s=90, max_crashes=1000)

    def prepare(worker: Worker) -> None:
        worker.health()
        worker.frozen = True

    stage.prepare = prepare
    stage.at = [(3000, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    starts = [at for at, _, _ in stage.started]
    assert max(b - a for a, b in itertools.pairwise(starts)) > 90 + RESTARTS.longest_wait_s / 3


def test_a_driver_that_was_stopped_does_not_blame_its_workers() -> None:
    stage = Stage(count=1, stall_timeout_s=120)

    def stop_the_driver() -> None:
        stage.clock.now += 300
        stage.worker(0).frozen = True

    stage.at = [
        (5, stop_the_driver),
        (307, lambda: setattr(stage.worker(0), "frozen", False)),
        (310, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert len(stage.started) == 1
    assert not stage.worker(0).killed


def test_a_silent_worker_is_not_idle() -> None:
    stage = Stage(count=2)
    idle = health(idle_s=99.0)
    stage.prepare = lambda worker: setattr(worker, "answer", health(idle_s=0.0))
    stage.at = [
        (1, lambda: setattr(stage.worker(0), "answer", idle)),
        (2, lambda: setattr(stage.worker(0), "frozen", True)),
        (FRESH_S + 5, lambda: setattr(stage.worker(1), "answer", idle)),
        (FRESH_S + 20, lambda: setattr(stage.worker(0), "frozen", False)),
    ]
    assert stage.run(until_idle_s=3.0) is ExitCode.OK
    assert stage.clock.now >= 1000.0 + FRESH_S + 20


def test_a_worker_that_never_joins_is_killed_and_replaced() -> None:
    stage = Stage(count=1, start_timeout_s=50)
    stage.prepare = lambda worker: setattr(worker, "answer", None)
    stage.at = [(70, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert stage.worker(0).killed


def test_a_worker_that_ignores_its_grace_period_is_killed() -> None:
    stage = Stage(count=1, grace_s=10)
    stage.prepare = lambda worker: setattr(worker, "last", None)
    stage.at = [(1, stage.supervisor.request_stop)]
    assert stage.run(give_up_after_s=10 + KILL_MARGIN_S + 5) is ExitCode.UNCLEAN_STOP
    assert stage.worker(0).killed


def test_idle_ends_only_when_every_worker_has_nothing_left() -> None:
    stage = Stage()
    stage.prepare = lambda worker: setattr(worker, "answer", health(idle_s=100.0, unfinished=1))
    stage.at = [
        (5, lambda: setattr(stage.worker(0), "answer", health(idle_s=100.0))),
        (20, lambda: setattr(stage.worker(1), "answer", health(idle_s=100.0))),
    ]
    assert stage.run(until_idle_s=3.0) is ExitCode.OK
    assert stage.clock.now >= 1020.0


@pytest.mark.parametrize("busy", [{"lag": 3}, {"lag": None}, {"idle_s": 1.0}, {"partitions": 0}])
def test_a_worker_with_lag_or_without_partitions_is_not_idle(busy: dict[str, object]) -> None:
    stage = Stage(count=1)
    stage.prepare = lambda worker: setattr(worker, "answer", health(**({"idle_s": 99.0} | busy)))
    stage.at = [
        (30, lambda: setattr(stage.worker(0), "answer", health(idle_s=99.0))),
    ]
    assert stage.run(until_idle_s=3.0) is ExitCode.OK
    assert stage.clock.now >= 1030.0


def test_committed_counts_survive_a_restart() -> None:
    stage = Stage(count=1)
    died = Ended(Fate.DIED, "worker.died", "boom")
    stage.prepare = lambda worker: setattr(worker, "answer", health(committed=10))
    stage.at = [
        (10, lambda: setattr(stage.worker(0), "end", died)),
        (60, lambda: counts.append(stage.supervisor.committed)),
        (60, stage.supervisor.request_stop),
    ]
    counts: list[int] = []
    assert stage.run() is ExitCode.OK
    assert counts == [20]


def test_a_driver_whose_broker_is_away_is_not_ready() -> None:
    stage = Stage(count=1)
    gone = Ended(Fate.UNAVAILABLE, "kafka.unavailable", "no broker answers")
    stage.prepare = lambda worker: setattr(worker, "end", gone)
    ready: list[bool] = []
    stage.at = [(at, lambda: ready.append(stage.ready)) for at in range(1, 100)]
    stage.at.append((100, stage.supervisor.request_stop))
    assert stage.run() is ExitCode.OK
    assert set(ready) == {False}
