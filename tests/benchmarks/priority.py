"""`make priority`: the latency of live traffic, alone and beside a backfill that never ends.

Real Kafka and the real stream worker; the encoder takes a fixed time for a batch, as a device does,
and fetch and decode cost nothing. Latency is from the record's timestamp until a read_committed
consumer has the outcome.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Hashable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member, TopicNames
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.events import EventContext, EventsPolicy
from pipeline.flow import Flow
from pipeline.look import Look
from pipeline.metrics import STREAM_WORKER
from pipeline.priority import PriorityPolicy, Turns
from pipeline.records import (
    DecodedImage,
    ImageFacts,
    ImageGeometry,
    ImageRef,
    ObjectBody,
    OutputTopic,
    Pixels,
    Vector,
)
from tests.rigs.checkout import commit
from tests.rigs.root import RESULTS
from tests.rigs.services.kafka_deployment import retrying
from tests.rigs.stages.pipeline_of_fakes import rules_of
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import POLICY, stream_worker
from workers.embedded.kafka import EmbeddedKafka
from workers.event_loop import EventLoopThread
from workers.stream.worker import StreamWorker

RESULT = RESULTS / "priority.json"

BATCH = 16
BATCH_S = 0.05
CAPACITY = BATCH / BATCH_S
LIVE_RATE = CAPACITY / 4
"""References a second, at random moments."""
PARTITIONS = 2
COMMIT_INTERVAL_S = 0.1
MIN_SHARE = 0.05
DECODERS = 4
READY_S = 30.0
STOP_S = 10.0


class FixedTimeEncoder(MemoryEncoder):
    """Takes the same time for every batch, however full."""

    def __init__(self) -> None:
        super().__init__(dimension=16, crop=8)

    def encode_images(self, pixels: Pixels) -> Vector:
        time.sleep(BATCH_S)
        return super().encode_images(pixels)


class FreeStages:
    """Fetch and decode at no cost, so many at a time."""

    def __init__(self) -> None:
        self._turns = Turns(DECODERS, MIN_SHARE)

    @contextlib.asynccontextmanager
    async def fetch(
        self, ref: ImageRef, level: int = 0, source: Hashable = None
    ) -> AsyncIterator[ObjectBody]:
        yield ObjectBody(b"image", "e", None)

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = 0,
    ) -> DecodedImage:
        await self._turns.acquire(level)
        self._turns.release()
        pixels = np.zeros((geometry.crop, geometry.crop, 3), np.uint8)
        return DecodedImage(pixels, ImageFacts("PNG", geometry.crop, geometry.crop, 1, 0.0))

    async def close(self) -> None: ...


class Bench:
    """Topics of their own, a worker, and a consumer of what becomes visible."""

    def __init__(self, bootstrap: str) -> None:
        name = f"p{uuid.uuid4().hex[:8]}"
        self.live, self.backfill = f"{name}.live", f"{name}.backfill"
        outputs = TopicNames(**{role.value: f"{name}.{role.value}" for role in OutputTopic})
        self.kafka = KafkaPolicy(
            bootstrap_servers=(bootstrap,),
            group=name,
            input_topics=(self.live, self.backfill),
            output_topics=outputs,
        )
        self._closing = contextlib.ExitStack()
        with KafkaAdmin(self.kafka) as admin:
            topics = [*self.kafka.input_topics, *(outputs.name(role) for role in OutputTopic)]
            admin.create_topics({topic: {} for topic in topics}, PARTITIONS, 1)
            self.facts = admin.facts()
            retrying(lambda: admin.initialise_group(self.facts, "earliest"))
        self.latencies: list[tuple[str, float, float]] = []
        """Topic, moment of the record and seconds until its outcome was seen."""
        self._seeing = threading.Event()
        self._seeing.set()

    def __enter__(self) -> Bench:
        reader = threading.Thread(target=self._see)
        reader.start()
        self._closing.callback(reader.join)
        self._closing.callback(self._seeing.clear)
        self._worker = self._build()
        thread = threading.Thread(target=self._worker.run)
        thread.start()
        self._closing.callback(thread.join)
        self._closing.callback(self._worker.stop, STOP_S)
        self.live_producer = self._closing.enter_context(ReferenceProducer(self.kafka, self.live))
        eventually(lambda: self._worker.health().partitions == 2 * PARTITIONS, READY_S)
        return self

    def __exit__(self, *raised: object) -> None:
        self._closing.close()

    def _build(self) -> StreamWorker:
        encoder, clock, meter = FixedTimeEncoder(), SystemClock(), PrometheusMeter(STREAM_WORKER)
        loop = EventLoopThread("images")
        self._closing.callback(loop.close)
        stages = FreeStages()

        async def flow() -> Flow:
            batcher = Batcher(encoder, BatchPolicy(max_size=BATCH), clock, meter, MIN_SHARE)
            self._closing.callback(lambda: loop.submit(batcher.close()).result(STOP_S))
            look = Look(stages, batcher, encoder, DecodePolicy(), "float32", clock, meter)
            return Flow(stages, look, clock, meter)

        member = Member("priority", self.kafka.group, "host", 0)
        context = EventContext(
            self.facts.cluster_id, self.kafka.group, self.facts.topic_ids, "benchmark"
        )
        return stream_worker(
            KafkaStream(
                self.kafka,
                DeliveryPolicy(),
                member,
                self.facts.topic_ids,
            ),
            loop.submit(flow()).result(STOP_S),
            rules_of(encoder),
            context,
            loop,
            meter,
            policy=replace(
                POLICY,
                priority=PriorityPolicy(lower=(self.backfill,), min_share=MIN_SHARE),
                commit_interval_s=COMMIT_INTERVAL_S,
                max_outcomes_per_commit=2000,
            ),
            events=EventsPolicy(embeddings=False),
        )

    def _see(self) -> None:
        topic = self.kafka.output_topics.classifications
        with contextlib.closing(
            connect(
                KafkaConsumer,
                {
                    "bootstrap_servers": list(self.kafka.bootstrap_servers),
                    "isolation_level": "read_committed",
                    "fetch_max_wait_ms": 10,
                },
            )
        ) as consumer:
            tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(tps)
            consumer.seek_to_beginning(*tps)
            while self._seeing.is_set():
                for records in consumer.poll(timeout_ms=20).values():
                    now = time.time()
                    for raw in records:
                        headers = dict(raw.headers)
                        topic_of = headers["ce_source"].rpartition(b"/")[2].decode()
                        sent_ms = int(json.loads(raw.value)["reference"]["id"])
                        self.latencies.append((topic_of, sent_ms / 1000, now - sent_ms / 1000))

    def send_live(self, seconds: float, seed: int) -> None:
        """References at random moments, ``LIVE_RATE`` a second on average."""
        rng = random.Random(seed)
        ends = due = time.monotonic()
        ends += seconds
        while (due := due + rng.expovariate(LIVE_RATE)) < ends:
            time.sleep(max(0.0, due - time.monotonic()))
            self.live_producer.send(None, reference())

    def send_backfill(self, count: int) -> None:
        with ReferenceProducer(self.kafka, self.backfill) as producer:
            for _ in range(count):
                producer.send(None, reference())

    def seen(self, topic: str, since: float, until: float) -> list[float]:
        """Latencies of the references sent in a span of time."""
        return [
            took for name, sent, took in self.latencies if name == topic and since <= sent < until
        ]


def reference() -> bytes:
    return json.dumps(
        {"bucket": "images", "key": "a", "id": str(round(time.time() * 1000))}
    ).encode()


@dataclass(frozen=True)
class Round:
    """Latencies in seconds, and what the backfill got beside live traffic."""

    alone_p50: float
    alone_p99: float
    beside_p50: float
    beside_p99: float
    backfill_per_second: float


def measure(bootstrap: str, seconds: float, seed: int) -> Round:
    with Bench(bootstrap) as bench:
        bench.send_live(2.0, seed)  # until everything has been used once
        alone = time.time()
        bench.send_live(seconds, seed)
        ended = time.time()
        bench.send_backfill(round(2 * CAPACITY * (seconds + 10)))
        eventually(lambda: bool(bench.seen(bench.backfill, 0, time.time())))
        before = len(bench.seen(bench.backfill, 0, time.time()))
        beside = time.time()
        bench.send_live(seconds, seed)
        done = time.time()
        got = len(bench.seen(bench.backfill, 0, time.time())) - before
        time.sleep(2.0)  # the last ones become visible
        first, second = bench.seen(bench.live, alone, ended), bench.seen(bench.live, beside, done)
    return Round(*_quantiles(first), *_quantiles(second), round(got / (done - beside), 1))


def _quantiles(seconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return round(cuts[49], 4), round(cuts[98], 4)


@contextlib.contextmanager
def broker() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-priority-") as folder,
        EmbeddedKafka(Path(folder)) as kafka,
    ):
        yield kafka.bootstrap


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="priority")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    console = Console()
    rounds = []
    with broker() as bootstrap:
        for number in range(arguments.rounds):
            with console.status(f"round {number + 1} of {arguments.rounds}"):
                rounds.append(measure(bootstrap, arguments.seconds, number))
    table = Table(
        "live traffic", "p50 ms", "p99 ms", title=f"{BATCH} images a batch of {BATCH_S * 1000:g} ms"
    )
    median = {
        name: statistics.median(asdict(each)[name] for each in rounds) for name in asdict(rounds[0])
    }
    table.add_row("alone", f"{median['alone_p50'] * 1000:.0f}", f"{median['alone_p99'] * 1000:.0f}")
    table.add_row(
        "beside", f"{median['beside_p50'] * 1000:.0f}", f"{median['beside_p99'] * 1000:.0f}"
    )
    console.print(table)
    console.print(
        f"live: {LIVE_RATE:g}/s; the worker's capacity: {CAPACITY:g}/s; the backfill got "
        f"{median['backfill_per_second']:g}/s"
    )
    result = {
        "batch_s": BATCH_S,
        "capacity_per_second": CAPACITY,
        "live_per_second": LIVE_RATE,
        "min_share": MIN_SHARE,
        "median": median,
        "rounds": [asdict(each) for each in rounds],
        "commit": commit(),
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    within = median["beside_p99"] <= median["alone_p99"] + BATCH_S
    console.print("within one batch" if within else "[red]more than one batch later")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
