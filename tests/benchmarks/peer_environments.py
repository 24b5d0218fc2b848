"""Environments of peers whose libraries do not go with this project's: made on demand and kept in
the user's cache, one for each content of ``peer_requirements/NAME.txt``.

Those files are what `uv pip compile` chose from the ``.in`` beside them, with checksums. They name
the project's own version of torch, the largest part, which uv then has already.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from workers.embedded.cache import cache_folder, locked

REQUIREMENTS = Path(__file__).parent / "peer_requirements"
INSTALL_S = 1800.0


class UnavailableError(RuntimeError):
    """A peer that cannot be installed here; the message says why."""


def has_own(name: str) -> bool:
    """Whether the peer has an environment of its own."""
    return _requirements(name).is_file()


def interpreter(name: str, tell: Callable[[str], None]) -> Path:
    """The Python of a peer's environment, which is made if the user's cache lacks it.

    Raises ``UnavailableError`` with the installer's words when it cannot be made. Others that make
    it at the same time wait for one another; one that was left half made is made again.
    """
    digest = hashlib.sha256(_requirements(name).read_bytes()).hexdigest()[:12]
    folder = cache_folder("peers", f"{name}-{digest}")
    environment, complete = folder / "environment", folder / "complete"
    python = environment / "bin/python"
    with locked(folder):
        if not complete.is_file():
            tell(f"installing {name} and its libraries, once: up to 5 GB, minutes")
            _uv(name, "venv", "--clear", "--python", sys.executable, environment)
            _uv(
                name, "pip", "install", "--python", python,
                "--require-hashes", "-r", _requirements(name),
            )  # fmt: skip
            complete.touch()
    return python


def _requirements(name: str) -> Path:
    return REQUIREMENTS / f"{name}.txt"


def _uv(name: str, *arguments: str | Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    # The project's own configuration has constraints that are not theirs.
    command = [uv, "--no-config", "--quiet", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise UnavailableError(f"{name}: not installed: {failure}") from failure
    if done.returncode != 0:
        raise UnavailableError(f"{name}: not installed: {done.stderr.strip()}")
