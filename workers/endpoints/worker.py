"""A worker's own endpoint: its metrics over HTTP."""

from __future__ import annotations

import errno
import http.client
import socket
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from pipeline.adapters.prometheus import Registry, serve
from pipeline.errors import Halt
from pipeline.metrics import PREFIX
from workers.endpoints.discovery import update_discovery
from workers.endpoints.identity import EndpointId
from workers.endpoints.policy import EVERY_ADDRESS, EndpointsPolicy

PORT_WAIT_S = 15.0
"""Seconds to wait for a port that an earlier worker, whose process is still ending, may hold."""

PORT_TRY_S = 0.5

LISTENER_ANSWER_S = 1.0
"""Seconds to wait until the program on a port says whether it is a worker of ours."""


class MetricsEndpoint:
    """Serves one worker's registry, and lists it in the discovery file."""

    def __init__(
        self,
        registry: Registry,
        policy: EndpointsPolicy,
        identity: EndpointId,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Listen. Waits ``PORT_WAIT_S`` for a port that another worker of ours may still hold.

        Raises:
            Halt: the port is taken, or the discovery file cannot be written.
        """
        port = policy.metrics_port + identity.slot if policy.metrics_port else 0
        self._server, self._thread = _listening(registry, policy.host, port, sleep)
        self.port: int = self._server.server_port
        if policy.discovery_file is not None:
            try:
                update_discovery(
                    Path(policy.discovery_file), identity, f"{_reachable(policy.host)}:{self.port}"
                )
            except Halt:
                self.close()
                raise

    def close(self) -> None:
        """Stop listening. The entry in the discovery file stays for the next worker of the slot."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _listening(
    registry: Registry, host: str, port: int, sleep: Callable[[float], object]
) -> tuple[WSGIServer, threading.Thread]:
    tries = round(PORT_WAIT_S / PORT_TRY_S)
    for left in reversed(range(tries)):
        try:
            return serve(registry, host, port)
        except OSError as error:
            listener = _listener(host, port)
            if left and error.errno == errno.EADDRINUSE and listener is not _Listener.FOREIGN:
                sleep(PORT_TRY_S)
                continue
            raise Halt(
                "endpoints.port_taken",
                f"endpoints: {host}:{port} cannot be listened on ({error.strerror}: {listener}); "
                "stop that program, or set endpoints.metrics_port to another port, or to 0",
            ) from error
    raise AssertionError("unreachable: the last try returns or raises")


class _Listener(StrEnum):
    """What holds a port, as far as the port's answer shows."""

    OURS = "a worker of Clipstream has it, perhaps of another driver on this host"
    FOREIGN = "another program has it"
    SILENT = "the program that has it does not answer"


def _listener(host: str, port: int) -> _Listener:
    connection = http.client.HTTPConnection(_loopback(host), port, timeout=LISTENER_ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        body = connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        # A process that is ending or frozen does not answer either.
        return _Listener.SILENT
    finally:
        connection.close()
    return _Listener.OURS if PREFIX.encode() in body else _Listener.FOREIGN


def _reachable(host: str) -> str:
    return socket.gethostname() if host in EVERY_ADDRESS else host


def _loopback(host: str) -> str:
    return "127.0.0.1" if host in EVERY_ADDRESS else host
