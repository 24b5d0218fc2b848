"""Runs containerd and the kubelet in namespaces of their own, so that nothing outlives them.

Mounts, shims and all processes of pods exist in these namespaces alone. When this process ends,
however it ends, the kernel ends all of them and drops their mounts.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CONTAINERD_DEADLINE_S = 60.0
INTERVAL_S = 0.05

_CLONE_NEWNS, _CLONE_NEWPID = 0x20000, 0x20000000
_PR_SET_PDEATHSIG = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy.dev.cluster.node.inside", description=__doc__)
    parser.add_argument("folder", type=Path, help="of logs, and of containerd's socket")
    parser.add_argument("containerd", type=json.loads, help="its command line, a list in JSON")
    parser.add_argument("kubelet", type=json.loads, help="its command line, a list in JSON")
    parser.add_argument("private", nargs="*", help="folders that are empty in the namespaces")
    arguments = parser.parse_args()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses namespaces")
    # The next child is process 1 of the new namespace.
    outside = os.getpid()
    child = os.fork()
    if child == 0:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Seen from the new namespace, a parent outside is 0; a dead one's heir is too.
        if Path(f"/proc/{outside}").exists():
            os._exit(_first_process(arguments))
        os._exit(1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGKILL))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _first_process(arguments: argparse.Namespace) -> int:
    """Process 1: when it ends, the kernel ends all others."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    _mount("--make-rprivate", "/")
    _mount("-t", "proc", "proc", "/proc")
    for private in arguments.private:
        _mount("-t", "tmpfs", "-o", "mode=0755", "private", private)
    folder: Path = arguments.folder
    started = [_start(folder, "containerd", arguments.containerd)]
    if not _answers(folder / "containerd.sock"):
        return 1
    started.append(_start(folder, "kubelet", arguments.kubelet))
    while True:
        # Orphans of all pods are collected here, too.
        ended, _ = os.wait()
        if ended in started:
            return 1


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)  # noqa: S603, S607 - ours, no shell


def _start(folder: Path, name: str, command: Sequence[str]) -> int:
    with (folder / "logs" / f"{name}.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the caller's own command, no shell
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        ).pid


def _answers(path: Path) -> bool:
    deadline = time.monotonic() + CONTAINERD_DEADLINE_S
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(str(path)) == 0:
                return True
        time.sleep(INTERVAL_S)
    return False


if __name__ == "__main__":
    sys.exit(main())
