"""Whether the kernel lets a node run here: asked of the kernel, in less than a second."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from deploy.dev.cluster.node import requirements
from deploy.dev.cluster.node.requirements import need
from workers.embedded.processes import ServiceError

KERNEL = "the kernel refuses"
"""How a refusal begins that no package mends."""

_BRIDGE = "clipstreamprobe"

_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc")
_OVERLAY = """
set -e
mount -t tmpfs probe "$1"
mkdir "$1/lower" "$1/upper" "$1/work" "$1/merged"
mount -t overlay probe -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/merged"
"""


class Refused(ServiceError):
    """The machine cannot run a node; the message says why."""


def refusal() -> str | None:
    """What keeps a node from running here, in one line; None: nothing that the kernel tells."""
    if problem := requirements.missing():
        return problem
    try:
        _try("namespaces", *_NAMESPACES, "true")
        with tempfile.TemporaryDirectory() as folder:
            _try("overlay mounts", *_NAMESPACES, "sh", "-c", _OVERLAY, "sh", folder)
        _try("bridges", str(need("ip")), "link", "add", _BRIDGE, "type", "bridge")
        _try("bridges", str(need("ip")), "link", "delete", _BRIDGE)
        _try_control_groups()
    except Refused as refused:
        return str(refused)
    return None


def _try(what: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise Refused(f"{KERNEL} {what}: {' '.join(done.stderr.split())}")


def _try_control_groups() -> None:
    groups = Path("/sys/fs/cgroup")
    version_2 = (groups / "cgroup.controllers").is_file()
    group = (groups if version_2 else groups / "memory") / _BRIDGE
    try:
        group.mkdir()
        group.rmdir()
    except OSError as refused:
        raise Refused(f"{KERNEL} control groups: {refused}") from refused
