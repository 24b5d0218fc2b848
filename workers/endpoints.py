"""What Prometheus and Kubernetes ask: each worker's metrics, the driver's health and metrics, and a
discovery file that names the workers' ports."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Protocol
from wsgiref.simple_server import WSGIServer

from pydantic import Field

from pipeline.adapters.prometheus import EXPOSITION_TYPE, Registry, exposition, serve
from pipeline.errors import Halt
from pipeline.metrics import PREFIX
from pipeline.policy import Policy, Tier


class EndpointsPolicy(Policy):
    """Where metrics and health are served."""

    tier = Tier.EVERYDAY

    host: str = Field("127.0.0.1", description="Address to listen on. Use 0.0.0.0 inside a pod.")
    health_port: int = Field(
        8080,
        description="Port of the driver's /healthz, /readyz and /metrics. 0: any free port.",
        ge=0,
        le=65535,
    )
    metrics_port: int = Field(
        9400,
        description="Port of worker 0's metrics. Worker n listens n ports above. 0: any free "
        "ports; the discovery file names them.",
        ge=0,
        le=65535,
    )
    discovery_file: Annotated[str | None, Tier.TUNING] = Field(
        None,
        description="File that lists the workers' metrics endpoints for Prometheus' "
        "file_sd_configs. Each host needs one file, which all drivers on the host can share.",
    )


PORT_WAIT_S = 15.0
"""Seconds to wait for a port that an earlier worker, whose process is still ending, may hold."""

PORT_TRY_S = 0.5

LISTENER_ANSWER_S = 1.0
"""Seconds to wait until the program on a port says whether it is a worker of ours."""


STREAM = "stream"
"""The kind of a stream worker. In a discovery file, an entry without a kind is of a stream worker
too: an older release wrote no kind."""


@dataclass(frozen=True, slots=True)
class EndpointId:
    """Identity of an endpoint, the same after a restart: the kind of worker, the instance of the
    driver that runs the worker (``kafka.instance`` or the host name), and the worker's slot there.

    ``also`` are further labels that tell two endpoints apart, such as a stream's ``group``.
    """

    kind: str
    instance: str
    slot: int
    also: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """Labels that the discovery file adds to the worker's series. The instance is called
        ``driver``, because Prometheus uses ``instance`` for the target's own address."""
        return {"kind": self.kind, "worker": str(self.slot), **self.also, "driver": self.instance}


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
        target = f"{_reachable(policy.host)}:{self.port}"
        if policy.discovery_file is not None:
            try:
                update_discovery(Path(policy.discovery_file), identity, target)
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


def update_discovery(path: Path, identity: EndpointId, target: str | None) -> None:
    """Put a worker's endpoint into the file, in place of an older one of the same identity. Without
    a target, remove it.

    The file is replaced atomically under a lock, because workers of several drivers may write it.

    Raises:
        Halt: the file cannot be written, or is not such a file.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            groups = [group for group in _groups(path) if not _is_of(group, identity)]
            if target is not None:
                groups.append({"targets": [target], "labels": identity.labels})
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(groups, indent=1) + "\n")
            fresh.replace(path)
    except OSError as error:
        raise Halt(
            "endpoints.discovery_file",
            f"endpoints.discovery_file: {path} cannot be written ({error.strerror}); fix its "
            "permissions, or name another file",
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise Halt(
            "endpoints.discovery_file",
            f"endpoints.discovery_file: {path} holds something else than workers' endpoints; "
            "name another file, or remove this one",
        ) from error


def _is_of(group: dict[str, Any], identity: EndpointId) -> bool:
    labels = {"kind": STREAM, **group["labels"]}
    if labels["kind"] != identity.kind or labels["worker"] != str(identity.slot):
        return False
    # An older release named the worker only. Such an entry is taken for this driver's.
    return all(labels.get(name, value) == value for name, value in identity.labels.items())


def _groups(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    groups: list[dict[str, Any]] = json.loads(path.read_text() or "[]")
    return groups


def _reachable(host: str) -> str:
    return socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104


def _loopback(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104


class Readiness(Protocol):
    """Whether enough workers take in work, and what is said of each place for one."""

    @property
    def ready(self) -> bool: ...

    @property
    def lines(self) -> Sequence[str]: ...


class HealthEndpoint:
    """The driver's probes and metrics. /healthz answers 200 while the supervisor's loop turns.
    /readyz answers 200 while enough workers take in work. Both answer 503 otherwise. The body of
    /readyz gives the state of each place for a worker."""

    def __init__(
        self,
        policy: EndpointsPolicy,
        healthy: Callable[[], bool],
        standing: Callable[[], Readiness],
        registry: Registry,
    ) -> None:
        """Listen.

        Raises:
            Halt: the port is taken.
        """

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/healthz":
                    self._probe(healthy())
                elif self.path == "/readyz":
                    now = standing()
                    self._probe(now.ready, *now.lines)
                elif self.path == "/metrics":
                    self._answer(200, exposition(registry), EXPOSITION_TYPE)
                else:
                    self._answer(404, b"not found\n")

            def _probe(self, passed: bool, *lines: str) -> None:
                text = "\n".join(["ok" if passed else "no", *lines, ""])
                self._answer(200 if passed else 503, text.encode())

            def _answer(
                self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
            ) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes are not worth a line each."""

        try:
            self._server = ThreadingHTTPServer((policy.host, policy.health_port), Handler)
        except OSError as error:
            raise Halt(
                "endpoints.port_taken",
                f"endpoints: {policy.host}:{policy.health_port} cannot be listened on "
                f"({error.strerror}); set endpoints.health_port to another port, or to 0",
            ) from error
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
