"""One command starts real services that outlive it, another stops exactly those."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dev import versitygw
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.policy import KafkaPolicy
from tests.rigs.root import ROOT
from workers.embedded.jars import KAFKA_VERSION
from workers.embedded.processes import ProcessIdentity

pytestmark = pytest.mark.component

COMMAND = [sys.executable, str(ROOT / "deploy" / "dev" / "services.py")]

TOPICS = sound_topics(KafkaPolicy())


def services(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--folder", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def processes(folder: Path) -> dict[str, ProcessIdentity]:
    state = json.loads((folder / "state.json").read_text())
    return {name: ProcessIdentity(**service["process"]) for name, service in state.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    services(tmp_path, "down")


def test_services_outlive_the_command_until_they_are_stopped(folder: Path) -> None:
    from kafka import KafkaAdminClient

    up = services(folder, "up", "--s3", "moto")
    assert up.returncode == 0, up.stderr
    started = processes(folder)
    assert all(process.running for process in started.values())

    variables = dict(
        shlex.split(line.removeprefix("export "))[0].split("=", 1)
        for line in up.stdout.splitlines()
    )
    bootstrap = json.loads(variables["CLIPSTREAM_KAFKA__BOOTSTRAP_SERVERS"])
    assert variables["CLIPSTREAM_S3__ENDPOINT"].startswith("http://127.0.0.1:")
    with closing(connect(KafkaAdminClient, {"bootstrap_servers": bootstrap})) as admin:
        topics = {topic["name"]: topic for topic in admin.describe_topics(list(TOPICS))}
    assert all(len(topics[name]["partitions"]) >= 3 for name in TOPICS)

    again = services(folder, "up", "--s3", "moto")
    assert again.stdout == up.stdout
    assert processes(folder) == started
    assert services(folder, "status").returncode == 0

    assert services(folder, "down").returncode == 0
    assert not any(process.running for process in started.values())
    assert services(folder, "status").returncode == 1
    assert {path.name for path in (folder / "logs").iterdir()} == {"kafka.log", "moto.log"}
    assert (folder / "kafka").is_dir()

    assert services(folder, "down", "--delete-data").returncode == 0
    assert not (folder / "kafka").exists()


def test_a_process_that_took_the_number_of_a_service_is_not_stopped(folder: Path) -> None:
    stranger = {"pid": os.getpid(), "started": "an earlier boot:1"}
    state = {"kafka": {"title": "Apache Kafka", "process": stranger, "variables": {}}}
    (folder / "state.json").write_text(json.dumps(state))
    down = services(folder, "down")
    assert down.returncode == 0
    assert "was not running any more" in down.stderr


def test_without_go_one_line_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "empty"))
    up = services(folder, "up")
    assert up.returncode == 1
    assert "Go toolchain" in up.stderr
    assert "--s3 moto" in up.stderr
    assert len(up.stderr.splitlines()) == 1


def test_the_containers_are_of_the_same_versions_with_the_same_topics() -> None:
    compose: Any = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    containers = compose["services"]
    assert containers["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert containers["topics"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert containers["s3"]["image"] == f"versity/versitygw:{versitygw.VERSION}"
    script = containers["topics"]["command"][0]
    for topic, configs in TOPICS.items():
        assert configs["unclean.leader.election.enable"] == "false"
        size = configs["max.message.bytes"]
        (kept,) = configs.keys() - {"unclean.leader.election.enable", "max.message.bytes"}
        assert f"create {topic} {size} {kept}={configs[kept]}\n" in script
    assert "--config unclean.leader.election.enable=false" in script
    published = [port for each in containers.values() for port in each.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
