"""As much of Kubernetes' API server as a driver asks: one StatefulSet, over TLS, by a token."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.services.certificates import certified
from workers.kubernetes.policy import KubernetesPolicy

NAMESPACE, NAME = "vision", "clipstream"
TOKEN = "eyJhbGciOi.projected.token"
PATH = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{NAME}"


class ApiServer:
    """Answers ``status`` and ``answer`` to whoever brings the token and asks for the object."""

    def __init__(self, folder: Path) -> None:
        self.status = 200
        self.answer: Any = {"kind": "StatefulSet", "spec": {"replicas": 3}}
        """Bytes as they are; anything else as JSON."""
        self.asked: list[str] = []
        self.token_folder = folder / "token"
        self.token_folder.mkdir()
        authority, context = certified(folder, "127.0.0.1")
        (self.token_folder / "token").write_text(f"{TOKEN}\n")
        (self.token_folder / "ca.crt").write_bytes(authority.read_bytes())
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
                known = self.path == PATH
                status = server.status if allowed and known else 404 if allowed else 401
                self.send_response(status)
                self.end_headers()
                answer = server.answer
                self.wfile.write(
                    answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                )

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def policy(self, pod: str) -> KubernetesPolicy:
        """The settings of a driver in this pod."""
        return KubernetesPolicy(
            statefulset=NAME, namespace=NAMESPACE, pod=pod, token_folder=str(self.token_folder)
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """A server that this process finds as a pod finds its cluster's."""
    server = ApiServer(folder)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        environment.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        try:
            yield server
        finally:
            server.close()
