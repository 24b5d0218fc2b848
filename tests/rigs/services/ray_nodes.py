"""A Ray cluster of several nodes on one machine: real daemons, each node with processors and an
environment of its own.

A process of its own holds the cluster: Ray's clients of daemons that are killed are not left behind
in the tests' process, where another Ray is started next.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple, TypeVar

import pytest

from workers.cluster.start import OBJECT_STORE_BYTES, RAY_ENVIRONMENT, end_daemons

T = TypeVar("T")

HEAD_LOST_S = 5
"""After so long without Ray's head its clients give up; a minute, where nobody says otherwise."""

ATTEMPTS = 3
"""To start a node."""

HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""A node that is lost is missed soon."""


class RayNode(NamedTuple):
    """One of a cluster's nodes, and the processes that end with its machine."""

    id: str
    daemons: tuple[int, ...]

    def kill(self) -> None:
        """SIGKILL to its daemons, as when the machine is lost: of a head its GCS too."""
        for process in self.daemons:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


class RayNodes:
    """A cluster; its first node is the head."""

    def __init__(self) -> None:
        self._holder = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.address = ""

    def add(
        self, environment: Mapping[str, str | None] | None = None, **options: object
    ) -> RayNode:
        """A node more. ``environment`` changes variables, or takes them out where it has None;
        ``options`` are Ray's for a node."""
        node, self.address = self._ask(_add, dict(environment or {}), options)
        return node

    def announce_loss(self, node: RayNode, in_s: int) -> None:
        """What a cloud does that takes a spot instance back."""
        accepted, why = self._ask(_announce_loss, self.address, node.id, in_s)
        assert accepted, why

    def lose(self, node: RayNode) -> None:
        """Kill the node. Its other processes end once they see that the daemon is gone; before it
        is reaped they take it for alive."""
        node.kill()
        self._ask(_reap, node.daemons)

    def stop(self) -> None:
        self._ask(_stop)
        self._holder.shutdown()

    def _ask(self, call: Callable[..., T], *arguments: object) -> T:
        return self._holder.submit(call, *arguments).result()


@contextlib.contextmanager
def ray_nodes(environment: Mapping[str, str]) -> Iterator[RayNodes]:
    """A cluster in a folder of its own: nobody else sees its address file. Nodes have
    ``environment`` beside this process' own."""
    more = {**RAY_ENVIRONMENT, "RAY_gcs_rpc_server_reconnect_timeout_s": str(HEAD_LOST_S)}
    with (
        # Short: paths of sockets are.
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in (more | {"RAY_TMPDIR": folder} | dict(environment)).items():
            patch.setenv(name, value)
        nodes = RayNodes()
        try:
            yield nodes
        finally:
            nodes.stop()


# -- in the process that holds the cluster --------------------------------------------------------

_held: list[Any] = []


def _add(environment: dict[str, str | None], options: dict[str, Any]) -> tuple[RayNode, str]:
    from ray import cluster_utils

    first = not _held
    if first:
        _held.append(cluster_utils.Cluster())
        options = {"include_dashboard": False, "_system_config": HEALTH, **options}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        node = _started(_held[0], options)
    daemons = tuple(
        info.process.pid
        for name in ("raylet", "gcs_server")
        for info in node.all_processes.get(name, [])
    )
    return RayNode(node.node_id, daemons), _held[0].address


def _started(cluster: Any, options: dict[str, Any]) -> Any:
    """Ray gives a node 30 s to start, whatever else the machine does: so try again."""
    for attempt in range(ATTEMPTS):
        try:
            return cluster.add_node(object_store_memory=OBJECT_STORE_BYTES, **options)
        except Exception as error:
            end_daemons(error)
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _reap(daemons: tuple[int, ...]) -> None:
    for node in _held[0].list_all_nodes():
        for processes in node.all_processes.values():
            for info in processes:
                if info.process.pid in daemons:
                    info.process.wait()


def _announce_loss(address: str, node: str, in_s: int) -> tuple[bool, str]:
    from ray import _raylet
    from ray.core.generated import autoscaler_pb2

    reason = vars(autoscaler_pb2)["DrainNodeReason"].Value("DRAIN_NODE_REASON_PREEMPTION")
    client = vars(_raylet)["GcsClient"](address=address)
    accepted, why = client.drain_node(
        node, reason, "the test takes it back", int((time.time() + in_s) * 1000)
    )
    return bool(accepted), str(why)


def _stop() -> None:
    if _held:
        _held[0].shutdown()
