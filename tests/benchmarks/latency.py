"""`python -m tests.benchmarks.latency`: from a record's timestamp until its event can be read.

The worker is the product's, exactly once on a real Kafka and a real S3 server, with photographs and
a full-size ViT-B/32 of seeded random weights; the reader takes what is committed alone. References
come at random moments, as people's do, at shares of what the worker did of a backlog just before.
What the latency may be made of is taken from the same run's stages; how long a full batch takes,
from backlogs before and after the load that is judged.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from tests.benchmarks import full_size, latency_worker
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.worker_rig import BUCKET, PARTITIONS, Bench, bench
from tests.rigs.services.kafka_deployment import retrying
from tests.rigs.stages.decoding import photos
from tests.rigs.waiting import eventually
from workers.embedded.processes import ChildProcess, command_environment
from workers.settings.loading import Settings

HALF = 0.5
OTHER_LOADS = (0.25, 0.75, 0.9)
SECONDS = 12.0
"""Of each load."""
HELD = 256
"""Images that the worker holds at a time."""
BACKLOG = 2 * HELD
"""What it does of one is counted while there is always more than it holds."""
BATCH = 8
"""Images: on two cores already at full speed, and soon done."""
START_S = 180.0
SEED = 11


@dataclass(frozen=True, slots=True)
class Seen:
    """An outcome: its object, when its record was sent, and how long it took until it was read."""

    key: str
    sent: float
    took: float


class Reader:
    """A read_committed consumer of the classifications that come from now on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reading = threading.Event()
        self.seen: list[Seen] = []

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        self._reading.set()
        thread = threading.Thread(target=self._read)
        thread.start()
        try:
            yield
        finally:
            self._reading.clear()
            thread.join()

    def _read(self) -> None:
        options = {
            "bootstrap_servers": list(self._settings.kafka.bootstrap_servers),
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": 10,
        }
        topic = self._settings.kafka.output_topics.classifications
        with contextlib.closing(connect(KafkaConsumer, options)) as consumer:
            tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(tps)
            consumer.seek_to_end(*tps)
            while self._reading.is_set():
                for records in consumer.poll(timeout_ms=20).values():
                    now = time.time()
                    for raw in records:
                        reference = json.loads(raw.value)["reference"]
                        sent = int(reference["id"]) / 1000
                        self.seen.append(Seen(reference["key"], sent, now - sent))


def measure(
    seconds: float = SECONDS, tell: Callable[[str], None] = lambda line: None
) -> list[Figure]:
    """The curve of latency over load; about two minutes."""
    objects = {f"photos/{number:04}.jpg": body for number, body in enumerate(photos())}
    with contextlib.ExitStack() as owned:
        name = owned.enter_context(tempfile.TemporaryDirectory(prefix="clipstream-latency-"))
        running = owned.enter_context(bench(objects, warm=0, images=0))
        changed = {
            "model": {"directory": str(full_size.checkpoint()), "device": "cpu"},
            "batch": {"max_size": BATCH},
            "flow": {"max_in_flight": HELD},
        }
        file, settings = running.settings("latency", changed)
        stages = Path(name) / "stages.json"
        worker = worker_of(running, settings, file, stages)
        owned.callback(worker.stop, latency_worker.GRACE_S)
        reader = Reader(settings)
        owned.enter_context(reader.reading())
        producer = owned.enter_context(ReferenceProducer(settings.kafka, running.topic))
        send = sending(producer, list(objects))
        worker.start()
        backlog(reader, send, START_S)  # from the first to the last: until all is warm
        curve: dict[float, list[float]] = {}

        def load_of(share: float) -> None:
            curve[share] = at_rate(share * capacity, seconds, reader, send)
            tell(f"at {share:.0%}: p50 {curve[share][49]:.3f} s, p99 {curve[share][98]:.3f} s")

        begun = time.time()
        capacity = backlog(reader, send, START_S)
        tell(f"capacity: {capacity:.1f} images/s of a backlog")
        half_begun = time.time()
        load_of(HALF)
        half_ended = time.time()
        capacity_after = backlog(reader, send, START_S)
        tell(f"after it: {capacity_after:.1f} images/s of a backlog")
        ended = time.time()
        for share in OTHER_LOADS:
            load_of(share)
        worker.stop(latency_worker.GRACE_S)
        taken: Stages = json.loads(stages.read_text())
    at_half = _within(taken, half_begun, half_ended)
    full = _within(taken, begun, half_begun)["encode"] + _within(taken, half_ended, ended)["encode"]
    parts = _parts(at_half, statistics.median(full), settings)
    figures = [
        Figure("latency.capacity", capacity, "images/s"),
        Figure("latency.capacity_after_half", capacity_after, "images/s"),
    ]
    for load, cuts in sorted(curve.items()):
        goal = sum(parts.values()) if load == HALF else None
        figures += [
            Figure(f"latency.p50_at_{load:.0%}", cuts[49], "s"),
            Figure(f"latency.p99_at_{load:.0%}", cuts[98], "s", goal, at_least=False),
        ]
    return figures + [Figure(f"latency.sum.{name}", part, "s") for name, part in parts.items()]


Stages = dict[str, list[tuple[float, float]]]
"""By stage: when it ended, and the seconds it took."""


def _within(taken: Stages, since: float, until: float) -> dict[str, list[float]]:
    """The seconds of those that ended then."""
    return {
        stage: [took for ended, took in times if since <= ended < until]
        for stage, times in taken.items()
    }


def _parts(
    taken: dict[str, list[float]], full_batch_s: float, settings: Settings
) -> dict[str, float]:
    """Seconds of what the 99th percentile may be the sum of."""
    return {
        "fetch_p99": percentiles(taken["fetch"])[98],
        "decode_p99": percentiles(taken["decode"])[98],
        "batch_wait": settings.batch.max_wait_s,
        "two_full_batches": 2 * full_batch_s,
        "commit_interval": settings.delivery.commit_interval_s,
        "transaction": statistics.median(taken["commit"]),
    }


def worker_of(running: Bench, settings: Settings, file: Path, stages: Path) -> ChildProcess:
    with KafkaAdmin(settings.kafka) as admin:
        retrying(lambda: admin.initialise_group(admin.facts(), "latest"))
    command: list[Any] = [sys.executable, "-m", latency_worker.__name__, file, stages]
    return ChildProcess(
        "latency worker",
        [str(each) for each in command],
        log=running.folder / "worker.log",
        environment=command_environment(),
    )


Send = Callable[[], None]


def sending(producer: ReferenceProducer, keys: list[str]) -> Send:
    rng = random.Random(SEED)

    def send() -> None:
        reference = {
            "bucket": BUCKET,
            "key": rng.choice(keys),
            "id": str(round(time.time() * 1000)),
        }
        producer.send(None, json.dumps(reference).encode(), partition=rng.randrange(PARTITIONS))

    return send


def backlog(reader: Reader, send: Send, within_s: float) -> float:
    """Images a second of many at once."""
    before = len(reader.seen)
    for _ in range(BACKLOG):
        send()
    eventually(lambda: len(reader.seen) > before, within_s)
    first, begun = len(reader.seen), time.monotonic()
    eventually(lambda: len(reader.seen) >= before + BACKLOG - HELD, within_s)
    rate = (len(reader.seen) - first) / (time.monotonic() - begun)
    eventually(lambda: len(reader.seen) >= before + BACKLOG, within_s)
    return rate


def at_rate(
    rate: float,
    seconds: float,
    reader: Reader,
    send: Send,
    counts: Callable[[Seen], bool] = lambda seen: True,
) -> list[float]:
    """Percentiles of the latency, in seconds, at a rate of references; of those that count."""
    rng = random.Random(SEED)
    begun, since = time.monotonic(), time.time()
    due, count, before = begun, 0, len(reader.seen)
    while (due := due + rng.expovariate(rate)) < begun + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        send()
        count += 1
    eventually(lambda: len(reader.seen) >= before + count, START_S)
    # Milliseconds of the clock that ids are made of.
    since -= 0.001
    return percentiles([each.took for each in reader.seen if each.sent >= since and counts(each)])


def percentiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each load")
    console = Console()
    show(measure(parser.parse_args().seconds, console.print), "Latency over load", console)


if __name__ == "__main__":
    main()
