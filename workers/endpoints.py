"""What Prometheus and Kubernetes ask: each worker's metrics, the driver's health, and a discovery
file that names the workers' ports."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from pydantic import Field

from pipeline.errors import Halt
from pipeline.policy import Policy


class EndpointsPolicy(Policy):
    """Where metrics and health are served."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 inside a pod.")
    health_port: int = Field(
        8080, description="The driver's /healthz and /readyz; 0: a free port.", ge=0, le=65535
    )
    metrics_port: int = Field(
        9400,
        description="Metrics of worker 0; worker n listens n ports above. 0: free ports, named in "
        "the discovery file.",
        ge=0,
        le=65535,
    )
    discovery_file: str | None = Field(
        None,
        description="File that lists the workers' metrics endpoints for Prometheus' "
        "file_sd_configs; one a host, for the workers on it.",
    )


class MetricsEndpoint:
    """Serves one worker's registry, and lists it in the discovery file."""

    def __init__(self, registry: CollectorRegistry, policy: EndpointsPolicy, slot: int) -> None:
        """Listen.

        Raises:
            Halt: the port is taken, or the discovery file cannot be written.
        """
        port = policy.metrics_port + slot if policy.metrics_port else 0
        try:
            self._server, self._thread = start_http_server(port, policy.host, registry)
        except OSError as error:
            raise Halt(
                "endpoints.port_taken",
                f"endpoints: {policy.host}:{port} cannot be listened on ({error.strerror}); set "
                "endpoints.metrics_port to another port, or to 0",
            ) from error
        self.port: int = self._server.server_port
        self._discovery = Path(policy.discovery_file) if policy.discovery_file else None
        self._target = f"{_reachable(policy.host)}:{self.port}"
        if self._discovery is not None:
            try:
                update_discovery(self._discovery, slot, self._target)
            except Halt:
                self.close()
                raise

    def close(self) -> None:
        """Stop listening. The discovery file keeps the place of the worker's successor."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def update_discovery(path: Path, slot: int, target: str | None) -> None:
    """Put a worker's endpoint into the file, in place of an older one of the same slot; without a
    target, take it out.

    The file is replaced atomically under a lock, for several workers write it.

    Raises:
        Halt: it cannot be written, or is something else than such a file.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            groups = [group for group in _groups(path) if group["labels"]["worker"] != str(slot)]
            if target is not None:
                groups.append({"targets": [target], "labels": {"worker": str(slot)}})
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(groups, indent=1) + "\n")
            fresh.replace(path)
    except OSError as error:
        raise Halt(
            "endpoints.discovery_file",
            f"endpoints.discovery_file: {path} cannot be written ({error.strerror}); mend its "
            "permissions, or name another file",
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise Halt(
            "endpoints.discovery_file",
            f"endpoints.discovery_file: {path} holds something else than workers' endpoints; "
            "name another file, or remove this one",
        ) from error


def _groups(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    groups: list[dict[str, Any]] = json.loads(path.read_text() or "[]")
    return groups


def _reachable(host: str) -> str:
    return socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104


class HealthEndpoint:
    """The driver's probes: /healthz answers 200 while the supervisor's loop turns, /readyz while
    every worker takes in work; 503 otherwise."""

    def __init__(
        self, policy: EndpointsPolicy, healthy: Callable[[], bool], ready: Callable[[], bool]
    ) -> None:
        probes = {"/healthz": healthy, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                probe = probes.get(self.path)
                if probe is None:
                    self._answer(404, "not found\n")
                elif probe():
                    self._answer(200, "ok\n")
                else:
                    self._answer(503, "no\n")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

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
