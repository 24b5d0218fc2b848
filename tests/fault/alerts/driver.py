"""One driver of the stream as a child process, while Prometheus scrapes it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.rigs.root import ROOT
from tests.rigs.waiting import eventually
from workers.commands.config import as_yaml
from workers.embedded.processes import LOOPBACK, ChildProcess, command_environment
from workers.settings.loading import Settings

WITHIN_S = 300.0
"""Never met on a working system."""

GRACE_S = 60.0
ANSWER_S = 5.0
COMMAND = "workers.cli"
NAMESPACE = "images"


class Targets:
    """The drivers that Prometheus scrapes, in a file that it watches."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ports: dict[str, int] = {}
        self._write()

    @property
    def scrape(self) -> dict[str, object]:
        """The entry of ``scrape_configs``."""
        return {
            "job_name": "clipstream-driver",
            "metrics_path": "/metrics/all",
            "file_sd_configs": [{"files": [str(self._file)], "refresh_interval": "1s"}],
        }

    def add(self, name: str, port: int) -> None:
        self._ports[name] = port
        self._write()

    def remove(self, name: str) -> None:
        del self._ports[name]
        self._write()

    def _write(self) -> None:
        found = [
            # The port, which would be the instance, is another one in each run.
            {
                "targets": [f"{LOOPBACK}:{port}"],
                "labels": {"namespace": NAMESPACE, "instance": name},
            }
            for name, port in self._ports.items()
        ]
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps(found))
        written.rename(self._file)


class Driver:
    """`clipstream stream`, started on entry and asked to stop on exit. ``module`` is what Python
    runs in the place of the command. It joins the Ray cluster at ``ray_address``."""

    def __init__(
        self,
        settings: Settings,
        targets: Targets,
        ray_address: str,
        folder: Path,
        *,
        module: str = COMMAND,
    ) -> None:
        self._name = name = settings.instance
        file = folder / f"{name}.yaml"
        file.write_text(as_yaml(settings, changed_only=True), encoding="utf-8")
        self._file = file
        self._workers = settings.workers.count
        self._port = settings.endpoints.health_port
        self._targets = targets
        self._process = ChildProcess(
            f"the driver {name}",
            [sys.executable, "-m", module, "stream", "-c", str(file)],
            log=folder / f"{name}.log",
            environment=command_environment()
            | {"RAY_ADDRESS": ray_address, "PYTHONPATH": str(ROOT)},
        )

    def __enter__(self) -> Self:
        self.start()
        self._targets.add(self._name, self._port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"the driver's log ends:\n{self._process.log_tail()}")
        self._targets.remove(self._name)
        self.stop()

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        self._process.start()
        self._process.wait_until(lambda: bool(self._said()), within_s=WITHIN_S)

    def stop(self) -> None:
        self._process.stop(GRACE_S)

    def until_all_work(self) -> None:
        """Wait until each of its workers takes in work."""
        line = rf"^{self._workers} of {self._workers} workers take in work$"
        self._process.wait_until(
            lambda: bool(re.search(line, self._said(), re.MULTILINE)), within_s=WITHIN_S
        )

    def write_reference(self, file: Path, newest: int = 100_000) -> None:
        """What `clipstream drift reference` writes of the newest images of its topics."""
        words = ["drift", "reference", "-c", str(self._file), "-o", str(file)]
        subprocess.run(
            [sys.executable, "-m", COMMAND, *words, "--newest", str(newest)],
            check=True,
            env=command_environment() | {"PYTHONPATH": str(ROOT)},
            timeout=WITHIN_S,
        )

    def until_it_ends(self) -> int:
        """Wait until it has ended by itself; its exit status."""
        eventually(lambda: not self._process.running, WITHIN_S)
        status = self._process.exit_status
        assert status is not None
        return status

    def _said(self) -> str:
        """The body of /readyz; empty while nobody answers."""
        connection = HTTPConnection(LOOPBACK, self._port, timeout=ANSWER_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().read().decode()
        except (OSError, HTTPException):
            return ""
        finally:
            connection.close()
