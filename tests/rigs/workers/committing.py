"""The parts of a stream worker that commit, turned by hand on a simulated clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.adapters.memory.stream import MemoryBroker, MemoryStream
from pipeline.commit.budget import BudgetPolicy, FailureBudget
from pipeline.commit.order import Order
from pipeline.commit.settled import Settled
from pipeline.commit.window import CommitWindow
from pipeline.errors import CommitDoubtful
from pipeline.metrics import PREFIX, STREAM_WORKER
from pipeline.ports import Assigned, Commit, Tracer
from pipeline.records import (
    DeadLetter,
    Epoch,
    Origin,
    Outcome,
    OutputRecord,
    Partition,
    Position,
    Record,
)
from pipeline.records.progress import Progress
from tests.rigs.workers.open_gate import open_gate
from tests.rigs.workers.outcomes import classified, dead_lettered
from tests.rigs.workers.scripted_trials import ScriptedTrials
from workers.instruments import Instruments
from workers.stream.commit_bounds import CommitBounds
from workers.stream.commit_gate import CommitGate
from workers.stream.committing import Committer
from workers.stream.gauges import Gauges

TOPIC, GROUP = "refs", "g"
PARTITION = Partition(TOPIC, 0)
WINDOW = 10
BYTES = 100
"""Size of an outcome."""
BY_NAME = {metric.name: metric for metric in STREAM_WORKER}


class NothingToPublish:
    """Nothing here is ever too large."""

    def records(
        self, origin: Origin, outcome: Outcome, record: Record | None = None
    ) -> tuple[OutputRecord, ...]:
        raise NotImplementedError

    def shrink(
        self, origin: Origin, letter: DeadLetter, record: Record | None = None
    ) -> tuple[OutputRecord, ...]:
        raise NotImplementedError


class SlowLink(MemoryStream):
    """Loses every commit of more than ``most_bytes``, and notes the size of each. ``down``: no
    producer can be built either."""

    most_bytes = 1_000_000
    down = False

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker, GROUP, (TOPIC,), "0")
        self.broker = broker
        self.tried: list[int] = []

    def commit(self, commit: Commit) -> None:
        size_bytes = sum(record.size_bytes for record in commit.records)
        self.tried.append(len(commit.records))
        if size_bytes > self.most_bytes:
            self.broker.commit_faults.append("lost")
        super().commit(commit)

    def recover(self) -> Mapping[Partition, Progress | None]:
        if self.down:
            raise CommitDoubtful("memory.down", "no broker answers")
        return super().recover()


class Worker:
    """The parts of a worker that commit, turned by hand."""

    def __init__(
        self,
        max_outcomes: int = 64,
        max_bytes: int = 1_000_000,
        *,
        broker: MemoryBroker | None = None,
        gate: Callable[[HandClock, MemoryMeter], CommitGate] = open_gate,
        tracer: Tracer | None = None,
        order: Order = "key",
    ) -> None:
        """``broker``: that of a worker before this one."""
        if broker is None:
            broker = MemoryBroker()
            broker.create_topic(TOPIC, 1)
        self.broker = broker
        self.clock = HandClock()
        self.meter = MemoryMeter(STREAM_WORKER)
        self.window = CommitWindow(order)
        self.stream = SlowLink(broker)
        self.committer = Committer(
            self.stream,
            self.window,
            NothingToPublish(),
            gate(self.clock, self.meter),
            CommitBounds(max_outcomes, max_bytes),
            0.25,
            Instruments(self.clock, self.meter, random.Random(0), tracer or Tracer()),
        )
        self.gauges = Gauges(
            self.stream, self.window, self.committer, clock=self.clock, meter=self.meter
        )

    def finish(self, count: int, code: str = "") -> None:
        """As many records of one finished reference each; with a code they are dead letters."""
        for _ in range(count):
            self.broker.produce(PARTITION, b"{}")
        for position, epoch in self._poll(count):
            self.window.settle(epoch, outcome(position, BYTES, code))

    def begin(self) -> None:
        """A record whose reference waits for its image."""
        self.broker.produce(PARTITION, b"{}")
        self._poll(1)

    def _poll(self, count: int) -> list[tuple[Position, Epoch]]:
        polled = self.stream.poll(count, 0.0)
        for change in polled.changes:
            assert isinstance(change, Assigned)
            self.window.assign(change.partition, change.progress)
        begun = []
        for record in polled.records:
            epoch = self.window.begin(record.position, self.clock.now)
            assert epoch is not None
            self.window.expand(record.position, epoch, 1)
            begun.append((record.position, epoch))
        return begun

    def cycle(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.now += 0.3
            if self.stream.can_commit:
                self.committer.commit_when_due()
            else:
                self.committer.recover()
            self.gauges.update_when_due()

    def able(self) -> bool:
        return self.committer.able

    def sample(self, name: str, **labels: str) -> float:
        value = self.meter.value(BY_NAME[PREFIX + name], **labels)
        assert value is not None
        return value


def outcome(position: Position, size_bytes: int, code: str = "") -> Settled:
    payload = b"x" * size_bytes
    return dead_lettered(position, code, payload) if code else classified(position, payload)


def judged(clock: HandClock, meter: MemoryMeter) -> CommitGate:
    """A gate with a budget of its usual strictness, and a small window."""
    return CommitGate(
        FailureBudget(BudgetPolicy(window=WINDOW)), 5.0, ScriptedTrials(), clock=clock, meter=meter
    )
