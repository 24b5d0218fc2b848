"""Writes the JVM's archive of Kafka's classes, once a machine and version: class data sharing.

A broker that starts from the archive needs half the time and half the work of a processor. The
tests start some eighty brokers. Writing takes about 10 s.
"""

from __future__ import annotations

from pathlib import Path

from deploy.dev.installing import install, made_once
from workers.embedded.jars import kafka_jars
from workers.embedded.kafka import EmbeddedKafka, class_archive, java_command
from workers.embedded.processes import service_environment

DEADLINE_S = 120.0


def written() -> Path:
    """The archive, written by this call if need be.

    Raises:
        ServiceError: the broker does not start, or the JVM writes no archive.
    """
    # Fetched first: they are kept in the same folder, under the same lock.
    kafka_jars()
    return made_once(class_archive(), _write)


def _write(folder: Path) -> Path:
    classes, archive = folder / "classes", folder / "archive"
    noting = [f"-XX:DumpLoadedClassList={classes}"]
    with EmbeddedKafka(folder / "kafka", java_options=noting):
        pass
    dumping = ["-Xshare:dump", f"-XX:SharedClassListFile={classes}"]
    install(
        java_command(*dumping, f"-XX:SharedArchiveFile={archive}"),
        DEADLINE_S,
        "Java writes no archive of Kafka's classes",
        environment=service_environment(),
    )
    return archive
