"""The cluster's DNS server: which addresses a service's name has, and the answer's bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from http.client import RemoteDisconnected
from typing import Any

import pytest

from deploy.dev.cluster.node.dns import (
    FRESH_S,
    A,
    Addresses,
    Endpoints,
    addresses,
    answer,
    question,
)

AAAA = 28
NO_ERROR, SERVER_FAILED, NO_SUCH_NAME = 0, 2, 3

KNOWN = {"head.ns.svc.cluster.local": ["10.88.77.5", "10.88.77.6"]}


def endpoint(address: str, *, ready: bool | None = True, hostname: str | None = None) -> Any:
    named = {"hostname": hostname} if hostname else {}
    return {"addresses": [address], "conditions": {"ready": ready}, **named}


def slice_of(*endpoints: Any, family: str = "IPv4", service: str = "head") -> Any:
    labels = {"kubernetes.io/service-name": service}
    return {
        "metadata": {"namespace": "ns", "labels": labels},
        "addressType": family,
        "endpoints": list(endpoints),
    }


def told(reply: bytes) -> tuple[int, list[str]]:
    """The code of an answer, and its addresses."""
    identity, flags, _, count, _, _ = struct.unpack_from(">HHHHHH", reply)
    assert identity == 0xBEEF
    records = [reply[len(reply) - 16 * number :][:16] for number in range(count, 0, -1)]
    return flags & 0xF, [".".join(str(byte) for byte in record[12:]) for record in records]


def test_a_service_has_the_addresses_of_all_its_slices() -> None:
    found = addresses([slice_of(endpoint("10.0.0.1")), slice_of(endpoint("10.0.0.2"))])
    assert found == {"head.ns.svc.cluster.local": ["10.0.0.1", "10.0.0.2"]}


def test_an_endpoint_that_is_not_ready_has_no_name_of_its_own_or_of_its_service() -> None:
    found = addresses([slice_of(endpoint("10.0.0.1", ready=False, hostname="driver-0"))])
    assert found == {"head.ns.svc.cluster.local": []}


def test_an_endpoint_of_unknown_readiness_counts_as_ready() -> None:
    found = addresses([slice_of(endpoint("10.0.0.1", ready=None))])
    assert found == {"head.ns.svc.cluster.local": ["10.0.0.1"]}


def test_a_pod_with_a_host_name_has_a_name_below_its_service() -> None:
    found = addresses([slice_of(endpoint("10.0.0.1", hostname="driver-0"))])
    assert found["driver-0.head.ns.svc.cluster.local"] == ["10.0.0.1"]


def test_other_families_of_addresses_are_left_out() -> None:
    assert addresses([slice_of(endpoint("fd00::1"), family="IPv6")]) == {}


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("head.ns.svc.cluster.local", A, (NO_ERROR, ["10.88.77.5", "10.88.77.6"])),
        ("HEAD.ns.svc.Cluster.Local", A, (NO_ERROR, ["10.88.77.5", "10.88.77.6"])),
        ("head.ns.svc.cluster.local", AAAA, (NO_ERROR, [])),
        ("tail.ns.svc.cluster.local", A, (NO_SUCH_NAME, [])),
        ("example.com", A, (NO_SUCH_NAME, [])),
    ],
)
def test_an_answer_has_the_addresses_of_the_name(
    name: str, kind: int, expected: tuple[int, list[str]]
) -> None:
    assert told(answer(question(name, kind), lambda: KNOWN)) == expected


def test_while_the_api_server_is_away_no_name_is_called_unknown() -> None:
    def away() -> Addresses:
        raise ConnectionRefusedError

    assert told(answer(question("head.ns.svc.cluster.local"), away)) == (SERVER_FAILED, [])


class SlowServer:
    """Takes its time to list the endpoints, and fails where there are none."""

    def __init__(self) -> None:
        self.now = 0.0
        self.takes_s = 0.0
        self.slices: list[Any] = []
        self.asked = 0

    def __call__(self) -> Sequence[Mapping[str, Any]]:
        self.asked += 1
        self.now += self.takes_s
        if not self.slices:
            raise RemoteDisconnected("nothing is there")
        return self.slices


def test_endpoints_are_asked_for_again_when_they_are_no_longer_fresh() -> None:
    server = SlowServer()
    endpoints = Endpoints(server, lambda: server.now)
    for address, expected in (("10.0.0.1", "10.0.0.1"), ("10.0.0.2", "10.0.0.1")):
        server.slices = [slice_of(endpoint(address))]
        assert endpoints() == {"head.ns.svc.cluster.local": [expected]}
    server.now += FRESH_S
    assert endpoints() == {"head.ns.svc.cluster.local": ["10.0.0.2"]}
    assert server.asked == 2


def test_a_slow_api_server_is_not_asked_for_each_question() -> None:
    server = SlowServer()
    server.slices, server.takes_s = [slice_of(endpoint("10.0.0.1"))], 5 * FRESH_S
    endpoints = Endpoints(server, lambda: server.now)
    for _ in range(4):
        endpoints()
    assert server.asked == 1


def test_while_the_api_server_is_away_its_last_answer_holds() -> None:
    server = SlowServer()
    endpoints = Endpoints(server, lambda: server.now)
    with pytest.raises(RemoteDisconnected):
        endpoints()
    server.slices = [slice_of(endpoint("10.0.0.1"))]
    known = endpoints()
    server.slices, server.now = [], server.now + FRESH_S
    assert endpoints() == known
    assert server.asked == 3
