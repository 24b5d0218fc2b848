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
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from deploy.dev.versitygw import VersityS3
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_clients import connect
from pipeline.adapters.kafka_doctor import sound_topics
from pipeline.adapters.kafka_references import ReferenceProducer
from pipeline.adapters.s3_admin import S3Admin
from tests.benchmarks import between_bare, between_worker
from tests.benchmarks.between_bare import Loop, Published
from tests.benchmarks.cpu_time import Spent
from tests.benchmarks.figures import Figure
from tests.kafka_deployment import retrying
from workers.demo.kafka import EmbeddedKafka
from workers.demo.processes import command_environment
from workers.settings import Settings, load_settings

LABEL_SET = Path(__file__).parents[2] / "deploy/examples/label-sets/moderation.yaml"

BUCKET = "between"
OBJECT_BYTES = 75_000
OBJECTS = 100
PARTITIONS = 4
IMAGES = 6000
WARM = 1500
"""Images before the measurement: caches fill, connections open."""
ROUNDS = 5
GOAL = 1.3
RUN_S = 300.0
PROFILER = (
    str(Path(sys.executable).with_name("py-spy")),
    *("record", "--gil", "--function", "--rate", "400", "--output"),
)
"""Looks at whoever runs Python; what runs beside it, as the network and hashing, is not seen."""
SEED = 5


class Bench:
    """The services, with the objects and the references to them."""

    def __init__(self, folder: Path, kafka: EmbeddedKafka, s3: VersityS3, images: int) -> None:
        self._folder, self._kafka, self._s3 = folder, kafka, s3
        self._images = images
        self._runs = 0
        os.environ.update(AWS_ACCESS_KEY_ID=s3.access_key, AWS_SECRET_ACCESS_KEY=s3.secret_key)
        _, settings = self._settings("setting-up")
        with KafkaAdmin(settings.kafka) as admin:
            admin.create_topics(sound_topics(settings.kafka), PARTITIONS, -1)
        keys = [f"2026/camera-7/{number:05d}.jpg" for number in range(OBJECTS)]
        rng = random.Random(SEED)
        with contextlib.closing(S3Admin(settings.s3)) as admin_of_s3:
            admin_of_s3.create_bucket(BUCKET)
            for key in keys:
                admin_of_s3.put(BUCKET, key, rng.randbytes(OBJECT_BYTES))
        self._topic = settings.kafka.input_topics[0]
        with ReferenceProducer(settings.kafka, self._topic) as producer:
            # More than are counted: the last ones are worked off with less beside them.
            for number in range(WARM + images + WARM):
                key = keys[number % OBJECTS]
                value = json.dumps({"bucket": BUCKET, "key": key}).encode()
                own_key = b"%08d/%s" % (number, key.encode())
                producer.send(own_key, value, partition=number % PARTITIONS)

    def ours(self, prefix: Sequence[str] = ()) -> Spent:
        """One run of the worker; ``prefix`` is the command of a profiler."""
        file, settings = self._settings(f"ours-{self._runs}")
        with KafkaAdmin(settings.kafka) as admin:
            retrying(lambda: admin.initialise_group(admin.facts(), "earliest"))
        counts = ["--warm", str(WARM), "--images", str(self._images)]
        return self._run([*prefix, sys.executable, "-m", between_worker.__name__, file, *counts])

    def bare(self, per_commit: int) -> Spent:
        """One run of the bare clients."""
        settings = self._settings("bare")[1]
        loop = Loop(
            bootstrap=self._kafka.bootstrap,
            topic=self._topic,
            group=f"bare-{self._runs}",
            endpoint=self._s3.endpoint,
            region=self._s3.region,
            bucket=BUCKET,
            at_once=settings.fetch.max_open_objects,
            per_commit=per_commit,
            warm=WARM,
            images=self._images,
            records=tuple(self._published(settings)),
        )
        file = self._folder / "loop.json"
        file.write_text(json.dumps(asdict(loop)))
        return self._run([sys.executable, "-m", between_bare.__name__, file])

    def _run(self, command: Sequence[str | Path]) -> Spent:
        self._runs += 1
        output = self._folder / f"spent-{self._runs}.json"
        subprocess.run(
            [*map(str, command), "--output", str(output)],
            env=command_environment(),
            check=True,
            timeout=RUN_S,
        )
        return Spent.load(output)

    def _published(self, settings: Settings) -> Iterator[Published]:
        """A classification and an embedding, as the worker has published them."""
        topics = settings.kafka.output_topics
        for topic in (topics.classifications, topics.embeddings):
            options = {
                "bootstrap_servers": [self._kafka.bootstrap],
                "isolation_level": "read_committed",
            }
            with contextlib.closing(connect(KafkaConsumer, options)) as consumer:
                tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
                consumer.assign(tps)
                consumer.seek_to_beginning(*tps)
                raw = _first(consumer)
            yield topic, raw.value.hex(), tuple((name, value.hex()) for name, value in raw.headers)

    def _settings(self, group: str) -> tuple[Path, Settings]:
        file = self._folder / "settings.yaml"
        file.write_text(
            yaml.safe_dump(
                {
                    "kafka": {
                        "bootstrap_servers": [self._kafka.bootstrap],
                        "group": group,
                        "instance": "between",
                    },
                    "s3": {
                        "endpoint": self._s3.endpoint,
                        "region": self._s3.region,
                        "allowed_buckets": [BUCKET],
                    },
                    "label_sets": {"paths": [str(LABEL_SET)], "text_cache_dir": None},
                    "endpoints": {"health_port": 0, "metrics_port": 0},
                    "log": {"level": "warning"},
                }
            )
        )
        return file, load_settings(file, environment={})


def _first(consumer: KafkaConsumer) -> Any:
    while not (polled := consumer.poll(timeout_ms=500, max_records=1)):
        pass
    ((record,),) = polled.values()
    return record


@contextlib.contextmanager
def bench(images: int) -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-between-") as name,
        EmbeddedKafka(Path(name) / "kafka") as kafka,
        VersityS3(Path(name) / "s3") as s3,
    ):
        yield Bench(Path(name), kafka, s3, images)


def measure(
    images: int = IMAGES, rounds: int = ROUNDS, tell: Callable[[Spent, Spent], None] | None = None
) -> list[Figure]:
    """Ours and the bare clients in turns; ``tell`` hears of each round. Needs Java's and Go's
    caches as the tests do; some minutes."""
    pairs: list[tuple[Spent, Spent]] = []
    with bench(images) as running:
        for _ in range(rounds):
            ours = running.ours()
            bare = running.bare(per_commit=round(ours.images / max(1, ours.commits)))
            pairs.append((ours, bare))
            if tell is not None:
                tell(ours, bare)
    return [
        Figure("between.ours", statistics.median(o.us_per_image for o, _ in pairs), "us/image"),
        Figure("between.bare", statistics.median(b.us_per_image for _, b in pairs), "us/image"),
        Figure(
            "between.ratio",
            statistics.median(o.us_per_image / b.us_per_image for o, b in pairs),
            "ratio",
            goal=GOAL,
            at_least=False,
        ),
        Figure(
            "between.rate", statistics.median(o.images / o.wall_s for o, _ in pairs), "images/s"
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="between")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", type=Path, metavar="FILE", help="a flame graph of one run")
    arguments = parser.parse_args()
    console = Console()
    if arguments.profile:
        with bench(arguments.images) as running:
            running.ours(prefix=[*PROFILER, str(arguments.profile.resolve()), "--"])
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
    for figure in figures:
        console.print(f"{figure.name} {figure.value:.3g} {figure.unit}")
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
