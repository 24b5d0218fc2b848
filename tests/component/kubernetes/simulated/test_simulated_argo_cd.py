"""What KubeRay writes of a RayCluster on played nodes, and how healthy that is for Argo CD.

Its last result has the RayClusters that ``tests/unit/kubernetes/test_argo_cd.py`` judges.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.dev.cluster.kubectl import Kubectl, Object
from tests.rigs.charts import CHART, SMALL
from tests.rigs.kubernetes.argo_cd import health
from tests.rigs.kubernetes.release import NAME, Release
from tests.rigs.waiting import eventually

pytestmark = [
    pytest.mark.component,
    pytest.mark.timeout(600),
    pytest.mark.on_demand("make cluster-tests"),
]

WITHIN_S = 120.0

KEPT = (
    *("state", "reason", "conditions", "observedGeneration"),
    *("desiredWorkerReplicas", "readyWorkerReplicas"),
)
"""Of a status, for the result."""


def test_the_health_of_a_ray_cluster_follows_its_states(
    simulated: Kubectl, gpu_nodes: list[str], result: dict[str, Any]
) -> None:
    clusters: dict[str, Object] = {}
    result["clusters"] = clusters

    def until(name: str, wanted: str, because: str) -> None:
        """Wait until the cluster has this health for this reason, and keep what KubeRay wrote."""

        def judged() -> bool:
            (cluster,) = simulated.get("rayclusters")["items"]
            status = {key: cluster["status"][key] for key in KEPT if key in cluster["status"]}
            clusters[name] = {
                **{key: cluster[key] for key in ("apiVersion", "kind")},
                "metadata": {"generation": cluster["metadata"]["generation"]},
                "status": status,
            }
            found, why = health(cluster)
            return found == wanted and because in why

        simulated.wait("jsonpath={.status.observedGeneration}", "raycluster", "--all")
        eventually(judged, WITHIN_S, 0.3)

    def suspend(value: bool) -> None:
        patch = json.dumps({"spec": {"suspend": value}})
        simulated("patch", "raycluster", f"{NAME}-clipstream", "--type=merge", "-p", patch)

    # Helm would wait for the checks, and they for a node.
    values = {**SMALL, "mode": "kuberay", "doctor": {"enabled": False}}
    release = Release(simulated, values)
    simulated("cordon", *gpu_nodes)
    release.helm("install", NAME, str(CHART), values=release.values)
    until("starting", "Progressing", "being provisioned for first time")
    simulated("uncordon", *gpu_nodes)
    until("works", "Healthy", "")

    simulated("cordon", *gpu_nodes)
    simulated("delete", "pod", *release.pods("worker"))
    until("a worker is lost", "Progressing", "0 of 1 workers are Ready")
    simulated("uncordon", *gpu_nodes)
    until("works again", "Healthy", "")

    simulated("cordon", *gpu_nodes)
    simulated("delete", "pod", *release.pods("head"))
    until("the head is lost", "Progressing", "the head is not Ready")
    simulated("uncordon", *gpu_nodes)
    until("works again", "Healthy", "")

    suspend(True)
    until("suspended", "Suspended", "")
    simulated("create", "quota", "no-pods", "--hard=pods=0")
    suspend(False)
    until("no pod is admitted", "Degraded", "exceeded quota")
