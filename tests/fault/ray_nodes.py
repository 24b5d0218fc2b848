"""A Ray cluster of several nodes on one machine: real daemons, each node with processors and an
environment of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ray import cluster_utils
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # it is compiled
from ray.core.generated import autoscaler_pb2

from workers.ray_start import OBJECT_STORE_BYTES, RAY_ENVIRONMENT

HEAD_LOST_S = 5
"""After so long without Ray's head its clients give up; a minute, where nobody says otherwise."""

HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""A node that is lost is missed soon."""


class RayNode:
    """One of a cluster's nodes."""

    def __init__(self, node: Any) -> None:
        self.id: str = node.node_id
        self._node = node

    def kill(self) -> None:
        """SIGKILL to its daemons, as when the machine is lost: of a head its GCS too."""
        for name in ("raylet", "gcs_server"):
            for info in self._node.all_processes.get(name, []):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(info.process.pid, signal.SIGKILL)


class RayNodes:
    """A cluster; its head is the first node."""

    def __init__(self, cpus: int) -> None:
        self._cluster = cluster_utils.Cluster()
        self.head = self.add(head=True, cpus=cpus)

    @property
    def address(self) -> str:
        address: str = self._cluster.address
        return address

    def add(self, *, head: bool = False, without: str | None = None, cpus: int = 1) -> RayNode:
        """A node more, without the environment's variables that begin with ``without``."""
        options: dict[str, Any] = (
            {"include_dashboard": False, "_system_config": HEALTH} if head else {}
        )
        with pytest.MonkeyPatch.context() as environment:
            for name in list(os.environ):
                if without is not None and name.startswith(without):
                    environment.delenv(name)
            node = self._cluster.add_node(
                num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES, **options
            )
        return RayNode(node)

    def announce_loss(self, node: RayNode, in_s: int) -> None:
        """What a cloud does that takes a spot instance back."""
        accepted, why = GcsClient(address=self.address).drain_node(
            node.id,
            autoscaler_pb2.DrainNodeReason.Value(  # type: ignore[attr-defined]
                "DRAIN_NODE_REASON_PREEMPTION"
            ),
            "the test takes it back",
            int((time.time() + in_s) * 1000),
        )
        assert accepted, why

    def stop(self) -> None:
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def ray_nodes(environment: Mapping[str, str], cpus: int = 1) -> Iterator[RayNodes]:
    """A cluster of one node with ``cpus``, in a folder of its own: nobody else sees its address
    file. Nodes have ``environment`` beside this process' own."""
    more = {**RAY_ENVIRONMENT, "RAY_gcs_rpc_server_reconnect_timeout_s": str(HEAD_LOST_S)}
    with (
        # Short: paths of sockets are.
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Ray's would drain the node that it started last, and exit.
        on_sigterm = signal.getsignal(signal.SIGTERM)
        for name, value in (more | {"RAY_TMPDIR": folder} | dict(environment)).items():
            patch.setenv(name, value)
        nodes = RayNodes(cpus)
        try:
            yield nodes
        finally:
            nodes.stop()
            signal.signal(signal.SIGTERM, on_sigterm)
