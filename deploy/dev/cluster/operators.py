"""Operators that run beside the cluster as processes: KubeRay's."""

from __future__ import annotations

import time

from deploy.dev.cluster import programs
from deploy.dev.cluster.kubectl import Kubectl, has_condition
from deploy.dev.cluster.processes import Processes
from workers.embedded.processes import LOOPBACK, ServiceError

CUSTOM_RESOURCES_S = 300.0
"""It takes 5 s, and a minute on a machine that is busy with ten other things."""

INTERVAL_S = 0.5

NO_PORT = f"{LOOPBACK}:0"


def install_custom_resources(kubectl: Kubectl) -> None:
    """Have the API server know the kinds of KubeRay, KEDA and the Prometheus operator."""
    # Their schemas have 5 MB: `apply` would take several times as long as `create`.
    folder = str(programs.custom_resources())
    kubectl("create", "--validate=false", "-f", folder, within_s=CUSTOM_RESOURCES_S)
    # `kubectl wait` fails on a resource whose conditions nobody has written yet.
    deadline = time.monotonic() + CUSTOM_RESOURCES_S
    while missing := [
        each["metadata"]["name"]
        for each in kubectl.get("customresourcedefinitions")["items"]
        if not has_condition(each, "Established")
    ]:
        if time.monotonic() > deadline:
            raise ServiceError(
                f"cluster: the API server serves no {missing} after {CUSTOM_RESOURCES_S:g} s"
            )
        time.sleep(INTERVAL_S)


def start_kuberay(processes: Processes, kubectl: Kubectl) -> None:
    """Start KubeRay's operator. It makes Ray clusters of RayCluster objects in all namespaces."""
    program = programs.program("kuberay")
    processes.start(
        "kuberay",
        [
            *(program, "--kubeconfig", kubectl.kubeconfig, "--enable-leader-election=false"),
            *("--metrics-addr", NO_PORT, "--health-probe-bind-address", NO_PORT),
            # It is outside the cluster, where a service's name means nothing.
            "--use-kubernetes-proxy",
        ],
        environment={"POD_NAMESPACE": "default"},
    )
