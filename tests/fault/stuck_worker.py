"""A worker whose first process gets stuck in a commit; runs in a Ray actor. The next one works."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path

from pipeline.adapters.memory.stream import MemoryBroker, MemoryStream
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.events import EventContext
from pipeline.metrics import STREAM_WORKER
from pipeline.ports import Commit
from tests.rigs.workers.stream_worker import (
    GROUP,
    TOPIC,
    TOPIC_ID,
    MadeUpFlow,
    rules_of,
    send,
    stream_worker,
)
from workers.event_loop import EventLoopThread
from workers.settings.loading import Settings
from workers.stream.wiring import BuiltStreamWorker

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
    loop = EventLoopThread(f"images-{slot}")
    owned = ExitStack()
    owned.callback(loop.close)
    worker = stream_worker(
        kind(broker, GROUP, (TOPIC,), str(slot)),
        MadeUpFlow(),
        rules_of("v1", "things"),
        EventContext("c", GROUP, {TOPIC: TOPIC_ID}, "0"),
        loop,
        PrometheusMeter(STREAM_WORKER),
    )
    return BuiltStreamWorker(worker, None, owned)


def build_or_load_forever(settings: Settings, slot: int) -> BuiltStreamWorker:
    """The first slot's worker works; the others' load their model without end."""
    if slot:
        threading.Event().wait()
    return build(settings, slot)
