"""A driver whose pod was scaled in takes its members out of the group: their partitions move at
once. Members of a driver that is restarted stay."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.services.api_server import ApiServer, api_server
from tests.rigs.services.kafka_deployment import Deployment
from workers.commands.stream import stream_group
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy

pytestmark = pytest.mark.component


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # of the driver's lock
    with api_server(tmp_path) as server:
        yield server


def members(deployment: Deployment) -> set[str]:
    """Names of the group's static members."""
    group = deployment.kafka.group
    described = deployment.admin.client.describe_groups([group])[group]
    return {member["group_instance_id"] for member in described["members"]}


def stop_a_driver(deployment: Deployment, server: ApiServer, pod: str) -> None:
    """One of its two workers joined and ended in order; then the driver ends."""
    kafka = deployment.kafka.model_copy(update={"instance": "host"})
    settings = Settings(kafka=kafka, workers=WorkersPolicy(count=2), kubernetes=server.policy(pod))
    with stream_group(settings, threading.Event(), random.Random(0)):
        deployment.ready(0).stream.close(1.0)
    assert server.asked


@pytest.mark.parametrize(("pod", "stay"), [("clipstream-3", set()), ("clipstream-1", {"host-0"})])
def test_members_leave_the_group_when_their_pod_does_not_come_back(
    pod: str, stay: set[str], kafka_bootstrap: str, server: ApiServer
) -> None:
    with Deployment(kafka_bootstrap) as deployment:
        stop_a_driver(deployment, server, pod)
        assert members(deployment) == stay


def test_members_stay_while_kubernetes_does_not_answer(
    kafka_bootstrap: str, server: ApiServer
) -> None:
    server.status = 503
    with Deployment(kafka_bootstrap) as deployment:
        stop_a_driver(deployment, server, "clipstream-3")
        assert members(deployment) == {"host-0"}
