"""Whole clusters: a simulated one for anybody, a real one for root."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.dev import go_programs
from deploy.dev.cluster import operators, programs, simulation
from deploy.dev.cluster.control_plane import ControlPlane
from deploy.dev.cluster.kubectl import Kubectl
from deploy.dev.cluster.node import requirements
from deploy.dev.cluster.node.kubelet import Node
from deploy.dev.cluster.node.network import SLOTS, Network
from deploy.dev.cluster.processes import Processes, stop_recorded
from deploy.dev.state import state_folder
from workers.embedded.cache import locked
from workers.embedded.processes import LOOPBACK, ServiceError

DEVELOPERS_SLOT = SLOTS[0]
"""That of `make cluster`. Tests take the others."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster. Services that pods shall reach listen on ``address``."""

    folder: Path
    kubectl: Kubectl
    address: str

    @property
    def kubeconfig(self) -> Path:
        return self.kubectl.kubeconfig


@contextmanager
def simulated(folder: Path) -> Iterator[Cluster]:
    """A real control plane with KubeRay's operator, whose nodes and pods kwok plays.

    Listens on loopback, needs no rights, and ends with this process.
    """
    go_programs.built(programs.EVERY_RUN)
    folder.mkdir(parents=True, exist_ok=True)
    processes = Processes(folder)
    try:
        control_plane = ControlPlane(processes)
        control_plane.start()
        simulation.start_kwok(processes, control_plane.kubectl)
        _start_operators(processes, control_plane.kubectl)
        yield Cluster(folder, control_plane.kubectl, LOOPBACK)
    finally:
        processes.stop()


@contextmanager
def real() -> Iterator[Cluster]:
    """A control plane with KubeRay's operator and one real node, in the first free slot.

    Ends with this process, pods included, however it ends. Then the next one in the slot removes
    what is left: a bridge without anything plugged in, empty folders and control groups.
    """
    for slot in SLOTS[1:]:
        with locked(folder_of(slot), wait=False) as held:
            if held:
                try:
                    yield start(slot, detached=False)
                finally:
                    remove(slot)
                return
    raise ServiceError(f"cluster: {len(SLOTS) - 1} run already; end one of them")


def folder_of(slot: int) -> Path:
    """Where the cluster of a slot keeps its state. Short: paths of sockets have a limit."""
    return state_folder("cluster", str(slot))


def start(slot: int, *, detached: bool) -> Cluster:
    """Start the real cluster of a slot that the caller holds: some 40 s."""
    if problem := requirements.missing():
        raise ServiceError(f"cluster: {problem}")
    go_programs.built(programs.EVERY_RUN)
    remove(slot)
    network = Network(slot)
    processes = Processes(folder_of(slot), detached=detached)
    node = Node(processes, network)
    try:
        node.create_network()
        control_plane = ControlPlane(processes, address=network.api, services=network.services)
        control_plane.start()
        node.start()
        _start_operators(processes, control_plane.kubectl)
    except BaseException:
        processes.stop()
        node.remove()
        raise
    return Cluster(processes.folder, control_plane.kubectl, network.gateway)


def remove(slot: int) -> list[int]:
    """End what runs in a slot that the caller holds, and remove all that it made on this machine
    but its logs. Ids of the processes that were ended."""
    folder = folder_of(slot)
    ended = stop_recorded(folder)
    Node(Processes(folder), Network(slot)).remove()
    for name in ("etcd", "keys", "volume-plugins"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("kubeconfig", "values.yaml"):
        (folder / name).unlink(missing_ok=True)
    return ended


def _start_operators(processes: Processes, kubectl: Kubectl) -> None:
    operators.install_custom_resources(kubectl)
    operators.start_kuberay(processes, kubectl)
