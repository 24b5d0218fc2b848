"""The process that `overhead` measures: shards of rows whose objects, decoder and model cost
nothing, two at a time. Prints microseconds of CPU a row."""

from __future__ import annotations

import asyncio
import sys
import time

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.backfill.job import Job
from pipeline.backfill.ledger import Task
from pipeline.fetch import Store, Stores
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.metrics import BACKFILL_WORKER
from tests.benchmarks.worker_rig import LABEL_SET
from tests.rigs.backfill.planned import planned
from tests.rigs.stages.at_no_cost import NullDecoder, NullEncoder, NullStore
from workers import decoding
from workers.backfill.shard import Progress, ShardRunner
from workers.backfill.wiring import shard_runner
from workers.backfill.worker import AT_ONCE
from workers.cluster import heap
from workers.settings.loading import Settings
from workers.stages import stages


async def measure(rows: int, shard_rows: int) -> float:
    settings = Settings(label_sets=LabelSetsPolicy(paths=(LABEL_SET,)))
    vars(decoding).update(SandboxedDecoder=NullDecoder)
    folder = MemoryFolder()
    job = planned(folder, "photos", [f"{n % 1000:06}.jpg" for n in range(rows)], shard_rows)
    encoder = NullEncoder()
    store = Store("null", "s3", lambda bucket: True, "nothing", NullStore(None))
    async with stages(settings, encoder, PrometheusMeter(BACKFILL_WORKER), Stores([store])) as path:
        runner = await asyncio.to_thread(shard_runner, settings, encoder.model, path, folder, job)
        await runner.run(Task(0), Progress())  # warm
        heap.freeze()
        began = time.process_time()
        done = await _all(runner, job)
        return 1e6 * (time.process_time() - began) / done


async def _all(runner: ShardRunner, job: Job) -> int:
    shards = iter(range(1, job.shards))
    rows = 0

    async def lane() -> None:
        nonlocal rows
        for shard in shards:
            ran = await runner.run(Task(shard), Progress())
            # Not in one line: the sum would be of the rows before the wait.
            rows += ran.rows

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    return rows


if __name__ == "__main__":
    print(asyncio.run(measure(int(sys.argv[1]), int(sys.argv[2]))))
