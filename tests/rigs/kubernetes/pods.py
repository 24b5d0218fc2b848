"""Pods that PodSecurity `restricted` admits, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.dev.cluster.kubectl import Kubectl, KubectlError, Object
from deploy.dev.cluster.node import image, mounted_code
from tests.rigs.waiting import eventually

ANY_USER = 1000650000
"""A user that the image does not know, of the range that OpenShift draws from."""

STAY = ("tini", "--", "sleep", "infinity")
"""The command of a pod that does nothing until it is told to end, and then ends at once."""

READY_S = 120.0
"""From the pod's creation to Ready: 2 s, and longer on a busy machine."""

POD_SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": ANY_USER,
    "runAsGroup": 0,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod(
    name: str,
    *args: str,
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    resources: Object | None = None,
    **spec: Any,
) -> Object:
    """A pod that runs the thin image once: ``pod("version", "--version")`` is `clipstream
    --version`. ``spec`` adds to the pod's specification."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image.IMAGE,
        "imagePullPolicy": "Never",
        "args": list(args),
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "securityContext": CONTAINER_SECURITY,
        "resources": resources or {},
        "volumeMounts": [
            *mounted_code.mounts(),
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shared-mem", "mountPath": "/dev/shm"},
        ],
    }
    if command:
        container["command"] = list(command)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": POD_SECURITY,
            "containers": [container],
            "volumes": [
                *mounted_code.volumes(),
                {"name": "tmp", "emptyDir": {}},
                {"name": "shared-mem", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
            ],
            **spec,
        },
    }


def run_to_end(kubectl: Kubectl, described: Object, within_s: float = READY_S) -> str:
    """Create the pod, wait for its end, and return what it has printed.

    Raises ``AssertionError`` with it if the pod has failed.
    """
    name = described["metadata"]["name"]
    kubectl.apply(described)
    eventually(lambda: phase(kubectl, name) in ("Succeeded", "Failed"), within_s, interval_s=0.2)
    printed = kubectl("logs", name)
    assert phase(kubectl, name) == "Succeeded", printed
    return printed


def phase(kubectl: Kubectl, name: str) -> str:
    """The pod's phase; empty while there is no such pod."""
    try:
        return kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}")
    except KubectlError:
        return ""


def phases(kubectl: Kubectl, selector: str) -> dict[str, str]:
    """Phases of the pods with these labels, by name."""
    found = kubectl.get("pods", "-l", selector)["items"]
    return {each["metadata"]["name"]: each["status"]["phase"] for each in found}
