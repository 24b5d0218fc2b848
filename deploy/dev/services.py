"""Real Kafka and S3 on loopback for development, tests and benchmarks: up, down, status.

The services outlive the command. A state file holds the ids and start times of their processes, so
that ``down`` ends exactly what ``up`` started, and the variables that find them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.dev.state import state_folder
from deploy.dev.versitygw import VersityS3
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.errors import PipelineError
from workers.embedded.cache import locked
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import ProcessIdentity, ServiceError
from workers.embedded.s3 import MotoS3, S3Server

NAMES = ("kafka", "s3")

PARTITIONS = 6
"""A topic's; a few workers can share them."""


@dataclass(frozen=True, slots=True)
class Service:
    """A process that ``up`` started, and the variables that find it."""

    title: str
    process: ProcessIdentity
    variables: dict[str, str]


class State:
    """The services of a folder, as its state file has them."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "state.json"
        self.services: dict[str, Service] = {}
        if self._file.is_file():
            for name, fields in json.loads(self._file.read_text()).items():
                process = ProcessIdentity(**fields.pop("process"))
                self.services[name] = Service(process=process, **fields)

    def running(self, name: str) -> Service | None:
        service = self.services.get(name)
        return service if service and service.process.running else None

    def save(self) -> None:
        text = json.dumps({name: asdict(each) for name, each in self.services.items()}, indent=2)
        incoming = self._file.with_suffix(".new")
        incoming.write_text(text + "\n")
        incoming.replace(self._file)


def up(folder: Path, s3: str) -> None:
    """Start what does not run, wait until it answers, create the topics."""
    with locked(folder):
        state = State(folder)
        # S3 first: where it cannot be built, nothing has been started yet.
        for name in reversed(NAMES):
            if service := state.running(name):
                _say(f"{name}: {service.title} runs already, process {service.process.pid}")
                continue
            service = _start_kafka(folder) if name == "kafka" else _start_s3(folder, s3)
            state.services[name] = service
            state.save()
            _say(f"{name}: {service.title} answers, process {service.process.pid}")
        variables = state.services["kafka"].variables
        create_topics(*json.loads(variables["CLIPSTREAM_KAFKA__BOOTSTRAP_SERVERS"]))
    _print_variables(state)


def down(folder: Path, *, delete_data: bool) -> None:
    """End what ``up`` started; keep its logs and, unless told otherwise, its data."""
    with locked(folder):
        state = State(folder)
        for name, service in list(state.services.items()):
            if service.process.running:
                service.process.stop()
                _say(f"{name}: {service.title} stopped, process {service.process.pid}")
            else:
                _say(f"{name}: {service.title} was not running any more")
            del state.services[name]
            state.save()
        if delete_data:
            for name in NAMES:
                shutil.rmtree(folder / name, ignore_errors=True)
    _say(f"logs are in {folder / 'logs'}")


def status(folder: Path) -> bool:
    """Say what runs; whether all does."""
    state = State(folder)
    for name in NAMES:
        service = state.running(name)
        _say(
            f"{name}: {f'{service.title} runs, process {service.process.pid}' if service else '-'}"
        )
    _print_variables(state)
    return all(state.running(name) for name in NAMES)


def _start_kafka(folder: Path) -> Service:
    kafka = EmbeddedKafka(folder / "kafka", folder / "logs", detached=True)
    kafka.start()
    variables = {"CLIPSTREAM_KAFKA__BOOTSTRAP_SERVERS": json.dumps([kafka.bootstrap])}
    return Service(f"Apache Kafka on {kafka.bootstrap}", _identity(kafka.pid), variables)


def _start_s3(folder: Path, kind: str) -> Service:
    logs = folder / "logs"
    server: S3Server = (
        MotoS3(logs, detached=True)
        if kind == "moto"
        else VersityS3(folder / "s3", logs, detached=True)
    )
    server.start()
    variables = {
        "CLIPSTREAM_S3__ENDPOINT": server.endpoint,
        "AWS_ENDPOINT_URL_S3": server.endpoint,
        "AWS_REGION": server.region,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }
    return Service(f"{kind} on {server.endpoint}", _identity(server.pid), variables)


def _identity(pid: int) -> ProcessIdentity:
    identity = ProcessIdentity.of(pid)
    if identity is None:
        raise ServiceError(
            f"services: no entry for process {pid} under /proc; "
            "outside Linux use deploy/compose.yaml"
        )
    return identity


def create_topics(*servers: str) -> None:
    """Create the topics with the default names, unless they are there; say which were created."""
    policy = KafkaPolicy(bootstrap_servers=servers)
    with KafkaAdmin(policy) as admin:
        created = admin.create_topics(sound_topics(policy), PARTITIONS, replication=1)
    if created:
        _say(f"kafka: created {', '.join(created)}, {PARTITIONS} partitions each")


def _print_variables(state: State) -> None:
    for name in NAMES:
        if service := state.running(name):
            for variable, value in service.variables.items():
                print(f"export {variable}={shlex.quote(value)}")


def _say(line: str) -> None:
    # Not to the standard output, which holds what a shell can read.
    print(line, file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="services.py")
    parser.add_argument(
        "--folder",
        type=Path,
        default=state_folder("services"),
        help="where state, data and logs are kept (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("up", help="start Kafka and S3; prints variables for the shell")
    command.add_argument(
        "--s3",
        choices=("versitygw", "moto"),
        default="versitygw",
        help="versitygw is a real server and needs Go once; moto is slow, and needs only Python",
    )
    command = commands.add_parser("down", help="stop what up started; logs and data stay")
    command.add_argument("--delete-data", action="store_true", help="topics and objects go too")
    commands.add_parser("status", help="say what runs; status 1 if something does not")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    try:
        if arguments.command == "up":
            up(folder, arguments.s3)
        elif arguments.command == "down":
            down(folder, delete_data=arguments.delete_data)
        else:
            return 0 if status(folder) else 1
    except (ServiceError, PipelineError) as problem:
        _say(str(problem))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
