"""`clipstream serve` as a process on a real Ray Serve, and what a client hears."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from tests.rigs.root import ROOT
from tests.rigs.serve import steered
from tests.rigs.waiting import eventually
from workers.commands.serving.sample import sample_png
from workers.embedded.processes import command_environment, free_ports

PNG = sample_png()
START_S = 240.0
"""Longest wait for a start of Ray, Ray Serve and the replicas on a busy machine."""

ANSWER_S = 60.0

BUSY = {
    # The daemon waits longer for its agents to register. How long it waits for the files with their
    # ports, 15 s, is fixed: the command then tries again, and must not wait for a dead daemon.
    "RAY_agent_register_timeout_ms": "200000",
}
"""Ray's patience with a busy machine."""


@dataclass(frozen=True)
class Answer:
    """What came back. ``headers`` are in order, with names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all_of(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.json["error"]["code"])


def ask(
    port: int,
    path: str = "/v1/classify",
    body: Any = PNG,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
) -> Answer:
    """One request on a connection of its own.

    Raises:
        OSError, HTTPException: no answer came.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        sent = {"content-type": "image/png", **(headers or {})}
        connection.request(method, path, body if method == "POST" else None, sent)
        response = connection.getresponse()
        told = tuple((name.lower(), value) for name, value in response.getheaders())
        return Answer(response.status, told, response.read())
    finally:
        connection.close()


class ServedOnRay:
    """A process of the command. ``steer`` is the folder of its encoder. With ``as_typed`` it is the
    command as a person types it, with the model of the settings."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        steering: str = "",
        *,
        as_typed: bool = False,
    ) -> None:
        self.port, self.health_port = free_ports(2)
        self.steer = folder / "steer"
        self.steer.mkdir()
        if steering:
            (self.steer / steering).touch()
        self.log = folder / "log.txt"
        self._clients = ThreadPoolExecutor(16)
        given = {
            "label_sets": {
                "paths": [str(ROOT / "deploy/examples/label-sets")],
                "text_cache_dir": None,
            },
            "decode": {"processes": 1},
            "endpoints": {"health_port": self.health_port},
            "log": {"format": "text"},
            **settings,
        }
        given["serve"] = {"port": self.port, "metrics_port": 0, **settings.get("serve", {})}
        file = folder / "settings.yaml"
        file.write_text(yaml.safe_dump(given))
        command = ["tests.rigs.serve.steered", str(file), str(self.steer)]
        if as_typed:
            command = ["workers.cli", "serve", "--config", str(file)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={
                    **command_environment(),
                    **BUSY,
                    "PYTHONPATH": str(ROOT),
                    **(environment or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, replicas: int = 1) -> Self:
        """Until the command printed what to try, and so many replicas answer."""

        def answers() -> bool:
            assert self._process.poll() is None, self.told
            return "curl -s" in self.told and len(self.replicas()) == replicas

        try:
            eventually(answers, START_S)
        except AssertionError:
            pytest.fail(f"not ready after {START_S:g} s:\n{self.told}", pytrace=False)
        return self

    @property
    def told(self) -> str:
        return self.log.read_text(errors="replace")

    def replicas(self, state: str = "ready") -> dict[str, tuple[int, int]]:
        """Requests in flight and the process of each replica in this state, by its id, as the
        driver's readiness probe says."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            page = ask(self.health_port, "/readyz", method="GET").body.decode()
            lines = re.findall(rf"replica (\S+): {state}, (\d+) in flight \(process (\d+) on", page)
            return {name: (int(count), int(pid)) for name, count, pid in lines}
        return {}

    @property
    def in_flight(self) -> int:
        return sum(count for count, _ in self.replicas().values())

    def begin(self, **how: Any) -> Future[Answer]:
        """A request in a thread of its own."""
        return self._clients.submit(ask, self.port, **how)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The encoder waits during the block."""
        (self.steer / steered.HOLD).touch()
        try:
            yield
        finally:
            (self.steer / steered.HOLD).unlink()

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        """Once it has ended by itself."""
        return self._process.wait(ANSWER_S)

    def close(self) -> None:
        """End it, in order if it still can."""
        if self._process.poll() is None:
            self.terminate()
            try:
                self._process.wait(ANSWER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._clients.shutdown()


@contextlib.contextmanager
def served_on_ray(
    settings: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    steering: str = "",
    *,
    as_typed: bool = False,
) -> Iterator[ServedOnRay]:
    """The command, with a Ray of its own unless ``environment`` says otherwise, and a first file to
    steer its encoder. Nothing keeps running."""
    # Short: paths of sockets are.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        own = {"RAY_TMPDIR": name, "TMPDIR": name}
        with contextlib.closing(
            ServedOnRay(
                folder, settings, {**own, **(environment or {})}, steering, as_typed=as_typed
            )
        ) as server:
            yield server


def processes_with(variable: str, value: str) -> list[str]:
    """Command lines of the processes that have this variable."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{variable}={value}\0".encode() in (process / "environ").read_bytes():
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"{process.name} {line}")
    return found
