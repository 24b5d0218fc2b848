"""Writes the JVM's archive of Kafka's classes, once a machine and version: class data sharing.

A broker that starts from the archive needs half the time and half the work of a processor. The
tests start some eighty brokers. Writing takes about 10 s.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from workers.embedded.cache import locked
from workers.embedded.jars import kafka_jars
from workers.embedded.kafka import EmbeddedKafka, class_archive, java_command
from workers.embedded.processes import ServiceError, service_environment

DEADLINE_S = 120.0


def written() -> Path:
    """The archive, written by this call if need be.

    Raises:
        ServiceError: the broker does not start, or the JVM writes no archive.
    """
    # Fetched first: they are kept in the same folder, under the same lock.
    kafka_jars()
    archive = class_archive()
    with locked(archive.parent), tempfile.TemporaryDirectory(dir=archive.parent) as name:
        if archive.is_file():
            return archive
        folder = Path(name)
        classes, unfinished = folder / "classes", folder / archive.name
        noting = [f"-XX:DumpLoadedClassList={classes}"]
        with EmbeddedKafka(folder / "kafka", java_options=noting):
            pass
        dumping = ["-Xshare:dump", f"-XX:SharedClassListFile={classes}"]
        command = java_command(*dumping, f"-XX:SharedArchiveFile={unfinished}")
        done = subprocess.run(  # noqa: S603 - the command is ours, no shell
            command,
            env=service_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        if done.returncode != 0 or not unfinished.is_file():
            raise ServiceError(
                f"kafka: Java writes no archive of classes (status {done.returncode}):\n"
                f"{done.stdout}"
            )
        return unfinished.replace(archive)
