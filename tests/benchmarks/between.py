"""`make between`: what an image costs outside decode and encode, beside the bare clients.

CPU time of the stream worker's process, built as in production but for a decoder and an encoder
that cost nothing, exactly once on a real Kafka and a real S3 server; against a plain loop of the
same clients for the same objects and records, in turns. CPU time, not wall time: broker and store
share the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from pipeline.adapters.kafka.clients import connect
from tests.benchmarks import between_bare, between_worker
from tests.benchmarks.between_bare import Loop, Published
from tests.benchmarks.cpu_time import Spent
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.worker_rig import BUCKET, PARTITIONS, Bench, bench

OBJECT_BYTES = 75_000
OBJECTS = 100
IMAGES = 6000
WARM = 1500
"""Images before the measurement: caches fill, connections open."""
ROUNDS = 5
GOAL = 1.3
PROFILER = (
    str(Path(sys.executable).with_name("py-spy")),
    *("record", "--gil", "--function", "--rate", "400", "--output"),
)
"""Looks at whoever runs Python; what runs beside it, as the network and hashing, is not seen."""
SEED = 5


def objects() -> dict[str, bytes]:
    """As hard to compress as JPEGs."""
    rng = random.Random(SEED)
    return {
        f"2026/camera-7/{number:05d}.jpg": rng.randbytes(OBJECT_BYTES) for number in range(OBJECTS)
    }


def bare(running: Bench, per_commit: int) -> Spent:
    """One run of the bare clients."""
    settings = running.settings("bare")[1]
    loop = Loop(
        bootstrap=running.kafka.bootstrap,
        topic=running.topic,
        group=f"bare-{running.runs}",
        endpoint=running.s3.endpoint,
        region=running.s3.region,
        bucket=BUCKET,
        at_once=settings.fetch.max_open_objects,
        per_commit=per_commit,
        warm=WARM,
        images=running.images,
        records=tuple(_published(running)),
    )
    file = running.folder / "loop.json"
    file.write_text(json.dumps(asdict(loop)))
    return running.run([sys.executable, "-m", between_bare.__name__, file])


def _published(running: Bench) -> Iterator[Published]:
    """A classification and an embedding, as the worker has published them."""
    topics = running.settings("bare")[1].kafka.output_topics
    for topic in (topics.classifications, topics.embeddings):
        options = {
            "bootstrap_servers": [running.kafka.bootstrap],
            "isolation_level": "read_committed",
        }
        with contextlib.closing(connect(KafkaConsumer, options)) as consumer:
            tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(tps)
            consumer.seek_to_beginning(*tps)
            raw = _first(consumer)
        yield topic, raw.value.hex(), tuple((name, value.hex()) for name, value in raw.headers)


def _first(consumer: KafkaConsumer) -> Any:
    while not (polled := consumer.poll(timeout_ms=500, max_records=1)):
        pass
    ((record,),) = polled.values()
    return record


def measure(
    images: int = IMAGES, rounds: int = ROUNDS, tell: Callable[[Spent, Spent], None] | None = None
) -> list[Figure]:
    """Ours and the bare clients in turns; ``tell`` hears of each round. Needs Java's and Go's
    caches as the tests do; some minutes."""
    pairs: list[tuple[Spent, Spent]] = []
    with bench(objects(), WARM, images) as running:
        for _ in range(rounds):
            ours = running.worker(between_worker.__name__, {})
            plain = bare(running, per_commit=round(ours.images / max(1, ours.commits)))
            pairs.append((ours, plain))
            if tell is not None:
                tell(ours, plain)
    return [
        Figure.median("between.ours", (o.us_per_image for o, _ in pairs), "us/image"),
        Figure.median("between.bare", (b.us_per_image for _, b in pairs), "us/image"),
        Figure.median(
            "between.ratio",
            (o.us_per_image / b.us_per_image for o, b in pairs),
            "ratio",
            goal=GOAL,
            at_least=False,
        ),
        Figure.median("between.rate", (o.images / o.wall_s for o, _ in pairs), "images/s"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="between")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", type=Path, metavar="FILE", help="a flame graph of one run")
    arguments = parser.parse_args()
    console = Console()
    if arguments.profile:
        with bench(objects(), WARM, arguments.images) as running:
            profiler = [*PROFILER, str(arguments.profile.resolve()), "--"]
            running.worker(between_worker.__name__, {}, profiler)
        _retitle(arguments.profile, f"Python of a stream worker, {arguments.images} images")
        return 0

    def tell(ours: Spent, bare: Spent) -> None:
        table = Table("thread", "us/image", title=_title(ours, bare))
        for spent in (ours, bare):
            for name, seconds in sorted(spent.threads.items(), key=lambda each: -each[1]):
                table.add_row(name, f"{1e6 * seconds / spent.images:.0f}")
            table.add_section()
        console.print(table)

    figures = measure(arguments.images, arguments.rounds, tell)
    show(figures, "Between decode and encode", console)
    return 0 if all(figure.met is not False for figure in figures) else 1


def _retitle(picture: Path, title: str) -> None:
    """The profiler's title is its command, with the folders of this machine."""
    picture.write_text(re.sub(r">[^<]*py-spy record[^<]*<", f">{title}<", picture.read_text()))


def _title(ours: Spent, bare: Spent) -> str:
    return (
        f"ours {ours.us_per_image:.0f} ({ours.commits} commits, "
        f"{ours.images / ours.wall_s:.0f}/s), bare {bare.us_per_image:.0f} "
        f"({bare.commits} commits, {bare.images / bare.wall_s:.0f}/s): "
        f"{ours.us_per_image / bare.us_per_image:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
