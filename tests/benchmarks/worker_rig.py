"""Real services with objects and references to them, and a stream worker that is counted: what the
benchmarks of whole workers share."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.dev.versitygw import VersityS3
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.s3.admin import S3Admin
from tests.benchmarks.cpu_time import Spent
from tests.rigs.root import ROOT
from tests.rigs.services.kafka_deployment import retrying
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import command_environment
from workers.settings.loading import Settings, load_settings

LABEL_SET = ROOT / "deploy/examples/label-sets/moderation.yaml"
BUCKET = "benchmark"
PARTITIONS = 4
RUN_S = 600.0


class Bench:
    """The services, with the objects, and ``warm + images + warm`` references to them in turn: the
    last ones are there so that those counted are not worked off with ever less beside them. The
    topics have ``partitions`` each."""

    def __init__(
        self,
        folder: Path,
        kafka: EmbeddedKafka,
        s3: VersityS3,
        objects: Mapping[str, bytes],
        warm: int,
        images: int,
        partitions: int = PARTITIONS,
    ) -> None:
        self.folder, self.kafka, self.s3 = folder, kafka, s3
        self.warm, self.images = warm, images
        self._runs = 0
        os.environ.update(AWS_ACCESS_KEY_ID=s3.access_key, AWS_SECRET_ACCESS_KEY=s3.secret_key)
        _, settings = self.settings("setting-up")
        with KafkaAdmin(settings.kafka) as admin:
            admin.create_topics(sound_topics(settings.kafka), partitions, -1)
        with contextlib.closing(S3Admin(settings.s3)) as admin_of_s3:
            admin_of_s3.create_bucket(BUCKET)
            for key, body in objects.items():
                admin_of_s3.put(BUCKET, key, body)
        self.topic = settings.kafka.input_topics[0]
        keys = list(objects)
        with ReferenceProducer(settings.kafka, self.topic) as producer:
            for number in range(warm + images + warm):
                key = keys[number % len(keys)]
                value = json.dumps({"bucket": BUCKET, "key": key}).encode()
                own_key = b"%08d/%s" % (number, key.encode())
                producer.send(own_key, value, partition=number % partitions)

    @property
    def services(self) -> tuple[int, int]:
        """Process ids of broker and store."""
        return self.kafka.pid, self.s3.pid

    @property
    def runs(self) -> int:
        """How many processes have been counted."""
        return self._runs

    def worker(
        self,
        module: str,
        changed: Mapping[str, Any],
        prefix: Sequence[str] = (),
        images: int | None = None,
        options: Sequence[str] = (),
    ) -> Spent:
        """One run of a worker's program, of a group of its own, from the first reference on;
        ``changed`` are settings, ``prefix`` is the command of a profiler, and ``images`` are
        counted, all unless it is given; ``options`` are the program's own."""
        file, settings = self.settings(f"ours-{self._runs}", changed)
        with KafkaAdmin(settings.kafka) as admin:
            retrying(lambda: admin.initialise_group(admin.facts(), "earliest"))
        counts = ["--warm", str(self.warm), "--images", str(images or self.images)]
        return self.run([*prefix, sys.executable, "-m", module, file, *counts, *options])

    def run(self, command: Sequence[str | Path]) -> Spent:
        """A program that writes down what it spent."""
        self._runs += 1
        output = self.folder / f"spent-{self._runs}.json"
        subprocess.run(
            [*map(str, command), "--output", str(output)],
            env=command_environment(),
            check=True,
            timeout=RUN_S,
        )
        return Spent.load(output)

    def settings(
        self, group: str, changed: Mapping[str, Any] | None = None
    ) -> tuple[Path, Settings]:
        file = self.folder / "settings.yaml"
        settings = {
            "kafka": {
                "bootstrap_servers": [self.kafka.bootstrap],
                "group": group,
                "instance": "benchmark",
            },
            "s3": {
                "endpoint": self.s3.endpoint,
                "region": self.s3.region,
                "allowed_buckets": [BUCKET],
            },
            "label_sets": {
                "paths": [str(LABEL_SET)],
                "text_cache_dir": str(self.folder / "texts"),
            },
            "endpoints": {"health_port": 0, "metrics_port": 0},
            "log": {"level": "warning"},
        }
        file.write_text(yaml.safe_dump(settings | dict(changed or {})))
        return file, load_settings(file, environment={})


@contextlib.contextmanager
def bench(
    objects: Mapping[str, bytes], warm: int, images: int, partitions: int = PARTITIONS
) -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-benchmark-") as name,
        EmbeddedKafka(Path(name) / "kafka") as kafka,
        VersityS3(Path(name) / "s3") as s3,
    ):
        yield Bench(Path(name), kafka, s3, objects, warm, images, partitions)
