"""A real node: kubelet, containerd and a DNS server, on a bridge of their own."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from deploy.dev.cluster import keys, programs
from deploy.dev.cluster.kubectl import Kubectl, KubectlError, has_condition
from deploy.dev.cluster.node import dns, image
from deploy.dev.cluster.node.network import Network
from deploy.dev.cluster.node.probe import Refused
from deploy.dev.cluster.node.requirements import PLUGINS, need
from deploy.dev.cluster.processes import Processes
from workers.embedded.processes import ServiceError

NAME = "node-1"

CONTROL_GROUPS = Path("/sys/fs/cgroup")

WEIGHT = 8
"""Processes of this machine that get as much of the processors as all pods together. A group by
itself weighs as much as one: beside other work, pods would take minutes to start."""

PRIVATE = (
    "/run/containerd",
    "/run/netns",
    # The kubelet makes it, whatever `volumePluginDir` says.
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
)
"""Folders with fixed names that containerd and the kubelet write to. The node has its own."""

IMPORT_DEADLINE_S = 300.0

FIRST_POD_S = 120.0
"""It runs after 2 s, and later on a busy machine."""


class Node:
    """Joins the cluster whose ``kubeconfig`` and keys are in the folder of ``processes``.

    ``create_network`` comes first: the API server listens on the bridge. Needs root and the
    packages that ``requirements.missing`` names. Everything that ``start`` makes on the machine is
    gone after ``remove``: network, control groups, folders.
    """

    def __init__(self, processes: Processes, network: Network) -> None:
        self._processes = processes
        self._network = network
        self._folder = processes.folder
        self._group = network.bridge
        # Of all slots: a folder that another cluster's namespaces cover must stay.
        self._made_file = self._folder.parent / "made-folders"

    def create_network(self) -> None:
        self._network.create()

    def start(self) -> None:
        """Start the node and wait until it has run a pod: some 20 s.

        Raises ``Refused`` where it does not come so far, with the words of what failed, and
        ``ServiceError`` if the DNS server of pods does not answer.
        """
        folder = self._folder
        kubectl = Kubectl(folder / "kubeconfig")
        kubelet = programs.program("kubelet")
        images = image.archive()
        self._make_folders()
        self._make_control_groups()
        self._network.write_plugins(folder / "cni")
        (folder / "containerd.toml").write_text(self._containerd())
        (folder / "kubelet.yaml").write_text(yaml.safe_dump(self._kubelet()))
        containerd = [need("containerd"), "--config", folder / "containerd.toml"]
        agent = [
            *(kubelet, "--kubeconfig", folder / "kubeconfig"),
            *("--config", folder / "kubelet.yaml", "--root-dir", folder / "kubelet"),
            *("--hostname-override", NAME, "--node-ip", self._network.gateway),
        ]
        inside: list[str | Path] = [sys.executable, "-m", "deploy.dev.cluster.node.inside", folder]
        for command in (containerd, agent):
            inside.append(json.dumps([str(part) for part in command]))
        try:
            self._processes.start(
                "node",
                [*inside, *PRIVATE],
                lambda: _is_ready(kubectl),
                environment={"PYTHONPATH": str(programs.ROOT)},
            )
            import_images(folder, images, IMPORT_DEADLINE_S)
            _try_a_pod(kubectl)
        except (ServiceError, KubectlError) as failed:
            raise Refused(f"the node does not work here: {failed}") from failed
        self._processes.start(
            "dns",
            [
                *(sys.executable, "-m", "deploy.dev.cluster.node.dns"),
                *(folder / "kubeconfig", self._network.gateway),
            ],
            lambda: dns.knows(self._network.gateway, f"kubernetes.default.{dns.DOMAIN}"),
            environment={"PYTHONPATH": str(programs.ROOT)},
        )

    def remove(self) -> None:
        """Remove what the node made, once its processes have ended. Idempotent."""
        self._network.remove()
        for controller in [CONTROL_GROUPS, *CONTROL_GROUPS.glob("*")]:
            _remove_groups(controller / self._group)
        if self._made_file.is_file() and not Network.any():
            for made in reversed(self._made_file.read_text().splitlines()):
                # Whoever else uses it now keeps it.
                with contextlib.suppress(OSError):
                    Path(made).rmdir()
            self._made_file.unlink()
        for name in ("containerd", "state", "opt", "kubelet", "pod-logs", "cni"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        for name in (
            "containerd.toml",
            "kubelet.yaml",
            "containerd.sock",
            "containerd.sock.ttrpc",
        ):
            (self._folder / name).unlink(missing_ok=True)

    def _make_folders(self) -> None:
        """The folders that the namespaces cover; those that were not there are noted."""
        with self._made_file.open("a") as made:
            for name in PRIVATE:
                for folder in reversed([Path(name), *Path(name).parents]):
                    if not folder.exists():
                        folder.mkdir()
                        made.write(f"{folder}\n")

    def _make_control_groups(self) -> None:
        """The group under which the kubelet keeps the pods', apart from any other kubelet's."""
        if (CONTROL_GROUPS / "cgroup.controllers").is_file():
            (CONTROL_GROUPS / self._group).mkdir(exist_ok=True)
            _weigh(CONTROL_GROUPS / self._group)
            return
        for controller in CONTROL_GROUPS.iterdir():
            if controller.is_dir() and not controller.is_symlink():
                (controller / self._group).mkdir(exist_ok=True)
                _weigh(controller / self._group)
        # A new group of version 1 has no processors and no memory until it is told which.
        for name in ("cpuset.cpus", "cpuset.mems"):
            whole = CONTROL_GROUPS / "cpuset" / name
            if whole.is_file():
                (whole.parent / self._group / name).write_text(whole.read_text())

    def _containerd(self) -> str:
        folder = self._folder
        return f"""\
version = 2
root = "{folder / "containerd"}"
state = "{folder / "state"}"
[grpc]
  address = "{folder / "containerd.sock"}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder / "opt"}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image.PAUSE}"
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE no process can be made less likely to be killed for memory.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{folder / "cni/net.d"}"
"""

    def _kubelet(self) -> dict[str, object]:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self._network.gateway,
            "healthzPort": 0,
            # A changed ConfigMap reaches the pods' files so soon; after a minute by default.
            "syncFrequency": "5s",
            # Only the API server, by its certificate.
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self._folder / "keys" / keys.AUTHORITY)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self._folder / 'containerd.sock'}",
            "volumePluginDir": str(self._folder / "kubelet/plugins"),
            "podLogsDir": str(self._folder / "pod-logs"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._group}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            # The images are imported, and cannot be had again.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            # No service's address is forwarded.
            "makeIPTablesUtilChains": False,
            "clusterDNS": [self._network.gateway],
            "clusterDomain": "cluster.local",
            # No more than this process may have open.
            "maxOpenFiles": min(files, 20_000) if files > 0 else 20_000,
        }


def import_images(folder: Path, images: Path, within_s: float) -> None:
    """Give the node of a cluster in ``folder`` the images of an archive, for pods that pull none.

    Raises ``ServiceError`` with containerd's words, or after that many seconds.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours, no shell
            [
                *(need("ctr"), "--address", folder / "containerd.sock"),
                *("--namespace", "k8s.io", "images", "import", images),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(f"ctr images import {images}: not done in {within_s:g} s") from None
    if done.returncode != 0:
        raise ServiceError(f"ctr images import {images}: {done.stderr.strip()}")


def _is_ready(kubectl: Kubectl) -> bool:
    try:
        return has_condition(kubectl.get("node", NAME), "Ready")
    except KubectlError:
        return False


def _try_a_pod(kubectl: Kubectl) -> None:
    """Run a pod and delete it: what a kernel refuses late shows here."""
    name = "first-pod"
    pause = {"name": "pause", "image": image.PAUSE, "imagePullPolicy": "Never"}
    # No pod is admitted before.
    kubectl.wait("create", "serviceaccount/default")
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [pause], "automountServiceAccountToken": False},
        }
    )
    try:
        kubectl.wait("condition=Ready", f"pod/{name}", within_s=FIRST_POD_S)
    except KubectlError as late:
        events = kubectl("get", "events", "--field-selector", f"involvedObject.name={name}")
        raise KubectlError(f"{late}\n{events}") from late
    kubectl("delete", "pod", name, "--now")


def _weigh(group: Path) -> None:
    """Give the group the weight of several processes, if it is one of the processors."""
    for name, of_one_process in (("cpu.shares", 1024), ("cpu.weight", 100)):
        if (group / name).is_file():
            (group / name).write_text(str(WEIGHT * of_one_process))


def _remove_groups(top: Path) -> None:
    if not top.is_dir():
        return
    for child in top.iterdir():
        if child.is_dir():
            _remove_groups(child)
    with contextlib.suppress(OSError):
        top.rmdir()
