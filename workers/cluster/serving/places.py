"""Where the driver finds the metrics of its replicas."""

from __future__ import annotations

from collections.abc import Sequence

from workers.cluster.serving.board import Heard, State
from workers.endpoints.fleet import Place, reached_from_here
from workers.endpoints.identity import EndpointId
from workers.settings.loading import Settings

KIND = "serve"
"""The kind of a replica in a discovery file."""


def endpoint_of(settings: Settings, node: str, slot: int) -> EndpointId:
    """Identity of a replica's endpoint. The node (a host's name) is part of the identity, because
    each node counts its replicas from 0."""
    return EndpointId(KIND, settings.instance, slot, {"node": node})


def replica_places(settings: Settings, replicas: Sequence[Heard]) -> list[Place]:
    """The replicas that live, and those that died and have no successor yet: no address."""
    latest: dict[tuple[str, int], Heard] = {}
    for each in sorted(replicas, key=lambda heard: heard.age_s, reverse=True):
        latest[each.report.node, each.slot] = each
    return [
        Place(endpoint_of(settings, node, slot), _address(settings, heard))
        for (node, slot), heard in sorted(latest.items())
        if heard.report.state is not State.ENDED
    ]


def _address(settings: Settings, heard: Heard) -> str | None:
    listening = heard.report.listening
    if listening is None or not heard.lives:
        return None
    return reached_from_here(settings.endpoints.host, listening, heard.report.node)
