"""Addresses of clusters that run on one machine at a time."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import combinations

from deploy.dev.cluster.node.network import SLOTS, Network


def test_no_two_slots_share_an_address_or_a_bridge() -> None:
    for one, other in combinations(map(Network, SLOTS), 2):
        assert one.bridge != other.bridge
        networks = [
            ip_network(text) for each in (one, other) for text in (each.pods, each.services)
        ]
        assert not any(first.overlaps(second) for first, second in combinations(networks, 2))


def test_the_api_server_has_the_first_address_of_the_services() -> None:
    for network in map(Network, SLOTS):
        assert ip_address(network.api) == ip_network(network.services)[1]
        assert ip_address(network.gateway) in ip_network(network.pods)


def test_a_bridge_has_a_name_that_linux_takes() -> None:
    assert all(len(Network(slot).bridge) <= 15 for slot in SLOTS)
