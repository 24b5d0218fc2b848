"""The simulated cluster: Kubernetes' own scheduler and admission, on nodes that kwok plays."""

from __future__ import annotations

import pytest

from deploy.dev.cluster.kubectl import Kubectl, KubectlError
from deploy.dev.cluster.simulation import GPU
from tests.rigs.kubernetes.pods import phase, phases, pod
from tests.rigs.waiting import eventually

pytestmark = pytest.mark.component

TOLERATED = [{"key": GPU, "operator": "Exists"}]


def test_a_pod_gets_a_whole_gpu_or_waits(simulated: Kubectl, gpu_nodes: list[str]) -> None:
    one = {"limits": {GPU: "1"}}
    workers = [
        pod(f"worker-{number}", "--version", resources=one, tolerations=TOLERATED)
        for number in range(9)
    ]
    simulated.apply(
        *({**each, "metadata": {**each["metadata"], "labels": {"role": "gpu"}}} for each in workers)
    )
    eventually(
        lambda: sorted(phases(simulated, "role=gpu").values()) == ["Pending"] + 8 * ["Running"],
        interval_s=0.2,
    )
    (waiting,) = (name for name, is_ in phases(simulated, "role=gpu").items() if is_ == "Pending")
    eventually(lambda: "Insufficient nvidia.com/gpu" in events_of(simulated, waiting))


def test_a_pod_without_a_toleration_stays_off_the_gpu_nodes(
    simulated: Kubectl, gpu_nodes: list[str]
) -> None:
    simulated.apply(pod("driver", "--version"))
    eventually(lambda: phase(simulated, "driver") == "Running", interval_s=0.2)
    assert simulated.get("pod", "driver")["spec"]["nodeName"] == gpu_nodes[0]


def test_the_namespace_refuses_a_pod_that_may_become_root(simulated: Kubectl) -> None:
    careless = pod("careless", "--version", securityContext={})
    with pytest.raises(KubectlError, match='violates PodSecurity "restricted'):
        simulated.apply(careless)


def test_the_server_names_a_field_that_it_does_not_know(simulated: Kubectl) -> None:
    misspelt = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "misspelt"},
        "spec": {"headGroupSpec": {"rayStartParams": {}, "templates": {}}},
    }
    with pytest.raises(KubectlError, match="templates"):
        simulated.apply(misspelt)


def events_of(kubectl: Kubectl, name: str) -> str:
    """Messages of the events of the object."""
    return kubectl("get", "events", "--field-selector", f"involvedObject.name={name}")
