"""Nodes and pods that are played by kwok: no container runs."""

from __future__ import annotations

from deploy.dev.cluster import programs
from deploy.dev.cluster.kubectl import Kubectl, Object
from deploy.dev.cluster.processes import Processes
from workers.embedded.processes import LOOPBACK

GPU = "nvidia.com/gpu"
GPU_TAINT: Object = {"key": GPU, "value": "present", "effect": "NoSchedule"}
"""Keeps pods off nodes with GPUs that do not tolerate it."""


def start_kwok(processes: Processes, kubectl: Kubectl) -> None:
    """Have kwok play every node of the cluster: pods become Ready whatever their probes say."""
    program = programs.program("kwok")
    processes.start(
        "kwok",
        [program, "--kubeconfig", kubectl.kubeconfig, "--manage-all-nodes", "--node-ip", LOOPBACK],
    )


def node(
    name: str,
    *,
    gpus: int = 0,
    zone: str = "a",
    spot: bool = False,
    taints: tuple[Object, ...] = (),
) -> Object:
    """A node of 32 processors and 256 GiB, as a cloud's node pool has it."""
    resources = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "500Gi", "pods": "110"}
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": zone,
    }
    if gpus:
        resources[GPU] = str(gpus)
        labels["nvidia.com/gpu.present"] = "true"
    if spot:
        labels["karpenter.sh/capacity-type"] = "spot"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": list(taints)},
        "status": {"capacity": resources, "allocatable": resources, "phase": "Running"},
    }
