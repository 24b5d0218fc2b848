"""Children are stopped by id, restarted, and never outlive the process that owns them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs.waiting import eventually
from workers.embedded import processes
from workers.embedded.processes import (
    PORTS,
    ChildProcess,
    ProcessIdentity,
    ServiceError,
    free_ports,
    remembered_ports,
    service_environment,
)

DEADLINE_S = 30.0

SLEEP = "print('up', flush=True); time.sleep(600)"
SLEEPER = [sys.executable, "-c", f"import time; {SLEEP}"]
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
DEAF = [sys.executable, "-c", f"import signal, time; {IGNORE}; {SLEEP}"]

# A parent that starts a child, says its id, and lives on until it is killed.
PARENT = """
import sys, time
from pathlib import Path
from workers.embedded.processes import ChildProcess, service_environment
log, detached, *command = sys.argv[1:]
child = ChildProcess(
    "child", command, log=Path(log), environment=service_environment(), detached=bool(int(detached))
)
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""


def child(command: list[str], log: Path) -> ChildProcess:
    return ChildProcess("child", command, log=log, environment=service_environment())


def is_up(log: Path) -> Callable[[], bool]:
    return lambda: "up" in log.read_text()


def test_a_child_runs_until_it_is_stopped(tmp_path: Path) -> None:
    process = child(SLEEPER, tmp_path / "log")
    process.start()
    process.wait_until(is_up(process.log), within_s=DEADLINE_S)
    identity = ProcessIdentity.of(process.pid)
    assert identity is not None
    process.stop()
    assert not identity.running
    assert process.exit_status == -signal.SIGTERM
    process.stop()  # nothing left to do


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = child(DEAF, tmp_path / "log")
    process.start()
    process.wait_until(is_up(process.log), within_s=DEADLINE_S)
    process.stop(grace_s=0.1)
    assert process.exit_status == -signal.SIGKILL


def test_a_stopped_child_can_be_started_again_and_its_log_goes_on(tmp_path: Path) -> None:
    process = child(SLEEPER, tmp_path / "log")
    for starts in (1, 2):
        process.start()
        process.wait_until(
            lambda starts=starts: process.log.read_text().count("up") == starts,  # type: ignore[misc]
            within_s=DEADLINE_S,
        )
        process.kill()


def test_a_child_that_dies_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    process = child([sys.executable, "-c", "raise SystemExit('no disk left')"], tmp_path / "log")
    process.start()
    with pytest.raises(ServiceError, match=r"ended with status 1(.|\n)*no disk left"):
        process.wait_until(lambda: False, within_s=DEADLINE_S)


def test_a_child_that_never_answers_is_stopped(tmp_path: Path) -> None:
    process = child(SLEEPER, tmp_path / "log")
    process.start()
    with pytest.raises(ServiceError, match=r"no answer within 0\.1 s"):
        process.wait_until(lambda: False, within_s=0.1)
    assert not process.running


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    process = ChildProcess(
        "child", ["/nowhere/server"], log=tmp_path / "log", environment={}, detached=True
    )
    with pytest.raises(ServiceError, match="cannot run /nowhere/server"):
        process.start()


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    process = child(SLEEPER, tmp_path / "log")
    thread = threading.Thread(target=process.start)
    thread.start()
    thread.join()
    process.wait_until(is_up(process.log), within_s=DEADLINE_S)
    process.stop()
    assert process.exit_status == -signal.SIGTERM  # not the kernel's SIGKILL


def orphan(log: Path, command: list[str], *, detached: bool) -> ProcessIdentity:
    """Identity of a child whose parent has been killed."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log), str(int(detached)), *command],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        identity = ProcessIdentity.of(int(parent.stdout.readline()))
        parent.kill()
    assert identity is not None
    return identity


@pytest.mark.parametrize("command", [SLEEPER, DEAF], ids=["sleeper", "deaf"])
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path, command: list[str]) -> None:
    identity = orphan(tmp_path / "log", command, detached=False)
    eventually(lambda: not identity.running)


def test_a_detached_child_outlives_its_parent_and_is_stopped_by_its_identity(
    tmp_path: Path,
) -> None:
    identity = orphan(tmp_path / "log", SLEEPER, detached=True)
    assert identity.running
    identity.stop()
    assert not identity.running


def test_another_process_of_the_same_number_is_left_alone(tmp_path: Path) -> None:
    process = child(SLEEPER, tmp_path / "log")
    process.start()
    earlier = ProcessIdentity(process.pid, "another boot:1")
    earlier.stop()
    assert process.running
    process.kill()


def test_no_process_has_no_identity() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert ProcessIdentity.of(ended.pid) is None


def test_a_service_gets_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert service_environment()["PATH"] == os.environ["PATH"]
    assert "AWS_SECRET_ACCESS_KEY" not in service_environment()


def test_ports_are_remembered_while_nobody_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    ports = remembered_ports(file, 2)
    assert len(set(ports)) == 2
    assert remembered_ports(file, 2) == ports


def test_a_port_that_was_taken_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    taken = free_ports(1)[0]
    file.write_text(f"[{taken}]")
    with socket.create_server(("127.0.0.1", taken)):
        assert remembered_ports(file, 1) != [taken]


def test_ports_of_services_are_none_that_a_client_is_given_by_chance() -> None:
    ports = free_ports(20)
    assert len({*ports}) == 20
    assert {*ports} <= {*PORTS}


def test_a_port_that_somebody_listens_on_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_ports(2)
    monkeypatch.setattr(processes, "PORTS", [taken, free])
    with socket.create_server(("127.0.0.1", taken)):
        assert free_ports(1) == [free]
        with pytest.raises(ServiceError, match="1 of 2 are free"):
            free_ports(2)
