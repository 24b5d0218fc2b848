"""Names of services for pods: a DNS server in place of CoreDNS.

``SERVICE.NAMESPACE.svc.cluster.local`` has the addresses of the service's pods, whether or not it
is headless: nothing in this cluster forwards a service's own address. ``POD.SERVICE.…`` has that of
a pod with a host name. Every other name is unknown.
"""

from __future__ import annotations

import argparse
import json
import socket
import socketserver
import ssl
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from workers.kubernetes import api

DOMAIN = "svc.cluster.local"
PORT = 53

FRESH_S = 1.0
"""For how long an answer is kept while the API server answers."""

ASK_S = 2.0
"""For the answer to a question of our own. A resolver waits for 5 s and asks again."""

A, _IN = 1, 1
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
    asked = query[12 : at + 5]
    kind, _ = struct.unpack_from(">HH", query, at + 1)
    try:
        found = lookup().get(".".join(labels).lower())
    except (OSError, HTTPException, ValueError):
        flags, found = _SERVER_FAILED, None
    else:
        flags = _NO_SUCH_NAME if found is None else _NO_ERROR
    told = (found or ()) if kind == A else ()
    # Each record refers to the name in the question, and may be kept for no time.
    records = b"".join(
        struct.pack(">HHHIH", 0xC00C, A, _IN, 0, 4) + socket.inet_aton(address) for address in told
    )
    return query[:2] + struct.pack(">HHHHH", flags, 1, len(told), 0, 0) + asked + records


def question(name: str, kind: int = A) -> bytes:
    """The bytes of one question, as RFC 1035 has them."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack(">HHHHHH", 0xBEEF, 0x0100, 1, 0, 0, 0)
    return header + labels + struct.pack(">BHH", 0, kind, _IN)


def knows(server: str, name: str) -> bool:
    """Whether the DNS server at this address has an answer for the name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(ASK_S)
        try:
            asking.connect((server, PORT))
            asking.send(question(name))
            (flags,) = struct.unpack_from(">H", asking.recv(512), 2)
        except (OSError, struct.error):
            return False
    return bool(flags == _NO_ERROR)


class ApiServer:
    """Lists the cluster's EndpointSlices. kubectl would load a large program for each question."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        server = urlsplit(cluster["server"])
        self._host, self._port = server.hostname or "", server.port or 443
        self._token = user["token"]
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        # The API server signs for itself, in a form that Python 3.13 is too strict for.
        self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT

    def __call__(self) -> Sequence[Mapping[str, Any]]:
        path = "/apis/discovery.k8s.io/v1/endpointslices"
        status, body = api.get(self._host, self._port, path, self._token, self._context)
        if status != HTTPStatus.OK:
            raise HTTPException(f"the API server answers {status}")
        items: Sequence[Mapping[str, Any]] = json.loads(body)["items"]
        return items


class Endpoints:
    """The cluster's endpoints, asked for again when they are no longer fresh. While nobody answers,
    the last answer holds, as CoreDNS has it."""

    def __init__(
        self,
        ask: Callable[[], Sequence[Mapping[str, Any]]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._known: Addresses | None = None
        self._asked = -FRESH_S

    def __call__(self) -> Addresses:
        if self._known is None or self._monotonic() - self._asked >= FRESH_S:
            try:
                self._known = addresses(self._ask())
            except (OSError, HTTPException, ValueError):
                if self._known is None:
                    raise
            # However long that took: else all questions of a slow minute would be asked anew.
            self._asked = self._monotonic()
        return self._known


def main() -> None:
    parser = argparse.ArgumentParser(prog="deploy.dev.cluster.node.dns", description=__doc__)
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("address")
    arguments = parser.parse_args()
    lookup = Endpoints(ApiServer(arguments.kubeconfig))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, reply = self.request
            reply.sendto(answer(query, lookup), self.client_address)

    with socketserver.UDPServer((arguments.address, PORT), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
