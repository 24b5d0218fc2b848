"""A tracer that remembers what it is told, and a worker whose stages are real but for store and
decoder."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.stream import MemoryBroker, MemoryStream
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.events import EventContext
from pipeline.metrics import STREAM_WORKER
from pipeline.ports import ImageTrace, Tracer
from pipeline.records import Origin
from tests.rigs.stages.pipeline_of_fakes import FakeEncoder, FakeStages, flow_of, nowhere, rules_of
from tests.rigs.workers.stream_worker import GROUP, TOPIC, TOPIC_ID, WAIT_S, stream_worker
from workers.event_loop import EventLoopThread


class Told(ImageTrace):
    """What one image's trace is told, in order."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.told: list[str] = []

    def enter(self, stage: str) -> None:
        self.told.append(stage)

    def fail(self, code: str) -> None:
        self.told.append(f"failed: {code}")


class TellingTracer(Tracer):
    """Traces every image."""

    def __init__(self) -> None:
        self.begun: list[Told] = []
        self.commits: list[list[Told]] = []
        """The traced images of each commit."""
        self.began_s: list[float] = []

    def begin(self, origin: Origin) -> ImageTrace:
        self.begun.append(Told(origin))
        return self.begun[-1]

    def committed(self, traces: Iterable[ImageTrace], began_s: float) -> None:
        if told := [trace for trace in traces if isinstance(trace, Told)]:
            self.commits.append(told)
            self.began_s.append(began_s)


@contextmanager
def traced_worker(
    broker: MemoryBroker, tracer: Tracer, meter: PrometheusMeter | None = None
) -> Iterator[MemoryStream]:
    """Runs a worker whose images are fetched and decoded by fakes, and batched for real."""
    clock, meter = SystemClock(), meter or PrometheusMeter(STREAM_WORKER)
    encoder = FakeEncoder(nowhere)
    loop = EventLoopThread("images")

    async def batcher() -> Batcher:
        return Batcher(encoder, BatchPolicy(max_size=4, max_wait_s=0.005), clock, meter)

    batching = loop.submit(batcher()).result()
    stream = MemoryStream(broker, GROUP, (TOPIC,), "0")
    worker = stream_worker(
        stream,
        flow_of(FakeStages(nowhere), encoder, batching),
        rules_of(encoder),
        EventContext("c", GROUP, {TOPIC: TOPIC_ID}, "0"),
        loop,
        meter,
        tracer=tracer,
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield stream
    finally:
        worker.stop(WAIT_S)
        thread.join(WAIT_S)
        loop.submit(batching.close()).result(WAIT_S)
        loop.close()
    assert not thread.is_alive()
