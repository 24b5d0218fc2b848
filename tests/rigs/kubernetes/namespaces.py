"""A namespace of a test's own, and what it held when the test failed."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.dev.cluster.clusters import Cluster
from deploy.dev.cluster.kubectl import Kubectl, KubectlError, restricted_namespace
from deploy.dev.cluster.node import mounted_code

LOG_LINES = 200

DELETION_S = 180.0
"""From the deletion of a namespace to the end of its pods."""


@contextmanager
def own_namespace(cluster: Cluster, test: str, *, played: bool = False) -> Iterator[Kubectl]:
    """kubectl in a new namespace that enforces `restricted`; all in it is deleted afterwards.

    Claims `code` and `site-packages` are in it, for ``pods``. Pods that are only ``played`` have no
    process that must end first.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", test.lower()).strip("-")[:40].rstrip("-")
    name = f"{readable}-{uuid.uuid4().hex[:8]}"
    kubectl = cluster.kubectl.within(name)
    kubectl.apply(restricted_namespace(name))
    # No pod is admitted before.
    kubectl.wait("create", "serviceaccount/default")
    try:
        mounted_code.provide(kubectl)
        yield kubectl
    finally:
        if played:
            kubectl("delete", "namespace", name, "--wait=false")
            kubectl("delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false")
        else:
            deadline = f"--timeout={DELETION_S:g}s"
            kubectl("delete", "namespace", name, deadline, within_s=2 * DELETION_S)
        mounted_code.withdraw(kubectl)


def describe(kubectl: Kubectl) -> str:
    """Objects, events and pods' logs of the namespace, for the report of a test that failed."""
    told = [
        _say(kubectl, "get", "all,pvc,rayclusters,rayjobs", "-o", "wide"),
        _say(kubectl, "get", "events", "--sort-by=.lastTimestamp"),
    ]
    try:
        pods = kubectl.get("pods")["items"]
    except KubectlError:
        pods = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod["status"]
        told.append(f"{name}: {json.dumps(status, indent=1)}")
        logs = ("logs", name, "--all-containers", "--prefix", f"--tail={LOG_LINES}")
        told.append(_say(kubectl, *logs))
        for container in status.get("containerStatuses", ()):
            if container["restartCount"]:
                before = ("logs", name, "-c", container["name"], f"--tail={LOG_LINES}")
                told.append(_say(kubectl, *before, "--previous"))
    return "\n".join(told)


def keep_evidence(item: pytest.Item, kubectl: Kubectl) -> None:
    """Add what the namespace holds to the test's report, if the test has failed."""
    reports = item.stash.get(REPORTS, {})
    if any(report.failed for report in reports.values()):
        print(describe(kubectl))


REPORTS: pytest.StashKey[dict[str, pytest.TestReport]] = pytest.StashKey()
"""A test's reports by phase; ``tests/component/kubernetes/conftest.py`` keeps them."""


def _say(kubectl: Kubectl, *arguments: str) -> str:
    try:
        return f"$ kubectl {' '.join(arguments)}\n{kubectl(*arguments)}"
    except KubectlError as problem:
        return str(problem)
