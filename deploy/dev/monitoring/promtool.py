"""Prometheus and promtool: taken from PATH, or out of Debian's package into the user's cache.

Debian's package would start a server when it is installed. So the package is only downloaded and
unpacked, which needs no root.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from deploy.dev.installing import install, made_once
from workers.embedded.cache import cache_folder
from workers.embedded.processes import ServiceError

PROGRAMS = ("prometheus", "promtool")

DOWNLOAD_DEADLINE_S = 600.0
"""The package has 40 MB."""

WHAT_IT_NEEDS = (
    "the rules are checked with promtool: put it on PATH, or have Debian's apt-get and dpkg-deb, "
    "which fetch the package `prometheus` into the user's cache without installing it"
)


def _unpacked() -> Path:
    return cache_folder("prometheus", "debian")


def available() -> bool:
    """Whether the programs are there, or can be fetched."""
    return (
        shutil.which("promtool") is not None
        or (_unpacked() / "promtool").is_file()
        or all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb"))
    )


def program(name: str) -> Path:
    """``prometheus`` or ``promtool``, fetched if neither PATH nor the cache has it.

    Raises ``ServiceError`` where neither is possible, with the tools' own words.
    """
    if name not in PROGRAMS:
        raise ValueError(f"{name!r} is none of {PROGRAMS}")
    on_path = shutil.which(name)
    if on_path is not None:
        return Path(on_path)
    if not available():
        raise ServiceError(f"{name}: {WHAT_IT_NEEDS}")
    return made_once(_unpacked(), _fetch) / name


def _fetch(folder: Path) -> Path:
    print("fetching Debian's package prometheus, once", file=sys.stderr)
    _run(["apt-get", "download", "-q", "prometheus"], folder)
    (package,) = folder.glob("prometheus_*.deb")
    _run(["dpkg-deb", "-x", package.name, "files"], folder)
    return folder / "files/usr/bin"


def _run(command: list[str], folder: Path) -> None:
    # apt drops its rights for downloads, and then could not write into this folder.
    options = (
        ["-o", "APT::Sandbox::User=root"] if command[0] == "apt-get" and not os.getuid() else []
    )
    install(
        [command[0], *options, *command[1:]],
        DOWNLOAD_DEADLINE_S,
        "check the network and apt's sources, or put promtool on PATH",
        folder=folder,
    )
