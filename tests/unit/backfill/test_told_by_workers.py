"""What a worker of a backfill tells its driver and Prometheus."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import cast

from pipeline import metrics
from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.backfill.ledger import Task
from pipeline.backfill.running.manners import Rates
from pipeline.backfill.summary import Summary
from pipeline.records import DeadLetter
from tests.rigs.waiting import eventually
from workers.backfill.shard import Progress, ShardRunner
from workers.backfill.worker import Assignment, BackfillWorker
from workers.event_loop import EventLoopThread

SUMMARY = Summary(
    rows=10, classified=6, failed=3, skipped=1, seconds=42.0, codes={"fetch.denied": 3}
)


class Pacing:
    def __init__(self) -> None:
        self.followed: list[Rates] = []

    def follow(self, rates: Rates) -> None:
        self.followed.append(rates)


class Shards:
    """Stands in for ``ShardRunner``: a task has two outcomes at once, and ends when it may."""

    def __init__(self) -> None:
        self.pacer = Pacing()
        self.may_end = threading.Event()

    async def run(self, task: Task, progress: Progress) -> Summary:
        progress.rows = 10
        progress.tally.add(None)
        progress.tally.add(DeadLetter("fetch.denied", "no", 1))
        await asyncio.to_thread(self.may_end.wait)
        return SUMMARY


class Rig:
    def __init__(self, loop: EventLoopThread) -> None:
        self.shards = Shards()
        self.clock = HandClock(5000.0)
        self.meter = MemoryMeter(metrics.BACKFILL_WORKER)
        self.worker = BackfillWorker(
            loop,
            cast(ShardRunner, self.shards),
            lambda: True,
            lambda: 0.0,
            self.clock,
            lambda: None,
            self.meter,
        )


@contextmanager
def running() -> Iterator[Rig]:
    with closing(EventLoopThread("images")) as loop:
        rig = Rig(loop)
        thread = threading.Thread(target=rig.worker.run)
        thread.start()
        try:
            yield rig
        finally:
            rig.shards.may_end.set()
            rig.worker.stop(5.0)
            # The worker waits for its driver to hear of what is done, by this clock.
            while thread.is_alive():
                rig.clock.now += 60
                thread.join(0.05)


def test_rows_count_once_their_shard_is_finished_by_outcome_and_code() -> None:
    with running() as rig:
        rig.worker.tell(Assignment((Task(3),), ()))
        eventually(lambda: rig.worker.health().rows == 2)
        assert rig.meter.labels(metrics.BACKFILL_ROWS) == []
        assert rig.meter.value(metrics.BACKFILL_LAST_PROGRESS) == 0
        rig.shards.may_end.set()
        eventually(lambda: len(rig.worker.health().done) == 1)
        outcomes = {
            outcome: rig.meter.value(metrics.BACKFILL_ROWS, outcome=outcome)
            for outcome in ("classified", "failed", "skipped")
        }
        assert outcomes == {"classified": 6, "failed": 3, "skipped": 1}
        assert rig.meter.value(metrics.BACKFILL_FAILURES, code="fetch.denied") == 3
        assert rig.meter.values(metrics.BACKFILL_SHARD_SECONDS) == [42.0]
        assert rig.meter.value(metrics.BACKFILL_LAST_PROGRESS) == 5000.0


def test_a_trial_of_some_rows_counts_nothing() -> None:
    with running() as rig:
        rig.worker.tell(Assignment((Task(3, rows=(0, 10), alone=True),), ()))
        rig.shards.may_end.set()
        eventually(lambda: len(rig.worker.health().done) == 1)
        assert rig.meter.labels(metrics.BACKFILL_ROWS) == []
        assert rig.meter.labels(metrics.BACKFILL_FAILURES) == []
        assert rig.meter.values(metrics.BACKFILL_SHARD_SECONDS) == []
        assert rig.meter.value(metrics.BACKFILL_LAST_PROGRESS) == 0


def test_the_driver_hears_how_far_each_shard_is_and_why_rows_failed() -> None:
    with running() as rig:
        rig.worker.tell(Assignment((Task(3), Task(8)), ()))
        eventually(lambda: rig.worker.health().rows == 4)
        rig.clock.now += 30
        eventually(lambda: any(part.seconds == 30 for part in rig.worker.health().parts))
        health = rig.worker.health()
        assert [(part.task.shard, part.done, part.rows) for part in health.parts] == [
            (3, 2, 10),
            (8, 2, 10),
        ]
        assert (health.failed, health.skipped) == (2, 2)
        assert health.codes == {"fetch.denied": 2}
        rig.shards.may_end.set()
        eventually(lambda: len(rig.worker.health().done) == 2)
        assert rig.worker.health().rows == 4, "finished shards count on"
        assert rig.worker.health().codes == {"fetch.denied": 2}


def test_a_share_reaches_the_pacer() -> None:
    with running() as rig:
        rig.worker.tell(Assignment((), (), Rates(12.5, None)))
        rig.worker.tell(Assignment((), ()))
        rig.worker.tell(Assignment((), (), Rates(6.0, 100.0)))
        eventually(lambda: len(rig.shards.pacer.followed) == 2)
        assert rig.shards.pacer.followed == [Rates(12.5, None), Rates(6.0, 100.0)]
