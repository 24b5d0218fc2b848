"""An upgrade of the HTTP servers under load, mode `deployment`, on the real node."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.dev.cluster import supplies
from deploy.dev.cluster.kubectl import Kubectl
from tests.rigs.charts import CHART
from tests.rigs.kubernetes.release import NAME, OBJECTS, READY_S, Release
from tests.rigs.kubernetes.service_clients import ServiceClients
from tests.rigs.waiting import eventually
from workers.commands.serving.sample import sample_png
from workers.embedded.s3 import S3Server

pytestmark = [
    pytest.mark.component,
    pytest.mark.kubelet,
    pytest.mark.on_demand("make cluster-tests"),
    pytest.mark.timeout(2 * 1800),
]

PODS = 2
FRESH, KEPT = 2, 2
"""Clients that connect for each request, and clients that keep their connections."""

SERVICE = f"{OBJECTS}-http"
DEPLOYMENT = f"deployment/{OBJECTS}-serve"

ROLL_OUT_S = 900.0
"""For two starts of a Ray, one after the other, on a busy machine."""


@pytest.fixture(scope="module")
def installed(namespace: Kubectl, s3_for_pods: S3Server, key: str) -> Release:
    """HTTP servers alone: they are asked for images that come with the request."""
    namespace.apply(supplies.s3_secret(s3_for_pods))
    values = supplies.chart_values("", s3_for_pods)
    values["settings"] |= {
        "model": {"device": "cpu", "precision": "fp32", "threads": 1},
        "decode": {"processes": 1},
    }
    del values["settings"]["kafka"]
    values["secrets"]["httpKeys"] = {"name": "http-keys"}
    values["stream"] = {"enabled": False}
    # Three pods fit on two processors. Each starts a Ray, beside another that is asked.
    resources = {"requests": {"cpu": "600m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    values["serve"] = {"enabled": True, "replicas": PODS, "resources": resources}
    values["probes"] = {"startup": {"failureThreshold": 300}}
    release = Release(namespace, values)
    release.helm("install", NAME, str(CHART), values=values)
    wait_for_roll_out(release)
    return release


def wait_for_roll_out(release: Release) -> None:
    """Until all pods are new ones and ready, and no old one is left."""
    within = f"--timeout={ROLL_OUT_S:g}s"
    release.kubectl("rollout", "status", DEPLOYMENT, within, within_s=2 * ROLL_OUT_S)
    eventually(lambda: len(release.pods("serve")) == PODS, READY_S, 0.5)


@pytest.fixture
def clients(installed: Release, key: str) -> Iterator[ServiceClients]:
    headers = {"authorization": f"Bearer {key}", "content-type": "image/png"}
    body = sample_png()
    with ServiceClients(installed.kubectl, SERVICE, "/v1/classify", body, headers) as clients:
        yield clients.start(fresh=FRESH, kept=KEPT)


def test_an_upgrade_fails_no_request(
    release: Release, clients: ServiceClients, result: dict[str, Any]
) -> None:
    before = release.identities("serve")
    eventually(lambda: len(clients.warm()) == PODS, READY_S)
    old, answered_before = set(clients.answered), clients.answered.total()
    began = time.monotonic()
    values = copy.deepcopy(release.values)
    values["settings"]["batch"] = {"max_size": 4}
    release.helm("upgrade", NAME, str(CHART), values=values)
    wait_for_roll_out(release)
    rolled_out_s = time.monotonic() - began
    eventually(lambda: len(clients.warm() - old) == PODS, READY_S)
    clients.stop()
    result["upgrade"] = {
        "pods": PODS,
        "clients": {"one connection a request": FRESH, "kept connections": KEPT},
        "answered_before": answered_before,
        "answered_from_then_on": clients.answered.total() - answered_before,
        "failed": len(clients.failed),
        "longest_answer_s": round(clients.longest_s, 2),
        "until_the_last_old_pod_was_gone_s": round(rolled_out_s),
    }
    print(json.dumps(result["upgrade"], indent=1))
    assert clients.failed == []
    assert not set(before) & set(release.identities("serve"))
