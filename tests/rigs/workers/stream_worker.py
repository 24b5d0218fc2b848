"""A stream worker on the broker in memory: real references and events, a made-up flow."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.stream import MemoryBroker, MemoryStream
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.commit.order import Order
from pipeline.errors import Halt, Retry, WorkerLost
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.flow import Flow, FlowPolicy
from pipeline.metrics import STREAM_WORKER
from pipeline.ports import UNTRACED, ImageTrace, Polled, Stream, Tracer
from pipeline.priority import PriorityPolicy
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageFacts,
    ImageRef,
    LabelSetResult,
    Looked,
    ModelIdentity,
    OutputRecord,
    OutputTopic,
    Partition,
)
from pipeline.records.known import KnownMatch
from pipeline.references import ReferencesPolicy
from pipeline.routes import Router
from pipeline.rules import Scoring
from tests.rigs.workers.open_gate import open_gate
from tests.rigs.workers.plenty import Plenty
from workers.event_loop import EventLoopThread
from workers.instruments import Instruments
from workers.label_sets import Rules
from workers.stream.commit_gate import CommitGate
from workers.stream.intake import Supply
from workers.stream.worker import Classifying, Images, StreamPolicy, StreamWorker

TOPIC = "refs"
GROUP = "g"
WAIT_S = 20.0
MODEL = ModelIdentity("test/model", "r1", 4, 100.0, "fp32", "test")
TOPIC_ID = "6f3bb9a4-6a0c-4d1e-9a5e-0c4d6a9e7a11"


EMBEDDING = np.array([1, 0, 0, 0], dtype="<f4")


class MadeUpScoring:
    """Label sets of one version."""

    def __init__(self, version: str) -> None:
        self.version = version

    def judge(
        self, names: tuple[str, ...], looked: Looked, known: Sequence[KnownMatch] = ()
    ) -> tuple[LabelSetResult, ...]:
        return tuple(LabelSetResult(name, self.version, (), (), "allow") for name in names)

    def unheard(self, names: tuple[str, ...], known: Sequence[KnownMatch]) -> str | None:
        return None

    def unclassified_action(self, names: tuple[str, ...], known: Sequence[KnownMatch] = ()) -> str:
        return "quarantine"


def rules_of(version: str, *label_sets: str, removals: bool = False) -> Rules:
    router = Router((), label_sets, removals=removals)
    return Rules(router, MadeUpScoring(version), dict.fromkeys(label_sets, version))


POLICY = StreamPolicy(
    ReferencesPolicy(),
    FlowPolicy(),
    PriorityPolicy(),
    "key",
    commit_interval_s=0.01,
    max_outcomes_per_commit=50,
    max_bytes_per_commit=1 << 24,
)


def stream_worker(
    stream: Stream,
    flow: Classifying,
    rules: Rules | Callable[[], Rules],
    context: EventContext,
    loop: EventLoopThread,
    meter: PrometheusMeter,
    *,
    supply: Supply | None = None,
    encode_age_s: Callable[[], float] = lambda: 0.0,
    gate: CommitGate | None = None,
    policy: StreamPolicy = POLICY,
    events: EventsPolicy | None = None,
    actions: bool = False,
    tracer: Tracer | None = None,
) -> StreamWorker:
    """A worker on the machine's clock, which nothing holds up unless it is given."""
    clock = SystemClock()
    return StreamWorker(
        stream,
        Images(loop, flow, supply or Plenty(), encode_age_s),
        rules if callable(rules) else lambda: rules,
        EventBuilder(context, events or EventsPolicy(), actions=actions),
        gate or open_gate(clock, meter),
        policy,
        Instruments(clock, meter, random.Random(0), tracer or Tracer()),
    )


class MadeUpFlow:
    """Classifies everything at once, but for keys that say otherwise."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running: set[str] = set()
        self.asked_for: set[tuple[int, Hashable]] = set()
        """Levels and sources of what came."""

    async def classify(
        self,
        ref: ImageRef,
        scoring: Scoring,
        level: int = 0,
        source: Hashable = None,
        trace: ImageTrace = UNTRACED,
    ) -> Classification | DeadLetter:
        self.asked_for.add((level, source))
        self.running.add(ref.key)
        try:
            if ref.key.startswith("slow"):
                await self.gate.wait()
        finally:
            self.running.discard(ref.key)
        if ref.key.startswith("bad"):
            return DeadLetter("decode.corrupt", "broken", 1, ref=ref)
        if ref.key == "document":
            code = "decode.unsupported_format"
            return DeadLetter(code, "no image", 1, ref=ref, format="PDF")
        if ref.key.startswith("exhausted"):
            raise MemoryError("no memory")
        if ref.key.startswith("lost"):
            raise WorkerLost("encode.device_lost", "the device is gone")
        if ref.key.startswith("halt"):
            raise Halt("model.broken", "the device is gone")
        image = ImageFacts("PNG", 2, 2, 1, 0.0)
        looked = Looked(EMBEDDING, MODEL, image, "0" * 64, 1, "strict", "transformers")
        results = scoring.judge(ref.label_sets, looked)
        return Classification(ref, looked, results, "e", None)


class Unreachable(MemoryStream):
    """While ``down``, every poll fails."""

    down = False

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        if self.down:
            raise Retry("memory.down", "no broker answers")
        return super().poll(max_records, timeout_s)


class Running:
    """A worker on its thread, and what it needs."""

    def __init__(
        self,
        broker: MemoryBroker,
        member: str,
        policy: FlowPolicy,
        gate: CommitGate | None = None,
        priority: PriorityPolicy | None = None,
        flow: Flow | None = None,
        rules: Rules | None = None,
        tracer: Tracer | None = None,
        order: Order = "key",
        actions: bool = False,
    ) -> None:
        self.flow = MadeUpFlow()
        self.meter = PrometheusMeter(STREAM_WORKER)
        self.loop = EventLoopThread(f"test-{member}")
        self.supply = Plenty()
        self.encode_age_s = 0.0
        self.rules = rules or rules_of("v1", "things")
        self.failure: BaseException | None = None
        priority = priority or PriorityPolicy()
        topics = (TOPIC, *priority.lower)
        self.stream = Unreachable(broker, GROUP, topics, member)
        context = EventContext("c", GROUP, dict.fromkeys(topics, TOPIC_ID), "0")
        self.worker = stream_worker(
            self.stream,
            flow or self.flow,
            lambda: self.rules,
            context,
            self.loop,
            self.meter,
            supply=self.supply,
            encode_age_s=lambda: self.encode_age_s,
            gate=gate,
            policy=replace(POLICY, flow=policy, priority=priority, order=order),
            tracer=tracer,
            actions=actions,
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            self.failure = error

    def open_gate(self) -> None:
        self.loop.call_soon(self.flow.gate.set)

    def stop(self, grace_s: float = WAIT_S) -> None:
        self.worker.stop(grace_s)
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        self.loop.close()

    def sample(self, name: str, **labels: str) -> float:
        return self.meter.registry.get_sample_value(name, labels) or 0.0


def new_broker(partitions: int = 2) -> MemoryBroker:
    """With the input topic."""
    broker = MemoryBroker()
    broker.create_topic(TOPIC, partitions)
    return broker


@contextmanager
def running(
    broker: MemoryBroker,
    member: str = "0",
    policy: FlowPolicy | None = None,
    gate: CommitGate | None = None,
    priority: PriorityPolicy | None = None,
    flow: Flow | None = None,
    rules: Rules | None = None,
    tracer: Tracer | None = None,
    order: Order = "key",
    actions: bool = False,
) -> Iterator[Running]:
    policy = policy or FlowPolicy()
    worker = Running(
        broker, member, policy, gate, priority, flow, rules, tracer, order, actions=actions
    )
    try:
        yield worker
    finally:
        worker.open_gate()
        worker.stop()


def send(broker: MemoryBroker, *keys: str, partition: int = 0, topic: str = TOPIC) -> None:
    """One record of all the keys."""
    value = json.dumps([{"bucket": "bucket", "key": key} for key in keys]).encode()
    broker.produce(Partition(topic, partition), value, key=b"k", timestamp_ms=1_700_000_000_000)


def visible(broker: MemoryBroker, topic: OutputTopic) -> list[OutputRecord]:
    return [record for record in broker.published if record.topic is topic]


def keys_of(records: list[OutputRecord]) -> list[str]:
    return [json.loads(record.value)["reference"]["key"] for record in records]


def committed(broker: MemoryBroker, partition: int = 0) -> int:
    return broker.committed(GROUP, Partition(TOPIC, partition))
