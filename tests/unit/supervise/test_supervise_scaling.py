"""Workers that the supervisor adds and removes, on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.rigs.workers.supervisor import Stage, Worker, health
from workers.supervise.slot import KILL_MARGIN_S, Ended, Fate
from workers.supervise.supervisor import ExitCode


class Queue(Stage):
    """A stage whose workers share eight partitions of a queue: each commits ten records a second
    while there is lag, which does not change by itself."""

    def __init__(self, **policy: float) -> None:
        super().__init__(**({"count": 1, "max_count": 2, "max_crashes": 2} | policy))
        self.removing_s = None
        self.lag = 0
        self.passed = 0.0
        self.wanted: list[tuple[float, int]] = []
        self._at = self.clock.now
        self.each_tick = self._work

    def _work(self) -> None:
        now = self.clock.now
        latest = {slot: worker for _, slot, worker in self.started}
        working = [each for each in latest.values() if each.end is None and each.answer]
        self.passed += len(working) * 10.0 * (now - self._at) * bool(self.lag)
        self._at = now
        for index, worker in enumerate(working):
            worker.answer = health(
                partitions=8 // len(working),
                lag=self.lag if index == 0 else 0,
                passed=round(self.passed) if index == 0 else 0,
                committed=100,
                idle_s=0.0 if self.lag else 99.0,
            )
        if not self.wanted or self.wanted[-1][1] != self.supervisor.workers:
            self.wanted.append((now - 1000.0, self.supervisor.workers))

    def set_lag(self, lag: int) -> Callable[[], None]:
        return lambda: setattr(self, "lag", lag)

    def prepare_added(self, **attributes: object) -> None:
        """Of the workers that are added."""

        def prepare(worker: Worker) -> None:
            if self.started:
                for name, value in attributes.items():
                    setattr(worker, name, value)

        self.prepare = prepare


def test_a_backlog_adds_a_worker_and_its_end_removes_it_and_its_member() -> None:
    queue = Queue(grace_s=20)
    queue.at = [(60, queue.set_lag(50_000)), (300, queue.set_lag(0))]
    queue.at.append((800, queue.supervisor.request_stop))
    assert queue.run() is ExitCode.OK
    assert [number for _, number in queue.wanted] == [1, 2, 1]
    assert [slot for _, slot, _ in queue.started] == [0, 1]
    assert queue.worker(1).stops == [20.0], "it is asked once, and not again when all stop"
    assert [each.slot for each in queue.dismissed] == [1]
    assert queue.supervisor.committed == 200
    assert not queue.worker(1).killed


def test_a_fixed_number_stays_whatever_the_lag() -> None:
    stage = Stage(count=1)
    stage.prepare = lambda worker: setattr(worker, "answer", health(lag=1_000_000, passed=5))
    stage.at = [(900, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert len(stage.started) == 1


def test_a_worker_that_is_needed_again_starts_when_its_member_has_left() -> None:
    """The member would be removed after it has joined again otherwise."""
    queue = Queue()
    queue.at = [
        (60, queue.set_lag(50_000)),
        (300, queue.set_lag(0)),
        (700, queue.set_lag(50_000)),
        (800, lambda: starts.append(len(queue.started))),
        (800, lambda: queue.dismissed[0].done.set_result(None)),
        (900, lambda: starts.append(len(queue.started))),
        (900, queue.supervisor.request_stop),
    ]
    starts: list[int] = []
    assert queue.run() is ExitCode.OK
    assert [slot for _, slot, _ in queue.started] == [0, 1, 1]
    assert starts == [2, 3]
    assert len(queue.dismissed) == 1


def test_a_removal_that_fails_unforeseen_is_not_passed_over() -> None:
    queue = Queue()
    queue.at = [
        (60, queue.set_lag(50_000)),
        (300, queue.set_lag(0)),
        (800, lambda: queue.dismissed[0].done.set_exception(ZeroDivisionError())),
    ]
    with pytest.raises(ZeroDivisionError):
        queue.run()


def test_a_removed_worker_that_does_not_end_is_killed_and_nothing_else_happens() -> None:
    queue = Queue(grace_s=10)
    queue.prepare_added(last=None)
    queue.at = [(60, queue.set_lag(50_000)), (300, queue.set_lag(0))]
    queue.at.append((1000, queue.supervisor.request_stop))
    assert queue.run() is ExitCode.OK
    assert queue.worker(1).killed
    assert len(queue.dismissed) == 1
    dismissed_at = queue.dismissed[0].at
    removed_at = queue.wanted[-1][0]
    assert removed_at + 10 + KILL_MARGIN_S <= dismissed_at < removed_at + 10 + KILL_MARGIN_S + 2


def test_a_removed_worker_that_dies_is_not_started_again_and_no_crash_loop() -> None:
    queue = Queue(max_crashes=1)
    queue.prepare_added(last=Ended(Fate.DIED, "worker.died", "boom"))
    queue.at = [(60, queue.set_lag(50_000)), (300, queue.set_lag(0))]
    queue.at.append((800, queue.supervisor.request_stop))
    assert queue.run() is ExitCode.OK
    assert len(queue.started) == 2
    assert len(queue.dismissed) == 1


def test_a_removed_worker_that_halts_stops_all() -> None:
    queue = Queue()
    queue.prepare_added(last=Ended(Fate.HALTED, "kafka.fenced", "why"))
    queue.at = [(60, queue.set_lag(50_000)), (300, queue.set_lag(0))]
    assert queue.run() is ExitCode.HALTED
    assert queue.worker(0).stops


def test_a_worker_that_died_leaves_the_number_as_it_is() -> None:
    queue = Queue(max_count=8)
    queue.prepare_added(answer=None)
    queue.at = [(60, queue.set_lag(50_000)), (500, queue.supervisor.request_stop)]
    assert queue.run() is ExitCode.OK
    assert [number for _, number in queue.wanted] == [1, 2], "the second never starts"


def test_a_driver_is_ready_while_an_added_worker_starts() -> None:
    queue = Queue()
    queue.prepare_added(answer=None)
    ready: list[bool] = []
    queue.at = [
        (60, queue.set_lag(50_000)),
        (200, lambda: ready.append(queue.ready)),
        (201, queue.supervisor.request_stop),
    ]
    assert queue.run() is ExitCode.OK
    assert len(queue.started) == 2
    assert ready == [True]


def test_added_workers_that_find_no_room_are_given_up() -> None:
    queue = Queue(start_timeout_s=100, max_crashes=1)
    queue.prepare_added(answer=None)
    queue.at = [(60, queue.set_lag(50_000)), (500, queue.supervisor.request_stop)]
    assert queue.run() is ExitCode.OK
    assert [number for _, number in queue.wanted] == [1, 2, 1]


def test_a_job_adds_workers_and_ends_with_all_of_them() -> None:
    queue = Queue()
    queue.lag = 1
    queue.at = [(60, queue.set_lag(50_000)), (300, queue.set_lag(1)), (1000, queue.set_lag(0))]
    assert queue.run(until_idle_s=50.0) is ExitCode.OK
    assert [number for _, number in queue.wanted] == [1, 2]
    assert queue.dismissed == []


def test_a_job_gives_up_on_workers_that_find_no_room() -> None:
    queue = Queue(start_timeout_s=100)
    queue.lag = 1
    queue.prepare_added(answer=None)
    queue.at = [
        (60, queue.set_lag(50_000)),
        (300, lambda: queue.dismissed[0].done.set_result(None)),
    ]
    queue.at.append((400, queue.set_lag(0)))
    assert queue.run(until_idle_s=50.0) is ExitCode.OK
    assert [number for _, number in queue.wanted] == [1, 2, 1]


def test_an_empty_place_neither_blocks_scaling_nor_counts_for_a_worker() -> None:
    """Of two places one cannot be filled: the third is used when the load asks for two workers."""
    queue = Queue(count=2, max_count=4)
    halted = Ended(Fate.HALTED, "s3.no_credentials", "why")
    queue.prepare = lambda worker: setattr(worker, "end", halted if worker.slot == 1 else None)
    queue.at = [(60, queue.set_lag(50_000)), (160, queue.supervisor.request_stop)]
    assert queue.run() is ExitCode.OK
    assert [number for _, number in queue.wanted][:2] == [2, 3]
    assert {slot for _, slot, _ in queue.started} >= {0, 1, 2}
