"""HTTP on the RayCluster of a release, mode `kuberay`, on the real node: first alone, then with the
stream.

Each test leaves servers that answer to the next one.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.dev.cluster.kubectl import Kubectl
from tests.rigs.kubernetes.release import (
    NAME,
    OBJECTS,
    READY_S,
    Release,
    chart_values,
    end,
    watched_end,
)
from tests.rigs.kubernetes.service_clients import ServiceClients
from tests.rigs.kubernetes.stream import PARTITIONS, PodStream, pauses
from tests.rigs.waiting import eventually
from workers.commands.serving.sample import sample_png
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [
    pytest.mark.component,
    pytest.mark.kubelet,
    pytest.mark.on_demand("make cluster-tests"),
    pytest.mark.timeout(1800),
]

SERVICE = f"{OBJECTS}-http"
PORT = 8000
"""Of the Service and of its pods: nothing translates ports here."""

FRESH, KEPT = 2, 2
"""Clients that connect for each request, and clients that keep their connections."""


@pytest.fixture(scope="module")
def installed(
    namespace: Kubectl,
    stream: PodStream,
    kafka_for_pods: EmbeddedKafka,
    s3_for_pods: S3Server,
    key: str,
) -> Release:
    """A server without a stream, which need know no Kafka."""
    values = {**chart_values(kafka_for_pods, s3_for_pods, stream), "mode": "kuberay"}
    values["settings"] = {name: it for name, it in stream.settings.items() if name != "kafka"}
    values["stream"] = {"enabled": False}
    values["serve"] = {
        "enabled": True,
        "settings": {"workers": {"grace_s": 20}},
        "service": {"port": PORT},
        # The default needs 50,200 open files, which not every machine allows.
        "maxConnections": 4000,
    }
    values["secrets"] |= {"httpKeys": {"name": "http-keys"}}
    values["test"]["httpKey"] = {"name": "test-key"}
    # Two CPUs for Ray, which rounds up: for a replica, and for a worker of the stream.
    requests = {**values["workers"]["resources"]["requests"], "cpu": "1100m"}
    values["workers"]["resources"] = {**values["workers"]["resources"], "requests": requests}
    release = Release(namespace, values)
    with release.install() as running:
        end(running)
    return release


@pytest.fixture
def clients(release: Release, key: str) -> Iterator[ServiceClients]:
    """They begin when the head has been ready for a while."""
    headers = {"authorization": f"Bearer {key}", "content-type": "image/png"}
    body = sample_png()
    with ServiceClients(release.kubectl, SERVICE, "/v1/classify", body, headers) as clients:
        clients.start(fresh=FRESH, kept=KEPT)
        eventually(lambda: len(clients.warm()) == 1, READY_S, 0.5)
        assert clients.failed == []
        yield clients


def test_helm_test_waits_for_the_server_and_has_an_object_classified(release: Release) -> None:
    printed = release.helm("test", NAME, "--timeout", "8m")
    assert "Phase:          Succeeded" in printed
    assert re.search(r"shapes: \w+ \([\w ]+ [01]\.\d{3}\)", printed)
    assert re.search(r"/v1/classify classified s3://\S+", printed)


def test_an_upgrade_puts_the_stream_beside_the_server(
    release: Release, stream: PodStream, clients: ServiceClients, result: dict[str, Any]
) -> None:
    before = release.identities("head")
    release.values = copy.deepcopy(release.values)
    release.values["settings"] = stream.settings
    release.values["stream"] = {"enabled": True}
    with release.upgrade() as running:
        end(running)
    result["upgrade"] = until_another_answers(release, before, clients)
    stream.send(PARTITIONS)
    stream.until_all()
    printed = release.helm("test", NAME, "--timeout", "8m")
    assert "was classified" in printed


def test_a_deleted_head_comes_back_with_both(
    release: Release, stream: PodStream, clients: ServiceClients, result: dict[str, Any]
) -> None:
    before = release.identities("head")
    (head,) = before
    with stream.under_load() as sent:
        with watched_end(release.kubectl, head) as codes:
            release.kubectl("delete", "pod", head, "--wait=false")
        measured = until_another_answers(release, before, clients)
    stream.until_all()
    longest = pauses("deletion of the head", stream.published(sent))
    result["head_deleted"] = {**measured, "without_an_outcome_s": longest}
    # Ray ends with 1 after SIGTERM; one that was killed has 137. The driver loses Ray while it
    # takes its application away, after its requests and its workers. So it may end with 1 too.
    assert codes["ray-head"] == 1
    assert codes["driver"] in (0, 1)


def until_another_answers(
    release: Release, before: dict[str, str], clients: ServiceClients
) -> dict[str, Any]:
    """What clients have seen until the next head answered as the one before. From when it is
    ready no request fails."""
    old = set(clients.answered)
    eventually(lambda: release.another_is_ready("head", before), READY_S, 0.5)
    eventually(lambda: len(clients.warm() - old) == 1, READY_S, 0.5)
    clients.stop()
    ((address, _),) = clients.warm() - old
    assert [it for it in clients.failed if address in it] == []
    measured = {
        "without_an_answer_s": round(clients.pause_s(), 1),
        "answered": clients.answered.total(),
        "failed": clients.failures(),
    }
    print(json.dumps(measured, indent=1))
    return measured
