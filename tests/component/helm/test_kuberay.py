"""Mode kuberay: one RayCluster, the driver beside its head, and the order in which they end."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.rigs.charts import (
    SMALL,
    Object,
    environment,
    kinds,
    objects,
    one,
    pods,
    refusal,
)
from tests.rigs.root import ROOT
from workers.cluster.serving.environment import variables


def cluster(**more: Any) -> Object:
    found: Object = one(objects({**SMALL, "mode": "kuberay", **more}), "RayCluster")["spec"]
    return found


def head(spec: Object) -> Object:
    found: Object = spec["headGroupSpec"]["template"]["spec"]
    return found


def test_the_version_of_ray_is_that_of_the_image() -> None:
    pinned = re.findall(
        r"^ray==(\S+)", (ROOT / "constraints-production.txt").read_text(), re.MULTILINE
    )
    assert pinned == [cluster()["rayVersion"]]


def test_the_driver_shares_what_it_needs_of_the_head() -> None:
    pod = head(cluster())
    ray, driver = pod["containers"]
    assert (ray["name"], driver["name"]) == ("ray-head", "driver")
    # Ray finds its raylet in the list of processes.
    assert pod["shareProcessNamespace"] is True
    assert ray["image"] == driver["image"]
    shared = {
        mount["name"]: mount["mountPath"]
        for mount in driver["volumeMounts"]
        if mount in ray["volumeMounts"]
    }
    assert shared["tmp"] == "/tmp"
    # KubeRay would add a volume of its own under another name.
    assert shared["shared-mem"] == "/dev/shm"
    variables = environment(driver)
    assert variables["RAY_ADDRESS"] == "127.0.0.1:6379"
    assert variables["CLIPSTREAM_KAFKA__INSTANCE"] == "live-clipstream"
    assert driver["args"][0] == "stream"


def test_the_head_waits_for_its_driver() -> None:
    pod = head(cluster(settings={"endpoints": {"health_port": 8090}}))
    (*_, script) = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert "/dev/tcp/127.0.0.1/8090" in script
    assert pod["containers"][1]["ports"][0]["containerPort"] == 8090


@pytest.mark.parametrize(("grace", "drain"), [(None, 35), (20, 25)])
def test_each_end_has_time_for_the_one_before(grace: int | None, drain: int) -> None:
    settings = {} if grace is None else {"workers": {"grace_s": grace}}
    spec = cluster(settings=settings)
    (group,) = spec["workerGroupSpecs"]
    pod = group["template"]["spec"]
    variables = environment(pod["containers"][0])
    assert variables["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == str(drain)
    assert pod["terminationGracePeriodSeconds"] == drain + 15
    assert head(spec)["terminationGracePeriodSeconds"] == drain + 25
    # No worker is on the head.
    assert environment(head(spec)["containers"][0])["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "0"


@pytest.mark.parametrize("of", ["workers", "head"])
def test_a_pod_with_too_little_time_is_refused(of: str) -> None:
    given = {**SMALL, "mode": "kuberay", of: {"terminationGracePeriodSeconds": 40}}
    assert f"{of}.terminationGracePeriodSeconds is 40" in refusal(given)


def test_a_changed_template_replaces_the_cluster() -> None:
    spec = cluster()
    assert spec["upgradeStrategy"] == {"type": "Recreate"}
    changed = cluster(settings={"log": {"level": "debug"}})
    for before, after in zip(
        [spec["headGroupSpec"], *spec["workerGroupSpecs"]],
        [changed["headGroupSpec"], *changed["workerGroupSpecs"]],
        strict=True,
    ):
        checksums = [
            each["template"]["metadata"]["annotations"]["checksum/settings"]
            for each in (before, after)
        ]
        assert checksums[0] != checksums[1]
    assert cluster(labelSets={"files": {"shapes": "name: other\n"}}) == spec


def test_the_head_runs_no_worker_and_has_no_gpu() -> None:
    spec = cluster(workers={"gpu": {"count": 2, "resource": "nvidia.com/mig-1g.10gb"}})
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    for container in head(spec)["containers"]:
        assert environment(container)["NVIDIA_VISIBLE_DEVICES"] == "void"
        assert not [name for name in container["resources"]["limits"] if "nvidia" in name]
    (group,) = spec["workerGroupSpecs"]
    # KubeRay counts GPUs by names that end in gpu.
    assert group["rayStartParams"]["num-gpus"] == "2"
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/mig-1g.10gb"] == 2


def test_each_kind_of_gpu_is_a_group() -> None:
    spec = cluster(groups=[{"name": "l4", "replicas": 4}, {"name": "a10g", "replicas": 2}])
    sizes = {group["groupName"]: group["replicas"] for group in spec["workerGroupSpecs"]}
    assert sizes == {"l4": 4, "a10g": 2}


def test_rays_token_is_on_and_kuberay_makes_it() -> None:
    spec = cluster()
    assert spec["authOptions"] == {"mode": "token"}
    variables = environment(head(spec)["containers"][1])
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_AUTH_TOKEN"]["secretKeyRef"] == {
        "name": "live-clipstream",
        "key": "auth_token",
    }


def test_rays_token_can_be_that_of_a_secret() -> None:
    spec = cluster(secrets={"ray": {"name": "ray-token"}})
    assert spec["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    variables = environment(head(spec)["containers"][1])
    assert variables["RAY_AUTH_TOKEN"]["secretKeyRef"]["name"] == "ray-token"
    spec = cluster(ray={"auth": "disabled"})
    assert "authOptions" not in spec
    assert environment(head(spec)["containers"][1])["RAY_AUTH_MODE"] == "disabled"


def test_the_ports_of_ray_and_of_the_driver_differ() -> None:
    spec = cluster()
    ray, driver = head(spec)["containers"]
    numbers = [port["containerPort"] for each in (ray, driver) for port in each["ports"]]
    assert len(set(numbers)) == len(numbers)
    exported = spec["headGroupSpec"]["rayStartParams"]["metrics-export-port"]
    assert int(exported) in numbers
    assert int(exported) != driver["ports"][0]["containerPort"]
    # What KubeRay looks for by its name.
    assert {"gcs-server", "dashboard", "client", "metrics"} == {
        each["name"] for each in ray["ports"]
    }


def test_the_dashboard_listens_on_loopback() -> None:
    assert cluster()["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"


def test_the_autoscaler_is_restricted_too() -> None:
    assert "enableInTreeAutoscaling" not in cluster()
    spec = cluster(ray={"autoscaler": {"enabled": True}})
    options = spec["autoscalerOptions"]
    assert options["securityContext"]["readOnlyRootFilesystem"] is True
    assert options["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert options["resources"]["limits"] == {"memory": "512Mi"}
    (group,) = spec["workerGroupSpecs"]
    # The driver cannot start again in a pod that autoscaling v2 makes.
    assert options["version"] == "v1"
    token = {each["mountPath"]: each["name"] for each in options["volumeMounts"]}
    assert token["/var/run/secrets/kubernetes.io/serviceaccount"] == "kubernetes"
    # KubeRay mounts a volume of its own over the head's /tmp/ray. The driver must see the same.
    for container in head(spec)["containers"]:
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        assert mounts["/tmp/ray"] == "ray-logs"
        assert "kubernetes" not in mounts.values()
    # Ray decides how many there are.
    assert "replicas" not in group
    assert (group["minReplicas"], group["maxReplicas"]) == (1, 4)


def test_the_autoscaler_has_what_every_container_has() -> None:
    of_all: dict[str, list[Object]] = {
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraEnvFrom": [{"configMapRef": {"name": "proxies"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/certs", "readOnly": True}],
    }
    options = cluster(ray={"autoscaler": {"enabled": True}}, **of_all)["autoscalerOptions"]
    assert options["env"] == of_all["extraEnv"]
    assert options["envFrom"] == of_all["extraEnvFrom"]
    assert of_all["extraVolumeMounts"][0] in options["volumeMounts"]


def test_there_is_no_stateful_set_and_nobody_asks_the_api() -> None:
    manifest = objects({**SMALL, "mode": "kuberay"})
    assert not {"StatefulSet", "Deployment", "Role", "RoleBinding"} & kinds(manifest)
    assert one(manifest, "Service")["spec"]["selector"]["app.kubernetes.io/component"] == "head"


@pytest.mark.parametrize(
    ("workers", "autoscales", "stay"),
    [
        ({"replicas": 1}, False, 0),
        ({"replicas": 4}, False, 3),
        ({"replicas": 4, "podDisruptionBudget": {"maxUnavailable": 2}}, False, 2),
        ({"replicas": 5, "podDisruptionBudget": {"maxUnavailable": "50%"}}, False, 2),
        ({"replicas": 1, "podDisruptionBudget": {"maxUnavailable": 3}}, False, 0),
        ({"minReplicas": 3, "maxReplicas": 8}, True, 2),
    ],
)
def test_evictions_leave_so_many_worker_pods(workers: Object, autoscales: bool, stay: int) -> None:
    ray = {"autoscaler": {"enabled": autoscales}}
    manifest = objects({**SMALL, "mode": "kuberay", "workers": workers, "ray": ray})
    budget = one(manifest, "PodDisruptionBudget")
    assert budget["metadata"]["name"] == "live-clipstream-workers"
    # With `maxUnavailable` Kubernetes asks the RayCluster for a scale, which it has not.
    assert "maxUnavailable" not in budget["spec"]
    assert budget["spec"]["minAvailable"] == stay


def test_kueue_admits_the_cluster() -> None:
    manifest = objects({**SMALL, "mode": "kuberay", "kueue": {"queueName": "gpus"}})
    labels = one(manifest, "RayCluster")["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "gpus"
    assert all(
        "kueue.x-k8s.io/queue-name" not in pod["metadata"]["labels"] for pod in pods(manifest)
    )


SERVES = {"serve": {"enabled": True}, "secrets": {"httpKeys": {"name": "keys"}}}


@pytest.mark.parametrize(
    ("stream", "command"), [(True, ["serve", "--with-stream"]), (False, ["serve", "--config"])]
)
def test_one_driver_runs_the_server_too(stream: bool, command: list[str]) -> None:
    spec = cluster(stream={"enabled": stream}, **SERVES)
    _, driver = head(spec)["containers"]
    assert driver["args"][:2] == command
    assert {port["name"] for port in driver["ports"]} == {"health", "http"}


@pytest.mark.parametrize("stream", [True, False])
def test_a_head_gets_requests_while_a_replica_answers_whatever_the_stream_does(
    stream: bool,
) -> None:
    _, driver = head(cluster(stream={"enabled": stream}, **SERVES))["containers"]
    assert driver["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert driver["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    _, driver = head(cluster())["containers"]
    assert driver["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}


def test_ray_serve_has_its_variables_on_every_node() -> None:
    spec = cluster(**SERVES)
    (group,) = spec["workerGroupSpecs"]
    for ray in (head(spec)["containers"][0], group["template"]["spec"]["containers"][0]):
        has = environment(ray)
        assert variables(haproxy=True, folder=None).items() <= has.items()
        module, _, name = has["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].partition(":")
        assert hasattr(pytest.importorskip(module), name)
    python = cluster(settings={"serve": {"proxy": "python"}}, **SERVES)
    assert environment(head(python)["containers"][0])["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
