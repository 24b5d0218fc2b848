"""A node's processes and mounts end with the process that owns them, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.skips import skip_without_a_node
from tests.rigs.waiting import eventually
from workers.embedded.processes import ProcessIdentity, service_environment

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [pytest.mark.component, pytest.mark.kubelet]

# In place of containerd: answers on the socket, mounts something, and leaves an orphan.
STAND_IN = """
import os, pathlib, socket, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
server = socket.create_server(str(folder / "containerd.sock"), family=socket.AF_UNIX)
(folder / "mounted").mkdir()
subprocess.run(["mount", "-t", "tmpfs", "pod", str(folder / "mounted")], check=True)
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
time.sleep(1000)
"""
MARK = "CLIPSTREAM_TEST_NODE_FOLDER"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The namespaces with a stand-in for containerd and one for the kubelet."""
    skip_without_a_node()
    (tmp_path / "logs").mkdir()
    (tmp_path / "private").mkdir()
    containerd = [sys.executable, "-c", STAND_IN, str(tmp_path)]
    kubelet = ["sleep", "1000"]
    command = [sys.executable, "-m", "deploy.dev.cluster.node.inside", str(tmp_path)]
    with subprocess.Popen(
        [*command, json.dumps(containerd), json.dumps(kubelet), str(tmp_path / "private")],
        env={**service_environment(), "PYTHONPATH": str(ROOT), MARK: str(tmp_path)},
    ) as process:
        yield process
        process.kill()


def processes_of(folder: Path) -> list[ProcessIdentity]:
    """Processes that have inherited the mark."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}={folder}".encode() in (each / "environ").read_bytes()
        except OSError:
            continue  # it has ended
        if marked and (identity := ProcessIdentity.of(int(each.name))):
            found.append(identity)
    return found


def kubelets(folder: Path) -> list[ProcessIdentity]:
    """Those of them that run the command of the node's kubelet."""
    found = []
    for each in processes_of(folder):
        with contextlib.suppress(OSError):  # it has ended
            if Path(f"/proc/{each.pid}/cmdline").read_bytes() == b"sleep\x001000\x00":
                found.append(each)
    return found


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_node_ends_with_all_its_processes_and_mounts(
    sent: signal.Signals, node: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    # Outside and inside, containerd, its orphan, the kubelet.
    eventually(lambda: len(processes_of(tmp_path)) == 5)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    node.send_signal(sent)
    node.wait()
    eventually(lambda: processes_of(tmp_path) == [])


def test_a_node_ends_when_its_kubelet_does(node: subprocess.Popen[bytes], tmp_path: Path) -> None:
    eventually(lambda: len(kubelets(tmp_path)) == 1)
    (kubelet,) = kubelets(tmp_path)
    os.kill(kubelet.pid, signal.SIGKILL)
    assert node.wait() != 0
    eventually(lambda: processes_of(tmp_path) == [])
