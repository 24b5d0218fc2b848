"""A Kafka and an S3 server that the pods of a cluster reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.dev.cluster.clusters import Cluster
from deploy.dev.versitygw import VersityS3
from tests.rigs.services.broker_settings import IMPATIENT_BROKER
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server


@contextmanager
def kafka_for_pods(cluster: Cluster, folder: Path) -> Iterator[EmbeddedKafka]:
    """A real broker on the address by which pods reach this machine, and tests too."""
    with EmbeddedKafka(folder, properties=IMPATIENT_BROKER, address=cluster.address) as broker:
        yield broker


@contextmanager
def s3_for_pods(cluster: Cluster, folder: Path) -> Iterator[S3Server]:
    """A real S3 server on the same address."""
    with VersityS3(folder, address=cluster.address) as server:
        yield server
