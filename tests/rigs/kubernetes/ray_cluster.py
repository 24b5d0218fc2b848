"""A RayCluster of the thin image: a head with the driver beside it, and one group of workers."""

from __future__ import annotations

from typing import Any

from deploy.dev.cluster.kubectl import Object
from deploy.dev.cluster.node import image, mounted_code
from deploy.dev.cluster.supplies import S3_SECRET
from tests.rigs.kubernetes.pods import CONTAINER_SECURITY, POD_SECURITY
from tests.rigs.kubernetes.stream import SETTINGS

FILE = "/etc/clipstream/settings/settings.yaml"
HEALTH = 8080

OBJECT_STORE_BYTES = "100000000"

_WAIT_FOR_HEAD = "until ray health-check --address 127.0.0.1:6379 2>/dev/null; do sleep 1; done"
_WAIT_FOR_DRIVER = f"while (exec 3<>/dev/tcp/127.0.0.1/{HEALTH}) 2>/dev/null; do sleep 0.5; done"


def ray_cluster(name: str, *, workers: int = 1, ray_version: str) -> Object:
    """Runs `clipstream stream` with the settings of the namespace's ConfigMap."""
    head = _container(
        "ray-head",
        resources={"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}},
        # Both containers are told to end at once. Ray stays until the driver is done.
        lifecycle={"preStop": {"exec": {"command": ["bash", "-c", _WAIT_FOR_DRIVER]}}},
    )
    driver = _container(
        "driver",
        env={"RAY_ADDRESS": "127.0.0.1:6379"},
        command=["tini", "--", "bash", "-c"],
        args=[f"{_WAIT_FOR_HEAD}; exec clipstream stream --config {FILE}"],
        startupProbe=_probe("/healthz", 150),
        readinessProbe=_probe("/readyz", 3),
        resources={"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
    )
    worker = _container(
        "ray-worker",
        resources={
            "requests": {"cpu": "100m", "memory": "1Gi"},
            "limits": {"cpu": "1", "memory": "3Gi"},
        },
    )
    shared = {"object-store-memory": OBJECT_STORE_BYTES}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name},
        "spec": {
            "rayVersion": ray_version,
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0", "temp-dir": "/tmp/ray", **shared},
                # The driver finds the raylet in the list of processes.
                "template": {"spec": _pod(head, driver, shareProcessNamespace=True)},
            },
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": workers,
                    "minReplicas": 0,
                    "maxReplicas": workers,
                    "rayStartParams": shared,
                    "template": {"spec": _pod(worker)},
                }
            ],
        },
    }


def _pod(*containers: Object, **spec: Any) -> Object:
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 40,
        "securityContext": {**POD_SECURITY, "fsGroup": 2000},
        "containers": list(containers),
        "volumes": [
            *mounted_code.volumes(),
            {"name": "settings", "configMap": {"name": SETTINGS}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shared-mem", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
        ],
        **spec,
    }


def _container(name: str, *, env: dict[str, str] | None = None, **more: Any) -> Object:
    variables = {"RAY_AUTH_MODE": "disabled", **(env or {})}
    return {
        "name": name,
        "image": image.IMAGE,
        "imagePullPolicy": "Never",
        "securityContext": CONTAINER_SECURITY,
        "env": [
            *({"name": key, "value": value} for key, value in variables.items()),
            _secret("AWS_ACCESS_KEY_ID", "access-key-id"),
            _secret("AWS_SECRET_ACCESS_KEY", "secret-access-key"),
        ],
        "volumeMounts": [
            *mounted_code.mounts(),
            {"name": "settings", "mountPath": "/etc/clipstream/settings", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shared-mem", "mountPath": "/dev/shm"},
        ],
        **more,
    }


def _secret(variable: str, key: str) -> Object:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": S3_SECRET, "key": key}}}


def _probe(path: str, failures: int) -> Object:
    get = {"path": path, "port": HEALTH}
    return {"httpGet": get, "periodSeconds": 2, "failureThreshold": failures}
