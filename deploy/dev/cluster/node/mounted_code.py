"""The developer's code for pods: volumes of the tree and of its environment's packages.

PodSecurity `restricted` refuses a pod that mounts a folder of its node, and allows one that mounts
a claim. So the folders are volumes, each bound to a claim of the namespace.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

from deploy.dev.cluster.kubectl import Kubectl, Object
from deploy.dev.cluster.node.image import CODE, SITE_PACKAGES
from deploy.dev.cluster.programs import ROOT


def folders() -> dict[str, tuple[Path, str]]:
    """By the claim's name: a folder of this machine, and where pods mount it."""
    return {
        "code": (ROOT, CODE),
        "site-packages": (Path(sysconfig.get_path("purelib")).resolve(), SITE_PACKAGES),
    }


def provide(kubectl: Kubectl, **more: Path) -> None:
    """Make claims `code` and `site-packages` in the namespace, and one for each folder more."""
    given = {name: folder for name, (folder, _) in folders().items()} | more
    for name, folder in given.items():
        kubectl.apply(_volume(kubectl.namespace, name, folder), _claim(kubectl.namespace, name))
    claims = [f"pvc/{name}" for name in given]
    kubectl.wait("jsonpath={.status.phase}=Bound", *claims)


def withdraw(kubectl: Kubectl) -> None:
    """Remove the namespace's volumes; its claims go with the namespace."""
    kubectl("delete", "pv", "-l", f"clipstream.dev/namespace={kubectl.namespace}", "--wait=false")


def volumes() -> list[Object]:
    """A pod's `volumes`."""
    return [
        {"name": name, "persistentVolumeClaim": {"claimName": name, "readOnly": True}}
        for name in folders()
    ]


def mounts() -> list[Object]:
    """A container's `volumeMounts`."""
    return [
        {"name": name, "mountPath": path, "readOnly": True} for name, (_, path) in folders().items()
    ]


def _volume(namespace: str, name: str, folder: Path) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"{namespace}-{name}",
            "labels": {"clipstream.dev/namespace": namespace},
        },
        "spec": {
            **_COMMON,
            "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": name},
        },
    }


def _claim(namespace: str, name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            **_COMMON,
            "volumeName": f"{namespace}-{name}",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


_COMMON = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
