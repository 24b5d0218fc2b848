"""`make scaling`: what 1 to 16 workers on local Ray do, against as many times what one does.

Real Kafka, exactly once, and real workers in Ray actors, whose encoder stands in for a GPU: it
takes a fixed time for a batch and no processor. What the workers then lose against linear is what
they cost one another: the broker, the group, the processor that all share. So the use of the
processor stands beside each figure, and the goal holds where it has not run out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from tests.benchmarks.figures import Figure
from tests.rigs.root import ROOT
from tests.rigs.services.kafka_deployment import retrying
from tests.rigs.waiting import eventually
from tests.rigs.workers.fixed_time_worker import build
from workers.cluster.actors import Cluster
from workers.cluster.handle import RayWorker
from workers.embedded.kafka import EmbeddedKafka
from workers.settings.loading import Settings

LABEL_SET = ROOT / "deploy/examples/label-sets/moderation.yaml"

WORKERS = (1, 2, 4, 8, 16)
BATCH = 8
BATCH_S = 1.0
IN_FLIGHT = 4 * BATCH
COMMIT_INTERVAL_S = 0.1
"""Short against a batch: what is committed is what the encoder has done."""
SECONDS = 30.0
ROUNDS = 3
GOAL = 0.95
RUN_OUT = 0.9
"""Share of the machine's processor above which there is none left."""
LOOK_S = 0.1
START_S = 300.0
STOP_S = 60.0
WARM = 2
"""Batches of each worker, and then seconds for what the starts delayed, before it is measured."""
SETTLE_S = 10.0
SLACK_S = 120.0
"""Time for which there are records beside the measured one."""


@dataclass(frozen=True)
class Point:
    """Images a second of all workers, and the share of the machine's processor in use."""

    workers: int
    rate: float
    cpu: float


class Bench:
    """A topic with a partition for each of the most workers, full of references, and a Ray."""

    def __init__(self, bootstrap: str, most: int, batch_s: float, seconds: float) -> None:
        self._batch_s, self._seconds = batch_s, seconds
        self._most = most
        self._settings = Settings.model_validate(
            {
                "kafka": {"bootstrap_servers": [bootstrap], "instance": "scaling"},
                "delivery": {"commit_interval_s": COMMIT_INTERVAL_S},
                "s3": {"allowed_buckets": ["images"]},
                "label_sets": {"paths": [str(LABEL_SET)], "text_cache_dir": None},
                "batch": {"max_size": BATCH},
                # Few: what a worker has encoded and not committed, after a pause, is counted when
                # it is committed, and would be more than was encoded meanwhile.
                "flow": {"max_in_flight": IN_FLIGHT},
                "failure_budget": {"window": BATCH},
                "events": {"embeddings": False},
                "workers": {"count": most, "cpus_per_worker": 0.1},
                "endpoints": {"health_port": 0, "metrics_port": 0},
                "log": {"level": "error", "format": "text"},
            }
        )
        kafka = self._settings.kafka
        with KafkaAdmin(kafka) as admin:
            admin.create_topics(sound_topics(kafka), most, -1)
        each = round(BATCH / batch_s * (seconds + SLACK_S))
        value = json.dumps({"bucket": "images", "key": "image"}).encode()
        with ReferenceProducer(kafka, kafka.input_topics[0]) as producer:
            for number in range(most * each):
                producer.send(None, value, partition=number % most)
        # Ray's processes have the environment of the driver, and must find the tests.
        os.environ["PYTHONPATH"] = str(ROOT)
        self._cluster = Cluster(self._settings)

    def close(self) -> None:
        self._cluster.close()

    def measure(self, number: int) -> Point:
        """So many workers in a group of their own, from its start to its end."""
        group = f"scaling-{uuid.uuid4().hex[:8]}"
        kafka = self._settings.kafka.model_copy(update={"group": group})
        with KafkaAdmin(kafka) as admin:
            retrying(lambda: admin.initialise_group(admin.facts(), "earliest"))
        bound = partial(build, group, self._batch_s)
        workers = [self._cluster.launch(bound, slot) for slot in range(number)]
        try:
            for worker in workers:
                eventually(lambda worker=worker: worker.node() is not None, START_S)  # type: ignore[misc]
                worker.begin()
            eventually(lambda: self._warm(workers), START_S)
            self._look_on(workers, SETTLE_S)
            return self._watch(workers)
        finally:
            for worker in workers:
                worker.stop(0.0)
            eventually(lambda: all(worker.ended() for worker in workers), STOP_S)

    def _warm(self, workers: Sequence[RayWorker]) -> bool:
        """Whether every partition has its owner, and every worker has worked for a while."""
        time.sleep(LOOK_S)
        heard = [worker.health() for worker in workers]
        for worker in workers:
            assert worker.ended() is None, worker.ended()
        healths = [each.health for each in heard if each is not None]
        return (
            len(healths) == len(workers)
            and sum(each.partitions for each in healths) == self._most
            and all(each.committed >= WARM * BATCH for each in healths)
        )

    def _watch(self, workers: Sequence[RayWorker]) -> Point:
        """From commit to commit of each worker, so that no batch is counted in part."""
        first = busy_and_all()
        commits = self._look_on(workers, self._seconds)
        cpu = in_use_since(first)
        # The first was seen by chance, not when it was committed.
        rates = [(seen[-1][1] - seen[1][1]) / (seen[-1][0] - seen[1][0]) for seen in commits]
        return Point(len(workers), sum(rates), cpu)

    @staticmethod
    def _look_on(workers: Sequence[RayWorker], seconds: float) -> list[list[tuple[float, int]]]:
        """When each worker was heard to have committed more, and how much it was."""
        commits: list[list[tuple[float, int]]] = [[] for _ in workers]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(LOOK_S)
            for seen, worker in zip(commits, workers, strict=True):
                heard = worker.health()
                assert heard is not None
                if not seen or heard.health.committed > seen[-1][1]:
                    seen.append((heard.at, heard.health.committed))
        return commits


def busy_and_all() -> tuple[float, float]:
    """Time that the machine's processors were in use, and all their time. Linux."""
    line = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, idle, wait, *rest = map(int, line.split()[1:9])
    busy = user + nice + system + sum(rest)
    return busy, busy + idle + wait


def in_use_since(first: tuple[float, float]) -> float:
    """The share of the processors that was in use since ``busy_and_all`` returned ``first``."""
    busy, total = (b - a for a, b in zip(first, busy_and_all(), strict=True))
    return busy / total


@contextlib.contextmanager
def bench(most: int, batch_s: float, seconds: float) -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-scaling-") as folder,
        EmbeddedKafka(Path(folder)) as kafka,
        contextlib.closing(Bench(kafka.bootstrap, most, batch_s, seconds)) as running,
    ):
        yield running


def measure(
    workers: Sequence[int] = WORKERS,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    batch_s: float = BATCH_S,
    tell: Callable[[Point], None] | None = None,
) -> list[Figure]:
    """All numbers of workers in turns, one way and the other; ``tell`` hears of each. The first
    must be 1. Some minutes: starting a worker costs seconds of a processor."""
    points: list[dict[int, Point]] = []
    with bench(max(workers), batch_s, seconds) as running:
        for number in range(rounds):
            points.append({})
            for each in workers if number % 2 == 0 else reversed(workers):
                points[-1][each] = running.measure(each)
                if tell is not None:
                    tell(points[-1][each])
    figures = []
    for number in workers:
        rates = [each[number].rate for each in points]
        cpu = [each[number].cpu for each in points]
        figures.append(Figure.median(f"scaling.rate_{number}", rates, "images/s"))
        figures.append(Figure.median(f"scaling.cpu_{number}", cpu, "of the processor"))
        if number > 1:
            linear = (each[number].rate / number / each[1].rate for each in points)
            goal = GOAL if statistics.median(cpu) < RUN_OUT else None
            figures.append(Figure.median(f"scaling.linear_{number}", linear, "of linear", goal))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="scaling")
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--batch-seconds", type=float, default=BATCH_S, help=f"for {BATCH} images")
    arguments = parser.parse_args()
    workers = sorted({1, *arguments.workers})
    console = Console()

    def tell(point: Point) -> None:
        console.print(f"{point.workers:>3} workers {point.rate:8.2f}/s, {point.cpu:.0%} processor")

    figures = measure(workers, arguments.rounds, arguments.seconds, arguments.batch_seconds, tell)
    value = {figure.name: figure for figure in figures}
    table = Table(
        "workers",
        "images/s",
        "of linear",
        "processor",
        title=f"{BATCH} in {arguments.batch_seconds:g} s",
    )
    for number in workers:
        linear = value.get(f"scaling.linear_{number}")
        table.add_row(
            str(number),
            f"{value[f'scaling.rate_{number}'].value:.1f}",
            "" if linear is None else f"{linear.value:.3f}",
            f"{value[f'scaling.cpu_{number}'].value:.0%}",
        )
    console.print(table)
    return 0 if all(figure.met is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
