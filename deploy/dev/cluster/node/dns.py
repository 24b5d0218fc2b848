"""Names of services for pods: a DNS server in place of CoreDNS.

``SERVICE.NAMESPACE.svc.cluster.local`` has the addresses of the service's pods, whether or not it
is headless: nothing in this cluster forwards a service's own address. ``POD.SERVICE.…`` has that of
a pod with a host name. Every other name is unknown.
"""

from __future__ import annotations

import argparse
import socket
import socketserver
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.dev.cluster.kubectl import Kubectl

DOMAIN = "svc.cluster.local"
PORT = 53

FRESH_S = 1.0
"""How old an answer may be."""

_A, _IN = 1, 1
_NO_ERROR, _SERVER_FAILED, _NO_SUCH_NAME = 0x8580, 0x8582, 0x8583
"""Flags of an answer: authoritative, and asked and ready to recurse."""

Addresses = Mapping[str, Sequence[str]]


def addresses(slices: Sequence[Mapping[str, Any]]) -> Addresses:
    """IPv4 addresses by name, of EndpointSlices: those of endpoints that are ready, or whose
    service publishes them unready."""
    found: dict[str, list[str]] = {}
    for each in slices:
        service = each["metadata"].get("labels", {}).get("kubernetes.io/service-name")
        if each["addressType"] != "IPv4" or not service:
            continue
        name = f"{service}.{each['metadata']['namespace']}.{DOMAIN}"
        known = found.setdefault(name, [])
        for endpoint in each.get("endpoints") or ():
            if endpoint.get("conditions", {}).get("ready") is False:
                continue
            known.extend(endpoint["addresses"])
            if host := endpoint.get("hostname"):
                found.setdefault(f"{host}.{name}", []).extend(endpoint["addresses"])
    return found


def answer(query: bytes, lookup: Callable[[], Addresses]) -> bytes:
    """The answer to one question, as RFC 1035 has it."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode(errors="replace"))
        at += 1 + length
    question = query[12 : at + 5]
    kind, _ = struct.unpack_from(">HH", query, at + 1)
    try:
        found = lookup().get(".".join(labels).lower())
    except (OSError, ValueError, RuntimeError):
        flags, found = _SERVER_FAILED, None
    else:
        flags = _NO_SUCH_NAME if found is None else _NO_ERROR
    told = (found or ()) if kind == _A else ()
    # Each record refers to the name in the question, and may be kept for no time.
    records = b"".join(
        struct.pack(">HHHIH", 0xC00C, _A, _IN, 0, 4) + socket.inet_aton(address) for address in told
    )
    return query[:2] + struct.pack(">HHHHH", flags, 1, len(told), 0, 0) + question + records


class Endpoints:
    """The cluster's endpoints, asked for again when they are no longer fresh."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._known: Addresses = {}
        self._asked = -FRESH_S

    def __call__(self) -> Addresses:
        now = time.monotonic()
        if now - self._asked >= FRESH_S:
            self._known = addresses(self._kubectl.get("endpointslices", "-A")["items"])
            self._asked = now
        return self._known


def main() -> None:
    parser = argparse.ArgumentParser(prog="deploy.dev.cluster.node.dns", description=__doc__)
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("address")
    arguments = parser.parse_args()
    lookup = Endpoints(Kubectl(arguments.kubeconfig))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, reply = self.request
            reply.sendto(answer(query, lookup), self.client_address)

    with socketserver.UDPServer((arguments.address, PORT), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
