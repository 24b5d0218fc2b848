"""The driver's endpoint: its probes, its metrics and those of its workers."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from pipeline.adapters.prometheus import EXPOSITION_TYPE, Registry, exposition
from pipeline.errors import Halt
from workers.endpoints.fleet import Fleet, Place
from workers.endpoints.policy import EndpointsPolicy


class Readiness(Protocol):
    """Whether enough workers take in work, and what is said of each place for one."""

    @property
    def ready(self) -> bool: ...

    @property
    def lines(self) -> Sequence[str]: ...


class HealthEndpoint:
    """The driver's probes and metrics. /healthz answers 200 while the supervisor's loop turns.
    /readyz answers 200 while enough workers take in work. Both answer 503 otherwise. The body of
    /readyz gives the state of each place for a worker. /metrics has the driver's own series,
    /metrics/all also those of all its workers. /targets lists the workers' own endpoints for
    Prometheus' ``http_sd_configs``."""

    def __init__(
        self,
        policy: EndpointsPolicy,
        healthy: Callable[[], bool],
        standing: Callable[[], Readiness],
        registry: Registry,
        places: Callable[[], Sequence[Place]] = tuple,
    ) -> None:
        """Listen. All arguments are called from threads of requests.

        Raises:
            Halt: the port is taken.
        """

        fleet = Fleet(places)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/healthz":
                    self._probe(healthy())
                elif self.path == "/readyz":
                    now = standing()
                    self._probe(now.ready, *now.lines)
                elif self.path == "/metrics":
                    self._answer(200, exposition(registry), EXPOSITION_TYPE)
                elif self.path == "/metrics/all":
                    self._answer(200, fleet.exposition(registry), EXPOSITION_TYPE)
                elif self.path == "/targets":
                    self._answer(200, json.dumps(fleet.targets()).encode(), "application/json")
                else:
                    self._answer(404, b"not found\n")

            def _probe(self, passed: bool, *lines: str) -> None:
                text = "\n".join(["ok" if passed else "no", *lines, ""])
                self._answer(200 if passed else 503, text.encode())

            def _answer(
                self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
            ) -> None:
                # A prober that got no answer in its time has hung up.
                with contextlib.suppress(ConnectionError):
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
