"""A whole deployment on this machine, with whatever can be broken within reach.

It has a real Kafka and a real S3 server behind proxies that can fail, a Ray cluster, `clipstream
stream` with its workers on that cluster, a receiver of their traces, and a Prometheus that scrapes
the driver.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.dev.monitoring.rules import defaults, rules_file, scaled
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from tests.fault.alerts.driver import COMMAND, Driver, Targets
from tests.fault.alerts.record import FASTER
from tests.fault.proxy import ProxyLoop, TcpProxy
from tests.fault.s3_rig import (
    DEMO,
    SEED,
    SIDE_PX,
    Bucket,
    Store,
    settings_of,
    store_behind_a_proxy,
)
from tests.rigs.root import ROOT
from tests.rigs.services.broker_settings import IMPATIENT_BROKER
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.services.otlp_receiver import OtlpReceiver
from tests.rigs.services.prometheus import Prometheus
from tests.rigs.services.ray_nodes import RayNode, RayNodes, ray_nodes
from tests.rigs.waiting import eventually
from workers.demo.shapes import demo_images
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import free_ports
from workers.embedded.s3 import S3Server

PARTITIONS = 4
WORKERS = 3
"""So many deaths in a window raise an alert."""
IMAGES = 20
MAIN = "main"
LABELS = DEMO / "labels.yaml"
KNOWN = "name: leaked\nkind: sha256\naction: reject\nentries: known.txt\n"
"""The header of a list of known pictures, which has the good image."""
SPARE_CPUS = 1
"""What the cluster has beside what the workers need."""

WITHIN_S = 300.0
"""Never met on a working system."""
LOOK_S = 0.2

SECTIONS: dict[str, dict[str, Any]] = {
    # So many deaths here are no crash loop.
    "workers": {"count": WORKERS, "cpus_per_worker": 1, "max_crashes": 1000},
    # So few at a time that a slow store makes a slow worker.
    "fetch": {"deadline_s": 10.0, "max_refusals": 2, "max_open_objects": 2},
    "s3": {"connect_timeout_s": 1.0, "read_timeout_s": 3.0},
    "label_sets": {"reload_interval_s": 0.5},
    "known": {"reload_interval_s": 0.5},
    # A broker that is back is used soon.
    "delivery": {
        "request_timeout_s": 2.0,
        "delivery_timeout_s": 4.0,
        "transaction_timeout_s": 6.0,
    },
    "failure_budget": {"hold_s": 3.0},
    "tracing": {"enabled": True},
    "log": {"format": "text"},
}


@dataclass(frozen=True)
class Stack:
    """``link`` is the way of the workers to the broker. ``store`` has the bucket of good images,
    ``keys`` are theirs, and ``empty`` is a bucket that has none at first."""

    deployment: Deployment
    link: TcpProxy
    store: Store
    empty: Bucket
    keys: list[str]
    ray: RayNodes
    head: RayNode
    targets: Targets
    prometheus: Prometheus
    folder: Path

    @property
    def model(self) -> Path:
        """The folder of the workers' checkpoint."""
        return self.folder / "model"

    @property
    def labels(self) -> Path:
        """The file of the workers' label set."""
        return self.folder / "labels.yaml"

    def driver(
        self, instance: str, sections: dict[str, dict[str, Any]], module: str = COMMAND
    ) -> Driver:
        """A driver of the group. ``sections`` are settings that differ from ``SECTIONS``."""
        (port,) = free_ports(1)
        both = {"allowed_buckets": [self.store.bucket.name, self.empty.name]}
        merged = {name: {**section} for name, section in SECTIONS.items()}
        merged["s3"] |= both
        merged["label_sets"] |= {"paths": [self.labels]}
        merged["known"] |= {"lists": [self.known]}
        merged["model"] = {"directory": self.model, "precision": "fp32"}
        merged["endpoints"] = {"health_port": port}
        for name, section in sections.items():
            merged[name] = merged.get(name, {}) | section
        seen = self.deployment.through(self.link.port)
        seen.kafka = seen.kafka.model_copy(update={"instance": instance})
        settings = settings_of(seen, self.store, self.folder, merged)
        return Driver(settings, self.targets, self.ray.address, self.folder, module=module)

    @property
    def image(self) -> bytes:
        """A good image's file."""
        return next(demo_images(SEED, 1, SIDE_PX)).body

    @property
    def known(self) -> Path:
        """The header of the workers' list of known pictures."""
        return self.folder / "known.yaml"

    def lose_model(self) -> None:
        """Take the checkpoint away from the node."""
        self.model.rename(self._away)

    def heal(self) -> None:
        """End every fault of links, stores and files."""
        self.link.heal()
        self.store.proxy.heal()
        shutil.copy(LABELS, self.labels)
        self.known.write_text(KNOWN)
        if self._away.exists():
            self._away.rename(self.model)

    @property
    def _away(self) -> Path:
        return self.model.with_name("away")

    # -- what is sent -----------------------------------------------------------------------

    def good(self, count: int) -> list[bytes | None]:
        """References to good images."""
        return [self.store.bucket.reference(self.keys[n % IMAGES]) for n in range(count)]

    def send(self, references: Sequence[bytes | None]) -> None:
        """Spread over the partitions."""
        with self._producer() as producer:
            _send(producer, references)

    @contextlib.contextmanager
    def feeding(self, references: Sequence[bytes | None], every_s: float = 1.0) -> Iterator[None]:
        """Send these again and again until the block ends."""
        over = threading.Event()

        def feed() -> None:
            with self._producer() as producer:
                while not over.wait(every_s):
                    _send(producer, references)

        thread = threading.Thread(target=feed, name="feed")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _producer(self) -> ReferenceProducer:
        return ReferenceProducer(self.deployment.kafka, self.deployment.input)

    def lag(self) -> float:
        """Records that are not committed, as Prometheus knows it; 0 where it does not."""
        found = self.prometheus.query("sum(clipstream:lag_records)")
        return float(found[0]["value"][1]) if found else 0.0

    def until_all_is_committed(self) -> None:
        eventually(lambda: self.deployment.admin.lag() == 0, WITHIN_S, LOOK_S)

    # -- processes --------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """Ids of the processes of all workers, those included that load their model."""
        return [each for each in children(self.head.daemons) if b"WorkerActor" in command_of(each)]


@contextlib.contextmanager
def stack(folder: Path, server: S3Server) -> Iterator[Stack]:
    """Everything but a driver."""
    listener, port = free_ports(2)
    shutil.copytree(DEMO / "model", folder / "model")
    shutil.copy(LABELS, folder / "labels.yaml")
    (folder / "known.yaml").write_text(KNOWN)
    image = next(demo_images(SEED, 1, SIDE_PX)).body
    (folder / "known.txt").write_text(f"{hashlib.sha256(image).hexdigest()}\n")
    targets = Targets(folder / "targets.json")
    rules = rules_file(scaled(defaults(), FASTER))
    with (
        EmbeddedKafka(
            folder / "kafka", properties=IMPATIENT_BROKER, proxied={listener: port}
        ) as kafka,
        ProxyLoop() as loop,
        store_behind_a_proxy(server) as store,
        contextlib.closing(Bucket(server)) as empty,
        OtlpReceiver() as traces,
        ray_nodes(
            {"PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_ENDPOINT": traces.endpoint}
        ) as nodes,
        Deployment(kafka.bootstrap, PARTITIONS) as deployment,
        Prometheus(folder, [targets.scrape], rules) as prometheus,
    ):
        yield Stack(
            deployment,
            loop.proxy(port, listener),
            store,
            empty,
            store.bucket.fill(IMAGES),
            nodes,
            nodes.add(num_cpus=WORKERS + SPARE_CPUS),
            targets,
            prometheus,
            folder,
        )


def _send(producer: ReferenceProducer, references: Sequence[bytes | None]) -> None:
    for number, reference in enumerate(references):
        producer.send(b"key", reference, partition=number % PARTITIONS)
    producer.flush()


def kill(processes: Sequence[int]) -> None:
    """SIGKILL to each that still runs."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def children(parents: Collection[int]) -> list[int]:
    """Ids of the processes that one of these has started."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit():
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) in parents:
                    found.append(int(process.name))
    return found


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
