"""What a real node needs of the machine, and the line to type where something is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from workers.embedded.processes import ServiceError

PLUGINS = Path("/usr/lib/cni")
"""Where Debian keeps the programs that connect pods to networks."""
PLUGINS_PACKAGE = "containernetworking-plugins"

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
}
"""Debian's package of each program."""
SYSTEM_FOLDERS = "/usr/sbin:/sbin"
"""Where only root's PATH leads."""


def program(name: str) -> Path | None:
    """Path of a system program, also where only root's PATH would find it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}")
    return Path(found) if found else None


def need(name: str) -> Path:
    """Path of a system program; raises ``ServiceError`` with the line to type without it."""
    found = program(name)
    if found is None:
        raise ServiceError(
            f"cluster: no {name}; type: apt-get install --no-install-recommends {PACKAGES[name]}"
        )
    return found


def missing() -> str | None:
    """What keeps a real node from running here, and what to do; None: it can be tried."""
    if sys.platform != "linux":
        return "a real node needs Linux"
    if os.geteuid() != 0:
        return "a real node needs root: it makes a bridge, mounts and control groups"
    lacking = {package for name, package in PACKAGES.items() if program(name) is None}
    if not (PLUGINS / "bridge").is_file():
        lacking.add(PLUGINS_PACKAGE)
    if lacking:
        return (
            "a real node needs Debian's packages; type: apt-get install --no-install-recommends "
            + " ".join(sorted(lacking))
        )
    return None
