"""A backfill's worker in a Ray actor whose shards take a fixed time and commit nothing."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import cast

from pipeline import metrics
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.backfill.ledger import Task
from pipeline.backfill.summary import Summary
from workers.backfill.pacer import Pacer
from workers.backfill.shard import Progress, ShardRunner
from workers.backfill.wiring import BuiltBackfillWorker
from workers.backfill.worker import BackfillWorker
from workers.event_loop import EventLoopThread
from workers.settings.loading import Settings


class TimedShards:
    """Stands in for ``ShardRunner``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.pacer = Pacer()

    async def run(self, task: Task, progress: Progress) -> Summary:
        progress.rows = 1
        await asyncio.sleep(self._seconds)
        progress.tally.add(None)
        return progress.tally.summary(self._seconds)


def build(seconds: float, settings: Settings, slot: int) -> BuiltBackfillWorker:
    """With its first argument bound, a ``workers.cluster.actors.Build``."""
    owned = ExitStack()
    loop = EventLoopThread("images")
    owned.callback(loop.close)
    worker = BackfillWorker(
        loop,
        cast(ShardRunner, TimedShards(seconds)),
        lambda: True,
        lambda: 0.0,
        SystemClock(),
        lambda: None,
        MemoryMeter(metrics.BACKFILL_WORKER),
    )
    return BuiltBackfillWorker(worker, None, owned)
