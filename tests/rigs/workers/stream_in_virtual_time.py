"""The intake, the commit window and the fetch stage of a stream worker, in virtual time: partitions
with references of known arrival, a scripted store, and how long each took to be committed."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Collection
from dataclasses import dataclass

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.commit.settled import DeadLettered, Settled
from pipeline.commit.window import CommitWindow
from pipeline.errors import Reject
from pipeline.fetch import Attempts, Fetcher, FetchPolicy, Stores
from pipeline.flow import FlowPolicy
from pipeline.metrics import IMAGE_METRICS, STORE_METRICS
from pipeline.priority import PriorityPolicy
from pipeline.records import Epoch, ImageRef, Partition, Position, Record
from pipeline.records.progress import Progress
from pipeline.retry import BreakerPolicy, RetryPolicy
from tests.rigs.stages.fetching import ScriptedStore, store_of
from tests.rigs.virtual_time import LoopClock
from tests.rigs.workers.outcomes import classified, dead_lettered
from workers.stream.intake import Intake

CYCLE_S = 0.05
"""A stream worker's poll waits for so long."""


@dataclass(frozen=True)
class Taken:
    """A reference that was committed."""

    key: str
    partition: Partition
    seconds: float
    code: str | None


class SimulatedWorker:
    """Takes in references, reads their objects and commits them in order, as a stream worker does.
    Decoding and encoding take no time. Objects of the partitions that are ``elsewhere`` are in
    another store."""

    def __init__(
        self, partitions: list[Partition], seed: int = 1, elsewhere: Collection[Partition] = ()
    ) -> None:
        self.random = random.Random(seed)
        self.store, self.other_store = ScriptedStore(), ScriptedStore()
        for store in (self.store, self.other_store):
            store.serve = self._serve  # type: ignore[method-assign]
        stores = [store_of(self.store, lambda bucket: bucket == "images")]
        if elsewhere:
            stores.append(store_of(self.other_store, lambda _: True, name="elsewhere"))
        self._elsewhere = elsewhere
        self.fetcher = Fetcher(
            Attempts(Stores(stores), FetchPolicy(), LoopClock()),
            retry=RetryPolicy(),
            breaker=BreakerPolicy(),
            random=self.random.random,
            meter=MemoryMeter((*IMAGE_METRICS, *STORE_METRICS)),
        )
        self.taken: list[Taken] = []
        self.paused: set[Partition] = set()
        """Partitions that were paused at some time."""
        self._window = CommitWindow("key")
        self._intake = Intake(self._window, FlowPolicy(), PriorityPolicy(), self.fetcher)
        self._logs: dict[Partition, deque[tuple[str, float]]] = {
            each: deque() for each in partitions
        }
        self._ends = dict.fromkeys(partitions, 0)
        self._arrived: dict[Position, tuple[str, float]] = {}
        self._tasks: defaultdict[Partition, set[asyncio.Task[None]]] = defaultdict(set)
        for partition in partitions:
            self._window.assign(partition, Progress(0))

    def send(self, partition: Partition, key: str) -> None:
        self._logs[partition].append((key, _now()))

    def revoke(self, partition: Partition) -> None:
        """The partition goes to another worker, with all that waits in it."""
        self._intake.drop(partition)
        self._window.revoke(partition)
        self._logs[partition].clear()
        for task in self._tasks.pop(partition, set()):
            task.cancel()

    async def run(self, seconds: float) -> None:
        until = _now() + seconds
        while _now() < until:
            self._cycle()
            await asyncio.sleep(CYCLE_S)

    async def close(self) -> None:
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for partition in list(self._logs):
            self.revoke(partition)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.fetcher.close()

    def _cycle(self) -> None:
        owned = self._window.partitions
        full = set(self._intake.full(owned)) if self.fetcher.available else set(owned)
        self.paused |= full
        for partition in owned:
            if partition not in full:
                self._poll(partition)
        for record, epoch in self._intake.ready():
            self._window.expand(record.position, epoch, 1)
            task = asyncio.create_task(self._live(record, epoch))
            group = self._tasks[record.position.partition]
            group.add(task)
            task.add_done_callback(group.discard)
        if self._window.take(10_000, 1 << 30) is not None:
            for settled in self._window.confirm().outcomes:
                position = settled.origin.position
                key, came = self._arrived.pop(position)
                code = settled.letter.code if isinstance(settled, DeadLettered) else None
                self.taken.append(Taken(key, position.partition, _now() - came, code))

    def _poll(self, partition: Partition) -> None:
        log, most = self._logs[partition], max(1, self._intake.most())
        for _ in range(min(most, len(log))):
            key, came = log.popleft()
            position = Position(partition, self._ends[partition])
            self._ends[partition] += 1
            self._arrived[position] = (key, came)
            epoch = self._window.begin(position, _now())
            assert epoch is not None
            self._intake.add(Record(position, 0, key.encode(), b""), epoch)

    async def _live(self, record: Record, epoch: Epoch) -> None:
        position = record.position
        bucket = "elsewhere" if position.partition in self._elsewhere else "images"
        ref = ImageRef(bucket, (record.key or b"").decode(), ("general",))
        settled: Settled = classified(position)
        try:
            async with self.fetcher.fetch(ref, source=position.partition):
                pass
        except Reject as reject:
            settled = dead_lettered(position, reject.code)
        self._window.settle(epoch, settled)

    async def _serve(self) -> bytes:
        await asyncio.sleep(0.02 + 0.06 * self.random.random())
        return b"image"


def _now() -> float:
    return asyncio.get_running_loop().time()
