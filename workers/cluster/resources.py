"""The resources of a Ray cluster, as Ray counts them. A reservation is decided from these."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from workers.cluster.reservation import Resources, Room
from workers.supervise.node import Node

log = logging.getLogger(__name__)


def living_nodes() -> dict[Node, Room]:
    """The resources of each living node of the cluster."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types
    return {
        Node(node["NodeID"], node["NodeManagerHostname"]): _room(node["Resources"])
        for node in nodes
        if node["Alive"]
    }


def address_here() -> str:
    """The address by which other nodes know this one."""
    from ray.util import get_node_ip_address

    address: str = get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray has no types
    return address


def resources_of_cluster() -> Resources:
    """The living nodes, and one node of each group that an autoscaler can add."""
    return Resources(tuple(living_nodes().values()), tuple(_addable()))


def _room(resources: Mapping[str, float]) -> Room:
    return Room(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))


def _addable() -> list[Room]:
    """One node of each group that an autoscaler has reported to Ray. Not all autoscalers report
    groups, and Ray has no public way to ask. If nothing is known, there is none."""
    try:
        from ray._private.state import state

        config = state.get_cluster_config()
    except Exception as error:  # noqa: BLE001 - private, so that it may change in any way
        log.debug("node groups cannot be asked for: %s", error)
        return []
    groups = config.node_group_configs if config is not None else []
    return [_room(dict(group.resources)) for group in groups if group.max_count]
