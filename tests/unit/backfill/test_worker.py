"""A worker in a thread, with shards that do what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import cast

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.backfill.ledger import Task
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt, Retry, WorkerLost
from pipeline.metrics import BACKFILL_WORKER
from tests.rigs.waiting import eventually
from workers.backfill import worker as module
from workers.backfill.shard import Progress, ShardRunner
from workers.backfill.worker import Assignment, BackfillWorker
from workers.event_loop import EventLoopThread

ROWS = 100


class Shards:
    """Tasks that have outcomes and end when they are told to."""

    def __init__(self, loop: EventLoopThread) -> None:
        self._loop = loop
        self.begun: list[Task] = []
        self.progress: dict[Task, Progress] = {}
        self.cancelled: set[Task] = set()
        self._ends: dict[Task, asyncio.Future[Summary]] = {}

    async def run(self, task: Task, progress: Progress) -> Summary:
        self._ends[task] = asyncio.get_running_loop().create_future()
        progress.rows = ROWS
        self.progress[task] = progress
        self.begun.append(task)
        try:
            return await self._ends[task]
        except asyncio.CancelledError:
            self.cancelled.add(task)
            raise

    def outcomes(self, task: Task, rows: int) -> None:
        self.progress[task].tally.skipped += rows

    def end(self, task: Task, result: Summary | BaseException | None = None) -> None:
        end = self._ends[task]
        if isinstance(result, BaseException):
            self._loop.call_soon(end.set_exception, result)
        else:
            self._loop.call_soon(end.set_result, result or Summary(rows=ROWS))


class Rig:
    def __init__(self, loop: EventLoopThread, pool: ThreadPoolExecutor) -> None:
        self.clock = HandClock()
        self.shards = Shards(loop)
        self.worker = BackfillWorker(
            loop,
            cast("ShardRunner", self.shards),
            lambda: True,
            lambda: 0.0,
            self.clock,
            lambda: "the store: 403",
            MemoryMeter(BACKFILL_WORKER),
        )
        self.run = pool.submit(self.worker.run)

    def begin(self, *tasks: Task) -> None:
        self.worker.tell(Assignment(tasks, ()))
        eventually(lambda: set(tasks) <= set(self.shards.begun))
        eventually(lambda: set(tasks) <= set(self.worker.health().working))

    def hear(self, task: Task) -> None:
        """The driver hears of a task that is done."""
        eventually(lambda: task in [each.task for each in self.worker.health().done])
        self.worker.tell(Assignment((), (task,)))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(module, "CYCLE_S", 0.005)
    loop = EventLoopThread("images")
    with ThreadPoolExecutor(1) as pool, contextlib.closing(loop):
        rig = Rig(loop, pool)
        try:
            yield rig
        finally:
            rig.worker.stop(0.0)
            rig.clock.now += 1.0
            with contextlib.suppress(Exception):
                rig.run.result(10.0)


ONE, TWO = Task(1), Task(2)


def test_a_task_is_told_as_done_until_the_driver_has_heard_it(rig: Rig) -> None:
    rig.begin(ONE, TWO)
    rig.shards.end(ONE)
    eventually(lambda: bool(rig.worker.health().done))
    health = rig.worker.health()
    assert ([each.task for each in health.done], health.working) == ([ONE], (TWO,))
    assert health.trouble == "the store: 403"
    rig.worker.tell(Assignment((), (ONE,)))
    eventually(lambda: not rig.worker.health().done)


def test_a_task_that_is_told_twice_is_begun_once(rig: Rig) -> None:
    rig.begin(ONE)
    rig.worker.tell(Assignment((ONE, TWO), ()))
    eventually(lambda: TWO in rig.shards.begun)
    rig.shards.end(ONE)
    eventually(lambda: bool(rig.worker.health().done))
    rig.worker.tell(Assignment((ONE,), ()))
    rig.worker.tell(Assignment((Task(3),), ()))
    eventually(lambda: Task(3) in rig.shards.begun)
    assert rig.shards.begun == [ONE, TWO, Task(3)]


def test_a_shard_whose_output_fails_is_returned_and_may_be_begun_again(rig: Rig) -> None:
    rig.begin(ONE)
    rig.shards.end(ONE, Retry("output.failed", "503"))
    eventually(lambda: rig.worker.health().working == ())
    assert rig.worker.health().done == ()
    assert rig.worker.health().trouble == "the store: 403; output.failed: 503"
    rig.worker.tell(Assignment((ONE,), ()))
    eventually(lambda: rig.shards.begun == [ONE, ONE])
    rig.shards.end(ONE)
    eventually(lambda: rig.worker.health().trouble == "the store: 403")


def test_rows_are_counted_over_all_tasks(rig: Rig) -> None:
    rig.begin(ONE, TWO)
    rig.shards.outcomes(ONE, 30)
    rig.shards.outcomes(TWO, 4)
    eventually(lambda: rig.worker.health().rows == 34)
    rig.shards.end(ONE)
    eventually(lambda: bool(rig.worker.health().done))
    assert rig.worker.health().rows == 34


@pytest.mark.parametrize(
    "error",
    [Halt("backfill.poison", "x"), WorkerLost("worker.lost", "x"), MemoryError(), OSError(28, "x")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("grouped", [False, True])
def test_what_ends_the_process_ends_the_run(rig: Rig, error: Exception, grouped: bool) -> None:
    rig.begin(ONE, TWO)
    end = ExceptionGroup("tasks", [ExceptionGroup("more", [error])]) if grouped else error
    rig.shards.end(ONE, end)
    with pytest.raises(type(error)) as raised:
        rig.run.result(10.0)
    assert raised.value is error
    eventually(lambda: rig.shards.cancelled == {TWO})


def test_a_worker_without_work_stops_at_once(rig: Rig) -> None:
    rig.worker.stop(3600.0)
    rig.run.result(10.0)
    assert not rig.worker.health().ready


def test_a_stopping_worker_begins_nothing(rig: Rig) -> None:
    rig.begin(ONE)
    rig.shards.outcomes(ONE, ROWS)
    rig.worker.stop(100.0)
    rig.worker.tell(Assignment((TWO,), ()))
    eventually(lambda: not rig.worker.health().ready)
    assert rig.shards.begun == [ONE]
    rig.shards.end(ONE)
    rig.hear(ONE)
    rig.run.result(10.0)


def test_a_worker_waits_a_little_for_its_driver_to_hear_what_is_done(rig: Rig) -> None:
    rig.begin(ONE)
    rig.shards.outcomes(ONE, ROWS)
    rig.worker.stop(100.0)
    rig.shards.end(ONE)
    eventually(lambda: bool(rig.worker.health().done))
    assert not rig.run.done()
    rig.clock.now += module.LINGER_S
    rig.run.result(10.0)
    assert [each.task for each in rig.worker.health().done] == [ONE]


def advance(rig: Rig, seconds: float, rows: int) -> None:
    """Both tasks have outcomes, evenly."""
    for _ in range(int(seconds)):
        after = rig.worker.health().rows + 2 * rows
        for task in (ONE, TWO):
            rig.shards.outcomes(task, rows)
        rig.clock.now += 1.0
        eventually(partial(lambda after: rig.worker.health().rows == after, after))


def test_what_can_be_finished_is_finished_and_the_rest_is_returned_at_once(rig: Rig) -> None:
    rig.begin(ONE, TWO)
    advance(rig, 10, 4)
    rig.shards.outcomes(ONE, 50)
    # 8 rows a second: 10 rows are left of the one and 60 of the other, and 5 s to go.
    rig.worker.stop(5.0)
    eventually(lambda: rig.shards.cancelled == {TWO})
    eventually(lambda: rig.worker.health().working == (ONE,))
    rig.shards.outcomes(ONE, 10)
    rig.shards.end(ONE)
    rig.hear(ONE)
    rig.run.result(10.0)


def test_a_shard_that_waits_only_for_its_commit_has_until_the_deadline(rig: Rig) -> None:
    rig.begin(ONE)
    rig.shards.outcomes(ONE, ROWS)
    rig.worker.stop(5.0)
    rig.clock.now += 4.9
    eventually(lambda: rig.worker.health().working == (ONE,) and not rig.worker.health().ready)
    assert not rig.run.done()
    rig.clock.now += 0.2
    rig.run.result(10.0)
    eventually(lambda: rig.shards.cancelled == {ONE})


def test_a_worker_that_knows_no_pace_returns_everything(rig: Rig) -> None:
    rig.begin(ONE, TWO)
    rig.worker.stop(3600.0)
    rig.run.result(10.0)
    eventually(lambda: rig.shards.cancelled == {ONE, TWO})


def test_the_shorter_of_two_grace_periods_holds(rig: Rig) -> None:
    rig.begin(ONE)
    rig.shards.outcomes(ONE, ROWS)
    rig.worker.stop(3600.0)
    rig.worker.stop(1.0)
    rig.worker.stop(3600.0)
    rig.clock.now += 1.1
    rig.run.result(10.0)


def test_a_loop_that_has_ended_ends_the_worker(rig: Rig) -> None:
    rig.begin(ONE)
    closing = threading.Thread(target=rig.worker._loop.close)
    closing.start()
    with pytest.raises(Halt, match="event loop") as raised:
        rig.run.result(20.0)
    closing.join()
    assert raised.value.code == "worker.loop_died"
