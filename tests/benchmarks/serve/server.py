"""Servers that are measured: started in processes of their own, with all that belong to them."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.serve import served
from tests.benchmarks.worker_rig import LABEL_SET
from tests.rigs.root import ROOT
from workers.embedded.processes import ChildProcess, command_environment, free_ports
from workers.settings.loading import load_settings

START_S = 240.0
STOP_S = 60.0
MARK = "BENCHMARK_FAMILY"
TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Family:
    """A process and all that it started, however they are detached: they share a variable of their
    environment, or descend from a process that has it, as decoders do. Linux."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.environment = {MARK: self.name}
        self._mark = f"{MARK}={self.name}".encode()

    def pids(self) -> list[int]:
        parents = {int(each.name): _parent(each) for each in PROC.iterdir() if each.name.isdigit()}
        found = {pid for pid in parents if self._is(PROC / str(pid))}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def cpu_s(self) -> Counter[str]:
        """CPU seconds since their start, by what the processes call themselves."""
        spent: Counter[str] = Counter()
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
                seconds = (int(fields[11]) + int(fields[12])) / TICKS
                spent[_named(pid)] += seconds  # type: ignore[assignment]  # a Counter of seconds
        return spent

    def memory_bytes(self) -> int:
        """What all of them hold; memory that several share counts once."""
        kib = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kib += int(line.split()[1])
        return kib * 1024

    def _is(self, process: Path) -> bool:
        try:
            return self._mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is somebody else's
            return False


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _named(pid: int) -> str:
    command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    if command.startswith("ray::"):
        return command.split()[0].removeprefix("ray::")
    words = command.split()
    if "-m" in words[:4]:
        return words[words.index("-m") + 1].rpartition(".")[2]
    return (PROC / str(pid) / "comm").read_text().strip()


class Server:
    """A server that answers on ``port`` of this machine."""

    def __init__(self, port: int, family: Family, metrics_port: int | None = None) -> None:
        self.port = port
        self.family = family
        self._metrics_port = metrics_port

    def metric(self, name: str) -> float:
        """The sum of one of our metrics over its labels; 0 before it is first counted."""
        address = f"http://127.0.0.1:{self._metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.partition(" ")[0].partition("{")[0] == name
        )


@contextlib.contextmanager
def started(
    name: str,
    command: Sequence[str],
    port: int,
    folder: Path,
    ready: str,
    environment: Mapping[str, str] | None = None,
    metrics_port: int | None = None,
) -> Iterator[Server]:
    """A server's process, once the path ``ready`` is answered with 200."""
    family = Family()
    process = ChildProcess(
        name,
        command,
        log=folder / f"{name}.log",
        environment=command_environment() | family.environment | dict(environment or {}),
    )
    process.start()
    try:
        process.wait_until(lambda: _answers(port, ready), within_s=START_S)
        yield Server(port, family, metrics_port)
    finally:
        process.stop(STOP_S)
        for pid in family.pids():  # Ray's processes, if it could not end them
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def ours(
    folder: Path,
    changed: Mapping[str, Any] | None = None,
    *,
    serve: Mapping[str, Any] | None = None,
    load: str = "",
) -> Iterator[Server]:
    """Our server with default settings, but for ``changed`` ones and those of the section
    ``serve``. ``load`` is as for ``served``."""
    port, metrics_port = free_ports(2)
    settings: dict[str, Any] = {
        "label_sets": {"paths": [str(LABEL_SET)], "text_cache_dir": str(folder / "texts")},
        "endpoints": {"health_port": 0, "metrics_port": 0},
        "serve": {"port": port, "metrics_port": metrics_port, **(serve or {})},
        "log": {"level": "warning"},
        **(changed or {}),
    }
    file = folder / f"settings-{port}.yaml"
    file.write_text(yaml.safe_dump(settings))
    load_settings(file, environment={})  # what is wrong is told here
    command = [sys.executable, "-m", served.__name__, str(file), *([load] if load else [])]
    environment = {"PYTHONPATH": str(ROOT), "RAY_raylet_start_wait_time_s": str(round(START_S))}
    with started(
        "ours", command, port, folder, "/readyz", environment, metrics_port=metrics_port
    ) as server:
        yield server


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
