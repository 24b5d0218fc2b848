"""S3 servers on this machine: what all of them share, and moto's, which needs only Python."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from workers.embedded.processes import LOOPBACK, ChildProcess, free_ports, service_environment

START_DEADLINE_S = 60.0
"""A start takes about a second, and longer on a busy machine."""

PROBE_TIMEOUT_S = 2.0


class S3Server:
    """An S3 server as a child process on a free port of one address of this machine.

    Clients use path style, ``endpoint``, ``region`` and the two keys. Unless ``detached``, the
    server ends with this process, however the process ends. Not thread-safe.
    """

    region = "us-east-1"
    access_key = "clipstream"
    secret_key = "clipstream-secret"  # noqa: S105 - guards nothing but a server on loopback

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        address: str = LOOPBACK,
        port: int,
        health_path: str,
        log: Path,
        environment: Mapping[str, str],
        detached: bool,
    ) -> None:
        self._address = address
        self._port = port
        self._health_path = health_path
        self._process = ChildProcess(
            name, command, log=log, environment=environment, detached=detached
        )

    @property
    def endpoint(self) -> str:
        """URL for clients; the same after a restart."""
        return f"http://{self._address}:{self._port}"

    @property
    def pid(self) -> int:
        """Id of the server's process, for tests that freeze or kill it."""
        return self._process.pid

    @property
    def log(self) -> Path:
        return self._process.log

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises ``ServiceError`` with the end of its log if it cannot be started.
        """
        self._process.start()
        self._process.wait_until(self._answers, within_s=START_DEADLINE_S)

    def stop(self) -> None:
        """Stop the server in order. Does nothing if it is not running."""
        self._process.stop()

    def kill(self) -> None:
        """Kill the server as a crash would. Does nothing if it is not running."""
        self._process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        # Not urllib, which would use a proxy of the environment for the loopback address.
        connection = HTTPConnection(self._address, self._port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", self._health_path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


class MotoS3(S3Server):
    """moto's S3 server: in memory, slow, and open to any credentials.

    It keeps nothing: after a restart its buckets are gone.
    """

    def __init__(self, log_dir: Path, *, detached: bool = False) -> None:
        (port,) = free_ports(1)
        super().__init__(
            "moto",
            [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)],
            port=port,
            health_path="/moto-api/",
            log=log_dir.resolve() / "moto.log",
            environment=service_environment(),
            detached=detached,
        )
