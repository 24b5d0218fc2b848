"""A worker whose first process gets stuck in a commit; runs in a Ray actor. The next one works."""

from __future__ import annotations

import os
import random
import threading
from contextlib import ExitStack
from pathlib import Path

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.stream import MemoryBroker, MemoryStream
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.flow import FlowPolicy
from pipeline.metrics import STREAM_WORKER
from pipeline.ports import Commit
from pipeline.priority import PriorityPolicy
from tests.rigs.workers.open_gate import open_gate
from tests.rigs.workers.plenty import Plenty
from tests.rigs.workers.stream_worker import GROUP, TOPIC, TOPIC_ID, MadeUpFlow, rules_of, send
from workers.settings.loading import Settings
from workers.stream.commit_bounds import CommitBounds
from workers.stream.event_loop import EventLoopThread
from workers.stream.wiring import BuiltStreamWorker
from workers.stream.worker import StreamWorker

PROCESSES = "CLIPSTREAM_TEST_PROCESSES"
"""Names the file that each process of the worker adds its id to."""

REFERENCES = 5


class _Stuck(MemoryStream):
    """Its commits never return."""

    def commit(self, commit: Commit) -> None:
        threading.Event().wait()


def build(settings: Settings, slot: int) -> BuiltStreamWorker:
    """Implements ``workers.cluster.actors.Build``: a worker with a topic in memory to read."""
    processes = Path(os.environ[PROCESSES])
    first = not processes.exists()
    with processes.open("a") as file:
        file.write(f"{os.getpid()}\n")
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    for number in range(REFERENCES):
        send(broker, f"key-{number}")
    kind = _Stuck if first else MemoryStream
    loop, clock = EventLoopThread(f"images-{slot}"), SystemClock()
    meter = PrometheusMeter(STREAM_WORKER)
    owned = ExitStack()
    owned.callback(loop.close)
    rules = rules_of("v1", "things")
    worker = StreamWorker(
        kind(broker, GROUP, (TOPIC,), str(slot)),
        MadeUpFlow(),  # type: ignore[arg-type]
        lambda: rules,
        EventBuilder(EventContext("c", GROUP, {TOPIC: TOPIC_ID}, "0"), EventsPolicy()),
        loop,
        supply=Plenty(),
        encode_age_s=lambda: 0.0,
        policy=FlowPolicy(),
        priority=PriorityPolicy(),
        commit_interval_s=0.05,
        bounds=CommitBounds(50, 1 << 24),
        gate=open_gate(clock, meter),
        clock=clock,
        meter=meter,
        rng=random.Random(slot),
    )
    return BuiltStreamWorker(worker, owned)


def build_or_load_forever(settings: Settings, slot: int) -> BuiltStreamWorker:
    """The first slot's worker works; the others' load their model without end."""
    if slot:
        threading.Event().wait()
    return build(settings, slot)
