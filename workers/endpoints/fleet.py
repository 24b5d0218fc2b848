"""The series of all workers of a driver, collected when somebody asks the driver."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pipeline import metrics
from pipeline.adapters.prometheus import PrometheusMeter, Registry, exposition, merged
from pipeline.metrics import FLEET_METRICS, PREFIX
from workers.endpoints.identity import EndpointId
from workers.endpoints.policy import EVERY_ADDRESS

ANSWER_S = 2.0
"""Longest wait for all workers together. Prometheus gives up after 10 s by default."""

MOST_BYTES = 8 * 1024 * 1024
"""A longer answer is no worker's."""

_CHUNK_BYTES = 64 * 1024

_LOOPBACK = ("127.", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Place:
    """A place for a worker. ``address`` (host:port) is where its metrics are, or None while no
    worker is there that could be asked."""

    identity: EndpointId
    address: str | None


def reached(host: str, port: int, node: str, *, same_machine: bool) -> str | None:
    """Where the driver reaches the metrics of a worker that listens on ``host``
    (``endpoints.host``) and ``port``: host:port. ``node`` is the address of the worker's machine.
    None if only programs on the worker's machine can reach it."""
    if host in EVERY_ADDRESS:
        host = node
    elif host.startswith(_LOOPBACK) and not same_machine:
        # Another worker may have the same port on the driver's own machine.
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reached_from_here(host: str, listening: tuple[str, int], machine: str) -> str | None:
    """As ``reached``, for a worker on ``machine`` (the name of a host). ``listening`` is that
    machine's address with the port of the worker's metrics."""
    address, port = listening
    return reached(host, port, address, same_machine=machine == socket.gethostname())


class Fleet:
    """All workers of one driver."""

    def __init__(self, places: Callable[[], Sequence[Place]]) -> None:
        """``places`` are asked for with each call, from any thread."""
        self._places = places
        # One round at a time, so that workers that hang do not hold more threads than there are
        # places.
        self._round = threading.Lock()

    def exposition(self, own: Registry) -> bytes:
        """The driver's ``own`` series, those of all workers with the labels of their endpoints, and
        for each place whether its worker answered. Blocks for some ``ANSWER_S`` at most, whatever
        the workers do."""
        places = self._places()
        with self._round:
            answers = _ask([place.address for place in places])
        meter = PrometheusMeter(FLEET_METRICS)
        nothing = dict.fromkeys(metrics.WORKER_UP.labels, "")
        for place, answer in zip(places, answers, strict=True):
            labels = nothing | place.identity.labels
            meter.set(metrics.WORKER_UP, float(answer is not None), **labels)
        return merged(
            [
                (exposition(own).decode(), {}),
                (exposition(meter.registry).decode(), {}),
                *(
                    (answer, place.identity.labels)
                    for place, answer in zip(places, answers, strict=True)
                    if answer is not None
                ),
            ]
        ).encode()

    def targets(self) -> list[dict[str, Any]]:
        """The workers' own endpoints, in the form of Prometheus' HTTP discovery."""
        return [
            {"targets": [place.address], "labels": place.identity.labels}
            for place in self._places()
            if place.address is not None
        ]


def _ask(addresses: Sequence[str | None]) -> list[str | None]:
    """What each address answers, all asked at once. None without a valid answer in time."""
    answers: list[str | None] = [None] * len(addresses)
    until = time.monotonic() + ANSWER_S

    def ask(number: int, address: str) -> None:
        answers[number] = _answer(address, until)

    threads = [
        threading.Thread(target=ask, args=(number, address), name="scrape", daemon=True)
        for number, address in enumerate(addresses)
        if address is not None
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    # A copy: threads that are late must not change the answer while it is put together.
    return answers[:]


def _answer(address: str, until: float) -> str | None:
    host, _, port = address.rpartition(":")
    left_s = max(0.1, until - time.monotonic())
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=left_s)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        body = b""
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > MOST_BYTES or time.monotonic() > until:
                return None
        text = body.decode()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return text if response.status == HTTPStatus.OK and PREFIX in text else None
