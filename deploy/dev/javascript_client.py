"""OpenAI's client for JavaScript: installed by npm once, kept by the lock that names its hash."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from deploy.dev.installing import install, made_once
from workers.embedded.cache import cache_folder
from workers.embedded.processes import ServiceError

LOCKED = Path(__file__).with_name("javascript")
FILES = ("package.json", "package-lock.json")
INSTALL_DEADLINE_S = 300.0

WHAT_IT_NEEDS = "OpenAI's client for JavaScript needs node and npm: apt-get install nodejs npm"


def _folder() -> Path:
    lock = hashlib.sha256((LOCKED / "package-lock.json").read_bytes()).hexdigest()
    return cache_folder("javascript", lock[:16])


def available() -> bool:
    """Whether there is a node, and the client is installed or can be."""
    has_client = (_folder() / "node_modules").is_dir() or shutil.which("npm") is not None
    return shutil.which("node") is not None and has_client


def modules() -> Path:
    """The folder ``node_modules`` with the client. Installs at the same time wait for one another.

    Raises ``ServiceError`` without npm, and with npm's words when it fails.
    """
    return made_once(_folder() / "node_modules", _install)


def _install(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise ServiceError(f"javascript: {WHAT_IT_NEEDS}")
    for name in FILES:
        shutil.copy(LOCKED / name, folder)
    # npm compares what it fetches with the hash in the lock. No package may run a script.
    install(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional"],
        INSTALL_DEADLINE_S,
        "check the network",
        folder=folder,
    )
    return folder / "node_modules"
