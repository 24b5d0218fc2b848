"""Releases of the chart on nodes that kwok plays: what becomes of objects, pods and GPUs.

Pods here run nothing: every pod of a Job is complete and every other one Ready at once.
"""

from __future__ import annotations

from typing import Any

import pytest

from deploy.dev.cluster.kubectl import Kubectl, KubectlError, Object
from deploy.dev.cluster.simulation import GPU
from tests.rigs.charts import CHART
from tests.rigs.kubernetes.gpus import holders_of_gpus
from tests.rigs.kubernetes.release import (
    NAME,
    OBJECTS,
    HelmFailed,
    Release,
    end,
    evict,
)
from tests.rigs.waiting import eventually

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]

MODES = ("deployment", "kuberay")
WITHIN_S = 180.0

KINDS = (
    "pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,poddisruptionbudgets,"
    "statefulsets,jobs,rayclusters,rayjobs,persistentvolumeclaims"
)


def values(mode: str, **more: Any) -> dict[str, Any]:
    return {"mode": mode, "labelSets": {"files": {"shapes": "name: shapes\n"}}, **more}


def with_gpus(*, replicas: int, each: int) -> dict[str, Any]:
    """Values of workers that ask for GPUs and tolerate their nodes."""
    tolerated = [{"key": GPU, "operator": "Exists"}]
    return {"replicas": replicas, "gpu": {"count": each}, "tolerations": tolerated}


def of_release(kubectl: Kubectl) -> set[str]:
    """What there is of the release in its namespace, as kind/name."""
    listed: str = kubectl("get", KINDS, "-l", f"app.kubernetes.io/instance={NAME}", "-o", "name")
    return set(listed.split())


def everything(kubectl: Kubectl) -> set[str]:
    """All that the namespace has, with what controllers have made."""
    return set(kubectl("get", KINDS, "-o", "name").split())


def running(release: Release, component: str) -> dict[str, Object]:
    """Running pods of a component by name."""
    pods = release.pods(component)
    return {name: it for name, it in pods.items() if it["status"]["phase"] == "Running"}


@pytest.mark.parametrize("mode", MODES)
def test_a_release_comes_changes_goes_back_and_leaves_nothing(
    mode: str, simulated: Kubectl, gpu_nodes: list[str]
) -> None:
    before = everything(simulated)
    component = "driver" if mode == "deployment" else "worker"
    release = Release(simulated, values(mode))
    with release.install() as installing:
        end(installing)
    eventually(lambda: len(running(release, component)) == 1, WITHIN_S, 0.3)
    installed = of_release(simulated)
    first = release.identities(component)

    release.values = values(mode, settings={"batch": {"max_size": 8}}, workers={"replicas": 2})
    with release.upgrade() as upgrading:
        end(upgrading)
    eventually(lambda: len(running(release, component)) == 2, WITHIN_S, 0.3)
    eventually(lambda: not set(first.values()) & set(uids(release, component)), WITHIN_S, 0.3)

    release.helm("rollback", NAME)
    eventually(lambda: len(release.pods(component)) == 1, WITHIN_S, 0.3)
    assert without_pods(of_release(simulated)) == without_pods(installed)

    release.helm("uninstall", NAME)
    eventually(lambda: everything(simulated) == before, WITHIN_S, 0.3)


@pytest.mark.parametrize("mode", MODES)
def test_only_pods_with_workers_get_gpus_and_those_too_many_wait(
    mode: str, simulated: Kubectl, gpu_nodes: list[str]
) -> None:
    component = "driver" if mode == "deployment" else "worker"
    workers = with_gpus(replicas=3, each=4)
    release = Release(simulated, values(mode, workers=workers))
    release.helm("install", NAME, str(CHART), values=release.values)
    eventually(lambda: len(running(release, component)) == 2, WITHIN_S, 0.3)
    eventually(lambda: len(release.pods(component)) == 3, WITHIN_S, 0.3)
    taken = {it["spec"]["nodeName"] for it in running(release, component).values()}
    assert taken == set(gpu_nodes[1:])
    if mode == "kuberay":
        eventually(lambda: len(running(release, "head")) == 1, WITHIN_S, 0.3)
        (head,) = running(release, "head").values()
        assert head["spec"]["nodeName"] == gpu_nodes[0]


@pytest.mark.parametrize("mode", MODES)
def test_an_upgrade_never_holds_gpus_for_two_fleets(
    mode: str, simulated: Kubectl, gpu_nodes: list[str]
) -> None:
    """There is room for eight such pods. kwok ends a pod at once, so that this shows when new pods
    are made, and not how long old ones stay."""
    component = "driver" if mode == "deployment" else "worker"
    workers = with_gpus(replicas=2, each=1)
    release = Release(simulated, values(mode, workers=workers))
    release.helm("install", NAME, str(CHART), values=release.values)
    eventually(lambda: len(running(release, component)) == 2, WITHIN_S, 0.3)
    old = release.identities(component)
    with holders_of_gpus(simulated) as holders:
        eventually(lambda: holders.seen == set(old.values()))
        release.values = values(mode, workers=workers, settings={"batch": {"max_size": 8}})
        release.helm("upgrade", NAME, str(CHART), values=release.values)
        eventually(lambda: len(holders.seen) == 4, WITHIN_S, 0.3)
        eventually(lambda: len(running(release, component)) == 2, WITHIN_S, 0.3)
    assert not set(old.values()) & set(uids(release, component))
    assert holders.most == 2


@pytest.mark.parametrize("mode", MODES)
def test_an_eviction_waits_until_the_pod_before_is_back(
    mode: str, simulated: Kubectl, gpu_nodes: list[str]
) -> None:
    component = "driver" if mode == "deployment" else "worker"
    release = Release(simulated, values(mode, workers={"replicas": 2}))
    release.helm("install", NAME, str(CHART), values=release.values)
    eventually(lambda: len(running(release, component)) == 2, WITHIN_S, 0.3)
    eventually(lambda: release.evictable() == 1, WITHIN_S, 0.3)
    simulated("cordon", *gpu_nodes)
    first, second = running(release, component)
    evict(simulated, first)
    eventually(lambda: release.evictable() == 0, WITHIN_S, 0.3)
    with pytest.raises(KubectlError, match="disruption budget"):
        evict(simulated, second)
    simulated("uncordon", *gpu_nodes)
    eventually(lambda: release.evictable() == 1, WITHIN_S, 0.3)
    # A pod that is not Ready may go whatever the budget says.
    first, second = running(release, component)
    not_ready = {"conditions": [{"type": "Ready", "status": "False"}]}
    for pod in (first, second):
        simulated.patch_status("pod", pod, not_ready)
    eventually(lambda: release.evictable() == 0, WITHIN_S, 0.3)
    evict(simulated, first)


@pytest.mark.on_demand("make cluster-tests")
def test_only_a_number_of_pods_that_stay_works_for_a_ray_cluster(
    simulated: Kubectl, gpu_nodes: list[str]
) -> None:
    """For the other limits Kubernetes asks the pods' owner for a scale, which a RayCluster has not.
    So it lets no pod go."""
    release = Release(simulated, values("kuberay"))
    release.helm("install", NAME, str(CHART), values=release.values)
    eventually(lambda: len(running(release, "head")) == 1, WITHIN_S, 0.3)
    heads = {"matchLabels": {"app.kubernetes.io/component": "head"}}
    simulated.apply(
        budget("number", heads, {"minAvailable": 0}),
        budget("away", heads, {"maxUnavailable": 1}),
        budget("share", heads, {"minAvailable": "10%"}),
    )
    eventually(lambda: allowed(simulated, "number")[0] == 1, WITHIN_S, 0.3)
    eventually(lambda: allowed(simulated, "away") == (0, "SyncFailed"), WITHIN_S, 0.3)
    eventually(lambda: allowed(simulated, "share") == (0, "SyncFailed"), WITHIN_S, 0.3)


def test_the_head_with_rays_autoscaler_is_admitted(
    simulated: Kubectl, gpu_nodes: list[str]
) -> None:
    """The namespace admits what PodSecurity `restricted` allows. KubeRay adds the container."""
    release = Release(simulated, values("kuberay", ray={"autoscaler": {"enabled": True}}))
    release.helm("install", NAME, str(CHART), values=release.values)
    eventually(lambda: len(running(release, "head")) == 1, WITHIN_S, 0.3)
    (head,) = running(release, "head").values()
    containers = {it["name"]: it for it in head["spec"]["containers"]}
    assert containers.keys() == {"ray-head", "driver", "autoscaler"}
    have_tokens = {
        name
        for name, it in containers.items()
        if any("serviceaccount" in mount["mountPath"] for mount in it["volumeMounts"])
    }
    assert have_tokens == {"autoscaler"}
    eventually(lambda: len(running(release, "worker")) == 1, WITHIN_S, 0.3)


def test_an_installation_that_waits_for_pods_runs_no_checks_before(simulated: Kubectl) -> None:
    """So nobody creates the topics that the pods need. Here they wait for a node."""

    def doctors() -> set[str]:
        return {each for each in of_release(simulated) if each == f"job.batch/{OBJECTS}-doctor"}

    release = Release(simulated, values("deployment", topics={"create": True}))
    install = ("install", NAME, str(CHART))
    with pytest.raises(HelmFailed, match=f"{OBJECTS}.*not ready|deadline exceeded"):
        release.helm(*install, "--wait", "--timeout", "5s", values=release.values)
    assert doctors() == set()
    release.helm("uninstall", NAME)
    with release.begin(*install, values=release.values) as installing:
        eventually(lambda: len(doctors()) == 1, WITHIN_S, 0.3)
        installing.kill()


def test_a_backfill_gets_a_cluster_of_its_own(simulated: Kubectl, gpu_nodes: list[str]) -> None:
    job = {"name": "once", "source": "s3://photos/", "output": "s3://derived/once", "replicas": 2}
    release = Release(
        simulated, values("kuberay", stream={"enabled": False}, backfill={"jobs": [job]})
    )
    release.helm("install", NAME, str(CHART), values=release.values)
    # A head and two with workers.
    eventually(lambda: len(running(release, "backfill")) >= 3, WITHIN_S, 0.3)
    # And one that hands the command in. The operator makes it last.
    eventually(lambda: len(release.pods("backfill")) == 4, WITHIN_S, 0.3)
    # The job is Helm's still, although the operator has written to it.
    before = uids(release, "backfill")
    release.values = {**release.values, "labelSets": {"files": {"shapes": "name: other\n"}}}
    with release.upgrade() as upgrading:
        end(upgrading)
    assert uids(release, "backfill") == before
    release.helm("uninstall", NAME)
    eventually(lambda: not release.pods("backfill"), WITHIN_S, 0.3)


def budget(name: str, selector: Object, limit: Object) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"selector": selector, **limit},
    }


def allowed(kubectl: Kubectl, name: str) -> tuple[int, str]:
    """Evictions that the budget admits now, and why so many."""
    status = kubectl.get("poddisruptionbudget", name).get("status", {})
    reasons = [it["reason"] for it in status.get("conditions", ())]
    return status.get("disruptionsAllowed", 0), "".join(reasons)


def uids(release: Release, component: str) -> list[str]:
    return list(release.identities(component).values())


def without_pods(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("pod/")}
