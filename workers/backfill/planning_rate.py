"""How fast this machine classifies objects of a plan, measured on some of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from pipeline import metrics
from pipeline.adapters.clip.watched import WatchedEncoder
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.cutting import Rows, taken_rows
from pipeline.adapters.parquet.plan import plan_bytes
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.backfill import layout
from pipeline.backfill.job import Job
from pipeline.backfill.ledger import Task
from pipeline.ports import Encoder
from workers.backfill.shard import Progress
from workers.backfill.wiring import CLOSE_S, START_S, shard_runner
from workers.event_loop import EventLoopThread
from workers.settings.loading import Settings
from workers.stages import load_encoder, stages

_WARM_UP_SHARE = 4
"""One part of so many of the rows is classified before the clock starts."""


class Sampled:
    """Some rows of a plan, each as likely as any other, whatever the plan's size."""

    def __init__(self, wanted: int, seed: int = 0) -> None:
        self._wanted = wanted
        self._random = np.random.default_rng(seed)
        self._places = np.empty(0)
        self.rows: Rows | None = None

    def add(self, rows: Rows) -> None:
        places = self._random.random(rows.num_rows)
        mine = np.concatenate([self._places, places])
        kept = np.sort(np.argsort(mine)[: self._wanted])
        self._places = mine[kept]
        if len(kept) and kept[-1] >= len(mine) - len(places):
            self.rows = taken_rows(self.rows, rows, kept.tolist())


def measured_rate(
    settings: Settings,
    job: Job,
    sampled: Rows,
    load: Callable[[Settings], Encoder] = load_encoder,
) -> float:
    """Rows a second of one worker on this machine. Reads the objects; writes nothing anywhere.

    Raises:
        Halt: a person must act.
    """
    warm_up = sampled.num_rows // _WARM_UP_SHARE
    folder = MemoryFolder()
    for shard, rows in enumerate((sampled.slice(0, warm_up), sampled.slice(warm_up))):
        folder.write(layout.plan_file(job.attempt, shard), plan_bytes(rows))
    with ExitStack() as owned:
        encoder = WatchedEncoder(load(settings), SystemClock())
        loop = EventLoopThread("rate")
        owned.callback(loop.close)
        meter = PrometheusMeter(metrics.BACKFILL_WORKER)
        path = owned.enter_context(loop.holding(stages(settings, encoder, meter), START_S, CLOSE_S))
        run = shard_runner(settings, encoder.model, path, folder, job)
        loop.submit(run.run(Task(0), Progress())).result()
        summary = loop.submit(run.run(Task(1), Progress())).result()
        return summary.rows / summary.seconds
    raise AssertionError("unreachable: nothing owned here suppresses exceptions")
